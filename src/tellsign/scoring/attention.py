"""How a network came to its score of the crop that was scored, for the page of an explanation.

Shapes: N crops of an image, C channels, H W pixels, S side of a crop, D numbers of a descriptor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign import faces
from tellsign.data.augment import Placement, placed_box
from tellsign.detectors import NETWORK
from tellsign.detectors.engines import DESCRIPTOR
from tellsign.explain.attention import ScoredCrop
from tellsign.image import crop_corners
from tellsign.image.network_input import seen
from tellsign.scoring.engines import torch_evidence
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.image.network_input import NetworkInput
    from tellsign.scoring.scorer import Scorer
    from tellsign.types import Evidence, FloatArray


class Attention:
    """The network of a scorer, ready to be looked into."""

    def __init__(self, scorer: Scorer) -> None:
        """Load the network, and find out whether it can be looked into before any image is.

        Args:    scorer: of a network.
        Raises:  ConfigError: it is no network, its system can't look into it, none of its maps lies over a
                 picture, or the `train` extra is missing. ArtifactError: its weights don't fit.
        """
        artifact = scorer.artifact
        if artifact.spec.get("kind") != NETWORK:
            raise ConfigError(
                f"{artifact.name} is no network: nothing in it has attention. Leave out --attention; its "
                "evidence is on the page without it"
            )
        self._evidence = torch_evidence(artifact)
        detector: Any = scorer.detector
        self.detector = detector

    def evidence(self, region: FloatArray) -> tuple[tuple[Evidence, ...], dict[str, NDArray[np.uint8]]]:
        """The evidence of the network on the crop with the highest score.

        Args:    region: (3, H, W) in [0, 1], what the detector looks at.
        Returns: what its system shows; and the crop (S, S, 3) under each map, by the map's name.
        Raises:  TooSmallError: the region is smaller than a crop.
        """
        look = self.detector.look
        found, descriptor = seen(region, look)
        crops = np.asarray(found, dtype=np.float32)
        index = self._highest(crops, descriptor) if len(crops) > 1 else 0
        top, left, side = _place(region, look, index)
        where = f"the {side} × {side} pixels from column {left} and row {top} on of the {look.region}"
        if side != look.size:
            where += f", resized to {look.size} × {look.size} as the network sees them"
        if len(crops) > 1:
            where += f", of {len(crops)} crops the one with the highest score"
        face = face_in(region, top, left, side)
        evidence = self._evidence(
            ScoredCrop(
                pixels=crops[index],
                descriptor=descriptor,
                region=look.region,
                where=where,
                face=face and _resized(face, look.size / side),
            )
        )
        ground = np.round(255 * crops[index].transpose(1, 2, 0)).astype(np.uint8)
        return evidence, {one.name: ground for one in evidence if one.kind == "heatmap"}

    def _highest(self, crops: FloatArray, descriptor: FloatArray | None) -> int:
        """The crop with the highest score."""
        batch = {"crops": crops[:, None]}
        if descriptor is not None:
            batch[DESCRIPTOR] = np.repeat(descriptor[None], len(crops), axis=0)
        return int(np.argmax(self.detector.score(batch)))


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


def _place(region: FloatArray, look: NetworkInput, index: int) -> tuple[int, int, int]:
    """Row, column and side, in pixels of a region, of one of the crops that a network sees of it."""
    height, width = region.shape[1:]
    side = look.size if look.fit == "crop" else min(height, width)
    return *crop_corners(height, width, side, look.max_crops)[index], side


def _resized(box: faces.Box, scale: float) -> faces.Box:
    return faces.Box(*(round(scale * edge) for edge in (box.left, box.top, box.right, box.bottom)))
