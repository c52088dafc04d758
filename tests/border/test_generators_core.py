"""What makes images of a trained generator loads no PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MODULES = ("sampling", "restoring", "collapse", "upsampling", "nearest", "nearest_report")
LOADED = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(sys.modules)))
"""


def loaded_by(module: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", LOADED, module], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("name", MODULES)
def test_what_runs_loads_no_torch(name: str) -> None:
    assert "torch" not in loaded_by(f"tellsign.generators.{name}")


def test_what_corrects_a_spectrum_does_not_load_the_compiler() -> None:
    pytest.importorskip("torch")
    for name in ("spectral_loss", "spectral_discriminator", "training"):
        loaded = loaded_by(f"tellsign.generators.{name}")
        assert "torch" in loaded
        assert "torch._dynamo" not in loaded, name


def test_what_trains_is_seen_to_load_it() -> None:
    pytest.importorskip("torch")
    assert "torch" in loaded_by("tellsign.generators.gan")
