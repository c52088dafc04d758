"""`tellsign evaluate --missing`: what becomes of images that fail or are too small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import SCRIPT, inside, tellsign

from detector import CROP, write_detector
from pictures import natural, save, upsampled
from tellsign.scoring.predictions import read

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the tellsign command is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector, and a manifest of 4 reals and 4 fakes, of which one is no image and one too small."""
    folder = tmp_path_factory.mktemp("missing")
    write_detector(folder / "toy")
    rows = ["path,label"]
    for label, picture in ((0, natural), (1, upsampled)):
        for number in range(4):
            size = CROP // 2 if (label, number) == (0, 3) else 2 * CROP
            path = save(picture(number + 90, size, size), folder / f"{label}-{number}.png")
            rows.append(f"{path.name},{label}")
    (folder / "1-3.png").write_bytes(b"no image")
    (folder / "data.csv").write_text("\n".join(rows) + "\n")
    return folder


def evaluated(folder: Path, *options: str, code: int, run=inside):
    done = run(
        "evaluate", "toy", "--data", "data.csv", "--workers", "1", "--resamples", "20", *options, cwd=folder
    )
    assert done.code == code, done.messages
    assert "Traceback" not in done.messages
    # The failed image is named whatever becomes of it.
    assert "1-3.png" in done.messages
    return done


def test_by_default_it_stops_counts_them_and_keeps_the_predictions(folder: Path, tmp_path: Path) -> None:
    done = evaluated(folder, "--output", str(tmp_path / "rows.parquet"), code=2)
    assert done.out == b""
    said = done.messages
    assert "2 of 8 samples have no score (75.0% scored)" in said
    assert "0-3.png" in said
    assert len(read(tmp_path / "rows.parquet")) == 8
    other = evaluated(folder, "--missing", "error", "--json", code=2, run=tellsign)
    assert other.out == b""


def test_they_are_left_out_or_count_as_wrong(folder: Path) -> None:
    left_out = json.loads(evaluated(folder, "--missing", "exclude", "--json", code=1).text)
    worst = json.loads(evaluated(folder, "--missing", "worst", "--json", code=1).text)
    for result, policy in ((left_out, "exclude"), (worst, "worst")):
        assert (result["n"], result["scored"], result["missing"]) == (8, 6, policy)
    # Six pairs are added to nine, each of them lost, and the pair of the two missing ones.
    assert worst["metrics"]["auroc"]["value"] == pytest.approx(left_out["metrics"]["auroc"]["value"] * 9 / 16)
    text = evaluated(folder, "--missing", "exclude", code=1).text
    assert "2 without a score are left out of the metrics; 75.0% have one" in text


def test_an_unknown_policy_is_wrong_usage(folder: Path) -> None:
    done = inside("evaluate", "toy", "--data", "data.csv", "--missing", "drop", cwd=folder)
    assert done.code == 2
    assert "drop" in done.messages
