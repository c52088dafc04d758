"""The spectral loss does in a training what it is for, and its released form does not."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_torch_thread")]

from torch.nn import functional  # noqa: E402

from pictures import natural  # noqa: E402
from tellsign.evaluate.upconv.correction import released_factor  # noqa: E402
from tellsign.generators.autoencoder import AutoEncoder, AutoEncoderConfig  # noqa: E402
from tellsign.generators.distance import spectral_distance  # noqa: E402
from tellsign.generators.reals import decibels  # noqa: E402
from tellsign.generators.spectral_loss import SpectralLoss  # noqa: E402

SIZE, STEPS, BATCH = 32, 300, 8
WEIGHT = 0.5


def images(n, first):
    return torch.from_numpy(np.stack([natural(first + seed, SIZE, SIZE) for seed in range(n)]))


def trained(reals, held_out, loss):
    """loss: (reconstruction, made, real) → scalar. The distance in dB, and the error, on other images."""
    torch.manual_seed(0)
    config = AutoEncoderConfig(size=SIZE, filters=16, head_layers=3, head_kernel=3, head_filters=16)
    network = AutoEncoder(config)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    for rows in torch.randint(len(reals), (STEPS, BATCH)):
        real = reals[rows]
        made = network(real)
        optimiser.zero_grad()
        loss(functional.mse_loss(made, real), made, real).backward()
        optimiser.step()
    with torch.inference_mode():
        made = network(held_out)
    distance = spectral_distance(decibels(held_out.numpy()), decibels(made.clamp(0, 1).numpy()))
    return distance, float(functional.mse_loss(made, held_out))


def test_the_loss_brings_spectra_nearer_and_the_released_form_does_not():
    reals, held_out = images(400, 0), images(100, 1000)
    spectral = SpectralLoss.from_images(reals, weight=WEIGHT, value_range=None)
    released = released_factor(WEIGHT).of
    plain, corrected, multiplied = (
        trained(reals, held_out, loss)
        for loss in (
            lambda error, made, real: error,
            lambda error, made, real: error + spectral(made),
            lambda error, made, real: error * released(made, real),
        )
    )
    assert corrected[0] < plain[0] / 3
    assert corrected[1] < 1.1 * plain[1]
    assert multiplied[0] > 0.8 * plain[0]
