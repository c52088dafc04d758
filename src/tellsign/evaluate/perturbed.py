"""Trained detectors under the standard perturbations, and on images of other sources.

Shapes: B images, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.data import Manifest
from tellsign.evaluate.cells import Say, kept
from tellsign.evaluate.comparisons import NOT_IN_PAPER, class_estimates, estimates, filled, labelled
from tellsign.evaluate.reproduce import Row
from tellsign.evaluate.samples import content, pictures
from tellsign.types import FAKE, REAL

if TYPE_CHECKING:
    from pathlib import Path

    from tellsign.metrics import Estimate
    from tellsign.perturb.naming import Perturbation
    from tellsign.types import FloatArray, Sample

OTHERS = "needs images of other sources: --others MANIFEST"
ELSEWHERE = (
    "Other sources: those of a data set alone where it has both classes. Fakes without reals are set against "
    "the reals of the test part, from which they differ in more than their making."
)

Columns = dict[str, list[float | None]]  # name of a detector → (B,) scores; None where it can't use an image


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """What trained detectors say of images, and where it is kept."""

    columns: Callable[[Iterator[FloatArray | None]], Columns]  # of images (3, H, W), or None for a bad one
    detector: Any  # a plain value that tells these detectors from others
    folder: Path
    seed: int  # of what is random in a perturbation
    say: Say

    def perturbed(self, sample: Manifest, perturbation: Perturbation) -> Columns:
        """What is said of images after a perturbation, measured once.

        Args:    sample: the images. perturbation: what is done to each.
        Returns: the columns.
        Raises:  OutputError: they can't be kept.
        """

        def change(picture: FloatArray, one: Sample) -> FloatArray:
            return perturbation.apply(picture, key=one.sha256, seed=self.seed)

        def made() -> Any:
            self.say(f"perturbation {perturbation.name}: {len(sample)} images")
            return self.columns(pictures(sample, change))

        identity = {
            "detector": self.detector,
            "images": content(sample),
            "perturbation": perturbation.identity,
            "seed": self.seed,
        }
        found: Columns = kept(self.folder, f"perturbed-{slug(perturbation.name)}", identity, made)
        return found

    def seen(self, images: Manifest, title: str) -> Columns:
        """What is said of images as they are, measured once.

        Args:    images: labelled or not. title: of them.
        Returns: the columns.
        Raises:  OutputError: they can't be kept.
        """

        def made() -> Any:
            self.say(f"{title}: {len(images)} images")
            return self.columns(pictures(images))

        identity = {"detector": self.detector, "images": content(images)}
        found: Columns = kept(self.folder, f"other-{slug(title)}", identity, made)
        return found


def other_sources(others: Manifest, reals: Manifest) -> dict[str, Manifest]:
    """The data sets of a manifest, so that each can be measured on.

    Args:    others: labelled images of other sources.
             reals: against which fakes are set that have none of their own.
    Returns: title → images; reals alone where a data set has no fakes, of which nothing can be measured.
    """
    found = {}
    for dataset in sorted({sample.dataset for sample in others}):
        own = others.filter(dataset=dataset)
        title = dataset or "unnamed"
        if set(own.labels) == {FAKE}:
            own, title = Manifest((*own, *reals)), f"{title} and reals of the test part"
        found[title] = own
    return found


def score_rows(columns: Columns, sample: Manifest, title: str, *, by_class: Collection[str]) -> list[Row]:
    """AUROC of each column, and of some the accuracy of either class too.

    Args:    columns: of the images. sample: the images.
             title: behind what is measured, in a row's column.
             by_class: names of columns.
    Returns: the rows; a note says how many images can't be used.
    """
    rows = []
    for method, values in columns.items():
        scores = np.array([np.nan if value is None else value for value in values])
        usable = np.flatnonzero(np.isfinite(scores))
        n_lost = len(scores) - len(usable)
        lost = f"; {n_lost} of {len(scores)} images can't be used" if n_lost else ""
        note = f"{NOT_IN_PAPER}{lost}"
        names = ["AUROC"]
        if method in by_class:
            names += ["real accuracy", "fake accuracy"]
        found: dict[str, Estimate | None] = {}
        table = labelled(sample, usable.tolist())
        if set(table.labels.tolist()) == {REAL, FAKE}:
            found = class_estimates(estimates(table, scores[usable]))
        rows += [filled(Row(method, f"{column}, {title}", note=note), found.get(column)) for column in names]
    return rows


def slug(text: str) -> str:
    """A text as part of a file's name."""
    return "".join(character if character.isalnum() else "-" for character in text)[:60]
