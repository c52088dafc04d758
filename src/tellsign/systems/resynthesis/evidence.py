"""What detection by re-synthesis can show of a crop: its residuals, and where its classifiers looked.

He et al. (IJCAI 2021), figures 3, 7 and 8. The published class activation maps are sums of the last map's
channels, weighted by the classifier's weights for fake; behind a mean and a linear layer, as here, Grad-CAM
is the same but for a factor, and without what speaks for real.

Shapes: B batch, S side of a crop in pixels, C channels of a residual, h w of its map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from tellsign.engine.inference import network_run
from tellsign.explain.attention import attention_evidence, run_score
from tellsign.explain.cam import grad_cam
from tellsign.nn.attention import image_tensor, resized
from tellsign.systems.resynthesis.config import MULTIPLE, part_name
from tellsign.systems.resynthesis.model import StageClassifier
from tellsign.types import Evidence

if TYPE_CHECKING:
    from torch import Tensor

    from tellsign.explain.attention import CropEvidence, ScoredCrop
    from tellsign.systems.resynthesis.model import Resynthesis
    from tellsign.types import FloatArray


def network_evidence(network: Resynthesis, size: int) -> CropEvidence:
    """What a network can show of a crop.

    Args:    network: in evaluation mode.
             size: S.
    Returns: a crop → for each stage the map and the mean of its residual, and the Grad-CAM of its classifier
             with its faithfulness.
    Raises:  ConfigError: captum is missing.
    """
    judges = {
        part_name(stage): StageClassifier(
            network.residuals(), network.classifiers[part_name(stage)], stage
        ).eval()
        for stage in network.stages
    }
    # What is missing is known before any image is looked at.
    for judge in judges.values():
        grad_cam(judge, np.zeros((1, 3, size, size), np.float32))

    def evidence(crop: ScoredCrop) -> tuple[Evidence, ...]:
        with torch.no_grad():
            found = network.residuals()(image_tensor(network, crop.pixels[None]), network.stages)
        shown: list[Evidence] = []
        for stage in network.stages:
            name = part_name(stage)
            shown += _residual(name, found[stage], crop)
            shown += attention_evidence(
                name,
                judges[name],
                run_score(network_run(judges[name], n_parts=0)),
                crop.pixels,
                where=crop.where,
                face=crop.face,
                remark="The classifier sees the residual, and not the picture.",
            )
        return tuple(shown)

    return evidence


def _residual(name: str, values: Tensor, crop: ScoredCrop) -> tuple[Evidence, Evidence]:
    """The residual (1, C, h, w) of a stage as a map over the crop, and its mean."""
    means = values.float().mean(dim=1)
    what = "pixels" if name == "pixel" else f"stage {name[-1]} of the perceptual network"
    unit = "of the range of pixels" if name == "pixel" else "of a feature"
    return (
        Evidence(
            kind="heatmap",
            name=f"residual of {name}",
            values=_over_the_crop(means, crop.pixels.shape[-1]),
            unit=unit,
            caption=f"How far {crop.where} is, in {what}, from what the re-synthesiser makes of a quarter of "
            f"its sides, mean over {values.shape[1]} channels. Detail that can't be foretold leaves a "
            "residual in genuine pictures as well: the classifier judges its pattern, not its size.",
        ),
        Evidence(
            kind="scalar",
            name=f"mean residual of {name}",
            values=np.asarray(float(means.mean())),
            unit=unit,
            caption=f"The mean of that map, in {what}.",
        ),
    )


def _over_the_crop(means: Tensor, side: int) -> FloatArray:
    """(1, h, w) → (S, S), 0 in the border that is cut off before anything is looked at."""
    inside = side - side % MULTIPLE
    first = (side - inside) // 2
    whole = np.zeros((side, side), np.float32)
    within = slice(first, first + inside)
    whole[within, within] = resized(means, inside, inside)[0].cpu().numpy()
    return whole
