"""A detector on a user's own images: what may calibrate it, and what a refit on reals alone changes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from detector import CROP, write_detector
from pictures import natural, save, upsampled, write_dataset, write_split_dataset
from tellsign import artifacts, local
from tellsign.calibration import CalibrationConfig, conformal_point, operating_point, threshold_at_fpr, wilson
from tellsign.data import Manifest, read
from tellsign.scoring.decision import Decision
from tellsign.train import calibrate, counts, raw_scores
from tellsign.types import FAKE, REAL, ArtifactError, ConfigError, ManifestError, NotFittedError, Sample

N = 60  # what a false-positive rate of 5 % needs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs, half of them sharper than any that the detector knows."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(N):
        make = upsampled if index % 2 else natural
        save(make(index, CROP, CROP), folder / f"{index % 3}" / f"{index:02d}.png")
    return folder


@pytest.fixture(scope="module")
def reals(folder):
    return local.real_images(folder)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = write_detector(tmp_path_factory.mktemp("detector") / "d", cross_fitted={"coverage": 1})
    (folder / "CARD.md").write_text("the card")
    return artifacts.load(folder)


@pytest.fixture(scope="module")
def fit(detector, reals, tmp_path_factory):
    return local.calibrate_on_reals(detector, reals, out=tmp_path_factory.mktemp("out") / "new")


# --- which images ---


def test_a_folder_is_of_reals(reals, folder):
    assert reals.labels == [REAL] * N
    assert {sample.dataset for sample in reals} == {folder.name}
    assert [s.path for s in reals] == sorted(s.path for s in reals)


def test_what_is_no_image_is_told(tmp_path):
    save(natural(0, 32, 32), tmp_path / "a.png")
    for name in ("notes.txt", "clip.mp4"):
        (tmp_path / name).write_bytes(b"nothing")
    skipped = []
    assert len(local.real_images(tmp_path, on_skip=skipped.append)) == 1
    assert sorted(path.name for path in skipped) == ["clip.mp4", "notes.txt"]


@pytest.mark.parametrize("name", ["fake", "1_fake", "Real"])
def test_a_folder_that_names_labels_is_not_taken_as_reals(tmp_path, name):
    save(natural(0, 32, 32), tmp_path / "set" / name / "a.png")
    with pytest.raises(ManifestError, match=f"a folder named '{name}'.*tellsign data index"):
        local.real_images(tmp_path)
    assert len(local.real_images(tmp_path / "set" / name)) == 1


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="found no images"):
        local.real_images(tmp_path)


def test_the_test_split_calibrates_nothing_unless_it_is_named(tmp_path):
    data = read(write_split_dataset(tmp_path, train=2, valid=3, test=4))
    part = local.calibration_part(data)
    assert {sample.split for sample in part} == {"valid"}
    assert len(part) == 6
    without = data.filter(split=("train", "test"))
    with pytest.raises(ManifestError, match=r"found test \(8 rows\), train \(4 rows\); name a split"):
        local.calibration_part(without)
    loose = Manifest((*without, replace(without[0], split="", path=tmp_path / "x.png")))
    assert [sample.split for sample in local.calibration_part(loose)] == [""]
    unsplit = Manifest(tuple(replace(sample, split="") for sample in data))
    assert local.calibration_part(unsplit) == unsplit


# --- the refit ---


def test_the_thresholds_are_those_of_the_new_reals_and_the_old_fakes(detector, reals, fit):
    scores, _ = raw_scores(detector, reals)
    fake = detector.arrays["scores.fake"]
    point = operating_point(scores, fake, fpr=0.05, fnr=0.05)
    assert Decision.of(fit.artifact).operating_point == point
    assert np.mean(scores >= point.high) <= 0.05
    assert np.array_equal(fit.artifact.arrays["scores.real"], np.sort(scores))
    assert Decision.of(fit.artifact, fpr=0.2).operating_point.high == threshold_at_fpr(scores, 0.2)
    assert fit.artifact.spec["operating_points"]["fpr_0.05"] == point.to_dict()
    assert "needed 300" in fit.artifact.spec["operating_points"]["fpr_0.01"]["refused"]


def test_the_probability_and_all_else_stay(detector, fit):
    spec = fit.artifact.spec
    assert spec.keys() - detector.spec.keys() == {"operating_points", "calibration_groups", "local_reals"}
    assert detector.spec.keys() - spec.keys() == {"cross_fitted"}, "it was of the reals that are gone"
    for key in detector.spec.keys() - {"operating_point", "cross_fitted"}:
        assert spec[key] == detector.spec[key], key
    for name in detector.arrays.keys() - {"scores.real"}:
        assert np.array_equal(fit.artifact.arrays[name], detector.arrays[name]), name
    old, new = Decision.of(detector), Decision.of(fit.artifact)
    assert old.probability(0.3) == new.probability(0.3)
    assert old.domain_limit == new.domain_limit
    assert (fit.artifact.path / "CARD.md").read_text() == "the card"
    assert artifacts.load(detector.path).digest == detector.digest != fit.artifact.digest


def test_false_alarms_before_and_after_are_reported(detector, reals, fit):
    scores, distances = raw_scores(detector, reals)
    assert fit.before == wilson(float(np.mean(scores >= detector.spec["operating_point"]["high"])), N)
    assert fit.before.value > 0.3, "every second photograph looks up-sampled"
    assert fit.after.value <= 0.15
    assert fit.after.low <= fit.after.value <= fit.after.high
    assert fit.outside == wilson(float(np.mean(distances > 1.5)), N)
    assert fit.artifact.spec["local_reals"] == {
        "manifest": reals.digest(),
        "n": N,
        "by_dataset": {f"{reals[0].dataset}/real": N},
        "splits": [""],
        **fit.to_dict(),
    }
    shown = local.text(fit)
    assert f"false alarms among your {N} real images: {fit.before.value:.1%} [" in shown[0]
    assert "before" in shown[0]


def test_the_rule_stays_unless_another_is_asked_for(detector, reals, tmp_path):
    scores, _ = raw_scores(detector, reals)
    fake = detector.arrays["scores.fake"]
    config = CalibrationConfig(conformal=0.1)
    conformal = local.calibrate_on_reals(detector, reals, config, tmp_path / "a").artifact
    point = conformal_point(scores, fake, alpha=0.1)
    assert Decision.of(conformal).operating_point == point
    again = local.calibrate_on_reals(conformal, reals, out=tmp_path / "b").artifact
    assert Decision.of(again).operating_point == point
    assert local.stored_rule(again) == config
    rates = local.calibrate_on_reals(again, reals, CalibrationConfig(fpr=0.1), tmp_path / "c").artifact
    assert Decision.of(rates).operating_point == operating_point(scores, fake, fpr=0.1, fnr=0.05)


def test_the_domain_limit_moves_only_when_asked(detector, reals, tmp_path):
    config = CalibrationConfig(domain_quantile=0.9)
    kept = local.calibrate_on_reals(detector, reals, config, tmp_path / "a")
    assert kept.artifact.spec["domain"] == detector.spec["domain"]
    moved = local.calibrate_on_reals(detector, reals, config, tmp_path / "b", refit_domain=True)
    _, distances = raw_scores(detector, reals)
    limit = moved.artifact.spec["domain"]["limit"]
    assert moved.artifact.spec["domain"] == {"limit": limit, "quantile": 0.9}
    assert np.mean(distances > limit) <= 0.1 <= np.mean(distances >= limit)
    assert moved.outside.value <= 0.1
    with pytest.raises(ConfigError, match=r"too few distances for the quantile 0\.99: found 60, needed 100"):
        local.calibrate_on_reals(detector, reals, out=tmp_path / "c", refit_domain=True)


def test_images_of_an_unknown_kind_are_told(detector, reals, tmp_path):
    narrow = replace(detector, spec=detector.spec | {"domain": {"limit": 1e-9, "quantile": 0.99}})
    fit = local.calibrate_on_reals(narrow, reals, out=tmp_path / "a")
    assert fit.outside.value == 1
    assert "100.0% [94.0%, 100.0%] of them are unlike the images" in local.text(fit)[1]


# --- what is refused ---


def test_too_few_images_are_refused_before_any_is_read(detector, tmp_path):
    missing = Manifest(tuple(Sample(tmp_path / f"{i}.png", REAL) for i in range(N - 1)))
    with pytest.raises(ConfigError, match=r"59 real scores cannot support fpr = 0.05: found 59, needed 60 "):
        local.calibrate_on_reals(detector, missing, out=tmp_path / "a")
    with pytest.raises(ConfigError, match="needed 99 "):
        local.calibrate_on_reals(detector, missing, CalibrationConfig(conformal=0.01), tmp_path / "a")
    config = CalibrationConfig(fpr=0.1)
    with pytest.raises(ConfigError, match="too few distances"):
        local.calibrate_on_reals(detector, missing, config, tmp_path / "a", refit_domain=True)
    assert not list(tmp_path.iterdir())


def test_images_of_one_source_count_once(detector, reals, tmp_path):
    grouped = Manifest(tuple(replace(s, group=f"{i // 2}") for i, s in enumerate(reals)))
    with pytest.raises(ConfigError, match=r"60 real scores of 30 groups, .* found 30, needed 60"):
        local.calibrate_on_reals(detector, grouped, out=tmp_path / "a")
    fit = local.calibrate_on_reals(detector, grouped, CalibrationConfig(fpr=0.1), tmp_path / "b")
    assert fit.before.n == fit.after.n == 30
    single = Manifest(tuple(replace(s, group="one") for s in reals))
    with pytest.raises(ConfigError, match="60 real scores of 1 groups"):
        local.calibrate_on_reals(detector, single, CalibrationConfig(fpr=0.9), tmp_path / "c")


def test_frames_of_a_video_without_a_group_count_once(detector, reals, tmp_path):
    frames = Manifest(tuple(replace(s, video=f"{i // 2}", frame=float(i)) for i, s in enumerate(reals)))
    with pytest.raises(ConfigError, match=r"60 real scores of 30 groups, .* found 30, needed 60"):
        local.calibrate_on_reals(detector, frames, out=tmp_path / "a")
    fit = local.calibrate_on_reals(detector, frames, CalibrationConfig(fpr=0.1), tmp_path / "b")
    assert fit.before.n == fit.after.n == fit.outside.n == 30
    assert fit.artifact.spec["calibration_groups"]["real"] == 30
    grouped = Manifest(tuple(replace(s, group=f"{i // 2}") for i, s in enumerate(reals)))
    other = local.calibrate_on_reals(detector, grouped, CalibrationConfig(fpr=0.1), tmp_path / "c")
    assert other.artifact.spec["operating_points"] == fit.artifact.spec["operating_points"]


def test_a_level_that_leaves_none_to_spare_has_no_rate_after(detector, reals, tmp_path):
    fit = local.calibrate_on_reals(detector, reals[:9], CalibrationConfig(conformal=0.1), tmp_path / "a")
    assert fit.after is None
    assert json.loads(json.dumps(fit.artifact.spec["local_reals"]))["fpr_after"] is None
    assert "unknown, too few images" in local.text(fit)[0]


def test_what_is_no_real_image_is_refused(detector, reals, tmp_path):
    with pytest.raises(ManifestError, match="only real images"):
        local.calibrate_on_reals(
            detector, Manifest((*reals, replace(reals[0], label=FAKE))), out=tmp_path / "a"
        )
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken = Manifest((*reals, Sample(tmp_path / "broken.png", REAL)))
    with pytest.raises(ManifestError, match=r"broken.png' cannot be used"):
        local.calibrate_on_reals(detector, broken, out=tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.png"]


def test_a_detector_without_a_probability_has_none_to_keep(detector, reals, tmp_path):
    spec = {k: v for k, v in detector.spec.items() if k not in ("calibration", "operating_point")}
    bare = replace(detector, spec=spec)
    assert local.stored_rule(bare) is None
    with pytest.raises(NotFittedError, match="is not calibrated; run: tellsign calibrate"):
        local.calibrate_on_reals(bare, reals, out=tmp_path / "a")


# --- both classes ---


def test_both_classes_refit_all_and_forget_the_local_reals(fit, tmp_path):
    data = read(write_dataset(tmp_path / "data", 50, size=CROP, seed=8))
    config = CalibrationConfig(conformal=0.1, method="temperature")
    new = calibrate(fit.artifact, data, config, tmp_path / "new")
    assert "local_reals" not in new.spec
    assert new.spec["calibration"]["method"] == "temperature"
    assert new.spec["operating_point"]["rule"] == "conformal"
    assert new.spec["operating_points"]["conformal_0.1"] == new.spec["operating_point"]
    assert "found 50, needed 60" in new.spec["operating_points"]["fpr_0.05"]["refused"]
    found = new.spec["cross_fitted"]
    assert found["n_folds"] == 10
    assert found["fpr"]["n"] == found["fnr"]["n"] == 50
    for name in ("coverage", "risk", "fpr", "fnr"):
        low, high = found[name]["ci"]
        assert 0 <= low <= found[name]["value"] <= high <= 1
    assert "of the images get a verdict" in local.cross_fitted_text(new)


def test_what_cannot_be_cross_fitted_says_why(fit, tmp_path):
    data = read(write_dataset(tmp_path / "data", 9, size=CROP, seed=8))
    config = CalibrationConfig(conformal=0.1, domain_quantile=0.9)
    new = calibrate(fit.artifact, data, config, tmp_path / "new")
    assert "needed 9" in new.spec["cross_fitted"]["refused"]
    assert "coverage and risk are unknown: 8 real scores" in local.cross_fitted_text(new)


def test_frames_of_few_sources_calibrate_nothing(detector, tmp_path):
    data = read(write_dataset(tmp_path / "data", 60, size=CROP, seed=9))
    videos = Manifest(tuple(replace(s, group="", video=f"{i % 20}") for i, s in enumerate(data)))
    frames = Manifest(tuple(replace(s, group=f"{s.label}-{i % 20}") for i, s in enumerate(data)))
    with pytest.raises(ConfigError, match=r"60 real scores of 20 groups, .* found 20, needed 60"):
        calibrate(detector, videos, CalibrationConfig(), tmp_path / "a")
    new = calibrate(detector, videos, CalibrationConfig(fpr=0.15, fnr=0.15), tmp_path / "v")
    assert new.spec["calibration_groups"] == {"real": 20, "fake": 20}
    assert new.spec["cross_fitted"]["fpr"]["n"] == 20
    with pytest.raises(ConfigError, match=r"60 real scores of 20 groups, .* found 20, needed 60"):
        calibrate(detector, frames, CalibrationConfig(), tmp_path / "a")
    new = calibrate(detector, frames, CalibrationConfig(fpr=0.15, fnr=0.15), tmp_path / "b")
    assert new.spec["calibration_groups"] == {"real": 20, "fake": 20}
    assert "found 20, needed 60" in new.spec["operating_points"]["fpr_0.05"]["refused"]
    with pytest.raises(ConfigError, match="found 20, needed 30"):
        Decision.of(new, fpr=0.1)
    # The fakes are still those of 20 sources after a refit on reals.
    reals = Manifest(tuple(replace(s, group="") for s in data if s.label == REAL))
    with pytest.raises(ConfigError, match=r"60 fake scores of 20 groups"):
        local.calibrate_on_reals(new, reals, CalibrationConfig(), tmp_path / "c")
    fit = local.calibrate_on_reals(new, reals, CalibrationConfig(fnr=0.15), tmp_path / "c")
    assert fit.artifact.spec["calibration_groups"] == {"real": 60, "fake": 20}


def test_a_refit_keeps_the_domain_quantile_of_the_detector(detector, reals, tmp_path):
    spec = detector.spec | {"domain": {"limit": 1.5, "quantile": 0.8}}
    own = replace(detector, spec=spec)
    assert local.stored_rule(own).domain_quantile == 0.8
    fit = local.calibrate_on_reals(own, reals, out=tmp_path / "a", refit_domain=True)
    assert fit.artifact.spec["domain"]["quantile"] == 0.8


@pytest.mark.parametrize("name", ["scores.fake", "domain", "operating_point"])
def test_an_incomplete_detector_is_named(detector, reals, tmp_path, name):
    broken = replace(
        detector,
        spec={k: v for k, v in detector.spec.items() if k != name},
        arrays={k: v for k, v in detector.arrays.items() if k != name},
    )
    with pytest.raises(ArtifactError, match=f"'{name}' is missing"):
        local.calibrate_on_reals(broken, reals, out=tmp_path / "a")


def test_a_detector_is_not_calibrated_on_what_it_was_chosen_on(detector, tmp_path):
    data = read(write_split_dataset(tmp_path, train=2, valid=8, test=2))
    own = replace(detector, spec=detector.spec | {"data": {"manifest": data.digest()}, "train": {"seed": 3}})
    halves = data.filter(split="valid").split({"select": 0.5, "calibrate": 0.5}, seed=3)
    part = local.calibration_part(data, own)
    assert part == halves["calibrate"]
    assert not {s.path for s in part} & {s.path for s in halves["select"]}
    assert local.calibration_part(data, detector) == data.filter(split="valid")
    assert not local.is_own(data.filter(split="valid"), own)


def test_a_manifest_whose_halves_would_be_others_is_not_the_detector_s_own(detector, tmp_path):
    """A digest knows no data sets and no videos, and they decide who is in which half."""
    data = Manifest(
        tuple(replace(s, group="") for s in read(write_split_dataset(tmp_path, train=2, valid=20, test=2)))
    )
    halves = data.filter(split="valid").split({"select": 0.5, "calibrate": 0.5}, seed=3)
    facts = {"manifest": data.digest(), "train": counts(data.filter(split="train"))}
    facts |= {"calibrate": counts(halves["calibrate"])}
    recorded = {**facts, "halves": {name: half.digest() for name, half in halves.items()}}

    def owns(manifest, facts):
        spec = detector.spec | {"data": facts, "train": {"seed": 3}}
        assert manifest.digest() == data.digest()
        return local.is_own(manifest, replace(detector, spec=spec))

    renamed = Manifest(tuple(replace(s, dataset=f"d{i % 3}") for i, s in enumerate(data)))
    torn = Manifest(tuple(replace(s, video=f"{s.split}{i % 6}") for i, s in enumerate(data)))
    alone = Manifest(tuple(replace(s, video=s.split) for s in data))
    for order in (data, Manifest(tuple(reversed(data)))):
        assert owns(order, facts)
        assert owns(order, recorded)
    assert not owns(renamed, facts)
    assert not owns(renamed, recorded)
    assert not owns(torn, recorded)
    # One video for each class and split: there are no two halves of them.
    assert not owns(alone, recorded)
