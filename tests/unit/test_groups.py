"""What rows belong together: one rule for samples, predictions, splits and calibration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tellsign.calibration import CalibrationConfig, check_support
from tellsign.data import Manifest
from tellsign.groups import effective_groups, n_groups, source, sources
from tellsign.scoring.predictions import from_rows
from tellsign.train import class_groups
from tellsign.types import FAKE, REAL, ConfigError, ManifestError, Sample

ROWS = (
    Sample(Path("0.png"), REAL, "x", "", group="anna", video="v"),
    Sample(Path("1.png"), REAL, "x", "", video="v", frame=0.0),
    Sample(Path("2.png"), REAL, "x", "", video="v", frame=1.0),
    Sample(Path("3.png"), FAKE, "x", "g", video="v", frame=0.0),
    Sample(Path("4.png"), FAKE, "x", "h", video="v", frame=0.0),
    Sample(Path("5.png"), FAKE, "y", "g", video="v", frame=0.0),
    Sample(Path("6.png"), FAKE, "y", "g"),
    Sample(Path("7.png"), FAKE, "y", "g"),
)
NAMES = ["anna", "x//v", "x//v", "x/g/v", "x/h/v", "y/g/v", "", ""]


def test_a_row_belongs_to_its_group_or_else_to_its_video() -> None:
    assert source("anna", "v", "x", "g") == "anna"
    assert source("", "", "x", "g") == ""
    assert sources(ROWS) == NAMES
    assert sources(()) == []


def test_predictions_and_samples_have_one_rule() -> None:
    empty = {"sha256": "", "score": 0.0, "probability": 0.5, "label": "real", "error": None, "warnings": []}
    rows = [{"path": str(sample.path), **empty} for sample in ROWS]
    table = from_rows(rows, Manifest(ROWS), detector="d@1", threshold=0.0)  # type: ignore[arg-type]
    assert table.source.tolist() == sources(ROWS) == NAMES


def test_calibration_counts_a_video_once() -> None:
    assert class_groups(Manifest((*ROWS, replace(ROWS[0], path=Path("0b.png"))))) == (2, 5)
    assert n_groups(sources(ROWS)) == 7
    assert class_groups(Manifest(tuple(replace(sample, video="") for sample in ROWS))) == (3, 5)


def test_groups_of_one_size_count_as_they_are_and_unequal_ones_as_fewer() -> None:
    for size in (1, 7):
        names = [f"{group}" for group in range(60) for _ in range(size)]
        assert effective_groups(names, len(names)) == n_groups(names) == 60
    assert effective_groups(["", None, ""], 3) == effective_groups(None, 3) == 3
    assert effective_groups((), 0) == 0
    # (sum n)^2 / sum n^2: 8^2 / (4^2 + 4) = 3.2, 5^2 / (3^2 + 2^2) = 1.92.
    assert effective_groups([*"aaaa", "", "", "", ""], 8) == 3
    assert effective_groups([*"aaabb"], 5) == 1
    with pytest.raises(ConfigError, match="1 groups and 2 rows"):
        effective_groups(["a"], 2)


def test_a_long_video_beside_single_images_supports_no_rate() -> None:
    """The share of these reals above a threshold is the share of the video's frames."""
    singles = tuple(Sample(Path(f"{k}.png"), label) for label in (REAL, FAKE) for k in range(60))
    video = tuple(replace(singles[0], path=Path(f"v{k}.png"), video="v") for k in range(5000))
    assert class_groups(Manifest(singles)) == (60, 60)
    check_support((60, 60), class_groups(Manifest(singles)), CalibrationConfig())
    found = class_groups(Manifest((*singles[1:], *video)))
    assert found == (1, 60)
    with pytest.raises(ConfigError, match=r"5059 real scores of 1 groups, .* found 1, needed 60"):
        check_support((5059, 60), found, CalibrationConfig())


def test_no_video_is_torn_by_a_split() -> None:
    """Also where no group is given: else half of a video's frames judges what learnt from the other half."""
    frames = tuple(
        Sample(Path(f"{label}-{v}-{k}.png"), label, "x", "g" if label else "", video=f"{v}", frame=float(k))
        for label in (REAL, FAKE)
        for v in range(20)
        for k in range(5)
    )
    parts = Manifest(frames).split({"train": 0.5, "valid": 0.5}, seed=0)
    assert not {*sources(parts["train"])} & {*sources(parts["valid"])}
    assert {len(part) for part in parts.values()} == {100}
    with pytest.raises(ManifestError, match="1 groups are too few"):
        Manifest(frames[:5]).split({"train": 0.5, "valid": 0.5}, seed=0)
