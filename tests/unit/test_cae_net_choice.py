"""The images on which the small configuration was chosen: which they are, and what is left without them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cae_net_tiny import write_config
from tellsign.metrics import auroc
from tellsign.types import FAKE, REAL, Sample

pytest.importorskip("torch")
pytest.importorskip("timm")
from tellsign.evaluate import comparisons
from tellsign.evaluate.cae_net import choice, study
from tellsign.evaluate.study import SPECTRUM


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(comparisons, "RESAMPLES", 100)


def cell(names, rows):
    """Test images with these checksums, of which some rows can be used."""
    images = [Sample(Path(f"{name}.png"), REAL, sha256=name * 64) for name in names]
    scores = SimpleNamespace(rows=np.array(rows))
    return SimpleNamespace(cell=SimpleNamespace(test=images), scores=scores)


def pooled(n=80):
    """Reals and fakes in turn, with a good and a poor column, and what the spectrum detector says."""
    labels, rng = np.arange(n) % 2, np.random.default_rng(0)
    columns = {name: labels + rng.normal(scale=scale, size=n) for name, scale in (("a", 2.0), ("b", 0.4))}
    table = comparisons.Pooled(labels, tuple(map(str, range(n))), columns, np.zeros(n))
    return table, labels + rng.normal(scale=1.5, size=n)


def test_the_list_holds_the_images_of_one_part():
    content = json.loads(choice.FILE.read_text(encoding="utf-8"))
    assert len(content["sha256"]) == len(choice.choosing_images()) == 320
    assert all(len(digits) == choice.N_DIGITS for digits in content["sha256"])
    assert "StratifiedGroupKFold" in content["what"]


@pytest.mark.data
def test_the_list_is_the_part_that_its_head_names(data_root):
    splitting = pytest.importorskip("sklearn.model_selection")
    from tellsign.data.index import index_csv

    images = index_csv(data_root / "manifest.csv", skip_labels=["features"]).filter(dataset="stylegan140k")
    parts = splitting.StratifiedGroupKFold(5, shuffle=True, random_state=0)
    groups = [sample.group for sample in images]
    _, first = next(iter(parts.split(np.zeros(len(images)), images.labels, groups)))
    assert {images[row].sha256[: choice.N_DIGITS] for row in first} == choice.choosing_images()


def test_images_are_known_by_content_in_any_fold(monkeypatch):
    monkeypatch.setattr(choice, "choosing_images", lambda: frozenset({"b" * choice.N_DIGITS}))
    small = SimpleNamespace(config=study.configuration(None))
    cells = [cell("abc", [0, 1, 2]), cell("bdb", [1, 2])]
    assert choice.unchosen(small, cells).tolist() == [True, False, True, True, False]


def test_another_configuration_was_chosen_nobody_knows_where(monkeypatch, tmp_path):
    monkeypatch.setattr(choice, "choosing_images", lambda: frozenset({"b" * choice.N_DIGITS}))
    other = SimpleNamespace(config=study.configuration(write_config(tmp_path)))
    assert choice.unchosen(other, [cell("abc", [0, 1, 2])]).all()
    small = study.configuration(None)
    quicker = SimpleNamespace(config=replace(small, training=replace(small.training, workers=0)))
    assert not choice.unchosen(quicker, [cell("abc", [0, 1, 2])]).all(), "the same configuration"


def test_rows_are_those_of_what_is_left():
    table, spectrum = pooled()
    kept = np.arange(80) >= 30
    rows = {(row.row, row.column): row for row in choice.rest_rows(table, spectrum, kept)}
    for name, values in {**table.columns, SPECTRUM: spectrum}.items():
        row = rows[name, choice.REST]
        assert row.reproduced == pytest.approx(auroc(table.labels[30:], values[30:]))
        assert row.ci[0] <= row.reproduced <= row.ci[1]
    pair = rows[f"b - {SPECTRUM}", f"{choice.REST}, difference"]
    expected = [auroc(table.labels[30:], values[30:]) for values in (table.columns["b"], spectrum)]
    assert pair.reproduced == pytest.approx(expected[0] - expected[1])
    assert pair.note == "b is better"
    assert len(rows) == 5
    alone = choice.rest_rows(table, None, kept)
    assert [row.row for row in alone] == ["a", "b"], "where the spectrum detector could not be fitted"


def test_nothing_is_left_out_and_nothing_is_left():
    table, spectrum = pooled()
    assert choice.rest_rows(table, spectrum, np.ones(80, dtype=bool)) == []
    rows = choice.rest_rows(table, spectrum, table.labels == FAKE)
    assert [(row.row, row.reproduced) for row in rows] == [("a", None), ("b", None)]
    assert all("a class is missing" in row.note for row in rows)


def test_how_many_is_said():
    assert choice.choice_note(np.ones(5, dtype=bool)) == ""
    assert "chosen on 2 of these test images" in choice.choice_note(np.array([True, False, False]))
