"""A report as text for the terminal and as Markdown for a card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tellsign.evaluate.columns import aligned
from tellsign.evaluate.report import UNNAMED
from tellsign.scoring.names import printable

if TYPE_CHECKING:
    from tellsign.evaluate.report import Block

HEADER = (
    "source",
    "real",
    "fake",
    "AUROC [95 % CI]",
    "FPR [95 % CI]",
    "recall (TPR) [95 % CI]",
    "verdicts",
    "scored",
)
LEGEND = """\
AUROC: {which}.
FPR and recall: shares of all real and of all fake samples that get the verdict fake{lost};
for videos, by the mean score of their frames. Where such a rate is 0 among n samples, the bootstrap
has no interval; its 95 % bound is 3/n. Verdicts: share of the samples that get the verdict real or fake;
scored: share that has a score."""
_SCORED = "over the samples that have a score"
_LEGENDS = {
    "error": _SCORED,
    "exclude": _SCORED,
    "worst": "a fake without a score ranks below all others, such a real above; a video of which a frame\n"
    "has none counts as one without",
}
_LOST = {
    "error": "",
    "exclude": "",
    "worst": ",\nwhere a real without a score counts as called fake, and such a fake as called real",
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
    lines += [*aligned(pooled, n_left=1), "", *aligned(_confusion_rows(result), n_left=1), ""]
    lines.append(_selective(result))
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
    first, *cells = (f"| {' | '.join(row)} |" for row in _confusion_rows(result))
    confusion = [first, "|---|---:|---:|", *cells]
    heading = [f"{line}  " for line in _heading(result)]
    return "\n".join([*heading, "", *table, "", _legend(result), "", *confusion, ""])


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
    return LEGEND.format(which=_LEGENDS[result["missing"]], lost=_LOST[result["missing"]])


def _confusion_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The confusion matrix: a row is the truth, a column what the score alone says."""
    cells = result["confusion"]
    return [
        ("at the threshold, by the score alone", "below it [95 % CI]", "fake [95 % CI]"),
        *(
            (truth, *(_count(cells[name]) for name in names))
            for truth, names in (("real", ("tn", "fp")), ("fake", ("fn", "tp")))
        ),
    ]


def _count(cell: Block) -> str:
    if cell["ci"] is None or cell["ci"][0] == cell["ci"][1]:
        return str(cell["value"])
    return "{} [{:.0f}, {:.0f}]".format(cell["value"], *cell["ci"])


def _selective(result: dict[str, Any]) -> str:
    risk, aurc = (
        "–" if value is None else f"{value:.3f}" for value in (result["decided"]["risk"], result["aurc"])
    )
    return (
        f"Selective risk: {risk} of the verdicts are wrong; AURC {aurc} (mean share of wrong calls\n"
        "at the threshold, over all shares of the scores nearest to it that are left out)."
    )


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
            # A mean score is always called real or fake.
            rows.append(_row(f"{name}, videos", videos, rates, verdicts=videos["scored"] / videos["n"]))
    return rows


def _source_row(name: str, block: Block) -> tuple[str, ...]:
    rates = (block["decided"]["fpr"], block["decided"]["recall"])
    return _row(name, block, rates, verdicts=block["coverage"])


def _row(
    name: str, block: Block, rates: tuple[Block | None, Block | None], *, verdicts: float
) -> tuple[str, ...]:
    return (
        printable(name),
        str(block["n_real"]),
        str(block["n_fake"]),
        _with_interval(block["metrics"]["auroc"]),
        *(_with_interval(rate) for rate in rates),
        f"{verdicts:.3f}",
        f"{block['scored'] / block['n']:.3f}",
    )


def _with_interval(value: Block | None) -> str:
    if value is None:
        return "–"
    shown = f"{value['value']:.3f}"
    if value["ci"] is not None and value["ci"][0] < value["ci"][1]:
        shown += " [{:.3f}, {:.3f}]".format(*value["ci"])
    return shown
