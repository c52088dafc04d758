"""The baselines' networks: published sizes, what they see, and images that have nothing to see."""

from __future__ import annotations

import numpy as np
import pytest

from pictures import natural
from tellsign.features.dct import log_dct
from tellsign.systems.baselines.config import Dct2dConfig, Fft2dConfig, GramNetConfig
from tellsign.types import ConfigError

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
from tellsign.engine.scores import evaluating  # noqa: E402 - need PyTorch
from tellsign.nn.attention import cam_layer  # noqa: E402
from tellsign.nn.spectra import ScaledSpectrum  # noqa: E402
from tellsign.systems.baselines.model import CosineNetwork, GramHead, gram_matrix, new_network  # noqa: E402
from tellsign.systems.baselines.training import begun  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIZE = 32
SMALL = {"backbone": "test_resnet", "weights": "scratch", "size": SIZE}
NETWORKS = [Fft2dConfig(**SMALL), GramNetConfig(**SMALL), Dct2dConfig(classifier="cnn", size=SIZE)]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def images(n=3, size=SIZE):
    return torch.from_numpy(np.stack([natural(seed, size, size) for seed in range(n)]))


def test_gramnet_has_the_published_number_of_parameters():
    with torch.device("meta"):
        network = new_network(GramNetConfig(weights="scratch"))
    assert count(network) == 11_734_723
    assert network.classifier[0].in_features == 704
    assert [head.entry[0].in_channels for head in network.heads] == [3, 64, 64, 64, 128, 256]


def test_the_other_networks_have_the_sizes_of_what_they_are_made_of():
    with torch.device("meta"):
        assert count(new_network(Fft2dConfig(weights="scratch"))) == 21_284_672 + 2 * 513
        cosine = new_network(Dct2dConfig(classifier="cnn"))
    weights = [27 * 3 + 3, 27 * 8 + 8, 72 * 16 + 16, 144 * 32 + 32, 32 * 32 * 32 * 2 + 2]
    assert [count(layer) for layer in cosine.layers if count(layer)] == weights


def test_a_gram_matrix_is_the_sum_over_the_places():
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    found = gram_matrix(x)
    assert found.shape == (2, 3, 3)
    for b, i, j in np.ndindex(2, 3, 3):
        total = sum(float(x[b, i, row, column] * x[b, j, row, column]) for row, column in np.ndindex(4, 5))
        assert float(found[b, i, j]) == pytest.approx(total / (3 * 4 * 5))


def test_a_gram_head_does_not_know_where_anything_is():
    """Of a map whose convolution looks at one place, any order of the places has the same products."""
    torch.manual_seed(0)
    head = GramHead(4).eval()
    with torch.no_grad():
        head.entry[0].weight[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
        x = torch.rand(2, 4, 6, 6)
        order = torch.randperm(36)
        shuffled = x.flatten(2)[:, :, order].reshape(x.shape)
        assert head(x).shape == (2, 32)
        torch.testing.assert_close(head(shuffled), head(x))
        assert not torch.allclose(head(2 * x), head(x))


def test_gramnet_looks_at_six_maps_each_by_its_own_head():
    torch.manual_seed(0)
    network = new_network(GramNetConfig(**SMALL)).eval()
    with torch.no_grad():
        plain = network(images())
        for head in network.heads:
            kept = head.layers[3].weight.clone()
            head.layers[3].weight.mul_(-1)
            assert not torch.equal(network(images()), plain)
            head.layers[3].weight.copy_(kept)
        network.scale.zero_()
        features = network.network(images())
        expected = network.classifier(torch.nn.functional.pad(features, (0, 6 * 32)))
        torch.testing.assert_close(network(images()), expected)
    assert cam_layer(network).module is network.network.layer4


def test_the_cosine_network_sees_standardised_logarithms():
    pictures = images(6)
    logarithms = log_dct(pictures.numpy().astype(np.float64))
    network = CosineNetwork(SIZE, (3, 8, 16, 32))
    network.standardise_with(logarithms.mean(axis=0), logarithms.std(axis=0))
    found = network.entry(pictures).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(network.entry(pictures).numpy(), found)
    assert {name for name in network.state_dict() if "layers" not in name} == {"mean", "std"}


def test_the_fourier_network_sees_the_scaled_spectrum():
    torch.manual_seed(0)
    network = new_network(Fft2dConfig(**SMALL, band="high")).eval()
    seen = []
    network.network.register_forward_pre_hook(lambda _network, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(images())
    assert torch.equal(seen[0], ScaledSpectrum(SIZE, "high")(images()))


@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: type(config).__name__)
def test_flat_and_grey_images_have_finite_scores_and_gradients(config):
    network = begun(config, seed=0)
    grey = images(1)[:, :1].expand(1, 3, SIZE, SIZE)
    flat = torch.stack([torch.full((3, SIZE, SIZE), value) for value in (0.0, 0.5, 1.0)])
    pixels = torch.cat([grey, flat]).clone().requires_grad_()
    with evaluating(network):
        logits = network(pixels)
        logits[:, 1].sum().backward()
    assert torch.isfinite(logits).all()
    assert torch.isfinite(pixels.grad).all()
    assert pixels.grad[0].abs().sum() > 0


@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: type(config).__name__)
def test_the_seed_alone_makes_the_start(config):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (begun(config, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_what_is_no_resnet_has_no_gram_matrices():
    with pytest.raises(ConfigError, match=r"test_vit.* is a VisionTransformer; expected .* ResNet"):
        new_network(GramNetConfig(backbone="test_vit", weights="scratch"))


def test_a_network_that_cannot_take_the_crops_is_refused_before_an_image_is_read():
    with pytest.raises(ConfigError, match="can't take crops of 16 pixels"):
        begun(Fft2dConfig(size=16, backbone="dla46_c", weights="scratch"), seed=0)
