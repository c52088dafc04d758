"""The discrete cosine transform: of blocks of 8 x 8 pixels as JPEG has it, its inverse, and of whole images.

The DCT-II of Ahmed, Natarajan and Rao (1974) with the factors that make it orthonormal: a block keeps its sum
of squares. Frequency (u, v) has u half periods from a block's top to its bottom and v from left to right.
Those of a block stand in JPEG's zigzag order, `ZIGZAG`, those of an image in rows and columns.

Coefficients have the unit of the images: those of images in [0, 1] are 1/255 of those that JPEG quantises.
`level` counts as zero and is in that unit as well. It moves the frequency (0, 0) by 8 times its value and
nothing else: JPEG's 128 of 0 to 255 is `LEVEL`, and 0 leaves the images as they are.

An image is transformed along its columns and then along its rows, each a product with a matrix of 8 x 8, and
written so that the product takes rows of pixels as they lie in memory. Both are sums of products, so that the
gradient is the inverse, and every exporter knows them. Under PyTorch's autocast such products are rounded to
16 bits: switch it off around the call.

Shapes: B batch, C channels, H W pixels, h w blocks, h = H/8 and w = W/8; ... any axes in front.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tellsign.features.arrays import like, namespace, on_cpu, unwatched
from tellsign.types import ImageError, TooSmallError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = TypeVar("Array")  # numpy.ndarray or torch.Tensor, float32 or float64

SIDE = 8  # of a block, in pixels
LEVEL = 128 / 255  # JPEG's level shift for images in [0, 1]
FLOOR = 1e-12  # added to magnitudes before the logarithm
ROUNDING = 1e-10  # of a magnitude in float64; a coefficient of 8-bit images is 0 or far above it
CHUNK_BYTES = 2**20  # of a channel that NumPy transforms at once, so that both steps stay in the caches
# The frequencies (u, v), diagonal by diagonal: (0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), ...
ZIGZAG = tuple(
    sorted(product(range(SIDE), range(SIDE)), key=lambda uv: (sum(uv), uv[0] if sum(uv) % 2 else uv[1]))
)

_ORDER = np.array([SIDE * u + v for u, v in ZIGZAG])  # zigzag position → number row by row
_PLACE = np.argsort(_ORDER)  # the way back


@lru_cache(maxsize=8)
def cosines(n: int) -> NDArray[np.float64]:
    """The matrix of the orthonormal DCT-II: its product with n numbers has their frequencies, lowest first.

    Args:    n: how many numbers.
    Returns: (n, n), read-only; its inverse is its transpose.

    Example:
        >>> cosines(2).round(4)
        array([[ 0.7071,  0.7071],
               [ 0.7071, -0.7071]])
    """
    basis: NDArray[np.float64] = np.cos(np.pi / n * np.outer(np.arange(n), np.arange(n) + 0.5)) * np.sqrt(
        2 / n
    )
    basis[0] /= np.sqrt(2)
    basis.flags.writeable = False
    return basis


_BASIS = np.array(cosines(SIDE))


def block_dct(images: Array, *, level: float = LEVEL) -> Array:
    """The orthonormal DCT-II of each block of 8 x 8 pixels, channel by channel, lowest frequency first.

    PyTorch tensors keep their device and their gradient.

    Args:    images: (B, C, H, W) float32 or float64, any scale; H and W multiples of 8.
             level: counts as zero, in the unit of the images: JPEG's for images in [0, 1]; 0 for none.
    Returns: (B, C, 64, h, w), in the order of `ZIGZAG`; type and unit of the input.
    Raises:  ImageError: images are not (B, C, H, W) floating point, or no whole blocks.

    Example:
        >>> block_dct(np.ones((1, 1, 8, 16)), level=0.5)[0, 0, :2, 0].round(9) + 0.0
        array([[4., 4.],
               [0., 0.]])
    """
    x: Any = images
    xp = namespace(x)
    if x.ndim != 4:
        raise ImageError(
            f"expected images of shape (B, C, H, W), found {tuple(x.shape)}: one image is a batch of one, "
            "image[None]"
        )
    height, width = x.shape[-2:]
    if height % SIDE or width % SIDE or 0 in (height, width):
        raise ImageError(
            f"images of {height} x {width} pixels are no whole blocks of {SIDE} x {SIDE}: cut them with "
            "whole_blocks(images), or pad them to the next multiple"
        )
    plain = unwatched(x)
    result: Array = _tensor_dct(x, level, xp) if plain is None else like(_array_dct(plain, level), x)
    return result


def inverse_block_dct(coefficients: Array, *, level: float = LEVEL) -> Array:
    """The images that have these coefficients.

    Args:    coefficients: (B, C, 64, h, w) float32 or float64, as `block_dct` returns them.
             level: that they were taken with.
    Returns: (B, C, H, W), type and unit of the input.
    Raises:  ImageError: coefficients are not (B, C, 64, h, w) floating point.

    Example:
        >>> images = np.random.default_rng(0).uniform(size=(1, 3, 16, 24))
        >>> np.allclose(inverse_block_dct(block_dct(images)), images)
        True
    """
    x: Any = coefficients
    xp = namespace(x)
    if x.ndim != 5 or x.shape[2] != SIDE**2:
        raise ImageError(f"expected coefficients of shape (B, C, 64, h, w), found {tuple(x.shape)}")
    count, channels, _, h, w = x.shape
    basis = xp.asarray(_BASIS, dtype=x.dtype, device=x.device)
    planes = xp.take(x, xp.asarray(_PLACE, device=x.device), axis=2)
    planes = xp.reshape(planes, (count, channels, SIDE, SIDE, h * w))  # u, v, blocks
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is for the caller to see
        rows = xp.reshape(planes.mT @ basis, (count, channels, SIDE, h, SIDE * w))
        columns = basis.T @ xp.moveaxis(rows, 2, 3)
        result: Array = xp.reshape(columns, (count, channels, SIDE * h, SIDE * w)) + level
    return result


def dct2(images: Array) -> Array:
    """The orthonormal DCT-II of whole images, along both axes.

    NumPy arrays, and tensors on the CPU of which no gradient is taken, are transformed by SciPy; others by
    two products with `cosines`, which keep device and gradient and export.

    Args:    images: (..., H, W) float32 or float64, any scale.
    Returns: (..., H, W), frequency (0, 0) at the top left; type and unit of the input.
    Raises:  ImageError: images have less than two axes, no pixels, or are no floating point.

    Example:
        >>> dct2(np.ones((2, 2)))
        array([[2., 0.],
               [0., 0.]])
    """
    x: Any = images
    xp = namespace(x)
    if x.ndim < 2 or 0 in x.shape[-2:]:
        raise ImageError(f"expected images of shape (..., H, W), found {tuple(x.shape)}")
    if (plain := unwatched(x)) is not None:
        from scipy.fft import dctn

        array: Array = like(dctn(plain, axes=(-2, -1), norm="ortho"), x)
        return array
    rows, columns = (xp.asarray(np.array(cosines(n)), dtype=x.dtype, device=x.device) for n in x.shape[-2:])
    tensor: Array = rows @ x @ columns.mT
    return tensor


def log_dct(images: Array) -> Array:
    """The logarithm of the magnitude of each coefficient of whole images: ln(|c| + 1e-12).

    Implements Frank et al., "Leveraging Frequency Analysis for Deep Fake Image Recognition", ICML 2020, with
    the constant of the authors' training; their inference has a tenth of it. Deviates: magnitudes are made
    smaller by 1e-10, to 0 at least, because the coefficients that pixels made four by up-sampling don't have
    would otherwise be the logarithm of rounding, which is another on every machine. In float32 they are.

    Args:    images: (..., H, W) float64, or float32 where that doesn't matter, in [0, 1].
    Returns: (..., H, W), of the same type.
    Raises:  ImageError: as for `dct2`.
    """
    coefficients: Any = dct2(images)
    xp = namespace(coefficients)
    # The memory of the coefficients is written again and again, which is as fast as SciPy's part.
    if (plain := unwatched(coefficients)) is not None:
        np.abs(plain, out=plain)
        plain -= ROUNDING - FLOOR
        np.maximum(plain, FLOOR, out=plain)
        array: Array = like(np.log(plain, out=plain), coefficients)
        return array
    # In units of the constant: exporters take so small a number for 0 and leave out that it is added.
    magnitudes = xp.clip(xp.abs(coefficients) / FLOOR - ROUNDING / FLOOR, 0, None)
    tensor: Array = xp.log1p(magnitudes) + math.log(FLOOR)
    return tensor


def whole_blocks(images: Array) -> Array:
    """Images cut to whole blocks: up to 7 rows at the bottom and 7 columns at the right are dropped.

    The first block stays at the top left, where that of a JPEG file begins.

    Args:    images: (..., H, W), at least 8 x 8 pixels.
    Returns: (..., 8 (H // 8), 8 (W // 8)), a view.
    Raises:  TooSmallError: they hold no block.

    Example:
        >>> whole_blocks(np.zeros((3, 23, 16))).shape
        (3, 16, 16)
    """
    x: Any = images
    height, width = x.shape[-2:]
    if min(height, width) < SIDE:
        raise TooSmallError(f"an image of {height} x {width} pixels holds no block of {SIDE} x {SIDE}")
    result: Array = x[..., : height - height % SIDE, : width - width % SIDE]
    return result


def _array_dct(x: Any, level: float) -> Any:
    """(B, C, H, W) → (B, C, 64, h, w) in NumPy, some rows of blocks of one channel at a time."""
    count, channels, height, width = x.shape
    h, w = height // SIDE, width // SIDE
    basis = _BASIS.astype(x.dtype)
    step = max(1, CHUNK_BYTES // (SIDE * width * x.itemsize))
    found = np.empty((count * channels, SIDE**2, h, w), x.dtype)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is for the caller to see
        for channel, coefficients in zip(x.reshape(-1, h, SIDE, width), found, strict=True):
            for first in range(0, h, step):
                pixels = np.ascontiguousarray(channel[first : first + step])
                columns = np.empty((SIDE, len(pixels), width), x.dtype)  # u, rows of blocks, pixels of a row
                np.matmul(basis, pixels, out=np.moveaxis(columns, 0, 1))
                both = np.matmul(basis, columns.reshape(SIDE, -1, SIDE).mT)  # u, v, blocks
                coefficients[_PLACE, first : first + step] = both.reshape(SIDE**2, -1, w)
        found[:, 0] -= SIDE * level
    return found.reshape(count, channels, SIDE**2, h, w)


def _tensor_dct(x: Any, level: float, xp: Any) -> Any:
    """(B, C, H, W) → (B, C, 64, h, w), nothing overwritten that a gradient needs."""
    count, channels, height, width = x.shape
    h, w = height // SIDE, width // SIDE
    basis = xp.asarray(_BASIS, dtype=x.dtype, device=x.device)
    shift = xp.asarray(-level * _BASIS.sum(axis=1), dtype=x.dtype, device=x.device)
    if on_cpu(x):
        pixels = xp.reshape(x, (count * channels, 1, height, width))
        columns = xp.conv2d(pixels, basis[:, None, :, None], shift, stride=(SIDE, 1))
    else:  # where a convolution would be rounded to TF32 without being asked
        pixels = xp.reshape(x, (count * channels, h, SIDE, width))
        columns = xp.moveaxis(basis @ pixels + shift[:, None], 2, 1)
    both = basis @ xp.reshape(columns, (count * channels, SIDE, h * w, SIDE)).mT  # u, v, blocks
    planes = xp.reshape(both, (count * channels, SIDE**2, h * w))
    found = xp.take(planes, xp.asarray(_ORDER, device=x.device), axis=1)
    return xp.reshape(found, (count, channels, SIDE**2, h, w))
