"""Real images and what an auto-encoder makes of them, pair by pair, as PNG files with a manifest. No PyTorch.

The two of a pair show the same thing in the same crop, and differ in nothing but the up-convolution: what a
detector tells apart there is neither a scene nor a file format.

Shapes: S side of a crop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tellsign.data import Manifest, write
from tellsign.data.picture import picture
from tellsign.generators.sampling import IMAGES, MANIFEST, SLACK, artifact_run, begin, write_image
from tellsign.groups import sources
from tellsign.image.network_input import NetworkInput, seen
from tellsign.lock import locked
from tellsign.types import FAKE, REAL, ArtifactError, ImageError, ManifestError, Sample

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact
    from tellsign.generators.sampling import Run
    from tellsign.types import FloatArray

FOLDERS = {REAL: "real", FAKE: "fake"}


def write_restored(
    artifact: Artifact, manifest: Manifest, out: Path, *, on_image: Callable[[], None] = lambda: None
) -> tuple[Manifest, tuple[tuple[Path, str], ...]]:
    """Write the real images of a manifest and their restorations, or go on where an earlier run ended.

    Args:    artifact: of an auto-encoder.
             manifest: labelled images; the reals are restored.
             out: the folder; real/ROW.png and fake/ROW.png are written, and manifest.csv.
             on_image: called for each pair.
    Returns: the manifest, both of a pair with one group and one split, and the images that failed with their
             reasons.
    Raises:  ConfigError, ArtifactError: the artifact restores nothing. ManifestError: no image can be used.
             OutputError: the folder holds something else, or can't be written.
    """
    run = artifact_run(artifact, IMAGES)
    config = artifact.spec["config"]
    look = NetworkInput(artifact.spec["size"], fit=config["fit"])
    reals = manifest.filter(label=REAL)
    done: list[Sample] = []
    failed: list[tuple[Path, str]] = []
    record = {"generator": artifact.name, "digest": artifact.digest, "images": reals.digest()}
    with locked(out):
        begin(out, record)
        for row, (sample, group) in enumerate(zip(reals, sources(reals), strict=True)):
            files = {label: out / name / f"{row:06d}.png" for label, name in FOLDERS.items()}
            try:
                if not all(file.exists() for file in files.values()):
                    _write_pair(run, seen(picture(sample).array, look).crops[0], files, artifact.name)
            except ImageError as error:
                failed.append((sample.path, str(error)))
                continue
            pair = replace(sample, video="", frame=None, group=group or f"{reals.digest()[:12]}-{row}")
            for label, file in files.items():
                done.append(
                    replace(
                        pair,
                        path=file,
                        label=label,
                        generator=artifact.name if label == FAKE else "",
                        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
                    )
                )
            on_image()
        if not done:
            reason = failed[0][1] if failed else "it has no reals"
            raise ManifestError(f"no image of the manifest could be restored: {reason}")
        found = Manifest(tuple(done))
        write(found, out / MANIFEST)
    return found, tuple(failed)


def _write_pair(run: Run, crop: FloatArray, files: dict[int, Path], name: str) -> None:
    restored = run(np.asarray(crop, dtype=np.float32)[None])[0]
    # Nothing bounds an auto-encoder's output: what overshoots is clipped, as any file of 8 bits would.
    low, high = float(restored.min()), float(restored.max())
    if not (low > -1 - SLACK and high < 2 + SLACK):
        raise ArtifactError(
            f"{name} restores an image to values from {low:.3g} to {high:.3g}, expected about [0, 1]; train "
            "it longer or at a lower rate"
        )
    for label, array in ((REAL, crop), (FAKE, np.clip(restored, 0, 1))):
        files[label].parent.mkdir(exist_ok=True)
        write_image(files[label], np.asarray(array))
