"""A comparison with stored examples: the SVM with a Gaussian (RBF) kernel.

Shapes: B batch, S support vectors, K features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.types import FloatArray

# The arrays that `scores` needs, with the letters of their axes.
SHAPES = {"support": "SK", "dual": "S", "gamma": "", "bias": ""}


def scores(features: FloatArray, arrays: Mapping[str, FloatArray]) -> FloatArray:
    """Σ dual · exp(-gamma |x - support|²) + bias.

    Args:    features: (B, K), standardised.
             arrays: support (S, K), dual (S,), gamma () and bias ().
    Returns: (B,), higher = more fake.
    """
    support, dual, gamma = arrays["support"], arrays["dual"], arrays["gamma"]
    result = np.empty(len(features))
    lengths = np.einsum("sk,sk->s", support, support)
    # Row by row, so that to the last bit an image's score doesn't depend on its neighbours.
    for row, feature in enumerate(features):
        squared = lengths + feature @ feature - 2 * (support @ feature)
        result[row] = np.exp(-gamma * np.maximum(squared, 0)) @ dual
    return result + arrays["bias"]
