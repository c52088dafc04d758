"""Fixtures that several test layers share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real images beside the project, or a skip that says how to provide it."""
    root = Path(os.environ.get("TELLSIGN_DATA", ROOT.parent / "shared" / "data"))
    if not (root / "manifest.csv").is_file():
        pytest.skip(f"no data at {root}: set TELLSIGN_DATA to a folder with manifest.csv")
    return root
