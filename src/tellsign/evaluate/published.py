"""The values that the papers print, as data: what a measured number may stand beside.

Values are as printed, accuracy and AUC in per cent. What we worked out from a paper's own rows is marked as
`recomputed` and never takes the place of the printed value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from tellsign.types import ConfigError

_FILE = Path(__file__).with_name("published.json")
_N_SHOWN = 12  # values that an error lists


@dataclass(frozen=True, slots=True)
class Published:
    """One printed value. A column that the table does not have is None."""

    paper: str  # key of `papers`
    table: str  # e.g. "Table 1", "abstract", "CelebA.ipynb"
    method: str
    train_set: str | None
    test_set: str | None
    metric: str  # accuracy, auc, ...
    value: float | tuple[float, ...] | None  # a range has two; None where the table has a dash
    unit: str | None = None  # %, points
    variant: str | None = None  # of the test images: Raw, +P, +E, +R, +A
    resynthesizer: str | None = None
    n_samples: int | None = None
    mode: str | None = None  # supervised, unsupervised, video majority vote
    label: int | None = None  # 0 real or 1 fake, of a count
    epsilon: float | tuple[float, ...] | None = None  # of an attack
    components: Mapping[str, bool] | None = None  # which parts an ablation has
    version: str | None = None  # of the paper
    year: int | None = None  # of a method that a paper cites
    source: str | None = None  # where it is printed, if not in the paper
    note: str | None = None
    recomputed: float | Mapping[str, float] | None = None  # ours, from the paper's own rows
    matches_to_0_1: bool | None = None  # whether `recomputed` rounds to `value`, to 0.1


def papers() -> dict[str, str]:
    """Key and name of every paper with published values."""
    return dict(_content()[0])


def records(paper: str | None = None, table: str | None = None, **filters: Any) -> list[Published]:
    """Published values, in the order of the papers' tables.

    Args:    paper: one of `papers()`; None takes all. table: as the record has it; None takes all.
             filters: further columns and the value that each must have, e.g. test_set="Celeb-DF v2".
    Returns: one record or more.
    Raises:  ConfigError: there is no such column, or no record has that value; the message lists what exists.

    Example:
        >>> records("upconv-spectrum", "Table 4", method="K-means", n_samples=2000)[0].value
        96
    """
    columns = [field.name for field in fields(Published)]
    if unknown := sorted(set(filters) - set(columns)):
        raise ConfigError(f"published values have no column {unknown[0]!r}; there are {', '.join(columns)}")
    asked = {"paper": paper, "table": table}
    wanted = {name: value for name, value in asked.items() if value is not None} | filters
    found = list(_content()[1])
    chosen: list[str] = []
    for name, value in wanted.items():
        kept = [record for record in found if getattr(record, name) == value]
        if not kept:
            where = f" where {', '.join(chosen)}" if chosen else ""
            raise ConfigError(
                f"no published value has {name} {value!r}{where}; there are {_listed(found, name)}"
            )
        found = kept
        chosen.append(f"{name} is {value!r}")
    return found


def printed(paper: str, table: str, method: str, metric: str = "accuracy", **facts: Any) -> Published | None:
    """The one value that a paper prints for a method.

    Args:    paper: one of `papers()`. table, method, metric: as the record has them.
             facts: further columns and the value that each must have, e.g. n_samples=2000. Together they name
             one record at most.
    Returns: the record; None where the paper prints no such value, or a dash in its place.
    """
    wanted = {"paper": paper, "table": table, "method": method, "metric": metric, **facts}
    found = [r for r in _content()[1] if all(getattr(r, key) == value for key, value in wanted.items())]
    assert len(found) < 2, f"{wanted} names {len(found)} records"
    return found[0] if found and found[0].value is not None else None


def share(paper: str, table: str, method: str, metric: str = "accuracy", **facts: Any) -> float | None:
    """A value that a paper prints in per cent, as a share.

    Args:    paper, table, method, metric, facts: as for `printed`.
    Returns: from 0 to 1; None where the paper prints no such value, a dash, or a range.
    """
    found = printed(paper, table, method, metric, **facts)
    return None if found is None else share_of(found)


def share_of(record: Published) -> float | None:
    """A record's value in per cent as a share; None of a dash or a range."""
    return record.value / 100 if isinstance(record.value, (int, float)) else None


def _listed(found: list[Published], name: str) -> str:
    values = list(dict.fromkeys(repr(getattr(record, name)) for record in found))
    more = f" and {len(values) - _N_SHOWN} more" if len(values) > _N_SHOWN else ""
    return ", ".join(values[:_N_SHOWN]) + more


@lru_cache(maxsize=1)
def _content() -> tuple[dict[str, str], tuple[Published, ...]]:
    content = json.loads(_FILE.read_text(encoding="utf-8"))
    rows = ({name: _frozen(value) for name, value in row.items()} for row in content["records"])
    return content["meta"]["papers"], tuple(Published(**row) for row in rows)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
