"""Class activation maps: networks that look at a known place, and timm's families against maps by hand."""

from __future__ import annotations

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")
pytest.importorskip("timm")
pytest.importorskip("captum")

from looking_networks import TINY, Quadrant, SubBands, Tokens, logits_and_map, tiny  # noqa: E402
from pictures import natural  # noqa: E402
from tellsign.explain.cam import grad_cam  # noqa: E402
from tellsign.explain.faithfulness import attention_inside, faithfulness  # noqa: E402
from tellsign.faces import Box  # noqa: E402
from tellsign.features.wavelet import haar  # noqa: E402
from tellsign.nn.attention import CamLayer, cam_layer  # noqa: E402
from tellsign.types import FAKE, ConfigError, ImageError  # noqa: E402

SIDE = 64


def pictures(n, side=SIDE):
    return np.stack([natural(seed, side, side) for seed in range(n)])


def enlarged(maps, side):
    """(B, h, w) → (B, side, side), bilinear, written from the definition."""
    *_, rows, columns = maps.shape

    def weights(cells):
        at = np.clip((np.arange(side) + 0.5) * cells / side - 0.5, 0, cells - 1)
        low = np.floor(at).astype(int)
        matrix = np.zeros((side, cells))
        matrix[np.arange(side), low] += 1 - (at - low)
        matrix[np.arange(side), np.minimum(low + 1, cells - 1)] += at - low
        return matrix

    return weights(rows) @ maps @ weights(columns).T


# networks whose map is known


def test_a_network_that_looks_at_one_quadrant_has_its_map_there():
    network, images = Quadrant(), pictures(2)
    maps = grad_cam(network, images, layer=CamLayer(network.features))
    red = images[:, 0].reshape(2, 16, 4, 16, 4).mean(axis=(2, 4))
    red[:, 8:], red[:, :, :8] = 0, 0
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, enlarged(red / 16**2, SIDE), atol=1e-8)
    for one in maps:
        assert attention_inside(one, Box(SIDE // 2 - 2, 0, SIDE, SIDE // 2 + 2)) == 1


def test_deletion_by_the_map_falls_faster_than_by_random_order():
    network, image = Quadrant(), pictures(1)[0]
    image[0] *= 0.2
    image[0, : SIDE // 2, SIDE // 2 :] += 0.7

    def score(images):
        with torch.no_grad():
            return network(torch.from_numpy(images))[:, FAKE].numpy()

    (values,) = grad_cam(network, image[None], layer=CamLayer(network.features))
    right, wrong = (faithfulness(score, image, one, cells=16, seed=0, steps=16) for one in (values, -values))
    assert right.deletion.area < right.random_deletion.min()
    assert right.insertion.area > right.random_insertion.max()
    assert wrong.deletion_gain < 0 < right.deletion_gain


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_tokens_lie_where_their_patches_were(prefix):
    network, images = Tokens(prefix), pictures(2, side=20)
    images[:, 0] *= 0.1
    images[0, 0, 4:8, 12:16] = images[1, 0, 16:, :4] = 1.0  # patches in row 1, column 3 and row 4, column 0
    maps = grad_cam(network, images, layer=CamLayer(network.norm, prefix=prefix))
    red = images[:, 0].reshape(2, 5, 4, 5, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(maps, enlarged(red / 25, 20), rtol=1e-5, atol=1e-8)
    assert [np.unravel_index(one.argmax(), one.shape) for one in maps][1] == (18, 0)


def test_tokens_that_are_no_square_are_refused():
    network = Tokens(1)
    with pytest.raises(ConfigError, match="15 patches are no square grid"):
        grad_cam(network, pictures(1, side=20)[:, :, :12], layer=CamLayer(network.norm, prefix=1))


# timm's families


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_before_pooling_and_a_linear_classifier_it_is_the_classifier_at_each_place(name):
    """Grad-CAM is then the class activation map of Zhou et al. (2016) over the number of places."""
    network, images = tiny(name), pictures(2)
    with torch.no_grad():
        features = network.forward_features(torch.from_numpy(images))
        weights = network.get_classifier().weight[FAKE].detach()
    places = features.shape[2] * features.shape[3]
    expected = np.maximum(np.einsum("c,bchw->bhw", weights.numpy(), features.numpy()), 0) / places
    assert expected.max() > 0
    np.testing.assert_allclose(grad_cam(network, images), enlarged(expected, SIDE), atol=1e-6)


def map_by_hand(network, images, tokens):
    """(B, h, w) by PyTorch's own gradient of what enters the head, or the last attention."""
    kept = []

    def keep(_module, inputs):
        inputs[0].retain_grad()
        kept.append(inputs[0])

    handle = (network.blocks[-1].attn if tokens else network.head).register_forward_pre_hook(keep)
    network(torch.from_numpy(images))[:, FAKE].sum().backward()
    handle.remove()
    values, gradient = kept[0].detach().numpy(), kept[0].grad.numpy()
    if tokens:
        side = round(values.shape[1] ** 0.5)
        values, gradient = (
            np.moveaxis(one[:, -(side**2) :].reshape(len(one), side, side, -1), -1, 1)
            for one in (values, gradient)
        )
    weights = gradient.mean(axis=(2, 3), keepdims=True)
    return np.maximum((weights * values).sum(axis=1), 0)


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "test_vit2"])
def test_maps_are_those_by_hand(name):
    network, images = tiny(name), pictures(3, side=96)
    found = grad_cam(network, images)
    expected = map_by_hand(network, images, tokens="vit" in name)
    assert found.max() > 0
    np.testing.assert_allclose(found, enlarged(expected, 96), rtol=1e-3, atol=1e-4 * found.max())


@pytest.mark.parametrize(
    ("name", "prefix"), [("deit_tiny_patch16_224", 1), ("deit_tiny_distilled_patch16_224", 2)]
)
def test_deit_has_a_grid_of_14_patches(name, prefix):
    network = tiny(name, depth=2)
    layer = cam_layer(network)
    assert layer.module is network.blocks[1].norm1
    assert layer.prefix == prefix
    found = grad_cam(network, pictures(1, side=224))[0]
    # Along a line between the centres of two neighbouring patches a bilinear map is straight, and only there.
    curvature = np.abs(np.diff(found[112], 2))
    centres = np.arange(7.5, 224, 16)
    bends = np.flatnonzero(curvature > 1e-4 * found.max()) + 1
    assert len(bends) > 0
    assert all(np.abs(centres - bend).min() < 1 for bend in bends)


@pytest.mark.parametrize("name", TINY)
def test_the_output_for_fake_is_explained_and_no_other(name):
    """With the classifier's two rows exchanged, the map is that of the other class."""
    network, images = tiny(name), pictures(1, side=96)
    before = grad_cam(network, images)
    head = network.get_classifier()
    with torch.no_grad():
        for tensor in (head.weight, head.bias):
            tensor.copy_(tensor.flip(0))
    after = grad_cam(network, images)
    assert np.abs(before - after).max() > 0.1 * max(before.max(), after.max())


@pytest.mark.parametrize("name", TINY)
def test_an_image_does_not_depend_on_its_neighbours(name):
    network, images = tiny(name), pictures(3, side=96)
    together = grad_cam(network, images)
    alone = np.concatenate([grad_cam(network, image[None]) for image in images])
    assert together.shape == (3, 96, 96)
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-5 * together.max())


@pytest.mark.parametrize("name", TINY)
def test_the_network_is_left_as_it_was(name):
    network, images = tiny(name), pictures(2, side=96)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    kept = images.copy()
    with torch.no_grad():
        logits = network(torch.from_numpy(images))
        frozen = grad_cam(network, images)
        torch.testing.assert_close(network(torch.from_numpy(images)), logits, rtol=0, atol=0)
    np.testing.assert_array_equal(images, kept)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    np.testing.assert_array_equal(grad_cam(network, images), frozen)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_hooks_are_gone_after_a_failure():
    network = Tokens(1)
    with pytest.raises(ConfigError):
        grad_cam(network, pictures(1, side=20)[:, :, :12], layer=CamLayer(network.norm, prefix=1))
    assert not network.norm._forward_hooks


@pytest.mark.parametrize("side", [127, 128])
def test_a_network_of_sub_bands_has_its_map_at_the_size_of_the_image(side):
    network, images = SubBands(tiny("test_convnext", channels=12)), pictures(2, side=side)
    bands = haar(torch.from_numpy(images)).flatten(1, 2)
    _, maps = logits_and_map(network.backbone, bands, cam_layer(network.backbone), create_graph=False)
    assert maps.shape == (2, 2, 2)
    assert maps.max() > 0
    expected = enlarged(maps.numpy(), side)
    np.testing.assert_allclose(grad_cam(network, images), expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_sub_bands_lie_where_their_image_was():
    """Detail in one place of the image, found by a layer of the sub-bands, is at that place of the map."""

    class Detail(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = torch.nn.AvgPool2d(4)

        def forward(self, bands):
            diagonal = self.pool(bands[:, 9:].abs())
            return torch.stack((-diagonal.mean(dim=(1, 2, 3)), diagonal.mean(dim=(1, 2, 3))), dim=1)

    network = SubBands(Detail())
    image = np.full((1, 3, SIDE, SIDE), 0.5, np.float32)
    image[:, :, 40:48, 16:24] += 0.3 * (-1.0) ** np.add.outer(np.arange(8), np.arange(8))
    (found,) = grad_cam(network, image, layer=CamLayer(network.backbone.pool))
    rows, columns = np.nonzero(found > 0.99 * found.max())
    assert (rows.mean(), columns.mean()) == (43.5, 19.5)
    assert attention_inside(found, Box(16 - 8, 40 - 8, 24 + 8, 48 + 8)) == pytest.approx(1)


# which layer


@pytest.mark.parametrize(
    ("name", "path", "prefix"),
    [
        ("test_efficientnet", "bn2", None),
        ("test_convnext", "norm_pre", None),
        ("test_resnet", "layer4", None),
        ("test_vit", "blocks.5.norm1", 1),
        ("test_vit2", "blocks.7.norm1", 1),  # no class token, but one register
        ("mobilenetv3_small_050", "blocks", None),
    ],
)
def test_the_layer_of_each_family(name, path, prefix):
    backbone = tiny(name)
    for network in (backbone, torch.nn.Sequential(torch.nn.Identity(), backbone)):
        layer = cam_layer(network)
        assert layer.module is backbone.get_submodule(path)
        assert layer.prefix == prefix


def test_another_architecture_is_named():
    with pytest.raises(
        ConfigError, match=r"layer of Quadrant .* EfficientNet, .* found none; pass a CamLayer"
    ):
        cam_layer(Quadrant())
    with pytest.raises(ConfigError, match="found none"):
        grad_cam(Quadrant(), pictures(1))


def test_an_ensemble_is_not_guessed_at():
    both = torch.nn.ModuleDict({"a": tiny("test_resnet"), "b": tiny("test_vit")})
    with pytest.raises(
        ConfigError, match=r"found 2: a \(ResNet\), b \(VisionTransformer\); pass one of them"
    ):
        cam_layer(both)
    assert cam_layer(both["b"]).prefix == 1


def test_a_class_that_only_has_the_name_of_a_family_is_another_architecture():
    with pytest.raises(ConfigError, match="found none"):
        cam_layer(type("ResNet", (torch.nn.Module,), {})())


def test_a_transformer_of_other_blocks_is_named():
    from timm.models.vision_transformer import ParallelScalingBlock

    network = tiny("test_vit", block_fn=ParallelScalingBlock)
    with pytest.raises(ConfigError, match=r"VisionTransformer has no layer 'blocks\.5\.norm1'"):
        cam_layer(network)


# bad input


def test_training_mode_is_refused():
    with pytest.raises(ConfigError, match="training mode"):
        grad_cam(tiny("test_resnet").train(), pictures(1))


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 64, 64, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ImageError, match="shape"):
        grad_cam(tiny("test_resnet"), np.zeros(shape, np.float32))


@pytest.mark.parametrize("missing", ["captum", "torch"])
def test_a_missing_package_names_the_extra(missing, monkeypatch):
    import tellsign.nn

    for name in (missing, f"{missing}.attr"):
        monkeypatch.setitem(sys.modules, name, None)
    if missing == "torch":
        monkeypatch.delitem(sys.modules, "tellsign.nn.attention")
        monkeypatch.delattr(tellsign.nn, "attention")
    with pytest.raises(ConfigError, match=rf"need {missing}.*pip install 'tellsign\[train\]'"):
        grad_cam(Quadrant(), pictures(1))
