"""Faces in an image: where they are, square crops around them, and the same face over a video.

The finder is dlib's frontal HOG detector (Felzenszwalb et al. 2010; King 2015, arXiv:1502.00046). Its model
is compiled into the wheel, so it works offline. It finds frontal faces of about 80 pixels and more. Another
finder takes its place behind `boxes`; nothing else here knows which one it is.

Shapes: C channels (3), H W pixels of the image, S pixels of a square crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from math import isfinite
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tellsign.types import ConfigError, ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.floating[Any]]
    ByteArray = NDArray[np.uint8]

# Longest side, in pixels, of the copies on which faces are sought, in this order. The time of a search grows
# with the area: 1024 takes a quarter of the time of full HD and still finds faces of 150 pixels there.
SEARCH_SIDES = (1024, 4096)

_search_lock = Lock()  # dlib's detector keeps state while it runs


@dataclass(frozen=True, slots=True)
class Box:
    """A face's rectangle in pixels of its image; it may stick out of the image."""

    left: int
    top: int
    right: int  # exclusive
    bottom: int  # exclusive
    score: float = 0.0  # the finder's confidence, higher = surer; no probability


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A square cut out of an image at native resolution."""

    image: FloatArray  # (3, S, S); smaller along an axis on which the image has fewer than S pixels
    left: int
    top: int
    side: int  # S that was asked for: margin times the longer side of the box
    clipped: bool  # the image was too small for S


@dataclass(frozen=True, slots=True)
class Track:
    """One face followed over the frames of a video."""

    frames: tuple[int, ...]  # indices of the frames in which it was found, ascending
    boxes: tuple[Box, ...]  # one for each of `frames`


def boxes(image: FloatArray) -> tuple[Box, ...]:
    """Boxes of the frontal faces in an image, surest first.

    An image whose longer side exceeds 1024 pixels is searched on a copy reduced to 1024, and the boxes are
    scaled back; only where that shows no face, on a copy of at most 4096. So beside a large face a small one
    (below 80/1024 of the longer side) may go unseen. Small images are not enlarged: dlib then finds a few
    more faces, and false ones.

    Args:    image: (3, H, W) float, sRGB in [0, 1].
    Returns: the boxes in pixels of `image`; an empty tuple where no face was found, never a guessed box.
    Raises:  ImageError: `image` has another shape or type.
             ConfigError: dlib is not installed.
    """
    picture = Image.fromarray(_bytes(image))
    longest = max(picture.size)
    for side in SEARCH_SIDES:
        found = _search(picture, min(1.0, side / longest))
        if found or side >= longest:
            break
    return found


def crop(image: FloatArray, box: Box, *, margin: float = 1.3) -> Crop:
    """The square around a face, in native pixels: never resized, never padded.

    The square lies centred on the box, is shifted where it would stick out of the image, and is clipped where
    the image is smaller than the square.

    Args:    image: (3, H, W) float.
             box: a face in pixels of `image`.
             margin: side of the square as a multiple of the box's longer side.
    Returns: a copy of the pixels, with where they lie and whether the square was clipped.
    Raises:  ImageError: `image` has another shape or type, or `box` lies outside of it or is empty.
             ConfigError: `margin` is not a positive number.
    """
    _require_image(image)
    if not (isfinite(margin) and margin > 0):
        raise ConfigError(f"margin is {margin}; expected a positive number, such as 1.3")
    height, width = image.shape[1:]
    if not (max(box.left, 0) < min(box.right, width) and max(box.top, 0) < min(box.bottom, height)):
        raise ImageError(f"{box} has no pixel in an image of {width} × {height}: take boxes of this image")
    side = _side(box, margin)
    rows, columns = square(box, height, width, margin=margin)
    clipped = rows.stop - rows.start < side or columns.stop - columns.start < side
    pixels = image[:, rows, columns].copy()
    return Crop(pixels, left=columns.start, top=rows.start, side=side, clipped=clipped)


def square(box: Box, height: int, width: int, *, margin: float = 1.3) -> tuple[slice, slice]:
    """Where the square around a face lies in its image.

    Args:    box: of the face. height, width: of the image.
             margin: as for `crop`.
    Returns: rows and columns; fewer than the square's side where the image is smaller.
    """
    side = _side(box, margin)
    top, rows = _span(box.top, box.bottom, side, height)
    left, columns = _span(box.left, box.right, side, width)
    return slice(top, top + rows), slice(left, left + columns)


def crops(image: FloatArray, *, margin: float = 1.3) -> tuple[FloatArray, ...]:
    """What a detector of faces looks at: the pixels of the square around each face, surest first.

    Args:    image: (3, H, W) float, sRGB in [0, 1].
             margin: as for `crop`.
    Returns: the squares, (3, S, S) each where the image is large enough; none where no face was found.
    Raises:  ImageError, ConfigError: as for `boxes` and `crop`.
    """
    return tuple(crop(image, box, margin=margin).image for box in boxes(image))


def intersection_over_union(a: Box, b: Box) -> float:
    """The share of two boxes' common area in the area that either covers (Jaccard index), in [0, 1]."""
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((x.right - x.left) * (x.bottom - x.top) for x in (a, b))
    return width * height / (sum(areas) - width * height)


def tracks(
    boxes_per_frame: Sequence[Sequence[Box]], *, min_overlap: float = 0.3, max_gap: int = 3
) -> tuple[Track, ...]:
    """Boxes of a video linked into one track per face, greedily by overlap.

    In each frame the pair of an open track and a box with the largest intersection over union is linked
    first; a box that no track wants opens one. The default overlap is low because frames that are sampled
    from a video lie apart in time. Two faces that follow each other at one place (a cut) become one track.

    Args:    boxes_per_frame: for each frame in order of time its boxes; none is fine.
             min_overlap: smallest intersection over union that links, in (0, 1].
             max_gap: frames in a row in which a face may be missing without ending its track.
    Returns: the tracks, in order of their first frame and, within it, of its boxes.
    Raises:  ConfigError: an option is out of its range.
    """
    if not 0 < min_overlap <= 1:
        raise ConfigError(f"min_overlap is {min_overlap}; expected more than 0 and at most 1")
    if max_gap < 0:
        raise ConfigError(f"max_gap is {max_gap}; expected 0 or more frames")
    linked: list[list[tuple[int, Box]]] = []
    for frame, found in enumerate(boxes_per_frame):
        alive = [track for track in linked if frame - track[-1][0] <= max_gap + 1]
        pairs = sorted(
            (-intersection_over_union(track[-1][1], box), t, b)
            for t, track in enumerate(alive)
            for b, box in enumerate(found)
        )
        taken: dict[int, int] = {}
        for negative_overlap, t, b in pairs:
            if -negative_overlap >= min_overlap and b not in taken and t not in taken.values():
                taken[b] = t
        for b, box in enumerate(found):
            if b in taken:
                alive[taken[b]].append((frame, box))
            else:
                linked.append([(frame, box)])
    return tuple(Track(tuple(f for f, _ in track), tuple(b for _, b in track)) for track in linked)


def _side(box: Box, margin: float) -> int:
    return max(1, round(margin * max(box.right - box.left, box.bottom - box.top)))


def _span(low: int, high: int, side: int, length: int) -> tuple[int, int]:
    """Start and number of pixels of a square along an axis of `length` pixels."""
    if side >= length:
        return 0, length
    start = (low + high - side) // 2
    return min(max(start, 0), length - side), side


def _require_image(image: FloatArray) -> None:
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ImageError(f"image has shape {image.shape}; expected (3, H, W)")
    if not np.issubdtype(image.dtype, np.floating):
        raise ImageError(f"image is {image.dtype}; expected floating point in [0, 1]: divide bytes by 255")


def _bytes(image: FloatArray) -> ByteArray:
    """(3, H, W) float in [0, 1] → (H, W, 3) uint8, which is what dlib reads."""
    _require_image(image)
    levels = np.multiply(image.transpose(1, 2, 0), 255, dtype=np.float32, order="C")
    levels += 0.5
    if not 0 <= levels.min() <= levels.max() < 256:  # false for NaN as well
        raise ImageError(f"image has values from {image.min()} to {image.max()}; expected [0, 1]")
    return levels.astype(np.uint8)


def _search(picture: Image.Image, scale: float) -> tuple[Box, ...]:
    """Faces found on `picture` reduced by `scale` (at most 1), in pixels of `picture`."""
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        reduced = picture.resize(size, Image.Resampling.BILINEAR)
    else:
        reduced = picture
    with _search_lock:
        rectangles, scores, _ = _detector().run(np.asarray(reduced), 0, 0.0)
    found = [
        Box(
            left=round(r.left() / scale),
            top=round(r.top() / scale),
            right=round((r.right() + 1) / scale),
            bottom=round((r.bottom() + 1) / scale),
            score=float(score),
        )
        for r, score in zip(rectangles, scores, strict=True)
    ]
    return tuple(sorted(found, key=lambda box: (-box.score, box.left, box.top, box.right)))


@lru_cache(maxsize=1)
def _detector() -> Any:
    for name in ("_dlib_pybind11", "dlib"):  # the wheel dlib-bin, an own build of dlib
        try:
            return import_module(name).get_frontal_face_detector()
        except ImportError:
            continue
    raise ConfigError("dlib, which finds faces, is not installed or does not load: pip install dlib-bin")
