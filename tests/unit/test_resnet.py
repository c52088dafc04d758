"""The residual network of the re-synthesis paper: sizes, strides, start, and its last map."""

from __future__ import annotations

import numpy as np
import pytest

from tellsign.nn.resnet import residual_network
from tellsign.types import FAKE, ConfigError

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from tellsign.nn.attention import cam_layer  # noqa: E402 - needs PyTorch

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SMALL = {"widths": (8, 8, 16, 16), "blocks": (1, 2, 1, 1)}


def on_meta(channels: int = 3, **options):
    """A network without weights, whose shapes cost nothing."""
    with torch.device("meta"):
        return residual_network(channels, **options)


@pytest.mark.parametrize(("channels", "expected"), [(3, 23_635_906), (512, 23_929_090)])
def test_it_has_the_published_number_of_parameters(channels, expected):
    assert sum(parameter.numel() for parameter in on_meta(channels).parameters()) == expected


@pytest.mark.parametrize(
    ("channels", "side", "cells"),
    [(3, 1024, 32), (512, 64, 2), (512, 16, 1), (3, 128, 4), (3, 129, 5)],
)
def test_its_last_map_is_a_thirty_second_of_the_input(channels, side, cells):
    network = on_meta(channels).eval()
    images = torch.zeros(1, channels, side, side, device="meta")
    assert network.forward_features(images).shape == (1, 2048, cells, cells)
    assert network(images).shape == (1, 2)


def test_the_last_two_groups_have_no_stride():
    network = on_meta().eval()
    x = network.maxpool(network.act1(network.bn1(network.conv1(torch.zeros(1, 3, 256, 256, device="meta")))))
    assert x.shape == (1, 128, 32, 32)
    shapes = [
        tuple(x.shape[1:]) for group in (1, 2, 3, 4) if (x := getattr(network, f"layer{group}")(x)).ndim
    ]
    assert shapes == [(256, 16, 16), (512, 8, 8), (1024, 8, 8), (2048, 8, 8)]


def test_convolutions_start_with_the_deviation_of_their_outputs():
    torch.manual_seed(3)
    network = residual_network(widths=(16, 16, 16, 16), blocks=(1, 1, 1, 1))
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            expected = np.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
            n = module.weight.numel()
            # Five standard errors of a deviation.
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=5 / np.sqrt(2 * n))
            assert abs(float(module.weight.detach().mean())) < 5 * expected / np.sqrt(n)
    starts = [
        float(module.weight.detach().min()) for module in network.modules() if hasattr(module, "running_mean")
    ]
    assert starts == [1.0] * len(starts)


def test_the_last_map_and_the_last_layer_make_the_logits():
    torch.manual_seed(3)
    network = residual_network(5, **SMALL).eval()
    images = torch.rand(2, 5, 96, 64)
    with torch.no_grad():
        last = network.forward_features(images)
        activation = torch.einsum("c,bchw->bhw", network.fc.weight[FAKE], last)
        logits = network(images)
    torch.testing.assert_close(activation.mean(dim=(1, 2)) + network.fc.bias[FAKE], logits[:, FAKE])
    assert cam_layer(network).module is network.layer4


def test_the_plain_stem_is_timms_own_network():
    torch.manual_seed(3)
    own = residual_network(stem="plain").eval()
    assert sum(parameter.numel() for parameter in own.parameters()) == 23_512_130
    torchvisions = timm.create_model("resnet50", num_classes=2).eval()
    torchvisions.load_state_dict(own.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(own(images), torchvisions(images))


def test_the_same_random_state_gives_the_same_weights():
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(residual_network(**SMALL).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["fc.weight"], states[2]["fc.weight"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels is a whole number of at least 1, found 0"),
        ({"widths": (8, 8, 8)}, "widths is a list of four numbers"),
        ({"widths": (8, 8, 8, 0)}, "each of widths is a whole number of at least 1, found 0"),
        ({"blocks": "3463"}, "blocks is a list of four numbers"),
        ({"blocks": (1, 1, 1, 1.5)}, "each of blocks is a whole number"),
        ({"stem": "torchvision"}, "stem is one of deep, plain, found 'torchvision'"),
    ],
)
def test_sizes_of_no_network_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        residual_network(**options)
