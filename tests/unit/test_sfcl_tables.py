"""SFCL-HCMF's tables: published values and their contradictions, what is measured, what can't be.

Cells are stand-ins here, whose scores are known.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sfcl_tiny import write_config
from study_cells import made, rows_of, stand_in
from tellsign.data import Manifest
from tellsign.evaluate import comparisons
from tellsign.evaluate.cells import Finished, Scores
from tellsign.evaluate.reproduce import reproduce
from tellsign.evaluate.study import Study
from tellsign.groups import sources
from tellsign.metrics import auroc
from tellsign.types import FAKE, REAL, ConfigError, ManifestError

pytest.importorskip("torch")
pytest.importorskip("timm")
from tellsign.evaluate.sfcl_hcmf import ablations, notes, study, tables

ROOT = Path(__file__).resolve().parents[2]
TABLES = [f"sfcl-table{n}" for n in (1, 2, 3, 4)]
OWN = "SFCL-HCMF"


def said(cell):
    """(N,) what a stand-in's detector says: the full model is nearly always right, others less often."""
    labels, rng = np.array(cell.test.labels), np.random.default_rng(sum(map(ord, cell.name)))
    whole = (cell.config.fusion, cell.config.sbcm, cell.config.sida) == ("hcmf", True, True)
    return labels - 0.5 + rng.normal(scale=0.3 if whole else 0.8, size=len(labels))


def scored(cell):
    labels = np.array(cell.test.labels)
    scores = Scores(np.arange(len(labels)), labels, tuple(sources(cell.test)), said(cell), {})
    record = {"left_out": 0, "detector": "d" * 64, "seconds": {"trainings": 10.0}, "fusion": None}
    return Finished(cell, Path("cells") / cell.name, scores, record)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(comparisons, "RESAMPLES", 100)


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """The cells that a table asks for."""
    return stand_in(monkeypatch, lambda cell: replace(scored(cell), folder=tmp_path / "cells" / cell.name))


def table(name, tmp_path, **options):
    given = {"manifest": made(), "out": tmp_path / "cells", "config": write_config(tmp_path)}
    return reproduce(name, **{**given, **options})


# published


@pytest.mark.parametrize("name", TABLES)
def test_without_data_every_own_row_says_what_it_needs(name):
    found = reproduce(name).to_dict()
    assert "2504.17223" in found["paper"]
    for row in found["rows"]:
        assert row["reproduced"] is None
        assert row["ci"] is None
        assert "--data MANIFEST -o FOLDER" in row["note"] or row["note"].startswith("another method")
    assert any("--data" in row["note"] for row in found["rows"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_tables_have_the_published_values():
    one, two, three, four = (rows_of(reproduce(name)) for name in TABLES)
    assert one[OWN, "accuracy, FF++ c23"].published == pytest.approx(0.9743)
    assert one[OWN, "AUROC, FF++ c40"].published == pytest.approx(0.9421)
    assert one["SPSL", "accuracy, FF++ c23"].published == pytest.approx(0.915)
    assert ("X-Ray", "accuracy, FF++ c23") not in one, "a dash"
    assert one["X-Ray", "AUROC, FF++ c23"].published == pytest.approx(0.874)
    assert two[OWN, "AUROC, Celeb-DF v2"].published == pytest.approx(0.7468)
    assert two["SFDG", "AUROC, DFDC"].published == pytest.approx(0.7364)
    published = {row: found.published for (row, column), found in three.items() if column == "AUROC"}
    assert published == pytest.approx(
        {
            "the full model": 0.9958,
            "without SBCM": 0.9903,
            "without HCMF": 0.9895,
            "without SIDA": 0.9799,
            "everything off": 0.977,
        }
    )
    published = {row: found.published for (row, column), found in four.items() if column == "AUROC"}
    assert published == pytest.approx(
        {
            "the full model": 0.9958,
            "FAAE alone": 0.983,
            "HCMA alone": 0.9927,
            "neither FAAE nor HCMA": 0.977,
            "everything off": 0.977,
        }
    )
    assert "printed in table 3" in four["everything off", "AUROC"].note
    assert three["without SBCM", "accuracy"].published is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sfcl-table1", ["98.7 on FF++ c23 in table 1", "93.18 in table 2"]),
        ("sfcl-table2", ["93.18 in table 2", "65.17", "75.83", "74.68"]),
        ("sfcl-table3", ["98.95 in table 3", "97.7 in table 4", "claims 1.4 points", "gives 1.59"]),
        ("sfcl-table4", ["98.95 in table 3", "97.7 in table 4", "Both baselines are trained"]),
    ],
)
def test_the_papers_contradictions_are_notes(name, words):
    text = " ".join(reproduce(name).notes)
    assert [word for word in words if word not in text] == []
    assert ("claims 1.4" in text) == (name == "sfcl-table3")


# configurations


def test_what_is_trained_without_a_configuration_is_the_committed_small_one():
    assert study.SMALL.read_text() == (ROOT / "configs" / "sfcl-hcmf-small.toml").read_text()
    assert study.configuration(None).fusion == "hcmf"


def test_what_a_configuration_lacks_is_said():
    full = study.configuration(None)
    assert "without" not in notes.networks(full)
    assert "fusion" not in notes.networks(full)
    less = notes.networks(replace(full, sbcm=False, sida=False, fusion="concat"))
    assert "weights scratch; without SBCM and SIDA; fusion = concat; image at 128 pixels" in less
    assert "no CNN-F" in notes.networks(replace(full, sbcm=False, sida=False, fusion="spatial"))


def test_configurations_and_inputs_that_do_not_do(tmp_path):
    with pytest.raises(ConfigError, match="-o FOLDER"):
        reproduce("sfcl-table1", manifest=made())
    (tmp_path / "c.toml").write_text('system = "cae-net"\nname = "x"')
    with pytest.raises(ConfigError, match="of the system 'cae-net'; expected 'sfcl-hcmf'"):
        table("sfcl-table1", tmp_path, config=tmp_path / "c.toml")
    with pytest.raises(ConfigError, match="sfcl-table1 has no use for others"):
        reproduce("sfcl-table1", others=made(4))


@pytest.mark.parametrize("line", ["sida = false", "sbcm = false", 'fusion = "faae"'])
def test_a_configuration_that_lacks_a_part_has_no_ablation(line, trained, tmp_path):
    config = write_config(tmp_path / "own", {"size = 64": f"size = 64\n{line}"})
    with pytest.raises(ConfigError, match=f"{line.split()[0]} = .*takes the parts of the full model away"):
        table("sfcl-table3", tmp_path, config=config)
    assert trained == []


def test_each_row_of_an_ablation_is_another_network(tmp_path):
    config = study.configuration(write_config(tmp_path))
    found = {name: ablations.configurations(config, name) for name in ("Table 3", "Table 4")}
    parts = {
        (name, row): (one.fusion, one.sbcm, one.sida)
        for name, rows in found.items()
        for row, one in rows.items()
    }
    assert parts == {
        ("Table 3", "the full model"): ("hcmf", True, True),
        ("Table 3", "without SBCM"): ("hcmf", False, True),
        ("Table 3", "without HCMF"): ("concat", True, True),
        ("Table 3", "without SIDA"): ("hcmf", True, False),
        ("Table 3", "everything off"): ("concat", False, False),
        ("Table 4", "the full model"): ("hcmf", True, True),
        ("Table 4", "FAAE alone"): ("faae", True, True),
        ("Table 4", "HCMA alone"): ("hcma", True, True),
        ("Table 4", "neither FAAE nor HCMA"): ("concat", True, True),
        ("Table 4", "everything off"): ("concat", False, False),
    }


# within


def test_table_1_is_pooled_over_folds_without_leaks(trained, tmp_path):
    result = table("sfcl-table1", tmp_path, folds=3)
    rows = rows_of(result)
    assert [cell.name for cell in trained] == ["fold-1-of-3", "fold-2-of-3", "fold-3-of-3"]
    for cell in trained:
        assert not set(sources(cell.test)) & {*sources(cell.train), *sources(cell.valid)}
    labels = np.concatenate([cell.test.labels for cell in trained])
    fused = np.concatenate([said(cell) for cell in trained])
    assert len(labels) == len(made())
    for compression, value in (("c23", 0.9743), ("c40", 0.9177)):
        row = rows[OWN, f"accuracy, FF++ {compression}"]
        assert (row.published, row.reproduced) == pytest.approx((value, np.mean((fused >= 0) == labels)))
        area = rows[OWN, f"AUROC, FF++ {compression}"]
        assert area.reproduced == pytest.approx(auroc(labels, fused))
        assert area.ci[0] <= area.reproduced <= area.ci[1]
        assert "reproduced: on the images given" in area.note
    means = [auroc(cell.test.labels, said(cell)) for cell in trained]
    assert rows[OWN, "AUROC, mean of folds"].reproduced == pytest.approx(np.mean(means))
    assert rows[f"{OWN} - spectrum detector", "AUROC, difference"].note == f"{OWN} is better"
    assert rows["MAD*", "AUROC, FF++ c23"].reproduced is None
    text = " ".join(result.notes)
    assert "120 of all 3 folds" in text
    assert "CNN-F of width 0.02 with 1 middle blocks, weights scratch; image at 64 pixels" in text
    assert "tiny.toml, does not say on which images it was chosen" in text


def test_where_the_spectrum_detector_cannot_be_fitted_its_row_says_why(trained, tmp_path, monkeypatch):
    def small(self, fold):
        raise ManifestError("images are smaller than 128 pixels")

    monkeypatch.setattr(Study, "spectrum_scores", small)
    row = rows_of(table("sfcl-table1", tmp_path, folds=2))["spectrum detector", "AUROC"]
    assert row.reproduced is None
    assert "smaller than 128" in row.note


# other data sets


def scores_of(images):
    """What the stand-in says elsewhere: right of most, and nothing of the first."""
    labels, rng = np.array(images.labels), np.random.default_rng(0)
    scores = labels - 0.5 + rng.normal(scale=0.5, size=len(labels))
    scores[0] = np.nan
    return scores


def test_table_2_sets_each_source_beside_the_published_one(trained, tmp_path, monkeypatch):
    asked = []

    def image_scores(detector, images, config, *, left_out):
        asked.append((detector, images))
        assert (left_out.on_bad, left_out.max_bad) == ("skip", len(images))
        return scores_of(images)

    monkeypatch.setattr(tables, "image_scores", image_scores)
    fakes = made(10, "gan").filter(label=FAKE)
    celeb, reals = made(20, "celeb-df-v2"), made(5, "photos").filter(label=REAL)
    others = Manifest((*celeb, *fakes, *reals))
    result = table("sfcl-table2", tmp_path, folds=2, others=others)
    rows = rows_of(result)
    (cell,) = trained
    within = rows[OWN, "AUROC, FF++ c23"]
    assert within.published == pytest.approx(0.9958)
    assert within.reproduced == pytest.approx(auroc(cell.test.labels, said(cell)))
    across = rows[OWN, "AUROC, Celeb-DF v2"]
    assert across.published == pytest.approx(0.7468)
    assert across.reproduced == pytest.approx(auroc(celeb.labels[1:], scores_of(celeb)[1:]))
    assert "1 of 40 images can't be used" in across.note
    assert "not in the paper" not in across.note
    missing = rows[OWN, "AUROC, DFDC"]
    assert (missing.published, missing.reproduced) == (pytest.approx(0.7371), None)
    assert "no data set dfdc" in missing.note
    alone = rows[OWN, "AUROC, gan and reals of the test part"]
    assert alone.published is None
    assert alone.reproduced is not None
    assert "reals alone" in rows[OWN, "AUROC, photos"].note
    assert rows[OWN, "real accuracy, celeb-df-v2"].reproduced is not None
    detectors = {detector for detector, _ in asked}
    assert detectors == {tmp_path / "cells" / "fold-1-of-2" / "detector"}
    asked.clear()
    assert table("sfcl-table2", tmp_path, folds=2, others=others).rows == result.rows
    assert asked == [], "kept"


def test_without_other_sources_table_2_says_what_it_needs(trained, tmp_path):
    rows = rows_of(table("sfcl-table2", tmp_path, folds=2))
    for column in ("AUROC, Celeb-DF v2", "AUROC, DFDC", "AUROC, other sources"):
        assert rows[OWN, column].reproduced is None
        assert "--others" in rows[OWN, column].note


# ablations


def test_ablations_are_compared_with_the_full_model_on_the_same_images(trained, tmp_path):
    result = table("sfcl-table3", tmp_path)
    rows = rows_of(result)
    assert [cell.name for cell in trained] == [
        "fold-1-of-5", "sfcl-no-sbcm", "sfcl-concat", "sfcl-no-sida", "sfcl-off",
    ]  # fmt: skip
    assert {cell.test for cell in trained} == {trained[0].test}
    labels = np.array(trained[0].test.labels)
    full, other = said(trained[0]), said(trained[2])
    pair = rows["the full model - without HCMF", "AUROC, difference"]
    assert pair.reproduced == pytest.approx(auroc(labels, full) - auroc(labels, other))
    assert pair.ci[0] <= pair.reproduced <= pair.ci[1]
    crosses = pair.ci[0] <= 0 <= pair.ci[1]
    assert pair.note == "undecided" if crosses else pair.note == "the full model is better"
    assert len([row for row in result.rows if row.unit == "difference"]) == 4
    assert rows["without SIDA", "accuracy"].reproduced == pytest.approx(
        np.mean((said(trained[3]) >= 0) == labels)
    )
    text = " ".join(result.notes)
    assert "5 detectors trained in 50 s" in text
    assert "4 differences, each judged" in text


def test_both_tables_share_the_cells_that_are_the_same(trained, tmp_path):
    for name in ("sfcl-table3", "sfcl-table4", "sfcl-table1"):
        table(name, tmp_path)
    digests = {}
    for cell in trained:
        digests.setdefault(cell.digest, set()).add(cell.name)
    assert sum(cell.name in ("fold-1-of-5", "sfcl-concat", "sfcl-off") for cell in trained) == 7
    assert sorted(map(sorted, digests.values())) == [
        ["fold-1-of-5"], ["fold-2-of-5"], ["fold-3-of-5"], ["fold-4-of-5"], ["fold-5-of-5"],
        ["sfcl-concat"], ["sfcl-faae"], ["sfcl-hcma"], ["sfcl-no-sbcm"], ["sfcl-no-sida"], ["sfcl-off"],
    ]  # fmt: skip


def test_a_difference_inside_the_noise_is_undecided(monkeypatch, tmp_path):
    def alike(cell, root, *, say):
        labels = np.array(cell.test.labels)
        rng = np.random.default_rng(sum(map(ord, cell.name)))
        noisy = 0.2 * labels + rng.normal(size=len(labels))
        return replace(scored(cell), scores=replace(scored(cell).scores, fused=noisy))

    monkeypatch.setattr("tellsign.evaluate.study.finished_cell", alike)
    rows = [row for row in table("sfcl-table4", tmp_path).rows if row.unit == "difference"]
    assert len(rows) == 4
    for row in rows:
        assert (row.note == "undecided") or not row.ci[0] <= 0 <= row.ci[1]
    assert "undecided" in {row.note for row in rows}


def test_a_network_that_cannot_be_built_leaves_the_others(monkeypatch, tmp_path):
    def finished_cell(cell, root, *, say):
        if cell.config.fusion == "faae":
            raise ConfigError("FAAE needs a map with as many positions")
        return scored(cell)

    monkeypatch.setattr("tellsign.evaluate.study.finished_cell", finished_cell)
    rows = rows_of(table("sfcl-table4", tmp_path))
    assert rows["FAAE alone", "AUROC"].published == pytest.approx(0.983)
    assert rows["FAAE alone", "AUROC"].reproduced is None
    assert "FAAE needs a map" in rows["FAAE alone", "AUROC"].note
    assert rows["HCMA alone", "AUROC"].reproduced is not None
    assert ("the full model - FAAE alone", "AUROC, difference") not in rows


# what detectors say


def test_images_without_a_score_are_left_out_and_bad_ones_may_stop(monkeypatch, tmp_path):
    images = made(3)

    def some(detector, own, config, *, left_out):
        found = np.arange(len(own), dtype=float)
        found[[1, 4]] = np.nan
        return found

    monkeypatch.setattr(study, "image_scores", some)
    config = study.configuration(write_config(tmp_path))
    scores = study.scores_on(tmp_path, images, config)
    assert scores.rows.tolist() == [0, 2, 3, 5]
    assert scores.labels.tolist() == [0, 0, 1, 1]
    assert scores.groups == tuple(sources(images)[row] for row in (0, 2, 3, 5))
    assert scores.fused.tolist() == [0, 2, 3, 5]
    assert scores.parts == {}
    monkeypatch.setattr(study, "image_scores", lambda *_, **__: np.full(6, np.nan))
    with pytest.raises(ManifestError, match="none of 6 images"):
        study.scores_on(tmp_path, images, config)
