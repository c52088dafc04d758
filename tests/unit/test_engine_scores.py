"""Scores of a network: log-odds, averaged over native crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pictures import natural, save
from tellsign.data import Manifest
from tellsign.engine.scores import evaluating, log_odds, network_scores, slow_arithmetic
from tellsign.image import decode, square_crops
from tellsign.image.network_input import NetworkInput
from tellsign.types import Sample
from trainings import SIDE, Tiny


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    """Images of different sizes, one corrupt and one too small."""
    folder: Path = tmp_path_factory.mktemp("images")
    paths = [save(natural(n, 16 + 9 * n, 40), folder / f"{n}.png") for n in range(4)]
    (folder / "bad.png").write_bytes(b"text")
    save(natural(9, 8, 40), folder / "small.png")
    return Manifest(
        tuple(Sample(path) for path in [*paths[:2], folder / "bad.png", *paths[2:], folder / "small.png"])
    )


@pytest.mark.parametrize("max_crops", [1, 4])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_scores_are_means_of_log_odds(manifest, max_crops, batch_size):
    model = Tiny(norm=True)
    scores, bad = network_scores(model, manifest, NetworkInput(SIDE, max_crops), batch_size=batch_size)
    assert sorted(bad) == [2, 5]
    assert np.isnan(scores[[2, 5]]).all()
    model.eval()
    for row in (0, 1, 3, 4):
        crops = square_crops(decode(manifest[row].path).array, SIDE, max_crops)
        with torch.no_grad():
            logits = model(torch.from_numpy(crops).float()).double()
        assert scores[row] == pytest.approx(float((logits[:, 1] - logits[:, 0]).mean()), abs=1e-5)


def test_the_mode_is_left_as_it_was(manifest):
    model = Tiny(norm=True).train()
    model.norm.eval()  # as a frozen layer is
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network_scores(model, manifest[:2], NetworkInput(SIDE))
    assert model.training and model.dropout.training and not model.norm.training  # noqa: PT018
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_the_mode_is_put_back_after_an_error():
    model = Tiny()
    with pytest.raises(RuntimeError), evaluating(model):
        model(torch.zeros(1))
    assert model.dropout.training
    with evaluating(model):
        assert not model.dropout.training


def test_layout_and_precision(manifest):
    plain, _ = network_scores(Tiny(), manifest[:2], NetworkInput(SIDE))
    last, _ = network_scores(Tiny().to(memory_format=torch.channels_last), manifest[:2], NetworkInput(SIDE))
    mixed, _ = network_scores(Tiny(), manifest[:2], NetworkInput(SIDE), precision="bf16")
    np.testing.assert_allclose(last, plain, atol=1e-6)
    np.testing.assert_allclose(mixed, plain, atol=0.02)
    assert (mixed != plain).any()


def test_log_odds():
    logits = torch.tensor([[1.0, 3.0], [2.0, -1.0]])
    assert log_odds(logits).tolist() == [2.0, -3.0]
    assert log_odds(logits.bfloat16()).dtype == torch.float32


def test_no_images():
    scores, bad = network_scores(Tiny(), Manifest(()), NetworkInput(SIDE))
    assert scores.shape == (0,)
    assert bad == {}


@pytest.mark.parametrize(
    ("capability", "device", "precision", "is_slow"),
    [
        ("AVX2", "cpu", "bf16", True),
        ("AVX2", "cpu", "float32", False),
        ("AVX512", "cpu", "bf16", False),
        ("AVX2", "cuda", "bf16", False),
    ],
)
def test_an_arithmetic_without_instructions_is_named(monkeypatch, capability, device, precision, is_slow):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert ("float32" in slow_arithmetic(torch.device(device), precision)) is is_slow
