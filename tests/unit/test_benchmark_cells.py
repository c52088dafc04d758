"""Cells from predictions: by hand, and against scikit-learn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tellsign.data import Manifest
from tellsign.evaluate.benchmark.cells import (
    Measurement,
    averages,
    domain,
    known_rows,
    measured,
)
from tellsign.evaluate.benchmark.contestants import Contestant
from tellsign.evaluate.benchmark.pairs import Comparison, compared
from tellsign.evaluate.benchmark.sets import DataSet
from tellsign.evaluate.report import report
from tellsign.groups import sources
from tellsign.metrics import auroc, delong, differences
from tellsign.scoring.predictions import Predictions
from tellsign.types import ConfigError, Sample

HEAD = {"detector": "d", "test": "t", "perturbation": "none", "attack": "none", "domain": "cross"}


def table(labels: list[int], scores: list[float], **columns: Any) -> Predictions:
    n = len(labels)
    texts = {
        name: np.array(columns.get(name, [""] * n), dtype=np.str_)
        for name in ("dataset", "generator", "group", "video", "split")
    }
    score = np.array(scores, dtype=np.float64)
    return Predictions(
        path=np.array([f"{i}.png" for i in range(n)]),
        label=np.array(labels),
        frame=np.full(n, np.nan),
        sha256=np.array([f"{i:064x}" for i in range(n)]),
        score=score,
        probability=1 / (1 + np.exp(-score)),
        verdict=np.where(np.isnan(score), "", np.where(score >= 0, "fake", "real")),
        reason=np.where(np.isnan(score), "broken", ""),
        detector="d@1",
        manifest="m",
        threshold=0.0,
        **texts,
    )


def cells(predictions: Predictions, folder: Path, **options: Any) -> list[dict[str, Any]]:
    file = folder / "p.parquet"
    predictions.write(file)
    task = Measurement(file, HEAD, np.zeros(len(predictions), dtype=bool), "error", 50, 0)
    found = measured(replace(task, **options))
    json.dumps(found, allow_nan=False)
    return found


def value(found: list[dict[str, Any]], metric: str, **wanted: Any) -> dict[str, Any]:
    wanted = {"level": "frame", "generator": None, "dataset": None, "metric": metric, **wanted}
    (cell,) = [c for c in found if all(c[key] == v for key, v in wanted.items())]
    return cell


@pytest.fixture
def mixed() -> Predictions:
    rng = np.random.default_rng(0)
    labels = [0] * 30 + [1] * 40
    scores = rng.normal(size=70) + np.array(labels)
    return table(
        labels,
        scores.tolist(),
        generator=[""] * 30 + ["g"] * 25 + ["h"] * 15,
        dataset=["x"] * 10 + ["y"] * 20 + ["x"] * 40,
    )


def test_metrics_agree_with_scikit_learn(mixed: Predictions, tmp_path: Path) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    found = cells(mixed, tmp_path)
    assert value(found, "auroc")["value"] == pytest.approx(sklearn.roc_auc_score(mixed.label, mixed.score))
    right = sklearn.average_precision_score(mixed.label, mixed.score)
    assert value(found, "ap")["value"] == pytest.approx(right)
    brier = np.mean((mixed.probability - mixed.label) ** 2)
    assert value(found, "brier")["value"] == pytest.approx(brier)
    low, high = value(found, "auroc")["ci"]
    assert low < value(found, "auroc")["value"] < high


def test_a_generator_meets_the_reals_of_its_data_set(mixed: Predictions, tmp_path: Path) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    found = cells(mixed, tmp_path)
    own = (mixed.dataset == "x") & ((mixed.label == 0) | (mixed.generator == "h"))
    cell = value(found, "auroc", generator="h")
    assert cell["value"] == pytest.approx(sklearn.roc_auc_score(mixed.label[own], mixed.score[own]))
    assert (cell["n"], cell["n_real"], cell["n_fake"]) == (25, 10, 15)
    assert value(found, "auroc", dataset="x")["n_real"] == 10
    # y has no fakes: there is no cell that would compare it with others' fakes.
    assert {c["dataset"] for c in found} == {None, "x"}


def test_a_generator_whose_data_set_has_no_reals_meets_all(mixed: Predictions, tmp_path: Path) -> None:
    moved = np.where(mixed.generator == "h", "z", mixed.dataset)
    cell = value(cells(replace(mixed, dataset=moved), tmp_path), "auroc", generator="h")
    assert (cell["n_real"], cell["n_fake"]) == (30, 15)


def test_a_generator_of_two_data_sets_is_measured_in_each(tmp_path: Path) -> None:
    """Each data set is told apart by nothing: pooled, what tells them from each other looks like skill."""
    rng = np.random.default_rng(1)
    labels = [0] * 80 + [1] * 20 + [0] * 20 + [1] * 80
    dataset = ["x"] * 100 + ["y"] * 100
    scores = rng.normal(size=200) + 5 * np.array([name == "y" for name in dataset])
    generator = ["g" if label else "" for label in labels]
    video = [f"{i // 2}" for i in range(200)]
    rows = table(labels, scores.tolist(), dataset=dataset, generator=generator, video=video)
    found = cells(rows, tmp_path)
    for level in ("frame", "video"):
        assert value(found, "auroc", level=level)["value"] > 0.75
        for name in ("x", "y"):
            cell = value(found, "auroc", generator="g", dataset=name, level=level)
            # The data set has no other generator.
            assert cell["value"] == value(found, "auroc", dataset=name, level=level)["value"] < 0.7
        assert {c["dataset"] for c in found if c["generator"] == "g"} == {"x", "y"}
    plain = replace(rows, video=np.array([""] * 200))
    of_report = report(plain, n_resamples=0)["by"]["generator"]
    for name in ("x", "y"):
        cell = value(found, "auroc", generator="g", dataset=name)
        assert cell["value"] == of_report[f"{name}/g"]["metrics"]["auroc"]["value"]


def test_frames_of_a_generator_are_counted_in_their_data_set(tmp_path: Path) -> None:
    rows = table(
        [0, 0, 1, 1] * 2,
        [-1, -1, 1, float("nan"), -1, -1, 1, 1],
        dataset=["x"] * 4 + ["y"] * 4,
        generator=["", "", "g", "g"] * 2,
        video=["r", "r", "f", "f"] * 2,
    )
    found = cells(rows, tmp_path, missing="exclude")
    shares = [
        value(found, "auroc", level="video", generator="g", dataset=name)["frame_coverage"] for name in "xy"
    ]
    assert shares == [3 / 4, 1]


def test_rows_that_were_learnt_from_are_left_out_and_counted(mixed: Predictions, tmp_path: Path) -> None:
    known = np.arange(70) < 10
    cell = value(cells(mixed, tmp_path, known=known), "auroc")
    assert (cell["n"], cell["n_real"], cell["excluded"]) == (60, 20, 10)
    cell = value(cells(mixed, tmp_path, known=mixed.label == 0), "auroc")
    assert (cell["value"], cell["ci"], cell["n_real"]) == (None, None, 0)
    assert cell["note"] == "no real sample is left"
    assert value(cells(mixed, tmp_path, known=np.ones(70, dtype=bool)), "accuracy")["coverage"] is None


def knowing(**facts: frozenset[str]) -> Contestant:
    """A detector that says what it learnt from, as far as it is given."""
    unknown = dict.fromkeys(("datasets", "groups", "contents"))
    known: dict[str, Any] = {**unknown, **facts}
    return Contestant(name="d", path=Path("d"), digest="1", artifact="d@1", threshold=0, **known)


def test_which_rows_were_learnt_from() -> None:
    places = [Path(f"{i}.png") for i in range(4)]
    samples = [
        Sample(place, group=group, sha256=f"{i:064x}")
        for i, (place, group) in enumerate(zip(places, ["a", "", "b", ""], strict=True))
    ]
    # The last was harmonised from a file that was learnt from, whatever it looks like now.
    rows = DataSet("t", Manifest(tuple(samples)), origins={places[3]: f"{7:064x}"})
    contents = frozenset({f"{1:064x}", f"{7:064x}"})
    detector = knowing(datasets=frozenset({"x"}), groups=frozenset({"b"}), contents=contents)
    assert known_rows(rows, detector).tolist() == [False, True, True, True]
    unknown = replace(detector, groups=None, contents=None)
    assert not known_rows(rows, unknown).any()
    assert [domain(detector, names) for names in (["x"], ["y"], ["x", "y"])] == ["in", "cross", "mixed"]
    assert domain(replace(detector, datasets=None), ["x"]) is None


def test_missing_scores_by_policy(tmp_path: Path) -> None:
    nan = float("nan")
    rows = table([0, 0, 1, 1], [-1, nan, 1, nan])
    with pytest.raises(ConfigError, match=r"2 of 4 samples have no score .*1\.png"):
        cells(rows, tmp_path)
    left_out = value(cells(rows, tmp_path, missing="exclude"), "auroc")
    assert (left_out["value"], left_out["n"], left_out["scored"], left_out["coverage"]) == (1, 4, 2, 0.5)
    worst = cells(rows, tmp_path, missing="worst")
    # Of the four pairs only the one with both scores is in order.
    assert value(worst, "auroc")["value"] == 0.25
    assert value(worst, "accuracy")["value"] == 0.5
    assert value(worst, "auroc")["coverage"] == 0.5


def test_videos_are_means_of_their_frames(tmp_path: Path) -> None:
    nan = float("nan")
    rows = table(
        [0, 0, 1, 1, 1, 1, 0],
        [-2, 1, 3, -1, nan, -1, 5],
        video=["v", "v", "v", "v", "w", "u", ""],
        generator=["", "", "g", "g", "g", "g", ""],
    )
    made = cells(rows, tmp_path, missing="exclude")
    cell = value(made, "auroc", level="video")
    assert (cell["n"], cell["scored"], cell["value"]) == (4, 3, 0.5)
    assert cell["frame_coverage"] == 5 / 6
    assert value(made, "brier", level="video")["note"] == "undefined without probabilities"
    assert not [c for c in cells(rows.take(rows.video == ""), tmp_path) if c["level"] == "video"]


def test_a_video_whose_frames_failed_is_the_worst(tmp_path: Path) -> None:
    nan = float("nan")
    rows = table(
        [0, 0, 1, 1, 1, 1],
        [-2, -1, 3, nan, 2, 2],
        video=["r", "r", "v", "v", "w", "w"],
        generator=["", "", "g", "g", "h", "h"],
    )
    found = cells(rows, tmp_path, missing="worst")
    cell = value(found, "auroc", level="video")
    # The mean of the frame that is left would rank v first; now the real is above it.
    assert (cell["value"], cell["coverage"], cell["frame_coverage"]) == (0.5, 2 / 3, 5 / 6)
    assert value(found, "accuracy", level="video")["value"] == pytest.approx(2 / 3)
    assert value(found, "auroc", level="video", generator="h")["frame_coverage"] == 1
    kept = value(cells(rows, tmp_path, missing="exclude"), "auroc", level="video")
    assert (kept["value"], kept["coverage"], kept["frame_coverage"]) == (1, 1, 5 / 6)


def test_frames_of_a_video_are_no_independent_rows(mixed: Predictions, tmp_path: Path) -> None:
    names = [f"v{i // 5}" for i in range(70)]
    framed = replace(mixed, video=np.array(names))
    source = [f"{d}/{g}/{v}" for d, g, v in zip(mixed.dataset, mixed.generator, names, strict=True)]
    grouped = replace(mixed, group=np.array(source))
    assert framed.source.tolist() == grouped.source.tolist() == source
    assert replace(framed, group=np.array(["own"] * 70)).source.tolist() == ["own"] * 70
    assert mixed.source.tolist() == [""] * 70
    one, other, apart = (value(cells(rows, tmp_path), "auroc")["ci"] for rows in (framed, grouped, mixed))
    assert one == other != apart
    file = tmp_path / "p.parquet"
    framed.write(file)
    task = Comparison((file, file), ("a", "b"), {}, np.zeros(70, dtype=bool), "error", 10, 0)
    assert "read the bootstrap" in compared(task)[0]["delong_note"]
    first, second = (report(rows, n_resamples=50) for rows in (framed, grouped))
    assert first["metrics"] == second["metrics"] != report(mixed, n_resamples=50)["metrics"]
    assert first["decided"] == second["decided"]


def test_parts_are_measured_where_they_are_asked_for(mixed: Predictions, tmp_path: Path) -> None:
    whole = cells(mixed, tmp_path, is_detailed=False)
    assert {(c["generator"], c["dataset"]) for c in whole} == {(None, None)}
    assert [c for c in cells(mixed, tmp_path) if c in whole] == whole


def test_averages_are_means_of_the_columns(mixed: Predictions, tmp_path: Path) -> None:
    found = []
    for test, kind, cut in (("a", "in", 70), ("b", "cross", 60), ("c", "cross", 50)):
        head = {**HEAD, "test": test, "domain": kind}
        found += cells(mixed.take(np.arange(70) < cut), tmp_path, head=head)
    values = {
        c["test"]: c["value"]
        for c in found
        if c["metric"] == "auroc" and c["generator"] is None and c["dataset"] is None
    }
    by_over = {a["over"]: a for a in averages(found) if a["metric"] == "auroc"}
    assert by_over["all"]["value"] == pytest.approx(sum(values.values()) / 3)
    assert by_over["cross"]["value"] == pytest.approx((values["b"] + values["c"]) / 2)
    assert by_over["cross"]["tests"] == ["b", "c"]
    gap = [{**c, "value": None} if c["test"] == "b" else c for c in found]
    assert {a["over"]: a["value"] for a in averages(gap) if a["metric"] == "auroc"}["cross"] is None


def test_an_attack_is_compared_with_the_same_images(tmp_path: Path) -> None:
    clean = table([0, 1, 0, 1], [-1, 1, -1, -1])
    attacked = table([0, 1, 0, 1], [1, -1, -1, -1]).take(np.array([1, 2, 3]))
    clean.write(tmp_path / "clean.parquet")
    # The kept table of the attack has the paths of another folder.
    attacked = replace(attacked, path=np.array(["x", "y", "z"]))
    options: dict[str, Any] = {
        "head": {**HEAD, "attack": "fgsm:0.01"},
        "clean": tmp_path / "clean.parquet",
        "places": np.array([1, 2, 3]),
    }
    found = cells(attacked, tmp_path, **options)
    # Of images 1 to 3 two were right before, and one of these flipped.
    assert value(found, "clean_accuracy")["value"] == pytest.approx(2 / 3)
    assert value(found, "attack_success")["value"] == pytest.approx(1 / 2)
    assert value(found, "accuracy")["value"] == pytest.approx(1 / 3)
    rest = cells(attacked, tmp_path, known=np.array([False, True, False]), **options)
    assert value(rest, "clean_accuracy")["value"] == pytest.approx(1 / 2)


def test_an_attack_without_a_row_left_is_a_gap_and_no_smaller_mean(tmp_path: Path) -> None:
    rows = table([0, 1, 0, 1], [-1, 1, -1, -1])
    rows.write(tmp_path / "clean.parquet")
    clean, every = tmp_path / "clean.parquet", np.arange(4)
    head = {**HEAD, "attack": "fgsm:0.01"}
    found = cells(rows, tmp_path, head=head, clean=clean, places=every)
    known = np.ones(4, dtype=bool)
    gone = cells(rows, tmp_path, head={**head, "test": "u"}, clean=clean, places=every, known=known)
    for metric in ("clean_accuracy", "clean_auroc", "attack_success"):
        cell = value(gone, metric)
        assert (cell["value"], cell["note"], cell["n"]) == (None, "no real and no fake sample is left", 0)
        (mean,) = [a for a in averages([*found, *gone]) if a["metric"] == metric and a["over"] == "all"]
        assert (mean["tests"], mean["value"]) == (["t", "u"], None)


def test_two_detectors_are_compared_on_their_common_rows(mixed: Predictions, tmp_path: Path) -> None:
    files = (tmp_path / "a.parquet", tmp_path / "b.parquet")
    mixed.write(files[0])
    worse = replace(mixed, score=np.where(np.arange(70) % 2, mixed.score, -mixed.score))
    worse.write(files[1])
    head = {"test": "t", "perturbation": "none", "attack": "none"}
    task = Comparison(files, ("a", "b"), head, np.arange(70) < 5, "error", 100, 0)
    (found,) = compared(task)
    json.dumps(found, allow_nan=False)
    assert (found["first"], found["second"], found["level"], found["n"]) == ("a", "b", "frame", 65)
    auroc = found["differences"]["auroc"]
    assert auroc["value"] == pytest.approx(found["delong"]["first"] - found["delong"]["second"])
    assert auroc["verdict"] == "a is better"
    (same,) = compared(replace(task, files=(files[0], files[0])))
    assert same["differences"]["auroc"]["verdict"] == "undecided"
    assert (same["delong"], same["delong_note"][:20]) == (None, "the data do not show")
    assert same["correlations"]["pooled"]["spearman"]["value"] == pytest.approx(1)


def test_delong_is_not_given_for_rows_that_share_groups(mixed: Predictions, tmp_path: Path) -> None:
    grouped = replace(mixed, group=np.array([f"g{i // 2}" for i in range(70)]))
    grouped.write(tmp_path / "a.parquet")
    file = tmp_path / "a.parquet"
    task = Comparison((file, file), ("a", "b"), {}, np.zeros(70, dtype=bool), "error", 10, 0)
    (found,) = compared(task)
    assert found["delong"] is None
    assert "read the bootstrap" in found["delong_note"]


def compared_under(missing: str, tables: list[Predictions], folder: Path) -> list[dict[str, Any]]:
    files = (folder / "a.parquet", folder / "b.parquet")
    for file, rows in zip(files, tables, strict=True):
        rows.write(file)
    known = np.zeros(len(tables[0]), dtype=bool)
    found = compared(Comparison(files, ("a", "b"), {}, known, missing, 40, 0))  # type: ignore[arg-type]
    json.dumps(found, allow_nan=False)
    return found


def lost(rows: Predictions, *which: int) -> Predictions:
    return replace(rows, score=np.where(np.isin(np.arange(len(rows)), which), np.nan, rows.score))


def test_the_worst_scores_are_compared_as_the_metrics_read_them(mixed: Predictions, tmp_path: Path) -> None:
    """Against the metrics and SciPy on scores that were filled in by hand."""
    stats = pytest.importorskip("scipy.stats")
    other = replace(mixed, score=mixed.score[::-1].copy() + mixed.label)
    first, second = lost(mixed, 0, 1, 40), lost(other, 1, 41, 42)
    worst = np.where(mixed.label == 1, -np.inf, np.inf)
    filled = [np.where(np.isnan(rows.score), worst, rows.score) for rows in (first, second)]
    (found,) = compared_under("worst", [first, second], tmp_path)
    assert found["n"] == 70
    areas = [auroc(mixed.label, scores) for scores in filled]
    assert found["delong"]["first"] == pytest.approx(areas[0])
    assert found["delong"]["second"] == pytest.approx(areas[1])
    assert found["differences"]["auroc"]["value"] == pytest.approx(areas[0] - areas[1])
    test = delong(mixed.label, *filled)
    assert found["delong"]["ci"] == pytest.approx(test.difference.ci)
    pairs = differences(mixed.label, *filled, thresholds=(0, 0), groups=mixed.source, n_resamples=40, seed=0)
    assert found["differences"]["auroc"]["ci"] == pytest.approx(pairs["auroc"].ci)  # type: ignore[union-attr]
    for part, rows in (("pooled", mixed.label < 2), ("real", mixed.label == 0), ("fake", mixed.label == 1)):
        entry = found["correlations"][part]
        assert entry["n"] == rows.sum()
        assert entry["spearman"]["value"] == pytest.approx(
            stats.spearmanr(filled[0][rows], filled[1][rows]).statistic
        )
        assert entry["pearson"] is None  # of an infinite score there is none
    (excluded,) = compared_under("exclude", [first, second], tmp_path)
    assert (excluded["n"], excluded["correlations"]["pooled"]["n"]) == (65, 65)
    assert excluded["correlations"]["pooled"]["pearson"] is not None


def test_two_that_fail_on_the_same_files_err_together(mixed: Predictions, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    other = replace(mixed, score=rng.normal(size=70) + mixed.label)
    gone = range(30, 45)
    same, apart = (
        compared_under("worst", [lost(mixed, *gone), lost(other, *more)], tmp_path)[0]["correlations"]
        for more in (gone, range(45, 60))
    )
    assert same["fake"]["spearman"]["value"] > 0.4
    assert apart["fake"]["spearman"]["value"] < 0
    (undecided,) = compared_under("worst", [lost(mixed, *gone), lost(mixed, *gone)], tmp_path)
    assert undecided["differences"]["auroc"]["verdict"] == "undecided"


def test_a_detector_that_fails_loses_under_the_worst_alone(mixed: Predictions, tmp_path: Path) -> None:
    worse = lost(mixed, *range(0, 30, 3), *range(30, 70, 3))
    (found,) = compared_under("worst", [mixed, worse], tmp_path)
    assert found["differences"]["auroc"]["verdict"] == "a is better"
    (found,) = compared_under("exclude", [mixed, worse], tmp_path)
    assert found["differences"]["auroc"]["verdict"] == "undecided"


def test_videos_are_compared_under_the_worst_as_they_are_measured(tmp_path: Path) -> None:
    rows = table(
        [0, 0, 0, 0, 1, 1, 1, 1],
        [-2, -1, -1, 0.5, 3, 1, 2, 2],
        video=["r", "r", "s", "s", "v", "v", "w", "w"],
    )
    worse = lost(rows, 4)
    by_level = {found["level"]: found for found in compared_under("worst", [rows, worse], tmp_path)}
    assert by_level["video"]["n"] == 4
    # v is the lowest of four: one of two fakes above both reals.
    assert by_level["video"]["differences"]["auroc"]["value"] == pytest.approx(1 - 0.5)
    measured_apart = value(cells(worse, tmp_path, missing="worst"), "auroc", level="video")
    assert measured_apart["value"] == 0.5


def test_an_own_video_is_known_without_a_group() -> None:
    samples = [Sample(Path(f"{i}.png"), 1, "x", "g", video=name) for i, name in enumerate(["v", "w", ""])]
    learnt = [Sample(Path("other.png"), 1, "x", "g", video="v")]
    detector = knowing(groups=frozenset(sources(learnt)))
    assert known_rows(DataSet("t", Manifest(tuple(samples))), detector).tolist() == [True, False, False]
