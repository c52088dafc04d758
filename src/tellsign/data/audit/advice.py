"""What an audit found, each with the line that says what mends it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tellsign.data.manifest import LABEL_NAMES
from tellsign.groups import sources
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tellsign.data.audit.classify import CueResult
    from tellsign.data.audit.cues import FileCues
    from tellsign.data.audit.duplicates import DuplicateSet
    from tellsign.types import Sample

LIMIT = 0.6  # AUROC above which a cue is a finding, unless the user names a limit
LOPSIDED = 2.0  # ratio of the classes from which on it is said
NEARLY_ALL = 0.9  # share of a data set's fakes from which on one generator stands for all
FROM_CONTENT = ("bytes", "bits_per_pixel", "metadata")  # cues that follow the picture in files saved alike
SPLIT = "`tellsign data split MANIFEST --part train=0.6 --part valid=0.2 --part test=0.2 --anew -o SPLIT.csv`"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know, and one line of advice."""

    about: str  # a cue's name, or duplicates, leaks, unreadable, changed, balance
    what: str
    advice: str


@dataclass(frozen=True, slots=True)
class Leak:
    """A group, or a picture, that lies in several splits."""

    kind: str  # group, exact or near
    samples: tuple[Sample, ...]

    @property
    def splits(self) -> dict[str, int]:
        """Split → files."""
        return dict(Counter(sample.split for sample in self.samples if sample.split))

    @property
    def name(self) -> str:
        """Of the group, or of the video without one; of a picture the path of its first file."""
        return sources(self.samples[:1])[0] if self.kind == "group" else str(self.samples[0].path)


def group_leaks(samples: Sequence[Sample]) -> tuple[Leak, ...]:
    """Groups, and videos without a group, of which files lie in two splits or more.

    Args:    samples: the rows.
    Returns: one leak for each group, by name.
    """
    members: dict[str, list[Sample]] = defaultdict(list)
    for source, sample in zip(sources(samples), samples, strict=True):
        if source and sample.split:
            members[source].append(sample)
    return tuple(
        Leak("group", tuple(rows)) for _, rows in sorted(members.items()) if len({s.split for s in rows}) > 1
    )


def tells(result: CueResult, limit: float) -> bool:
    """Whether a cue's AUROC itself, not an end of its interval, exceeds the limit.

    A set that is too small to clear a cue is not cleared by being small.

    Args:    result: of a cue. limit: AUROC.
    Returns: False, too, where there is no AUROC.
    """
    return result.auroc is not None and result.auroc.value > limit


def by_advice(findings: Sequence[Finding]) -> dict[str, list[str]]:
    """Advice → what it mends, for people, who read the same advice once.

    Args:    findings: of an audit.
    Returns: in the order of the findings.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        found[finding.advice].append(finding.what)
    return dict(found)


def cue_findings(
    cues: Mapping[str, CueResult], rows: Sequence[FileCues], *, limit: float, dataset: str | None = None
) -> tuple[Finding, ...]:
    """Findings on cues, the largest AUROC first.

    Args:    cues: name → result. rows: the files, for sizes and qualities that suit them.
             limit: AUROC above which a cue is one. dataset: that the files are of; None: all files.
    Returns: one finding for each cue that tells the label.
    """
    where = "" if dataset is None else f" of the data set {dataset!a}"
    told = {name: r.auroc.value for name, r in cues.items() if r.auroc is not None and tells(r, limit)}
    saved_alike = _saved_alike(rows)
    return tuple(
        Finding(
            name,
            f"{name.replace('_', ' ')} alone tells the classes{where} apart: AUROC {told[name]:.2f}",
            _cue_advice(name, rows, saved_alike=saved_alike),
        )
        for name in sorted(told, key=lambda name: -told[name])
    )


def _saved_alike(rows: Sequence[FileCues]) -> bool:
    """Whether all files are JPEGs saved in one way, as harmonising leaves them.

    An AUROC of 0.5 does not say so: chance hides what differs in few files or within both classes.
    """
    ways = {
        (
            r.suffix,
            r.mode,
            r.width,
            r.height,
            r.jpeg_tables,
            r.jpeg_subsampling,
            r.jpeg_progressive,
            r.exif,
            r.icc,
        )
        for r in rows
    }
    return len(ways) == 1 and all(row.format == "JPEG" for row in rows)


def _cue_advice(name: str, rows: Sequence[FileCues], *, saved_alike: bool) -> str:
    if name == "thumbnail":
        return (
            "the classes show different things (scene, framing, light); no command mends that: take both "
            "from one source, and state this value beside every result"
        )
    if name in FROM_CONTENT and saved_alike:
        return (
            "files of both classes are saved alike, so this follows the picture (texture, noise), and "
            "harmonising keeps it: state this value beside every result"
        )
    harmonise = (
        f"`tellsign data harmonise MANIFEST --size {_size(rows)} --quality {_quality(rows)} -o FOLDER`"
    )
    if name == "name":
        return f"{harmonise} gives neutral names; until then, let nothing read names"
    return f"{harmonise} gives both classes one format, size and quality without metadata; then audit again"


def _size(rows: Sequence[FileCues]) -> int:
    """A crop that nearly all files can give."""
    sides = [min(row.width, row.height) for row in rows]
    return max(16, int(np.quantile(sides, 0.05, method="lower")))


def _quality(rows: Sequence[FileCues]) -> int:
    """No better than nearly all JPEGs: what is saved well keeps the traces of what was saved badly."""
    found = [row.jpeg_quality for row in rows if row.jpeg_quality is not None]
    return int(np.quantile(found, 0.05, method="lower")) if found else 90


def duplicate_findings(sets: Sequence[DuplicateSet]) -> tuple[Finding, ...]:
    """Findings on duplicates that matter: across labels, splits, or groups that a split could part.

    Args:    sets: of `duplicate_sets`.
    Returns: at most one finding for each of the three.
    """
    found = []
    across = [s for s in sets if s.crosses_labels]
    if across:
        advice = "look at each pair: correct the label, or take the rows out (a copy of a real is no fake)"
        found.append(Finding("duplicates", f"{_sets(across)} in both classes", advice))
    across = [s for s in sets if s.crosses_splits]
    if across:
        advice = f"give each set, and what shares a group with it, one group in the manifest, then {SPLIT}"
        found.append(Finding("duplicates", f"{_sets(across)} in several splits", advice))
    within = [s for s in sets if s.crosses_groups and not s.crosses_labels and not s.crosses_splits]
    if within:
        advice = "give each set one group in the manifest before anything is split, or keep one file of each"
        found.append(Finding("duplicates", f"{_sets(within)} in several groups", advice))
    return tuple(found)


def _sets(sets: Sequence[DuplicateSet]) -> str:
    kinds = Counter(s.kind for s in sets)
    parts = [f"{kinds[kind]} {kind}" for kind in ("exact", "near") if kinds[kind]]
    return f"{' and '.join(parts)} duplicate {'set' if len(sets) == 1 else 'sets'}"


def file_findings(
    unreadable: Sequence[tuple[Sample, str]], changed: Sequence[Sample], leaks: Sequence[Leak]
) -> tuple[Finding, ...]:
    """Findings on groups across splits, unreadable files and changed ones.

    Args:    unreadable: samples with reasons. changed: samples with another content than the manifest says.
             leaks: of groups.
    Returns: at most one finding for each.
    """
    found = []
    if groups := [leak for leak in leaks if leak.kind == "group"]:
        found.append(
            Finding("leaks", f"{len(groups)} groups lie in several splits", f"split by group again: {SPLIT}")
        )
    if unreadable:
        counts = Counter(LABEL_NAMES[sample.label] or "unlabelled" for sample, _ in unreadable)
        kinds = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
        advice = (
            "copy or download them again, or take the rows out; `tellsign data harmonise` leaves them out"
        )
        found.append(Finding("unreadable", f"{len(unreadable)} files can't be read ({kinds})", advice))
    if changed:
        advice = "restore the files, or write a new manifest with `tellsign data index --checksums`"
        found.append(Finding("changed", f"{len(changed)} files are not those of the manifest", advice))
    return tuple(found)


def balance_findings(samples: Sequence[Sample]) -> tuple[Finding, ...]:
    """Findings on classes that are missing or rare, in all, in a data set or in a split, and on generators.

    Args:    samples: the rows.
    Returns: findings; none for two classes of like size, and each generator in every split, everywhere.
    """
    found = []
    counts = Counter(s.label for s in samples)
    if missing := [LABEL_NAMES[label] for label in (REAL, FAKE) if not counts[label]]:
        advice = "add files of that class to the manifest; nothing can be told apart with one"
        return (Finding("balance", f"there are no {' and no '.join(missing)} files", advice),)
    for column, noun in (("dataset", "data set"), ("split", "split")):
        labels: dict[str, set[int | None]] = defaultdict(set)
        for sample in samples:
            labels[getattr(sample, column)].add(sample.label)
        # Rows without a name, as before a split, are no part of their own.
        alone = sorted(name for name, held in labels.items() if name and not {REAL, FAKE} <= held)
        if alone:
            advice = {
                "data set": "compare them with no other data set's files, or the difference of the sources "
                "is measured; trust the values by data set",
                "split": f"split anew, stratified: {SPLIT}",
            }[noun]
            names = ", ".join(f"{name!a}" for name in alone[:5])
            what = f"{len(alone)} {noun}{'s' if len(alone) > 1 else ''} with one class only ({names})"
            found.append(Finding("balance", what, advice))
    ratio = max(counts[REAL] / counts[FAKE], counts[FAKE] / counts[REAL])
    if ratio >= LOPSIDED:
        advice = "accuracy and AP depend on that share: report AUROC and balanced accuracy"
        found.append(Finding("balance", f"{counts[REAL]} real and {counts[FAKE]} fake files", advice))
    return (*found, *_generator_findings(samples))


def _generator_findings(samples: Sequence[Sample]) -> Iterator[Finding]:
    """On generators that a split of their data set lacks, and on data sets that are nearly all of one."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)  # data set → generator → fakes
    splits: dict[str, set[str]] = defaultdict(set)  # data set → splits that hold fakes
    there = set()
    for s in samples:
        if s.label == FAKE:
            counts[s.dataset][s.generator] += 1
            splits[s.dataset].update({s.split} - {""})
            there.add((s.dataset, s.generator, s.split))
    lacking, most = [], []
    for dataset, of in sorted(counts.items()):
        where = f" of the data set {dataset!a}" if dataset else ""
        for generator in sorted(filter(None, of)):
            lacks = [s for s in sorted(splits[dataset]) if (dataset, generator, s) not in there]
            if lacks:
                lacking.append(f"{generator!a}{where} in {' and '.join(lacks)}")
        (name, n), total = of.most_common(1)[0], sum(of.values())
        if name and len(of) > 1 and n >= NEARLY_ALL * total:
            most.append(f"{name!a} {n} of {total}{where}")
    if lacking:
        advice = (
            "right where a generator is kept for a test on what was never seen, and to be said beside the "
            f"results; else split anew: {SPLIT}"
        )
        yield Finding("balance", f"generators that a split lacks: {_first(lacking)}", advice)
    if most:
        advice = (
            "values over all fakes are about that one: report each generator apart, as `tellsign evaluate` "
            "and `tellsign benchmark` do"
        )
        yield Finding("balance", f"one generator made nearly all fakes: {_first(most)}", advice)


def _first(texts: Sequence[str], n: int = 5) -> str:
    return ", ".join(texts[:n]) + (f" and {len(texts) - n} more" if len(texts) > n else "")
