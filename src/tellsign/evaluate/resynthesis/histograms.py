"""Figure 4: how large the residuals of reals and of each generator's images are, as histograms.

Shapes: N images, H W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tellsign import hub
from tellsign.evaluate.cells import kept
from tellsign.evaluate.comparisons import (
    INTERVALS,
    NOT_IN_PAPER,
    estimates,
    filled,
    joined,
    labelled,
    mean_over_groups,
    rows_where,
)
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.resynthesis.layout import PAPER, printed, slug
from tellsign.evaluate.resynthesis.measure import Bench, new_bench
from tellsign.evaluate.resynthesis.tables import NEEDS
from tellsign.evaluate.samples import content, pictures
from tellsign.types import REAL, ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tellsign.artifacts import Artifact
    from tellsign.data import Manifest
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.types import FloatArray

DETECTOR = "resynthesis-sr"
FAKES = "fake"  # of which the manifest names no generator
KINDS = ("real", "ProGAN", "StyleGAN")  # that the paper draws
MEAN, AREA = "mean residual", "AUROC of the mean residual"
CLAIM = "no numbers printed"
N_BINS = 40
LOOKED = (
    "The mean over the pixels or positions of an image and over channels, of whole images of the split test "
    "of --data and of all of --others, cut to multiples of 16 pixels. AUROC: of a generator's images against "
    "the reals, 0.5 where the size of a residual says nothing. Classifiers see its pattern as well."
)


class Means(NamedTuple):
    """The mean residual of each image, in a part."""

    train_set: str  # of the re-synthesiser, as the paper calls it
    part: str  # pixel, stage1, …
    sample: Manifest
    values: FloatArray  # (N,), NaN of an image that can't be used


def fig4(name: str, inputs: Inputs) -> Result:
    """How far reals and fakes differ in the mean of their residuals, in pixels and in stages."""
    paper = f"{PAPER}, figure 4"
    bench = new_bench(inputs, by_dataset=False)
    sets = list(dict.fromkeys(column.train_set for _, column in printed("Table 1")))
    if bench is None:
        rows = tuple(_without(one, part, NEEDS) for one in sets for part in ("pixel", "stage5"))
        return Result(name, paper, rows)
    found: list[Means] = []
    table: list[Row] = []
    for one in sets:
        artifact = bench.resynthesiser(one, DETECTOR)
        if isinstance(artifact, str):
            table.append(_without(one, "pixel", artifact))
            continue
        own = image_means(bench, one, artifact)
        found += own
        table += [row for means in own for row in rows_of(means)]
    figure = drawn(found) if found else None
    return Result(name, paper, tuple(table), (LOOKED, INTERVALS), figure=figure)


def image_means(bench: Bench, train_set: str, artifact: Artifact) -> list[Means]:
    """The mean residuals of all images that are tested on; measured once.

    Args:    bench: the images. train_set: of the detector. artifact: whose re-synthesiser restores.
    Returns: those of each stage that the detector looks at.
    Raises:  ConfigError: PyTorch is missing, or a residual is no finite number.
    """
    sample = bench.tested
    stages = [int(stage) for stage in artifact.spec["config"]["stages"]]

    def made() -> dict[str, list[float | None]]:
        bench.say(f"residuals of {artifact.name}: {len(sample)} images")
        return mean_residuals(artifact, sample, stages)

    identity = {"detector": artifact.digest, "images": content(sample), "stages": stages}
    columns = kept(bench.folder / "scores", f"residuals-{slug(train_set)}", identity, made)
    return [
        Means(train_set, part, sample, np.array([np.nan if v is None else v for v in values]))
        for part, values in columns.items()
    ]


def mean_residuals(
    artifact: Artifact, sample: Manifest, stages: Sequence[int]
) -> dict[str, list[float | None]]:
    """The mean of each image's residuals.

    Args:    artifact: of the system resynthesis. sample: images. stages: 0 for pixels, 1 to 5.
    Returns: name of a stage → (N,), None where an image can't be used.
    Raises:  ConfigError: PyTorch is missing, or a residual is no finite number.
    """
    system = hub.system("resynthesis")  # names what is missing
    import torch

    from tellsign.systems.resynthesis.config import part_name
    from tellsign.systems.resynthesis.model import residual_maps

    residuals = system().residuals(artifact.path)
    found: dict[str, list[float | None]] = {part_name(stage): [] for stage in stages}
    for image in pictures(sample):
        try:
            maps = {} if image is None else residual_maps(residuals, torch.tensor(image), stages)
        except ImageError:
            maps = {}
        for stage in stages:
            found[part_name(stage)].append(float(maps[stage].mean()) if stage in maps else None)
    return found


def kinds(sample: Manifest) -> list[str]:
    """Whose each image is: real, or its generator."""
    return ["real" if one.label == REAL else one.generator or FAKES for one in sample]


def rows_of(means: Means) -> list[Row]:
    """The numbers of a histogram: the mean of each kind, and how far it tells fakes from reals.

    Args:    means: of a part.
    Returns: rows.
    """
    usable = np.flatnonzero(np.isfinite(means.values))
    if not len(usable):
        return [_without(means.train_set, means.part, f"none of {len(means.values)} images can be used")]
    table, values = labelled(means.sample, usable.tolist()), means.values[usable]
    names = np.array(kinds(means.sample))[usable]
    unit = "of the range of pixels" if means.part == "pixel" else "of a feature"
    rows = []
    for kind in dict.fromkeys(("real", *sorted(set(names.tolist())))):
        own = names == kind
        title = f"{means.train_set}, {means.part}, {kind}"
        note = joined(f"{np.count_nonzero(own)} images", CLAIM if kind in KINDS else NOT_IN_PAPER)
        mean = mean_over_groups(values[own], rows_where(table, own))
        rows.append(filled(Row(title, MEAN, note=note, unit=unit), mean))
        if kind != "real" and (names == "real").any():
            against = own | (names == "real")
            area = estimates(rows_where(table, against), values[against])["auroc"]
            rows.append(filled(Row(title, AREA, note=note, unit="AUROC"), area))
    return rows


def drawn(found: Sequence[Means]) -> Any:
    """A histogram for each training set and part, each kind by its share of images.

    Args:    found: one or more.
    Returns: a figure of matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3 * len(found)), layout="constrained")
    for axes, means in zip(np.atleast_1d(figure.subplots(len(found), 1)), found, strict=True):
        usable = np.isfinite(means.values)
        names, values = np.array(kinds(means.sample))[usable], means.values[usable]
        axes.set_title(f"{means.part}, re-synthesiser of {means.train_set}", fontsize=9)
        axes.set_xlabel("mean residual")
        axes.set_ylabel("share of images")
        if not len(values):
            continue
        edges = np.histogram_bin_edges(values, N_BINS)
        for kind in dict.fromkeys(("real", *sorted(set(names.tolist())))):
            own = values[names == kind]
            if len(own):
                shares = np.histogram(own, edges)[0] / len(own)
                axes.stairs(shares, edges, label=f"{kind} ({len(own)})", linewidth=1.2)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _without(train_set: str, part: str, why: str) -> Row:
    return Row(f"{train_set}, {part}", MEAN, note=why)
