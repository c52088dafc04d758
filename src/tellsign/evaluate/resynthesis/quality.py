"""How well re-synthesisers restore real images: PSNR and SSIM beside interpolation and the published network.

The paper prints no such numbers. Published are those of its network, in Zhang, Tian, Kong, Zhong and Fu,
"Residual Dense Network for Image Super-Resolution", CVPR 2018, table 2, for images that were shrunk by a
bicubic filter.

Shapes: H W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import hub
from tellsign.evaluate.cells import kept
from tellsign.evaluate.comparisons import INTERVALS, NOT_IN_PAPER, filled, labelled, mean_over_groups
from tellsign.evaluate.reproduce import Result, Row
from tellsign.evaluate.resynthesis.layout import DEGRADATIONS, PAPER, printed, slug
from tellsign.evaluate.resynthesis.measure import new_bench
from tellsign.evaluate.resynthesis.tables import NEEDS
from tellsign.evaluate.samples import content, pictures
from tellsign.types import REAL, ImageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.artifacts import Artifact
    from tellsign.data import Manifest
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.resynthesis.measure import Bench
    from tellsign.types import FloatArray

RDN, BICUBIC = "residual dense network", "bicubic"
METRICS = {"psnr": ("PSNR", "dB"), "ssim": ("SSIM", "SSIM")}
# Of data sets with these names, for × 4: row → PSNR and SSIM.
PUBLISHED = {
    "Set5": {RDN: (32.47, 0.8990), BICUBIC: (28.42, 0.8104)},
    "Set14": {RDN: (28.81, 0.7871), BICUBIC: (26.00, 0.7027)},
}
PUBLISHED_NOTE = "Zhang et al. (2018), table 2"
GAIN = "{} less bicubic"
LOOKED = (
    "Reals of the split test of --data and of all of --others, by data set. Of luma without a border of 4 "
    "pixels, whole images cut to multiples of 4, restored by tiles from a quarter of their sides. Each "
    "re-synthesiser shrinks as it was trained to; what is published was shrunk by a bicubic filter, and a "
    "mean of 4 × 4 pixels leaves other numbers, also to interpolation: compare measured ones alone."
)


def quality(name: str, inputs: Inputs) -> Result:
    """PSNR and SSIM of every re-synthesiser in the folder."""
    paper = f"beside {PAPER}"
    bench = new_bench(inputs, by_dataset=False)
    if bench is None:
        rows = [row for dataset in PUBLISHED for row in published_rows(dataset)]
        return Result(name, paper, tuple(rows), (NEEDS,))
    sample = bench.tested.filter(label=REAL)
    names = list(dict.fromkeys(one.dataset or "unnamed" for one in sample))
    rows = [row for dataset in names for row in published_rows(dataset)]
    for train_set in train_sets(bench):
        for degradation in DEGRADATIONS:
            title = f"resynthesis-{slug(degradation)}"
            artifact = bench.resynthesiser(train_set, title)
            if isinstance(artifact, str):
                continue
            columns = measured(bench, train_set, artifact, sample)
            for dataset in names:
                rows += rows_of(f"{train_set}, {title}", dataset, sample, columns)
    notes = [LOOKED, INTERVALS] if any(row.reproduced is not None for row in rows) else [NEEDS]
    return Result(name, paper, tuple(rows), tuple(notes))


def train_sets(bench: Bench) -> list[str]:
    """What detectors of the folder were trained on: the paper's sets by its names, others by their own."""
    paper = {slug(column.train_set): column.train_set for _, column in printed("Table 1")}
    folders = sorted(path.name for path in bench.folder.glob("*") if path.is_dir())
    own = [folder for folder in folders if folder not in paper and slug(folder) == folder]
    return [*paper.values(), *own]


def published_rows(dataset: str) -> list[Row]:
    """What is printed of a data set; nothing of most."""
    return [
        Row(title, f"{dataset}, {metric}", value, note=PUBLISHED_NOTE, unit=unit)
        for title, values in PUBLISHED.get(dataset, {}).items()
        for (metric, unit), value in zip(METRICS.values(), values, strict=True)
    ]


def measured(bench: Bench, train_set: str, artifact: Artifact, sample: Manifest) -> dict[str, FloatArray]:
    """The values of every image, by the re-synthesiser and by interpolation; measured once.

    Args:    bench: where they are kept. train_set: of the detector. artifact: whose re-synthesiser it is.
             sample: real images.
    Returns: name of a value → (N,), NaN of an image that can't be used.
    Raises:  ConfigError: PyTorch is missing, or it makes what is no finite number.
    """

    def made() -> dict[str, list[float | None]]:
        bench.say(f"{artifact.name} restores {len(sample)} images")
        return restored_images(artifact, sample)

    identity = {"detector": artifact.digest, "images": content(sample)}
    found = kept(bench.folder / "scores", f"quality-{slug(train_set)}", identity, made)
    return {key: np.array([np.nan if v is None else v for v in values]) for key, values in found.items()}


def restored_images(artifact: Artifact, sample: Manifest) -> dict[str, list[float | None]]:
    """PSNR and SSIM of whole images.

    Args:    artifact: of the system resynthesis. sample: images.
    Returns: name of a value → (N,), None where an image can't be used.
    Raises:  ConfigError: PyTorch is missing.
    """
    system = hub.system("resynthesis")  # names what is missing
    import torch

    from tellsign.features.residual import whole_cells
    from tellsign.systems.resynthesis.reconstruction import QUALITY, image_quality

    residuals = system().residuals(artifact.path)
    found: dict[str, list[float | None]] = {name: [] for name in QUALITY}
    for image in pictures(sample):
        values: Mapping[str, Any] = {}
        if image is not None:
            try:
                values = image_quality(residuals, torch.tensor(whole_cells(image)))
            except ImageError:
                values = {}
        for name, column in found.items():
            column.append(values.get(name))
    return found


def rows_of(title: str, dataset: str, sample: Manifest, columns: Mapping[str, FloatArray]) -> list[Row]:
    """The means over a data set.

    Args:    title: of the re-synthesiser. dataset: whose images count. sample: of `columns`.
             columns: as `measured` gives them.
    Returns: a row for each value, and for what a re-synthesiser gains over the bicubic filter.
    """
    is_own = np.array([(one.dataset or "unnamed") == dataset for one in sample])
    usable = np.flatnonzero(is_own & np.isfinite(np.stack(list(columns.values()))).all(axis=0))
    note = f"{len(usable)} of {np.count_nonzero(is_own)} images"
    table, rows = labelled(sample, usable.tolist()), []
    for key, (metric, unit) in METRICS.items():
        column = f"{dataset}, {metric}"
        by = {
            title: columns[key],
            f"{title}: bicubic": columns[f"{key}_bicubic"],
            f"{title}: bilinear": columns[f"{key}_bilinear"],
            GAIN.format(title): columns[key] - columns[f"{key}_bicubic"],
        }
        for name, values in by.items():
            row = Row(name, column, note=f"{note}; {NOT_IN_PAPER}", unit=unit)
            rows.append(filled(row, mean_over_groups(values[usable], table)))
    return rows
