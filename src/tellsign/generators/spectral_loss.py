"""Spectral regularisation: a loss that moves the spectrum of generated images to that of real ones.

Durall, Keuper and Keuper, "Watch your Up-Convolution: CNN Based Generative Deep Neural Networks are Failing
to Reproduce Spectral Distributions", CVPR 2020, section 4.2. One line in a training loop:

    spectral = SpectralLoss.from_images(reals, weight=15)
    loss = adversarial + spectral(generator(z))

The paper adds the binary cross-entropy between the profile of an image and the mean profile of real ones.
Its authors' code does something else: it takes both profiles from detached arrays, exchanges the two sides of
the cross-entropy, and multiplies the adversarial loss by the result, so that the gradient only becomes a
little longer. That form is in tests/reference; this is the paper's, with a gradient.

A profile is that of `tellsign.features.spectrum`, preset "official", in dB; its mean over the images of a
batch is held against the mean over real images. Both are brought into [0, 1] by one scale, which the real
profile sets: its smallest and its largest ring, and 60 dB beyond each. So a dB is worth the same at every
frequency, and contrast counts.

Other scales are not offered. The published code scales each image by its own smallest and largest ring, by
which any straight line in dB disappears: after 200 steps an auto-encoder of scenes had come hardly nearer in
dB, at four times the error. The paper's eq. 11 divides the power of each ring by that of DC; where amplitudes
fall with 1/f, as in ordinary pictures, the rings are then at a thousandth or less from a quarter of the band
on, and the cross-entropy hardly sees the frequencies that it is there to correct. The mean over a batch, in
place of each image's own profile, leaves a clear sky clear: single faces lie 3 dB from the mean of all, and
generated ones together 1 dB. The auto-encoder came as near by it, at 1.38 times the error in place of 1.50.

An empty frequency, as after pixels were repeated and nothing else, has a logarithm of rounding errors, and
with the constant of the published code, 1e-8, a gradient of them that outweighs all others. Here a
coefficient counts for nothing that is below a tenth of what rounding to 8 bits adds to it: no file holds
less. On ordinary pictures that moves a mean profile by 0.04 dB at most. A ring that is 60 dB beyond the real
profile has no gradient at all.

Shapes: B batch, C channels, H W pixels, K rings, N images.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional

from tellsign.features.spectrum import DECIBEL, n_rings, profile
from tellsign.generators.luma import UNIT, Range, check_range, luma
from tellsign.generators.uncompiled import uncompiled
from tellsign.types import ConfigError, ImageError, TooSmallError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

MIN_REALS = 100  # images that a real profile is the mean of; the paper takes 1000
MIN_RINGS = 3  # fewer say nothing of a spectrum's shape
MARGIN = 60.0  # dB beyond the real profile's smallest and largest ring
CLAMP = 1e-6  # beyond that margin a profile would leave [0, 1]
# Of a coefficient, for each pixel of a side, as noise of deviation s has S s: a tenth of what rounding adds.
FLOOR = 0.1 / (255 * math.sqrt(12))


class SpectralTerms(NamedTuple):
    """The loss before its weight, and what of it can be gained."""

    bce: Tensor  # () binary cross-entropy between the mean profile and the real one, mean over rings
    kl: Tensor  # () bce less the real profile's own entropy: 0 where the profile is the real one


class SpectralLoss(torch.nn.Module):
    """(B, C, H, W) images of a generator → how far their spectrum is from that of real images, times λ.

    Implements Durall et al. (2020), eqs. 10 and 11. Deviates: profiles are those of the published code, of
    logarithms with a floor, scaled by the real one and not divided by DC, and the mean over the batch is
    compared (head of this module); the loss is a mean over all K rings, where the paper sums M/2 and divides
    by M/2 - 1; profiles are clamped to [1e-6, 1 - 1e-6].

    It has no parameters; the real profile is a buffer, moves with `.to(device)` and is saved with the module.
    Computes in float32 at least, whatever autocast says. Under `torch.compile` it runs as it is, between the
    compiled parts.
    """

    target: Tensor  # (K,) float32, the real profile in dB

    def __init__(
        self,
        real_profile: Any,
        *,
        weight: float = 1.0,
        value_range: Range | None = UNIT,
        side: int | None = None,
    ) -> None:
        """Take a real profile over.

        Args:    real_profile: (K,) mean of `log_profiles` of real images, as `from_images` computes it.
                 weight: λ. The paper has 0.5 for auto-encoders and for LSGAN, and 2 for DCGAN, on another
                     scale.
                 value_range: lowest and highest value of the generator's images, (-1, 1) behind a tanh; it
                     becomes [0, 1], and what is measured is held against it. None: images are unbounded and
                     taken as they are.
                 side: S of the real images, which those of the generator must have too. None: the number of
                     rings alone is held against theirs, which 127 and 128 pixels have in common.
        Raises:  ConfigError: λ is negative or not finite, the range or the profile is none.
        """
        super().__init__()
        _check_weight(weight)
        check_range(value_range)
        target = torch.as_tensor(real_profile).detach().to(torch.float32, copy=True)
        if target.ndim != 1 or len(target) < MIN_RINGS:
            raise ConfigError(
                f"a real profile is (K,) with K at least {MIN_RINGS}, found shape {tuple(target.shape)}"
            )
        if not target.isfinite().all():
            raise ConfigError(
                f"a real profile is finite, found {target.min():g} to {target.max():g}: leave out the "
                "images that are constant or hold such values"
            )
        self.weight = float(weight)
        self.value_range = value_range
        self.side = side
        self.register_buffer("target", target)

    @classmethod
    def from_images(
        cls,
        real_images: Tensor | Iterable[Tensor],
        *,
        weight: float = 1.0,
        value_range: Range | None = UNIT,
    ) -> SpectralLoss:
        """The loss for a set of real images.

        Args:    real_images: (N, C, H, W), or such batches one after the other; at least 100 images of the
                     size, the range and the origin that the generator is to have. The paper takes 1000.
                 weight, value_range: as for the constructor; the range is that of the real images too.
        Returns: the loss.
        Raises:  ConfigError: there are fewer than 100 images, or an option is none.
                 ImageError: images are not square, not of one size, constant, or leave the range.
                 TooSmallError: they are too small for a profile.
        """
        _check_weight(weight)  # before the long work
        check_range(value_range)
        batches = (real_images,) if isinstance(real_images, torch.Tensor) else real_images
        total: Tensor | None = None
        n, side = 0, 0
        with torch.no_grad():
            for batch in batches:
                rows = log_profiles(batch, value_range).double()
                if total is not None and batch.shape[-1] != side:
                    raise ImageError(
                        f"real images behind the first {n} have {batch.shape[-1]} pixels a side, those "
                        f"before {side}: crop all to one size"
                    )
                total = rows.sum(dim=0) if total is None else total + rows.sum(dim=0)
                n, side = n + len(rows), batch.shape[-1]
        if total is None or n < MIN_REALS:
            raise ConfigError(
                f"a real profile is the mean of at least {MIN_REALS} images, found {n}: the profiles of "
                "single images differ more than those of real and generated ones; give more, 1000 if you can"
            )
        return cls(total / n, weight=weight, value_range=value_range, side=side)

    @property
    def entropy(self) -> Tensor:
        """() the least value that the cross-entropy can take, where a profile equals the real one."""
        (target,) = self._scaled()
        found: Tensor = (torch.special.entr(target) + torch.special.entr(1 - target)).mean()
        return found

    @uncompiled
    def forward(self, images: Tensor) -> Tensor:
        """λ times the cross-entropy, to be added to a generator's loss.

        Args:    images: (B, C, H, W) floating point, C = 1 or 3, of the size of the real ones.
        Returns: () with a gradient to the images.
        Raises:  ImageError: the images are not square, of another size than the real ones, not finite,
                 constant, or leave the range. TooSmallError: they are too small for a profile.
        """
        loss: Tensor = self.weight * self._cross_entropy(self._mean(images))
        return loss

    @uncompiled
    def terms(self, images: Tensor) -> SpectralTerms:
        """What to log: the cross-entropy has a floor, the Kullback-Leibler part goes down to 0.

        Args:    images: as for `forward`.
        Returns: both without λ; `weight * terms.bce` is what `forward` gives.
        Raises:  ImageError, TooSmallError: as for `forward`.
        """
        return self.terms_of(self._mean(images))

    def terms_of(self, mean: Tensor) -> SpectralTerms:
        """`terms` of images whose mean profile is known.

        Args:    mean: (K,) float32 or float64, in dB.
        Returns: both without λ.
        """
        bce = self._cross_entropy(mean)
        return SpectralTerms(bce, bce - self.entropy.to(mean))

    def _mean(self, images: Tensor) -> Tensor:
        """(K,) in dB, of images that were checked."""
        found = log_profiles(images, self.value_range)
        if self.side is not None and images.shape[-1] != self.side:
            raise ImageError(
                f"images of {images.shape[2]} x {images.shape[3]} pixels, and real ones of {self.side} x "
                f"{self.side}: real and generated images must have one size"
            )
        if found.shape[1] != len(self.target):
            raise ImageError(
                f"images of {images.shape[2]} x {images.shape[3]} pixels have a profile of {found.shape[1]} "
                f"rings, the real one has {len(self.target)}: real and generated images must have one size"
            )
        return found.mean(dim=0)

    def _cross_entropy(self, mean: Tensor) -> Tensor:
        output, target = self._scaled(mean)
        with torch.autocast(mean.device.type, enabled=False):  # which would refuse the cross-entropy
            return functional.binary_cross_entropy(output, target)

    def _scaled(self, *profiles: Tensor) -> list[Tensor]:
        """Profiles between 0 and 1, on the scale of the real one, which is the last of them."""
        target = self.target.to(profiles[0]) if profiles else self.target
        low, high = target.min() - MARGIN, target.max() + MARGIN
        return [((rows - low) / (high - low)).clamp(CLAMP, 1 - CLAMP) for rows in (*profiles, target)]


def log_profiles(images: Tensor, value_range: Range | None) -> Tensor:
    """The profile of each image in dB, of coefficients beyond the floor.

    Args:    images: (B, C, H, W) floating point, C = 1 or 3, square.
             value_range: of them, which becomes [0, 1]; None: they are taken as they are.
    Returns: (B, K) float32 or float64, with the gradient of the images.
    Raises:  ImageError: as for `grey_images`. TooSmallError: the images are too small.
    """
    plane = luma(images, value_range)
    height, width = plane.shape[1:]
    if height < 4 or n_rings(height, width) < MIN_RINGS:
        raise TooSmallError(
            f"images of {height} x {width} pixels have fewer than {MIN_RINGS} rings in their spectrum: "
            "take images of 7 x 7 pixels or more"
        )
    with torch.autocast(plane.device.type, enabled=False):
        rows: Tensor = DECIBEL * profile(plane, preset="official", normalise="none", floor=FLOOR * height)
    return rows


def _check_weight(weight: float) -> None:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
        raise ConfigError(f"the weight of the loss is 0 or more and finite, found {weight!r}")
