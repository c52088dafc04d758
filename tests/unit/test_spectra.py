"""Spectra as a network's input: against SciPy, in a branch, and in its graph.

Shapes: B batch, S side of a crop.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dctn

from pictures import natural
from tellsign.systems.cae_net.config import CaeNetConfig
from tellsign.types import ConfigError

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
from tellsign.engine.scores import evaluating  # noqa: E402 - need PyTorch
from tellsign.nn.spectra import FLOOR, LogSpectrum, ScaledSpectrum  # noqa: E402
from tellsign.systems.cae_net.counts import count  # noqa: E402
from tellsign.systems.cae_net.model import Branch, channel_statistics, entry_side, new_branch  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def pictures(n=3, size=32):
    return torch.from_numpy(np.stack([natural(i, size, size) for i in range(n)]))


def fourier_power(images):
    found = np.fft.fftshift(np.fft.fft2(images, norm="ortho"), axes=(-2, -1))
    return np.abs(found) ** 2


def cosine_power(images):
    return dctn(images, axes=(-2, -1), norm="ortho") ** 2


@pytest.mark.parametrize("size", [32, 15])
@pytest.mark.parametrize(("kind", "power"), [("fft", fourier_power), ("dct", cosine_power)])
def test_a_spectrum_is_that_of_scipy(kind, power, size):
    images = pictures(size=size)
    found = LogSpectrum(kind, size)(images)
    expected = 0.5 * np.log(power(images.numpy().astype(np.float64) - 0.5) + FLOOR)
    assert found.shape == images.shape
    assert np.allclose(found.numpy(), expected, atol=1e-4)


def test_a_wave_is_one_line_and_its_mirror():
    x = torch.arange(16) / 16
    wave = (0.5 + 0.25 * torch.cos(2 * torch.pi * 3 * x)).expand(1, 3, 16, 16)
    found = LogSpectrum("fft", 16)(wave)[0, 0]
    strong = {tuple(place) for place in (found > 0).nonzero().tolist()}
    assert strong == {(8, 8 - 3), (8, 8 + 3)}


@pytest.mark.parametrize("kind", ["fft", "dct"])
def test_a_branch_of_spectra_is_standardised_differentiable_and_has_no_more_weights(kind):
    branches = {"lines": {"backbone": "test_convnext", "input": kind}}
    config = CaeNetConfig(branches=branches, fusion_weights=(1.0,), size=32, weights="scratch")
    images = pictures(6)
    statistics = channel_statistics(iter(images.split(2)), LogSpectrum(kind, 32))
    branch = new_branch(config, "lines")
    branch.standardise_with(statistics)
    assert entry_side(config, "lines") == 32
    entry = branch.entry(images).numpy()
    assert np.allclose(entry.mean(axis=(0, 2, 3)), 0, atol=1e-4)
    assert np.allclose(entry.std(axis=(0, 2, 3)), 1, atol=1e-4)
    assert not [name for name in branch.state_dict() if name.startswith("spectrum")]
    pixels = images.clone().requires_grad_()
    with evaluating(branch):
        branch(pixels)[:, 1].sum().backward()
    assert torch.isfinite(pixels.grad).all()
    assert pixels.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["rgb", "dwt", "fft", "dct"])
def test_autocast_leaves_what_a_network_sees_as_it_is(kind):
    branches = {"one": {"backbone": "test_convnext", "input": kind}}
    config = CaeNetConfig(branches=branches, fusion_weights=(1.0,), size=32, weights="scratch")
    channels = 12 if kind == "dwt" else 3
    statistics = {"mean": (0.25,) * channels, "std": (0.5,) * channels}
    branch = new_branch(config, "one")
    if kind != "rgb":
        branch.standardise_with(statistics)
    seen = []
    branch.network.register_forward_pre_hook(lambda _network, inputs: seen.append(inputs[0]))
    images = pictures()
    with evaluating(branch), torch.no_grad():
        plain_logits = branch(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed_logits = branch(images)
    plain, mixed = seen
    assert mixed.dtype == torch.float32
    assert torch.allclose(mixed, plain, rtol=0, atol=1e-6)
    assert mixed_logits.dtype == torch.bfloat16 != plain_logits.dtype, "the network itself is cast"


@pytest.mark.parametrize("kind", ["fft", "dct"])
def test_its_cost_is_counted_without_memory(kind):
    branches = {"lines": {"backbone": "test_convnext", "input": kind}}
    config = CaeNetConfig(branches=branches, fusion_weights=(1.0,), size=32, weights="scratch")
    found = count(new_branch(config, "lines"), 32)
    with torch.device("meta"):
        assert count(new_branch(config, "lines"), 32) == found


def test_flat_images_have_a_finite_gradient():
    flat = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    LogSpectrum("fft", 8)(flat).sum().backward()
    assert torch.isfinite(flat.grad).all()


@pytest.mark.parametrize("kind", ["fft", "dct"])
def test_its_graph_computes_the_same(kind):
    pytest.importorskip("onnxscript")
    from tellsign.engine.export import LIMIT, ScoredNetwork, graph_bytes, parity

    class Mean(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x.mean(dim=(1, 2, 3)), x[:, 0, 3, 5]], dim=1)

    statistics = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    branch = Branch(Mean(), dwt=None, statistics=statistics, spectrum=LogSpectrum(kind, 16))
    network = ScoredNetwork(branch).eval()
    assert parity(graph_bytes(network, 16), network, pictures(4, 16).numpy())[0] <= LIMIT


def scaled_reference(images, *, band=None):
    """The authors' recipe in NumPy, one channel after the other; band: rows and columns that are kept."""
    found = np.empty(images.shape)
    for place in np.ndindex(images.shape[:2]):
        x = np.log(np.abs(np.fft.fft2(images[place].astype(np.float64))) + 1e-3)
        low, high = np.percentile(x, 5), np.percentile(x, 95)
        x = np.clip(2 * ((x - low) / (high - low) - 0.5), -1, 1)
        if band is not None:
            x = np.fft.ifftshift(band(np.fft.fftshift(x)))
        found[place] = x
    return found


@pytest.mark.parametrize("size", [64, 33])
def test_a_scaled_spectrum_is_that_of_numpy(size):
    images = pictures(size=size)
    found = ScaledSpectrum(size)(images).numpy()
    np.testing.assert_allclose(found, scaled_reference(images.numpy()), atol=2e-4)
    for share in (found == -1, found == 1):
        assert np.mean(share, axis=(2, 3)) == pytest.approx(0.05, abs=2 / size)


def low(x):
    x[:57], x[:, :57], x[177:], x[:, 177:] = 0, 0, 0, 0
    return x


def middle(x):
    x[:21], x[:, :21], x[203:], x[:, 203:] = 0, 0, 0, 0
    x[57:177, 57:177] = 0
    return x


def high(x):
    x[21:203, 21:203] = 0
    return x


@pytest.mark.parametrize("band", [low, middle, high])
def test_a_band_alone_is_that_of_the_authors_code(band):
    images = pictures(1, 224)
    found = ScaledSpectrum(224, band.__name__)(images)
    np.testing.assert_allclose(found.numpy(), scaled_reference(images.numpy(), band=band), atol=1e-3)


def test_the_bands_are_parts_of_the_whole_at_any_size():
    for size in (16, 37, 128):
        images = pictures(1, size)
        parts = [ScaledSpectrum(size, band)(images) for band in ("low", "middle", "high")]
        assert torch.equal(sum(parts), ScaledSpectrum(size)(images))
        assert all(part.abs().max() > 0 for part in parts)
    with pytest.raises(ConfigError, match="band is one of all, low, middle, high, found 'mid'"):
        ScaledSpectrum(16, "mid")


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_flat_image_has_its_zero_frequency_alone_and_a_finite_gradient(value):
    flat = torch.full((1, 3, 16, 16), value, requires_grad=True)
    found = ScaledSpectrum(16)(flat)
    found.sum().backward()
    assert torch.isfinite(flat.grad).all()
    expected = torch.full((16, 16), -1.0)
    if value:
        expected[0, 0] = 1
    assert torch.equal(found[0, 0], expected)
    logarithms = ScaledSpectrum(16).log_magnitude(flat)[0, 0].detach()
    assert logarithms[0, 0] == pytest.approx(np.log(256 * value + 1e-3), abs=1e-5)
    assert logarithms[3, 5] == pytest.approx(np.log(1e-3), abs=1e-5)


def test_autocast_leaves_a_scaled_spectrum_as_it_is():
    images, spectrum = pictures(), ScaledSpectrum(32)
    plain = spectrum(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = spectrum(images)
    assert torch.equal(mixed, plain)
    assert not spectrum.state_dict()


def test_the_graph_of_a_scaled_spectrum_computes_the_same():
    """Percentiles too, which an export can get wrong."""
    pytest.importorskip("onnxscript")
    from tellsign.engine.export import LIMIT, ScoredNetwork, graph_bytes, parity

    class Sampled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.spectrum = ScaledSpectrum(20)

        def forward(self, x):
            x = self.spectrum(x)
            return torch.stack([x.mean(dim=(1, 2, 3)), 5 * x[:, 0, 3, 5]], dim=1)

    network = ScoredNetwork(Sampled()).eval()
    images = np.concatenate([pictures(4, 20).numpy(), np.full((1, 3, 20, 20), 0.5, np.float32)])
    assert parity(graph_bytes(network, 20), network, images)[0] <= LIMIT
