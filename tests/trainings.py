"""A network of a few hundred weights, and how it is trained in a second."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pictures import write_split_dataset
from tellsign.data import Manifest, read
from tellsign.data.augment import View
from tellsign.engine.classifier import train_network
from tellsign.engine.config import TrainingConfig
from tellsign.engine.reals import train_on_reals

if TYPE_CHECKING:
    from tellsign.data.loading import Batch

SIDE = 16
VIEW = View(size=SIDE)


class Tiny(torch.nn.Module):
    """(B, 3, S, S) → (B, 2). With dropout, so that the random state counts; BatchNorm where asked."""

    def __init__(self, *, seed: int = 0, classes: int = 2, dropout: float = 0.2, norm: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = torch.nn.Conv2d(3, 8, 3, stride=2)
            self.norm = torch.nn.BatchNorm2d(8) if norm else torch.nn.Identity()
            self.second = torch.nn.Conv2d(8, 8, 3, stride=2)
            self.dropout = torch.nn.Dropout(dropout)
            self.last = torch.nn.Linear(8, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        steps = 10 * (images[..., 1:] - images[..., :-1]).abs()  # which up-sampled images have fewer of
        x = torch.relu(self.norm(self.first(steps)))
        return self.last(self.dropout(torch.relu(self.second(x)).mean(dim=(2, 3))))


def splits(folder: Path, **options: Any) -> tuple[Manifest, Manifest]:
    """Training and validation, written once: 22 and 11 images, which neither batches nor processes divide."""
    path = folder / "manifest.csv"
    if not path.exists():
        write_split_dataset(folder, **{"train": 11, "valid": 6, "size": 20, **options})
    manifest = read(path)
    return manifest.filter(split="train"), manifest.filter(split="valid")[:-1]


def options(**more: Any) -> TrainingConfig:
    """22 images are five steps of 4 and one of 2."""
    common = {"epochs": 2, "batch_size": 4, "learning_rate": 0.01, "workers": 0, "device": "cpu"}
    return TrainingConfig(**(common | more))


def trained(
    folder: Path, run: Path, config: TrainingConfig, *, model: torch.nn.Module | None = None, **more: Any
) -> tuple[Any, torch.nn.Module]:
    """The result of a training on `splits(folder)` and the network."""
    training, valid = splits(folder)
    model = Tiny() if model is None else model
    known = {"detector": "tiny"}
    result = train_network(
        model, training, valid, VIEW, config, **({"run": run, "seed": 3, "identity": known} | more)
    )
    return result, model


class Restorer(torch.nn.Module):
    """(B, 3, S, S) → the same, from its halved form."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.conv(
            torch.nn.functional.interpolate(torch.nn.functional.avg_pool2d(images, 2), scale_factor=2)
        )


def restored(
    run: Path,
    reals: tuple[Manifest, Manifest],
    config: TrainingConfig,
    *,
    model: torch.nn.Module | None = None,
    losses: Any = None,
    **more: Any,
) -> tuple[Any, torch.nn.Module]:
    """The result of a training on real images alone, and the network."""
    model = model or Restorer()

    def plain(network: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        errors = (network(batch.images) - batch.images).abs().mean(dim=(1, 2, 3))
        return errors, {"l1": float(errors.detach().mean())}

    def values(crops: torch.Tensor) -> torch.Tensor:
        squared = (model(crops) - crops).square().mean(dim=(1, 2, 3))
        return torch.stack([-10 * squared.log10(), squared], dim=1)

    common = {"names": ("psnr", "error"), "best": {"psnr": "highest"}, "run": run, "seed": 3, "identity": {}}
    result = train_on_reals(
        model, *reals, VIEW, config, **{"losses": losses or plain, "values": values, **common, **more}
    )
    return result, model


def same(result: Any) -> list[dict[str, Any]]:
    """What two runs share that are the same bit for bit; `weights` is the digest after each epoch."""
    timed = ("seconds", "training_seconds", "images_per_second", "waiting")
    return [{name: value for name, value in row.items() if name not in timed} for row in result.history]
