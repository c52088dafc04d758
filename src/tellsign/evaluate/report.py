"""Predictions → a report: coverage, metrics with intervals, each per data set, generator and video.

A pooled figure mixes data sets whose scores need not be comparable, so it never stands alone. Three rules
hold in every block of a report:

- `metrics` are taken at the detector's threshold, over the samples that have a score; those without (failed,
  too small) are an error, are left out or count as the worst possible, as `missing` says.
- `decided` is what a user meets: shares of *all* reals and of *all* fakes by the verdict that they got, so
  that an uncertain or failed sample is neither a false alarm nor a find. With `missing` as worst, a sample
  without a score counts as the wrong verdict.
- A generator's fakes are compared with the reals of the same data set, never with those of another.

Intervals are 95 % bootstrap intervals over groups (source videos, identities). Without a group the frames of
a video are one, and any other sample is one of its own.

Shapes: N rows (predictions), V videos.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.calibration import risk_coverage
from tellsign.evaluate.videos import videos
from tellsign.metrics import confusion_matrix, summary, with_missing
from tellsign.scoring.names import printable
from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tellsign.evaluate.videos import Videos
    from tellsign.metrics import Estimate, Missing, Scored
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
    workers: int = 1,
) -> dict[str, Any]:
    """Everything that is said about a detector on a labelled set.

    `by` holds the same block per data set; per generator, under its name, or under DATASET/GENERATOR where
    several data sets share the name; and for videos, where frames are joined by data set, generator and video
    (and label), never by the folder that they lie in.

    Args:    predictions: the table.
             split: only rows of this split; None takes all.
             missing: what the metrics do with samples that have no score: error; exclude; or worst, a fake
             at -inf and a real at +inf. `tellsign.evaluate.videos` says what becomes of a video of which only
             some frames have one.
             n_resamples: of the bootstrap; 0 leaves the intervals out.
             seed: of the bootstrap. workers: its processes.
    Returns: JSON-ready: n, n_real, n_fake, scored, uncertain, failed, coverage (share with a verdict real
             or fake), threshold, metrics {name: {"value", "ci"} or None where undefined}, confusion (of the
             same samples at the threshold: tn, fp, fn, tp as {"value", "ci"}), aurc (area under the
             risk-coverage curve of the samples with a score, at the threshold), decided {n, wrong, risk
             (wrong among the verdicts), fpr, fnr, recall}, by {dataset, generator, video}, detector,
             manifest, split, missing.
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
    estimates = partial(summary, n_resamples=n_resamples, seed=seed, workers=workers)
    block = partial(_block, missing=missing, estimates=estimates)
    datasets = _by_dataset(rows, block)
    # A part that is the whole is not measured twice.
    (whole,) = datasets.values() if len(datasets) == 1 else (block(rows),)
    return {
        **whole,
        "threshold": _finite(rows.threshold),
        "by": {
            "dataset": datasets,
            "generator": _by_generator(rows, datasets, block),
            "video": _by_video(rows, missing, estimates),
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
    n_decided, wrong = int(has_verdict.sum()), int((has_verdict & (rows.verdict != right)).sum())
    return {
        "n": len(rows),
        "n_real": int((rows.label == REAL).sum()),
        "n_fake": int((rows.label == FAKE).sum()),
        "scored": int((~np.isnan(rows.score)).sum()),
        "uncertain": int((rows.verdict == "uncertain").sum()),
        "failed": int((rows.verdict == "").sum()),
        "coverage": float(has_verdict.mean()),
        **_metrics(rows, missing, estimates),
        "aurc": _aurc(rows),
        "decided": {
            "n": n_decided,
            "wrong": wrong,
            "risk": wrong / n_decided if n_decided else None,
            **_verdict_rates(rows, missing, estimates),
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
        groups=rows.source[kept.rows],
    )
    return {
        "metrics": {**{name: _shown(e) for name, e in found.items()}, "recall": _rest(found["fnr"])},
        "confusion": _confusion(kept, rows.threshold, found),
    }


def _confusion(kept: Scored, threshold: float, found: Mapping[str, Estimate | None]) -> Block:
    """The four counts at a threshold; their intervals are those of the rates, at these numbers of samples.

    So nothing is drawn twice, and of each class the two counts add up at either end.
    """
    (tn, fp), (fn, tp) = confusion_matrix(kept.labels, kept.scores, threshold=threshold).tolist()
    counts = {"tn": tn, "fp": fp, "fn": fn, "tp": tp}
    block: Block = {name: {"value": count, "ci": None} for name, count in counts.items()}
    for rate, right, wrong in (("fpr", "tn", "fp"), ("fnr", "tp", "fn")):
        estimate, n = found[rate], counts[right] + counts[wrong]
        if estimate is not None and not math.isnan(estimate.low):
            block[wrong]["ci"] = [n * estimate.low, n * estimate.high]
            block[right]["ci"] = [n - n * estimate.high, n - n * estimate.low]
    return block


def _aurc(rows: Predictions) -> float | None:
    """Area under the risk-coverage curve of what has a score; None where nothing has."""
    known = np.isfinite(rows.score)
    if not known.any():
        return None
    return risk_coverage(rows.label[known], rows.score[known], threshold=rows.threshold).aurc


def _verdict_rates(rows: Predictions, missing: Missing, estimates: Estimates) -> Block:
    """Shares of all reals and of all fakes; uncertain and failed samples stay in the denominator."""
    groups = rows.source

    def rates(is_high: NDArray[np.bool_]) -> dict[str, Estimate | None]:
        return estimates(rows.label, is_high.astype(float), threshold=0.5, groups=groups, ranks=False)

    is_fake, is_real = rows.verdict == "fake", rows.verdict == "real"
    if missing == "worst":
        lost = np.isnan(rows.score)
        is_fake = np.where(lost, rows.label == REAL, is_fake)
        is_real = np.where(lost, rows.label == FAKE, is_real)
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
    found = videos(frames, missing)
    names = _named(found.table.dataset)
    measured = partial(_video_block, missing=missing, estimates=estimates)
    blocks = {name: measured(found.take(names == name)) for name in _distinct(names)}
    (whole,) = blocks.values() if len(blocks) == 1 else (measured(found),)
    return {**whole, "dataset": blocks, "videos": _video_rows(found)}


def _video_rows(found: Videos) -> list[Block]:
    table = found.table
    columns = {
        "dataset": _named(table.dataset).tolist(),
        "generator": table.generator.tolist(),
        "video": table.video.tolist(),
        "label": [LABELS[label] for label in table.label.tolist()],
        "n": found.n_frames.tolist(),
        "scored": found.n_scored.tolist(),
        "score": [None if math.isnan(score) else score for score in table.score.tolist()],
        "decision": [name or None for name in table.verdict.tolist()],
        "fake_frames": found.fake_frames.tolist(),
        "vote": [name or None for name in found.vote.tolist()],
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _video_block(found: Videos, *, missing: Missing, estimates: Estimates) -> Block:
    table = found.table
    kept = with_missing(table.label, table.score, missing)
    groups = table.source[kept.rows]
    # A tie counts as wrong: a vote that is none decides nothing.
    votes = np.where(found.vote == "", table.label == REAL, found.vote == "fake").astype(float)[kept.rows]
    by_mean = estimates(kept.labels, kept.scores, threshold=table.threshold, groups=groups)
    by_vote = estimates(kept.labels, votes, threshold=0.5, groups=groups, ranks=False)
    return {
        "n": len(found),
        "n_real": int((table.label == REAL).sum()),
        "n_fake": int((table.label == FAKE).sum()),
        "scored": int((~np.isnan(table.score)).sum()),
        "metrics": {**{k: _shown(e) for k, e in by_mean.items()}, "recall": _rest(by_mean["fnr"])},
        "confusion": _confusion(kept, table.threshold, by_mean),
        "vote": {
            **{k: _shown(by_vote[k]) for k in ("accuracy", "balanced_accuracy", "fpr", "fnr")},
            "ties": int(((found.vote == "") & (found.n_scored > 0)).sum()),
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
