"""How the scores of several networks become one: weights that are fitted and judged on validation images.

Shapes: n networks, B images that can be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.data.manifest import require_both_classes
from tellsign.groups import sources
from tellsign.metrics import accuracy, auroc
from tellsign.nn.fusion import fitted_weights, fused_scores, image_means

if TYPE_CHECKING:
    from tellsign.data.manifest import Manifest
    from tellsign.nn.fusion import CropScores


def validation_halves(valid: Manifest, *, seed: int) -> dict[str, Manifest]:
    """The validation images in two: `checkpoints`, which choose a network's weights, and `weights`.

    The second half fits the weights of the fusion and judges the fused score: no network was chosen on it.

    Args:    valid: labelled images. seed: of the training.
    Returns: name → half; no group is in both.
    Raises:  ManifestError: there are too few groups, or a half lacks a class.
    """
    halves = valid.split({"checkpoints": 0.5, "weights": 0.5}, seed=seed)
    for name, half in halves.items():
        require_both_classes(half, f"the half of the validation images for {name}")
    return halves


def judged_fusion(
    crops: CropScores, names: Sequence[str], valid: Manifest, fusion: str, weights: Sequence[float]
) -> tuple[tuple[float, ...], dict[str, Any]]:
    """The weights of a fusion, and how the networks and the fused score do.

    Args:    crops: scores of all crops of the images that can be used. names: of the n networks.
             valid: labelled images that chose no network's weights.
             fusion: as for `nn.fusion.fused`; "fit" fits the weights here. weights: given, of the others.
    Returns: the weights, and plain values: kind, weights, n, how many images were left out, and AUROC and
             accuracy of each network and of the fused score. Where the weights are fitted, the last ones
             flatter, and "fitted" holds the AUROC of the chosen weights and of the best point of the grid.
    Raises:  ManifestError: a class is missing.
    """
    labels = np.array(valid.labels)[crops.rows]
    chosen, fitted = tuple(weights), {}
    if fusion == "fit":
        groups = sources(valid)
        found = fitted_weights(crops, labels, [groups[row] for row in crops.rows])
        chosen = found.weights
        fitted = {"fitted": {"n": found.n, "auroc": found.auroc, "best_auroc": found.best}}
    columns = {name: image_means(crops.parts[:, i], crops.image) for i, name in enumerate(names)}
    columns["fused"] = image_means(fused_scores(crops.parts, fusion, chosen), crops.image)
    return chosen, {
        "kind": fusion,
        "weights": dict(zip(names, chosen, strict=True)),
        "n": len(labels),
        "n_left_out": len(valid) - len(labels),
        "fitted_here": fusion == "fit",
        **fitted,
        "auroc": {name: float(auroc(labels, scores)) for name, scores in columns.items()},
        "accuracy": {name: accuracy(labels, scores, threshold=0.0) for name, scores in columns.items()},
    }
