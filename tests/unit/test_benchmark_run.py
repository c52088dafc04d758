"""The engine of a benchmark: what is scored, what is kept, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from detector import write_detector
from pictures import save, upsampled, write_dataset
from tellsign import data, image, perturb
from tellsign.data.index import with_checksums
from tellsign.evaluate.benchmark import BenchmarkResult, contestants, grid, read, run, sets
from tellsign.evaluate.benchmark import result as results
from tellsign.evaluate.benchmark import worker as worker_module
from tellsign.evaluate.benchmark.report import write_report
from tellsign.evaluate.benchmark.worker import FACES, GridScorer, Task, unfit
from tellsign.lock import lock, release
from tellsign.metrics import auroc
from tellsign.perturb.equalise import Equalisation
from tellsign.types import ConfigError, ManifestError

if TYPE_CHECKING:
    from tellsign.scoring.workers import Job, Limits

N = 6  # images a class


class HerePool:
    """A pool whose only worker is this process."""

    jobs: ClassVar[list[str]] = []  # names of the files that were scored
    lost: str = ""  # name of a file over which the worker dies

    def __init__(self, load: Any, limits: Any) -> None:
        self.load = load

    def __enter__(self) -> HerePool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def rows(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Any]]:
        maker = self.load()
        for job in jobs:
            HerePool.jobs.append(job.path.name)
            if job.path.name == HerePool.lost:
                yield job, "it took longer than 60 s (--timeout)"
            else:
                yield job, maker.rows([(job.path, job.known)])[0]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "Pool", HerePool)
    HerePool.jobs, HerePool.lost = [], ""


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "stand-in")


@pytest.fixture
def root(tmp_path: Path, detector: Path) -> Path:
    shutil.copytree(detector, tmp_path / "one")
    write_dataset(tmp_path / "a", N, size=40)
    return tmp_path


def config(
    root: Path, *, name: str = "b.toml", body: str = '[data.a]\nmanifest = "a/manifest.csv"', **options: Any
) -> Path:
    lines = {"name": "b", "tests": ["a"], "resamples": 20} | options
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in lines.items())
    path = root / name
    path.write_text(f'{text}\n[[detector]]\nname = "one"\npath = "one"\n{body}\n')
    return path


def ran(path: Path, *overrides: str) -> BenchmarkResult:
    return run(read(path, overrides), path.parent / "out")


def cell(result: BenchmarkResult, **wanted: Any) -> dict[str, Any]:
    wanted = {"metric": "auroc", "generator": None, "perturbation": "none", "level": "frame", **wanted}
    (found,) = [c for c in result.cells if all(c[key] == value for key, value in wanted.items())]
    return found


def test_everything_is_kept_and_nothing_done_twice(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config(root, perturbations=["none", "jpeg:quality=50"])
    first = ran(path)
    assert len(HerePool.jobs) == 2 * 2 * N
    assert {c["perturbation"] for c in first.cells} == {"none", "jpeg:50"}
    written = (root / "out" / "benchmark.json").read_bytes()
    assert results.read(root / "out").to_dict() == json.loads(json.dumps(first.to_dict()))
    assert str(root) not in written.decode()
    for entry in first.runs:
        assert len(first.predictions(entry)) == 2 * N
    assert len(first.plain["one", "a"]) == 2 * N
    HerePool.jobs = []
    ran(path)
    assert not HerePool.jobs
    assert (root / "out" / "benchmark.json").read_bytes() == written
    # What is new is scored, and nothing else; measuring anew scores nothing.
    ran(path, 'perturbations=["none", "jpeg:50", "jpeg:40"]')
    assert len(HerePool.jobs) == 2 * N
    HerePool.jobs = []
    assert cell(ran(path, "resamples=10"), metric="brier")["ci"] != cell(first, metric="brier")["ci"]
    assert not HerePool.jobs


def test_another_seed_draws_other_noise_but_scores_plain_images_once(root: Path) -> None:
    path = config(root, perturbations=["none", "noise:20"])
    ran(path)
    HerePool.jobs = []
    ran(path, "seed=1")
    assert len(HerePool.jobs) == 2 * N


def test_an_image_is_read_once_and_all_detectors_see_the_same_pixels(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(root / "one", root / "two")
    body = '[[detector]]\nname = "two"\npath = "two"\n[data.a]\nmanifest = "a/manifest.csv"'
    other = write_detector(root / "three", name="other")
    body = f'[[detector]]\nname = "three"\npath = "{other.name}"\n' + body
    seen: list[bytes] = []
    decode, prepared = image.decode, worker_module.Looker.prepared
    decoded = []

    def spy(self: Any, region: np.ndarray) -> Any:
        seen.append(region.tobytes())
        return prepared(self, region)

    monkeypatch.setattr(worker_module.image, "decode", lambda *a, **k: decoded.append(1) or decode(*a, **k))
    monkeypatch.setattr(worker_module.Looker, "prepared", spy)
    result = ran(config(root, body=body, perturbations=["none", "noise:20"]))
    assert len(decoded) == 2 * 2 * N
    tables = {(r["detector"], r["perturbation"]): result.predictions(r) for r in result.runs}
    # Of one content, and so of one digest: the file is the same.
    assert np.array_equal(tables["one", "noise:20"].score, tables["two", "noise:20"].score)
    assert not np.array_equal(tables["one", "noise:20"].score, tables["one", "none"].score)
    # All three take the same profile, which is computed once.
    assert len(set(seen)) == len(seen) == len(decoded)
    assert len(result.runs) == 2 * 3


def test_one_class_may_be_perturbed_alone(root: Path) -> None:
    result = ran(config(root, perturbations=["none", "fake@jpeg:30"]))
    plain, changed = (result.predictions(entry) for entry in result.runs)
    same = plain.score == changed.score
    assert same[plain.label == 0].all()
    assert not same[plain.label == 1].any()


def test_files_that_changed_are_named(root: Path) -> None:
    manifest = root / "a" / "manifest.csv"
    data.write(with_checksums(data.read(manifest)), manifest)
    ran(config(root))
    for name in ("real/0001.png", "fake/0002.png"):
        save(upsampled(99, 40, 40), root / "a" / name)
    with pytest.raises(ManifestError, match=r"2 of 12 files.*\n.*0001\.png.*changed.*\n.*0002\.png.*changed"):
        ran(config(root))
    (root / "a" / "real" / "0001.png").unlink()
    with pytest.raises(ManifestError, match=r"there is no file .*0001\.png"):
        ran(config(root))


def test_without_checksums_a_changed_file_is_scored_anew(root: Path) -> None:
    before = ran(config(root))
    save(upsampled(99, 40, 40), root / "a" / "real" / "0001.png")
    after = ran(config(root))
    assert before.runs[0]["file"] != after.runs[0]["file"]


def test_a_file_that_changes_during_the_run_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = root / "a" / "fake" / "0002.png"
    scorer_rows = GridScorer.rows

    def rows(self: Any, files: Any, **options: Any) -> Any:
        save(upsampled(98, 40, 40), victim)
        return scorer_rows(self, files, **options)

    monkeypatch.setattr(GridScorer, "rows", rows)
    with pytest.raises(ManifestError, match=r"0002\.png has changed while"):
        ran(config(root))


def test_samples_that_were_learnt_from_are_left_out(root: Path) -> None:
    """Two groups of the training data, and one file under another group, are in the test set as well."""
    samples = list(data.read(write_dataset(root / "t", N, size=40, seed=1, split="train")))
    test = list(data.read(root / "a" / "manifest.csv"))
    samples[0] = replace(samples[0], group=test[0].group)
    samples[-1] = replace(samples[-1], group=test[-1].group)
    shutil.copy(test[1].path, samples[1].path)
    samples[2] = replace(samples[2], group=test[2].group, split="test")  # which nobody learns from
    data.write(data.Manifest(tuple(samples)), root / "t" / "manifest.csv")
    body = 'train = "t"\n[data.a]\nmanifest = "a/manifest.csv"\n[data.t]\nmanifest = "t/manifest.csv"'
    result = ran(config(root, body=body))
    found = cell(result)
    assert (found["n"], found["n_real"], found["n_fake"], found["excluded"]) == (9, 4, 5, 3)
    assert result.provenance["detectors"][0]["leaks"] == "checked"
    assert len(result.plain["one", "a"]) == 9
    # A detector that does not say what it learnt from can't be checked, and the result says so.
    result = ran(config(root))
    assert cell(result)["excluded"] == 0
    assert result.provenance["detectors"][0]["leaks"] == "unknown"


def test_a_source_is_known_whatever_it_was_harmonised_to(root: Path) -> None:
    """The training data are the same files as the test data, at another quality."""
    manifest = root / "a" / "manifest.csv"
    samples = [replace(sample, group="") for sample in data.read(manifest)]
    data.write(data.Manifest(tuple(samples)), manifest)
    learnt = [replace(sample, split="train") for sample in samples[1:]]
    data.write(data.Manifest(tuple(learnt)), root / "a" / "train.csv")
    body = """train = "t"
    [data.a]
    manifest = "a/manifest.csv"
    harmonise = { size = 36, quality = 60 }
    [data.t]
    manifest = "a/train.csv"
    """
    for more in ("", "harmonise = { size = 36, quality = 80 }"):
        found = cell(ran(config(root, body=body + more)))
        assert (found["n"], found["excluded"]) == (1, 2 * N - 1)


def test_a_detector_that_learnt_from_other_data_than_is_said(root: Path) -> None:
    manifest = write_dataset(root / "t", N, size=40, seed=1, split="train")
    data.write(with_checksums(data.read(manifest)), manifest)
    body = 'train = "t"\n[data.a]\nmanifest = "a/manifest.csv"\n[data.t]\nmanifest = "t/manifest.csv"'
    for recorded, leaks in ((data.read(manifest).digest(), "checked"), ("0" * 64, "unknown")):
        shutil.rmtree(root / "one")
        write_detector(root / "one", data={"manifest": recorded})
        assert ran(config(root, body=body)).provenance["detectors"][0]["leaks"] == leaks


@pytest.fixture
def broken(root: Path) -> Path:
    (root / "a" / "fake" / "0003.png").write_bytes(b"no image")
    save(upsampled(1, 8, 8), root / "a" / "real" / "0000.png")  # too small for the detector
    return root


def test_missing_scores_are_an_error_unless_asked_for(broken: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)samples have no score:.*0003\.png.*--missing exclude"):
        ran(config(broken))
    HerePool.jobs = []
    left_out = ran(config(broken), "missing=exclude")
    assert not HerePool.jobs  # what was scored is kept
    found = cell(left_out)
    assert (found["n"], found["scored"], found["coverage"]) == (12, 10, 10 / 12)
    counted = ran(config(broken), "missing=worst")
    worst = cell(counted)
    # The curve shows what the number says.
    drawn = counted.plain["one", "a"]
    assert auroc(drawn.label, drawn.score) == pytest.approx(worst["value"])
    assert len(drawn) == len(left_out.plain["one", "a"]) + 2 == 12
    assert worst["coverage"] == 10 / 12
    # Two of the samples, one a class, lie on the wrong side of all others.
    assert worst["value"] == pytest.approx(found["value"] * 25 / 36)
    (failure,) = left_out.failures
    assert failure["path"].endswith("0003.png")
    assert failure["places"] == ["one × a"]
    assert left_out.runs[0]["failed"] == 1
    assert left_out.runs[0]["uncertain"] >= 1


def test_one_detector_that_fails_leaves_the_others_their_scores(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_detector(root / "two", name="other")
    scored = worker_module.Looker.scored

    def fails(self: Any, prepared: Any) -> Any:
        if self.artifact.spec["name"] == "other":
            raise ZeroDivisionError("no good")
        return scored(self, prepared)

    monkeypatch.setattr(worker_module.Looker, "scored", fails)
    body = '[[detector]]\nname = "two"\npath = "two"\n[data.a]\nmanifest = "a/manifest.csv"'
    result = ran(config(root, body=body), "missing=exclude")
    one, two = result.runs
    assert (one["failed"], two["failed"]) == (0, 2 * N)
    assert "ZeroDivisionError: no good" in result.predictions(two).reason[0]
    blank = cell(result, detector="two")
    assert (blank["value"], blank["coverage"]) == (None, 0)


def test_a_sample_that_was_lost_with_its_worker_is_tried_again(root: Path) -> None:
    HerePool.lost = "0004.png"
    result = ran(config(root), "missing=exclude")
    assert cell(result)["scored"] == 2 * N - 2
    assert "--timeout" in result.failures[0]["reason"]
    HerePool.lost = ""
    # Made again under the same name, and with the same policy: what was measured of it is not taken over.
    again = ran(config(root), "missing=exclude")
    assert again.runs[0]["file"] == result.runs[0]["file"]
    assert cell(again)["scored"] == 2 * N
    assert again.provenance == ran(config(root), "missing=exclude").provenance


def test_a_class_must_be_there(root: Path) -> None:
    body = '[data.a]\nmanifest = "a/manifest.csv"\nlabels = ["fake"]'
    with pytest.raises(ManifestError, match="'a' has no real sample"):
        ran(config(root, body=body))
    with pytest.raises(ManifestError, match=r"none of the 12 rows .* it has the data sets made"):
        ran(config(root, body='[data.a]\nmanifest = "a/manifest.csv"\ndatasets = ["other"]'))


def test_sources_are_joined_and_filtered(root: Path) -> None:
    write_dataset(root / "b", 4, size=40, seed=2, dataset="more")
    body = """[data.a]
    sources = [
      { manifest = "a/manifest.csv", labels = ["real"], paths = ["real/000[12].png"] },
      { manifest = "b/manifest.csv", generators = ["nearest"], labels = ["fake"] },
    ]"""
    found = cell(ran(config(root, body=body)), dataset=None)
    assert (found["n_real"], found["n_fake"]) == (2, 4)
    # A pattern is of the whole path: a folder of the same name further down is another one.
    shutil.move(root / "b", root / "a" / "b")
    manifest = root / "a" / "all.csv"
    samples = [*data.read(root / "a" / "manifest.csv"), *data.read(root / "a" / "b" / "manifest.csv")]
    data.write(data.Manifest(tuple(samples)), manifest)
    for paths, n in ((["real/*", "fake/*"], 2 * N), (["b/*/*"], 8), (["**/*.png"], 2 * N + 8)):
        body = f'[data.a]\nmanifest = "a/all.csv"\npaths = {json.dumps(paths)}'
        assert cell(ran(config(root, body=body)), dataset=None)["n"] == n
    shutil.move(root / "a" / "b", root / "b")
    with pytest.raises(ManifestError, match="from two sources"):
        ran(
            config(
                root,
                body='[data.a]\nsources = [{ manifest = "a/manifest.csv" }, { manifest = "a/manifest.csv" }]',
            )
        )


def test_how_a_table_was_read_is_told(root: Path) -> None:
    """Labels as numbers and splits that nobody understands: in the messages, the result and the page."""
    manifest = root / "a" / "manifest.csv"
    text = manifest.read_text().replace(",real,", ",0,").replace(",fake,", ",1,")
    (root / "a" / "numbers.csv").write_text(text)
    said: list[str] = []
    path = config(root, body='[data.a]\nmanifest = "a/numbers.csv"')
    result = run(read(path), root / "out", say=said.append)
    (note,) = result.provenance["tests"][0]["notes"]
    assert note.startswith(
        "'numbers.csv' was read as `tellsign data index` reads it: 0 was read as real and 1"
    )
    assert f"in {2 * N} rows" in note
    assert f"[data.a] {note}" in said
    write_report(result)
    assert "0 was read as real and 1 was read as fake" in (root / "out" / "index.html").read_text()
    assert "0 was read as real and 1 was read as fake" in (root / "out" / "tables.md").read_text()
    # Whoever goes on where a run was stopped hears it again, and the result is the same.
    again: list[str] = []
    assert run(read(path), root / "out", say=again.append).provenance == result.provenance
    assert f"[data.a] {note}" in again
    samples = [replace(sample, split="") for sample in data.read(manifest)]
    data.write(data.Manifest(tuple(samples)), manifest)
    lines = manifest.read_text().splitlines()
    column = lines[0].split(",").index("split")
    rows = [line.split(",") for line in lines[1:]]
    rows[0][column] = "holdout"
    manifest.write_text("\n".join([lines[0], *(",".join(row) for row in rows)]) + "\n")
    (note,) = ran(config(root)).provenance["tests"][0]["notes"]
    assert "1 rows have a split that is not understood, and are not split: 1 with 'holdout'" in note


def test_a_plain_table_has_no_note(root: Path) -> None:
    assert ran(config(root)).provenance["tests"][0]["notes"] == []


def test_a_limit_takes_the_same_images_every_time(root: Path) -> None:
    first = ran(config(root), "limit=2")
    assert cell(first)["n"] == 4
    names = first.predictions(first.runs[0]).path.tolist()
    shutil.rmtree(root / "out")
    again = ran(config(root), "limit=2")
    assert again.predictions(again.runs[0]).path.tolist() == names


def test_harmonised_once_for_both_classes(broken: Path) -> None:
    path = config(broken, harmonise={"size": 36, "quality": 60})
    path.write_text(path.read_text().replace('{"size": 36, "quality": 60}', "{ size = 36, quality = 60 }"))
    result = ran(path, "missing=exclude")
    rows = result.predictions(result.runs[0])
    # Both that can't be harmonised stay samples of the test set, without a score.
    assert (len(rows), int(np.isnan(rows.score).sum())) == (12, 2)
    assert min(rows.reason[np.isnan(rows.score)].tolist()).startswith("it could not be harmonised")
    assert result.provenance["tests"][0]["not_harmonised"] == 2
    pictures = [image.decode(p) for p in (broken / "out" / "data" / "a").rglob("*.jpg")]
    assert {p.array.shape for p in pictures} == {(3, 36, 36)}
    assert {p.meta.jpeg_quality for p in pictures} == {60}
    made = {p: p.stat().st_mtime_ns for p in (broken / "out" / "data" / "a").rglob("*.jpg")}
    ran(path, "missing=exclude")
    assert made == {p: p.stat().st_mtime_ns for p in made}
    other = ran(path, "missing=exclude", "harmonise.quality=80")
    assert other.runs[0]["file"] != result.runs[0]["file"]
    next(iter(made)).write_bytes(b"no image")
    with pytest.raises(ManifestError, match=r"has changed(?s:.)*the benchmark's own copies: remove"):
        ran(path, "missing=exclude", "harmonise.quality=80")


def test_the_report_is_written_before_another_run_may_begin(root: Path) -> None:
    path, held = config(root), []

    def on_result(result: BenchmarkResult) -> None:
        with pytest.raises(ConfigError, match="another run is writing"):
            lock(root / "out")
        held.append(result)
        write_report(result)

    result = run(read(path), root / "out", on_result=on_result)
    assert held == [result]
    assert (root / "out" / "index.html").is_file()
    release(lock(root / "out"))


def test_one_run_at_a_time(root: Path) -> None:
    held = lock((root / "out").resolve())
    with pytest.raises(ConfigError, match="another run is writing"):
        ran(config(root))
    release(held)
    ran(config(root))
    (root / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        run(read(config(root)), root / "file")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ('perturbations=["jpeg:50", "jpeg:quality=50"]', "two spellings"),
        ('perturbations=["burn"]', "no perturbation 'burn'"),
        ('attacks=["hypnosis"]', "hypnosis"),
        ('published=["a paper that nobody wrote"]', "nobody wrote"),
    ],
)
def test_names_that_are_none(root: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ran(config(root), override)


def test_a_detector_that_is_none(root: Path) -> None:
    shutil.rmtree(root / "one")
    with pytest.raises(ConfigError, match="no detector"):
        ran(config(root))


TRAINED = """[[detector]]
name = "made"
train = "t"
[detector.config]
system = "spectrum"
config = { classifier = "linear_svm", crop = 32, c = 1.0 }
calibration = { fpr = 0.4, fnr = 0.4, domain_quantile = 0.5 }
[data.a]
manifest = "a/manifest.csv"
[data.t]
manifest = "t/manifest.csv"
split = { train = 0.34, valid = 0.66 }
"""


def test_a_detector_is_trained_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    write_dataset(root / "t", 24, size=40, seed=5, dataset="training")
    calls = []
    train = contestants.train
    monkeypatch.setattr(contestants, "train", lambda *a, **k: calls.append(1) or train(*a, **k))
    path = config(root, body=TRAINED)
    first = ran(path)
    assert cell(first, detector="made")["domain"] == "cross"
    assert first.provenance["versions"].keys() >= {"scikit-learn", "onnxruntime"}
    ran(path)
    assert len(calls) == 1
    again = ran(path, 'tests=["t"]')
    assert len(calls) == 1
    # All that it learnt from is left out of a test, and so nothing is left.
    assert cell(again, detector="made")["note"] == "no real and no fake sample is left"
    assert cell(again, detector="made")["domain"] == "in"
    # Made with another scikit-learn, it is another detector.
    with monkeypatch.context() as patch:
        patch.setattr(contestants, "versions", lambda: {"scikit-learn": "0"})
        ran(path)
    assert len(calls) == 2
    # By other code as well.
    with monkeypatch.context() as patch:
        patch.setattr(contestants, "library_versions", lambda: {"code": "other"})
        ran(path)
        assert len(calls) == 3
        ran(path)
        assert len(calls) == 3
    # Where a column was filled in that the digest leaves out, names and halves may be others.
    table = root / "t" / "manifest.csv"
    kept = table.read_text()
    table.write_text(kept.replace("training", "renamed"))
    renamed = ran(path)
    assert len(calls) == 4
    assert renamed.provenance["detectors"][1]["datasets"] == ["renamed"]
    table.write_text(kept)
    ran(path)
    assert len(calls) == 5
    # What nothing says of what it was made from is made again.
    (root / "out" / "detectors" / ".made.json").unlink()
    ran(path)
    assert len(calls) == 6
    ran(path)
    assert len(calls) == 6
    path.write_text(path.read_text().replace("c = 1.0", "c = 2.0"))
    assert ran(path).provenance["detectors"][1]["digest"] != first.provenance["detectors"][1]["digest"]
    (root / "t" / "real" / "0000.png").write_bytes(b"no image")
    with pytest.raises(ManifestError, match=r"0000\.png"):
        ran(path)


def test_attacks_where_they_can_be_run(root: Path) -> None:
    result = ran(config(root), 'attacks=["square:0.05,queries=5", "fgsm:0.01"]', "attack_limit=2")
    attacked = cell(result, attack="square:0.05,queries=5")
    assert attacked["n"] == 4
    assert cell(result, attack="square:0.05,queries=5", metric="attack_success")["value"] is not None
    clean = cell(result, attack="none")
    assert clean["n"] == 2 * N
    # The stand-in was written by no system, and so has no gradient.
    blank = cell(result, attack="fgsm:0.01")
    assert blank["value"] is None
    assert "no gradient" in blank["note"]
    assert unfit({"preprocessing": {"region": "face"}}, "square:0.05,queries=5") == FACES


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("kind", ["linear", "kernel"])
def test_attacks_with_a_gradient_are_those_of_the_attack_command(root: Path, kind: str) -> None:
    pytest.importorskip("torch")
    from tellsign.evaluate.robustness import robustness

    shutil.rmtree(root / "one")
    write_detector(root / "one", kind=kind, system="spectrum")
    attacks = ["fgsm:0.01", "pgd:0.01,steps=3", "apgd:0.01,steps=3"]
    result = ran(config(root, attacks=attacks, attack_limit=4))
    assert not result.failures
    attacked = [result.predictions(entry) for entry in result.runs if entry["attack"] != "none"]
    assert len(attacked) == len(attacks)
    kept = set(attacked[0].sha256.tolist())
    manifest = with_checksums(data.read(root / "a" / "manifest.csv")).filter(sha256=kept)
    assert len(manifest) == 8
    expected = robustness(root / "one", manifest, attacks=attacks, masking=False, n_resamples=20)
    assert [row.attack for row in expected.rows] == attacks
    clean = result.predictions(result.runs[0])
    plain = dict(zip(clean.sha256.tolist(), clean.score.tolist(), strict=True))
    for row, table in zip(expected.rows, attacked, strict=True):
        for metric in ("auroc", "clean_auroc", "accuracy", "clean_accuracy", "attack_success"):
            found = cell(result, attack=row.attack, metric=metric)
            estimate = row.success if metric == "attack_success" else getattr(row, metric).value
            assert (found["value"], found["n"]) == (pytest.approx(estimate), row.n), (row.attack, metric)
        # Towards the other class; not each of them, since one large step may go too far.
        moved = table.score - [plain[key] for key in table.sha256.tolist()]
        assert moved[table.label == 1].mean() < 0 < moved[table.label == 0].mean(), row.attack


@pytest.mark.parametrize(
    ("attacks", "memory"),
    [
        (["none"], 512 << 20),
        (["square:0.05,queries=5"], 512 << 20),
        (["none", "fgsm:0.01"], 0),
        (["apgd:0.01,steps=3"], 0),
    ],
)
def test_workers_that_run_pytorch_have_no_limit_of_addresses(
    root: Path, monkeypatch: pytest.MonkeyPatch, attacks: list[str], memory: int
) -> None:
    from tellsign.cli.benchmark import benchmark

    def stop(_config: Any, _out: Path, *, limits: Limits, **_: Any) -> None:
        raise ConfigError(f"{limits.memory} bytes")

    monkeypatch.setattr("tellsign.evaluate.benchmark.run", stop)
    path = config(root, attacks=attacks)
    with pytest.raises(ConfigError, match=f"^{memory} bytes"):
        benchmark(path, root / "out", memory_limit=512)


def test_an_attack_meets_the_same_images_when_the_data_have_moved(root: Path) -> None:
    path = config(root)
    ran(path)
    shutil.move(root / "a", root / "moved")
    path = config(root, body='[data.a]\nmanifest = "moved/manifest.csv"')
    HerePool.jobs = []
    result = ran(path, 'attacks=["square:0.05,queries=5"]', "attack_limit=2")
    assert len(HerePool.jobs) == 4
    found = cell(result, attack="square:0.05,queries=5", metric="clean_auroc")
    (attacked,) = [result.predictions(entry) for entry in result.runs if entry["attack"] != "none"]
    plain = result.predictions(result.runs[0])
    chosen = np.isin(plain.sha256, attacked.sha256)
    assert found["value"] == pytest.approx(auroc(plain.label[chosen], plain.score[chosen]))


def test_what_scores_depend_on_is_in_a_table_s_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ran(config(root))
    assert first.provenance["versions"]["code"] == sets.code_digest()[:12]
    packages = set(sets.PIXEL_PACKAGES)
    found = packages & first.provenance["versions"].keys()
    assert {"dlib-bin", "array-api-compat", "onnxruntime"} <= found
    assert "scikit-learn" not in first.provenance["versions"], "nothing was trained"
    monkeypatch.setattr(grid, "library_versions", lambda: {"code": "other"})
    assert ran(config(root)).runs[0]["file"] != first.runs[0]["file"]
    asked: list[list[str]] = []
    monkeypatch.setattr(grid, "package_versions", lambda names: asked.append(names) or {})
    plain = {"perturbation": "none", "perturbation_identity": "none", "seed": 0, "folder": root}
    found = sets.data_set("a", read(config(root)), root)
    contestant = contestants.contestant(read(config(root)).detector[0], read(config(root)), None, root)
    for attack, n in (("none", 0), ("square:0.05,queries=5", 0), ("fgsm:0.01", 1)):
        asked.clear()
        _ = grid.Cell(contestant, found, attack=attack, **plain).file
        assert asked == [["torch"]] * n


def test_a_changed_line_of_code_has_another_digest(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.py").write_text("x = 1\n")
    first = sets.folder_digest(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing that runs")
    assert sets.folder_digest(tmp_path) == first
    (tmp_path / "inner" / "a.py").write_text("x = 2\n")
    assert sets.folder_digest(tmp_path) != first


def test_an_equalisation_is_read_once_from_the_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(seed: int) -> None:
        fakes, reals = ([upsampled(seed + i, 40, 40) for i in range(k, k + 2)] for k in (0, 10))
        Equalisation.fit(fakes, reals).save(root / "gain.safetensors")

    fit(0)
    path = config(root, perturbations=["none", "fake@equalise:gain.safetensors"])
    reads = []
    parse = perturb.parse
    monkeypatch.setattr(perturb, "parse", lambda *a, **k: reads.append(1) or parse(*a, **k))
    result = ran(path)
    assert len(reads) == 2  # by the run and by its worker
    assert result.runs[1]["perturbation"] == "fake@equalise:gain.safetensors"
    assert str(root) not in json.dumps(result.to_dict())
    task = Task(
        "fake@equalise:gain.safetensors",
        "none",
        (),
        parse(str(result.runs[1]["perturbation"]), folder=root).identity,
    )
    fit(50)
    with pytest.raises(ConfigError, match=r"gain\.safetensors has changed while the benchmark ran"):
        GridScorer([], [task], 0, root)
    again = ran(path)
    assert again.runs[1]["file"] != result.runs[1]["file"]


def test_an_adversarial_image_differs_from_the_image(root: Path, detector: Path) -> None:
    from tellsign.artifacts import load

    maker = GridScorer(
        [(detector, load(detector).digest, 0.0)],
        [Task("none", "none", (0,)), Task("none", "square:0.1,queries=30", (0,))],
        seed=0,
    )
    path = root / "a" / "fake" / "0000.png"
    plain, attacked = (maker.rows([(path, f"{task}:1")])[0] for task in (0, 1))
    assert plain is not None
    assert attacked is not None
    assert attacked["rows"][0]["score"] < plain["rows"][0]["score"]
    gone = maker.rows([(path.with_name("gone.png"), "0:1")])[0]
    assert gone is not None
    assert gone["sha256"] is None
    assert "No such file" in gone["rows"][0]["error"]
