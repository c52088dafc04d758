"""What a network comes to on validation images, which the processes share among them.

Shapes: N samples, M usable ones, K values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tellsign.data.face_boxes import FaceBoxes
from tellsign.data.manifest import Manifest
from tellsign.engine.distributed import gathered, share_buffers
from tellsign.engine.scores import image_values
from tellsign.engine.task import Bad, named
from tellsign.types import ConfigError, ManifestError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from tellsign.engine.config import TrainingConfig
    from tellsign.engine.distributed import Process
    from tellsign.engine.scores import Values
    from tellsign.image.network_input import NetworkInput


class SharedValues(NamedTuple):
    """What all processes have found together."""

    rows: NDArray[np.int64]  # (M,) of the manifest, which can be used
    values: NDArray[np.float64]  # (M, K), all of them finite
    bad: Bad  # images that can't be used


def shared_values(
    model: nn.Module,
    values: Values,
    n_values: int,
    valid: Manifest,
    look: NetworkInput,
    *,
    config: TrainingConfig,
    at: Process,
    cache: Path | None,
    where: str,
    faces: FaceBoxes | None = None,
) -> SharedValues:
    """Values of the images of a validation split.

    Args:    model: without what distributes it, in evaluation mode while `values` is called.
             values: of crops; n_values: K.
             valid: the split. look: how an image is looked at.
             config: of the training. at: this process.
             cache: folder of decoded images, or none. where: the training stands, for messages.
             faces: of the images; a look at faces needs them.
    Returns: the same in every process.
    Raises:  ManifestError: images can't be used and may not be left out. ConfigError: values are not finite.
    """
    share_buffers(model, at)
    share = slice(at.rank, None, at.world)
    found, bad = image_values(
        model,
        values,
        n_values,
        Manifest(valid.samples[share]),
        look,
        batch_size=max(1, config.batch_size // at.world),
        workers=config.workers,
        cache=cache,
        precision=config.precision,
        faces=None if faces is None else FaceBoxes(faces.boxes[share], faces.sizes[share]),
    )
    table = np.full((len(valid), n_values), np.nan)
    unusable: dict[int, str] = {}
    for rank, (part, reasons) in enumerate(gathered((found.tolist(), list(bad.items())), at)):
        table[rank :: at.world] = np.reshape(part, (-1, n_values))
        unusable |= {rank + at.world * row: reason for row, reason in reasons}
    if unusable and config.on_bad == "stop":
        path, reason = next(iter(named(unusable, valid).values()))
        raise ManifestError(
            f"{len(unusable)} validation images can't be used, the first is {path}: {reason}; mend it or "
            'take it out of the manifest, or set on_bad = "skip" and max_bad'
        )
    rows = np.array([row for row in range(len(valid)) if row not in unusable], dtype=np.int64)
    if wrong := rows[~np.isfinite(table[rows]).all(axis=1)].tolist():
        raise ConfigError(
            f"the scores of {len(wrong)} validation images are not finite at {where}, the first is row "
            f"{wrong[0]} ({str(valid[wrong[0]].path)!a}): lower learning_rate or set clip_norm"
        )
    return SharedValues(rows, table[rows], named(unusable, valid))
