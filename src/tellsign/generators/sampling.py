"""Images of a trained generator as PNG files with a manifest. No PyTorch here.

Image s is made from the latents of seed s, and from nothing else: latents are drawn from the seed alone, by
NumPy or by a module of the user's own, and the network takes blocks of seeds that always stand together, so
that neither the number of images nor the place where a run was resumed changes a bit of any. Another
processor or ONNX Runtime may change some.

Shapes: B images of a block, Z latents, S side of an image.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tellsign.configuration import check_whole
from tellsign.data import Manifest, write
from tellsign.detectors.engines import threads
from tellsign.durable import write_file
from tellsign.image.jpeg import eight_bit_picture
from tellsign.lock import locked
from tellsign.types import FAKE, ArtifactError, ConfigError, ImageError, OutputError, Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.artifacts import Artifact
    from tellsign.types import FloatArray

Run = Callable[["FloatArray"], "FloatArray"]  # latents or images of a block → images (B, 3, S, S)

KIND = "generator"  # of an artifact
LATENTS, IMAGES = "latents", "images"  # what a graph may take
RECORD, MANIFEST = "samples.json", "manifest.csv"
BLOCK = 16  # images that a network makes together
MOST = 2**32  # seeds
SLACK = 0.02  # by which values may leave [0, 1] before they are clipped


def latents_of(seed: int, n: int) -> NDArray[np.float32]:
    """The latents of one image.

    Args:    seed: of the image, 0 or more. n: Z.
    Returns: (Z,), standard normal.
    """
    return np.random.default_rng(seed).standard_normal(n, dtype=np.float32)


def graph_run(graph: bytes | Path, name: str) -> Run:
    """A generator's graph in ONNX Runtime.

    Args:    graph: a file, or its content. name: of what it takes, latents or images.
    Returns: the function.
    Raises:  ArtifactError: it can't be read, or takes or gives something else.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised; nothing is printed
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise ArtifactError(f"the generator's graph cannot be read ({str(error)[:200]})") from error
    names = [one.name for one in session.get_inputs()]
    if names != [name] or len(session.get_outputs()) != 1:
        raise ArtifactError(
            f"the generator's graph takes {names}, expected {name!r} alone, and gives one image"
        )

    def run(given: FloatArray) -> FloatArray:
        try:
            found = session.run(None, {name: np.ascontiguousarray(given, dtype=np.float32)})[0]
        except Exception as error:
            raise ArtifactError(f"the generator's graph cannot be run ({str(error)[:200]})") from error
        return np.asarray(found)

    return run


def artifact_run(artifact: Artifact, takes: str = LATENTS) -> Run:
    """What makes the images of an artifact.

    Args:    artifact: of a generator. takes: latents, or images where it restores them.
    Returns: the function.
    Raises:  ArtifactError: it is no generator, or has no graph. ConfigError: it takes the other.
    """
    spec = artifact.spec
    if spec["kind"] != KIND:
        raise ArtifactError(
            f"{artifact.path} is a detector of the kind {spec['kind']!r} and no generator; give a folder "
            "that `tellsign generators train` wrote"
        )
    if artifact.graph is None:
        raise ArtifactError(
            f"{artifact.path} holds the weights of a network of your own and no graph: name it by --module, "
            "as when it was tuned"
        )
    if spec.get("input") != takes:
        more = (
            "give the images that it restores: --data MANIFEST"
            if takes == LATENTS
            else "it makes images from nothing: give -n and leave the images out"
        )
        raise ConfigError(f"{artifact.name} takes {spec.get('input')} and no {takes}; {more}")
    return graph_run(artifact.graph, takes)


def write_samples(
    artifact: Artifact,
    out: Path,
    n: int,
    *,
    seed: int = 0,
    run: Callable[[range], FloatArray] | None = None,
    module: str = "",
    on_image: Callable[[], None] = lambda: None,
) -> Manifest:
    """Write images of a generator as PNG files, or go on where an earlier run came to an end.

    Args:    artifact: of the generator.
             out: the folder; `SEED.png` is written for each image, and manifest.csv.
             n: number of images. seed: of the first; the others have those that follow.
             run: makes the images of a block of seeds in place of the graph. module: its import path; images
             of one are not gone on with by another.
             on_image: called for each image, also those that were there.
    Returns: the manifest of these images: fakes of the generator, with their checksums.
    Raises:  ConfigError: n or seed is out of its range. ArtifactError: the generator can't be run, or gives
             images of another range. OutputError: the folder holds something else, or can't be written.
    """
    check_whole("n", n, 1)
    check_whole("seed", seed, 0, MOST - n)
    makes = run or _from_graph(artifact)
    digests: dict[int, str] = {}  # of files that are written and not read again
    samples: list[Sample] = []
    with locked(out):
        record = {"generator": artifact.name, "digest": artifact.digest, "block": BLOCK}
        begin(out, record if run is None else {**record, "module": module})
        known = {path.name for path in out.iterdir()}
        for block in _blocks(seed, n):
            wanted = [s for s in block if seed <= s < seed + n]
            missing = [s for s in wanted if file_name(s) not in known]
            if missing:
                images = in_range(makes(block), artifact.name)
                for s in missing:
                    digests[s] = write_image(out / file_name(s), images[s - block.start])
            for s in wanted:
                samples.append(_sample(out / file_name(s), artifact, digests.pop(s, "")))
                on_image()
        manifest = Manifest(tuple(samples))
        write(manifest, out / MANIFEST)
    return manifest


def file_name(seed: int) -> str:
    """The name of an image's file."""
    return f"{seed:010d}.png"


def begin(out: Path, record: dict[str, Any]) -> None:
    """Make a folder of images, or find in it an earlier run of the same generator.

    Args:    out: the folder. record: what its images depend on.
    Raises:  OutputError: it holds something else, or can't be written.
    """
    file = out / RECORD
    try:
        out.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in out.iterdir())
        if not found:
            write_file(file, (json.dumps(record, indent=1) + "\n").encode("ascii"))
        content = file.read_bytes() if not found or RECORD in found else b""
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from error
    if not content:
        raise OutputError(f"{out} holds {found[0]!a}, which is no image of a generator; give another -o")
    try:
        before = json.loads(content)
    except ValueError as error:
        raise OutputError(
            f"{file} is damaged, so nobody knows whose images these are; give another -o"
        ) from error
    if before != record:
        name = before.get("generator") if isinstance(before, dict) else None
        same = name == record["generator"]
        what = "made of other images or in another way" if same else f"and not of {record['generator']!a}"
        raise OutputError(f"{out} holds images of {name!a}, {what}; give another -o")


def in_range(images: FloatArray, name: str) -> FloatArray:
    """Images in [0, 1], once it is known that they are meant so.

    Args:    images: (B, 3, S, S). name: of what made them, for the message.
    Returns: the images, values that overshoot a little clipped.
    Raises:  ArtifactError: they are no such images, or their range is another.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ArtifactError(f"{name} gives arrays of shape {images.shape}, expected images (B, 3, S, S)")
    low, high = float(images.min()), float(images.max())
    if not (low >= -SLACK and high <= 1 + SLACK):  # also where one is no number
        raise ArtifactError(
            f"the images of {name} have values from {low:.3g} to {high:.3g}, expected [0, 1]: where its last "
            "layer is a tanh, give (x + 1) / 2"
        )
    return np.clip(images, 0, 1)


def write_image(path: Path, image: FloatArray) -> str:
    """Write an image as PNG, all of it or nothing.

    Args:    path: of the file. image: (3, S, S) in [0, 1].
    Returns: the file's SHA-256.
    Raises:  OutputError: it can't be written.
    """
    stream = io.BytesIO()
    eight_bit_picture(image).save(stream, "PNG")
    content = stream.getvalue()
    try:
        write_file(path, content, lasting=False)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; make room, and run the same command again"
        ) from error
    return hashlib.sha256(content).hexdigest()


def _from_graph(artifact: Artifact) -> Callable[[range], FloatArray]:
    run = artifact_run(artifact)
    n = artifact.spec["latents"]
    return lambda block: run(np.stack([latents_of(seed, n) for seed in block]))


def _blocks(seed: int, n: int) -> Iterator[range]:
    """The blocks that hold the seeds; whichever are asked for, a seed is always in the same."""
    for number in range(seed // BLOCK, (seed + n - 1) // BLOCK + 1):
        yield range(number * BLOCK, (number + 1) * BLOCK)


def _sample(path: Path, artifact: Artifact, digest: str) -> Sample:
    """The row of a file, which is read where its digest is not known."""
    try:
        digest = digest or hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from error
    return Sample(path, FAKE, dataset="generated", generator=artifact.name, sha256=digest)
