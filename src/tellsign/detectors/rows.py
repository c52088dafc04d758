"""The features of labelled images, one row an image or a face, as a detector of vectors will see them.

Shapes: B rows, K features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tellsign.data.manifest import Manifest, require_both_classes
from tellsign.data.picture import looked_at
from tellsign.detectors.preprocessing import features
from tellsign.types import ImageError, ManifestError, NoFaceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from tellsign.detectors.preprocessing import VectorInput
    from tellsign.types import FloatArray


class Rows(NamedTuple):
    """The features of some images."""

    values: FloatArray  # (B, K) float64, read-only
    rows: NDArray[np.intp]  # (B,) of the manifest; an image with several faces has several
    left_out: tuple[tuple[Path, str], ...]  # images that show no face to a detector of faces, and why


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """What a classifier is fitted on."""

    values: FloatArray  # (B, K) float64, read-only
    labels: NDArray[np.integer[Any]]  # (B,) 0 real, 1 fake
    spec: dict[str, Any]  # what the artifact tells of faces; empty where whole images are looked at


def examples(
    train: Manifest, options: VectorInput, *, say: Callable[[str], None] = lambda text: None
) -> Examples:
    """The features of training images with their labels; a face has its image's.

    Args:    train: labelled images.
             options: the detector's input.
             say: told of images that show no face to a detector of faces; they are left out.
    Returns: what is fitted.
    Raises:  ManifestError: an image cannot be used, a training set is not shrunk in silence; or faces of one
             class are missing.
    """
    found = feature_rows(train, options)
    labels = np.array(train.labels)[found.rows]
    if options.region != "face":
        return Examples(found.values, labels, {})
    if found.left_out:
        say(_faceless_text(found.left_out, len(train)))
    used = Manifest(tuple(train[row] for row in np.unique(found.rows)))
    require_both_classes(used, "the training images that show a face")
    faces = {"n": len(found.rows), "images": len(used), "left_out": len(found.left_out)}
    return Examples(found.values, labels, {"faces": faces})


def feature_rows(manifest: Manifest, options: VectorInput) -> Rows:
    """The features of every image, or of every face.

    Args:    manifest: the images.
             options: the detector's input.
    Returns: the features; they are kept for the next call, until a file changes.
    Raises:  ManifestError: an image cannot be decoded, has changed or is too small; all such are counted.
    """
    return _rows(manifest, options, tuple(_version(sample.path) for sample in manifest))


def _faceless_text(left_out: tuple[tuple[Path, str], ...], n: int) -> str:
    shown = "; ".join(f"{str(path)!a}: {reason}" for path, reason in left_out[:3])
    return f"left out: {len(left_out)} of {n} training images, e.g. {shown}"


def _version(path: Path) -> tuple[int, int, int]:
    """What changes with a file's content; zeros where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=2)  # a grid of classifiers looks at the same features again and again
def _rows(
    manifest: Manifest,
    options: VectorInput,
    _versions: tuple[tuple[int, int, int], ...],  # so that a changed file is not taken from the cache
) -> Rows:
    values: list[FloatArray] = []
    rows: list[int] = []
    left_out, failed = [], []
    for row, sample in enumerate(manifest):
        try:
            found = looked_at(sample, options.region, partial(features, options=options))
        except NoFaceError as error:
            left_out.append((sample.path, str(error)))
        except ImageError as error:
            failed.append(f"  {str(sample.path)!a}: {error}")
        else:
            values += found
            rows += [row] * len(found)
    if failed:
        raise ManifestError(
            f"{len(failed)} of {len(manifest)} images cannot be used; filter them out or mend them:\n"
            + "\n".join(failed[:10])
        )
    stacked = np.stack(values) if values else np.empty((0, options.n_features))
    stacked.flags.writeable = False
    return Rows(stacked, np.array(rows, dtype=np.intp), tuple(left_out))
