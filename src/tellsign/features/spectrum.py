"""Radial profiles of the 2-D Fourier spectrum: the feature of the up-convolution detector.

Durall, Keuper and Keuper, "Watch your Up-Convolution: CNN Based Generative Deep Neural Networks are Failing
to Reproduce Spectral Distributions", CVPR 2020. The paper defines the profile as an azimuthal integral of the
power spectrum (eq. 2). The code that its authors published computes something else, and all their feature
files and tables come from it. Both are here, as presets:

    preset      value of a pixel     centre of the rings       rings kept
    official    20 ln |F + 1e-8|     ((H-1)/2, (W-1)/2)        all but the first and the last
    paper       |F|^2                DC                        0 to M/2 - 1, where M = min(H, W)

F is the unnormalised DFT with DC at (H // 2, W // 2), so the official centre lies half a pixel off DC where a
side is even. Ring k holds the pixels at a distance in [k, k + 1) from the centre. Both presets take the mean
over a ring, where eq. 2 writes an integral: an integral would grow with the circumference of the ring.

Scale and offset are the caller's business. Multiplying an image by c adds 20 ln c to every ring of
`official`, which "minmax" cancels and "first" does not, and multiplies `paper` by c^2, which both cancel.
Adding a constant changes DC alone: `official` drops it, `paper` keeps it as ring 0, by which "first" divides.
The published feature files were computed on grey images of 0 to 255.

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

from tellsign.features.arrays import cast, namespace, on_cpu, sum_of_squares
from tellsign.types import ConfigError, ImageError, TooSmallError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Preset = Literal["official", "paper"]
Normalise = Literal["none", "first", "minmax"]
Array = TypeVar("Array")  # numpy.ndarray or torch.Tensor, float32 or float64

GREY = (0.2989, 0.5870, 0.1140)  # of red, green and blue
DECIBEL = 1 / math.log(10)  # of one unit of a profile of the official preset: 20 times a natural logarithm
LOG_CONSTANT = 1e-8  # added to the complex spectrum, as the official code does
CHUNK_BYTES = 3 * 2**20  # of images that a CPU transforms at once, so that what follows stays in its caches


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """The options of `profile`, for callers that store them: `profile(images, **asdict(options))`."""

    preset: Preset = "official"
    length: int | None = None  # points after interpolation; None: as many as there are rings
    normalise: Normalise = "first"
    square: bool = True  # reject images that are not square
    floor: float = 0.0  # of magnitudes, in place of the constant of the published code

    def __post_init__(self) -> None:
        _check_choice("preset", self.preset, get_args(Preset))
        _check_choice("normalise", self.normalise, get_args(Normalise))
        if self.length is not None:
            _check_length(self.length)
        _check_floor(self.floor, self.preset)


def grey(images: Array) -> Array:
    """Weighted sum of the colour channels, 0.2989 R + 0.5870 G + 0.1140 B.

    The weights are those of the official code, ITU-R BT.601 to four digits; they sum to 0.9999.

    Args:    images: (..., 3, H, W) float32 or float64, any scale.
    Returns: (..., H, W), same type and scale as the input.
    Raises:  ImageError: images are not floating point, or have no axis of three channels there.

    Example:
        >>> grey(np.ones((3, 1, 2))).round(4)
        array([[0.9999, 0.9999]])
    """
    x: Any = images
    namespace(x)
    if x.ndim < 3 or x.shape[-3] != 3:
        raise ImageError(
            f"cannot take grey of shape {tuple(x.shape)}: expected (..., 3, H, W), channels before rows; "
            "where they come last, move them with moveaxis(images, -1, -3)"
        )
    red, green, blue = GREY
    result: Array = x[..., 0, :, :] * red + x[..., 1, :, :] * green + x[..., 2, :, :] * blue
    return result


def power_spectrum(images: Array) -> Array:
    """Squared magnitude of the unnormalised 2-D DFT, |F|^2.

    Its sum is H W times the sum of the squared pixels (Parseval).

    Args:    images: (B, H, W) float32 or float64.
    Returns: (B, H, W), DC at (H // 2, W // 2), same type as the input.
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
    Returns: (B, H, W), DC at (H // 2, W // 2), same type as the input.
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
    floor: float = 0.0,
) -> Array:
    """Mean of the 2-D spectrum over rings of equal radial frequency, lowest frequency first.

    Implements Durall et al. (2020), eq. 2 (`paper`), or the code published with it (`official`); the table at
    the head of this module says how they differ. Deviates: `paper` takes the mean where eq. 2 integrates.
    PyTorch tensors keep their device and their gradient. NumPy arrays are transformed in float64 whatever
    their type, since NumPy's transform is no faster in float32.

    Args:    images: (B, H, W) float32 or float64, grey; their scale matters (head of this module).
             preset: "official" or "paper".
             length: N, points after cubic interpolation, which precedes normalisation; None keeps K rings.
             normalise: "none"; "first" divides by the first kept ring, which is DC for `paper`; "minmax"
                 maps the smallest value of each profile to 0 and the largest to 1. A divisor of 0, as of a
                 black image in `paper`, counts as 1.
             square: True rejects images with H != W, where a ring joins unequal frequencies of the two axes.
             floor: f of 10 ln (|F|^2 + f^2), for `official`, in place of the published constant: what lies
                 below counts for nothing, where an empty coefficient would have a gradient without bound.
    Returns: (B, K) or (B, N), same type as the input.
    Raises:  ImageError: images are not (B, H, W) floating point, or not square.
             TooSmallError: they are too small to keep a ring.
             ConfigError: there is no such option, or there are too few rings to interpolate.

    Example:
        >>> images = np.random.default_rng(0).uniform(0, 255, (2, 128, 128))
        >>> profile(images).shape
        (2, 88)
        >>> profile(images, length=80)[:, 0]
        array([1., 1.])
    """
    options = ProfileOptions(preset, length, normalise, square, floor)
    x: Any = images
    xp = namespace(x)
    _check_batch(x)
    count, height, width = x.shape
    if options.square and height != width:
        raise ImageError(
            f"images of {height} x {width} pixels are not square, so that a ring would join unequal "
            "frequencies: crop them to a square, or pass square=False"
        )
    rings = _rings(height, width, preset)
    step = max(1, CHUNK_BYTES // (_working_dtype(x).itemsize * height * width) if on_cpu(x) else count)
    with np.errstate(invalid="ignore"):  # what is not finite is for the caller to see, in the result
        chunks = [_ring_sums(x[i : i + step], preset, floor, rings, xp) for i in range(0, count, step)]
        chunks = chunks or [xp.reshape(x, (0, rings.starts.size))]  # PyTorch 2.9 transforms no empty batch
        sums = xp.concat(chunks, axis=0)[:, rings.kept]
        means = sums * xp.asarray(rings.scale, dtype=sums.dtype, device=x.device)
        if options.length is not None:
            means = interpolate(means, options.length)
        result: Array = cast(_normalised(means, normalise, xp), x.dtype)
    return result


def n_rings(height: int, width: int, preset: Preset = "official") -> int:
    """Length of a profile before interpolation.

    Args:    height, width: of the image in pixels.
             preset: "official" or "paper".
    Returns: K, the number of kept rings.
    Raises:  ConfigError: there is no such preset.
             TooSmallError: the image is too small to keep a ring.

    Example:
        >>> n_rings(128, 128), n_rings(178, 218), n_rings(128, 128, "paper")
        (88, 139, 64)
    """
    _check_choice("preset", preset, get_args(Preset))
    if preset == "paper":
        kept = min(height, width) // 2
    else:  # rings 1 to that of the corner, less that one
        kept = math.isqrt(((height - 1) ** 2 + (width - 1) ** 2) // 4) - 1
    if min(height, width) < 1 or kept < 1:
        raise TooSmallError(
            f"an image of {height} x {width} pixels has no ring that the preset {preset!r} keeps: it needs "
            f"at least {'2 x 2' if preset == 'paper' else '4 x 4'} pixels"
        )
    return kept


def interpolate(profiles: Array, length: int) -> Array:
    """Profiles resampled to a fixed length by a not-a-knot cubic spline.

    The official recipe: the K values lie at linspace(0, N, K) and are read at linspace(0, N, N), so that both
    ends stay as they are. Equal to scipy.interpolate.CubicSpline, and to griddata with method "cubic". A
    spline is linear in its values: this is one product with a matrix, computed once per pair of lengths.

    Args:    profiles: (B, K) float32 or float64, K at least 4.
             length: N, at least 2.
    Returns: (B, N), same type as the input.
    Raises:  ImageError: profiles are not (B, K) floating point.
             ConfigError: K or N is too small.

    Example:
        >>> interpolate(np.array([[0.0, 1.0, 8.0, 27.0]]), 7).round(3)  # a cubic stays a cubic
        array([[ 0.   ,  0.125,  1.   ,  3.375,  8.   , 15.625, 27.   ]])
    """
    x: Any = profiles
    xp = namespace(x)
    _check_length(length)
    if x.ndim != 2:
        raise ImageError(f"expected profiles of shape (B, K), found {tuple(x.shape)}")
    matrix = xp.asarray(_spline_matrix(x.shape[1], length), dtype=x.dtype, device=x.device)
    result: Array = x @ matrix.T
    return result


def _centred_spectrum(images: Array, preset: Preset) -> Array:
    x: Any = images
    xp = namespace(x)
    _check_batch(x)
    with np.errstate(invalid="ignore"):
        values = _power(xp.fft.fftn(cast(x, _working_dtype(x)), axes=(-2, -1)), preset, 0.0, xp)
    if preset == "official":
        values = 10 * xp.log(values)
    result: Array = cast(xp.fft.fftshift(values, axes=(-2, -1)), x.dtype)
    return result


def _working_dtype(x: Any) -> Any:
    return np.dtype(np.float64) if isinstance(x, np.ndarray) else x.dtype


def _power(spectrum: Any, preset: Preset, floor: float, xp: Any) -> Any:
    re, im = xp.real(spectrum), xp.imag(spectrum)
    if preset == "official" and not floor:
        re = re + LOG_CONSTANT
    return sum_of_squares(re, im, floor**2)


def _ring_sums(images: Any, preset: Preset, floor: float, rings: _Rings, xp: Any) -> Any:
    """(B, H, W) → (B, rings), sums over all rings of the whole spectrum, computed from one half of it."""
    power = _power(xp.fft.rfftn(cast(images, _working_dtype(images)), axes=(-2, -1)), preset, floor, xp)
    if preset == "paper":
        folded = _folded(power, rings.offsets, operator.add, xp)
    elif power.dtype == xp.float64:  # one logarithm of a product of four: float32 has not the range
        folded = xp.log(_folded(power, rings.offsets, operator.mul, xp))
    else:
        folded = _folded(xp.log(power), rings.offsets, operator.add, xp)
    values = xp.reshape(folded, (images.shape[0], rings.ring.size))
    # The array API has no sum by index.
    if xp is np:
        return np.add.reduceat(np.take(values, rings.order, axis=1), rings.starts, axis=1)
    ring = xp.asarray(rings.ring, device=values.device)
    sums = xp.zeros((values.shape[0], rings.starts.size), dtype=values.dtype, device=values.device)
    return sums.scatter_add(1, ring.expand(values.shape[0], -1), values)


@dataclass(frozen=True, slots=True, eq=False)
class _Rings:
    """Where each value of a folded half spectrum belongs."""

    offsets: tuple[int, int]  # of rows and columns: 1 where the centre is at frequency -1/2, 0 where it is DC
    ring: NDArray[np.int64]  # (n,) of each folded value
    order: NDArray[np.int64]  # (n,) the folded values sorted by ring
    starts: NDArray[np.int64]  # where each ring starts in that order
    kept: slice
    scale: NDArray[np.float64]  # (K,) from the sum of a kept ring to its value


@lru_cache(maxsize=8)
def _rings(height: int, width: int, preset: Preset) -> _Rings:
    n_kept = n_rings(height, width, preset)
    # Frequency u stands at index u + H // 2, so the official centre (H - 1) / 2 is the frequency -1/2 where H
    # is even and 0 where it is odd. The squares are exact, so that no root is rounded across a ring's edge.
    offsets = (1 - height % 2, 1 - width % 2) if preset == "official" else (0, 0)
    rows = np.rint(np.fft.fftfreq(height, 1 / height))[: height // 2 if offsets[0] else height]
    columns = np.arange(width // 2 + 1 - offsets[1])
    distance = np.sqrt((rows[:, None] + offsets[0] / 2) ** 2 + (columns + offsets[1] / 2) ** 2)
    ring = distance.astype(np.int64).ravel()
    order = np.argsort(ring, kind="stable")
    starts = np.searchsorted(ring[order], np.arange(ring.max() + 1))
    ones = np.ones((1, height, width // 2 + 1))
    pixels = np.bincount(ring, weights=_folded(ones, offsets, operator.add, np).ravel())
    first, factor = (1, 10.0) if preset == "official" else (0, 1.0)  # 20 ln |F| = 10 ln |F|^2
    kept = slice(first, first + n_kept)
    return _Rings(offsets, ring, order, starts, kept, factor / pixels[kept])


def _folded(values: Any, offsets: tuple[int, int], combine: Callable[[Any, Any], Any], xp: Any) -> Any:
    """Half spectra (B, H, W // 2 + 1) with values of one ring combined, so that fewer are left to sort.

    The missing half has at (-u, -v) the value of (u, v). With offsets a and b its ring is that of
    (u - a, v - b), as both are equally far from the centre (-a/2, -b/2): the missing half is this one, moved.
    Where b = 0, column 0 is its own mirror image; so is column W/2, but all its rings are dropped then.
    """
    row_offset, column_offset = offsets

    def joined(own: Any, missing: Any) -> Any:
        if column_offset:
            return combine(own[:, :, :-1], missing)
        return xp.concat((own[:, :, :1], combine(own[:, :, 1:], missing)), axis=2)

    missing = values[:, :, 1:]
    if not row_offset:
        return joined(values, missing)
    # u and -u - 1 are equally far too: the negative rows are the others upside down.
    middle = values.shape[1] // 2
    positive = joined(values[:, :middle], missing[:, 1 : middle + 1])
    moved = xp.concat((missing[:, middle + 1 :], missing[:, :1]), axis=1)
    negative = joined(values[:, middle:], moved)
    return combine(positive, xp.flip(negative, axis=1))


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
def _spline_matrix(n_values: int, length: int) -> NDArray[np.float64]:
    """(N, K): a not-a-knot cubic spline through K values at unit steps, read at N points from end to end."""
    if n_values < 4:
        raise ConfigError(
            f"cannot interpolate {n_values} rings to length {length}: a cubic spline needs at least 4; "
            "take larger images, or length=None"
        )
    # The curvature at the knots solves two systems at once: at inner knots the slope has no jump, and at the
    # second knot from either end the third derivative has none.
    equations, differences = np.zeros((2, n_values, n_values))
    for i in range(1, n_values - 1):
        equations[i, i - 1 : i + 2] = 1, 4, 1
        differences[i, i - 1 : i + 2] = 6, -12, 6
    equations[0, :3] = equations[-1, -3:] = 1, -2, 1
    curvature = np.linalg.solve(equations, differences)

    points = np.linspace(0, n_values - 1, length)
    left = np.minimum(points.astype(np.int64), n_values - 2)
    t = (points - left)[:, None]
    s = 1 - t
    value = np.eye(n_values)
    bend = (s**3 - s) * curvature[left] + (t**3 - t) * curvature[left + 1]
    return np.asarray(s * value[left] + t * value[left + 1] + bend / 6)


def _check_batch(x: Any) -> None:
    if x.ndim != 3:
        raise ImageError(
            f"expected grey images of shape (B, H, W), found {tuple(x.shape)}: add a batch axis with "
            "images[None], or take grey(images) of colour images"
        )


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} is one of {', '.join(choices)}, found {value!r}")


def _check_floor(floor: float, preset: str) -> None:
    if not 0 <= floor < math.inf or (floor and preset == "paper"):
        rule = "floor is 0 or more and finite, and 0 for the preset 'paper', which takes no logarithm"
        raise ConfigError(f"{rule}; found {floor!r}")


def _check_length(length: object) -> None:
    if not isinstance(length, int) or isinstance(length, bool) or length < 2:
        raise ConfigError(f"length is a whole number of at least 2, or None, found {length!r}")
