"""How scores become probabilities and labels: the options, and the operating points that they ask for.

Shapes: N scores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from tellsign.calibration.conformal import conformal_point
from tellsign.calibration.operating import equal_error_point, operating_point
from tellsign.calibration.probability import Method
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from tellsign.calibration.operating import OperatingPoint

PLATT = "platt"  # the other name of the sigmoid method
STORED_RATES = (0.01, 0.05)  # whose thresholds every detector holds, where its data support them


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """How scores become probabilities and labels."""

    method: Method = "sigmoid"  # or platt, the same; isotonic, from a thousand images on; temperature
    fpr: float | Literal["eer"] = 0.05  # share of real images that may be called fake; or eer
    fnr: float = 0.05  # share of fakes that may be called real
    domain_quantile: float = 0.99  # share of calibration images that the domain check lets through
    conformal: float | None = None  # error level of conformal abstention, in place of fpr and fnr

    def __post_init__(self) -> None:
        if self.method == PLATT:
            object.__setattr__(self, "method", "sigmoid")
        if self.method not in get_args(Method):
            raise ConfigError(f"method is one of {', '.join(get_args(Method))}, found {self.method!r}")
        for name in ("fpr", "fnr", "domain_quantile", "conformal"):
            value = getattr(self, name)
            if (name, value) in (("conformal", None), ("fpr", "eer")):
                continue
            if not isinstance(value, (int, float)) or not 0 < value < 1:
                other = '; or "eer"' if name == "fpr" else ""
                raise ConfigError(f"{name} is a share between 0 and 1, both excluded, found {value!r}{other}")
        if self.fpr == "eer" and self.conformal is not None:
            raise ConfigError(
                f'fpr = "eer" and conformal = {self.conformal} are two rules for one pair of thresholds; '
                "leave one out"
            )

    @property
    def rule(self) -> str:
        """The name under which a detector stores the operating point that this asks for."""
        if self.conformal is not None:
            return f"conformal_{self.conformal:g}"
        return "eer" if self.fpr == "eer" else f"fpr_{self.fpr:g}"

    @classmethod
    def of(cls, point: OperatingPoint) -> CalibrationConfig:
        """The options that ask for the same kind of point again, on other scores."""
        if point.rule == "conformal":
            return cls(conformal=point.fpr)
        return cls(fpr="eer") if point.rule == "eer" else cls(fpr=point.fpr, fnr=point.fnr)


def chosen_point(
    real_scores: ArrayLike,
    fake_scores: ArrayLike,
    config: CalibrationConfig,
    *,
    groups: tuple[int, int] | None = None,
    supported: bool = True,
) -> OperatingPoint:
    """The operating point that a configuration asks for.

    Args:    real_scores, fake_scores: (N,) finite. config: the rule and its rates.
             groups: how many groups of equal size the reals and the fakes stand for
             (`tellsign.groups.effective_groups`); None: every score is one.
             supported: refuse groups too few for the rates. Without it the point is for cross-fitting only.
    Returns: the operating point.
    Raises:  ConfigError: the groups are too few for the rule, or not finite.
    """
    if config.conformal is not None:
        return conformal_point(real_scores, fake_scores, alpha=config.conformal, groups=groups)
    if config.fpr == "eer":
        return equal_error_point(real_scores, fake_scores, groups=groups, supported=supported)
    return operating_point(
        real_scores, fake_scores, fpr=config.fpr, fnr=config.fnr, groups=groups, supported=supported
    )


def check_support(scores: tuple[int, int], groups: tuple[int, int], config: CalibrationConfig) -> None:
    """Raises ConfigError where images are too few for a rule, before any of them is read.

    Args:    scores: how many reals and fakes there are. groups: how many equal groups they stand for.
             config: the rule and its rates.
    """
    chosen_point(np.zeros(scores[0]), np.zeros(scores[1]), config, groups=groups)


def points_by_rule(
    real_scores: ArrayLike,
    fake_scores: ArrayLike,
    config: CalibrationConfig,
    *,
    groups: tuple[int, int] | None = None,
) -> dict[str, dict[str, Any]]:
    """The operating points of all rules side by side: FPR 1 % and 5 %, equal error, and the one asked for.

    Args:    real_scores, fake_scores: (N,) finite. config: the rule and its rates.
             groups: how many groups of equal size the reals and the fakes stand for
             (`tellsign.groups.effective_groups`); None: every score is one.
    Returns: name of a rule → its operating point; or {"refused": why} where the groups are too few for it.
    """
    rules = [replace(config, fpr=fpr, conformal=None) for fpr in STORED_RATES]
    rules += [replace(config, fpr="eer", conformal=None), config]
    found: dict[str, dict[str, Any]] = {}
    for rule in rules:
        try:
            found[rule.rule] = chosen_point(real_scores, fake_scores, rule, groups=groups).to_dict()
        except ConfigError as error:
            found[rule.rule] = {"refused": str(error)}
    return found
