"""A generator by its import path: what is refused, and that its range is measured."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tellsign.generators.foreign import imported, measured_size  # noqa: E402
from tellsign.types import ConfigError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

CODE = """
import torch
from torch import nn

class Mine(nn.Module):
    scale, shift, size, channels = 1.0, 0.0, 16, 3

    def __init__(self, **options):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        vars(self).update(options)

    def latents(self, n, rng):
        return torch.rand(n, self.channels, 16, self.size, generator=rng)

    def images(self, latents):
        return self.weight * (self.scale * latents + self.shift)

def tanh():
    return Mine(scale=2.0, shift=-1.0)

def grey():
    return Mine(scale=0.01, shift=0.5)

def levels():
    return Mine(scale=255.0)

def oblong():
    return Mine(size=8)

def without():
    return nn.Linear(1, 1)

def script():
    raise SystemExit(0)

def broken():
    raise RuntimeError("no checkpoint here")

class Failing(Mine):
    def images(self, latents):
        return latents @ torch.zeros(5, 5)

number = 5
whole = Mine()
"""


@pytest.fixture(autouse=True)
def code(tmp_path, monkeypatch):
    (tmp_path / "their_generator.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    import sys

    sys.modules.pop("their_generator", None)


@pytest.mark.parametrize("name", ["Mine", "whole"])
def test_a_class_a_function_and_a_module_are_taken(name):
    network = imported(f"their_generator:{name}")
    assert measured_size(network.train(), name="theirs") == 16
    assert network.training


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("their_generator", "takes package.module:name"),
        (":Mine", "takes package.module:name"),
        ("no_such_generator:Mine", "cannot be imported .ModuleNotFoundError"),
        ("their_generator:Yours", "AttributeError"),
        ("their_generator:broken", "RuntimeError: no checkpoint here"),
        ("their_generator:script", "cannot be imported .SystemExit: 0"),
        ("their_generator:without", "is a Linear and lacks latents and images"),
        ("their_generator:number", "cannot be imported .TypeError"),
    ],
)
def test_what_is_no_generator_is_refused(target, reason):
    with pytest.raises(ConfigError, match=reason):
        imported(target)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tanh", r"values from -1 to 1, expected \[0, 1\].*\(x \+ 1\) / 2"),
        ("levels", r"values from 0.0\d+ to 255"),
        ("grey", "nearly one grey"),
        ("oblong", r"\(64, 3, 16, 8\) for 64 images, expected \(64, 3, S, S\)"),
        ("Failing", "cannot make images .RuntimeError"),
    ],
)
def test_images_are_measured(name, reason):
    with pytest.raises(ConfigError, match=reason):
        measured_size(imported(f"their_generator:{name}"), name=name)
