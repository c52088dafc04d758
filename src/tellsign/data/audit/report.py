"""A manifest → its audit: what each cue tells, duplicates, leaks, unreadable files, balance, advice.

Shapes: N files.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.data.audit import advice
from tellsign.data.audit.advice import Finding, Leak
from tellsign.data.audit.classify import CueResult, check_folds, check_train_extra, cue_results
from tellsign.data.audit.cues import FEATURES, FileCues, all_file_cues, cue_text
from tellsign.data.audit.duplicates import DISTANCE, DuplicateSet, duplicate_sets
from tellsign.data.manifest import LABEL_NAMES, Manifest, require_images
from tellsign.groups import sources
from tellsign.types import FAKE, REAL, ConfigError, Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXAMPLES = 3  # of each class and cue
NAMED = 5  # files that the text names before it counts the others
CELLS = 30  # of the table of counts that the text shows, the largest


@dataclass(frozen=True, slots=True)
class Example:
    """A file that a cue gives away, with what the cue sees."""

    sample: Sample
    value: str


@dataclass(frozen=True, slots=True)
class Count:
    """A cell of the table of classes."""

    dataset: str
    label: str  # real, fake or empty
    generator: str
    split: str
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """Everything that is said about a manifest."""

    n: int  # rows, readable or not
    n_real: int
    n_fake: int
    limit: float  # AUROC above which a cue is a finding
    cues: Mapping[str, CueResult]
    datasets: Mapping[str, Mapping[str, CueResult]]  # where several data sets hold both classes or one does
    examples: Mapping[str, tuple[Example, ...]]  # of cues with scores: the clearest reals, then fakes
    thumbnails: Mapping[str, NDArray[np.float32]]  # real and fake: mean (8, 8, 3) in [0, 1]
    duplicates: tuple[DuplicateSet, ...]
    leaks: tuple[Leak, ...]
    unreadable: tuple[tuple[Sample, str], ...]  # with the reason
    changed: tuple[Sample, ...]  # content is not what the manifest's checksum says
    balance: tuple[Count, ...]
    findings: tuple[Finding, ...]
    manifest: str  # digest


def audit(
    manifest: Manifest,
    *,
    workers: int = 1,
    folds: int = 5,
    seed: int = 0,
    limit: float = advice.LIMIT,
    distance: int = DISTANCE,
    n_resamples: int = 1000,
    on_done: Callable[[], None] = lambda: None,
) -> Audit:
    """Reads every file once and says what gives its label away.

    Rows without a label take part in the search for duplicates alone.

    Args:    manifest: the samples; groups may cross splits, files may be missing.
             workers: processes that read, one thread each. folds: of the cross-validation.
             seed: of folds and bootstrap. limit: AUROC above which a cue is a finding.
             distance: bits in which perceptual hashes of near duplicates may differ.
             n_resamples: of the bootstrap. on_done: called after each file.
    Returns: the audit.
    Raises:  ConfigError: an option is out of range, the manifest is empty, or the train extra is missing.
             ManifestError: rows are videos.
    """
    _check(manifest, folds, limit)
    rows = list(all_file_cues([s.path for s in manifest], workers=workers, on_done=on_done))
    read = [(s, row) for s, row in zip(manifest, rows, strict=True) if not isinstance(row, str)]
    unreadable = [(s, row) for s, row in zip(manifest, rows, strict=True) if isinstance(row, str)]
    changed = [s for s, row in read if s.sha256 and s.sha256 != row.sha256]
    duplicates = duplicate_sets([s for s, _ in read], [row for _, row in read], distance=distance)
    leaks = advice.group_leaks(manifest.samples)
    leaks += tuple(Leak(found.kind, found.samples) for found in duplicates if found.crosses_splits)
    labelled = [(s, row) for s, row in read if s.label is not None]
    cues, by_dataset = _results(labelled, folds=folds, seed=seed, n_resamples=n_resamples, workers=workers)
    return Audit(
        n=len(manifest),
        n_real=len(manifest.filter(label=REAL)),
        n_fake=len(manifest.filter(label=FAKE)),
        limit=limit,
        cues=cues,
        datasets=by_dataset,
        examples={name: _examples(name, result, labelled) for name, result in cues.items()},
        thumbnails=_mean_thumbnails(labelled),
        duplicates=duplicates,
        leaks=leaks,
        unreadable=tuple(unreadable),
        changed=tuple(changed),
        balance=_balance(manifest),
        findings=(
            advice.cue_findings(cues, [row for _, row in labelled], limit=limit)
            + _hidden_findings(cues, by_dataset, labelled, limit)
            + advice.duplicate_findings(duplicates)
            + advice.file_findings(unreadable, changed, leaks)
            + advice.balance_findings(manifest.samples)
        ),
        manifest=manifest.digest(),
    )


def _check(manifest: Manifest, folds: int, limit: float) -> None:
    """Raises for what can't be audited, before any file is read."""
    check_folds(folds)
    if not 0 <= limit <= 1:
        raise ConfigError(f"the limit of an AUROC lies between 0 and 1, found {limit}")
    if not len(manifest):
        raise ConfigError("the manifest has no rows; there is nothing to audit")
    require_images(manifest)
    check_train_extra()


def _hidden_findings(
    pooled: Mapping[str, CueResult],
    datasets: Mapping[str, Mapping[str, CueResult]],
    rows: Sequence[tuple[Sample, FileCues]],
    limit: float,
) -> tuple[Finding, ...]:
    """Cues that tell the label within a data set, and not when all are pooled."""
    found: tuple[Finding, ...] = ()
    for dataset, cues in datasets.items():
        hidden = {name: result for name, result in cues.items() if not advice.tells(pooled[name], limit)}
        own = [row for sample, row in rows if sample.dataset == dataset]
        found += advice.cue_findings(hidden, own, limit=limit, dataset=dataset)
    return found


def _results(
    rows: Sequence[tuple[Sample, FileCues]], **options: int
) -> tuple[dict[str, CueResult], dict[str, dict[str, CueResult]]]:
    """Of all rows, and of each data set where there are several and it holds both classes."""
    members: dict[str, list[tuple[Sample, FileCues]]] = defaultdict(list)
    for sample, row in rows:
        members[sample.dataset].append((sample, row))
    both = {name: part for name, part in members.items() if len({s.label for s, _ in part}) == 2}
    parts = {name: _cue_results(both[name], **options) for name in sorted(both)} if len(members) > 1 else {}
    return _cue_results(rows, **options), parts


def _cue_results(rows: Sequence[tuple[Sample, FileCues]], **options: int) -> dict[str, CueResult]:
    features = {name: [of(row) for _, row in rows] for name, of in FEATURES.items()}
    labels = [FAKE if sample.label else REAL for sample, _ in rows]
    return cue_results(features, labels, sources(sample for sample, _ in rows), **options)


def _examples(name: str, result: CueResult, rows: Sequence[tuple[Sample, FileCues]]) -> tuple[Example, ...]:
    if result.scores is None:
        return ()
    order = np.argsort(result.scores, kind="stable").tolist()
    reals = [index for index in order if rows[index][0].label == REAL][:EXAMPLES]
    fakes = [index for index in reversed(order) if rows[index][0].label == FAKE][:EXAMPLES]
    return tuple(Example(rows[index][0], cue_text(name, rows[index][1])) for index in reals + fakes)


def _mean_thumbnails(rows: Sequence[tuple[Sample, FileCues]]) -> dict[str, NDArray[np.float32]]:
    found: dict[str, NDArray[np.float32]] = {}
    for label in (REAL, FAKE):
        if own := [row.thumbnail for sample, row in rows if sample.label == label]:
            found[LABEL_NAMES[label]] = np.asarray(np.mean(own, axis=0), dtype=np.float32)
    return found


def _balance(manifest: Manifest) -> tuple[Count, ...]:
    counts = Counter((s.dataset, LABEL_NAMES[s.label], s.generator, s.split) for s in manifest)
    return tuple(Count(*key, n) for key, n in sorted(counts.items()))


def exceeded(result: Audit, max_auroc: float) -> tuple[str, ...]:
    """Cues whose AUROC exceeds a limit, pooled or within a data set.

    Args:    result: an audit. max_auroc: the limit.
    Returns: a few words for each, with the value; none where no cue does.
    """
    found = []
    for dataset, cues in (("", result.cues), *result.datasets.items()):
        where = f" in {dataset!a}" if dataset else ""
        for name, cue in cues.items():
            if cue.auroc is not None and advice.tells(cue, max_auroc):
                found.append(f"{name}{where} {cue.auroc.value:.3f}")
    return tuple(found)


def unjudged(result: Audit) -> tuple[str, ...]:
    """Cues without an AUROC, which no limit can clear.

    Args:    result: an audit.
    Returns: for all files and for each data set a few words with their names and the reason; none where every
             cue has a value.
    """
    found = []
    for dataset, cues in (("", result.cues), *result.datasets.items()):
        without: dict[str, list[str]] = defaultdict(list)
        for name, cue in cues.items():
            if cue.auroc is None:
                without[cue.note].append(name)
        where = f" in {dataset!a}" if dataset else ""
        found += [f"{', '.join(names)}{where} ({note})" for note, names in without.items()]
    return tuple(found)


def to_dict(result: Audit, *, path_text: Callable[[Path], str] = str) -> dict[str, Any]:
    """An audit as JSON.

    Args:    result: the audit. path_text: how a path is written.
    Returns: n, n_real, n_fake, limit, cues {name: {"auroc", "ci", "note"}}, by {"dataset": {name: cues}},
             duplicates, leaks, unreadable, changed, balance, findings, manifest.
    """

    def paths(samples: Sequence[Sample]) -> list[str]:
        return [path_text(sample.path) for sample in samples]

    return {
        "n": result.n,
        "n_real": result.n_real,
        "n_fake": result.n_fake,
        "limit": result.limit,
        "cues": _cues_dict(result.cues),
        "by": {"dataset": {name: _cues_dict(cues) for name, cues in result.datasets.items()}},
        "duplicates": [
            {
                "kind": found.kind,
                "paths": paths(found.samples),
                "across_labels": found.crosses_labels,
                "across_splits": found.crosses_splits,
                "across_groups": found.crosses_groups,
            }
            for found in result.duplicates
        ],
        "leaks": [
            {
                "kind": leak.kind,
                "group": leak.name if leak.kind == "group" else None,
                "splits": leak.splits,
                "paths": paths(leak.samples),
            }
            for leak in result.leaks
        ],
        "unreadable": [{"path": path_text(s.path), "error": reason} for s, reason in result.unreadable],
        "changed": paths(result.changed),
        "balance": [
            {
                "dataset": cell.dataset,
                "label": cell.label or None,
                "generator": cell.generator,
                "split": cell.split,
                "n": cell.n,
            }
            for cell in result.balance
        ],
        "findings": [
            {"about": found.about, "what": found.what, "advice": found.advice} for found in result.findings
        ],
        "manifest": result.manifest,
    }


def _cues_dict(cues: Mapping[str, CueResult]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, cue in cues.items():
        estimate = {"value": None, "ci": None} if cue.auroc is None else cue.auroc.to_dict()
        found[name] = {"auroc": estimate["value"], "ci": estimate["ci"], "note": cue.note or None}
    return found


def text(result: Audit) -> str:
    """An audit for the terminal.

    Args:    result: the audit.
    Returns: a table of cues, one for each data set where there are several, then counts, then findings with
             advice, then files. Nothing in it moves a cursor.
    """
    lines = [
        f"{result.n} files, {result.n_real} real and {result.n_fake} fake; manifest {result.manifest[:12]}",
        "",
        *_cue_table(result.cues, result.limit),
    ]
    for name, cues in result.datasets.items():
        lines += ["", f"Data set {name!a}:", "", *_cue_table(cues, result.limit)]
    lines += ["", *_count_table(result.balance)]
    within = [s for s in result.duplicates if not s.crosses_groups]
    if within:
        lines += ["", f"{len(within)} duplicate sets lie each within one group, as they should."]
    lines += ["", "Findings:" if result.findings else "No findings."]
    for mends, whats in advice.by_advice(result.findings).items():
        lines += [*(f"- {what}" for what in whats), f"  {mends}"]
    listed = [" = ".join(f"{str(s.path)!a}" for s in found.samples[:4]) for found in result.duplicates]
    lines += _some("Duplicates", listed)
    lines += _some("Leaks", [_leak_text(leak) for leak in result.leaks])
    lines += _some("Unreadable", [f"{str(s.path)!a}: {_line(reason)}" for s, reason in result.unreadable])
    return "\n".join([*lines, *_some("Changed", [f"{str(s.path)!a}" for s in result.changed])])


def _cue_table(cues: Mapping[str, CueResult], limit: float) -> list[str]:
    lines = [f"{'cue':<14}  AUROC  95 % CI"]
    for name, cue in cues.items():
        value, interval = auroc_text(cue)
        lines.append(f"{name:<14}  {value:>5}  {interval:<14}  {verdict(cue, limit)}".rstrip())
    notes = dict.fromkeys(cue.note for cue in cues.values() if cue.note)
    return lines + [f"({note})" for note in notes]


def _count_table(balance: Sequence[Count]) -> list[str]:
    """Files by data set, label, generator and split, in that order; of many cells the largest."""
    shown = sorted(sorted(balance, key=lambda cell: -cell.n)[:CELLS], key=balance.index)
    head = ("data set", "label", "generator", "split")
    rows = [
        tuple(f"{part!a}"[1:-1] or "–" for part in (c.dataset, c.label, c.generator, c.split)) for c in shown
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        f"{n:>8}  {'  '.join(f'{part:<{width}}' for part, width in zip(row, widths, strict=True))}".rstrip()
        for n, row in zip(("files", *(cell.n for cell in shown)), (head, *rows), strict=True)
    ]
    rest = [cell for cell in balance if cell not in shown]
    more = f"(and {sum(cell.n for cell in rest)} files in {len(rest)} more rows; all with --json)"
    return lines + ([more] if rest else [])


def auroc_text(cue: CueResult) -> tuple[str, str]:
    """AUROC and interval of a cue in three digits, a dash where there is none.

    Args:    cue: its result.
    Returns: value and interval.
    """
    if cue.auroc is None:
        return "–", "–"
    if math.isnan(cue.auroc.low):
        return f"{cue.auroc.value:.3f}", "–"
    return f"{cue.auroc.value:.3f}", f"[{cue.auroc.low:.3f}, {cue.auroc.high:.3f}]"


def verdict(cue: CueResult, limit: float) -> str:
    """What a cue's value means, in a few words.

    Args:    cue: its result. limit: AUROC above which it is a finding.
    Returns: "tells the label", "tells a little" (the interval lies above 0.5), "" or "not estimated".
    """
    if cue.auroc is None:
        return "not estimated"
    if advice.tells(cue, limit):
        return "tells the label"
    return "tells a little" if cue.auroc.low > 0.5 else ""


def _leak_text(leak: Leak) -> str:
    splits = ", ".join(f"{n} in {split}" for split, n in sorted(leak.splits.items()))
    return f"{leak.kind} {leak.name!a}: {splits}"


def _line(reason: str) -> str:
    return "".join(c if c.isprintable() else " " for c in reason)


def _some(title: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    more = [f"- … and {len(items) - NAMED} more (all with --json)"] if len(items) > NAMED else []
    return ["", f"{title}:", *(f"- {item}" for item in items[:NAMED]), *more]
