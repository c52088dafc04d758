"""The record of a training: counting, the log, the curves, and what is said."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict

import numpy as np
import PIL.Image
import pytest

from tellsign.engine import curves, record
from tellsign.engine.record import Cadence, Journal
from tellsign.engine.task import Step
from tellsign.types import ConfigError

BY_AUROC = {"auroc": "highest", "loss": "lowest"}
CLOSING = {"learning_rates": {"network": 0.1}, "weights": "abc", "best": BY_AUROC}


def after(*epochs: tuple[float, float], n_steps: int = 4) -> Journal:
    """A journal of epochs with validation AUROC and loss."""
    journal = Journal()
    for auroc, loss in epochs:
        for number in range(n_steps):
            journal.count(Step(2, 3.0 - number), seconds=0.5, waited=0.1 * (number + 1), n_steps=n_steps)
        journal.close_epoch({"auroc": auroc, "accuracy": 0.5, "loss": loss}, **CLOSING)
    return journal


def test_an_epoch_is_counted():
    journal = Journal()
    for number, n in enumerate((4, 4, 1)):
        journal.count(Step(n, 2.0 * n, {"extra": 1.0 * n}), seconds=0.5, waited=0.1, n_steps=3)
        assert (journal.step, journal.steps) == (number + 1, number + 1)
    assert journal.close_epoch({"auroc": 0.75, "accuracy": 0.5, "loss": 0.6}, **CLOSING)
    (row,) = journal.history
    assert (row["epoch"], row["step"], row["n"], row["loss"], row["extra"]) == (1, 3, 9, 2.0, 1.0)
    assert row["images_per_second"] == pytest.approx(6)
    assert row["waiting"] == pytest.approx(0.1 / 1.5)
    assert (journal.epoch, journal.step, journal.steps, journal.n, journal.seconds) == (1, 0, 3, 0, 0)


def test_validation_and_checkpoints_are_none_of_the_networks_speed():
    journal = Journal()
    for _ in range(2):
        for _ in range(4):
            journal.count(Step(3, 1.0), seconds=0.5, waited=0.5, n_steps=4)
        journal.seconds += 100  # in which images were neither waited for nor learnt from
        journal.close_epoch({"auroc": 1, "accuracy": 1, "loss": 1}, **CLOSING)
    row = journal.history[-1]
    assert (row["seconds"], row["training_seconds"]) == (102, 2)
    assert row["images_per_second"] == pytest.approx(6)
    assert row["waiting"] == pytest.approx(0.25)
    assert journal.waiting() == pytest.approx(0.25)
    assert journal.total_seconds() == pytest.approx(204)


def test_points_of_the_curve():
    journal = Journal()
    for number in range(120):
        journal.count(Step(1, float(number)), seconds=1, waited=0, n_steps=120)
    assert len(journal.points) == 40  # every third step, no more than 50
    assert journal.points[0] == [3, 1.0]
    assert journal.points[-1] == [120, 118.0]


def test_the_best_epoch_has_the_highest_auroc_and_then_the_lowest_loss():
    journal = after((0.7, 0.5), (0.8, 0.9), (0.8, 0.6), (0.8, 0.6), (0.75, 0.1))
    assert journal.best["epoch"] == 3
    assert journal.best is journal.history[2]


def test_figures_have_points_too():
    journal = Journal()
    for number in range(120):
        journal.count(Step(2, 1.0, {"kl": 2.0 * number}), seconds=1, waited=0, n_steps=120)
    assert journal.figure_points["kl"][:2] == [[3, 1.0], [6, 4.0]]
    assert len(journal.figure_points["kl"]) == len(journal.points) == 40


@pytest.mark.parametrize(
    ("best", "epoch"),
    [
        ({"error": "lowest"}, 2),
        ({"error": "highest"}, 1),
        ({"psnr": "highest", "error": "lowest"}, 2),
        ({"psnr": "highest", "error": "highest"}, 1),
        ({}, 3),
    ],
    ids=str,
)
def test_any_measure_may_choose_the_best_epoch(best, epoch):
    journal = Journal()
    for psnr, error in ((30.0, 0.5), (30.0, 0.25), (29.0, 0.3)):
        journal.count(Step(1, 1.0), seconds=1, waited=0, n_steps=1)
        journal.close_epoch({"psnr": psnr, "error": error}, **CLOSING | {"best": best})
    assert journal.best["epoch"] == epoch


def test_rates_of_several_optimisers_have_a_column_each():
    journal = Journal()
    journal.count(Step(1, 1.0), seconds=1, waited=0, n_steps=1)
    journal.close_epoch({}, **CLOSING | {"learning_rates": {"d": 0.1, "g": 0.2}})
    (row,) = journal.history
    assert (row["learning_rate"], row["learning_rate_d"], row["learning_rate_g"]) == (0.1, 0.1, 0.2)
    assert record.figure_names(row) == []
    assert record.measures(row) == {}


@pytest.mark.parametrize(
    ("epochs", "patience", "over"),
    [(5, 0, False), (4, 0, True), (9, 2, True), (9, 3, False), (4, 9, True)],
)
def test_when_it_is_over(epochs, patience, over):
    journal = after((0.5, 1), (0.9, 1), (0.8, 1), (0.7, 1))
    assert journal.is_over(epochs, patience) is over
    assert not Journal().is_over(1, 1)


def test_a_journal_goes_through_json():
    journal = after((0.5, 1), (0.9, 0.1 + 0.2))
    journal.skip("train", {3: ("'a.png'", "no image")})
    journal.count(Step(2, 1 / 3), seconds=0.1, waited=0.0, n_steps=4)
    assert asdict(Journal(**json.loads(json.dumps(asdict(journal))))) == asdict(journal)


def test_images_are_left_out_once():
    journal = Journal()
    assert len(journal.skip("train", {3: ("a", "bad")})) == 1
    assert len(journal.skip("train", {3: ("a", "bad"), 4: ("b", "bad")})) == 1
    assert len(journal.skip("valid", {3: ("c", "bad")})) == 1
    assert [row["note"] for row in journal.skipped] == ["a: bad", "b: bad", "c: bad"]


def test_the_logs(tmp_path):
    journal = after((0.5, 0.7), (0.9, 0.3))
    journal.skip("train", {3: ("'a,b.png'", 'it says "no"')})
    journal.rows.append(journal.note("resumed", "goes on"))
    record.write_logs(tmp_path, journal)
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["event"] for row in rows] == ["epoch", "epoch", "skipped", "resumed"]
    assert [float(row["valid_auroc"]) for row in rows[:2]] == [0.5, 0.9]
    assert rows[2]["note"] == "'a,b.png': it says \"no\""
    log = json.loads((tmp_path / "log.json").read_text(), parse_constant=pytest.fail)
    assert log["best"]["epoch"] == 2
    assert len(log["epochs"]) == 2
    assert log["skipped"][0]["row"] == 3
    assert log["waiting"] == pytest.approx(0.2)


@pytest.mark.parametrize("journal", [Journal(), after((0.5, 1)), after((0.5, 1), (0.6, 0.9), n_steps=60)])
def test_the_curves(tmp_path, journal):
    curves.write_curves(tmp_path, journal)
    with PIL.Image.open(tmp_path / "curves.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    is_vermilion = (np.abs(pixels.astype(int) - (0xB0, 0x44, 0x0C)).sum(axis=2) < 30).any()
    assert is_vermilion == bool(journal.history), "the validation curve"


def test_each_kind_of_measure_has_its_panel():
    measured = {"auroc": 0.9, "accuracy": 0.8, "loss": 0.3, "psnr": 30.0, "duplicates": 0.1}
    journal = Journal()
    for _ in range(2):
        journal.count(Step(2, 3.0, {"d_loss": 1.0, "g_loss": 2.0}), seconds=1, waited=0, n_steps=1)
        journal.close_epoch(measured, **CLOSING)
    found = {title: [line.label for line in lines] for title, lines in curves.panels(journal).items()}
    assert found == {
        "mean loss": ["training", "validation"],
        "parts of the loss": ["d_loss", "g_loss"],
        "on the validation split": ["AUROC", "accuracy"],
        "PSNR on the validation split": ["PSNR"],
        "duplicates on the validation split": ["duplicates"],
    }
    g_loss = curves.panels(journal)["parts of the loss"][1]
    assert (g_loss.values, g_loss.fine) == ([1.0, 1.0], [[1, 1.0], [2, 1.0]])
    assert list(curves.panels(Journal())) == ["mean loss"]


def test_the_curves_of_a_training_without_validation(tmp_path):
    journal = Journal()
    journal.count(Step(2, 3.0, {"d_loss": 1.0, "g_loss": 2.0}), seconds=1, waited=0, n_steps=1)
    journal.close_epoch({}, **CLOSING | {"best": {}})
    curves.write_curves(tmp_path, journal)
    record.write_logs(tmp_path, journal)
    with PIL.Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (840, 720)
    assert "valid_" not in (tmp_path / "log.csv").read_text()


def test_a_line_of_progress():
    journal = after((0.5, 1))  # 2 s for 4 steps
    journal.count(Step(8, 4.0), seconds=2.0, waited=0.5, n_steps=4)
    line = record.progress_line(journal, epochs=3, n_steps=4)
    # 4 s for 5 steps, of which 7 are left.
    expected = "loss 0.5000, 4.0 images/s, 0:00:06 left, 25% waiting for images"
    assert line == f"epoch 2 of 3, step 1 of 4: {expected}"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3725, "1:02:05")])
def test_clock(seconds, text):
    assert record.clock(seconds) == text


def test_a_line_of_an_epoch():
    line = record.epoch_line(after((0.75, 0.5)).history[0], epochs=2, is_best=True)
    assert line.startswith(
        "epoch 1 of 2: loss 0.7500; validation: AUROC 0.7500, accuracy 0.5000, loss 0.5000, the"
    )
    assert math.isfinite(after((0.75, 0.5)).total_seconds())


def test_a_line_of_an_epoch_without_validation():
    journal = Journal()
    journal.count(Step(2, 3.0, {"d_loss": 1.0, "g_loss": 2.0}), seconds=1, waited=0, n_steps=1)
    journal.close_epoch({}, **CLOSING | {"best": {}})
    line = record.epoch_line(journal.history[0], epochs=2, is_best=False)
    assert line.startswith("epoch 1 of 2: loss 1.5000, d_loss 0.5000, g_loss 1.0000; 0:00:01, 2.0 images/s")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_was_measured_is_finite(value):
    record.require_finite_values({"psnr": 30.0}, where="the end of epoch 1")
    with pytest.raises(ConfigError, match=f"PSNR is {value} at the end of epoch 1"):
        record.require_finite_values({"error": 0.5, "psnr": value}, where="the end of epoch 1")


def test_cadence(monkeypatch):
    now = 100.0
    monkeypatch.setattr(record.time, "monotonic", lambda: now)
    cadence = Cadence(10.0, last=now)
    assert not cadence.is_due()
    now = 110.0
    assert cadence.is_due()
    with cadence.done():
        now = 111.0  # it took a second
    now = 160.0
    assert not cadence.is_due(), "no more than a fiftieth of the time goes into it"
    now = 161.0
    assert cadence.is_due()
    assert Cadence(0.0, last=now).is_due()
