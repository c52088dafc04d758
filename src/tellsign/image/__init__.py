"""Bytes or a path → a validated sRGB array with its metadata; crops, resizing, JPEG, harmonising.

Shapes: H W pixels; an image array is (3, H, W) float32 sRGB in [0, 1].
"""

from tellsign.image.crops import (
    centre_crop,
    crop,
    crop_corners,
    harmonise,
    harmonised_jpeg,
    resize,
    square_crops,
)
from tellsign.image.decoding import MAX_PIXELS, Image, ImageMeta, decode
from tellsign.image.exif import PRIVATE_EXIF, is_private, public_exif
from tellsign.image.jpeg import (
    estimate_jpeg_quality,
    is_standard_jpeg,
    jpeg_bytes,
    jpeg_round_trip,
    standard_tables,
)

__all__ = [
    "MAX_PIXELS",
    "PRIVATE_EXIF",
    "Image",
    "ImageMeta",
    "centre_crop",
    "crop",
    "crop_corners",
    "decode",
    "estimate_jpeg_quality",
    "harmonise",
    "harmonised_jpeg",
    "is_private",
    "is_standard_jpeg",
    "jpeg_bytes",
    "jpeg_round_trip",
    "public_exif",
    "resize",
    "square_crops",
    "standard_tables",
]
