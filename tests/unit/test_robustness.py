"""A detector attacked on files: the figures are those of one batch, and what fails is named."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

from detector import CROP, write_detector  # noqa: E402
from pictures import natural, save, upsampled  # noqa: E402
from tellsign import artifacts, detectors, image  # noqa: E402
from tellsign.data import Manifest  # noqa: E402
from tellsign.evaluate import robustness as robustness_module  # noqa: E402
from tellsign.evaluate.robustness import DEFAULT_ATTACKS, robustness  # noqa: E402
from tellsign.perturb.attacks import detector_score, parse  # noqa: E402
from tellsign.perturb.attacks.evaluation import Check, MaskingReport, outcome  # noqa: E402
from tellsign.systems.spectrum.system import SpectrumSystem  # noqa: E402
from tellsign.types import ConfigError, ManifestError, Sample  # noqa: E402

N = 3  # images a class
ATTACKS = ("fgsm:0.02", "pgd:0.02,steps=3", "square:0.05,queries=5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two detectors with a gradient, and one without."""
    folder = tmp_path_factory.mktemp("robustness")
    write_detector(folder / "linear", name="linear", system="spectrum")
    write_detector(folder / "kernel", kind="kernel", name="kernel", system="spectrum")
    write_detector(folder / "scores", name="scores")
    return folder


def noisy(make, seed, size):
    """With noise, so that no frequency is empty."""
    pixels = make(seed, size, size)
    noise = np.random.default_rng(seed).normal(scale=0.5 / 255, size=pixels.shape)
    return np.clip(pixels + noise, 0, 1).astype(np.float32)


def made(folder, *, size=CROP + 8, seed=0, group="{label}-{number}"):
    return Manifest(
        tuple(
            Sample(
                save(noisy(make, seed + number, size), folder / f"{size}-{label}-{number}.png"),
                label,
                group=group.format(label=label, number=number),
            )
            for label, make in enumerate((natural, upsampled))
            for number in range(N)
        )
    )


def parts(path):
    artifact = artifacts.load(path)
    score = detector_score(detectors.from_artifact(artifact))
    return artifact.name, score, artifact.spec["operating_point"]["high"]


def test_the_figures_are_those_of_one_batch(folder, tmp_path):
    manifest = made(tmp_path)
    result = robustness(
        folder / "linear",
        manifest,
        attacks=ATTACKS,
        transfer=[folder / "kernel"],
        masking=False,
        seed=3,
        n_resamples=20,
    )
    images = np.stack([image.decode(sample.path).array for sample in manifest])
    keys = [image.decode(sample.path).meta.sha256 for sample in manifest]
    (name, score, threshold), (other, *victim) = parts(folder / "linear"), parts(folder / "kernel")
    module = SpectrumSystem().module(folder / "linear")
    expected, labels = {}, np.array(manifest.labels)
    for text in ATTACKS:
        attack = parse(text)
        source = module if attack.needs_gradient else score
        changed = attack.run(source, images, labels, threshold=threshold, seed=3, keys=keys)
        for judge, (judged, own) in {name: (score, threshold), other: tuple(victim)}.items():
            found = outcome(labels, judged(images), judged(changed), threshold=own, attack=text)
            expected[attack.name, judge] = found
    assert [(row.attack, row.target) for row in result.rows] == [
        (text, judge) for judge in (name, other) for text in ATTACKS
    ]
    for row in result.rows:
        right = expected[row.attack, row.target]
        assert row.n == right.n == 2 * N
        assert row.source == name
        assert row.success == right.success
        for figure in ("clean_accuracy", "clean_auroc"):
            assert getattr(row, figure).value == pytest.approx(getattr(right, figure))
        assert row.accuracy.value == pytest.approx(right.attacked_accuracy)
        assert row.auroc.value == pytest.approx(right.attacked_auroc)
        assert row.accuracy.low <= row.accuracy.value <= row.accuracy.high
    assert result.rows[1].auroc.value < result.rows[1].clean_auroc.value  # PGD does something at all
    assert (result.n, result.scored, result.failures, result.left_out) == (2 * N, 2 * N, (), ())
    assert result.masking is None


def test_what_fails_is_named_and_changes_nothing_for_the_others(folder, tmp_path):
    sound = Manifest((*made(tmp_path), *made(tmp_path, size=2 * CROP, seed=50)))  # two sizes
    broken, small, gone = (tmp_path / name for name in ("broken.png", "small.png", "gone.png"))
    broken.write_bytes(b"no image")
    save(natural(9, CROP - 1, CROP - 1), small)
    changed = replace(sound[0], path=save(natural(8), tmp_path / "changed.png"), sha256="0" * 64)
    bad = (Sample(broken, 0), Sample(small, 1), Sample(gone, 1), changed)
    options = {"attacks": ATTACKS[:1], "masking": False, "n_resamples": 20}
    alone = robustness(folder / "linear", sound, **options)
    seen = []
    found = robustness(
        folder / "linear",
        Manifest((*bad[:2], *sound, *bad[2:])),
        on_image=lambda: seen.append(1),
        **options,
    )
    assert found.rows == alone.rows
    assert (found.n, found.scored, len(seen)) == (len(sound) + 4, len(sound), len(sound) + 4)
    assert [failure.path for failure in found.failures] == [str(sample.path) for sample in bad]
    for failure, reason in zip(
        found.failures, ("text file", "32 × 32", "no such file", "changed"), strict=True
    ):
        assert reason in failure.error
    assert f"{len(sound)} with a score (75.0%), 4 failed" in found.text()


def test_a_score_under_attack_that_is_no_number_is_a_named_failure(folder, tmp_path, monkeypatch):
    """Pixels of one image turn the score into NaN, and only once they are attacked."""
    manifest = made(tmp_path)
    clean = {image.decode(sample.path).array.tobytes() for sample in manifest}
    spoilt = image.decode(manifest[1].path).array

    def with_gaps(detector):
        score = detector_score(detector)

        def found(images):
            near = np.abs(images[0] - spoilt).max() < 0.05 and images[0].tobytes() not in clean
            return np.full(1, np.nan) if near else score(images)

        return found

    monkeypatch.setattr(robustness_module, "detector_score", with_gaps)
    options = {"attacks": ATTACKS[:2], "masking": False, "n_resamples": 20}
    found = robustness(folder / "linear", manifest, **options)
    name = artifacts.load(folder / "linear").name
    assert [(f.path, f.error) for f in found.failures] == [
        (str(manifest[1].path), f"{name}, attack {attack}: the score is nan") for attack in ATTACKS[:2]
    ]
    assert [row.n for row in found.rows] == [2 * N - 1] * 2
    assert (found.n, found.scored) == (2 * N, 2 * N)
    monkeypatch.undo()
    others = Manifest(tuple(sample for sample in manifest if sample != manifest[1]))
    assert found.rows == robustness(folder / "linear", others, **options).rows


def test_nothing_is_made_up_where_nothing_could_be_scored(folder, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"no image")
    found = robustness(folder / "linear", Manifest((Sample(path, 0),)), attacks=ATTACKS[:1])
    (row,) = found.rows
    assert (row.n, row.accuracy, row.auroc, row.success) == (0, None, None, None)
    assert found.masking is None
    assert "no image has a score" in found.text()
    assert found.to_dict()["coverage"] == 0


def test_an_image_that_another_detector_cannot_score_is_missing_in_its_rows_alone(folder, tmp_path):
    """The other one takes larger crops."""
    manifest = Manifest((*made(tmp_path), *made(tmp_path, size=2 * CROP, seed=50)))
    saved = artifacts.load(folder / "linear")
    spec = saved.spec | {"name": "large", "preprocessing": saved.spec["preprocessing"] | {"crop": 2 * CROP}}
    spec["preprocessing"]["length"] = saved.arrays["weights"].size
    artifacts.save(tmp_path / "large", spec=spec, arrays=saved.arrays)
    large = tmp_path / "large"
    found = robustness(
        folder / "linear", manifest, attacks=ATTACKS[:1], transfer=[large], masking=False, n_resamples=5
    )
    assert [row.n for row in found.rows] == [4 * N, 2 * N]
    assert found.scored == 4 * N
    assert [failure.path for failure in found.failures] == [str(sample.path) for sample in manifest[: 2 * N]]
    assert all("large@" in failure.error for failure in found.failures)


def test_a_detector_without_gradient_is_attacked_by_its_scores_and_says_so(folder, tmp_path):
    manifest = made(tmp_path)
    found = robustness(folder / "scores", manifest, attacks=ATTACKS, n_resamples=5)
    assert [row.attack for row in found.rows] == [ATTACKS[2]]
    assert [attack for attack, _ in found.left_out] == list(ATTACKS[:2])
    text = found.text()
    assert "fgsm:0.02: no gradient" in text
    assert "Gradient masking: not checked: no gradient" in text
    with pytest.raises(ConfigError, match="reads scores alone"):
        robustness(folder / "scores", manifest, attacks=ATTACKS[:2])


def test_the_default_attacks_hold_one_that_needs_no_gradient():
    assert {parse(text).needs_gradient for text in DEFAULT_ATTACKS} == {True, False}


def test_a_single_group_a_class_has_no_interval(folder, tmp_path):
    manifest = made(tmp_path, group="{label}")
    found = robustness(folder / "linear", manifest, attacks=ATTACKS[:1], masking=False, n_resamples=20)
    assert found.to_dict()["rows"][0]["accuracy"]["ci"] is None
    assert "[" not in found.text()
    frames = Manifest(tuple(replace(s, group="", video=f"{s.label}") for s in manifest))
    again = robustness(folder / "linear", frames, attacks=ATTACKS[:1], masking=False, n_resamples=20)
    assert again.to_dict()["rows"] == found.to_dict()["rows"]


def test_one_class_has_no_auroc(folder, tmp_path):
    manifest = made(tmp_path).filter(label=1)
    (row,) = robustness(folder / "linear", manifest, attacks=ATTACKS[:1], masking=False).rows
    assert row.auroc is None
    assert row.accuracy is not None


def test_the_gradient_is_checked_on_the_middle_that_all_images_have(folder, tmp_path):
    manifest = Manifest((*made(tmp_path), *made(tmp_path, size=CROP + 20, seed=50)[:1]))
    found = robustness(folder / "linear", manifest, attacks=ATTACKS[:1], n_resamples=5)
    assert found.masking.n == len(manifest)
    assert "their middle 40 × 40 pixels, eps 0.01" in found.masking_note
    stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert stored["masking"]["passed"] == found.masking.passed
    names = [check.name for check in found.masking.checks]
    assert [check["name"] for check in stored["masking"]["checks"]] == names
    assert all(f"  {name}: " in found.text() for name in names)
    failed = Check("black box", False, "Square doesn't beat PGD", {"accuracy, PGD": 0.75})
    text = replace(found, masking=MaskingReport(0.01, 7, (failed,))).text()
    assert "SIGNS FOUND" in text
    assert "FAIL  black box: Square doesn't beat PGD\n        accuracy, PGD 0.75" in text


def test_a_failure_of_the_last_checks_does_not_cost_the_attacks(folder, tmp_path, monkeypatch):
    """Hours of attacks come first: a file may be gone by then, and memory may be short."""
    manifest = made(tmp_path)
    options = {"attacks": ATTACKS[:1], "n_resamples": 5}
    rows = robustness(folder / "linear", manifest, masking=False, **options).rows
    gone = manifest[0].path

    def on_image():
        gone.unlink(missing_ok=True)

    found = robustness(folder / "linear", manifest, on_image=on_image, **options)
    assert (found.masking, found.rows) == (None, rows)
    assert found.masking_note.startswith(f"on {2 * N} images: ")

    def no_memory(*_, **__):
        raise MemoryError("no room")

    save(natural(9), gone)
    monkeypatch.setattr("tellsign.evaluate.robustness.masking_report", no_memory)
    found = robustness(folder / "linear", made(tmp_path), **options)
    assert found.masking is None
    assert found.masking_note.endswith("eps 0.01: MemoryError: no room")


def test_what_cannot_be_done_is_refused(folder, tmp_path):
    manifest = made(tmp_path)
    with pytest.raises(ConfigError, match="name each one once"):
        robustness(folder / "linear", manifest, transfer=[folder / "linear"])
    with pytest.raises(ConfigError, match="none was given"):
        robustness(folder / "linear", manifest, attacks=["none"])
    with pytest.raises(ConfigError, match="no attack 'smile"):
        robustness(folder / "linear", manifest, attacks=["smile:0.1"])
    faces = write_detector(tmp_path / "faces", region="face")
    for source, others in ((faces, []), (folder / "linear", [faces])):
        with pytest.raises(ConfigError, match="looks at faces"):
            robustness(source, manifest, transfer=others)
    with pytest.raises(ManifestError, match="no label"):
        robustness(folder / "linear", Manifest((replace(manifest[0], label=None),)))
