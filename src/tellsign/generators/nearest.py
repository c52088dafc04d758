"""The image nearest to each of a generator's among those that it learnt from: whether it gives them back.

The distance is that of `tellsign.generators.collapse`: the root mean square of the difference of means over
blocks, a sixteenth of a side long, so that neither fine detail nor the last pixel of a position counts. A
generator that learnt from native crops may give back any of them: every position at whole blocks is looked at
and, where it learnt from mirrored images too, its mirror image. A distance means nothing alone; it stands
beside that of real images that nothing was learnt from. No PyTorch here.

Shapes: B images, S side of an image, H W pixels of one that was learnt from, T blocks of a side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tellsign.data.picture import picture
from tellsign.generators.collapse import block_means, block_side, means_over
from tellsign.image.network_input import NetworkInput, resized, seen
from tellsign.types import ConfigError, ImageError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tellsign.data import Manifest
    from tellsign.image.network_input import Fit
    from tellsign.types import FloatArray

AT_ONCE = 4096  # crops that are compared together


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The nearest crop of one image."""

    distance: float  # root mean square over means of blocks, in levels of [0, 1]
    row: int  # of the manifest that was learnt from
    top: int  # of the crop, in pixels of the image
    left: int
    flip: bool  # whether it is the crop's mirror image that is near


def neighbours(
    images: FloatArray,
    learnt: Manifest,
    *,
    fit: Fit = "crop",
    flip: bool = True,
    on_image: Callable[[], None] = lambda: None,
    left_out: Callable[[str], None] | None = None,
) -> list[Neighbour]:
    """The nearest of the images that were learnt from, and where in it.

    Args:    images: (B, 3, S, S) in [0, 1].
             learnt: what they are compared with.
             fit: how that was looked at: native crops at any place, or the square in the middle, resized.
             flip: whether mirror images count as well.
             on_image: called for each image of `learnt`.
             left_out: told of images that can't be used; None: the first of them is an error.
    Returns: one for each of the B images.
    Raises:  ImageError: they are no square images. ManifestError: an image that was learnt from can't be
             used, or none can. ConfigError: there are no images.
    """
    if not len(images):
        raise ConfigError("found no images to compare; give one or more")
    size = images.shape[-1]
    own = block_means(images)
    rows = (np.concatenate([own, own[..., ::-1]]) if flip else own).astype(np.float32)
    best = _Best(rows.reshape(len(rows), -1))
    for row, sample in enumerate(learnt):
        try:
            array = picture(sample).array
            if fit == "resize":
                array = resized(array, size)
            if min(array.shape[1:]) < size:
                raise ImageError(f"{array.shape[2]} × {array.shape[1]} pixels, smaller than a generated one")
        except ImageError as error:
            text = f"{str(sample.path)!a}: {error}"
            if left_out is None:
                raise ManifestError(
                    f"an image that was learnt from can't be used, {text}; mend it or take it out"
                ) from error
            left_out(text)
            continue
        for windows, places in _windows(array, size):
            best.look_at(windows, row, places)
        on_image()
    return best.neighbours(len(images))


def summary(found: list[Neighbour]) -> dict[str, float]:
    """The distances of a set.

    Args:    found: one an image.
    Returns: their median, and the least of them.
    """
    distances = np.array([one.distance for one in found])
    return {"median": float(np.median(distances)), "least": float(distances.min())}


def nearest_crop(one: Neighbour, learnt: Manifest, size: int, *, fit: Fit = "crop") -> FloatArray:
    """The picture of a neighbour.

    Args:    one: of `neighbours`. learnt, size, fit: the manifest, the side S and the fit it was found with.
    Returns: (3, S, S), mirrored where its mirror image is near.
    Raises:  ImageError: the file has changed.
    """
    array = picture(learnt[one.row]).array
    if fit == "resize":
        array = resized(array, size)
    crop = array[:, one.top : one.top + size, one.left : one.left + size]
    return crop[..., ::-1] if one.flip else crop


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Generated images beside what they may have been copied from."""

    fakes: Manifest
    images: FloatArray  # (B, 3, S, S), those of the fakes
    learnt: Manifest  # reals that were learnt from
    found: list[Neighbour]  # of the fakes
    others: list[Neighbour] | None  # of real images that were not learnt from; None: there are none
    fit: Fit

    @property
    def order(self) -> list[int]:
        """Rows of the fakes, the nearest to what was learnt from first."""
        return sorted(range(len(self.found)), key=lambda row: self.found[row].distance)


def compared(
    fakes: Manifest,
    learnt: Manifest,
    others: Manifest | None,
    *,
    fit: Fit = "crop",
    flip: bool = True,
    on_image: Callable[[], None] = lambda: None,
    left_out: Callable[[str], None] | None = None,
) -> Neighbours:
    """Generated images and other real ones against what was learnt from.

    Args:    fakes: the generated images, all of one size.
             learnt: what was learnt from. others: real images that were not, or None.
             fit, flip, on_image, left_out: as for `neighbours`; other real images are looked at by the same
             fit, natively in their middle.
    Returns: what is near to what.
    Raises:  ImageError, ManifestError, ConfigError: as for `neighbours`; a generated image can't be used.
    """
    images = _squares(fakes)
    beside = None if others is None else _crops(others, images.shape[-1], fit, left_out)
    given = images if beside is None else np.concatenate([images, beside])
    found = neighbours(given, learnt, fit=fit, flip=flip, on_image=on_image, left_out=left_out)
    rest = None if beside is None else found[len(images) :]
    return Neighbours(fakes, images, learnt, found[: len(images)], rest, fit)


def _squares(fakes: Manifest) -> FloatArray:
    """(B, 3, S, S). Raises ImageError where they are no squares of one size."""
    arrays: list[FloatArray] = []
    for sample in fakes:
        try:
            array = picture(sample).array
        except ImageError as error:
            raise ImageError(f"{str(sample.path)!a} can't be used: {error}") from error
        height, width = array.shape[1:]
        if height != width or (arrays and array.shape != arrays[0].shape):
            wanted = f"{arrays[0].shape[2]} × {arrays[0].shape[1]}" if arrays else "squares"
            raise ImageError(
                f"{str(sample.path)!a} is {width} × {height} pixels; expected {wanted}: all images of a "
                "generator have one size"
            )
        arrays.append(array)
    return np.stack(arrays)


def _crops(
    others: Manifest, size: int, fit: Fit, left_out: Callable[[str], None] | None
) -> FloatArray | None:
    """(N, 3, S, S) of those that can be used; None where none can."""
    look, arrays = NetworkInput(size, fit=fit), []
    for sample in others:
        try:
            arrays.append(seen(picture(sample).array, look).crops[0])
        except ImageError as error:
            text = f"{str(sample.path)!a}: {error}"
            if left_out is None:
                raise ManifestError(f"a real image can't be used, {text}; take it out") from error
            left_out(text)
    return np.stack(arrays) if arrays else None


class _Best:
    """The nearest so far of each row."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.rows = rows  # (B or 2 B, 3 T T), mirrored ones behind the others
        self.lengths = np.square(rows, dtype=np.float64).sum(axis=1)
        self.squares = np.full(len(rows), np.inf)
        self.where = np.zeros((len(rows), 3), dtype=np.int64)  # row, top, left

    def look_at(self, windows: NDArray[np.float32], row: int, places: NDArray[np.int64]) -> None:
        """windows: (n, 3 T T) of one image. places: (n, 2) top and left of each."""
        lengths = np.square(windows, dtype=np.float64).sum(axis=1)
        squares = lengths - 2 * (self.rows @ windows.T)
        nearest = squares.argmin(axis=1)
        found = squares[np.arange(len(squares)), nearest] + self.lengths
        nearer = found < self.squares
        self.squares[nearer] = found[nearer]
        self.where[nearer, 0] = row
        self.where[nearer, 1:] = places[nearest[nearer]]

    def neighbours(self, n: int) -> list[Neighbour]:
        """Of n images."""
        if not np.isfinite(self.squares).all():
            raise ManifestError("none of the images that were learnt from can be used; expected one or more")
        rows = np.arange(n)
        if len(self.rows) > n:
            rows = np.where(self.squares[n:] < self.squares[:n], rows + n, rows)
        distances = np.sqrt(np.maximum(self.squares[rows], 0) / self.rows.shape[1])
        return [
            Neighbour(distance, of, top, left, bool(row >= n))
            for distance, (of, top, left), row in zip(
                distances.tolist(), self.where[rows].tolist(), rows.tolist(), strict=True
            )
        ]


def _windows(array: FloatArray, size: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """(3, H, W) → its crops at whole blocks, (n, 3 T T), and where they begin, (n, 2), a few at a time."""
    side = block_side(size)
    n_blocks = size // side
    means: Any = means_over(array[None], side)[0].astype(np.float32)
    all_windows = sliding_window_view(means, (n_blocks, n_blocks), axis=(1, 2))
    # Where S is no multiple of the block, the last blocks hold the beginning of a crop that does not fit.
    rows, columns = ((length - size) // side + 1 for length in array.shape[1:])
    step = max(1, AT_ONCE // columns)
    for first in range(0, rows, step):
        tops, lefts = np.meshgrid(
            np.arange(first, min(rows, first + step)), np.arange(columns), indexing="ij"
        )
        part = all_windows[:, first : first + step, :columns][:, : tops.shape[0]]
        windows = part.transpose(1, 2, 0, 3, 4).reshape(tops.size, -1)
        yield windows, side * np.stack([tops.ravel(), lefts.ravel()], axis=1)
