"""What SFCL-HCMF's tables are made from: its configuration, and what its detectors say of images.

Shapes: N images.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tellsign.artifacts import RUN_SUFFIX
from tellsign.data import Manifest
from tellsign.data.left_out import LeftOut
from tellsign.evaluate import study as studies
from tellsign.evaluate.cells import Scores
from tellsign.groups import sources
from tellsign.types import ArtifactError, ManifestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.data.face_boxes import FaceBoxes
    from tellsign.evaluate.reproduce import Inputs
    from tellsign.evaluate.study import Study
    from tellsign.systems.sfcl_hcmf.config import SfclHcmfConfig
    from tellsign.types import FloatArray

SYSTEM = "sfcl-hcmf"
SMALL = Path(__file__).with_name("small.toml")  # what is trained where --config says nothing


def study(inputs: Inputs) -> Study | None:
    """What is to be trained and tested; see `evaluate.study.study`."""
    return studies.study(inputs, system=SYSTEM, small=SMALL, scorer=scores_on)


def configuration(file: Path | None) -> SfclHcmfConfig:
    """The options in a file for `tellsign train`; by default those of configs/sfcl-hcmf-small.toml.

    Args:    file: TOML.
    Returns: the options.
    Raises:  ConfigError: as for `evaluate.study.configuration`.
    """
    found: SfclHcmfConfig = studies.configuration(file or SMALL, system=SYSTEM)
    return found


def scores_on(detector: Path, test: Manifest, config: SfclHcmfConfig) -> Scores:
    """What a detector that SFCL-HCMF wrote says of images, by PyTorch: log-odds of fake.

    Args:    detector: its folder.
             test: labelled images.
             config: what it was trained with, and what happens at bad images.
    Returns: the scores of those that can be used.
    Raises:  ManifestError: an image can't be used and may not be skipped, or none can. ArtifactError: there
             is no such detector, or its scores are no numbers. ConfigError: dlib is missing, where it looks
             at faces.
    """
    found = image_scores(detector, test, config, left_out=LeftOut.of(config.training))
    rows = np.flatnonzero(np.isfinite(found)).astype(np.int64)
    if not len(rows):
        raise ManifestError(f"none of {len(test)} images can be used")
    groups = sources(test)
    return Scores(
        rows=rows,
        labels=np.array(test.labels, dtype=np.int64)[rows],
        groups=tuple(groups[row] for row in rows),
        fused=found[rows],
        parts={},
    )


def image_scores(
    detector: Path, images: Manifest, config: SfclHcmfConfig, *, left_out: LeftOut
) -> FloatArray:
    """`scores_on`, one an image.

    Args:    detector: folder of a detector. images: labelled or not. config: as for `scores_on`.
             left_out: takes those that can't be used, and those that show no face to a detector of faces.
    Returns: (N,) log-odds of fake, NaN of those.
    Raises:  ManifestError: an image can't be used and may not be left out. ArtifactError, ConfigError: as for
             `scores_on`.
    """
    from tellsign.engine.distributed import this_process
    from tellsign.engine.scores import network_scores
    from tellsign.systems.sfcl_hcmf.system import SfclHcmfSystem

    options = config.training
    network = SfclHcmfSystem().network(detector).to(this_process(options.device).device)
    rows, faces = _looked_at(detector, images, config, left_out)
    own = Manifest(tuple(images[row] for row in rows))
    scores, bad = network_scores(
        network, own, config.input.look, batch_size=options.batch_size, workers=options.workers, faces=faces
    )
    for row, reason in bad.items():
        left_out.add(own[row].path, reason)
    if not np.isfinite(np.delete(scores, list(bad))).all():
        raise ArtifactError(
            f"{detector}: the network gives scores that are not finite; train it with a lower learning rate"
        )
    found = np.full(len(images), np.nan)
    found[rows] = scores
    return found


def _looked_at(
    detector: Path, images: Manifest, config: SfclHcmfConfig, left_out: LeftOut
) -> tuple[NDArray[np.intp], FaceBoxes | None]:
    """Rows of the images that are looked at, with their faces where faces are."""
    if config.region == "image":
        return np.arange(len(images)), None
    from tellsign.data.face_boxes import face_boxes
    from tellsign.engine.faces import FACES

    file = detector.with_name(detector.name + RUN_SUFFIX) / FACES
    faces = face_boxes(images, file, workers=config.training.workers)
    for row in np.setdiff1d(np.arange(len(images)), faces.shown):
        left_out.pass_over(images[row].path, "no face was found")
    return faces.shown, faces.of(faces.shown)
