"""Perturbed images as files: the pixels that a benchmark sees, without loss, with their manifest."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tellsign.data import Manifest
from tellsign.data.picture import picture
from tellsign.image.jpeg import eight_bit_picture
from tellsign.types import ImageError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from tellsign.perturb.naming import Perturbation
    from tellsign.types import Sample


@dataclass(frozen=True, slots=True)
class Perturbed:
    """What `write_perturbed` wrote and what it could not."""

    manifest: Manifest
    failed: tuple[tuple[Path, str], ...]  # path and reason


def write_perturbed(manifest: Manifest, out: Path, perturbation: Perturbation, *, seed: int = 0) -> Perturbed:
    """Write every image as a PNG of 8 bits, perturbed where its class is meant, one at a time.

    Both classes become PNG files without metadata, so that no format tells the label. An image's key is the
    SHA-256 of its file, as in a benchmark.

    Args:    manifest: the samples. out: folder for the images, which are numbered.
             perturbation: what is done. seed: of everything random.
    Returns: the manifest of the written files, with their checksums, and the samples that failed.
    Raises:  ManifestError: a file cannot be written, would replace one of the samples, or none could be read.
             ConfigError: one class only is meant, and a sample has no label.
    """
    meant = [perturbation.touches(sample.label) for sample in manifest]
    targets = [out / f"{index:06d}.png" for index in range(len(manifest))]
    if replaced := {s.path.resolve() for s in manifest} & {target.resolve() for target in targets}:
        raise ManifestError(
            f"{str(min(replaced))!a} would be replaced before it is read; give another output folder"
        )
    done: list[Sample] = []
    failed: list[tuple[Path, str]] = []
    for sample, target, is_meant in zip(manifest, targets, meant, strict=True):
        try:
            decoded = picture(sample)
            array = decoded.array
            if is_meant:
                array = perturbation.apply(array, key=decoded.meta.sha256, seed=seed)
            content = _png(array)
        except ImageError as error:
            failed.append((sample.path, str(error)))
            continue
        try:
            out.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            raise ManifestError(f"cannot write {target}: {error}") from error
        done.append(replace(sample, path=target, sha256=hashlib.sha256(content).hexdigest()))
    if not done:
        reason = failed[0][1] if failed else "there are none"
        raise ManifestError(f"none of the {len(manifest)} images could be used; the first: {reason}")
    return Perturbed(Manifest(tuple(done)), tuple(failed))


def pixels(manifest: Manifest) -> Iterator[NDArray[np.float32]]:
    """The decoded images of a manifest, one at a time.

    Args:    manifest: the samples.
    Returns: (3, H, W) in [0, 1] each, lazily.
    Raises:  ImageError: a file is no usable image, or has changed; it is named.
    """
    for sample in manifest:
        try:
            array = picture(sample).array
        except ImageError as error:
            raise ImageError(f"{str(sample.path)!a}: {error}") from error
        yield array


def _png(array: NDArray[np.float32]) -> bytes:
    stream = io.BytesIO()
    eight_bit_picture(array).save(stream, "PNG")
    return stream.getvalue()
