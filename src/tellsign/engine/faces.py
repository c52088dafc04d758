"""The faces of a training's images, which the penalty on attention outside them needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tellsign.data.face_boxes import FaceBoxes, face_boxes
from tellsign.data.manifest import Manifest
from tellsign.engine.distributed import gathered

if TYPE_CHECKING:
    from pathlib import Path

    from tellsign.engine.config import TrainingConfig
    from tellsign.engine.distributed import Process
    from tellsign.engine.folder import Say

FACES = "faces.jsonl"  # in the run folder, where no other file is given


def found_faces(
    training: Manifest,
    run: Path,
    config: TrainingConfig,
    at: Process,
    *,
    file: Path | None,
    cache: Path | None,
    say: Say,
) -> FaceBoxes | None:
    """The face in each image, sought by all processes together and only once; None where nobody asks.

    Args:    training: the images. run: the run folder.
             config: of the training. at: this process.
             file: of what was found before; None: one in the run folder.
             cache: folder of decoded images, or none.
             say: told of what happens, in one process of several.
    Returns: a box an image.
    Raises:  ConfigError: dlib is missing, a worker died, or the file can't be read or written.
    """
    if not config.attention_weight:
        return None
    file = file or run / FACES
    if at.is_first:
        say(f"faces: sought in {len(training)} images, but for those in {file.name}")
    own = Manifest(training.samples[at.rank :: at.world])
    part = face_boxes(own, file, workers=config.workers, cache=cache)
    rows: list[list[int]] = [[]] * len(training)
    for rank, found in enumerate(gathered(part.rows(), at)):
        rows[rank :: at.world] = found
    every = FaceBoxes.from_rows(rows)
    if at.is_first:
        say(f"faces: found in {every.n_found} of {len(training)} images; the others get no penalty")
    return every
