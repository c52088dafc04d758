"""The picture of a sample, if its file is still the one that the manifest means, and what is looked at in it.

Shapes: H W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tellsign import faces
from tellsign.data.pixels import decoded
from tellsign.types import NoFaceError, TooSmallError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tellsign.image import Image
    from tellsign.types import FloatArray, Sample

Found = TypeVar("Found")


def picture(sample: Sample) -> Image:
    """The decoded file of a sample.

    Args:    sample: of a manifest.
    Returns: the image.
    Raises:  ImageError: the file is no usable image, or has another checksum than the sample; the message
             does not name it.
    """
    return decoded(sample.path, sample.sha256)


def looked_at(sample: Sample, region: str, look: Callable[[FloatArray], Found]) -> list[Found]:
    """What a detector makes of a sample: of the whole picture, or of each face as a scan crops it.

    Args:    sample: of a manifest.
             region: image or face.
             look: (3, H, W) in [0, 1] → what is wanted of it; raises TooSmallError where that is nothing.
    Returns: one for the picture, or one for each face that is large enough, surest first.
    Raises:  NoFaceError: there is no such face. ImageError: as for `picture`, or what `look` raises.
    """
    array = picture(sample).array
    if region == "image":
        return [look(array)]
    found, reason = [], "no face was found"
    for crop in faces.crops(array):
        try:
            found.append(look(crop))
        except TooSmallError as error:
            reason = str(error)
    if not found:
        raise NoFaceError(reason)
    return found
