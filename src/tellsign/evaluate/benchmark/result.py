"""What a benchmark found: cells, comparisons, and where every number comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tellsign.scoring import predictions
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tellsign.scoring.predictions import Predictions

    Block = dict[str, Any]

FILE = "benchmark.json"
KEYS = ("name", "config", "cells", "averages", "comparisons", "runs", "provenance")


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkResult:
    """A finished benchmark. All but `out` and `failures` is JSON-ready, and the same for the same inputs."""

    name: str
    config: Block  # resolved
    cells: tuple[Block, ...]  # see `tellsign.evaluate.benchmark.cells`
    averages: tuple[Block, ...]  # over test sets
    comparisons: tuple[Block, ...]  # pairs of detectors on images as they are
    runs: tuple[Block, ...]  # one a table of predictions: what met what, how many rows, its file below `out`
    provenance: Block  # digests, versions, seeds
    out: Path  # the benchmark's folder
    failures: tuple[Block, ...] = ()  # samples without a verdict: path, reason, places; of a fresh run
    # (detector, test) → predictions on images as they are, as a metric reads them: without samples that the
    # detector learnt from; those that have no score are left out or the worst, by `missing`; of a fresh run.
    plain: Mapping[tuple[str, str], Predictions] = field(default_factory=dict)

    def predictions(self, run: Block) -> Predictions:
        """The predictions of one of `runs`. Raises ConfigError where the file is gone."""
        return predictions.read(self.out / run["file"])

    def to_dict(self) -> Block:
        """What `benchmark.json` holds."""
        return {key: list(v) if isinstance(v := getattr(self, key), tuple) else v for key in KEYS}

    def write(self) -> Path:
        """Write `benchmark.json`, one cell a line. Raises ConfigError where that fails."""
        path = self.out / FILE
        draft = path.with_name(f".{FILE}.draft")
        parts = [f"{json.dumps(key)}: {_lines(value)}" for key, value in self.to_dict().items()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
        return path


def read(out: Path) -> BenchmarkResult:
    """A finished benchmark from its folder.

    Args:    out: where `benchmark.json` lies.
    Returns: the result, without the failures' reasons, which are in the predictions.
    Raises:  ConfigError: there is none, or it is of another kind.
    """
    path = out / FILE
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        values: Block = {key: tuple(tree[key]) if isinstance(tree[key], list) else tree[key] for key in KEYS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no result of `tellsign benchmark`: {error!r}") from error
    return BenchmarkResult(**values, out=out)


def _lines(value: Any) -> str:
    """JSON with one entry of a list a line."""
    if not isinstance(value, list):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "[\n" + ",\n".join(json.dumps(v, ensure_ascii=False, allow_nan=False) for v in value) + "\n]"
