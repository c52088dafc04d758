"""Reports: counts, rates and groupings on tables small enough to be worked out by hand."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tellsign.calibration import risk_coverage
from tellsign.evaluate.report import report
from tellsign.evaluate.report_text import markdown, text
from tellsign.metrics import auroc, summary
from tellsign.scoring.predictions import Predictions
from tellsign.types import ConfigError

NAN = float("nan")


def table(rows: list[dict[str, Any]], *, threshold: float = 0.5) -> Predictions:
    """Predictions from dictionaries; what a row does not say has a harmless default."""

    def column(name: str, default: Any, dtype: Any) -> Any:
        return np.array([row.get(name, default) for row in rows], dtype=dtype)

    return Predictions(
        path=np.array([row.get("path", f"{i}.png") for i, row in enumerate(rows)], dtype=np.str_),
        label=column("label", 0, np.int64),
        **{n: column(n, "", np.str_) for n in ("generator", "group", "video", "split", "sha256", "reason")},
        dataset=column("dataset", "a", np.str_),
        frame=column("frame", NAN, np.float64),
        score=column("score", NAN, np.float64),
        probability=column("probability", NAN, np.float64),
        verdict=column("verdict", "", np.str_),
        detector="spectrum@0123456789ab",
        manifest="f" * 64,
        threshold=threshold,
    )


def scored(label: int, score: float, verdict: str | None = None, **more: Any) -> dict[str, Any]:
    verdict = verdict or ("fake" if score >= 0.5 else "real")
    return {"label": label, "score": score, "probability": score, "verdict": verdict, **more}


MIXED = [
    scored(0, 0.1),
    scored(0, 0.2),
    scored(0, 0.6),  # a false alarm
    scored(0, 0.7, "uncertain"),  # above the threshold, but outside the domain
    {"label": 0},  # failed
    scored(1, 0.9),
    scored(1, 0.8),
    scored(1, 0.3),  # missed
    {"label": 1, "verdict": "uncertain"},  # too small: no score
]


def test_counts_and_coverage_count_every_sample() -> None:
    found = report(table(MIXED), split=None, missing="exclude", n_resamples=0)
    assert (found["n"], found["n_real"], found["n_fake"]) == (9, 5, 4)
    assert (found["scored"], found["uncertain"], found["failed"]) == (7, 2, 1)
    assert found["coverage"] == pytest.approx(6 / 9)


def test_decided_rates_are_over_all_samples_of_a_class() -> None:
    decided = report(table(MIXED), split=None, missing="exclude", n_resamples=0)["decided"]
    assert (decided["n"], decided["wrong"]) == (6, 2)
    assert decided["fpr"]["value"] == pytest.approx(1 / 5)  # the uncertain and the failed real are no alarms
    assert decided["fnr"]["value"] == pytest.approx(1 / 4)
    assert decided["recall"]["value"] == pytest.approx(2 / 4)  # not 1 - fnr: one fake stayed uncertain


def test_metrics_are_over_scored_samples_at_the_threshold() -> None:
    metrics = report(table(MIXED), split=None, missing="exclude", n_resamples=0)["metrics"]
    assert metrics["auroc"]["value"] == pytest.approx(
        auroc([0, 0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.6, 0.7, 0.9, 0.8, 0.3])
    )
    assert metrics["fpr"]["value"] == pytest.approx(2 / 4)
    assert metrics["fnr"]["value"] == pytest.approx(1 / 3)
    assert metrics["recall"]["value"] == pytest.approx(2 / 3)
    expected = np.mean([0.1**2, 0.2**2, 0.6**2, 0.7**2, 0.1**2, 0.2**2, 0.7**2])
    assert metrics["brier"]["value"] == pytest.approx(expected)
    for name in ("accuracy", "balanced_accuracy", "ap", "eer", "tpr_at_fpr_0.05", "ece"):
        assert metrics[name]["ci"] is None, name
        assert 0 <= metrics[name]["value"] <= 1, name


def test_a_set_of_one_class_has_its_own_error_rate_only() -> None:
    found = report(table([scored(0, 0.1), scored(0, 0.9)]), split=None, missing="exclude", n_resamples=0)
    assert found["metrics"]["fpr"]["value"] == 0.5
    for name in ("auroc", "fnr", "recall", "balanced_accuracy"):
        assert found["metrics"][name] is None
    assert found["decided"]["recall"] is None
    assert found["decided"]["fpr"]["value"] == 0.5


def test_data_sets_are_reported_apart() -> None:
    # Each data set is separated perfectly; pooled they are not, since their scores lie apart.
    rows = [scored(0, 0.1), scored(1, 0.2), scored(0, 0.8, dataset="b"), scored(1, 0.9, dataset="b")]
    found = report(table(rows), split=None, missing="exclude", n_resamples=0)
    assert found["metrics"]["auroc"]["value"] == 0.75
    assert {name: block["metrics"]["auroc"]["value"] for name, block in found["by"]["dataset"].items()} == {
        "a": 1.0,
        "b": 1.0,
    }


def test_a_generator_is_compared_with_the_reals_of_its_own_data_set() -> None:
    rows = [
        scored(0, 0.3),
        scored(1, 0.2, generator="gan"),
        scored(1, 0.4, generator="diffusion"),
        scored(0, 0.9, dataset="b"),
        scored(1, 0.5, generator="splice", dataset="b"),
    ]
    by = report(table(rows), split=None, missing="exclude", n_resamples=0)["by"]["generator"]
    assert {name: (b["dataset"], b["n_real"], b["n_fake"]) for name, b in by.items()} == {
        "gan": ("a", 1, 1),
        "diffusion": ("a", 1, 1),
        "splice": ("b", 1, 1),
    }
    assert {name: b["metrics"]["auroc"]["value"] for name, b in by.items()} == {
        "gan": 0.0,
        "diffusion": 1.0,
        "splice": 0.0,
    }


def test_one_generator_in_two_data_sets_is_two_entries() -> None:
    rows = [scored(1, 0.9, generator="gan", dataset=name) for name in ("a", "b")] + [scored(0, 0.1)]
    by = report(table(rows), split=None, missing="exclude", n_resamples=0)["by"]["generator"]
    assert {name: (b["generator"], b["n_real"]) for name, b in by.items()} == {
        "a/gan": ("gan", 1),
        "b/gan": ("gan", 0),
    }


def video(label: int, scores: list[float], **more: Any) -> list[dict[str, Any]]:
    return [scored(label, score, **more) for score in scores]


def test_two_manipulations_of_one_video_stay_two_videos() -> None:
    rows = [
        *video(0, [0.1, 0.2], video="004"),
        *video(1, [0.9, 0.8], video="004", generator="deepfakes"),
        *video(1, [0.2, 0.1], video="004", generator="neuraltextures"),
        *video(1, [0.9, 0.9], video="004", generator="deepfakes", dataset="b"),
    ]
    found = report(table(rows), split=None, missing="exclude", n_resamples=0)["by"]["video"]
    assert (found["n"], found["n_real"], found["n_fake"]) == (4, 1, 3)
    assert {(v["dataset"], v["generator"]): v["score"] for v in found["videos"]} == {
        ("a", ""): pytest.approx(0.15),
        ("a", "deepfakes"): pytest.approx(0.85),
        ("a", "neuraltextures"): pytest.approx(0.15),
        ("b", "deepfakes"): pytest.approx(0.9),
    }
    assert set(found["dataset"]) == {"a", "b"}
    assert found["dataset"]["a"]["n"] == 3


def test_real_and_fake_frames_of_one_name_are_not_merged() -> None:
    found = report(
        table([*video(0, [0.1], video="x"), *video(1, [0.9], video="x")]), split=None, n_resamples=0
    )
    assert [v["label"] for v in found["by"]["video"]["videos"]] == ["real", "fake"]


def test_mean_and_vote_can_disagree() -> None:
    # Two of three frames look real; one very suspicious frame carries the mean.
    rows = [*video(1, [0.4, 0.4, 1.0], video="x"), *video(0, [0.1, 0.2, 0.1], video="y")]
    found = report(table(rows), split=None, missing="exclude", n_resamples=0)["by"]["video"]
    assert found["metrics"]["accuracy"]["value"] == 1.0
    assert found["vote"]["accuracy"]["value"] == 0.5
    decisions = {v["video"]: (v["decision"], v["vote"], v["fake_frames"]) for v in found["videos"]}
    assert decisions == {"x": ("fake", "real", 1), "y": ("real", "real", 0)}


@pytest.mark.parametrize("label", [0, 1])
def test_a_tie_is_no_vote_and_counts_as_wrong(label: int) -> None:
    found = report(table(video(label, [0.4, 0.6], video="x")), split=None, missing="exclude", n_resamples=0)[
        "by"
    ]["video"]
    assert found["videos"][0]["vote"] is None
    assert found["vote"]["ties"] == 1
    assert found["vote"]["accuracy"]["value"] == 0.0


def test_frames_without_a_score_do_not_vote_and_a_video_without_any_is_counted() -> None:
    rows = [
        *video(1, [0.9], video="x"),
        {"label": 1, "video": "x"},
        {"label": 0, "video": "y"},
    ]
    found = report(table(rows), split=None, missing="exclude", n_resamples=0)["by"]["video"]
    assert (found["n"], found["scored"]) == (2, 1)
    by_name = {v["video"]: v for v in found["videos"]}
    assert (by_name["x"]["n"], by_name["x"]["scored"], by_name["x"]["score"]) == (2, 1, 0.9)
    assert (by_name["y"]["score"], by_name["y"]["decision"], by_name["y"]["vote"]) == (None, None, None)


def test_images_without_videos_have_no_video_level() -> None:
    assert report(table(MIXED), split=None, missing="exclude", n_resamples=0)["by"]["video"] == {}


def test_intervals_widen_when_rows_share_a_group() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1, 40)
    rows = [
        scored(i % 2, float(centres[i] + i % 2 + rng.normal(0, 0.05)), group=f"g{i}")
        for i in range(40)
        for _ in range(10)
    ]

    def width(rows: list[dict[str, Any]]) -> float:
        metrics = report(
            table([r | {"probability": NAN} for r in rows]), split=None, missing="exclude", n_resamples=200
        )["metrics"]
        low, high = metrics["auroc"]["ci"]
        assert metrics["ece"] is None  # no probabilities
        return high - low

    assert width(rows) > 2 * width([row | {"group": ""} for row in rows])


def test_the_same_seed_gives_the_same_report() -> None:
    rows = [scored(i % 2, s) for i, s in enumerate(np.random.default_rng(1).uniform(size=60))]
    first, again, other = (
        report(table(rows), split=None, missing="exclude", n_resamples=50, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first["metrics"]["auroc"]["ci"] != other["metrics"]["auroc"]["ci"]


def test_a_split_is_chosen_and_named() -> None:
    rows = [scored(0, 0.1, split="test"), scored(1, 0.9, split="test"), scored(1, 0.1, split="train")]
    found = report(table(rows), split="test", n_resamples=0)
    assert (found["n"], found["split"]) == (2, "test")
    assert report(table(rows), split=None, missing="exclude", n_resamples=0)["n"] == 3
    with pytest.raises(ConfigError, match="'valid'; the splits are test, train"):
        report(table(rows), split="valid")


def test_unusable_tables_are_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to report: 0 predictions"):
        report(table([]), split=None)
    with pytest.raises(ConfigError, match="found \\[2\\]"):
        report(table([scored(2, 0.1)]), split=None)


def test_a_table_of_failures_is_still_a_report() -> None:
    found = report(table([{"label": 0}, {"label": 1}]), split=None, missing="exclude", n_resamples=10)
    assert (found["coverage"], found["failed"], found["scored"]) == (0.0, 2, 0)
    assert all(value is None for value in found["metrics"].values())
    assert found["decided"]["recall"]["value"] == 0.0
    assert "2 failed" in text(found)


def test_the_report_is_strict_json() -> None:
    rows = [*MIXED, *video(1, [0.4, 0.6], video="x"), {"label": 0, "video": "y"}]
    found = report(table(rows, threshold=float("inf")), split=None, missing="exclude", n_resamples=20)
    assert found["threshold"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {"n", "coverage", "threshold", "metrics", "by", "detector", "manifest", "split"} <= set(found)


def test_text_and_markdown_show_every_source() -> None:
    rows = [
        *MIXED,
        *(scored(1, 0.9, dataset="b|c", generator="gan\x1b[2J") for _ in range(3)),
        *video(0, [0.1, 0.2], video="v", dataset="clips"),
        *(scored(1, 0.9, dataset="clips", generator=name) for name in ("swap", "morph")),
    ]
    found = report(table(rows), split=None, missing="exclude", n_resamples=50)
    plain, card = text(found), markdown(found)
    assert "\x1b" not in plain + card
    for name in ("a", "clips", "clips, videos", "clips: swap", "clips: morph", "b|c (gan\\x1b[2J)"):
        assert any(line.startswith(name + "  ") for line in plain.splitlines()), name
    table_lines = [line for line in card.splitlines() if line.startswith("|")][:-4]  # without the confusion
    assert table_lines[0].startswith(
        "| source | real | fake | AUROC [95 % CI] | FPR [95 % CI] | recall (TPR) [95 % CI] | verdicts | "
        "scored |"
    )
    assert all(line.replace(r"\|", "").count("|") == 9 for line in table_lines)
    row = next(line for line in table_lines if line.startswith("| a |"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[:3] == ["a", "5", "4"]
    assert cells[3].startswith("0.833 [")
    assert [cell.partition(" [")[0] for cell in cells[4:]] == ["0.200", "0.500", "0.667", "0.778"]
    assert cells[4].endswith("]")
    assert cells[5].endswith("]")
    assert "3/n" in card  # a rate of 0 has no interval: the legend says what bounds it
    assert "1.000" in next(line for line in table_lines if line.startswith(r"| b\|c (gan"))
    assert "Videos: accuracy" in plain


# --- samples without a score ---


def test_samples_without_a_score_are_an_error_by_default() -> None:
    rows = [*MIXED, {"label": 1, "path": "x\x1b.png", "reason": "no image"}]
    with pytest.raises(ConfigError) as caught:
        report(table(rows), n_resamples=0)
    message = str(caught.value)
    assert "3 of 10 samples have no score (70.0% scored): 4.png, 8.png, x\\x1b.png (no image);" in message
    assert "exclude" in message
    assert report(table(MIXED[:4] + MIXED[5:8]), n_resamples=0)["missing"] == "error"


def test_an_error_counts_those_of_all_data_sets() -> None:
    rows = [scored(0, 0.1), {"label": 0}, scored(1, 0.9, dataset="b"), {"label": 1, "dataset": "b"}]
    with pytest.raises(ConfigError, match="2 of 4 samples"):
        report(table(rows), n_resamples=0)
    other_split = [row | {"split": "test" if "score" in row else "train"} for row in rows]
    assert report(table(other_split), split="test", n_resamples=0)["scored"] == 2


def test_the_worst_counts_samples_without_a_score_as_wrong() -> None:
    found = report(table(MIXED), missing="worst", n_resamples=20)
    metrics, excluded = found["metrics"], report(table(MIXED), missing="exclude", n_resamples=0)["metrics"]
    labels = [0, 0, 0, 0, 0, 1, 1, 1, 1]
    scores = [0.1, 0.2, 0.6, 0.7, float("inf"), 0.9, 0.8, 0.3, float("-inf")]
    assert metrics["auroc"]["value"] == pytest.approx(auroc(labels, scores))
    assert metrics["auroc"]["value"] < excluded["auroc"]["value"]
    assert metrics["fpr"]["value"] == pytest.approx(3 / 5)
    assert metrics["fnr"]["value"] == pytest.approx(2 / 4)
    assert metrics["brier"]["value"] == pytest.approx((excluded["brier"]["value"] * 7 + 2) / 9)
    # A real without a score counts as called fake, a fake without one as called real.
    decided = found["decided"]
    rates = [decided[name]["value"] for name in ("fpr", "fnr", "recall")]
    assert rates == pytest.approx([2 / 5, 2 / 4, 2 / 4])
    assert (decided["n"], decided["wrong"]) == (6, 2), "those are what was said"
    assert (found["scored"], found["missing"]) == (7, "worst")
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_video_of_which_a_frame_has_no_score_is_the_worst() -> None:
    rows = [
        *video(1, [0.9, 0.8], video="x"),
        {"label": 1, "video": "x"},
        {"label": 1, "video": "z"},
        *video(0, [0.1], video="y"),
    ]
    worst = report(table(rows), missing="worst", n_resamples=0)["by"]["video"]
    assert (worst["n"], worst["scored"]) == (3, 1)
    assert worst["metrics"]["fnr"]["value"] == 1
    assert worst["metrics"]["auroc"]["value"] == 0
    # Two of the frames of x vote fake, whatever the third would have said.
    assert worst["vote"]["fnr"]["value"] == 1 / 2
    by_name = {v["video"]: (v["score"], v["vote"], v["scored"]) for v in worst["videos"]}
    assert by_name == {"x": (None, "fake", 2), "y": (0.1, "real", 1), "z": (None, "real", 0)}
    excluded = report(table(rows), missing="exclude", n_resamples=0)["by"]["video"]
    assert excluded["scored"] == 2
    assert excluded["metrics"]["fnr"]["value"] == excluded["vote"]["fnr"]["value"] == 0


@pytest.mark.parametrize(
    ("missing", "line", "legend"),
    [
        ("exclude", "2 without a score are left out of the metrics; 77.8% have one", "over the samples that"),
        ("worst", "2 without a score are counted as the worst", "a fake without a score ranks below"),
    ],
)
def test_the_text_says_what_became_of_them(missing: Any, line: str, legend: str) -> None:
    found = report(table(MIXED), missing=missing, n_resamples=0)
    for shown in (text(found), markdown(found)):
        assert line in shown
        assert legend in shown
    whole = report(table(MIXED[:4]), missing=missing, n_resamples=0)
    assert "without a score are" not in text(whole)


def test_probabilities_that_a_scored_sample_lacks_leave_calibration_undefined() -> None:
    rows = [scored(0, 0.1), scored(1, 0.9) | {"probability": NAN}, {"label": 1}]
    for missing in ("exclude", "worst"):
        found = report(table(rows), missing=missing, n_resamples=0)["metrics"]  # type: ignore[arg-type]
        assert found["ece"] is None
        assert found["brier"] is None


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="found 'drop'"):
        report(table(MIXED), missing="drop")  # type: ignore[arg-type]


def test_selective_risk_and_the_area_below_it() -> None:
    found = report(table(MIXED), missing="exclude", n_resamples=0)
    assert found["decided"]["risk"] == pytest.approx(2 / 6)
    labels, scores = [0, 0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.6, 0.7, 0.9, 0.8, 0.3]
    assert found["aurc"] == risk_coverage(labels, scores, threshold=0.5).aurc > 0
    assert f"Selective risk: 0.333 of the verdicts are wrong; AURC {found['aurc']:.3f}" in text(found)
    lost = report(table([{"label": 0}, {"label": 1}]), missing="exclude", n_resamples=0)
    assert (lost["aurc"], lost["decided"]["risk"]) == (None, None)
    assert "Selective risk: – of the verdicts" in text(lost)


def test_verdict_rates_measure_no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def measured(*args: Any, **options: Any) -> Any:
        calls.append((options.get("ranks", True), options["workers"]))
        return summary(*args, **options)

    monkeypatch.setattr("tellsign.evaluate.report.summary", measured)
    rows = [*MIXED, *video(1, [0.9, 0.8], video="v")]
    found = report(table(rows), missing="exclude", n_resamples=20, workers=2)
    assert Counter(calls) == {(True, 2): 2, (False, 2): 3}, "a part that is the whole is measured once"
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_columns_tell_verdicts_from_scores() -> None:
    shown = text(report(table(MIXED), missing="worst", n_resamples=0)).splitlines()
    row = next(line for line in shown if line.startswith("a  "))
    assert row.split()[-2:] == ["0.667", "0.778"]
    legend = " ".join(shown)
    assert "a real without a score counts as called fake, and such a fake as called real" in legend
    assert "coverage" not in legend
    assert max(map(len, shown)) <= 160


def test_the_confusion_matrix_counts_what_has_a_score_at_the_threshold() -> None:
    cells = report(table(MIXED), missing="exclude", n_resamples=0)["confusion"]
    assert {name: cell["value"] for name, cell in cells.items()} == {"tn": 2, "fp": 2, "fn": 1, "tp": 2}
    assert [cell["ci"] for cell in cells.values()] == [None] * 4
    worst = report(table(MIXED), missing="worst", n_resamples=0)["confusion"]
    assert {name: cell["value"] for name, cell in worst.items()} == {"tn": 2, "fp": 3, "fn": 2, "tp": 2}
    reals = report(table(MIXED[:4]), n_resamples=20)["confusion"]
    assert (reals["fn"], reals["tp"]) == ({"value": 0, "ci": None}, {"value": 0, "ci": None})
    assert reals["fp"]["ci"] is not None


def test_the_intervals_of_its_cells_are_those_of_counts_in_the_same_resamples() -> None:
    """Against the percentiles of the counts themselves, which rows that are their own groups make exact."""
    rng = np.random.default_rng(0)
    rows = [scored(int(label), float(rng.beta(3 + label, 3))) for label in rng.integers(2, size=80)]
    cells = report(table(rows), n_resamples=2000)["confusion"]
    for label, right, wrong in ((0, "tn", "fp"), (1, "tp", "fn")):
        is_wrong = np.array([(row["score"] >= 0.5) != bool(label) for row in rows if row["label"] == label])
        assert cells[wrong]["value"] == is_wrong.sum()
        n = len(is_wrong)
        counts = is_wrong[rng.integers(n, size=(20_000, n))].sum(axis=1)
        assert cells[wrong]["ci"] == pytest.approx(np.quantile(counts, [0.025, 0.975]), abs=1.01)
        assert cells[wrong]["ci"][0] < cells[wrong]["value"] < cells[wrong]["ci"][1]
        assert cells[right]["ci"] == pytest.approx([n - end for end in cells[wrong]["ci"][::-1]])


def test_the_confusion_matrix_is_shown_and_there_for_every_source_and_for_videos() -> None:
    rows = [*MIXED[:4], *MIXED[5:8], *video(1, [0.9, 0.8], video="v", dataset="b")]
    found = report(table(rows), n_resamples=100)
    assert found["by"]["dataset"]["b"]["confusion"]["tp"]["value"] == 2
    assert found["by"]["video"]["confusion"]["tp"]["value"] == 1
    assert found["by"]["video"]["confusion"]["fn"]["value"] == 0
    for shown, cut in ((text(found), "  "), (markdown(found), "|")):
        lines = shown.splitlines()
        start = next(i for i, line in enumerate(lines) if "at the threshold, by the score alone" in line)
        cells = [[c.strip() for c in line.strip("|").split(cut) if c.strip()] for line in lines[start:]]
        real, fake = (next(c for c in cells if c and c[0] == name) for name in ("real", "fake"))
        assert [cell.split(" [")[0] for cell in (*real[1:], *fake[1:])] == ["2", "2", "1", "4"]
        assert real[1].startswith("2 [")
        assert json.loads(json.dumps(found, allow_nan=False)) == found
