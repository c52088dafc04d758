"""Where the branches of a network looked in the crop that was scored, for the page of an explanation.

Shapes: N crops of an image, C channels, H W pixels, S side of a crop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import faces
from tellsign.data.augment import Placement, placed_box
from tellsign.detectors import NETWORK
from tellsign.explain.attention import attention_evidence, attention_name
from tellsign.explain.cam import grad_cam
from tellsign.image import crop_corners
from tellsign.image.network_input import seen
from tellsign.scoring.engines import torch_branches
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.scoring.scorer import Scorer
    from tellsign.types import Evidence, FloatArray


class Attention:
    """The branches of a scorer's network, ready to be looked into."""

    def __init__(self, scorer: Scorer) -> None:
        """Load the branches, and find out whether they can be looked into before any image is.

        Args:    scorer: of a network.
        Raises:  ConfigError: it is no network, its system has no branches whose maps lie over a picture, or
                 the `train` extra is missing. ArtifactError: its weights don't fit.
        """
        artifact = scorer.artifact
        if artifact.spec.get("kind") != NETWORK:
            raise ConfigError(
                f"{artifact.name} is no network: nothing in it has attention. Leave out --attention; its "
                "evidence is on the page without it"
            )
        self.branches = torch_branches(artifact)
        if not self.branches:
            raise ConfigError(
                f"all branches of {artifact.name} look at spectra, where attention has no place in the "
                "picture; leave out --attention"
            )
        detector: Any = scorer.detector
        self.detector = detector
        self.size: int = detector.look.size
        for network, _ in self.branches.values():
            grad_cam(network, np.zeros((1, 3, self.size, self.size), np.float32))

    def evidence(self, region: FloatArray) -> tuple[tuple[Evidence, ...], dict[str, NDArray[np.uint8]]]:
        """The evidence of every branch on the crop with the highest score.

        Args:    region: (3, H, W) in [0, 1], what the detector looks at.
        Returns: for each branch a map, curves and, where a face is found, a share; and the crop (S, S, 3)
                 under each map, by its name.
        Raises:  TooSmallError: the region is smaller than a crop.
        """
        look = self.detector.look
        crops = np.asarray(seen(region, look).crops, dtype=np.float32)
        index = int(np.argmax(self.detector.score({"crops": crops[:, None]}))) if len(crops) > 1 else 0
        corners = crop_corners(region.shape[1], region.shape[2], look.size, look.max_crops)
        crop, (top, left) = crops[index], corners[index]
        where = (
            f"the {look.size} × {look.size} pixels from column {left} and row {top} on of the {look.region}"
        )
        if len(crops) > 1:
            where += f", of {len(crops)} crops the one with the highest score"
        face = face_in(region, top, left, look.size)
        found = tuple(
            evidence
            for name, (network, run) in self.branches.items()
            for evidence in attention_evidence(name, network, _score(run), crop, where=where, face=face)
        )
        ground = np.round(255 * crop.transpose(1, 2, 0)).astype(np.uint8)
        return found, {attention_name(name): ground for name in self.branches}


def face_in(region: FloatArray, top: int, left: int, size: int) -> faces.Box | None:
    """The surest face that a crop shows, as far as training asks it to (`data.augment.SHOWN`).

    Args:    region: (3, H, W) in [0, 1]. top, left: of the crop. size: its side.
    Returns: the box in the crop's pixels, cut off where the crop ends; None where there is none.
    """
    placed = Placement(top, left, flip=False, angle=0.0, factors=np.ones(3))
    for box in faces.boxes(region):
        edges = placed_box((box.left, box.top, box.right, box.bottom), size, placed)
        if edges[2] > edges[0]:
            return faces.Box(*(round(edge) for edge in edges))
    return None


def _score(run: Any) -> Any:
    def score(images: FloatArray) -> FloatArray:
        scores: FloatArray = run(np.asarray(images, dtype=np.float32))[0]
        return scores

    return score
