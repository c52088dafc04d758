"""Groups of rows that stand for each other, such as the frames of a video or the images of one identity.

Shapes: N rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

    from numpy.typing import NDArray

    Groups = Collection[Hashable] | NDArray[Any] | None


def group_numbers(groups: Groups, n_rows: int) -> NDArray[np.int64]:
    """Which group each row is of; a row without a group is one of its own.

    Args:    groups: (N,) names; "" or None is no group. None: every row is one.
             n_rows: N.
    Returns: (N,) 0 to G - 1 without gaps, in the order in which groups first appear.
    Raises:  ConfigError: there are more or fewer groups than rows.
    """
    if groups is None:
        return np.arange(n_rows)
    # A list and not an array: a million paths as an array of text fill hundreds of megabytes.
    names = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(names) != n_rows:
        raise ConfigError(f"groups must name one group a row: found {len(names)} groups and {n_rows} rows")
    seen: dict[Hashable, int] = {}
    first = np.fromiter(
        (row if name is None or name == "" else seen.setdefault(name, row) for row, name in enumerate(names)),
        dtype=np.int64,
        count=n_rows,
    )
    return np.asarray((np.cumsum(first == np.arange(n_rows)) - 1)[first], dtype=np.int64)


def n_groups(groups: Collection[Hashable]) -> int:
    """How many groups there are among rows; a row without a group is one of its own."""
    return int(group_numbers(groups, len(groups)).max(initial=-1)) + 1
