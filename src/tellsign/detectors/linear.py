"""One weighted sum: linear SVM, logistic regression, and K-means with two centres.

K-means is linear too: the difference of the squared distances to two centres has no square in it,
|x - a|² - |x - b|² = 2 (b - a)·x + |a|² - |b|².

Shapes: B batch, K features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.types import FloatArray

SHAPES = {"weights": "K", "bias": ""}  # the arrays that `scores` needs, with the letters of their axes


def scores(features: FloatArray, arrays: Mapping[str, FloatArray]) -> FloatArray:
    """Features · weights + bias.

    Args:    features: (B, K), standardised.
             arrays: weights (K,) and bias ().
    Returns: (B,), higher = more fake.
    """
    # einsum and not a matrix product: to the last bit, a row's score doesn't depend on its neighbours.
    return np.asarray(np.einsum("bk,k->b", features, arrays["weights"]) + arrays["bias"])


def contributions(features: FloatArray, arrays: Mapping[str, FloatArray]) -> FloatArray:
    """What each feature did to the score: feature × weight. The sum over features is the score less `base`.

    Args:    features: (B, K), standardised.
             arrays: weights (K,).
    Returns: (B, K).
    """
    return np.asarray(features * arrays["weights"])


def base(arrays: Mapping[str, FloatArray]) -> float:
    """The score of an image with the mean of every feature, from which `contributions` start."""
    return float(arrays["bias"].reshape(()))
