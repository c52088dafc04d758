"""Noise residuals of images and the fingerprints of what made them.

Lukáš, Fridrich and Goljan (2006), "Digital camera identification from sensor pattern noise": the sensor of a
camera leaves the same pattern in each of its pictures (photo-response non-uniformity, PRNU). Marra et al.
(2019), "Do GANs leave artificial fingerprints?": so does a generator. The residual of an image is what a
denoiser takes away; a fingerprint is the residual that the images of one source share; and the correlation of
the two says whether an image is from there.

A residual is made of the details of four levels of a db4 wavelet, each times s2 / (v + s2), where s2 is the
variance of noise and v the least variance of the picture within windows of 3 to 9 coefficients: edges and
texture stay out and noise stays in. Then grey levels; row and column means of each of the four lattices of
every other pixel are taken off, and peaks of the Fourier spectrum are attenuated by the same rule: what all
cameras of a make share, or the grid of a JPEG, is no fingerprint.

Shapes: C channels (3), H W pixels, S sources; ... any axes in front.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tellsign.configuration import check_whole
from tellsign.features.daubechies import Details, composed, decomposed, least_side
from tellsign.types import ConfigError, ImageError, TooSmallError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.floating[Any]]

Weighting = Literal["intensity", "mean"]

GREY = (0.2989, 0.5870, 0.1140)  # of R, G and B
WINDOWS = (3, 5, 7, 9)  # coefficients; of the local variance
BORDER = WINDOWS[-1] // 2
PORTION = 1 << 15  # coefficients that are worked on at once, so that what is made of them stays in caches
BRIGHT, FALL = 252.0, 6.0  # levels from which on the weight of a pixel falls, and how slowly
SATURATED = 250.0  # levels; what is brighter and flat has no noise


@dataclass(frozen=True, slots=True)
class ResidualOptions:
    """What counts as noise."""

    levels: int = 4  # of the wavelet
    sigma: float = 5.0  # standard deviation of the noise, on levels 0 to 255

    def __post_init__(self) -> None:
        check_whole("levels", self.levels, 1, 12)
        is_number = isinstance(self.sigma, (int, float)) and not isinstance(self.sigma, bool)
        if not is_number or not 0 < self.sigma < math.inf:
            raise ConfigError(f"sigma must be a positive number, found {self.sigma!r}")

    @property
    def least_side(self) -> int:
        """Pixels that a side has at least."""
        return least_side(self.levels)


def noise(image: FloatArray, options: ResidualOptions) -> FloatArray:
    """What a denoiser takes away from each channel.

    Args:    image: (..., H, W) in [0, 1].
             options: what counts as noise.
    Returns: (..., H, W) on levels 0 to 255; zeros where the image is constant.
    Raises:  ImageError: it holds what is no number. TooSmallError: it is too small for the levels.
    """
    return composed(None, _attenuated_details(image, options), image.shape[-2:])


def residual(image: FloatArray, options: ResidualOptions) -> FloatArray:
    """The noise residual of an image, as it is compared with fingerprints.

    Args:    image: (3, H, W) in [0, 1].
             options: what counts as noise.
    Returns: (H, W), its mean is 0; zeros where the image is constant.
    Raises:  ImageError: it is no such image. TooSmallError: it is too small for the levels.
    """
    if image.ndim != 3 or len(image) != 3:
        raise ImageError(f"expected an image of shape (3, H, W), found {image.shape}")
    # Grey before the way back, which is linear: one image instead of three.
    details = [Details(*map(_grey, level)) for level in _attenuated_details(image, options)]
    return whitened(without_lattice_means(composed(None, details, image.shape[-2:])))


class Fingerprint:
    """The residual that images of one source share; images are added one at a time."""

    def __init__(self, options: ResidualOptions, weighting: Weighting = "intensity") -> None:
        """No image yet.

        Args:    options: what counts as noise.
                 weighting: "intensity": the maximum-likelihood estimate of a pattern that grows with the
                 light, in which bright pixels count for more and saturated ones for nothing. "mean": of the
                 residuals.
        """
        self.options, self.weighting, self.n_images = options, weighting, 0
        self._total: FloatArray | None = None
        self._weights: FloatArray | None = None

    def add(self, image: FloatArray) -> None:
        """Take an image into account.

        Args:    image: (3, H, W) in [0, 1].
        Raises:  ImageError: it is of another size than those before. TooSmallError: as `noise` has it.
        """
        if self._total is None or self._weights is None:
            self._total, self._weights = (np.zeros(image.shape, np.float64) for _ in range(2))
        if image.shape != self._total.shape:
            raise ImageError(
                f"the image has the shape {image.shape} and those before it {self._total.shape}; a "
                "fingerprint is taken of images of one size"
            )
        found = noise(image, self.options)
        if self.weighting == "mean":
            self._total += found
        else:
            levels = 255 * image
            is_kept = ~saturated(levels)
            self._total += np.where(is_kept, found * image, 0)
            self._weights += np.where(is_kept, np.square(intensity_weight(levels)), 0)
        self.n_images += 1

    def estimate(self) -> FloatArray:
        """(H, W), treated as residuals are; its mean is 0. Raises ImageError where there was no image."""
        if self._total is None or self._weights is None:
            raise ImageError("a fingerprint is taken of at least one image, and there was none")
        divisor = float(self.n_images) if self.weighting == "mean" else self._weights + 1
        return whitened(without_lattice_means(_grey(self._total / divisor)))


def correlations(residuals: FloatArray, fingerprints: FloatArray) -> FloatArray:
    """How much of each fingerprint is in each residual.

    Args:    residuals: (N, H, W), of mean 0. fingerprints: (S, H, W), of mean 0.
    Returns: (N, S) float64 in [-1, 1], normalised; 0 where a residual or a fingerprint is 0 all over.
    Raises:  ImageError: they are of different sizes.
    """
    if residuals.shape[-2:] != fingerprints.shape[-2:]:
        raise ImageError(
            f"residuals of {residuals.shape[-2:]} and fingerprints of {fingerprints.shape[-2:]} pixels can't "
            "be compared: a fingerprint knows places, and both must be of one size"
        )
    rows, own = (
        np.ascontiguousarray(a, np.float64).reshape(len(a), math.prod(a.shape[1:]))
        for a in (residuals, fingerprints)
    )
    # One product after another: a sum over a batch would be rounded as its size says.
    found = np.array([[np.dot(row, other) for other in own] for row in rows]).reshape(len(rows), len(own))
    norms = np.outer(*(np.sqrt([np.dot(row, row) for row in several]) for several in (rows, own)))
    ratios: FloatArray = np.divide(found, norms, out=np.zeros_like(found), where=norms > 0)
    return ratios


def without_lattice_means(plane: FloatArray) -> FloatArray:
    """An image less the row and column means of each of its four lattices of every other pixel.

    Args:    plane: (H, W).
    Returns: (H, W), a copy.
    """
    found = plane.copy()
    for i, j in itertools.product(range(2), range(2)):
        found[i::2, j::2] -= found[i::2, j::2].mean(axis=0, keepdims=True)
        found[i::2, j::2] -= found[i::2, j::2].mean(axis=1, keepdims=True)
    return found


def whitened(plane: FloatArray) -> FloatArray:
    """An image without the peaks of its spectrum: each frequency times s2 / (v + s2), s2 its variance.

    Args:    plane: (H, W).
    Returns: (H, W), same type; zeros where the image is constant.
    """
    import scipy.fft  # 0.1 s that no other command should wait for

    variance = float(np.var(plane, ddof=1))
    if not variance > 0:
        return np.zeros_like(plane)
    half = scipy.fft.rfft2(plane)
    (height, width), n_columns = plane.shape, half.shape[1]
    rows, columns = _mirrored(height, height), _mirrored(width, n_columns)
    power = np.empty_like(plane)
    power[:, :n_columns] = np.square(half.real) + np.square(half.imag)
    power[:, n_columns:] = power[rows, width - n_columns : 0 : -1]
    # The variance in the unit of the power, which saves dividing all of it.
    gain = attenuation(power, variance * plane.size)
    # The spectrum of real numbers is its own mirror image. Windows end at its borders, and so its gains are
    # not: what is left of both when the imaginary part is dropped is their mean.
    gains = gain[:, :n_columns] + gain[np.ix_(rows, columns)]
    gains /= 2  # and not the spectrum, whose numbers are complex
    half *= gains
    return np.asarray(scipy.fft.irfft2(half, plane.shape, overwrite_x=True), plane.dtype)


def attenuation(power: FloatArray, variance: float) -> FloatArray:
    """The share of each coefficient that is noise: s2 / (v + s2).

    v is the least of max(mean power - s2, 0) over the windows; beyond the borders there is no power.

    Args:    power: (..., h, w), squares of coefficients.
             variance: s2 of the noise, above 0.
    Returns: (..., h, w) in (0, 1], same type.
    """
    result = np.empty_like(power)
    planes, shares = (x.reshape(-1, *power.shape[-2:]) for x in (power, result))
    n_planes, height, width = planes.shape
    scaled = WINDOWS[-1] ** 2 * variance
    n_together, n_rows = max(1, PORTION // (height * width)), max(1, PORTION // width)
    for first, top in itertools.product(range(0, n_planes, n_together), range(0, height, n_rows)):
        rows = slice(max(0, top - BORDER), top + n_rows + BORDER)
        near = planes[first : first + n_together, rows]
        share = shares[first : first + n_together, top : top + n_rows]
        padded = np.zeros((len(near), share.shape[1] + 2 * BORDER, width + 2 * BORDER), power.dtype)
        above = BORDER - (top - rows.start)
        padded[:, above : above + near.shape[1], BORDER:-BORDER] = near
        # max(m - s2, 0) + s2 is max(m, s2), here of sums.
        np.divide(scaled, np.maximum(_least_window_sum(padded), scaled), out=share)
    return result


def intensity_weight(levels: FloatArray) -> FloatArray:
    """How much noise a sensor shows at a level: in proportion to the light until it is nearly saturated.

    Args:    levels: 0 to 255.
    Returns: same shape, 0 to 1.
    """
    return np.where(levels < BRIGHT, levels / BRIGHT, np.exp(-np.square(levels - BRIGHT) / FALL))


def saturated(levels: FloatArray) -> NDArray[np.bool_]:
    """Pixels as bright as the brightest of their channel, one neighbour of which is as bright.

    Args:    levels: (C, H, W) from 0 to 255.
    Returns: same shape; none where the brightest has 250 or less.
    """
    brightest = levels.max(axis=(-2, -1), keepdims=True)
    at_top: NDArray[np.bool_] = (levels == brightest) & (brightest > SATURATED)
    if not at_top.any():
        return at_top
    padded = np.pad(at_top, [(0, 0), (1, 1), (1, 1)])
    beside = padded[:, :-2, 1:-1] | padded[:, 2:, 1:-1] | padded[:, 1:-1, :-2] | padded[:, 1:-1, 2:]
    return np.asarray(at_top & beside)


def _attenuated_details(image: FloatArray, options: ResidualOptions) -> list[Details]:
    height, width = image.shape[-2:]
    if min(height, width) < options.least_side:
        raise TooSmallError(
            f"the image is {width} × {height} pixels, a noise residual of {options.levels} levels needs at "
            f"least {options.least_side} × {options.least_side}"
        )
    if not np.isfinite(image).all():
        raise ImageError("the image holds values that are not finite; they have no residual")
    low, high = (getattr(image, name)(axis=(-2, -1), keepdims=True) for name in ("min", "max"))
    # Details don't depend on the mean level, but their rounding does: a constant has exactly none.
    _, details = decomposed(255 * (image - (low + high) / 2), options.levels)
    return [_attenuated(level, options.sigma**2) for level in details]


def _attenuated(level: Details, variance: float) -> Details:
    bands = np.stack(level)
    bands *= attenuation(np.square(bands), variance)
    return Details(*bands)


def _grey(planes: FloatArray) -> FloatArray:
    grey: FloatArray = GREY[0] * planes[0] + GREY[1] * planes[1] + GREY[2] * planes[2]
    return grey


def _least_window_sum(power: FloatArray) -> FloatArray:
    """The least of the means over windows of `WINDOWS` around each place that has `BORDER` others around it.

    As the sum over the largest window that has this mean. By sums of sums, along rows and then along columns:
    nothing is taken off again, so nothing cancels.
    """
    h, w = (side - 2 * BORDER for side in power.shape[-2:])
    two = power[..., :-1] + power[..., 1:]
    three = two[..., :-1] + power[..., 2:]
    four = two[..., :-2] + two[..., 2:]
    five = four[..., :-1] + power[..., 4:]
    seven = four[..., :-3] + three[..., 4:]
    nine = four[..., :-5] + five[..., 4:]
    least = _sum_of_rows(nine, WINDOWS[-1], h)
    for size, sums in zip(WINDOWS[:-1], (three, five, seven), strict=True):
        margin = BORDER - size // 2
        total = _sum_of_rows(sums[..., margin : margin + h + size - 1, margin : margin + w], size, h)
        total *= WINDOWS[-1] ** 2 / size**2
        np.minimum(least, total, out=least)
    return least


def _sum_of_rows(rows: FloatArray, size: int, h: int) -> FloatArray:
    """(..., h + size - 1, w) → (..., h, w), each the sum of as many rows: 3, 5, 7 or 9."""
    pairs = rows[..., :-1, :] + rows[..., 1:, :]
    if size == 3:
        return pairs[..., :h, :] + rows[..., 2:, :]
    fours = pairs[..., :-2, :] + pairs[..., 2:, :]
    rest = {7: pairs, 9: fours}.get(size)
    total = fours[..., :h, :] if rest is None else fours[..., :h, :] + rest[..., 4 : 4 + h, :]
    total += rows[..., size - 1 :, :]
    return total


def _mirrored(length: int, n: int) -> NDArray[np.intp]:
    """Where the first n frequencies of a row of so many are found when their sign is changed."""
    return -np.arange(n) % length
