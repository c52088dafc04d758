"""Groups of rows that stand for each other, such as the frames of a video or the images of one identity.

Shapes: N rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable

    from numpy.typing import NDArray

    from tellsign.types import Sample

    Groups = Collection[Hashable] | NDArray[Any] | None


def source(group: str, video: str, dataset: str, generator: str) -> str:
    """What a row shares with the rows that it is not independent of: its group, or else its video.

    Args:    group, video, dataset, generator: of the row. A video is known by its data set, generator and
             name, so that four manipulations of one video are four.
    Returns: a name; empty where the row has neither group nor video, and is one of its own.
    """
    return group or (f"{dataset}/{generator}/{video}" if video else "")


def sources(samples: Iterable[Sample]) -> list[str]:
    """The `source` of each sample."""
    return [source(s.group, s.video, s.dataset, s.generator) for s in samples]


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
    rows = np.arange(n_rows)
    # Not a loop of Python's own, which takes several times as long.
    first = np.fromiter(map(seen.setdefault, names, range(n_rows)), dtype=np.int64, count=n_rows)
    none = (first == seen.get("", -1)) | (first == seen.get(None, -1))
    first[none] = rows[none]
    return np.asarray((np.cumsum(first == rows) - 1)[first], dtype=np.int64)


def n_groups(groups: Collection[Hashable]) -> int:
    """How many groups there are among rows; a row without a group is one of its own."""
    return int(group_numbers(groups, len(groups)).max(initial=-1)) + 1


def effective_groups(groups: Groups, n_rows: int) -> int:
    """How many groups of equal size say as much about a share of rows as these do.

    Implements the effective sample size of Kish (1965), (sum n)² / sum n², rounded down. A share of rows is
    mostly that of the largest groups: 59 single images and a video of 5000 frames are little more than one.

    Args:    groups: (N,) names; "" or None is no group. None: every row is one.
             n_rows: N.
    Returns: 1 to the number of groups, and this number where all are of one size; 0 without rows.
    Raises:  ConfigError: there are more or fewer groups than rows.
    """
    # Whole numbers of any size: nothing is rounded before the end.
    sizes = np.bincount(group_numbers(groups, n_rows)).tolist()
    return int(sum(sizes)) ** 2 // sum(size * size for size in sizes) if sizes else 0
