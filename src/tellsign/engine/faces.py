"""The faces of a training's images: what is looked at, or what attention should stay in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tellsign.data.face_boxes import FaceBoxes, face_boxes
from tellsign.data.manifest import Manifest, require_both_classes
from tellsign.engine.distributed import gathered

if TYPE_CHECKING:
    from pathlib import Path

    from tellsign.engine.config import TrainingConfig
    from tellsign.engine.distributed import Process
    from tellsign.engine.folder import Say
    from tellsign.image.network_input import NetworkInput

FACES = "faces.jsonl"  # in the run folder, where no other file is given


def with_faces(
    manifest: Manifest,
    name: str,
    run: Path,
    config: TrainingConfig,
    at: Process,
    *,
    file: Path | None,
    cache: Path | None,
    say: Say,
) -> tuple[Manifest, FaceBoxes]:
    """The images of a split that show a face, and their faces.

    Args:    manifest: the split. name: of it, for the messages.
             run, config, at, file, cache, say: as for `found_faces`.
    Returns: the images, in their order, and a box an image. One that can't be read is among them: whoever
             reads it says why.
    Raises:  ConfigError: as for `found_faces`. ManifestError: a class has no face.
    """
    faces = found_faces(manifest, run, config, at, file=file, cache=cache, say=say)
    kept = faces.shown
    shown = Manifest(tuple(manifest[row] for row in kept.tolist()))
    require_both_classes(shown, f"what shows a face of the {name} split")
    if at.is_first and len(shown) < len(manifest):
        say(f"faces: {len(manifest) - len(shown)} images of the {name} split show none, and are left out")
    return shown, faces.of(kept)


def known_faces(
    images: Manifest, look: NetworkInput, config: TrainingConfig, *, file: Path | None, cache: Path | None
) -> FaceBoxes | None:
    """Where images are looked at that `with_faces` left: their faces, from its file.

    Args:    images: some of them. look: at them.
             config: of the training. file: of the faces. cache: folder of decoded images, or none.
    Returns: a box an image; None where whole images are looked at.
    Raises:  ConfigError: dlib is missing, or the file can't be read.
    """
    if look.region == "image" or file is None:
        return None
    return face_boxes(images, file, workers=config.workers, cache=cache)


def found_faces(
    images: Manifest,
    run: Path,
    config: TrainingConfig,
    at: Process,
    *,
    file: Path | None,
    cache: Path | None,
    say: Say,
) -> FaceBoxes:
    """The face in each image, sought by all processes together and only once.

    Args:    images: where it is sought. run: the run folder.
             config: of the training. at: this process.
             file: of what was found before; None: one in the run folder.
             cache: folder of decoded images, or none.
             say: told of what happens, in one process of several.
    Returns: a box an image.
    Raises:  ConfigError: dlib is missing, a worker died, or the file can't be read or written.
    """
    file = file or run / FACES
    if at.is_first:
        say(f"faces: sought in {len(images)} images, but for those in {file.name}")
    own = Manifest(images.samples[at.rank :: at.world])
    part = face_boxes(own, file, workers=config.workers, cache=cache)
    rows: list[list[int]] = [[]] * len(images)
    for rank, found in enumerate(gathered(part.rows(), at)):
        rows[rank :: at.world] = found
    every = FaceBoxes.from_rows(rows)
    if at.is_first:
        say(f"faces: found in {every.n_found} of {len(images)} images")
    return every
