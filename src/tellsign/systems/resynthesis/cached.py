"""Residuals that are computed once a crop, and kept on disk under the digest of its pixels.

A crop's residual is computed of it alone, so that it is the same whatever batch asked for it first, and a
training that goes on finds what it had. Of use where an epoch shows the crops of another one: images that are
no larger than a crop are seen as they are and mirrored, larger ones are cut at another place each time.

Shapes: B batch, S side of a crop, C channels of a residual, h w of its map.
"""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import numpy as np
import torch

from tellsign.data.picture import picture
from tellsign.durable import keep_array
from tellsign.engine.checkpoint import weights_digest
from tellsign.engine.distributed import gathered, this_process
from tellsign.types import ConfigError, ImageError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from tellsign.data.manifest import Manifest
    from tellsign.systems.resynthesis.config import ResynthesisConfig
    from tellsign.systems.resynthesis.model import Residuals

FOLDER = "residuals"  # in the folder of all trainings
LOOKED_AT = 16  # images whose sizes are compared with that of a crop


class KeptResiduals:
    """(B, 3, S, S) in [0, 1] → (B, C, h, w), the residual of one stage; computed once a crop."""

    def __init__(self, residuals: Residuals, stage: int, root: Path) -> None:
        """Nothing is computed yet.

        Args:    residuals: trained; they must stay as they are.
                 stage: 0 for pixels, 1 to 5.
                 root: folder of what is kept; other weights and stages have other folders in it.
        """
        self.residuals, self.stage = residuals, stage
        known = residuals.perceptual
        how = f"{residuals.downsampling}-{known is not None and known.normalise}-{stage}"
        self.folder = root / f"{weights_digest(residuals)}-{how}"

    def __call__(self, images: Tensor) -> Tensor:
        """The residuals.

        Args:    images: (B, 3, S, S) in [0, 1].
        Returns: (B, C, h, w) float32, without a gradient.
        Raises:  OutputError: they can't be kept.
        """
        return torch.stack([self._of(image) for image in images]).to(images.device)

    def _of(self, image: Tensor) -> Tensor:
        crop = image.detach().float().cpu().contiguous().numpy()
        name = hashlib.sha256(crop.tobytes()).hexdigest()
        file = self.folder / name[:2] / f"{name}.npy"  # no folder of a million files
        found = _read(file)
        if found is None:
            with torch.no_grad():
                found = self.residuals(image[None], (self.stage,))[self.stage][0].float().cpu().numpy()
            _write(file, found)
        return torch.from_numpy(found)


def require_whole_images(manifest: Manifest, config: ResynthesisConfig) -> None:
    """Raises ConfigError where images are larger than a crop, whose residuals would never be found again.

    Args:    manifest: of the training; some of it are looked at. What can't be read is told of later.
             config: of the system.
    """
    for sample in manifest.evenly(LOOKED_AT):
        try:
            height, width = picture(sample).array.shape[1:]
        except ImageError:
            continue
        if min(height, width) >= config.size and max(height, width) > config.size:
            raise ConfigError(
                f"cached = true keeps the residual of each crop, and {str(sample.path)!a} of {width} × "
                f"{height} pixels is cut at another place in every epoch: cut the images to {config.size} × "
                f"{config.size} pixels (tellsign data harmonise), or leave cached out"
            )


def forget(root: Path, config: ResynthesisConfig) -> None:
    """Remove what was kept, once no process of the training needs it."""
    at = this_process(config.training.device)
    gathered(None, at)
    if at.is_first:
        shutil.rmtree(root, ignore_errors=True)


def _read(file: Path) -> NDArray[np.float32] | None:
    """What is kept; None where there is nothing that is whole."""
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return np.asarray(found) if found.ndim == 3 and found.dtype == np.float32 else None


def _write(file: Path, values: NDArray[np.float32]) -> None:
    try:
        keep_array(file, values)
    except OSError as error:
        raise OutputError(
            f"residuals can't be kept in {file.parent.parent}: {error.strerror or error}. One takes "
            f"{values.nbytes / 2**20:.2g} MiB: free some space, or train without cached = true"
        ) from error
