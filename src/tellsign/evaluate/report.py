"""Predictions → a report: coverage, metrics with intervals, each per data set, generator and video.

A pooled figure mixes data sets whose scores need not be comparable, so it never stands alone. Three rules
hold in every block of a report:

- `metrics` are taken at the detector's threshold, over the samples that have a score; those without (failed,
  too small) are an error, are left out or count as the worst possible, as `missing` says.
- `decided` is what a user meets: shares of *all* reals and of *all* fakes by the verdict that they got, so
  that an uncertain or failed sample is neither a false alarm nor a find.
- A generator's fakes are compared with the reals of the same data set, never with those of another.

Intervals are 95 % bootstrap intervals over groups (source videos, identities); a sample without a group is
one of its own.

Shapes: N rows (predictions), V videos.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.evaluate.columns import aligned
from tellsign.metrics import summary, with_missing
from tellsign.scoring.names import printable
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tellsign.metrics import Estimate, Missing
    from tellsign.scoring.predictions import Predictions

    Block = dict[str, Any]
    Estimates = Callable[..., dict[str, Estimate | None]]  # `summary` with the bootstrap's options

UNNAMED = "unnamed"  # a data set or a generator without a name
LABELS = {REAL: "real", FAKE: "fake"}


def report(
    predictions: Predictions,
    *,
    split: str | None = None,
    missing: Missing = "error",
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything that is said about a detector on a labelled set.

    `by` holds the same block per data set; per generator, under its name, or under DATASET/GENERATOR where
    several data sets share the name; and for videos, where frames are joined by data set, generator and video
    (and label), never by the folder that they lie in.

    Args:    predictions: the table.
             split: only rows of this split; None takes all.
             missing: what the metrics do with samples that have no score: error; exclude; or worst, a fake
             at -inf and a real at +inf. A video lacks a score where none of its frames has one; otherwise
             its frames with a score speak for it.
             n_resamples: of the bootstrap; 0 leaves the intervals out.
             seed: of the bootstrap.
    Returns: JSON-ready: n, n_real, n_fake, scored, uncertain, failed, coverage (share with a verdict real
             or fake), threshold, metrics {name: {"value", "ci"} or None where undefined}, decided {n, wrong,
             fpr, fnr, recall}, by {dataset, generator, video}, detector, manifest, split, missing.
    Raises:  ConfigError: there are no rows, a label is neither 0 nor 1, or a score is missing and `missing`
             is error.
    """
    rows = predictions if split is None else predictions.take(predictions.split == split)
    if not len(rows):
        found = ", ".join(sorted(set(predictions.split.tolist()) - {""})) or "none"
        where = "" if split is None else f" in the split {split!r}; the splits are {found}"
        raise ConfigError(f"there is nothing to report: {len(predictions)} predictions, none of them{where}")
    if unknown := sorted(set(rows.label.tolist()) - set(LABELS)):
        raise ConfigError(f"labels must be 0 (real) or 1 (fake): found {unknown[:3]}; leave such rows out")
    # Of all rows at once, so that an error counts them all.
    with_missing(rows.label, rows.score, missing, names=_reasons(rows))
    block = partial(_block, missing=missing, estimates=partial(summary, n_resamples=n_resamples, seed=seed))
    datasets = _by_dataset(rows, block)
    # A part that is the whole is not measured twice.
    (whole,) = datasets.values() if len(datasets) == 1 else (block(rows),)
    return {
        **whole,
        "threshold": _finite(rows.threshold),
        "by": {
            "dataset": datasets,
            "generator": _by_generator(rows, datasets, block),
            "video": _by_video(rows, missing, partial(summary, n_resamples=n_resamples, seed=seed)),
        },
        "detector": rows.detector,
        "manifest": rows.manifest,
        "split": split,
        "missing": missing,
    }


def _reasons(rows: Predictions) -> list[str]:
    """Path and reason of each row without a score; only these are ever named."""
    lost = np.isnan(rows.score)
    return [
        printable(f"{path} ({reason})" if reason else str(path)) if is_lost else ""
        for path, reason, is_lost in zip(rows.path, rows.reason, lost, strict=True)
    ]


def _block(rows: Predictions, *, missing: Missing, estimates: Estimates) -> Block:
    has_verdict = np.isin(rows.verdict, list(LABELS.values()))
    right = np.where(rows.label == FAKE, "fake", "real")
    return {
        "n": len(rows),
        "n_real": int((rows.label == REAL).sum()),
        "n_fake": int((rows.label == FAKE).sum()),
        "scored": int((~np.isnan(rows.score)).sum()),
        "uncertain": int((rows.verdict == "uncertain").sum()),
        "failed": int((rows.verdict == "").sum()),
        "coverage": float(has_verdict.mean()),
        "metrics": _metrics(rows, missing, estimates),
        "decided": {
            "n": int(has_verdict.sum()),
            "wrong": int((has_verdict & (rows.verdict != right)).sum()),
            **_verdict_rates(rows, estimates),
        },
    }


def _metrics(rows: Predictions, missing: Missing, estimates: Estimates) -> Block:
    kept = with_missing(rows.label, rows.score, missing, probabilities=rows.probability)
    known = len(kept.rows) > 0 and bool(np.isfinite(rows.probability[~np.isnan(rows.score)]).all())
    found = estimates(
        kept.labels,
        kept.scores,
        threshold=rows.threshold,
        probabilities=kept.probabilities if known else None,
        groups=rows.group[kept.rows],
    )
    return {**{name: _shown(estimate) for name, estimate in found.items()}, "recall": _rest(found["fnr"])}


def _verdict_rates(rows: Predictions, estimates: Estimates) -> Block:
    """Shares of all reals and of all fakes; uncertain and failed samples stay in the denominator."""

    def rates(is_high: NDArray[np.bool_]) -> dict[str, Estimate | None]:
        return estimates(rows.label, is_high.astype(float), threshold=0.5, groups=rows.group)

    is_fake, is_real = rows.verdict == "fake", rows.verdict == "real"
    called_fake = rates(is_fake)
    not_called_real = called_fake if (is_fake | is_real).all() else rates(~is_real)
    return {
        "fpr": _shown(called_fake["fpr"]),
        "fnr": _shown(not_called_real["fnr"]),
        "recall": _rest(called_fake["fnr"]),
    }


def _by_dataset(rows: Predictions, block: Callable[[Predictions], Block]) -> Block:
    names = _named(rows.dataset)
    return {name: block(rows.take(names == name)) for name in _distinct(names)}


def _by_generator(rows: Predictions, by_dataset: Block, block: Callable[[Predictions], Block]) -> Block:
    datasets, generators = _named(rows.dataset), _named(rows.generator)
    fake = rows.label == FAKE
    pairs = sorted(set(zip(generators[fake].tolist(), datasets[fake].tolist(), strict=True)))
    uses = Counter(generator for generator, _ in pairs)
    blocks = {}
    for generator, dataset in pairs:
        own = (datasets == dataset) & (~fake | (generators == generator))
        key = generator if uses[generator] == 1 else f"{dataset}/{generator}"
        # `dataset` says whose reals these fakes are compared with.
        is_all = own.sum() == by_dataset[dataset]["n"]
        measured = by_dataset[dataset] if is_all else block(rows.take(own))
        blocks[key] = {"generator": generator, "dataset": dataset, **measured}
    return blocks


def _by_video(rows: Predictions, missing: Missing, estimates: Estimates) -> Block:
    """Metrics of mean scores and of votes, all data sets together and each alone; {} without frames."""
    frames = rows.take(rows.video != "")
    if not len(frames):
        return {}
    members: dict[tuple[str, str, str, int], list[int]] = defaultdict(list)
    columns = (_named(frames.dataset), frames.generator, frames.video, frames.label)
    for index, key in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        members[key].append(index)
    videos = [_video(frames, key, members[key]) for key in sorted(members)]
    datasets = _distinct(np.array([video["dataset"] for video in videos]))
    measured = partial(_video_block, threshold=frames.threshold, missing=missing, estimates=estimates)
    return {
        **measured(videos),
        "dataset": {name: measured([v for v in videos if v["dataset"] == name]) for name in datasets},
        "videos": [{key: value for key, value in video.items() if key != "group"} for video in videos],
    }


def _video(frames: Predictions, key: tuple[str, str, str, int], rows: list[int]) -> Block:
    dataset, generator, name, label = key
    scores = frames.score[rows]
    scores = scores[~np.isnan(scores)]
    votes = int((scores >= frames.threshold).sum())
    mean = float(scores.mean()) if len(scores) else None
    balance = 2 * votes - len(scores)
    return {
        "dataset": dataset,
        "generator": generator,
        "video": name,
        "label": LABELS[label],
        "n": len(rows),
        "scored": len(scores),
        "score": mean,
        "decision": None if mean is None else LABELS[int(mean >= frames.threshold)],
        "fake_frames": votes,
        "vote": LABELS[int(balance > 0)] if balance else None,  # None: a tie, or no frame has a score
        "group": frames.group[rows[0]],
    }


def _video_block(
    videos: Sequence[Block], *, threshold: float, missing: Missing, estimates: Estimates
) -> Block:
    scored = [video for video in videos if video["score"] is not None]
    means = [math.nan if video["score"] is None else video["score"] for video in videos]
    kept = with_missing([video["label"] == "fake" for video in videos], means, missing)
    own = [videos[row] for row in kept.rows]
    groups = [video["group"] for video in own]
    # A tie counts as wrong, as does a video without a score: a vote that is none decides nothing.
    votes = [
        1.0 - y if v["vote"] is None else float(v["vote"] == "fake")
        for y, v in zip(kept.labels, own, strict=True)
    ]
    by_mean = estimates(kept.labels, kept.scores, threshold=threshold, groups=groups)
    by_vote = estimates(kept.labels, votes, threshold=0.5, groups=groups)
    return {
        "n": len(videos),
        "n_real": sum(video["label"] == "real" for video in videos),
        "n_fake": sum(video["label"] == "fake" for video in videos),
        "scored": len(scored),
        "metrics": {**{k: _shown(e) for k, e in by_mean.items()}, "recall": _rest(by_mean["fnr"])},
        "vote": {
            **{k: _shown(by_vote[k]) for k in ("accuracy", "balanced_accuracy", "fpr", "fnr")},
            "ties": sum(video["vote"] is None for video in scored),
        },
    }


def _named(names: NDArray[np.str_]) -> NDArray[np.str_]:
    return np.where(names == "", UNNAMED, names)


def _distinct(names: NDArray[np.str_]) -> list[str]:
    return sorted(set(names.tolist()))


def _shown(estimate: Estimate | None) -> Block | None:
    return None if estimate is None else estimate.to_dict()


def _rest(estimate: Estimate | None) -> Block | None:
    """1 - a share, with its interval."""
    if estimate is None:
        return None
    known = not math.isnan(estimate.low)
    return {"value": 1 - estimate.value, "ci": [1 - estimate.high, 1 - estimate.low] if known else None}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


HEADER = ("source", "real", "fake", "AUROC [95 % CI]", "FPR [95 % CI]", "recall (TPR) [95 % CI]", "coverage")
LEGEND = """\
AUROC: {which}. FPR and recall: shares of all real and of all fake samples that get
the verdict fake; for videos, by the mean score of their frames. Where such a rate is 0 among n samples, the
bootstrap has no interval; its 95 % bound is 3/n."""
_SCORED = "over the samples that have a score"
_LEGENDS = {
    "error": _SCORED,
    "exclude": _SCORED,
    "worst": "a fake without a score ranks below all others, such a real above",
}
_MISSING = {"exclude": "left out of the metrics", "worst": "counted as the worst possible in the metrics"}


def text(result: dict[str, Any]) -> str:
    """A report for the terminal: one aligned line a source, then the pooled metrics.

    Args:    result: of `report`.
    Returns: plain text.
    """
    lines = [
        *_heading(result),
        "",
        *aligned([HEADER, *_source_rows(result)], n_left=1),
        "",
        _legend(result),
        "",
    ]
    several = len(result["by"]["dataset"]) > 1
    lines.append(
        "All samples pooled, which data sets of different kind make hard to read:" if several else "Metrics:"
    )
    pooled = [(f"  {name}", _with_interval(value)) for name, value in result["metrics"].items()]
    lines += aligned(pooled, n_left=1)
    if videos := result["by"]["video"]:
        right = [_with_interval(videos[way]["accuracy"]) for way in ("metrics", "vote")]
        lines += ["", f"Videos: accuracy {right[0]} by mean score, {right[1]} by majority vote of frames."]
    return "\n".join(lines)


def markdown(result: dict[str, Any]) -> str:
    """A report for a card: one table row a source.

    Args:    result: of `report`.
    Returns: Markdown, without a heading.
    """
    rows = [[cell.replace("|", r"\|") for cell in row] for row in (HEADER, *_source_rows(result))]
    rule = ["---", *["---:"] * (len(HEADER) - 1)]
    table = [f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])]
    return "\n".join([*(f"{line}  " for line in _heading(result)), "", *table, "", _legend(result), ""])


def _heading(result: dict[str, Any]) -> list[str]:
    split = f", split {result['split']}" if result["split"] else ""
    decided = result["decided"]
    counts = (
        f"{result['n']} samples: {decided['n']} with a verdict ({result['coverage']:.1%}), "
        f"{decided['wrong']} of these wrong; {result['uncertain']} uncertain, {result['failed']} failed"
    )
    lines = [f"Detector {printable(result['detector'])} on manifest {result['manifest'][:12]}{split}", counts]
    if n_missing := result["n"] - result["scored"]:
        share = result["scored"] / result["n"]
        lines.append(f"{n_missing} without a score are {_MISSING[result['missing']]}; {share:.1%} have one")
    return lines


def _legend(result: dict[str, Any]) -> str:
    return LEGEND.format(which=_LEGENDS[result["missing"]])


def _source_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Each data set, then its generators where it has several, then its videos."""
    by, rows = result["by"], []
    for name, block in by["dataset"].items():
        own = [b for b in by["generator"].values() if b["dataset"] == name]
        only = len(own) == 1 and own[0]["generator"] != UNNAMED
        rows.append(_source_row(f"{name} ({own[0]['generator']})" if only else name, block))
        if len(own) > 1:
            rows += [_source_row(f"{name}: {b['generator']}", b) for b in own]
        if videos := by["video"].get("dataset", {}).get(name):
            rates = (videos["metrics"]["fpr"], videos["metrics"]["recall"])
            rows.append(_row(f"{name}, videos", videos, rates, videos["scored"] / videos["n"]))
    return rows


def _source_row(name: str, block: Block) -> tuple[str, ...]:
    return _row(name, block, (block["decided"]["fpr"], block["decided"]["recall"]), block["coverage"])


def _row(
    name: str, block: Block, rates: tuple[Block | None, Block | None], coverage: float
) -> tuple[str, ...]:
    return (
        printable(name),
        str(block["n_real"]),
        str(block["n_fake"]),
        _with_interval(block["metrics"]["auroc"]),
        *(_with_interval(rate) for rate in rates),
        f"{coverage:.3f}",
    )


def _with_interval(value: Block | None) -> str:
    if value is None:
        return "–"
    shown = f"{value['value']:.3f}"
    if value["ci"] is not None and value["ci"][0] < value["ci"][1]:
        shown += " [{:.3f}, {:.3f}]".format(*value["ci"])
    return shown
