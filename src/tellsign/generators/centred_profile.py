"""The profile that a spectral discriminator looks at: of Jung and Keuper, 2021.

Jung and Keuper, "Spectral Distribution Aware Image Generation", AAAI 2021. It differs from both presets of
`tellsign.features.spectrum`: rings are around DC itself, ring 0 (DC) is kept, and so is every ring up to the
corner. A pixel's value is 20 ln(|F|^2 + 1e-8), and each profile is scaled to [0, 1].

Deviates: every coefficient of the spectrum counts once in the mean of its ring. The published code averages
over the half of the spectrum that a real transform gives, in which the two columns that are their own mirror
image (frequencies 0 and W/2) count twice as much as the others. That is a side effect of the transform, and
moves a profile by little, as a test shows. Grey has the weights of `features.spectrum.grey`.

PyTorch is not needed here: tensors keep their gradient, NumPy arrays give arrays.

Shapes: B batch, H W pixels, K rings.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tellsign.features.arrays import namespace
from tellsign.features.spectrum import power_spectrum
from tellsign.types import ImageError, TooSmallError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = TypeVar("Array")  # numpy.ndarray or torch.Tensor, float32 or float64

SMALLEST = 4  # side in pixels: three rings, of which scaling makes one 0 and one 1
POWER_CONSTANT = 1e-8  # added to |F|^2


def n_centred_rings(side: int) -> int:
    """Length of a profile.

    Args:    side: of the images in pixels.
    Returns: K, the rings from DC to the corner.
    Raises:  TooSmallError: the side is below 4.

    Example:
        >>> n_centred_rings(128)
        91
    """
    if side < SMALLEST:
        raise TooSmallError(
            f"images of {side} x {side} pixels have too few rings: take {SMALLEST} x {SMALLEST} or more"
        )
    return math.isqrt(2 * (side // 2) ** 2) + 1


def centred_profile(images: Array) -> Array:
    """Mean of 20 ln(|F|^2 + 1e-8) over rings around DC, each profile scaled to [0, 1].

    Args:    images: (B, S, S) float32 or float64, grey, in [0, 1].
    Returns: (B, K), DC first, same type as the input.
    Raises:  ImageError: images are not (B, S, S) floating point. TooSmallError: S is below 4.

    Example:
        >>> centred_profile(np.eye(4)[None]).round(2)
        array([[1.  , 0.13, 0.  ]])
    """
    x: Any = images
    xp = namespace(x)
    if x.ndim != 3 or x.shape[1] != x.shape[2]:
        raise ImageError(f"expected square grey images of shape (B, S, S), found {tuple(x.shape)}")
    n_rings = n_centred_rings(x.shape[1])
    ring, pixels = _rings(x.shape[1])
    values = xp.reshape(20 * xp.log(power_spectrum(x) + POWER_CONSTANT), (x.shape[0], -1))
    if xp is np:
        sums = np.stack([np.bincount(ring, row, n_rings) for row in values]).astype(x.dtype)
    else:  # the array API has no sum by index
        index = xp.asarray(ring, device=x.device).expand(x.shape[0], -1)
        sums = xp.zeros((x.shape[0], n_rings), dtype=x.dtype, device=x.device).scatter_add(1, index, values)
    means = sums / xp.asarray(pixels, dtype=x.dtype, device=x.device)
    low = xp.min(means, axis=1, keepdims=True)
    width = xp.max(means, axis=1, keepdims=True) - low
    result: Array = (means - low) / xp.where(width == 0, xp.ones_like(width), width)
    return result


@lru_cache(maxsize=8)
def _rings(side: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The ring of each coefficient of a centred spectrum, row by row, and the coefficients of each ring."""
    squares = (np.arange(side) - side // 2) ** 2
    # The root of a whole number: none is rounded across a ring's edge.
    ring = np.sqrt(squares[:, None] + squares).astype(np.int64).ravel()
    return ring, np.bincount(ring).astype(np.float64)
