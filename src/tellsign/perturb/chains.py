"""Several operations in a row: the protocol of Yu et al. (2019), called +P, and what platforms do to uploads.

+P has no official code. The parameters are those on which a re-implementation that quotes the paper and
GANDCTAnalysis agree; the latter's defects (a fixed JPEG quality, a deviation in place of a variance, a wrong
sigma, one operation in place of a chain) are not inherited: see docs/perturbations.md.

Shapes: H W pixels; an image is (3, H, W) float32 sRGB in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tellsign import image as images
from tellsign.perturb.operations import Blur, Crop, Jpeg, Noise, Operation, Position, check_number
from tellsign.types import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

    Image = NDArray[np.float32]

CROP_FRACTIONS = (0.05, 0.2)
BLUR_KERNELS = (1, 3, 5, 7, 9)
JPEG_QUALITIES = (10, 75)
NOISE_VARIANCES = (5.0, 20.0)
ORDERS = {"yu": ("crop", "blur", "jpeg", "noise"), "listed": ("jpeg", "blur", "crop", "noise")}


@dataclass(frozen=True, slots=True)
class Combined:
    """+P: crop, blur, JPEG and noise in a row, each with a chance, their strengths drawn for each image."""

    p: float = field(default=0.5, kw_only=True)  # chance of each operation
    order: Literal["yu", "listed"] = field(default="yu", kw_only=True)  # listed: JPEG, blur, crop, noise
    position: Position = field(default="centre", kw_only=True)  # of the crop

    def __post_init__(self) -> None:
        check_number("p", self.p, 0, 1)

    def drawn(self, rng: Generator) -> tuple[Operation, ...]:
        """The operations that one image gets, in order.

        Args:    rng: of the image; what it gives next is for the operations themselves.
        Returns: none to four of them; without a chance less than 1, all four.
        """
        chances = rng.random(4)
        # All strengths are drawn, so that one operation's chance doesn't move another's strength.
        strengths: dict[str, Operation] = {
            "crop": Crop(float(rng.uniform(*CROP_FRACTIONS)), self.position),
            "blur": Blur(int(rng.choice(BLUR_KERNELS))),
            "jpeg": Jpeg(int(rng.integers(*JPEG_QUALITIES, endpoint=True))),
            "noise": Noise(float(rng.uniform(*NOISE_VARIANCES))),
        }
        taken = {name for name, chance in zip(strengths, chances, strict=True) if chance < self.p}
        return tuple(strengths[name] for name in ORDERS[self.order] if name in taken)

    def apply(self, image: Image, rng: Generator, /) -> Image:
        """The drawn operations one after the other."""
        for operation in self.drawn(rng):
            image = operation.apply(image, rng)
        return image


@dataclass(frozen=True, slots=True)
class Platform:
    """An upload: shrunk until it fits, then saved as JPEG, once for each time that it is passed on."""

    side: int  # pixels of the longer side; pictures that are no larger keep their size
    qualities: tuple[int, ...] = (85,)  # of the JPEGs, first to last

    def __post_init__(self) -> None:
        check_number("side", self.side, 1, 65535, whole=True)
        if not self.qualities:
            raise ConfigError("a platform saves a JPEG at least once; give a quality, as platform:1080:85")
        for quality in self.qualities:
            check_number("quality", quality, 1, 100, whole=True)

    def apply(self, image: Image, rng: Generator, /) -> Image:
        """8-bit levels; the filter is Lanczos, as in the libraries that servers resize with."""
        height, width = image.shape[1:]
        if max(height, width) > self.side:
            factor = self.side / max(height, width)
            size = (max(1, round(length * factor)) for length in (height, width))
            image = images.resize(image, *size, filter="lanczos")
        for quality in self.qualities:
            image = Jpeg(quality).apply(image, rng)
        return image
