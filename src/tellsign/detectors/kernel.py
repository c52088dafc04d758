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
    # Row by row and by differences: nothing cancels as in |x|² + |s|² - 2xs, and no row depends on others.
    for row, feature in enumerate(features):
        difference = support - feature
        squared = np.einsum("sk,sk->s", difference, difference)
        result[row] = np.exp(-gamma * squared) @ dual
    return result + arrays["bias"]
