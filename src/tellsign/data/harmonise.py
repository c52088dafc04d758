"""One file format, size and JPEG quality for both classes, so that none of them tells the label."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tellsign import image
from tellsign.data.manifest import Manifest, require_images
from tellsign.data.paths import safe_name
from tellsign.data.picture import picture
from tellsign.types import ImageError, ManifestError

if TYPE_CHECKING:
    from tellsign.types import Sample


@dataclass(frozen=True, slots=True)
class Harmonised:
    """What `harmonise` wrote and what it could not."""

    manifest: Manifest
    failed: tuple[tuple[Path, str], ...]  # path and reason


def harmonise(
    manifest: Manifest, out: Path, *, size: int, quality: int, resize: str | None = None
) -> Harmonised:
    """Write every image as a JPEG of one size and quality, metadata stripped.

    Args:    manifest: the samples; both classes are treated alike.
             out: folder for the images, one subfolder a data set.
             size: side of the native centre crop in pixels (of the resized square with `resize`).
             quality: of the JPEG, 1 to 100, chroma halved (4:2:0).
             resize: name of a filter (nearest, box, bilinear, hamming, bicubic, lanczos); None crops.
    Returns: the manifest of the written files with their checksums, and the samples that failed with their
             reasons.
    Raises:  ManifestError: rows are videos, a file cannot be written, would replace one of the samples, or
             none could be read.
    """
    require_images(manifest)
    done: list[Sample] = []
    failed: list[tuple[Path, str]] = []
    targets = [
        out / (safe_name(sample.dataset) or "images") / f"{index:06d}.jpg"
        for index, sample in enumerate(manifest)
    ]
    if replaced := {s.path.resolve() for s in manifest} & {target.resolve() for target in targets}:
        raise ManifestError(
            f"{str(min(replaced))!a} would be replaced before it is read; give another output folder"
        )
    for sample, target in zip(manifest, targets, strict=True):
        try:
            content = image.harmonised_jpeg(picture(sample).array, size=size, quality=quality, resize=resize)
        except ImageError as error:
            failed.append((sample.path, str(error)))
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            raise ManifestError(f"cannot write {target}: {error}") from error
        done.append(replace(sample, path=target, sha256=hashlib.sha256(content).hexdigest()))
    if not done:
        raise ManifestError(f"none of the {len(manifest)} images could be used; the first: {failed[0][1]}")
    return Harmonised(Manifest(tuple(done)), tuple(failed))
