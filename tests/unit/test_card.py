"""The card of a trained detector: it says what detector.json says, and takes the place of nobody's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pictures import write_dataset, write_split_dataset
from tellsign import artifacts, hub, local
from tellsign.artifacts import CARD_FILE, Artifact
from tellsign.calibration import CalibrationConfig
from tellsign.card import CALIBRATED, MARK, SEEN, UNMEASURED, UNSEEN, refitted_card, trained_card
from tellsign.data import Manifest, read
from tellsign.train import calibrate, train
from tellsign.train_config import TrainConfig
from tellsign.types import FAKE, REAL

pytest.importorskip("sklearn")

LOOSE = CalibrationConfig(fpr=0.4, fnr=0.4, domain_quantile=0.5)
CONFIG = TrainConfig(
    system="spectrum",
    name="toy",
    summary="Of made pictures,\nand good for nothing.",
    config={"classifier": "linear_svm", "crop": 32},
    grid={"c": [0.1, 1.0]},
    calibration=LOOSE,
)


def made(folder: Path) -> Manifest:
    return read(write_split_dataset(folder, train=8, valid=16, size=48))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return made(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return train(CONFIG, data, tmp_path_factory.mktemp("out") / "toy")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return read(write_dataset(tmp_path_factory.mktemp("others"), 10, size=48, seed=7, dataset="others"))


def card_of(artifact: Artifact) -> str:
    return (artifact.path / CARD_FILE).read_text(encoding="utf-8")


def test_a_new_detector_has_a_card_that_says_how_it_was_made(data: Manifest, trained: Artifact) -> None:
    card, spec = card_of(trained), trained.spec
    flat = card.replace("\n", " ")
    assert card.startswith(
        "# toy\n\nOf made pictures, and good for nothing.\n\nA detector of the system `spectrum`."
    )
    assert f"Manifest `{data.digest()}`" in card
    assert "| made/real | 8 | 8 | 8 |" in card
    assert "| made/fake | 8 | 8 | 8 |" in card
    assert "| groups of reals | 8 | 8 | 8 |" in card
    assert "It is the best of 2 candidates by AUROC on the half `select`: 1.000, n = 16." in card
    assert "flatters" in card
    assert "at most 0.4 of the reals called fake and 0.4 of the fakes real, on 8 reals of 8 groups" in flat
    point = spec["operating_point"]
    assert f"fake from a score of {point['high']:.6g} on, no sign found below {point['low']:.6g}" in flat
    found = spec["cross_fitted"]["coverage"]
    assert f"| images with a verdict | {found['value']:.3f} [{found['ci'][0]:.3f}, " in card
    assert "The licences of these data apply to the weights" in flat
    assert card.endswith(f"## What was not measured\n\n{UNSEEN}{UNMEASURED}")
    assert all(len(line) <= 116 for line in card.splitlines())


def test_the_card_is_no_part_of_the_digest_and_the_same_every_time(
    data: Manifest, trained: Artifact, tmp_path: Path
) -> None:
    again = train(CONFIG, data, tmp_path / "again")
    assert card_of(again) == card_of(trained)
    (again.path / CARD_FILE).unlink()
    assert artifacts.load(again.path).digest == trained.digest


def test_a_calibration_writes_its_part_anew(trained: Artifact, others: Manifest, tmp_path: Path) -> None:
    new = calibrate(trained, others, replace(LOOSE, fpr=0.3), tmp_path / "new")
    before, after = card_of(trained), card_of(new)
    assert after.partition(CALIBRATED)[0] == before.partition(CALIBRATED)[0]
    assert others.digest() in after
    assert "at most 0.3 of the reals" in after.replace("\n", " ")
    assert "at most 0.4 of the reals" not in after.replace("\n", " ")
    assert after.count(CALIBRATED) == after.count("## What was not measured") == 1
    own = local.calibrate_on_reals(new, others.filter(label=REAL), LOOSE, tmp_path / "own").artifact
    assert "These reals are 10 images of a user's own." in card_of(own).replace("\n", " ")
    assert "cross-fitting" not in card_of(own), "of other reals"
    assert "of a user's own" not in after


@pytest.mark.parametrize("of", [(REAL, FAKE), REAL])
def test_a_card_tells_when_the_test_split_was_calibrated_on(
    trained: Artifact, others: Manifest, tmp_path: Path, of: Any
) -> None:
    test = Manifest(tuple(replace(s, split="test") for s in others.filter(label=of)))
    fit = calibrate if len(set(test.labels)) == 2 else local.calibrate_on_reals
    fit(trained, test, LOOSE, tmp_path / "new")
    new = artifacts.load(tmp_path / "new")
    assert new.spec["calibration_data" if fit is calibrate else "local_reals"]["splits"] == ["test"]
    assert SEEN in card_of(new)
    assert "was not read" not in card_of(new)
    again = calibrate(new, others, LOOSE, tmp_path / "again")
    assert UNSEEN in card_of(again), "nothing in it is of the test split any more"
    assert SEEN not in card_of(again)


def test_somebody_s_own_card_stays(trained: Artifact, others: Manifest, tmp_path: Path) -> None:
    copy = calibrate(trained, others, LOOSE, tmp_path / "copy")
    (copy.path / CARD_FILE).write_text("# Mine\n")
    assert card_of(calibrate(copy, others, LOOSE, tmp_path / "new")) == "# Mine\n"
    (copy.path / CARD_FILE).unlink()
    assert not (calibrate(copy, others, LOOSE, tmp_path / "bare").path / CARD_FILE).exists()


def test_a_card_that_a_system_writes_stays(data: Manifest, tmp_path: Path, monkeypatch: Any) -> None:
    kind = hub.system("spectrum")
    fit = kind.fit

    def with_card(self: Any, *manifests: Manifest, out: Path, **options: Any) -> Path:
        fit(self, *manifests, out=out, **options)
        (out / CARD_FILE).write_text("# The system's\n")
        return out

    monkeypatch.setattr(kind, "fit", with_card)
    assert card_of(train(CONFIG, data, tmp_path / "toy")) == "# The system's\n"


def test_hostile_names_stay_in_their_cells(trained: Artifact) -> None:
    spec = {
        **trained.spec,
        "name": "a\x1b[2J",
        "summary": "",
        "data": {
            **trained.spec["data"],
            **{
                part: {"n": 3, "by_dataset": {"x|y\n\udcff/real": 3}}
                for part in ("train", "select", "calibrate")
            },
        },
        "metrics": {**trained.spec["metrics"], "n_candidates": 1},
        "cross_fitted": {"refused": "too few\nimages"},
        "faces": {"n": 5, "images": 4, "left_out": 2},
        "fusion": {},
        "calibration_data": {**trained.spec["calibration_data"], "left_out": 7},
    }
    groups = dict.fromkeys(("train", "select", "calibrate"), (2, 1))
    card = refitted_card(trained_card(spec, groups), spec)
    assert card.encode("utf-8")
    assert all(line.isprintable() for line in card.splitlines())
    (row,) = (line for line in card.splitlines() if line.startswith(r"| x\|y"))
    assert row.endswith(" | 3 | 3 | 3 |")
    flat = card.replace("\n", " ")
    for words in (
        "It is the only candidate by AUROC",
        "epochs and the fusion",
        "is unknown: too few images.",
        "at 5 in 4 training images. 2 others,",
        "7 others could not be used.",
    ):
        assert words in flat
    for rule, words in (("eer", "equal error of both"), ("conformal", "conformal abstention")):
        point = {**spec["operating_point"], "rule": rule}
        assert words in refitted_card(card, {**spec, "operating_point": point}).replace("\n", " ")
    assert MARK in card
