"""What a generator gives → grey images in [0, 1], checked: what both spectral terms look at.

The range of the values is stated and never guessed; whether they keep to it is measured on every batch.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from tellsign.features.spectrum import GREY
from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from torch import Tensor

Range = tuple[float, float]  # lowest and highest value

UNIT = (0.0, 1.0)
SLACK = 0.02  # of the range's width, by which rounding and resampling may overshoot it


def luma(images: Tensor, value_range: Range | None) -> Tensor:
    """Grey images in [0, 1], in float32 or float64.

    Args:    images, value_range: as for `grey_images`; the range is mapped to [0, 1].
    Returns: (B, H, W), with the gradient of the images; unbounded ones as they are.
    Raises:  ImageError: as for `grey_images`.
    """
    plane = grey_images(images, value_range)
    if value_range is None:
        return plane
    low, high = value_range
    return (plane - low).div_(high - low)  # of a new tensor: here most of the time goes into memory


def grey_images(images: Tensor, value_range: Range | None) -> Tensor:
    """Grey images in their own range, in float32 or float64.

    Half precision becomes float32, because there is no Fourier transform of it.

    Args:    images: (B, C, H, W) floating point, C = 1 or 3, square, B at least 1.
             value_range: of the images; None: unbounded.
    Returns: (B, H, W), with the gradient of the images.
    Raises:  ImageError: the images have another shape or type, are not square, are not finite, leave the
                 range, or one is constant and so has no spectrum.
    """
    if not isinstance(images, torch.Tensor):
        raise ImageError(
            f"expected a tensor of images, found {type(images).__name__}: take the images out of what a "
            "loader gives, and make tensors of NumPy arrays with torch.from_numpy"
        )
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ImageError(
            f"expected images of shape (B, 3, H, W) or (B, 1, H, W), found {tuple(images.shape)}: colour "
            "channels come before rows, and a single image needs a batch axis, images[None]"
        )
    if not images.is_floating_point():
        raise ImageError(f"expected floating-point images, found {images.dtype}: divide 8-bit levels by 255")
    height, width = images.shape[2:]
    if height != width:
        raise ImageError(
            f"images of {height} x {width} pixels are not square, so that a ring of the spectrum would join "
            "unequal frequencies: crop them to a square"
        )
    values = images if images.dtype == torch.float64 else images.float()
    plane = _grey(values)
    _check_values(values.detach(), plane.detach(), value_range)
    return plane


def _grey(images: Tensor) -> Tensor:
    """`tellsign.features.spectrum.grey` with less traffic."""
    if images.shape[1] == 1:
        return images[:, 0]
    (red, green, blue), weights = images.unbind(1), GREY
    return (weights[0] * red).add_(green, alpha=weights[1]).add_(blue, alpha=weights[2])


def varied(images: Tensor) -> Tensor:
    """Which images have a spectrum: those of more than one colour.

    Args:    images: (B, C, H, W).
    Returns: (B,) bool.
    """
    return (images.amin(dim=(2, 3)) != images.amax(dim=(2, 3))).any(dim=1)


def check_range(value_range: Range | None) -> None:
    """Raises ConfigError where a range is none: two finite numbers, the smaller first."""
    if value_range is None:
        return
    pair: Any = value_range
    whole = (
        isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(end, (int, float)) for end in pair)
    )
    if not whole or not all(map(math.isfinite, pair)) or pair[0] >= pair[1]:
        raise ConfigError(
            f"value_range is (lowest, highest), such as (0, 1) or (-1, 1), or None; found {value_range!r}"
        )


def _check_values(images: Tensor, plane: Tensor, value_range: Range | None) -> None:
    # Not aminmax, which along an axis takes twenty times as long on a processor.
    least, most = images.amin(), images.amax()
    constant = plane.amin(dim=(1, 2)) == plane.amax(dim=(1, 2))
    # In one transfer: on a GPU each of them waits for all that was asked of it before.
    low, high, n_constant = torch.stack((least, most, constant.sum().to(least.dtype))).tolist()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError(
            f"the images hold values that are not finite (smallest {low}, largest {high}): the network that "
            "made them has diverged; lower its learning rate or the weight of the loss"
        )
    if value_range is not None:
        slack = SLACK * (value_range[1] - value_range[0])
        if low < value_range[0] - slack or high > value_range[1] + slack:
            raise ImageError(
                f"the images hold values from {low:g} to {high:g}, outside of the stated range "
                f"{value_range[0]:g} to {value_range[1]:g}: state the generator's own range, such as "
                "value_range=(-1, 1) behind a tanh, or value_range=None where its output is unbounded"
            )
    if n_constant:
        first = int(constant.nonzero()[0, 0])
        raise ImageError(
            f"{n_constant:g} of {len(images)} images are constant, the first is number {first}: they have no "
            "spectrum; expected pictures. A generator that gives such images has collapsed"
        )
