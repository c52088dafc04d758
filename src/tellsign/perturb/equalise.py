"""+E, spectrum equalisation: fakes get the mean spectrum of real images, by one gain for each ring.

The re-synthesis paper names the step, and cites Durall et al. (2020) for it, who have no such step; no code
is published. So the recipe is ours: for each channel the mean amplitude of every ring of the Fourier
spectrum, over fakes and over reals; the gain of a ring is their ratio; each coefficient is multiplied by the
gain at its radius, interpolated between rings.

Rings are those of `tellsign.features.spectrum`'s preset "paper" (ring k holds the distances [k, k + 1) from
DC), but of amplitudes and all the way to the corner, where that profile ends at half a side: detectors look
at the corners too. Where an image is not square, a ring joins equal frequencies in cycles per pixel.

Shapes: H W pixels, K rings; an image is (3, H, W) float32 sRGB in [0, 1].
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.perturb.operations import check_pixels
from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.random import Generator
    from numpy.typing import NDArray

    Image = NDArray[np.float32]

MEANS = ("amplitude", "log")

LIMITS = (0.1, 10.0)
SMALLEST = 1e-12  # amplitude whose logarithm is taken in place of that of 0
ARRAYS = {"size": 1, "limits": 1, "counts": 1, "log": 1, "fake": 2, "real": 2}  # in a file → axes


@dataclass(frozen=True, slots=True, eq=False)
class Equalisation:
    """Mean amplitudes of fakes and reals, and the gains that follow from them."""

    size: tuple[int, int]  # rows and columns of every image
    fake: NDArray[np.float64]  # (3, K) mean amplitudes of the unnormalised DFT of images in [0, 1]
    real: NDArray[np.float64]  # (3, K)
    counts: tuple[int, int]  # number of fakes and of reals
    limits: tuple[float, float] = LIMITS  # of the gain
    means: str = "amplitude"  # or "log": geometric means

    def __post_init__(self) -> None:
        _check_options(self.limits, self.means)

    @classmethod
    def fit(
        cls,
        fakes: Iterable[NDArray[Any]],
        reals: Iterable[NDArray[Any]],
        *,
        limits: tuple[float, float] = LIMITS,
        means: str = "amplitude",
    ) -> Equalisation:
        """The gains between two sets of images, which are read one at a time.

        Args:    fakes, reals: images (3, H, W) in [0, 1], all of one size; take reals of the training set.
                 limits: smallest and largest gain.
                 means: over the coefficients of a ring and over images, of the "amplitude" or of its "log".
        Returns: what `apply` needs.
        Raises:  ImageError: an image is none, or has another size than the first.
                 ConfigError: a set is empty, or an option is not one of these.
        """
        _check_options(limits, means)  # before the long work
        size, fake, n_fake = _mean_amplitudes(fakes, "fakes", means, None)
        size, real, n_real = _mean_amplitudes(reals, "reals", means, size)
        return cls(size, fake, real, (n_fake, n_real), limits, means)

    def gain(self, image: NDArray[Any] | None = None) -> NDArray[np.float64]:
        """The factor of each ring: 1 for DC, within the limits, 1 where neither side has any amplitude.

        Args:    image: (3, H, W) whose own amplitudes take the place of the fakes' mean; None for the set's.
        Returns: (3, K).
        """
        own = self.fake if image is None else _averaged(_ring_amplitudes(image, self.means), self.means)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where((own == 0) & (self.real == 0), 1.0, self.real / own)
        ratio = np.clip(ratio, *self.limits)
        ratio[:, 0] = 1  # DC: brightness stays
        return ratio

    def apply(self, image: NDArray[Any], *, per_image: bool = False) -> Image:
        """An image whose spectrum is equalised, at 8-bit levels.

        Rounding and clipping bring back a little of what was removed.

        Args:    image: (3, H, W) in [0, 1], of the size of the fitted ones.
                 per_image: give this image the reals' mean, not only the set of fakes as a whole.
        Returns: (3, H, W) float32 in [0, 1].
        Raises:  ImageError: the image is none, or has another size.
        """
        check_pixels(image)
        if image.shape[1:] != self.size:
            raise ImageError(
                f"the image has {image.shape[2]} × {image.shape[1]} pixels, the equalisation was fitted to "
                f"{self.size[1]} × {self.size[0]}: crop both alike, or fit it again"
            )
        rings = _rings(*self.size)
        gain = self.gain(image if per_image else None)
        out = np.empty(image.shape, np.float32)
        for plane, factors, equalised in zip(image, gain, out, strict=True):
            spectrum = np.fft.rfft2(plane.astype(np.float64))
            steps = np.diff(factors, append=factors[-1])
            spectrum *= factors[rings.left] + steps[rings.left] * rings.share
            levels = np.rint(np.fft.irfft2(spectrum, s=self.size) * 255)
            equalised[...] = np.clip(levels, 0, 255)
        out /= np.float32(255)
        return out

    def save(self, path: Path | str) -> None:
        """Write the arrays as a safetensors file; raises ConfigError where it cannot be written."""
        from safetensors.numpy import save

        arrays = {
            "size": np.array(self.size),
            "limits": np.array(self.limits),
            "counts": np.array(self.counts),
            "log": np.array([int(self.means == "log")]),
            "fake": np.ascontiguousarray(self.fake),
            "real": np.ascontiguousarray(self.real),
        }
        try:
            Path(path).write_bytes(save(arrays))
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error}") from error

    @classmethod
    def load(cls, path: Path | str) -> Equalisation:
        """Read what `save` wrote.

        Args:    path: of the file. Nothing in it can execute code.
        Returns: the equalisation.
        Raises:  ConfigError: there is no such file, or it is none of `save`.
        """
        return cls.from_bytes(_content(path), str(path))

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Equalisation:
        """The equalisation that a file holds.

        Args:    data: the file's bytes; name: of the file, for messages.
        Returns: the equalisation.
        Raises:  ConfigError: they are not what `save` writes.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        wanted = f"{name} is no equalisation as `Equalisation.save` writes it"
        try:
            arrays = load(data)
        except SafetensorError as error:
            raise ConfigError(f"{wanted}: {error}") from None
        if {key: value.ndim for key, value in arrays.items()} != ARRAYS:
            raise ConfigError(f"{wanted}: found the arrays {sorted(arrays)}, expected {sorted(ARRAYS)}")
        short = {key: arrays[key].shape for key in ("size", "limits", "counts", "log")}
        if short != {"size": (2,), "limits": (2,), "counts": (2,), "log": (1,)}:
            raise ConfigError(f"{wanted}: found the shapes {short}")
        size = (int(arrays["size"][0]), int(arrays["size"][1]))
        fake, real = arrays["fake"], arrays["real"]
        if not 1 <= min(size) <= max(size) <= 1 << 16 or {fake.shape, real.shape} != {(3, _n_rings(*size))}:
            raise ConfigError(f"{wanted}: {fake.shape} and {real.shape} are not the rings of {size} pixels")
        if not all(np.isfinite(means).all() and (means >= 0).all() for means in (fake, real)):
            raise ConfigError(f"{wanted}: an amplitude is negative or not finite")
        low, high = arrays["limits"].tolist()
        n_fake, n_real = arrays["counts"].tolist()
        means = "log" if arrays["log"][0] else "amplitude"
        try:
            return cls(size, fake, real, (n_fake, n_real), (low, high), means)
        except ConfigError as error:
            raise ConfigError(f"{wanted}: {error}") from None


@dataclass(frozen=True, slots=True)
class Equalise:
    """+E: each ring of the spectrum gets the gain that is stored in a file; meant for fakes."""

    file: str  # as `Equalisation.save` writes it
    per_image: bool = False  # whether each image gets the reals' mean, not only the set as a whole
    digest: str = field(init=False)  # SHA-256 of the file
    equalisation: Equalisation = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        data = _content(self.file)
        object.__setattr__(self, "digest", hashlib.sha256(data).hexdigest())
        object.__setattr__(self, "equalisation", Equalisation.from_bytes(data, self.file))

    def apply(self, image: Image, _rng: Generator, /) -> Image:
        """8-bit levels."""
        return self.equalisation.apply(image, per_image=self.per_image)


@dataclass(frozen=True, slots=True, eq=False)
class _Rings:
    """Where each coefficient of a half spectrum (H, W // 2 + 1) belongs."""

    ring: NDArray[np.int64]  # (H, W // 2 + 1)
    weight: NDArray[np.float64]  # (H, W // 2 + 1): 2 where the other half holds the conjugate
    counts: NDArray[np.float64]  # (K,) coefficients of the whole spectrum
    left: NDArray[np.int64]  # (H, W // 2 + 1) ring at whose mean radius or beyond a coefficient lies
    share: NDArray[np.float64]  # (H, W // 2 + 1) of the way to the next ring's mean radius


def _check_options(limits: tuple[float, float], means: str) -> None:
    if means not in MEANS:
        raise ConfigError(f"means is one of {', '.join(MEANS)}, found {means!r}")
    if not 0 < limits[0] <= 1 <= limits[1] < np.inf:
        raise ConfigError(f"the limits of a gain lie above 0 and on both sides of 1, found {limits}")


def _n_rings(height: int, width: int) -> int:
    return int(_rings(height, width).ring.max()) + 1


@lru_cache(maxsize=8)
def _rings(height: int, width: int) -> _Rings:
    side = min(height, width)
    # Whole numbers before the root where the image is square, so that none is rounded across a ring's edge.
    rows = np.rint(np.fft.fftfreq(height, 1 / height))[:, None] * side / height
    columns = np.arange(width // 2 + 1) * side / width
    radius = np.sqrt(rows**2 + columns**2)
    ring = radius.astype(np.int64)
    weight = np.full(radius.shape, 2.0)
    weight[:, 0] = 1
    if width % 2 == 0:
        weight[:, -1] = 1
    counts = np.bincount(ring.ravel(), weight.ravel()).astype(np.float64)
    sums = np.bincount(ring.ravel(), (weight * radius).ravel())
    middle = np.where(counts > 0, sums / np.maximum(counts, 1), np.arange(len(counts)) + 0.5)
    left = np.clip(np.searchsorted(middle, radius, side="right") - 1, 0, len(middle) - 1)
    # Only DC takes the gain of ring 0, which is 1 whatever its neighbours need.
    left[(left == 0) & (radius > 0)] = min(1, len(middle) - 1)
    width_of_step = np.append(np.diff(middle), 1.0)[left]
    share = np.clip((radius - middle[left]) / width_of_step, 0, 1)
    return _Rings(ring, weight, counts, left, share)


def _ring_amplitudes(image: NDArray[Any], means: str) -> NDArray[np.float64]:
    """(3, H, W) → (3, K): mean amplitude of each ring, or its mean logarithm."""
    rings = _rings(*image.shape[1:])
    found = np.empty((3, len(rings.counts)))
    for plane, row in zip(image, found, strict=True):
        values = np.abs(np.fft.rfft2(plane.astype(np.float64)))
        if means == "log":
            values = np.log(np.maximum(values, SMALLEST))
        row[:] = np.bincount(rings.ring.ravel(), (values * rings.weight).ravel())
    found /= np.maximum(rings.counts, 1)
    return found


def _averaged(rings: NDArray[np.float64], means: str) -> NDArray[np.float64]:
    return np.exp(rings) if means == "log" else rings


def _mean_amplitudes(
    pictures: Iterable[NDArray[Any]], kind: str, means: str, size: tuple[int, int] | None
) -> tuple[tuple[int, int], NDArray[np.float64], int]:
    """(size, mean over images (3, K), number of images)."""
    total: NDArray[np.float64] | None = None
    n = 0
    for picture in pictures:
        check_pixels(picture)
        found = (picture.shape[1], picture.shape[2])
        if size is not None and found != size:
            raise ImageError(
                f"number {n + 1} of the {kind} has {found[1]} × {found[0]} pixels, those before it have "
                f"{size[1]} × {size[0]}: a ring must mean one frequency; crop all alike (`tellsign data "
                "harmonise`)"
            )
        size = found
        rings = _ring_amplitudes(picture, means)
        total = rings if total is None else total + rings
        n += 1
    if total is None or size is None:
        raise ConfigError(f"there are no {kind} to equalise with; give at least one image")
    return size, _averaged(total / n, means), n


def _content(path: Path | str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"the equalisation {str(path)!a} cannot be read: {error}") from error
