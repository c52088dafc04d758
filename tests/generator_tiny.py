"""Generators that are trained in seconds: 16 pixels, a handful of filters, and the images for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pictures import natural, save
from tellsign.data import Manifest, write
from tellsign.types import REAL, Sample

if TYPE_CHECKING:
    from tellsign.generators.sources import Source

SIZE = 16
N_TRAIN, N_VALID = 104, 16  # 100 or more, of which a real profile is the mean
TRAINING = {"epochs": 2, "batch_size": 26, "workers": 0, "device": "cpu"}
NETWORKS: dict[str, dict[str, Any]] = {
    "gan": {"size": SIZE, "base": 2, "cap": 4, "latents": 4},
    "autoencoder": {"size": SIZE, "filters": 4},
}


def options(kind: str, **more: Any) -> dict[str, Any]:
    """What a TOML file of a tiny training holds; tables are merged."""
    found: dict[str, Any] = {"kind": kind, "name": f"tiny-{kind}", "samples": 8, "training": TRAINING}
    if kind in NETWORKS:
        found["network"] = NETWORKS[kind]
    for name, value in more.items():
        found[name] = {**found.get(name, {}), **value} if isinstance(value, dict) else value
    return found


def write_reals(folder: Path, *, size: int = SIZE) -> Path:
    """Real images of a train and a valid split with their manifest.

    Returns: path of the manifest, folder/manifest.csv.
    """
    samples = []
    for index in range(N_TRAIN + N_VALID):
        path = save(natural(index, size, size), folder / f"{index:03d}.png")
        samples.append(Sample(path, REAL, dataset="made", split="train" if index < N_TRAIN else "valid"))
    write(Manifest(tuple(samples)), folder / "manifest.csv")
    return folder / "manifest.csv"


def tiny_source() -> Source:
    """A generator to tune, whose images are not all grey."""
    import torch

    from tellsign.generators.gan import GanConfig, Generator
    from tellsign.generators.sources import Source

    torch.manual_seed(0)
    network = Generator(GanConfig(size=SIZE, base=4, cap=8, latents=4))
    with torch.no_grad():
        network.body[-2].weight.mul_(20)  # as of a trained one
    return Source(network.eval(), "mine", "0", SIZE)
