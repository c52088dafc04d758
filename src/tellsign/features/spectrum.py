"""Radial profiles of the 2-D Fourier spectrum: the feature of the up-convolution detector.

Durall, Keuper and Keuper, "Watch your Up-Convolution: CNN Based Generative Deep Neural Networks are
Failing to Reproduce Spectral Distributions", CVPR 2020. The paper defines the profile as an azimuthal
integral of the power spectrum (eq. 2); the code that the authors published computes something else, and
all their feature files and tables come from it. Both are here, as presets:

| preset     | value of a pixel        | a ring k holds pixels with  | rings kept                   |
|------------|-------------------------|-----------------------------|------------------------------|
| `official` | 20 ln |F + 1e-8|        | k <= distance < k + 1       | all but the first and last   |
| `paper`    | |F| ** 2                | k <= distance < k + 1       | 0 .. M // 2 - 1, M = min(H, W) |

F is the unnormalised DFT. Both presets take the mean over a ring, where eq. 2 writes an integral: an
integral would grow with the circumference of the ring. `official` measures the distance from the middle of
the array, ((H - 1) / 2, (W - 1) / 2), which for an even size lies half a pixel off DC; `paper` from DC itself.

Scale and offset are the caller's business. Multiplying an image by c adds 20 ln c to every ring of
`official` (which "minmax" cancels and "first" does not) and multiplies `paper` by c ** 2 (which "first" and
"minmax" cancel). Adding a constant changes DC alone: `official` drops it, `paper` keeps it as ring 0, which is
what "first" divides by. The published feature files were computed on grey images of 0 .. 255.

An image with a value that is not finite gets a profile that is not finite; its neighbours keep theirs.

Shapes: B batch, H W pixels, K rings, N points of an interpolated profile.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np

from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Preset = Literal["official", "paper"]
Normalise = Literal["none", "first", "minmax"]
Array = TypeVar("Array")  # numpy.ndarray or torch.Tensor, float32 or float64

LOG_CONSTANT = 1e-8  # added to the complex spectrum, as the official code does
CHUNK_BYTES = 2**21  # of images that a CPU transforms at once, small enough to stay in its caches


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """What `profile` computes, as a detector stores it: `profile(images, **dataclasses.asdict(options))`."""

    preset: Preset = "official"
    length: int | None = None  # points after interpolation; None keeps one a ring
    normalise: Normalise = "first"
    square: bool = True  # reject images that are not square

    def __post_init__(self) -> None:
        _check_choice("preset", self.preset, get_args(Preset))
        _check_choice("normalise", self.normalise, get_args(Normalise))
        if self.length is not None:
            _check_length(self.length)


def grey(images: Array) -> Array:
    """Weighted sum of the colour channels, 0.2989 R + 0.5870 G + 0.1140 B.

    The weights are those of the official code (and of ITU-R BT.601, rounded); they sum to 0.9999.

    Args:    images: (..., 3, H, W) float32 or float64, any scale.
    Returns: (..., H, W), same type and scale as the input.
    Raises:  ImageError: images are no floating-point array, or hold no axis of three channels.
    Example:
        >>> grey(np.ones((3, 4, 4))).round(4)[0]
        array([0.9999, 0.9999, 0.9999, 0.9999])
    """
    x: Any = images
    _namespace(x)
    if x.ndim < 3 or x.shape[-3] != 3:
        raise ImageError(
            f"cannot take grey of shape {tuple(x.shape)}: expected (..., 3, H, W), channels first; "
            "move the channel axis with moveaxis(images, -1, -3) if it comes last"
        )
    result: Array = x[..., 0, :, :] * 0.2989 + x[..., 1, :, :] * 0.5870 + x[..., 2, :, :] * 0.1140
    return result


def power_spectrum(images: Array) -> Array:
    """Squared magnitude of the unnormalised 2-D DFT, |F| ** 2.

    Its sum is H W times the sum of squares of the image (Parseval).

    Args:    images: (B, H, W) float32 or float64.
    Returns: (B, H, W), DC at [H // 2, W // 2], same type as the input.
    Raises:  ImageError: images are not (B, H, W) floating point.
    Example:
        >>> power_spectrum(np.ones((1, 2, 2)))
        array([[[ 0.,  0.],
                [ 0., 16.]]])
    """
    return _centred_spectrum(images, "paper")


def log_spectrum(images: Array) -> Array:
    """Log magnitude of the unnormalised 2-D DFT, 20 ln |F + 1e-8|.

    The natural logarithm with the factor of a decibel, as in the official code.

    Args:    images: (B, H, W) float32 or float64.
    Returns: (B, H, W), DC at [H // 2, W // 2], same type as the input.
    Raises:  ImageError: images are not (B, H, W) floating point.
    Example:
        >>> log_spectrum(np.ones((1, 2, 2))).round(2)
        array([[[-368.41, -368.41],
                [-368.41,   27.73]]])
    """
    return _centred_spectrum(images, "official")


def profile(
    images: Array,
    *,
    preset: Preset = "official",
    length: int | None = None,
    normalise: Normalise = "first",
    square: bool = True,
) -> Array:
    """Mean of the 2-D spectrum over rings of equal radial frequency, lowest frequency first.

    Implements Durall et al. (2020), eq. 2 (`paper`), or the code published with it (`official`); the table at
    the head of this module says how they differ. Deviates: `paper` takes the mean where eq. 2 integrates.
    Differentiable for PyTorch tensors, on any device. NumPy transforms in float64 whatever the input, because
    its float32 transform is slower.

    Args:    images: (B, H, W) float32 or float64, grey; the scale matters (see the module).
             preset: "official" or "paper".
             length: points N after cubic interpolation, which precedes normalisation; None keeps the K rings.
             normalise: "none"; "first" divides by the first kept ring, which is DC for `paper`; "minmax" maps
                 the smallest value of each profile to 0 and the largest to 1. Where the divisor is zero
                 (a black image, a flat profile) it is taken as 1.
             square: True rejects images with H != W: a ring then joins unequal frequencies of the two axes.
    Returns: (B, K) or (B, N), same type as the input.
    Raises:  ImageError: images are not (B, H, W) floating point, not square, or too small for one ring.
             ConfigError: an option has no such value, or there are too few rings to interpolate.
    Example:
        >>> images = np.random.default_rng(0).uniform(0, 255, (2, 128, 128))
        >>> profile(images).shape
        (2, 88)
        >>> profile(images, length=80)[:, 0]
        array([1., 1.])
    """
    options = ProfileOptions(preset, length, normalise, square)
    x: Any = images
    xp = _namespace(x)
    _check_batch(x)
    count, height, width = x.shape
    if square and height != width:
        raise ImageError(
            f"images of {height} x {width} pixels are not square, so a ring would join unequal frequencies; "
            "crop them to a square, or pass square=False to measure rings in pixels of the spectrum"
        )
    n_rings(height, width, preset)  # says so if there is none
    step = max(1, CHUNK_BYTES // (_working_type(x).itemsize * height * width) if _on_cpu(x) else count)
    chunks = [_ring_means(x[i : i + step], preset, xp) for i in range(0, max(1, count), step)]
    rings = _cast(chunks[0] if len(chunks) == 1 else xp.concat(chunks, axis=0), x.dtype)
    if options.length is not None:
        rings = interpolate(rings, options.length)
    result: Array = _normalised(rings, normalise, xp)
    return result


def n_rings(height: int, width: int, preset: Preset = "official") -> int:
    """Length of a profile before interpolation.

    Args:    height, width: of the image in pixels.
             preset: "official" or "paper".
    Returns: K, the number of kept rings.
    Raises:  ConfigError: there is no such preset.
             ImageError: the image is too small to keep a ring.
    Example:
        >>> n_rings(128, 128), n_rings(178, 218), n_rings(128, 128, "paper")
        (88, 139, 64)
    """
    _check_choice("preset", preset, get_args(Preset))
    if preset == "paper":
        kept = min(height, width) // 2
    else:  # the corner lies in the last ring; it and the first are dropped
        kept = math.isqrt(((height - 1) ** 2 + (width - 1) ** 2) // 4) - 1
    if min(height, width) < 1 or kept < 1:
        raise ImageError(
            f"an image of {height} x {width} pixels is too small for a spectral profile: the preset "
            f"{preset!r} needs at least {'2 x 2' if preset == 'paper' else '4 x 4'} pixels"
        )
    return kept


def interpolate(profiles: Array, length: int) -> Array:
    """Profiles resampled to a fixed length by a not-a-knot cubic spline.

    The official recipe: the values lie at linspace(0, N, K) and are read at linspace(0, N, N), so both ends
    stay as they are. Equal to scipy.interpolate.CubicSpline, and to `griddata` with method "cubic". A spline
    is linear in its values, so this is one product with a matrix that is computed once per pair of lengths.

    Args:    profiles: (B, K) float32 or float64, K at least 4.
             length: N, at least 2.
    Returns: (B, N), same type as the input.
    Raises:  ImageError: profiles are not (B, K) floating point.
             ConfigError: K or N is too small.
    Example:
        >>> interpolate(np.array([[0.0, 1.0, 8.0, 27.0]]), 7).round(3)  # a cubic is kept
        array([[ 0.   ,  0.125,  1.   ,  3.375,  8.   , 15.625, 27.   ]])
    """
    x: Any = profiles
    xp = _namespace(x)
    _check_length(length)
    if x.ndim != 2:
        raise ImageError(f"cannot interpolate profiles of shape {tuple(x.shape)}: expected (B, K)")
    result: Array = x
    if x.shape[1] != length:
        result = x @ xp.asarray(_spline_matrix(x.shape[1], length).T, dtype=x.dtype, device=x.device)
    return result


def _centred_spectrum(images: Array, preset: Preset) -> Array:
    x: Any = images
    xp = _namespace(x)
    _check_batch(x)
    with np.errstate(invalid="ignore"):
        values = _power(xp.fft.fftn(_cast(x, _working_type(x)), axes=(-2, -1)), preset, xp)
        if preset == "official":
            values = 10 * xp.log(values)
    result: Array = _cast(xp.fft.fftshift(values, axes=(-2, -1)), x.dtype)
    return result


def _power(spectrum: Any, preset: Preset, xp: Any) -> Any:
    re, im = xp.real(spectrum), xp.imag(spectrum)
    if preset == "official":
        re = re + LOG_CONSTANT
    return re * re + im * im


def _ring_means(images: Any, preset: Preset, xp: Any) -> Any:
    """(B, H, W) → (B, K), means over the kept rings of the full spectrum, computed from one half of it."""
    height, width = images.shape[1:]
    rings = _rings(height, width, preset)
    scale = 1 / rings.counts[rings.kept]
    with np.errstate(invalid="ignore"):
        power = _power(xp.fft.rfftn(_cast(images, _working_type(images)), axes=(-2, -1)), preset, xp)
        if preset == "paper":
            values = _folded(power, rings.offsets, operator.add, xp)
        else:
            scale = 10 * scale  # 20 ln |F| = 10 ln |F| ** 2
            if power.dtype == xp.float64:  # has the range for one logarithm of four factors
                values = xp.log(_folded(power, rings.offsets, operator.mul, xp))
            else:
                values = _folded(xp.log(power), rings.offsets, operator.add, xp)
        sums = _ring_sums(xp.reshape(values, (images.shape[0], -1)), rings, xp)[:, rings.kept]
    return sums * xp.asarray(scale, dtype=sums.dtype, device=images.device)


@dataclass(frozen=True, slots=True, eq=False)
class _Rings:
    """Where each value of a folded half spectrum belongs."""

    offsets: tuple[
        int, int
    ]  # 2 x (ring centre - DC) in rows and columns, away from DC to negative frequencies
    ring: NDArray[np.int64]  # (n,) of each folded value
    order: NDArray[np.int64]  # (n,) the folded values sorted by ring
    starts: NDArray[np.int64]  # where each ring starts in that order
    counts: NDArray[np.float64]  # pixels of the full spectrum in each ring
    kept: slice


@lru_cache(maxsize=8)
def _rings(height: int, width: int, preset: Preset) -> _Rings:
    # Frequency u stands at index u + H // 2 of the shifted spectrum, so the official centre (H - 1) / 2 is the
    # frequency -1/2 for an even size and 0 for an odd one.
    offsets = (1 - height % 2, 1 - width % 2) if preset == "official" else (0, 0)
    rows = np.fft.fftfreq(height, 1 / height)[: height // 2 if offsets[0] else height]
    columns = np.arange(width // 2 + 1 - offsets[1])
    distance = np.sqrt((rows[:, None] + offsets[0] / 2) ** 2 + (columns + offsets[1] / 2) ** 2)
    ring = distance.astype(np.int64).ravel()
    order = np.argsort(ring, kind="stable")
    starts = np.searchsorted(ring[order], np.arange(ring.max() + 1))
    ones = np.ones((1, height, width // 2 + 1))
    counts = np.bincount(ring, _folded(ones, offsets, operator.add, np).ravel())
    first = 1 if preset == "official" else 0
    return _Rings(offsets, ring, order, starts, counts, slice(first, first + n_rings(height, width, preset)))


def _folded(values: Any, offsets: tuple[int, int], combine: Callable[[Any, Any], Any], xp: Any) -> Any:
    """Half spectra (B, H, W // 2 + 1) with values of equal ring combined, so that fewer are left to sort.

    The missing half holds the value of (u, v) at (-u, -v). The ring of (u, v) is that of (-u - a, -v - b) for
    offsets a, b, so what is missing belongs to the ring of (u - a, v - b): the same half, shifted. Columns that
    are their own mirror image count once: v = 0 always; v = W / 2 not in `paper`, whose kept rings end before it.
    """
    row_offset, column_offset = offsets
    mirrored = xp.roll(values[..., 1:], -row_offset, axis=-2)
    if column_offset:
        folded = combine(values[..., :-1], mirrored)
    else:
        folded = xp.concat((values[..., :1], combine(values[..., 1:], mirrored)), axis=-1)
    if row_offset:  # u and -u - 1 are one ring, and stand at mirrored rows of an unshifted spectrum
        middle = folded.shape[-2] // 2
        folded = combine(folded[..., :middle, :], xp.flip(folded[..., middle:, :], axis=-2))
    return folded


def _ring_sums(values: Any, rings: _Rings, xp: Any) -> Any:
    """(B, n) → (B, rings). The one step that the array API has no function for."""
    if xp is np:
        return np.add.reduceat(np.take(values, rings.order, axis=1), rings.starts, axis=1)
    ring = xp.asarray(rings.ring, device=values.device)
    sums = xp.zeros((values.shape[0], rings.starts.size), dtype=values.dtype, device=values.device)
    return sums.scatter_add(1, ring.expand(values.shape[0], -1), values)


def _normalised(rings: Any, normalise: Normalise, xp: Any) -> Any:
    if normalise == "none":
        return rings
    if normalise == "first":
        low, divisor = 0.0, rings[:, :1]
    else:
        low = xp.min(rings, axis=1, keepdims=True)
        divisor = xp.max(rings, axis=1, keepdims=True) - low
    return (rings - low) / xp.where(divisor == 0, xp.ones_like(divisor), divisor)


@lru_cache(maxsize=32)
def _spline_matrix(n_rings: int, length: int) -> NDArray[np.float64]:
    """(N, K): values of the not-a-knot cubic spline at N points, per unit of each of K values at unit steps."""
    if n_rings < 4:
        raise ConfigError(
            f"cannot interpolate a profile of {n_rings} values to length {length}: a cubic spline needs at least "
            "4; use larger images or length=None"
        )
    # Second derivatives at the knots, c, solve A c = D y: continuity of the slope at each inner knot, and a
    # third derivative without a jump at the second knot from either end.
    equations, differences = np.zeros((2, n_rings, n_rings))
    for i in range(1, n_rings - 1):
        equations[i, i - 1 : i + 2] = 1, 4, 1
        differences[i, i - 1 : i + 2] = 6, -12, 6
    equations[0, :3] = equations[-1, -3:] = 1, -2, 1
    curvature = np.linalg.solve(equations, differences)

    points = np.linspace(0, n_rings - 1, length)
    left = np.minimum(points.astype(np.int64), n_rings - 2)
    t = (points - left)[:, None]
    s = 1 - t
    identity = np.eye(n_rings)
    return np.asarray(
        s * identity[left]
        + t * identity[left + 1]
        + ((s**3 - s) * curvature[left] + (t**3 - t) * curvature[left + 1]) / 6
    )


def _namespace(x: Any) -> Any:
    """The array namespace of a floating-point array, or an error."""
    if isinstance(x, np.ndarray):
        xp: Any = (
            np  # not array_api_compat.numpy: NumPy 2 needs no wrapper, and importing that one takes 90 ms
        )
    else:
        import array_api_compat

        if not array_api_compat.is_torch_array(x):
            raise ImageError(f"expected a NumPy array or a PyTorch tensor, found {type(x).__name__}")
        xp = array_api_compat.array_namespace(x)
    if x.dtype not in (xp.float32, xp.float64):
        raise ImageError(
            f"expected float32 or float64, found {x.dtype}: convert first; the scale is kept as it is"
        )
    return xp


def _on_cpu(x: Any) -> bool:
    return isinstance(x, np.ndarray) or x.device.type == "cpu"


def _working_type(x: Any) -> Any:
    return np.dtype(np.float64) if isinstance(x, np.ndarray) else x.dtype


def _check_batch(x: Any) -> None:
    if x.ndim != 3:
        raise ImageError(
            f"expected grey images of shape (B, H, W), found {tuple(x.shape)}: add a batch axis with "
            "images[None], or take grey(images) of colour images"
        )


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name}={value!r} is not known: expected one of {', '.join(choices)}")


def _check_length(length: object) -> None:
    if not isinstance(length, int) or isinstance(length, bool) or length < 2:
        raise ConfigError(f"length={length!r} is not possible: expected an integer of at least 2, or None")


def _cast(x: Any, dtype: Any) -> Any:
    return x.astype(dtype, copy=False) if isinstance(x, np.ndarray) else x.to(dtype)
