"""Auto-encoder and GAN: sizes, published parameter counts, and options that are refused."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch")

from tellsign.generators.autoencoder import AutoEncoder, AutoEncoderConfig  # noqa: E402
from tellsign.generators.gan import (  # noqa: E402
    TOPOLOGIES,
    Discriminator,
    GanConfig,
    Generator,
    n_parameters,
)
from tellsign.types import ConfigError, ImageError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.mark.parametrize(
    ("options", "generator", "discriminator"),
    [
        ({"size": 128, "base": 32}, 3_837_379, 2_796_961),
        (
            {"size": 128, "base": 32, "last_up": "nearest", "head_layers": 3, "head_activation": "none"},
            3_889_507,
            2_796_961,
        ),
        ({"size": 64, "base": 64}, 3_806_083, 2_765_633),
        ({"size": 128, "base": 64}, 8_001_411, 6_960_961),
    ],
)
@pytest.mark.parametrize("batch_norm", [True, False])
def test_parameters_are_those_of_the_published_networks(options, generator, discriminator, batch_norm):
    config = GanConfig(**options)
    with torch.device("meta"):  # counted without memory
        assert n_parameters(Generator(config)) == generator
        assert n_parameters(Discriminator(config, batch_norm=batch_norm)) == discriminator


def test_widths_double_up_to_the_cap():
    assert GanConfig(size=128, base=32).widths == [32, 64, 128, 256, 512]
    assert GanConfig(size=128, base=64).widths == [64, 128, 256, 512, 512]
    assert GanConfig(size=16).widths == [32, 64]


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize(("last_up", "topology"), [*itertools.product(("transposed", "nearest"), TOPOLOGIES)])
def test_every_topology_gives_images_of_its_size(size, last_up, topology):
    layers, inner = TOPOLOGIES[topology]
    options = {"head_layers": layers, "inner": inner, "head_filters": 3, "head_kernel": 3}
    generator = Generator(GanConfig(size=size, latents=5, base=2, cap=4, last_up=last_up, **options))
    images = generator.images(generator.latents(2, torch.Generator().manual_seed(0)))
    assert images.shape == (2, 3, size, size)
    assert 0 <= float(images.detach().min()) <= float(images.detach().max()) <= 1


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_discriminator_gives_a_logit_an_image(batch_norm):
    discriminator = Discriminator(GanConfig(size=16, base=2), batch_norm=batch_norm)
    assert discriminator(torch.rand(3, 3, 16, 16)).shape == (3,)
    assert any(isinstance(part, torch.nn.BatchNorm2d) for part in discriminator.modules()) == batch_norm
    with pytest.raises(ImageError, match=r"\(B, 3, 16, 16\), found \(3, 3, 16, 8\)"):
        discriminator(torch.rand(3, 3, 16, 8))


def test_a_discriminator_sees_either_range():
    discriminator = Discriminator(GanConfig(size=16, base=2), batch_norm=False)
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(discriminator.signed(2 * images - 1), discriminator(images))


def test_without_batch_norm_a_logit_does_not_depend_on_other_images():
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    config = GanConfig(size=16, base=4)
    alone, with_others = Discriminator(config, batch_norm=False), Discriminator(config, batch_norm=True)
    torch.testing.assert_close(alone(images)[:2], alone(images[:2]))
    assert not torch.allclose(with_others(images)[:2], with_others(images[:2]))


def test_weights_begin_small():
    torch.manual_seed(0)
    network = Generator(GanConfig(size=32, base=16))
    convolutions = [part for part in network.modules() if isinstance(part, torch.nn.ConvTranspose2d)]
    assert len(convolutions) == 4
    for part in convolutions[:-1]:
        assert float(part.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
        assert part.bias is None
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert all(abs(float(part.weight.detach().mean()) - 1) < 0.05 for part in norms)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"size": 48}, "power of two from 16, found 48"),
        ({"size": 8}, "size is a whole number of at least 16, found 8"),
        ({"last_up": "bilinear"}, "last_up is one of transposed, nearest"),
        ({"last_up": "nearest"}, "head_layers is a whole number from 1 to 3, found 0"),
        ({"head_layers": 4}, "head_layers"),
        ({"head_kernel": 5.0}, r"head_kernel is one of .*, found 5\.0"),
        ({"head_kernel": 4}, "head_kernel is one of 3, 5, 7, 9, 11, found 4"),
        ({"head_activation": "tanh"}, "head_activation is relu or none"),
        ({"inner": True}, "inner is one of"),
        ({"base": 0}, "base"),
    ],
)
def test_options_that_nobody_has_studied_are_refused(options, reason):
    with pytest.raises(ConfigError, match=reason):
        GanConfig(**options)


@pytest.mark.parametrize("up", ["transposed", "nearest", "bilinear"])
@pytest.mark.parametrize(("layers", "kernel"), [(0, 5), (1, 3), (3, 11)])
def test_an_auto_encoder_gives_images_of_the_same_size(up, layers, kernel):
    config = AutoEncoderConfig(up=up, filters=4, head_layers=layers, head_kernel=kernel, head_filters=2)
    images = torch.rand(2, 3, 16, 12)
    assert AutoEncoder(config)(images).shape == images.shape


def test_a_transposed_convolution_is_zeros_and_a_convolution():
    network = AutoEncoder(AutoEncoderConfig(filters=2))
    features = torch.rand(1, 2, 4, 4)
    zeros = torch.zeros(1, 2, 8, 8)
    zeros[..., ::2, ::2] = features
    turned = network.up.weight.flip(2, 3).transpose(0, 1)
    expected = torch.nn.functional.conv2d(zeros, turned, network.up.bias, padding=1)
    torch.testing.assert_close(network.up(features), expected)


def test_without_an_activation_the_head_is_one_linear_filter():
    def additive(activation: str) -> bool:
        torch.manual_seed(0)
        network = AutoEncoder(AutoEncoderConfig(head_layers=3, head_activation=activation)).double()
        a, b = torch.randn(2, 1, 32, 8, 8, dtype=torch.float64)
        head = network.head
        nothing = head(torch.zeros_like(a))
        return torch.allclose(head(a + b) - nothing, head(a) + head(b) - 2 * nothing)

    assert additive("none")
    assert not additive("relu")


def test_an_auto_encoder_refuses_odd_sides_and_other_options():
    network = AutoEncoder(AutoEncoderConfig(filters=2))
    for shape in ((1, 3, 7, 8), (1, 3, 8, 7), (1, 1, 8, 8), (3, 8, 8)):
        with pytest.raises(ImageError, match="even sides"):
            network(torch.rand(*shape))
    for kernel in (4, 3.0, True):
        with pytest.raises(ConfigError, match=f"^kernel is one of 3, 5, 7, 9, 11, found {kernel}"):
            AutoEncoderConfig(kernel=kernel)
    with pytest.raises(ConfigError, match="up is one of transposed, nearest, bilinear"):
        AutoEncoderConfig(up="bicubic")
