"""The picture of a sample, if its file is still the one that the manifest means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tellsign import image
from tellsign.types import ImageError

if TYPE_CHECKING:
    from tellsign.types import Sample


def picture(sample: Sample) -> image.Image:
    """The decoded file of a sample.

    Args:    sample: of a manifest.
    Returns: the image.
    Raises:  ImageError: the file is no usable image, or has another checksum than the sample; the message
             does not name it.
    """
    found = image.decode(sample.path)
    if sample.sha256 not in ("", found.meta.sha256):
        raise ImageError(
            f"the file has changed: its sha256 is {found.meta.sha256}, the manifest says {sample.sha256}; "
            "index the data again"
        )
    return found
