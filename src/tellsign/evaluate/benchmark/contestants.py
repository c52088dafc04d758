"""Entries of a benchmark's [[detector]] → detectors that exist, trained once where need be."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tellsign import artifacts, hub
from tellsign.evaluate.benchmark.sets import library_versions, rows_digest
from tellsign.groups import sources
from tellsign.scoring.decision import Decision
from tellsign.train import train, versions
from tellsign.types import ArtifactError, ConfigError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tellsign.artifacts import Artifact
    from tellsign.data import Manifest
    from tellsign.evaluate.benchmark.config import BenchmarkConfig, DetectorConfig
    from tellsign.evaluate.benchmark.sets import DataSet

LEARNT = ("train", "valid")  # splits that a detector is fitted, chosen or calibrated on


@dataclass(frozen=True, slots=True)
class Contestant:
    """A detector of the benchmark, and what it knows already."""

    name: str  # in the tables
    path: Path  # of its folder
    digest: str  # of its folder
    artifact: str  # name@digest, as predictions have it
    threshold: float  # score from which on the verdict is fake
    datasets: frozenset[str] | None  # that it learnt from; None: it doesn't say
    # Groups, or videos without one, that it learnt from; None: the benchmark does not name its data.
    groups: frozenset[str] | None
    contents: frozenset[str] | None  # checksums of the files that it learnt from, and of their sources
    is_checked: bool = False  # whether these are what it learnt from, as far as it says


def contestant(
    entry: DetectorConfig,
    config: BenchmarkConfig,
    training: DataSet | None,
    out: Path,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> Contestant:
    """The detector of one entry.

    Args:    entry: of the benchmark's [[detector]].
             config: of the benchmark.
             training: the data that `entry.train` names.
             out: folder of the benchmark; what is trained goes to `out/detectors/NAME`, and is taken from
             there by the next run with the same configuration, data, libraries and code.
             say: told what happens.
    Returns: the detector.
    Raises:  ConfigError, ManifestError, ArtifactError: it can't be trained or loaded.
    """
    if entry.config is None:
        assert entry.path is not None
        artifact = artifacts.load(_folder(entry.path, Path(config.root)))
    else:
        assert training is not None
        artifact = _trained(entry, training, out / "detectors" / entry.name, say)
    learnt = training.manifest.filter(split=LEARNT) if training is not None else None
    return Contestant(
        name=entry.name,
        path=artifact.path,
        digest=artifact.digest,
        artifact=artifact.name,
        threshold=Decision.of(artifact).operating_point.high,
        datasets=_datasets(artifact.spec),
        groups=None if learnt is None else frozenset(sources(learnt)) - {""},
        contents=_contents(training, learnt),
        is_checked=training is not None and _learnt_from(artifact.spec, training),
    )


def _contents(training: DataSet | None, learnt: Manifest | None) -> frozenset[str] | None:
    """Checksums of what was learnt from, and of what that was harmonised from."""
    if training is None or learnt is None:
        return None
    return frozenset(content for sample in learnt for content in training.contents(sample))


def _folder(path: str, root: Path) -> Path:
    """A shipped name, or a folder below the root."""
    return hub.detector_path(path if path in hub.shipped_detectors() else root / path)


def _trained(entry: DetectorConfig, training: DataSet, folder: Path, say: Callable[[str], None]) -> Artifact:
    assert entry.config is not None
    if training.failed:
        path, why = next(iter(training.failed.items()))
        raise ManifestError(
            f"[data.{training.name}]: {len(training.failed)} images that {entry.name} should be trained on "
            f"cannot be used, e.g. {str(path)!a}: {why}; a training set is not shrunk in silence, filter "
            "them out"
        )
    # Every column but the path, and their order: the halves of the validation split follow from them.
    wanted = {
        "config": asdict(entry.config),
        "rows": rows_digest(training.manifest),
        "versions": {**library_versions(), **versions()},
    }
    record = folder.with_name(f".{folder.name}.json")  # no detector's name begins with a dot
    if folder.exists():
        try:
            artifact = artifacts.load(folder)
        except ArtifactError as error:
            raise ConfigError(f"{error}; it is the benchmark's own: remove {folder}") from error
        if _recorded(record) == json.loads(json.dumps({**wanted, "digest": artifact.digest})):
            return artifact
    say(f"training {entry.name} on {training.name}: {len(training.manifest)} images")
    train(entry.config, training.manifest, folder, say=say)
    artifact = artifacts.load(folder)
    # Names the detector, so that a run killed before this line trains again and takes over no other.
    record.write_text(json.dumps({**wanted, "digest": artifact.digest}, indent=2) + "\n", encoding="utf-8")
    return artifact


def _recorded(record: Path) -> Any:
    """What a detector of the benchmark's own was made from; None where nothing says so."""
    try:
        return json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _learnt_from(spec: Mapping[str, Any], training: DataSet) -> bool:
    """Whether a detector's own record, where it has one, is of the data that the benchmark names."""
    recorded = spec.get("data", {}).get("manifest")
    return recorded is None or bool(recorded == training.manifest.digest())


def _datasets(spec: Mapping[str, Any]) -> frozenset[str] | None:
    """Names of the data sets in a detector's training and calibration data."""
    parts = [spec.get("data", {}).get(part, {}) for part in ("train", "select", "calibrate")]
    names = {name.rpartition("/")[0] for part in parts for name in part.get("by_dataset", {})}
    return frozenset(names) or None
