"""From a manifest to findings: one cue at a time tells the classes, and only that one is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from pictures import natural, save
from tellsign.data import Manifest, read, write
from tellsign.data.audit import audit, exceeded, text, to_dict, unjudged
from tellsign.data.audit.advice import balance_findings, by_advice, group_leaks
from tellsign.types import FAKE, REAL, ConfigError, ManifestError, Sample

pytest.importorskip("sklearn")
N = 30  # images a class
# What tells along with a cue, because it follows from it.
FOLLOWS = {
    "format": {"jpeg", "bytes", "bits_per_pixel", "metadata"},
    "size": {"bytes", "bits_per_pixel", "metadata"},
    "jpeg": {"bytes", "bits_per_pixel", "metadata"},
    "exif": {"bytes", "bits_per_pixel", "metadata"},
    "name": set(),
    "thumbnail": {"bytes", "bits_per_pixel", "metadata"},
    "nothing": set(),
}


def picture(index: int, label: int, cue: str) -> np.ndarray:
    array = natural(1000 * label + index, 48, 48)
    if cue == "size" and label:
        array = natural(1000 + index, 40, 40)
    if cue == "thumbnail" and label:
        array = np.concatenate([array[:1] * 0.7, array[1:]])
    return array


def made(folder: Path, cue: str, n: int = N) -> Manifest:
    """A data set in which one cue tells the label."""
    samples = []
    for label in (REAL, FAKE):
        for index in range(n):
            told = bool(label)
            stem = f"{'seed' if told and cue == 'name' else 'img'}{index:04d}"
            suffix = ".png" if told and cue == "format" else ".jpg"
            path = folder / ("fake" if label else "real") / f"{stem}{suffix}"
            options = {} if suffix == ".png" else {"quality": 75 if told and cue == "jpeg" else 90}
            if told and cue == "exif":
                exif = PIL.Image.Exif()
                exif[305] = "generator"
                options["exif"] = exif
            samples.append(Sample(save(picture(index, label, cue), path, **options), label, dataset="made"))
    return Manifest(tuple(samples))


@pytest.mark.parametrize("cue", FOLLOWS)
def test_exactly_the_cue_that_tells_is_found(tmp_path, cue):
    found = audit(made(tmp_path, cue), n_resamples=50)
    values = {name: result.auroc.value for name, result in found.cues.items()}
    if cue != "nothing":
        assert values[cue] > 0.95
        assert cue in {f.about for f in found.findings}
    for name in set(values) - FOLLOWS[cue] - {cue}:
        assert values[name] < 0.75, f"{name} has nothing to do with {cue}"
    for name in {"format", "size", "jpeg", "exif", "name"} - FOLLOWS[cue] - {cue}:
        assert values[name] == 0.5, f"{name} is the same for all"


def test_advice_names_a_command_with_numbers_that_suit(tmp_path):
    found = audit(made(tmp_path, "jpeg"), n_resamples=0)
    (advice,) = {f.advice for f in found.findings if f.about == "jpeg"}
    assert "`tellsign data harmonise MANIFEST --size 48 --quality 75 -o FOLDER`" in advice
    found = audit(made(tmp_path / "t", "thumbnail"), n_resamples=0)
    assert "no command mends that" in next(f.advice for f in found.findings if f.about == "thumbnail")
    assert "`" not in "".join(f.advice for f in found.findings), "what follows content, harmonising keeps"


def test_files_are_saved_alike_only_where_nothing_differs(tmp_path):
    """Chroma subsampling says nothing of the label here, and half of each class has another one."""
    rows = []
    for label in (REAL, FAKE):
        for index in range(24):
            array = natural(100 * label + index, 48, 48) * (0.2 if label else 1.0)
            path = tmp_path / str(label) / f"{index:03d}.jpg"
            save(array, path, quality=90, subsampling=2 * (index % 2))
            rows.append(Sample(path, label, "made"))
    found = audit(Manifest(tuple(rows)), n_resamples=0)
    assert found.cues["jpeg"].auroc.value < 0.6
    advice = {f.about: f.advice for f in found.findings}
    assert "`tellsign data harmonise MANIFEST" in advice["bytes"]
    assert "then audit again" in advice["bytes"]
    same = audit(Manifest(tuple(rows[::2])), n_resamples=0)
    assert "saved alike" in {f.about: f.advice for f in same.findings}["bytes"]


@pytest.mark.parametrize("option", [{"subsampling": 0}, {"progressive": True}])
def test_chroma_and_scans_are_seen(tmp_path, option):
    rows = []
    for label in (REAL, FAKE):
        for index in range(12):
            path = tmp_path / str(label) / f"{index:03d}.jpg"
            save(natural(100 * label + index, 48, 48), path, quality=90, **(option if label else {}))
            rows.append(Sample(path, label, "made"))
    assert audit(Manifest(tuple(rows)), n_resamples=0).cues["jpeg"].auroc.value == 1


def test_videos_are_refused_up_front(tmp_path):
    rows = Manifest((Sample(tmp_path / "a.png", REAL), Sample(tmp_path / "b.MP4", FAKE)))
    with pytest.raises(
        ManifestError, match=r"1 of 2 rows are videos: run `tellsign data faces .*crops/manifest\.csv"
    ):
        audit(rows)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory) -> Manifest:
    """Duplicates across classes and splits, a group across splits, a broken, a missing and a changed file."""
    folder = tmp_path_factory.mktemp("spoilt")
    samples = list(made(folder, "nothing", 12))
    copy = folder / "fake" / "copy.jpg"
    copy.write_bytes(samples[0].path.read_bytes())
    broken = folder / "fake" / "broken\x1b.jpg"
    broken.write_bytes(b"\xff\xd8\xff")
    samples = [replace(s, split="train", group=f"g{i}") for i, s in enumerate(samples)]
    samples[1] = replace(samples[1], group="shared")
    samples[2] = replace(samples[2], group="shared", split="test")
    samples[3] = replace(samples[3], sha256="0" * 64)
    samples += [
        Sample(copy, FAKE, "made", split="test"),
        Sample(broken, FAKE, "made", split="test"),
        Sample(folder / "real" / "gone.jpg", REAL, "made", split="test"),
        Sample(save(natural(77), folder / "unknown.png"), None, "made"),
    ]
    return Manifest(tuple(samples))


def test_everything_that_is_wrong_is_found(spoilt):
    found = audit(spoilt, workers=2, n_resamples=0)
    assert (found.n, found.n_real, found.n_fake) == (28, 13, 14)
    (pair,) = found.duplicates
    assert (pair.kind, pair.crosses_labels, pair.crosses_splits) == ("exact", True, True)
    assert {leak.kind: leak.splits for leak in found.leaks} == {
        "group": {"train": 1, "test": 1},
        "exact": {"train": 1, "test": 1},
    }
    assert [s.path.name for s, _ in found.unreadable] == ["broken\x1b.jpg", "gone.jpg"]
    assert "no such file" in found.unreadable[1][1]
    assert [s.path.name for s in found.changed] == ["img0003.jpg"]
    abouts = {f.about for f in found.findings}
    assert {"duplicates", "leaks", "unreadable", "changed"} <= abouts
    assert sum(cell.n for cell in found.balance) == 28


def test_as_json_it_holds_everything(spoilt):
    result = json.loads(json.dumps(to_dict(audit(spoilt, n_resamples=20)), allow_nan=False))
    assert list(result["cues"]) == [
        "format",
        "size",
        "bytes",
        "jpeg",
        "exif",
        "bits_per_pixel",
        "name",
        "metadata",
        "thumbnail",
    ]
    assert all({"auroc", "ci"} <= set(cue) for cue in result["cues"].values())
    assert {"n", "duplicates", "leaks", "unreadable"} <= set(result)
    assert result["duplicates"][0]["across_labels"] is True
    assert result["leaks"][0]["group"] == "shared"
    assert result["unreadable"][0]["path"].endswith(".jpg")
    assert result["by"] == {"dataset": {}}


def test_as_text_it_is_safe_and_names_what_mends(spoilt):
    said = text(audit(spoilt, n_resamples=20))
    assert "\x1b" not in said
    assert "1 exact duplicate set in both classes" in said
    assert "1 groups lie in several splits" in said
    assert "tellsign data split MANIFEST" in said
    assert "2 files can't be read (1 fake, 1 real)" in said


def test_one_class_is_a_result_and_no_crash(tmp_path):
    reals = made(tmp_path, "nothing", 6).filter(label=REAL)
    found = audit(reals)
    assert all(result.auroc is None and "no fake image" in result.note for result in found.cues.values())
    assert found.findings[-1].what == "there are no fake files"
    assert to_dict(found)["cues"]["size"] == {
        "auroc": None,
        "ci": None,
        "note": found.cues["size"].note,
    }
    assert "not estimated" in text(found)
    assert exceeded(found, 0.5) == ()
    (without,) = unjudged(found)
    assert without.startswith(
        "format, size, bytes, jpeg, exif, bits_per_pixel, name, metadata, thumbnail (no "
    )
    assert found.cues["size"].note in without


def test_nothing_readable_is_a_result_too(tmp_path):
    manifest = Manifest((Sample(tmp_path / "a.jpg", REAL), Sample(tmp_path / "b.jpg", FAKE)))
    found = audit(manifest)
    assert len(found.unreadable) == 2
    assert found.cues["size"].auroc is None


def test_data_sets_are_judged_alone_too(tmp_path):
    told = made(tmp_path / "a", "jpeg", 12)
    clean = Manifest(tuple(replace(s, dataset="clean") for s in made(tmp_path / "b", "nothing", 60)))
    alone = Manifest((replace(told[0], path=save(natural(5), tmp_path / "c.jpg"), dataset="alone"),))
    found = audit(Manifest(told.samples + clean.samples + alone.samples), n_resamples=0, limit=0.7)
    assert set(found.datasets) == {"made", "clean"}
    assert found.datasets["made"]["jpeg"].auroc.value == 1
    assert found.datasets["clean"]["jpeg"].auroc.value == 0.5
    assert found.cues["jpeg"].auroc.value < 0.7, "pooled, it is hidden"
    assert any("of the data set 'made'" in f.what for f in found.findings if f.about == "jpeg")
    assert "jpeg in 'made' 1.000" in exceeded(found, 0.7)
    assert unjudged(found) == ()
    tiny = tuple(replace(s, dataset="tiny") for s in (*clean[:3], *clean[60:63]))
    (without,) = unjudged(audit(Manifest(told.samples + tiny), n_resamples=0))
    assert "thumbnail in 'tiny' (3 real images are too few" in without
    assert any("one class only ('alone')" in f.what for f in found.findings)


def test_the_limit_is_of_the_value_and_not_met_by_equality(tmp_path):
    found = audit(made(tmp_path, "name", 10), n_resamples=0)
    assert found.cues["name"].auroc.value == 1
    assert any(name.startswith("name ") for name in exceeded(found, 0.99))
    assert exceeded(found, 1.0) == ()


@pytest.mark.parametrize(
    ("options", "message"), [({"limit": 1.5}, "between 0 and 1"), ({"folds": 1}, "folds is 1")]
)
def test_bad_options_are_refused_before_anything_is_read(options, message):
    with pytest.raises(ConfigError, match=message):
        audit(Manifest((Sample(Path("gone.jpg"), REAL),)), **options)


def test_an_empty_manifest_is_refused():
    with pytest.raises(ConfigError, match="no rows"):
        audit(Manifest(()))


def test_classes_that_are_missing_or_rare():
    def rows(n_real, n_fake, split=""):
        return [Sample(Path(f"{split}{i}"), int(i >= n_real), split=split) for i in range(n_real + n_fake)]

    assert balance_findings(rows(5, 5)) == ()
    assert [f.what for f in balance_findings(rows(30, 10))] == ["30 real and 10 fake files"]
    found = balance_findings(rows(5, 5, "train") + rows(3, 0, "test"))
    assert found[0].what == "1 split with one class only ('test')"
    assert by_advice(found + found) == {found[0].advice: [found[0].what] * 2}


def fakes(n, generator, split="", dataset="d"):
    return [
        Sample(Path(f"{dataset}-{generator}-{split}-{i}"), FAKE, dataset, generator, split=split)
        for i in range(n)
    ]


def test_a_generator_that_a_split_lacks_is_a_finding():
    rows = [replace(s, label=REAL, generator="") for s in fakes(8, "r", "train") + fakes(4, "r", "test")]
    even = rows + fakes(4, "gan", "train") + fakes(2, "gan", "test") + fakes(4, "ldm", "train")
    assert balance_findings([*even, *fakes(2, "ldm", "test")]) == ()
    (finding,) = balance_findings([*even, *fakes(2, "new", "test")])
    assert finding.about == "balance"
    assert finding.what == (
        "generators that a split lacks: 'ldm' of the data set 'd' in test, 'new' of the data set 'd' in train"
    )
    assert "tellsign data split MANIFEST" in finding.advice
    # Another data set's splits are its own, and what has no name or no split is no generator and no split.
    other = [*fakes(2, "gan", "valid", "e"), *(replace(s, path=s.path / "r", label=REAL) for s in even[:2])]
    assert balance_findings([*even, *fakes(2, "ldm", "test"), *fakes(1, "", "train"), *fakes(1, "x")])[
        0
    ].what == ("generators that a split lacks: 'x' of the data set 'd' in test and train")
    assert not [f for f in balance_findings([*even, *fakes(2, "ldm", "test"), *other]) if "lacks" in f.what]


def test_a_generator_that_made_nearly_all_fakes_is_a_finding():
    reals = [replace(s, label=REAL, generator="") for s in fakes(20, "r")]
    assert balance_findings([*reals, *fakes(17, "gan"), *fakes(3, "ldm")]) == ()
    assert balance_findings([*reals, *fakes(20, "gan")]) == (), "one alone is what the data set is"
    (finding,) = balance_findings([*reals, *fakes(18, "gan"), *fakes(2, "ldm")])
    assert finding.what == "one generator made nearly all fakes: 'gan' 18 of 20 of the data set 'd'"
    assert "each generator apart" in finding.advice


def test_counts_by_data_set_generator_and_split_stand_in_text_and_json(tmp_path):
    rows = made(tmp_path, "nothing", 6).samples
    splits = ("train", "train", "train", "train", "test", "test")
    rows = tuple(replace(s, split=split) for s, split in zip(rows, splits * 2, strict=True))
    rows = tuple(
        replace(s, generator="gan" if i % 2 else "l\x1bdm") if s.label else s for i, s in enumerate(rows)
    )
    found = audit(Manifest(rows), n_resamples=0)
    expected = [
        ("made", None, "", "test", 2),
        ("made", None, "", "train", 4),
        ("made", "fake", "gan", "test", 1),
        ("made", "fake", "gan", "train", 2),
        ("made", "fake", "l\x1bdm", "test", 1),
        ("made", "fake", "l\x1bdm", "train", 2),
    ]
    keys = ("dataset", "label", "generator", "split", "n")
    expected = sorted((d, k or "real", *rest) for d, k, *rest in expected)
    assert sorted(tuple(cell[key] for key in keys) for cell in to_dict(found)["balance"]) == expected
    lines = [line.split() for line in text(found).splitlines()]
    start = lines.index(["files", "data", "set", "label", "generator", "split"])
    shown = [
        (d, k, g.strip("–").replace("\\x1b", "\x1b"), s, int(n))
        for n, d, k, g, s in lines[start + 1 : start + 7]
    ]
    assert sorted(shown) == expected


def test_of_many_counts_the_text_shows_the_largest():
    from tellsign.data.audit.report import CELLS, Count, _count_table

    cells = tuple(Count("d", "fake", f"g{i:03d}", "", 1 + i) for i in range(CELLS + 3))
    lines = _count_table(cells)
    assert lines[1].split() == ["4", "d", "fake", "g003", "–"]
    assert len(lines) == CELLS + 2
    assert lines[-1] == "(and 6 files in 3 more rows; all with --json)"


def test_a_video_without_a_group_leaks_as_a_group_does():
    rows = [
        Sample(Path(f"{k}.png"), REAL, "x", video="v", split="train" if k < 2 else "test") for k in range(4)
    ]
    (leak,) = group_leaks(rows)
    assert (leak.kind, leak.name, leak.splits) == ("group", "x//v", {"train": 2, "test": 2})
    assert group_leaks([replace(row, video=row.split) for row in rows]) == ()
    assert group_leaks([replace(row, video="") for row in rows]) == ()
    named = [replace(row, group="g", video=f"{k}") for k, row in enumerate(rows)]
    assert [leak.name for leak in group_leaks(named)] == ["g"]


def test_what_reading_refuses_is_read_for_an_audit(tmp_path):
    def read_to_audit(path):
        return read(path, check_files=False, check_splits=False)

    samples = [
        Sample(tmp_path / "a.jpg", REAL, group="g", split="train"),
        Sample(tmp_path / "b.jpg", FAKE, group="g", split="test"),
    ]
    write(Manifest(tuple(samples)), tmp_path / "m.csv")
    with pytest.raises(ManifestError, match="stays in one split; `tellsign data split --anew`"):
        read(tmp_path / "m.csv", check_files=False)
    assert [(s.group, s.split, s.label) for s in read_to_audit(tmp_path / "m.csv")] == [
        ("g", "train", REAL),
        ("g", "test", FAKE),
    ]
    frames = tuple(replace(s, group="", video="v", dataset="d", label=REAL) for s in samples)
    write(Manifest(frames), tmp_path / "v.csv")
    assert tuple(read_to_audit(tmp_path / "v.csv")) == frames
    (tmp_path / "no.csv").write_text("name,class\na,b\n")
    with pytest.raises(ManifestError, match="has path and label"):
        read_to_audit(tmp_path / "no.csv")
    (tmp_path / "bad.csv").write_text("path,label,group\na.jpg,maybe,g\n")
    with pytest.raises(ManifestError, match="unknown label"):
        read_to_audit(tmp_path / "bad.csv")


@pytest.mark.data
@pytest.mark.parametrize(
    ("dataset", "cue", "low", "high"),
    [
        ("celebahq_pggan", "jpeg", 0.98, 1),
        ("celebahq_pggan", "metadata", 0.98, 1),
        ("dfdc_faces", "metadata", 0.95, 1),
        ("stylegan140k", "metadata", 0.5, 0.6),
        ("stylegan140k", "thumbnail", 0.65, 0.75),
    ],
)
def test_known_confounds_of_real_data_sets(data_root, dataset, cue, low, high):
    from tellsign.data.index import index_csv

    rows = index_csv(data_root / "manifest.csv", skip_labels=("features",)).filter(dataset=dataset)
    assert low <= audit(rows, n_resamples=0).cues[cue].auroc.value <= high
