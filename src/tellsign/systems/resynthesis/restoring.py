"""The re-synthesiser of a detector as a function of images, for who makes pairs of real and restored ones.

Shapes: H W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from tellsign.features.residual import downsampled
from tellsign.systems.resynthesis.rdn import ResidualDenseNetwork, restored_by_tiles
from tellsign.systems.resynthesis.tiles import SIDE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tellsign.systems.resynthesis.model import Residuals


def restorer(
    residuals: Residuals, *, side: int = SIDE
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """What a re-synthesiser makes of an image of any size, tile by tile, so that memory is that of a tile.

    Args:    residuals: the way from pixels to residuals, with a `ResidualDenseNetwork`.
             side: of a tile in pixels.
    Returns: (3, H, W) in [0, 1], whole cells → (3, H, W), not clipped.
    """
    network = residuals.resynthesiser.eval()
    assert isinstance(network, ResidualDenseNetwork)

    @torch.inference_mode()
    def restore(image: NDArray[np.float32]) -> NDArray[np.float32]:
        small = downsampled(torch.from_numpy(np.array(image, np.float32))[None], residuals.downsampling)
        return np.asarray(restored_by_tiles(network, small, side=side)[0].contiguous().numpy())

    return restore
