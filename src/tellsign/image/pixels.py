"""An opened picture → sRGB samples: sample depths, palettes, inks, alpha and colour profiles.

Shapes: H W pixels; samples are (H, W, 3), or (H, W) for grey; an image array is (3, H, W).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import PIL.ImageChops

from tellsign.image import colour
from tellsign.image.jpeg import fast_pixels, planar
from tellsign.types import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_GREY_MODES = {"1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "F"}

# Tag numbers of TIFF 6.0
_SUBFILE_TYPE, _BITS, _COMPRESSION, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 254, 258, 259, 262, 284, 339
_DNG_VERSION = 50706


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Decoded sRGB samples before they become an image array."""

    values: NDArray[Any]  # (H, W, 3) or (H, W); uint8, uint16 or float32
    white: float  # the sample value that means 1
    alpha: NDArray[Any] | None = None  # (H, W), on the same scale; None where all is opaque


def read_samples(
    picture: Any, data: bytes, reopened: Callable[[], Any], notes: list[str]
) -> tuple[Samples, str | None]:
    """Loads an opened picture and converts it to sRGB.

    Args:    picture: as opened by Pillow, not loaded. data: the file. reopened: opens it once more.
             notes: warnings are appended.
    Returns: (samples in the file's own orientation, description of the colour profile or None).
    Raises:  ImageError: samples without a defined range; whatever Pillow raises.
    """
    _refuse_misread_tiff(picture)
    profile = _profile(picture, notes)
    description = profile.description if profile else None
    transform = profile if profile and profile.applied else None
    if picture.format in {"JPEG", "MPO"} and picture.mode in {"RGB", "L"} and transform is None:
        pixels, complaint = fast_pixels(data, picture.mode)
        if pixels is not None:
            return Samples(pixels, 255), description
        if "Corrupt" in complaint or "Inconsistent" in complaint:
            notes.append(f"the JPEG data are damaged ({complaint}); parts of the picture may be wrong")
    raw_mode = _raw_mode(picture)
    if raw_mode.endswith((";16B", ";16L", ";16N")) and picture.mode in {"RGB", "RGBA", "CMYK"}:
        if transform is None and (deep := _sixteen_bit_colour(picture, raw_mode, reopened, notes)):
            return deep, description
        notes.append("16 bits per sample reduced to 8 for the colour conversion")
    picture.load()
    if picture.mode.startswith(("I", "F")):
        if transform is None:
            return _deep_grey(picture, notes), description
        notes.append("16 bits per sample reduced to 8 for the colour conversion")
        deep = _deep_grey(picture, notes)
        picture = PIL.Image.fromarray(np.rint(deep.values * (255 / deep.white)).astype(np.uint8))
        samples = replace(_eight_bit(picture, transform, notes), alpha=_rescaled(deep.alpha, deep.white))
        return samples, description
    return _eight_bit(picture, transform, notes), description


def image_array(samples: Samples, orientation: int, notes: list[str]) -> NDArray[np.float32]:
    """Samples turned upright, as planes in [0, 1], over white where they are transparent.

    Args:    samples: in the file's own orientation. orientation: EXIF, 1 to 8. notes: warnings are appended.
    Returns: (3, H, W) float32, C-contiguous.
    """
    array = planar(upright(samples.values, orientation), samples.white)
    if samples.alpha is not None:
        notes.append("transparent parts were laid over white")
        alpha = upright(samples.alpha, orientation) / np.float32(samples.white)
        # 1 - a(1 - c) and not ca + (1 - a): the same number, but never above 1 by rounding.
        np.subtract(1, array, out=array)
        array *= alpha
        np.subtract(1, array, out=array)
    return array


def upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A view of the samples with the EXIF orientation undone.

    Exif 2.32, tag 0x0112: 2 to 4 mirror, 5 to 8 also exchange rows and columns.

    Args:    values: (H, W, …); orientation: 1 to 8.
    Returns: (H, W, …), or (W, H, …) for 5 to 8.
    """
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        values = values[::-1]
    if orientation in {2, 3, 6, 7}:
        values = values[:, ::-1]
    return values


def _profile(picture: Any, notes: list[str]) -> colour.Conversion | None:
    """The embedded profile, or None (and a note) where there is none that fits the picture."""
    data = picture.info.get("icc_profile")
    if not isinstance(data, bytes) or not data:
        return None
    try:
        found = colour.conversion(data)
    except ValueError as error:
        notes.append(f"{error}; colours are taken as sRGB")
        return None
    kind = "L" if picture.mode in _GREY_MODES else picture.mode
    kind = kind if kind in {"L", "CMYK", "LAB"} else "RGB"
    if found.mode == kind or (found.mode == "RGB" and kind == "L"):
        return found
    notes.append(
        f"the colour profile is for {found.mode}, the picture is {picture.mode}; the profile is ignored"
    )
    return None


def _refuse_misread_tiff(picture: Any) -> None:
    """Pillow reads some TIFF layouts without an error, but wrongly."""
    tags = getattr(picture, "tag_v2", None)
    if tags is None:
        return
    if tags.get(_SUBFILE_TYPE, 0) & 1 or _DNG_VERSION in tags:
        raise ImageError(
            "this is a camera raw file (its first picture is only a preview): develop it first, "
            "or take the JPEG that the camera wrote beside it"
        )
    if 2 in tags.get(_SAMPLE_FORMAT, ()):
        raise ImageError(
            "signed TIFF samples have no defined white; save the picture as 8 or 16 bits unsigned"
        )
    planes = tags.get(_PLANAR, 1) == 2
    if planes and tags.get(_COMPRESSION, 1) == 1 and max(tags.get(_BITS, (8,))) > 8:
        raise ImageError(
            "uncompressed TIFF with separate 16-bit planes cannot be read; "
            "save it with PlanarConfiguration 1 (chunky)"
        )


def _raw_mode(picture: Any) -> str:
    """The sample layout in the file, by Pillow's name, such as RGB;16B."""
    if not picture.tile:
        return ""
    args = picture.tile[0].args
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _sixteen_bit_colour(
    picture: Any, raw_mode: str, reopened: Callable[[], Any], notes: list[str]
) -> Samples | None:
    """All 16 bits of colour samples, of which Pillow keeps the high byte only.

    Read once more as if the byte order were the other one, the same file gives the low bytes.
    """
    second = reopened()
    if raw_mode == "LA;16B":
        _retile(second, "RGBA")
        second.load()
        grey_alpha = np.asarray(second).view(">u2").astype(np.uint16)
        return Samples(grey_alpha[..., 0], 65535, _unless_opaque(grey_alpha[..., 1], 65535))
    layout, order = raw_mode[:-1], raw_mode[-1]
    if layout not in {"RGB;16", "RGBX;16", "RGBA;16"}:
        return None  # premultiplied alpha and inks
    big_endian = order == "B" or (order == "N" and sys.byteorder == "big")
    _retile(second, layout + ("L" if big_endian else "B"))
    second.load()
    picture.load()
    values = np.asarray(picture).astype(np.uint16) << 8 | np.asarray(second)
    alpha = values[..., 3] if values.shape[2] == 4 else _keyed_alpha(values, picture, notes)
    return Samples(values[..., :3], 65535, _unless_opaque(alpha, 65535))


def _retile(picture: Any, raw_mode: str) -> None:
    picture.tile = [
        tile._replace(args=raw_mode if isinstance(tile.args, str) else (raw_mode, *tile.args[1:]))
        for tile in picture.tile
    ]


def _deep_grey(picture: Any, notes: list[str]) -> Samples:
    """Grey samples of more than 8 bits."""
    tags = getattr(picture, "tag_v2", {})
    values = np.asarray(picture)
    if picture.mode == "F":
        values, white = _checked_float(values), 1.0
    elif picture.mode.startswith("I;16"):
        white = float((1 << tags.get(_BITS, (16,))[0]) - 1)
        values = values.astype(np.uint16)
    else:
        raise ImageError("32-bit integer samples have no defined white; save the picture as 8 or 16 bits")
    alpha = None if tags else _keyed_alpha(values, picture, notes)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero, which Pillow leaves to the caller at these depths
        values = (white - values).astype(values.dtype)
    return Samples(values, white, _unless_opaque(alpha, white))


def _checked_float(values: NDArray[Any]) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise ImageError("the float samples hold NaN or infinite values; save the picture with finite ones")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise ImageError(
            f"float samples from {low:g} to {high:g}, expected 0 to 1; units are never guessed: "
            "divide by the white level (255 or 65535, for instance) and save again"
        )
    return values.astype(np.float32)


def _keyed_alpha(values: NDArray[Any], picture: Any, notes: list[str]) -> NDArray[np.uint16] | None:
    """Alpha from a PNG's tRNS chunk, which names one transparent colour."""
    key = picture.info.get("transparency")
    if key is None:
        return None
    try:
        differs = values != np.asarray(key, dtype=values.dtype)
        opaque = differs.any(axis=2) if values.ndim == 3 else differs
        return np.where(opaque, 65535, 0).astype(np.uint16)
    except (ValueError, OverflowError, TypeError):
        notes.append("the transparent colour is not readable; the picture is taken as opaque")
        return None


def _unless_opaque(alpha: NDArray[Any] | None, white: float) -> NDArray[Any] | None:
    return None if alpha is None or (alpha == white).all() else alpha


def _rescaled(alpha: NDArray[Any] | None, white: float) -> NDArray[np.float32] | None:
    return None if alpha is None else alpha * np.float32(255 / white)


def _eight_bit(picture: PIL.Image.Image, profile: colour.Conversion | None, notes: list[str]) -> Samples:
    alpha = None
    if picture.has_transparency_data:
        if picture.mode in {"La", "RGBa"}:
            picture = picture.convert(picture.mode.replace("a", "A"))
        picture = picture.convert("RGBA")
        alpha = _unless_opaque(np.asarray(picture.getchannel("A")), 255)
        picture = picture.convert("RGB")
    if picture.mode == "CMYK" and picture.format in {"JPEG", "MPO"} and "adobe" not in picture.info:
        # Pillow takes all JPEG inks as inverted, which only files with Adobe's marker are.
        picture = PIL.ImageChops.invert(picture)
        notes.append("CMYK JPEG without Adobe's marker: inks taken as not inverted")
    if profile is not None and profile.applied is not None:
        picture = profile.applied(picture if picture.mode == profile.mode else picture.convert(profile.mode))
    elif picture.mode == "LAB":
        picture = colour.lab_transform().apply(picture)
    elif picture.mode == "CMYK":
        picture = picture.convert("RGB")
        notes.append("CMYK without a colour profile: converted by the plain formula, colours are approximate")
    elif picture.mode != "RGB":
        picture = picture.convert("L" if picture.mode in {"1", "L"} else "RGB")
    return Samples(np.asarray(picture), 255, alpha)
