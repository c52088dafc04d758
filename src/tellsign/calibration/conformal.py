"""Abstention with a chosen error level: label-conditional split conformal prediction, as two thresholds.

Every label has a p-value, the share of its calibration scores that are at least as unlike it as the input's.
The prediction set holds the labels whose p-value is above alpha. A score orders all inputs from real to fake,
so the set changes at two scores only, and an operating point of these two says the same.

Shapes: N calibration scores, B scores that are asked for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tellsign.calibration.checks import check_rate, finite, scores_named, trials
from tellsign.calibration.operating import OperatingPoint, allowed
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from tellsign.calibration.checks import Floats


def conformal_point(
    real_scores: ArrayLike,
    fake_scores: ArrayLike,
    *,
    alpha: float,
    groups: tuple[int, int] | None = None,
) -> OperatingPoint:
    """The thresholds between which the conformal prediction set is not one label alone.

    Implements the label-conditional split conformal predictor of Vovk (2012), with the finite-sample rank
    ceil((n + 1)(1 - alpha)) of each class. Of new images of either class, drawn as the calibration images
    were, no more than the share alpha gets the other label, whatever the distribution; the share is over the
    draw of the calibration images as well. Deviates: none; the verdict is uncertain where the set holds both
    labels, and where it holds none, which happens in the gap between classes that lie far apart.

    Args:    real_scores, fake_scores: (N,) finite; the level holds where they are of independent images.
             alpha: above 0 and below 1.
             groups: how many groups of equal size the reals and the fakes stand for
             (`tellsign.groups.effective_groups`); None: every score is one.
    Returns: the operating point, with fpr = fnr = alpha.
    Raises:  ConfigError: fewer than 1 / alpha - 1 groups of a class (no score could be refused a label), a
             score is not finite, or alpha is not a rate.
    """
    check_rate("alpha", alpha)
    real, fake = finite(real_scores, "real scores"), finite(fake_scores, "fake scores")
    needed = conformal_needed(alpha)
    n_real, n_fake = groups or (None, None)
    for values, n_groups, kind in ((real, n_real, "real"), (fake, n_fake, "fake")):
        if (n := trials(len(values), n_groups)) < needed:
            raise ConfigError(
                f"{scores_named(len(values), n_groups, kind)} cannot support conformal = {alpha:g}: found "
                f"{n}, needed {needed} (1 / alpha - 1); add {kind} images, or ask for conformal >= "
                f"{math.ceil(1e4 / (n + 1)) / 1e4:g}"
            )
    # Beyond these a label is refused: the k-th highest real, the k-th lowest fake, k = floor(alpha (n + 1)).
    above = float(np.nextafter(np.sort(real)[-allowed(alpha, len(real) + 1)], np.inf))
    below = float(np.sort(fake)[allowed(alpha, len(fake) + 1) - 1])
    return OperatingPoint(
        min(above, below), max(above, below), alpha, alpha, len(real), len(fake), "conformal"
    )


def conformal_needed(alpha: float) -> int:
    """The scores of each class that an error level needs: with fewer, no set is ever a single label.

    Args:    alpha: above 0 and below 1.
    Returns: the smallest n with 1 / (n + 1) <= alpha.
    Raises:  ConfigError: alpha is not a rate.
    """
    check_rate("alpha", alpha)
    needed = max(1, math.ceil(1 / alpha) - 1)
    while 1 / (needed + 1) > alpha:
        needed += 1
    return needed


def conformal_p_values(
    real_scores: ArrayLike, fake_scores: ArrayLike, scores: ArrayLike
) -> tuple[Floats, Floats]:
    """How well scores go with either label.

    Args:    real_scores, fake_scores: (N,) finite, of the calibration.
             scores: (B,) finite, of the inputs.
    Returns: (B,) p-values of real and (B,) of fake, each (1 + calibration scores of the label that are as
             extreme or more) / (n + 1).
    Raises:  ConfigError: a score is not finite.
    """
    asked = finite(scores, "scores")
    real, fake = np.sort(finite(real_scores, "real scores")), np.sort(finite(fake_scores, "fake scores"))
    above = len(real) - real.searchsorted(asked, side="left")
    below = fake.searchsorted(asked, side="right")
    return (1 + above) / (len(real) + 1), (1 + below) / (len(fake) + 1)
