"""What calibration lets in: arrays of scores, and numbers read back from JSON.

Shapes: N scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.types import FAKE, REAL, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]


def check_rate(name: str, rate: float) -> None:
    """Raises ConfigError unless 0 < rate < 1."""
    if not 0 < rate < 1:
        raise ConfigError(f"{name} must lie between 0 and 1, both excluded: found {rate}; write 5 % as 0.05")


def finite(values: ArrayLike, what: str) -> Floats:
    """(N,) finite numbers, or a ConfigError that names the first bad row."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what} must be numbers: {error}") from error
    if found.ndim != 1:
        raise ConfigError(f"{what} must be 1-D: found shape {found.shape}")
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise ConfigError(
            f"{what} must be finite: found {found[bad[0]]} in row {bad[0]} and {len(bad)} such rows of "
            f"{len(found)}; leave out failed inputs"
        )
    return found


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[Bools, Floats]:
    """(N,) which rows are fake and (N,) finite scores, with both classes among them."""
    truth, values = np.asarray(labels), finite(scores, "scores")
    if truth.shape != values.shape:
        raise ConfigError(f"labels and scores differ in shape: found {truth.shape} and {values.shape}")
    if not np.isin(truth, (REAL, FAKE)).all():
        raise ConfigError(f"labels must be {REAL} (real) or {FAKE} (fake); leave out rows of unknown label")
    is_fake = np.asarray(truth == FAKE, dtype=np.bool_)
    check_classes(int((~is_fake).sum()), int(is_fake.sum()))
    return is_fake, values


def check_classes(n_real: int, n_fake: int) -> None:
    """Raises ConfigError unless there are both reals and fakes."""
    if n_real < 1 or n_fake < 1:
        raise ConfigError(
            f"calibration needs reals and fakes: found {n_real} reals and {n_fake} fakes; "
            "add the missing class"
        )


def trials(n_scores: int, n_groups: int | None) -> int:
    """Independent trials among scores: groups (`effective_groups`), where it is known how many there are."""
    return n_scores if n_groups is None else n_groups


def scores_named(n_scores: int, n_groups: int | None, kind: str) -> str:
    """What a message calls the scores of a class that are too few."""
    if n_groups is None or n_groups == n_scores:
        return f"{n_scores} {kind} scores"
    return (
        f"{n_scores} {kind} scores of {n_groups} groups, each of which counts once because its images stand "
        "for each other, and unequal ones as fewer equal ones,"
    )


def check_keys(what: str, found: Mapping[str, Any], expected: tuple[str, ...]) -> None:
    """Raises ConfigError unless a stored record has exactly the expected keys."""
    if set(found) != set(expected):
        raise ConfigError(f"{what} has the keys {sorted(found)}, expected {sorted(expected)}")


def number(found: Mapping[str, Any], key: str) -> float:
    """A stored number as a float."""
    value = found[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{key} must be a number: found {value!r}")
    return float(value)


def numbers(found: Mapping[str, Any], key: str) -> tuple[float, ...]:
    """A stored list of numbers."""
    values = found[key]
    if not isinstance(values, list | tuple):
        raise ConfigError(f"{key} must be a list of numbers: found {values!r}")
    return tuple(number({key: value}, key) for value in values)


def count(found: Mapping[str, Any], key: str) -> int:
    """A stored whole number."""
    value = found[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{key} must be a whole number: found {value!r}")
    return value
