"""Options that several commands share, and the small steps between a command and the library."""

from __future__ import annotations

import json as json_module
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tellsign.types import ConfigError

if TYPE_CHECKING:
    from tellsign.data import Manifest
    from tellsign.scoring.workers import Limits

Detector = Annotated[str, typer.Option("--detector", "-d", help="A shipped detector's name, or a folder.")]
DetectorArgument = Annotated[
    str, typer.Argument(metavar="DETECTOR", help="A shipped detector's name, or a folder.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Fpr = Annotated[
    str | None,
    typer.Option(help="Share of real images that may be called fake, or eer; by default the detector's own."),
]
Prior = Annotated[
    float | None, typer.Option(help="Share of fakes you expect among your images; moves the probability.")
]
Faces = Annotated[bool, typer.Option("--faces", help="Look at the faces instead of the whole image.")]
Frames = Annotated[int, typer.Option(min=1, help="Frames looked at in a video.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse larger images and frames before decoding them.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes, one thread each; 0: one for each core.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Files that a worker scores together.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds for one file.")]
Memory = Annotated[int, typer.Option("--memory-limit", min=0, help="MiB of a worker's memory; 0: no limit.")]
Data = Annotated[Path, typer.Option("--data", help="A manifest (see `tellsign data index`).")]
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a training that was stopped, in OUTPUT.run.")
]
Features = Annotated[
    str | None,
    typer.Option(help="Network for a Fréchet distance: a name in timm, such as inception_v3, or an .onnx."),
]
PRETRAINED = "pretrained"  # weights of timm
FeatureWeights = Annotated[str, typer.Option(help="Of timm's network: pretrained, or a .safetensors file.")]
Engine = Annotated[
    Literal["onnx", "openvino", "openvino-bf16", "torch"],
    typer.Option(
        help="What runs a network. openvino-bf16 is faster and its scores are coarser; torch is for GPUs and "
        "has no memory limit."
    ),
]
Split = Annotated[str | None, typer.Option(help="Only samples of this split.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where to write.")]
Seed = Annotated[int, typer.Option(help="Of everything random.")]

MAX_PIXELS = 100_000_000


def require_features(features: str | None, weights: str) -> None:
    """Weights without the network that they are of are a mistake.

    Args:    features: as of `Features`. weights: as of `FeatureWeights`.
    Raises:  ConfigError: there is no network.
    """
    if features is None and weights != PRETRAINED:
        raise ConfigError(f"--weights {weights} are those of a network: name it by --features")


def read_manifest(path: Path, split: str | None = None) -> Manifest:
    """A manifest, or one split of it."""
    from tellsign.data import read

    return only_split(read(path), path, split)


def only_split(manifest: Manifest, path: Path, split: str | None) -> Manifest:
    """One split of a manifest that was read from a path, or all of it."""
    if split is None:
        return manifest
    found = sorted({sample.split for sample in manifest})
    manifest = manifest.filter(split=split)
    if not manifest:
        raise ConfigError(f"{path} has no split {split!r}; it has {found}")
    return manifest


def describe(manifest: Manifest, path: Path) -> None:
    """Say what a manifest that was written holds, by data set, label and split."""
    from collections import Counter

    from tellsign import terminal
    from tellsign.data.manifest import LABEL_NAMES

    counts = Counter((s.dataset, LABEL_NAMES[s.label] or "no label", s.split or "no split") for s in manifest)
    for (dataset, label, split), n in sorted(counts.items()):
        terminal.complain(f"{n:6} {label:8} {split:8} {dataset}")
    terminal.complain(f"wrote {len(manifest)} rows to {path}, digest {manifest.digest()[:12]}")


def limits(workers: int, batch_size: int, timeout: float, memory_mib: int, engine: str = "onnx") -> Limits:
    """What the worker processes may take; 0 workers means one for each core."""
    from tellsign.scoring.workers import Limits

    if engine == "torch":
        memory_mib = 0  # PyTorch, and more so a GPU's driver, reserves far more addresses than it uses
    if workers == 0:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Limits(workers, batch_size, timeout, memory_mib << 20)


def pair(text: str, option: str) -> tuple[str, str]:
    """NAME=VALUE in two."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{option} takes NAME=VALUE, found {text!r}")
    return name, value


def number(text: str, option: str) -> float:
    """A number given as text."""
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{option} takes a number, found {text!r}") from None


def rate(text: str | None) -> float | Literal["eer"] | None:
    """What --fpr says: a share, "eer" for equal error, or nothing."""
    if text is None:
        return None
    return "eer" if text == "eer" else number(text, "--fpr")


def as_json(value: Any) -> str:
    """A result as the JSON that scripts read."""
    return json_module.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
