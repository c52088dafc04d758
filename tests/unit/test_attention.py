"""Attention as a tensor: equal to the maps that captum makes, differentiable, and moved by its penalty."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")
pytest.importorskip("timm")

from looking_networks import TINY, Quadrant, Tokens, logits_and_map, tiny  # noqa: E402
from pictures import natural  # noqa: E402
from tellsign.explain.faithfulness import attention_inside  # noqa: E402
from tellsign.faces import Box  # noqa: E402
from tellsign.nn.attention import (  # noqa: E402
    CamLayer,
    attention_outside,
    box_masks,
    cam_layer,
    resized,
)
from tellsign.types import ConfigError  # noqa: E402

SIDE = 64


def pictures(n, side=SIDE, dtype=torch.float32):
    return torch.from_numpy(np.stack([natural(seed, side, side) for seed in range(n)])).to(dtype)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", TINY)
def test_maps_are_those_of_captum_and_logits_those_of_the_network(name, create_graph):
    pytest.importorskip("captum")
    from tellsign.explain.cam import grad_cam

    network, images = tiny(name), pictures(2, side=96)
    logits, maps = logits_and_map(network, images, cam_layer(network), create_graph=create_graph)
    torch.testing.assert_close(logits, network(images), rtol=1e-4, atol=1e-5)
    expected = grad_cam(network, images.numpy())
    found = resized(maps, 96, 96).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert expected.max() > 0
    assert maps.requires_grad == create_graph


@pytest.mark.parametrize("name", TINY)
def test_the_gradient_of_the_share_is_that_of_finite_differences(name):
    """Through the gradient that made the map, back to every weight of the network."""
    network, images = tiny(name).double(), pictures(2, side=96, dtype=torch.float64)
    layer, inside = cam_layer(network), box_masks(torch.tensor([[8, 8, 40, 56]] * 2), 96, 96).double()
    weights = list(network.parameters())
    generator = torch.Generator().manual_seed(1)
    direction = [torch.randn(w.shape, dtype=w.dtype, generator=generator) for w in weights]

    def share(step=0.0):
        with torch.no_grad():
            for weight, part in zip(weights, direction, strict=True):
                weight.add_(part, alpha=step)
        return attention_outside(logits_and_map(network, images, layer)[1], inside).sum()

    value = share()
    gradients = torch.autograd.grad(value, weights, allow_unused=True)
    assert 0 < value < 2
    assert gradients[0].abs().max() > 0
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True) if g is not None)
    step = 1e-6
    ahead, behind = share(step).item(), share(-2 * step).item()
    assert slope.item() == pytest.approx((ahead - behind) / (2 * step), rel=1e-3, abs=1e-6)


def test_the_penalty_moves_attention_into_the_face():
    torch.manual_seed(0)
    network = tiny("test_resnet")
    images, layer = pictures(4), cam_layer(network)
    inside = box_masks(torch.tensor([[0, 0, 32, 64]] * 4), SIDE, SIDE)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    shares = []
    for _ in range(15):
        share = attention_outside(logits_and_map(network, images, layer)[1], inside).mean()
        shares.append(share.item())
        optimiser.zero_grad()
        share.backward()
        optimiser.step()
    assert shares[-1] < 0.7 * shares[0]


def test_the_share_is_what_the_measure_of_a_map_leaves():
    network = Quadrant()
    network.features.register_forward_hook(lambda _m, _i, output: output.requires_grad_())
    box = (24, 10, 50, 70)
    _, maps = logits_and_map(network, pictures(2), CamLayer(network.features), create_graph=False)
    outside = attention_outside(maps, box_masks(torch.tensor([box] * 2), SIDE, SIDE))
    for one, share in zip(resized(maps, SIDE, SIDE), outside, strict=True):
        assert share.item() == pytest.approx(1 - attention_inside(one.detach().numpy(), Box(*box)), abs=1e-6)


def test_a_uniform_map_has_the_share_of_the_area():
    inside = box_masks(torch.tensor([[0, 0, 4, 8], [0, 0, 8, 8], [4, 4, 8, 8], [0, 0, 0, 0]]), 8, 8)
    found = attention_outside(torch.full((4, 2, 2), 0.3), inside)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.0, 0.75, 0.0]))


def test_a_map_of_nothing_has_no_share_and_a_finite_gradient():
    maps = torch.zeros(1, 2, 2, requires_grad=True)
    share = attention_outside(maps, box_masks(torch.tensor([[0, 0, 2, 2]]), 8, 8))
    share.sum().backward()
    assert share.item() == 0
    assert torch.isfinite(maps.grad).all()


def test_masks_of_boxes():
    boxes = torch.tensor([[1, 0, 3, 2], [-5, 1, 2, 99], [2, 2, 2, 3], [0, 3, 4, 1]])
    found = box_masks(boxes, 3, 4)
    assert found.shape == (4, 3, 4)
    assert found[0].tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert found[1].tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert found[2:].all(), "a box without an area: no face is known, so nothing lies outside"


def test_hooks_are_gone_afterwards():
    network = tiny("test_vit")
    logits_and_map(network, pictures(1), cam_layer(network))
    assert not any(module._forward_hooks for module in network.modules())


def test_what_has_no_gradient_is_named():
    network = tiny("test_resnet")
    layer = cam_layer(network)
    with torch.no_grad(), pytest.raises(ConfigError, match="no gradient"):
        logits_and_map(network, pictures(1), layer)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ConfigError, match="no gradient"):
        logits_and_map(network, pictures(1), layer)


def test_a_layer_that_gives_no_map_is_named():
    network = tiny("test_vit")
    with pytest.raises(ConfigError, match=r"expected one map .* found \(1, 17, 64\)"):
        logits_and_map(network, pictures(1), CamLayer(network.blocks[-1].norm1))
    with pytest.raises(ConfigError, match="found none"):
        logits_and_map(network, pictures(1), CamLayer(torch.nn.Identity()))
    tokens = Tokens(1)
    with pytest.raises(ConfigError, match="no square grid"):
        logits_and_map(tokens, pictures(1)[:, :, :32], CamLayer(tokens.norm, prefix=1))


@pytest.mark.parametrize(
    ("maps", "inside"), [((2, 4, 4), (3, 8, 8)), ((2, 1, 4, 4), (2, 8, 8)), ((2, 4, 4), (8, 8))]
)
def test_maps_and_masks_that_do_not_fit_are_refused(maps, inside):
    with pytest.raises(ConfigError, match="as many masks"):
        attention_outside(torch.ones(maps), torch.ones(inside))
