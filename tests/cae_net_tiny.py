"""CAE-Net in seconds: tiny networks on small crops, as a configuration file and as a data set for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pictures import write_dataset
from tellsign.data import Manifest, read

CONFIG = """
system = "cae-net"
name = "tiny"

[config]
size = 32
dwt = "dwt_resize"
weights = "scratch"
strategy = "plain"
stages = 2
fusion = "fit"

[config.branches.efficientnet]
backbone = "test_efficientnet"
flip = true
stage_epochs = 1

[config.branches.deit]
backbone = "test_vit"
options = { patch_size = 8, depth = 1 }
stage_epochs = 1

[config.branches.wavelet]
backbone = "test_convnext"
input = "dwt"
stage_epochs = 1

[config.training]
epochs = 2
batch_size = 16
learning_rate = 3e-3
optimiser = "adamw"
workers = 0
"""


def write_config(folder: Path, changes: dict[str, str] | None = None) -> Path:
    """The configuration as a file; changes: text → another."""
    folder.mkdir(parents=True, exist_ok=True)
    text = CONFIG
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    (folder / "tiny.toml").write_text(text)
    return folder / "tiny.toml"


def write_one_branch(folder: Path) -> Path:
    """The configuration with the wavelet branch alone."""
    head, _, tail = CONFIG.partition("[config.branches.efficientnet]")
    _, table, tail = tail.partition("[config.branches.wavelet]")
    head = head.replace('fusion = "fit"', 'fusion = "weights"\nfusion_weights = [1.0]')
    (folder / "one.toml").write_text(head + table + tail)
    return folder / "one.toml"


def images(folder: Path, n: int = 48, *, size: int = 128, group_size: int = 2) -> Manifest:
    """n reals and n fakes; so many successive ones are of a group."""
    return read(write_dataset(folder, n, size=size, group_size=group_size))


def without_graph(patch: Any) -> None:
    """Detectors without a graph and trainings without a picture, which take most of the time.

    patch: pytest's.
    """
    patch.setattr("tellsign.engine.export.graph_bytes", lambda *_, **__: b"no graph")
    patch.setattr("tellsign.engine.export.parity", lambda *_, **__: (0.0, 1e-4))
    patch.setattr("tellsign.engine.recorder.write_curves", lambda *_: None)
