"""The table on a terminal: a figure only where it means something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector import write_detector
from pictures import natural, save, upsampled
from tellsign.scoring.looks import BETWEEN
from tellsign.scoring.scorer import Scorer
from tellsign.terminal import HEADER, verdict_line


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer(write_detector(tmp_path_factory.mktemp("detector") / "stand-in"))


def shown(line: str) -> str:
    """What stands below P(fake)."""
    return line[: HEADER.index("  file")].rsplit(maxsplit=1)[-1]


def test_a_picture_unlike_the_training_has_no_figure(scorer: Scorer, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((3, 64, 64)).astype(np.float32)
    (row,) = scorer.rows([(save(noise, tmp_path / "noise.png"), None)])
    assert row is not None
    assert row["probability"] is not None, "for scripts it stays"
    line = verdict_line(row)
    assert line.startswith("can't tell")
    assert shown(line) == "–"
    assert "a verdict would be a guess" in line


def test_every_other_score_has_its_figure(scorer: Scorer, tmp_path: Path) -> None:
    for picture in (natural(1), upsampled(2)):
        (row,) = scorer.rows([(save(picture, tmp_path / "a.png"), None)])
        assert row is not None
        # What only needs saying of the file takes no figure away, nor does a score between the thresholds.
        for changes in (
            {},
            {"warnings": ["the file has two frames"]},
            {"label": "uncertain", "reason": BETWEEN},
        ):
            assert shown(verdict_line(row | changes)) == f"{row['probability']:.2f}"
