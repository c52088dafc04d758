"""A generator by its import path: what is refused, and that its range is measured."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tellsign.generators.foreign import imported, measured_size, require_gradient  # noqa: E402
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

class Named(Mine):
    def latents(self, n, rng):
        return {"z": super().latents(n, rng)}

class Few(Mine):
    def latents(self, n, rng):
        return super().latents(1, rng)

class Small(Mine):
    def latents(self, n, rng):
        return super().latents(n, rng)[:, :, :15, :15]

class Keeping(Mine):
    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(1))

    def images(self, latents):
        self.last = latents.mean()
        return super().images(latents)

class Cut(Mine):
    @torch.no_grad()
    def images(self, latents):
        return super().images(latents)

class Beside(Mine):
    def images(self, latents):
        return latents + 0 * self.weight

def frozen():
    return Mine().requires_grad_(False)

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
        ("Named", r"latents\(8, rng\) of Named gives dict, expected a tensor \(8, ...\)"),
        ("Few", r"gives \(1, 3, 16, 16\), expected a tensor \(8, ...\)"),
        ("Small", "Small gives images of 15 pixels a side.*expected 16 or more"),
    ],
)
def test_images_are_measured(name, reason):
    with pytest.raises(ConfigError, match=reason):
        measured_size(imported(f"their_generator:{name}"), name=name)


@pytest.mark.parametrize(("name", "n"), [("Cut", 1), ("Beside", 1), ("frozen", 0)])
def test_images_without_a_gradient_are_refused(name, n):
    network = imported(f"their_generator:{name}")
    measured_size(network, name="theirs")
    with pytest.raises(ConfigError, match=f"theirs have no gradient to any of its {n} parameters"):
        require_gradient(network, name="theirs")


@pytest.mark.parametrize("name", ["Mine", "Keeping"])
def test_what_is_measured_can_be_trained_afterwards(name):
    network = imported(f"their_generator:{name}")
    measured_size(network, name="theirs")
    require_gradient(network, name="theirs")
    assert network.weight.grad is None
    import copy

    state = copy.deepcopy(network.state_dict())
    network.load_state_dict(state)  # in place, which inference tensors refuse
