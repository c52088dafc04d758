"""`tellsign calibrate` and the plot of `evaluate`, in this process: which data and which rule they take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detector import CROP, write_detector
from pictures import write_dataset, write_split_dataset
from tellsign import artifacts
from tellsign.cli import learn
from tellsign.data import Manifest, read, write
from tellsign.scoring.decision import Decision
from tellsign.types import ConfigError, ManifestError, NotFittedError

N = 50  # a class: a hundred images, which the domain check needs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """d (a detector), data (of both classes), split (whose test and training images are no images)."""
    folder = tmp_path_factory.mktemp("calibrate")
    write_detector(folder / "d")
    write_dataset(folder / "data", N, size=CROP, seed=1)
    write_split_dataset(folder / "split", train=2, valid=N, test=3, size=CROP, seed=2)
    for sample in read(folder / "split" / "manifest.csv").filter(split=("train", "test")):
        sample.path.write_bytes(b"no image")
    return folder


@pytest.fixture
def calibrate(folder, tmp_path):
    """Runs the command, and gives the rule and the options of the operating point that it wrote."""

    def run(data="data/manifest.csv", detector="d", **options):
        name = detector if detector == "spectrum" else str(folder / detector)
        learn.calibrate(detector=name, data=folder / data, **{"output": tmp_path / "out", **options})
        return artifacts.load(tmp_path / "out").spec

    return run


def test_the_test_split_is_left_alone(calibrate, capsys):
    spec = calibrate("split/manifest.csv", fpr="0.1", fnr=0.1)
    said = capsys.readouterr().err
    assert f"calibrating on the {2 * N} rows of the split valid; 10 others are left alone" in said
    assert spec["calibration_data"]["n"] == 2 * N
    with pytest.raises(ConfigError, match="3 real scores cannot support"):
        calibrate("split/manifest.csv", split="test", fpr="0.1", fnr=0.1)


@pytest.mark.parametrize(
    ("split", "words"), [("train", "scores them too well"), ("test", "evaluate it on others")]
)
def test_a_split_that_nobody_should_calibrate_on_is_told(calibrate, folder, capsys, split, words):
    data = read(folder / "data" / "manifest.csv")
    write(Manifest(tuple(replace(s, split=split) for s in data)), folder / "data" / "named.csv")
    spec = calibrate("data/named.csv", split=split, fpr="0.1", fnr=0.1)
    assert spec["calibration_data"]["splits"] == [split]
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "calibrating on" in line)
    assert f"calibrating on the split {split}: " in line
    assert words in line


def test_a_manifest_without_splits_is_used_as_it_is(calibrate, capsys):
    assert calibrate(fpr="0.1", fnr=0.1)["calibration_data"]["n"] == 2 * N
    assert "left alone" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "rule", "fpr", "fnr"),
    [
        ({"fpr": "0.1", "fnr": 0.2}, "rates", 0.1, 0.2),
        ({"conformal": 0.1}, "conformal", 0.1, 0.1),
    ],
)
def test_options_name_the_rule(calibrate, options, rule, fpr, fnr):
    point = calibrate(**options)["operating_point"]
    assert (point["rule"], point["fpr"], point["fnr"]) == (rule, fpr, fnr)


def test_an_equal_error_can_be_asked_for(calibrate):
    spec = calibrate(fpr="eer", method="platt")
    assert spec["operating_point"]["rule"] == "eer"
    assert spec["operating_point"]["low"] == spec["operating_point"]["high"]
    assert spec["calibration"]["method"] == "sigmoid"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "50 real scores cannot support fpr = 0.05: found 50, needed 60"),
        ({"conformal": 0.001}, "conformal = 0.001: found 50, needed 999"),
        ({"fpr": "eer", "conformal": 0.1}, "two rules for one pair of thresholds"),
        ({"fpr": "0.1", "conformal": 0.1}, "two rules for one pair of thresholds"),
        ({"fpr": "best"}, "--fpr takes a number"),
        ({"fpr": "5"}, "fpr is a share"),
        ({"conformal": 2.0}, "conformal is a share"),
        ({"fpr": "eer", "fnr": 0.1}, "--fnr has no say in the equal error"),
        ({"conformal": 0.1, "fnr": 0.1}, "--fnr has no say in the error level 0.1"),
        ({"detector": "spectrum", "output": None}, "spectrum is shipped .* -o FOLDER"),
        ({"refit_domain": True}, "--refit-domain goes with reals alone"),
        ({"split": "valid"}, "has no split 'valid'"),
        ({"data": "data"}, "a folder named 'fake'"),
        ({"data": "data/real", "split": "valid"}, "--split goes with a manifest"),
        ({"data": "data/real"}, "50 real scores cannot support fpr = 0.05: found 50, needed 60"),
        ({"data": "data/real", "conformal": 0.01}, "found 50, needed 99"),
    ],
    ids=str,
)
def test_what_is_refused(calibrate, tmp_path, options, message):
    with pytest.raises((ConfigError, ManifestError), match=message):
        calibrate(**options)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_reals_keeps_the_rule_that_is_not_named(calibrate, folder):
    spec = calibrate("data/real", fpr="0.1")
    assert (spec["operating_point"]["fpr"], spec["operating_point"]["fnr"]) == (0.1, 0.05)
    assert spec["operating_point"]["n_real"] == N
    assert spec["operating_point"]["n_fake"] == 60, "those of the detector"
    assert spec["calibration"] == artifacts.load(folder / "d").spec["calibration"]


def test_a_plot_that_cannot_be_written_is_refused_before_anything_is_scored(folder, monkeypatch):
    monkeypatch.setattr("tellsign.scoring.predictions.predict", None)
    with pytest.raises(ConfigError, match="a plot is written as PNG"):
        learn.evaluate(
            detector=str(folder / "d"), data=folder / "data" / "manifest.csv", reliability=folder / "r.svg"
        )


def test_without_a_place_a_detector_is_calibrated_where_it_lies(folder, tmp_path, capsys):
    own = write_detector(tmp_path / "own")
    before = artifacts.load(own).digest
    learn.calibrate(detector=str(own), data=folder / "data" / "manifest.csv", conformal=0.1)
    after = artifacts.load(own)
    assert after.digest != before
    assert after.spec["operating_point"]["rule"] == "conformal"
    assert f"to {own}" in capsys.readouterr().err


@pytest.mark.parametrize("split", [None, "valid"])
def test_a_split_of_unknown_use_is_told(calibrate, folder, capsys, split):
    """Whether the split is named or not, of a detector's own manifest one half of it is meant."""
    calibrate("split/manifest.csv", split=split, fpr="0.1", fnr=0.1)
    assert "the detector was not trained on this very manifest" in capsys.readouterr().err
    data = read(folder / "split" / "manifest.csv")
    write_detector(folder / "own", data={"manifest": data.digest()}, train={"seed": 0})
    with pytest.raises(ConfigError, match=r"too few distances for the quantile 0\.99: found 50"):
        calibrate("split/manifest.csv", "own", split=split, fpr="0.15", fnr=0.15)
    said = capsys.readouterr().err
    assert (
        "calibrating on the 50 rows of the split valid that the detector was not chosen on; 60 others" in said
    )
    assert "not trained on this very manifest" not in said


def test_a_detector_that_knows_no_training_image_is_refused_before_any_is_read(folder, tmp_path, calibrate):
    whole = artifacts.load(folder / "d")
    spec = {key: value for key, value in whole.spec.items() if key != "calibration"}
    arrays = {name: array for name, array in whole.arrays.items() if not name.startswith("domain.")}
    cell = artifacts.save(tmp_path / "cell", spec=spec, arrays=arrays)
    with pytest.raises(NotFittedError, match=r"lacks the statistics .*tellsign train CONFIG"):
        calibrate("split/manifest.csv", detector=tmp_path / "cell", split="test")  # are no images
    with pytest.raises(NotFittedError, match=r"lacks the statistics .*tellsign train CONFIG"):
        Decision.of(cell)
