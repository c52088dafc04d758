"""Predictions → the reliability plot of their probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tellsign.calibration import reliability
from tellsign.explain.figures import png
from tellsign.explain.reliability import reliability_plot
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.scoring.predictions import Predictions


def check_picture(path: Path) -> None:
    """Refuse, before anything is scored, a file that no plot can be written to.

    Args:    path: of the picture.
    Raises:  ConfigError: its suffix is not .png, or its folder is missing.
    """
    if path.suffix.lower() != ".png":
        raise ConfigError(f"a plot is written as PNG: found {path.name!a}; end its name with .png")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {str(path.parent)!a} to write {path.name!a} to; make it first")


def write_reliability(predictions: Predictions, path: Path, *, prior: float | None = None) -> None:
    """Draw what the probabilities said over what was so; rows without a probability are left out.

    Args:    predictions: labelled rows.
             path: of the PNG file.
             prior: share of fakes that the probabilities assume, for the caption.
    Raises:  ConfigError: no row has a probability, or the file can't be written.
    """
    check_picture(path)
    rows = predictions.take(~np.isnan(predictions.probability))
    if not len(rows):
        raise ConfigError(f"none of {len(predictions)} samples has a probability; there is nothing to draw")
    found = reliability(rows.label, rows.probability, groups=rows.source.tolist())
    try:
        path.write_bytes(png(reliability_plot(found, prior=prior)))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error}") from error
