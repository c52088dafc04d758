"""A share of independent trials and its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tellsign.types import ConfigError

Z = 1.959963984540054  # 97.5 % of the standard normal distribution lie below


@dataclass(frozen=True, slots=True)
class Share:
    """A share of n independent trials with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int  # trials; of grouped rows, as many groups of equal size as say the same

    def to_dict(self) -> dict[str, Any]:
        """{"value", "ci": [low, high], "n"}, ready for JSON."""
        return {"value": self.value, "ci": [self.low, self.high], "n": self.n}


def wilson(share: float, n: int) -> Share:
    """A share and its score interval, which holds at 0 and at 1 too.

    Implements Wilson (1927) at 95 %. Deviates: none.

    Args:    share: 0 to 1. n: independent trials that it was found in, at least 1. Of rows in groups give
             `tellsign.groups.effective_groups`: each group as one trial, the large ones weighed as they
             weigh in the share.
    Returns: the share with its interval.
    Raises:  ConfigError: there are no trials, or the share is not between 0 and 1.
    """
    if n < 1 or not 0 <= share <= 1:
        raise ConfigError(
            f"an interval needs a share between 0 and 1 of at least 1 trial: found {share} of {n}"
        )
    spread = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    middle, weight = share + Z * Z / (2 * n), 1 + Z * Z / n
    # Rounding may leave the share outside of its own interval, at 0 and at 1.
    low, high = max(0.0, (middle - spread) / weight), min(1.0, (middle + spread) / weight)
    return Share(share, min(low, share), max(high, share), n)
