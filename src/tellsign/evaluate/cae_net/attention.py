"""Where the branches of a trained detector look on images with a face, for a comparison of trainings.

The maps are those that explain a verdict, made apart from the ones that attention regularisation lowers. A
map that is zero everywhere looks at nothing: it has no share in the face, and is counted apart.

Shapes: N images, S side of a crop.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import image
from tellsign.data.augment import SHOWN
from tellsign.data.picture import picture
from tellsign.evaluate.cae_net.looks import CROPS
from tellsign.evaluate.cells import kept
from tellsign.evaluate.samples import content, pictures
from tellsign.explain.cam import grad_cam
from tellsign.explain.faithfulness import attention_inside
from tellsign.faces import Box
from tellsign.image import crop_corners
from tellsign.scoring.attention import face_in
from tellsign.types import ConfigError, OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.data import Manifest
    from tellsign.evaluate.cae_net.looks import Look
    from tellsign.evaluate.cells import Finished
    from tellsign.evaluate.study import Study
    from tellsign.types import FloatArray

    Faces = Mapping[int, Box]  # row of an image → the face in pixels of its middle crop


def known_faces(given: Study, cell: Finished, sample: Manifest) -> Faces | str:
    """The surest face in the middle crop of each image, sought once for all detectors.

    Args:    given: the study. cell: beside which it is kept.
             sample: the images.
    Returns: the box of each image that shows one; or why there is none.
    Raises:  OutputError: the file can't be written.
    """
    size = given.config.size
    identity = {"images": content(sample), "size": size, "shown": SHOWN}

    def made() -> Any:
        given.say(f"faces: sought in {len(sample)} test images")
        return [None if found is None else _edges(found, size) for found in pictures(sample)]

    try:
        found = kept(cell.folder / "studies", "faces", identity, made)
    except OutputError:
        raise
    except ConfigError as error:  # the finder is missing
        return str(error)
    faces = {row: Box(*edges) for row, edges in enumerate(found) if edges}
    return faces or f"no face is found in {len(sample)} test images"


def branch_shares(
    given: Study, cell: Finished, look: Look, sample: Manifest, faces: Faces
) -> dict[str, FloatArray | str]:
    """How much of each branch's map lies in the face, made once and kept beside the cell.

    Args:    given: the study. cell: of the detector. look: its networks.
             sample: images. faces: of `known_faces`.
    Returns: branch → (N,) of the images with a face, NaN where the map is zero everywhere; or why there is
             no map.
    """
    found: dict[str, FloatArray | str] = {}
    identity = {
        "detector": cell.record["detector"],
        "images": content(sample),
        "faces": [[row, box.left, box.top, box.right, box.bottom] for row, box in faces.items()],
    }
    for branch in look.branches:

        def made(branch: str = branch) -> Any:
            given.say(f"attention of {branch}: {len(faces)} images")
            return shares_inside(look, branch, sample, faces)

        if reason := no_map(look, branch):
            found[branch] = reason
            continue
        shares = kept(cell.folder / "studies", f"attention-{branch}", {**identity, "branch": branch}, made)
        found[branch] = np.array([math.nan if share is None else share for share in shares])
    return found


def no_map(look: Look, branch: str) -> str:
    """Why there is no map of a branch that lies over the picture; empty where there is one.

    Args:    look: the networks. branch: of them.
    Returns: the reason.
    """
    network = look.network.branches[branch]
    if network.spectrum is not None:
        return f"{branch} looks at a spectrum, where attention has no place in the picture"
    try:
        grad_cam(network, np.zeros((1, 3, look.size, look.size), np.float32))
    except ConfigError as error:  # a family that nobody knows, or a package is missing
        return str(error)
    return ""


def shares_inside(look: Look, branch: str, sample: Manifest, faces: Faces) -> list[float | None]:
    """The share of a branch's map that lies in the face, in the middle crop of each image that shows one.

    Args:    look: the networks. branch: of them.
             sample: images. faces: of these.
    Returns: one an image with a face, in the order of `faces`; None where the map is zero everywhere.
    Raises:  ImageError: an image can't be read any more.
    """
    network, rows = look.network.branches[branch], list(faces)
    found: list[float] = []
    for start in range(0, len(rows), CROPS):
        part = rows[start : start + CROPS]
        arrays = (picture(sample[row]).array for row in part)
        crops = np.concatenate([image.square_crops(array, look.size, 1) for array in arrays])
        maps = grad_cam(network, crops.astype(np.float32, copy=False))
        found += [attention_inside(values, faces[row]) for row, values in zip(part, maps, strict=True)]
    return [None if math.isnan(share) else share for share in found]


def _edges(whole: FloatArray, size: int) -> list[int] | None:
    """Left, top, right, bottom of the face in the middle crop; None without one, or of too small an image."""
    if min(whole.shape[1:]) < size:
        return None
    ((top, left),) = crop_corners(whole.shape[1], whole.shape[2], size, 1)
    face = face_in(whole, top, left, size)
    return None if face is None else [face.left, face.top, face.right, face.bottom]
