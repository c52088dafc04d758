"""SIDA alone beside the spectrum detector: on test images, elsewhere, under perturbations, at other sizes.

Scale invariance is what SIDA claims: statistics of an image at its own size, whatever that is. So each image
is shown at several sizes, as it is then, and resized to one size beforehand, by detectors that were fitted on
images treated alike.

Shapes: B images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tellsign.data import Manifest
from tellsign.evaluate.cells import kept
from tellsign.evaluate.comparisons import (
    DECISION,
    DIFFERENCE,
    INTERVALS,
    NOT_IN_PAPER,
    POOLING,
    difference_row,
    fold_mean_row,
    joined,
    labelled,
)
from tellsign.evaluate.folds import folds
from tellsign.evaluate.notes import multiplicity, seen_before
from tellsign.evaluate.perturbed import ELSEWHERE, OTHERS, Looks, other_sources, score_rows
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.samples import content, evenly
from tellsign.evaluate.sfcl_hcmf.judges import BOOSTING, LOGISTIC, NAMES, Examples, Judges, whole
from tellsign.evaluate.sfcl_hcmf.notes import PAPER
from tellsign.evaluate.study import MARGIN, NEEDS, SPECTRUM, given_images
from tellsign.groups import sources
from tellsign.perturb.naming import parse, suite
from tellsign.systems.sfcl_hcmf.sida_config import SidaConfig
from tellsign.types import FAKE, REAL, ManifestError

if TYPE_CHECKING:
    from tellsign.evaluate.perturbed import Columns
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.perturb.naming import Perturbation

N_IMAGES = 400  # under perturbations and at other sizes, half of each class
SIZES = (0.5, 0.75, 1.0, 1.5)  # times the images'
NATIVE, RESIZED = "native", "resized"
WHOLE = "test images"
BESIDE = ((LOGISTIC, SPECTRUM), (BOOSTING, SPECTRUM))
PAIRS = (*BESIDE, (BOOSTING, LOGISTIC))
SETTINGS = (
    f"SIDA has the default options of its system: logistic regression with C = {SidaConfig().c:g}, or "
    f"{SidaConfig().trees} trees of up to {SidaConfig().leaves} leaves. Nothing is chosen by this table. C "
    "was chosen by AUROC on the validation images of the detector that ships: none of them is of a split "
    "test, but folds may test on them. Of the trees no choice is recorded."
)


@dataclass(frozen=True, eq=False)
class Part:
    """Images that detectors are fitted on, and others."""

    judges: Mapping[str, Judges]  # by how they look at images, native or resized
    test: Manifest


@dataclass(frozen=True, eq=False)
class Bench:
    """The parts of a data set, and where what is said of them is kept."""

    parts: tuple[Part, ...]
    side: int  # of the square that images are resized to
    folder: Path

    def looks(self, part: Part, arm: str = NATIVE) -> Looks:
        """What the detectors of a part say of images as they come, or resized to one size first."""
        return part.judges[arm].looks(self.folder, side=self.side if arm == RESIZED else None)

    def sampled(self, n: int) -> Bench:
        """The same with n test images at most, as many of each part."""
        few = n // len(self.parts)
        return replace(self, parts=tuple(replace(one, test=evenly(one.test, few)) for one in self.parts))

    @property
    def images(self) -> Manifest:
        """The test images of all parts, one part after the other."""
        return Manifest(tuple(sample for part in self.parts for sample in part.test))

    def untouched(self) -> Columns:
        """What is said of the images as they are."""
        return _joined(self.looks(part).seen(part.test, WHOLE) for part in self.parts)

    def perturbed(self, perturbation: Perturbation, arm: str = NATIVE) -> Columns:
        """What is said of the images after a perturbation."""
        return _joined(self.looks(part, arm).perturbed(part.test, perturbation) for part in self.parts)


def sida(name: str, inputs: Inputs) -> Result:
    """SIDA's two classifiers and the spectrum detector, wherever their scores may be asked for."""
    images = given_images(inputs)
    if images is None:
        note = joined(NOT_IN_PAPER, NEEDS)
        titles = [WHOLE, *suite(), *(f"× {factor:g}" for factor in SIZES)]
        rows = [Row(one, f"AUROC, {title}", note=note) for title in titles for one in NAMES]
        return Result(name, f"{PAPER}, SIDA alone", tuple(rows))
    manifest, others = images
    assert inputs.folder is not None
    bench, parted = _bench(manifest, inputs)
    some = bench.sampled(min(inputs.samples) if inputs.samples else N_IMAGES)
    rows = [*_whole_rows(bench), *_other_rows(some, others), *_suite_rows(some), *_size_rows(some)]
    n_some = len(some.images)
    notes = [
        parted,
        SETTINGS,
        (
            f"Perturbations and sizes: {n_some} of the test images. A perturbation, and the bicubic change "
            "of size, comes before anything is looked at; then images are rounded to 8 bits."
        ),
        (
            f"Resized: the square in the middle of each image is resized to {bench.side} × {bench.side} "
            "pixels, the median of the shorter sides, for the fit and after the change of size. Native: as "
            "it comes; what is smaller than a detector's crop can't be used."
        ),
        *_others_notes(manifest, others, some),
        INTERVALS,
        *multiplicity(rows),
        DECISION,
        MARGIN,
    ]
    return Result(name, f"{PAPER}, SIDA alone", tuple(rows), tuple(notes))


def _bench(manifest: Manifest, inputs: Inputs) -> tuple[Bench, str]:
    """The parts, and in sentences where they are from."""
    assert inputs.folder is not None
    folder, seed = inputs.folder / "sida", inputs.seed
    shapes = _shapes(manifest, folder)
    side = int(np.median([min(shape) for shape in shapes]))
    pairs = judged_parts(manifest, inputs.folds, seed=seed)
    fitted = manifest if len(pairs) > 1 else pairs[0][0]
    native = Examples(fitted, None, inputs.say)
    # Where all have that size already nothing is resized, and nothing need be fitted twice.
    alike = set(shapes) == {(side, side)}
    resized = native if alike else Examples(fitted, side, inputs.say)
    parts = []
    for train, test in pairs:
        judges = Judges(native, train, seed)
        parts.append(Part({NATIVE: judges, RESIZED: judges if alike else Judges(resized, train, seed)}, test))
    bench = Bench(tuple(parts), side, folder)
    n_train, n_test = len(pairs[0][0]), len(bench.images)
    parted = (
        f"The manifest's own splits: fitted on {n_train} images of train, judged on {n_test} of test."
        if len(pairs) == 1
        else f"{len(pairs)} folds, seed {seed}: fitted on some {n_train} images each, judged on all {n_test} "
        f"in turn. {POOLING}"
    )
    return bench, f"{parted} No group is in training and test."


def judged_parts(manifest: Manifest, k: int, *, seed: int) -> list[tuple[Manifest, Manifest]]:
    """Which images are fitted on, and which are judged.

    Args:    manifest: labelled images. k: how many folds, where it has no splits. seed: of the folds.
    Returns: its splits train and test, where it has both; else those of each fold. Validation parts are left
             out.
    Raises:  ManifestError: a group is in both, or a part lacks a class.
    """
    train, test = manifest.filter(split="train"), manifest.filter(split="test")
    if not (len(train) and len(test)):
        return [(fold.train, fold.test) for fold in folds(manifest, k, seed=seed)]
    for title, part in (("train", train), ("test", test)):
        if set(part.labels) != {REAL, FAKE}:
            raise ManifestError(f"the split {title} needs both classes, found {len(part)} images of one")
    if shared := ({*sources(train)} & {*sources(test)}) - {""}:
        raise ManifestError(
            f"{len(shared)} groups are in train and in test, e.g. {min(shared)!a}; a group stays in one "
            "split (`tellsign data split`), or leave the column split empty for folds"
        )
    return [(train, test)]


def _shapes(manifest: Manifest, folder: Path) -> list[tuple[int, int]]:
    """Height and width of each image, read once; raises ManifestError where one can't be used."""

    def made() -> list[list[int]]:
        return [list(whole(sample).shape[1:]) for sample in manifest]

    found = kept(folder, "sizes", {"images": content(manifest)}, made)
    return [(height, width) for height, width in found]


def _joined(found: Iterable[Columns]) -> Columns:
    """The columns of several parts, one part after the other."""
    joint: Columns = {}
    for columns in found:
        for name, scores in columns.items():
            joint.setdefault(name, []).extend(scores)
    return joint


def _whole_rows(bench: Bench) -> list[Row]:
    images, columns = bench.images, bench.untouched()
    return [
        *score_rows(columns, images, WHOLE, by_class=NAMES),
        *_fold_means(bench, columns),
        *paired(columns, images, PAIRS, WHOLE),
    ]


def _fold_means(bench: Bench, columns: Columns) -> list[Row]:
    """Beside what is pooled, where there are folds, of the detectors that can use every image."""
    if len(bench.parts) == 1:
        return []
    images, sizes = bench.images, [len(part.test) for part in bench.parts]
    whole = labelled(images, range(len(images)))
    table = replace(whole, folds=np.repeat(np.arange(len(sizes)), sizes))
    return [
        fold_mean_row(name, table, np.array(scores, dtype=np.float64))
        for name, scores in columns.items()
        if None not in scores
    ]


def _others_notes(manifest: Manifest, others: Manifest | None, bench: Bench) -> tuple[str, ...]:
    """Who judges the other sources, and beside which reals."""
    if others is None:
        return ()
    which = "the detectors of the first fold" if len(bench.parts) > 1 else "these detectors"
    n = bench.parts[0].test.labels.count(REAL)
    return (
        f"Other sources are judged by {which}. {ELSEWHERE} There are {n} of these reals.",
        *seen_before(manifest, others),
    )


def _other_rows(bench: Bench, others: Manifest | None) -> list[Row]:
    """The detectors of the first part on each data set of the other manifest."""
    if others is None:
        return [Row(one, "AUROC, other sources", note=joined(NOT_IN_PAPER, OTHERS)) for one in NAMES]
    rows: list[Row] = []
    first = bench.parts[0]
    for title, own in other_sources(others, first.test.filter(label=REAL)).items():
        if set(own.labels) == {REAL}:
            rows += [Row(one, f"AUROC, {title}", note=joined(NOT_IN_PAPER, "reals alone")) for one in NAMES]
            continue
        columns = bench.looks(first).seen(own, title)
        rows += score_rows(columns, own, title, by_class=NAMES)
        rows += paired(columns, own, BESIDE, title)
    return rows


def _suite_rows(bench: Bench) -> list[Row]:
    rows = []
    for perturbation in map(parse, suite()):
        columns = bench.perturbed(perturbation)
        rows += score_rows(columns, bench.images, perturbation.name, by_class=())
        rows += paired(columns, bench.images, BESIDE, perturbation.name)
    return rows


def _size_rows(bench: Bench) -> list[Row]:
    """At each size as it is, and resized; and each against the size that the images have."""
    rows: list[Row] = []
    base = _at_size(bench, 1.0)
    arms = [(f"{one}, {NATIVE}", f"{one}, {RESIZED}") for one in NAMES]
    beside = [(f"{one}, {arm}", f"{other}, {arm}") for arm in (NATIVE, RESIZED) for one, other in BESIDE]
    for factor in SIZES:
        columns, title = _at_size(bench, factor), f"× {factor:g}"
        rows += score_rows(columns, bench.images, title, by_class=columns)
        rows += paired(columns, bench.images, [*arms, *beside], title)
        if factor != 1:
            both = {f"{name} {title}": scores for name, scores in columns.items()}
            both |= {f"{name} × 1": scores for name, scores in base.items()}
            pairs = [(f"{name} {title}", f"{name} × 1") for name in columns]
            rows += paired(both, bench.images, pairs, f"{title} against × 1")
    return rows


def _at_size(bench: Bench, factor: float) -> Columns:
    """What is said of images at a multiple of their size, by detector and by how it looks at them."""
    change = parse("none" if factor == 1 else f"resize:{factor:g}:keep")
    return {
        f"{name}, {arm}": scores
        for arm in (NATIVE, RESIZED)
        for name, scores in bench.perturbed(change, arm).items()
    }


def paired(columns: Columns, images: Manifest, pairs: Iterable[tuple[str, str]], title: str) -> list[Row]:
    """How much pairs of columns differ in AUROC, on the images that both can use.

    Args:    columns: of the images. images: (B,) labelled.
             pairs: of names. title: behind what is compared; may be empty.
    Returns: a row for each pair, whose note is the verdict, and says of how many images it is.
    """
    rows = []
    column = f"AUROC, {title}" if title else "AUROC"
    for one, other in pairs:
        first, second = (
            np.array([np.nan if score is None else score for score in columns[name]]) for name in (one, other)
        )
        both = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
        table = labelled(images, both.tolist())
        if set(table.labels.tolist()) != {REAL, FAKE}:
            note = "no images of both classes that both can use"
            rows.append(Row(f"{one} - {other}", f"{column}, difference", note=note, unit=DIFFERENCE))
            continue
        rows.append(difference_row(table, first[both], second[both], (one, other), title=column))
    return rows
