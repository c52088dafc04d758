"""Embedded colour profiles: whether they are sRGB, and the conversion to sRGB where they are not.

Conversions use the profile's perceptual intent through Little CMS at 8 bits per channel.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.ImageCms import ImageCmsTransform

# Colour space of a profile → mode of the pictures that it describes.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}

_LEVELS = np.arange(256, dtype=np.uint8)[None]


@dataclass(frozen=True, slots=True, eq=False)
class Conversion:
    """The way from an embedded profile to sRGB."""

    description: str  # the profile's own name
    mode: str  # RGB, L, CMYK or LAB: the pictures that it applies to
    applied: Callable[[PIL.Image.Image], PIL.Image.Image] | None  # None where the profile is sRGB already


@lru_cache(maxsize=32)
def conversion(profile: bytes) -> Conversion:
    """The conversion from a profile to sRGB.

    A profile counts as sRGB when it moves none of 18³ colours (256 grey levels) by more than one level of
    255: a name proves nothing, and equal colours need no conversion.

    Args:    profile: an ICC profile.
    Returns: its description, and what converts a picture to mode RGB in sRGB.
    Raises:  ValueError: the profile is damaged, or describes no RGB, grey, CMYK or Lab space.
    """
    from PIL import ImageCms  # only pictures with a profile pay for it

    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        description = "".join(c for c in ImageCms.getProfileDescription(opened) if c.isprintable()).strip()
        mode = _MODES[space]
        # Little CMS interpolates grey curves too coarsely; 256 levels need no shortcut.
        flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)
    except Exception as error:
        raise ValueError(f"the colour profile is damaged or of an unknown kind ({error})") from error
    if mode in {"RGB", "L"} and _largest_change(transform, mode) <= 1:
        return Conversion(description, mode, None)
    if mode == "L":
        levels = np.asarray(transform.apply(PIL.Image.fromarray(_LEVELS)))[0]
        return Conversion(description, mode, lambda grey: PIL.Image.fromarray(levels[np.asarray(grey)]))
    return Conversion(description, mode, transform.apply)


def lab_transform() -> ImageCmsTransform:
    """The conversion from CIELab (D50), as TIFF defines it, to sRGB."""
    from PIL import ImageCms

    return ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )


def _largest_change(transform: ImageCmsTransform, mode: str) -> int:
    levels = _LEVELS
    if mode == "RGB":
        steps = levels[0, ::15]  # 18 levels with both ends
        levels = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    before = np.asarray(PIL.Image.fromarray(levels).convert("RGB")).astype(int)
    after = np.asarray(transform.apply(PIL.Image.fromarray(levels))).astype(int)
    return int(np.abs(after - before).max())
