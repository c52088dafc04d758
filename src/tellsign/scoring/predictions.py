"""The predictions table: one row a sample, and the only thing that metrics read.

Two tables of the same detector are joined by concatenation, so distributed scoring needs nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tellsign.groups import source
from tellsign.scoring.names import escape
from tellsign.scoring.workers import Job, Limits, Pool
from tellsign.types import ConfigError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tellsign.data import Manifest
    from tellsign.scoring.looks import Row
    from tellsign.scoring.scorer import Scorer

COLUMNS = ("path", "label", "dataset", "generator", "group", "video", "frame", "split", "sha256")
PART = "parts."  # in front of a part's name, in the names of the file's columns


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Scores of one detector on one manifest. Columns are arrays of one length."""

    path: NDArray[np.str_]
    label: NDArray[np.int64]  # 0 real, 1 fake
    dataset: NDArray[np.str_]
    generator: NDArray[np.str_]
    group: NDArray[np.str_]
    video: NDArray[np.str_]
    frame: NDArray[np.float64]  # NaN where the sample is no frame
    split: NDArray[np.str_]
    sha256: NDArray[np.str_]
    score: NDArray[np.float64]  # NaN where there is none
    probability: NDArray[np.float64]
    verdict: NDArray[np.str_]  # real, fake, uncertain; empty where the file failed
    reason: NDArray[np.str_]  # why there is no score, or why it is not trusted
    detector: str = ""  # name@digest
    manifest: str = ""  # digest
    threshold: float = 0.0  # score from which on the verdict is fake
    parts: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # name → scores of a network's part
    engine: str = ""  # what ran the network; empty for a detector that is none

    def __len__(self) -> int:
        return len(self.path)

    @property
    def source(self) -> NDArray[np.str_]:
        """(N,) the `tellsign.groups.source` of each row."""
        found = self.group.astype(object)
        for row in np.flatnonzero((self.group == "") & (self.video != "")):
            columns = (self.group, self.video, self.dataset, self.generator)
            found[row] = source(*(str(column[row]) for column in columns))
        return found.astype(np.str_)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Predictions:
        """The rows of a mask or an index."""
        taken = {name: getattr(self, name)[rows] for name in _ARRAYS}
        return replace(self, **taken, parts={name: values[rows] for name, values in self.parts.items()})

    def write(self, path: Path) -> None:
        """Write as Parquet. Raises ConfigError where that fails."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        facts = {"detector": self.detector, "manifest": self.manifest, "threshold": repr(self.threshold)}
        facts |= {"engine": self.engine} if self.engine else {}
        columns = {name: getattr(self, name) for name in _ARRAYS}
        table = pa.table(columns | {f"{PART}{name}": values for name, values in self.parts.items()})
        draft = path.with_name(f".{path.name}.draft")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                pq.write_table(table.replace_schema_metadata(facts), draft)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error}") from error


_ARRAYS = (*COLUMNS, "score", "probability", "verdict", "reason")


def read(path: Path) -> Predictions:
    """Read a table back. Raises ConfigError where it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        columns = {name: table[name].to_numpy(zero_copy_only=False) for name in _ARRAYS}
        texts = {n: c.astype(np.str_) if c.dtype == object else c for n, c in columns.items()}
        parts = [name for name in table.column_names if name.startswith(PART)]
        return Predictions(
            **texts,
            parts={name.removeprefix(PART): table[name].to_numpy() for name in parts},
            engine=facts.get("engine", ""),
            detector=facts["detector"],
            manifest=facts["manifest"],
            threshold=float(facts["threshold"]),
        )
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise ConfigError(f"{path} is not a table of predictions: {error}") from error


def predict(
    manifest: Manifest,
    scorer: Scorer,
    *,
    limits: Limits | None = None,
    on_row: Callable[[], None] = lambda: None,
) -> Predictions:
    """Score every sample of a manifest; a file that fails keeps its row, without a score.

    Args:    manifest: labelled samples.
             scorer: the detector.
             limits: workers and what they may take.
             on_row: called after each sample.
    Returns: the table, in the manifest's order.
    Raises:  ManifestError: a label is missing, or a file differs from the manifest's checksum.
    """
    _ = manifest.labels  # refuses what has none before anything is scored
    rows = []
    jobs = (Job(sample.path) for sample in manifest)
    with Pool(scorer.again, limits or Limits()) as pool:
        for sample, (job, result) in zip(manifest, pool.rows(jobs), strict=True):
            assert result is not None
            row = scorer.empty_row(job.path, result) if isinstance(result, str) else result
            if sample.sha256 and row["sha256"] and sample.sha256 != row["sha256"]:
                raise ManifestError(
                    f"{escape(sample.path)} has changed: its sha256 is {row['sha256']}, "
                    f"the manifest says {sample.sha256}; index the data again"
                )
            rows.append(row)
            on_row()

    name, threshold = scorer.artifact.name, scorer.decision.operating_point.high
    return from_rows(rows, manifest, detector=name, threshold=threshold)


def from_rows(rows: Sequence[Row], manifest: Manifest, *, detector: str, threshold: float) -> Predictions:
    """The table of what a detector said about each sample.

    Args:    rows: one a sample, in the manifest's order; path, sha256, score, probability, label, error and
             warnings are read, and where they are there parts and engine.
             manifest: labelled samples.
             detector: name@digest.
             threshold: score from which on the verdict is fake.
    Returns: the table.
    Raises:  ManifestError: a label is missing.
    """

    def numbers(key: str) -> NDArray[np.float64]:
        return np.array([np.nan if row[key] is None else row[key] for row in rows], dtype=np.float64)

    def texts(values: list[str]) -> NDArray[np.str_]:
        return np.array(values, dtype=np.str_)

    def names(values: list[str]) -> NDArray[np.str_]:
        return texts([escape(value) for value in values])  # folders give them, in bytes of any kind

    names_of_parts = dict.fromkeys(name for row in rows for name in row.get("parts") or ())

    def part(name: str) -> NDArray[np.float64]:
        found = [(row.get("parts") or {}).get(name) for row in rows]
        return np.array([np.nan if value is None else value for value in found], dtype=np.float64)

    return Predictions(
        path=texts([row["path"] for row in rows]),
        label=np.array(manifest.labels, dtype=np.int64),
        dataset=names([s.dataset for s in manifest]),
        generator=names([s.generator for s in manifest]),
        group=names([s.group for s in manifest]),
        video=names([s.video for s in manifest]),
        frame=np.array([np.nan if s.frame is None else s.frame for s in manifest], dtype=np.float64),
        split=texts([s.split for s in manifest]),
        sha256=texts([row["sha256"] or "" for row in rows]),
        score=numbers("score"),
        probability=numbers("probability"),
        verdict=texts([row["label"] or "" for row in rows]),
        reason=texts([row["error"] or "; ".join(row["warnings"]) for row in rows]),
        detector=detector,
        manifest=manifest.digest(),
        threshold=threshold,
        parts={name: part(name) for name in names_of_parts},
        engine=next((row["engine"] for row in rows if row.get("engine")), ""),
    )
