"""The sections of a benchmark's page: every cell finds its table."""

import numpy as np

from tellsign.evaluate.benchmark.sections import sections
from tellsign.evaluate.published import records

DETECTORS, TESTS = ("a", "b"), ("x", "y")


def cell(detector, test, metric="auroc", value=0.6, **more):
    found = {"detector": detector, "test": test, "perturbation": "none", "attack": "none", "level": "frame"}
    found |= {
        "generator": None,
        "dataset": None,
        "domain": "in" if detector + test in ("ax", "by") else "cross",
    }
    found |= {"metric": metric, "value": value, "ci": [value - 0.1, value + 0.1], "coverage": 1.0}
    return found | more


def grid(**more):
    return [
        cell(d, t, value=0.5 + 0.1 * i + 0.2 * j, **more)
        for i, d in enumerate(DETECTORS)
        for j, t in enumerate(TESTS)
    ]


def made(cells=(), comparisons=(), published=()):
    found = sections(cells, comparisons, facts=[("seed", "0")], plain={}, published=published)
    return {section.title: section for section in found}


def numbers(table):
    return {
        (row, column): value.value
        for row, values in table.rows
        for column, value in zip(table.columns, values, strict=True)
    }


def pair(**more):
    difference = {"value": 0.1, "ci": [-0.1, 0.3], "p": 0.3, "verdict": "undecided"}
    spearman = {"n": 9, "pearson": None, "spearman": {"value": 0.5, "ci": None}}
    found = {"first": "a", "second": "b", "test": "x", "perturbation": "none", "attack": "none"}
    found |= {"level": "frame", "n": 9, "delong": None, "differences": {"auroc": difference}}
    return found | {"correlations": dict.fromkeys(("pooled", "real", "fake"), spearman)} | more


def test_detectors_of_different_data_share_the_columns_and_keep_their_means():
    (table,) = made(grid())["Detectors on test sets"].tables
    assert table.columns == ("x", "y", "mean", "mean (in)", "mean (cross)")
    found = numbers(table)
    assert found["a", "mean (in)"] == found["a", "x"] == 0.5
    assert found["b", "mean (in)"] == found["b", "y"]
    assert np.isclose(found["b", "mean"], (found["b", "x"] + found["b", "y"]) / 2)
    assert [value.note for value in table.rows[0][1][:2]] == ["(in)", "(cross)"]


def test_what_was_not_run_has_no_section():
    assert list(made(grid())) == ["What was run", "Detectors on test sets"]


def test_videos_have_tables_of_their_own():
    tables = made([*grid(), *grid(level="video")])["Detectors on test sets"].tables
    assert [table.name for table in tables] == ["tests-frame-auroc", "tests-video-auroc"]
    cells = [*grid(level="video"), *grid(level="video", perturbation="jpeg:50")]
    assert {t.name for t in made(cells)["Perturbations"].tables} == {
        "perturbations-video-x",
        "perturbations-video-y",
    }


def test_a_strength_comes_after_none_and_two_strengths_make_a_curve():
    cells = [*grid(perturbation="jpeg:50"), *grid(perturbation="jpeg:30"), *grid()]
    found = made(cells)["Perturbations"]
    assert [name for name, _ in found.tables[0].rows] == ["none", "jpeg:50", "jpeg:30"]
    assert [plot.name for plot in found.plots] == ["robustness-x-jpeg", "robustness-y-jpeg"]
    assert made([*grid(), *grid(perturbation="jpeg:50")])["Perturbations"].plots == ()


def test_attacks_show_what_was_right_before():
    cells = [
        one
        for metric in ("auroc", "accuracy", "clean_accuracy", "attack_success")
        for one in grid(attack="fgsm:0.01", metric=metric)
    ]
    names = {table.name for table in made(cells)["Attacks"].tables}
    assert {"attacks-frame-x", "attacks-frame-x-clean-accuracy", "attacks-frame-y-attack-success"} <= names


def test_a_generator_has_its_row():
    (table,) = made(grid(generator="biggan"))["Generators"].tables
    assert [name for name, _ in table.rows] == ["x: biggan", "y: biggan"]
    two = [*grid(generator="biggan", dataset="a"), *grid(generator="biggan", dataset="b")]
    (table,) = made(two)["Generators"].tables
    assert sorted(name for name, _ in table.rows) == [
        "x: a/biggan",
        "x: b/biggan",
        "y: a/biggan",
        "y: b/biggan",
    ]


def test_differences_carry_their_verdict_and_the_test_that_holds():
    (table,) = made(comparisons=[pair(), pair(test="y", delong={"p": 0.04})])[
        "Differences between detectors"
    ].tables
    assert table.rows[0][0] == "a − b"
    assert [value.note for value in table.rows[0][1]] == ["undecided", "undecided; DeLong p = 0.040"]
    assert "these 2 verdicts" in table.caption


def test_agreement_stands_with_that_within_each_class():
    (table,) = made(comparisons=[pair()])["Do the detectors agree?"].tables
    assert table.rows[0][1][0].text() == "0.500 (0.50, 0.50)"


def test_published_values_are_marked_and_none_is_lost():
    found = records("upconv-spectrum")
    tables = made(published=found)["Published values"].tables
    shown = [value for table in tables for _, values in table.rows for value in values if value.note]
    assert len(shown) == len(found)
    assert all("published" in value.note for value in shown)


def test_published_values_are_named_beside_the_tables_of_their_kind():
    cells = [*grid(), *grid(attack="fgsm:0.01")]
    shown = made(cells, published=records("upconv-spectrum"))
    assert {title: section.see for title, section in shown.items() if section.see} == {
        "Detectors on test sets": "Published values"
    }
    attacked = made(cells, published=[r for r in records() if r.epsilon is not None])
    assert attacked["Attacks"].see == "Published values"
    assert not any(section.see for section in made(cells).values())
