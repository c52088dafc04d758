"""Backbones: equal to timm's own for the same weights, and refused where the weights don't fit."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tellsign.nn.backbones import backbone, weights_identity, widened
from tellsign.types import ConfigError

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from safetensors.torch import save_file  # noqa: E402 - needs PyTorch

SIDE = 64
NAMES = {"test_efficientnet": None, "test_vit": SIDE, "test_convnext": None}  # → size, where it is fixed


def timms(name: str, *, classes: int, channels: int = 3):
    """Timm's own network, with statistics and weights that are not those of the start."""
    torch.manual_seed(1)
    options = {"img_size": SIDE} if NAMES[name] else {}
    network = timm.create_model(name, num_classes=classes, in_chans=channels, **options)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.02 * torch.rand_like(tensor))
    return network.eval()


def saved(network, path: Path) -> str:
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return str(path)


def images(channels: int = 3):
    return torch.rand(2, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_timms_own_for_the_same_weights(name, tmp_path):
    own = timms(name, classes=2)
    found = backbone(name, weights=saved(own, tmp_path / "w.safetensors"), size=NAMES[name]).eval()
    with torch.no_grad():
        assert torch.equal(found(images()), own(images()))


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_the_pretraining_get_a_new_last_layer_and_nothing_else(name, tmp_path):
    own = timms(name, classes=1000)
    path = saved(own, tmp_path / "w.safetensors")
    torch.manual_seed(2)
    found = backbone(name, weights=path, size=NAMES[name]).eval()
    with torch.no_grad():
        assert torch.equal(found.forward_features(images()), own.forward_features(images()))
        assert found(images()).shape == (2, 2)
    torch.manual_seed(2)
    again = backbone(name, weights=path, size=NAMES[name])
    torch.manual_seed(3)
    other = backbone(name, weights=path, size=NAMES[name])
    head = found.get_classifier().weight
    assert torch.equal(again.get_classifier().weight, head)
    assert not torch.equal(other.get_classifier().weight, head)


@pytest.mark.parametrize("name", NAMES)
def test_twelve_channels_start_from_the_kernels_of_three_as_timm_widens_them(name, tmp_path):
    own = timms(name, classes=2)
    path = saved(own, tmp_path / "w.safetensors")
    found = backbone(name, channels=12, weights=path, size=NAMES[name]).eval()
    with torch.no_grad():
        assert torch.allclose(found(images().repeat(1, 4, 1, 1)), own(images()), atol=1e-5)
    options = {"img_size": SIDE} if NAMES[name] else {}
    reference = timm.create_model(
        name,
        pretrained=True,
        in_chans=12,
        num_classes=2,
        pretrained_cfg_overlay={"file": path, "num_classes": 2},
        **options,
    ).eval()
    with torch.no_grad():
        assert torch.allclose(found(images(12)), reference(images(12)), atol=1e-6)


def test_weights_of_twelve_channels_and_two_classes_are_taken_whole(tmp_path):
    own = timms("test_convnext", classes=2, channels=12)
    found = backbone("test_convnext", channels=12, weights=saved(own, tmp_path / "w.safetensors")).eval()
    with torch.no_grad():
        assert torch.equal(found(images(12)), own(images(12)))


def test_widened_kernels_keep_the_sum_and_refuse_what_is_no_multiple():
    kernels = torch.rand(4, 3, 3, 3)
    wide = widened(kernels, 12)
    assert wide.shape == (4, 12, 3, 3)
    assert torch.allclose(wide.sum(dim=1), kernels.sum(dim=1))
    assert torch.equal(wide[:, 3:6] * 4, kernels)
    with pytest.raises(ConfigError, match=r"of 3 channels .* over 8; take a multiple of 3"):
        widened(kernels, 8)


def test_counters_of_batch_normalisation_may_lack(tmp_path):
    own = timms("test_efficientnet", classes=2)
    state = {k: v for k, v in own.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert len(state) < len(own.state_dict())
    save_file(state, tmp_path / "w.safetensors")
    found = backbone("test_efficientnet", weights=str(tmp_path / "w.safetensors")).eval()
    with torch.no_grad():
        assert torch.equal(found(images()), own(images()))


def test_from_scratch_it_follows_the_random_state():
    one, two, three = [], [], []
    for seed, into in ((4, one), (4, two), (5, three)):
        torch.manual_seed(seed)
        into.extend(backbone("test_efficientnet", weights="scratch").parameters())
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_options_go_to_timm_and_a_fixed_size_follows_the_input():
    small = backbone(
        "deit_tiny_patch16_224",
        weights="scratch",
        size=48,
        options={"embed_dim": 24, "depth": 2, "num_heads": 2},
    )
    assert small.patch_embed.grid_size == (3, 3)
    assert len(small.blocks) == 2
    assert small(torch.rand(1, 3, 48, 48)).shape == (1, 2)


# what is refused


def test_weights_for_another_number_of_classes(tmp_path):
    path = saved(timms("test_convnext", classes=5), tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"5 classes; expected 2, or the 1000 of timm's pretraining"):
        backbone("test_convnext", weights=path)


def test_weights_for_another_architecture(tmp_path):
    path = saved(timms("test_vit", classes=2), tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"another architecture than ConvNeXt.*missing.*unknown"):
        backbone("test_convnext", weights=path)


def test_weights_of_another_size(tmp_path):
    path = saved(timms("test_vit", classes=2), tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"pos_embed has shape \(1, 17, 64\), expected \(1, 5, 64\)"):
        backbone("test_vit", weights=path, size=32)


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w"])
def test_pickles_are_refused_unread(name, tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path(tmp_path / "executed").touch, ()

    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ConfigError, match="pickles, which can run code"):
        backbone("test_vit", weights=str(tmp_path / name))
    (tmp_path / "renamed.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ConfigError, match="a pickle under another name is not read"):
        backbone("test_vit", weights=str(tmp_path / "renamed.safetensors"))
    torch.save({"a": torch.zeros(1)}, tmp_path / "saved.safetensors")
    with pytest.raises(ConfigError, match="is pickled, and reading a pickle can run code"):
        backbone("test_vit", weights=str(tmp_path / "saved.safetensors"))
    assert not (tmp_path / "executed").exists()


def test_a_file_that_is_cut_or_missing(tmp_path):
    path = Path(saved(timms("test_convnext", classes=2), tmp_path / "w.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="damaged or no safetensors"):
        backbone("test_convnext", weights=str(path))
    with pytest.raises(
        ConfigError, match=r"none\.safetensors cannot be read \(No such file.*; give the path"
    ):
        backbone("test_convnext", weights=str(tmp_path / "none.safetensors"))
    with pytest.raises(ConfigError, match="No such file"):
        weights_identity(str(tmp_path / "none.safetensors"))


@pytest.mark.parametrize("weights", ["", 3, None, "a\0b", ["scratch"]])
def test_what_names_no_weights(weights):
    with pytest.raises(ConfigError, match="weights is 'scratch', 'pretrained' or the path of a"):
        backbone("test_vit", weights=weights)


def test_the_identity_of_weights_is_their_content(tmp_path):
    for name in ("a", "b"):
        save_file({"x": torch.ones(3)}, tmp_path / f"{name}.safetensors")
    save_file({"x": torch.zeros(3)}, tmp_path / "c.safetensors")
    one, two, three = (weights_identity(str(tmp_path / f"{name}.safetensors")) for name in "abc")
    assert one == two != three
    assert weights_identity("scratch") == "scratch"


@pytest.mark.parametrize("name", ["tset_convnext", "", "hf-hub:someone/model", "../model", "test_vit.no_tag"])
def test_an_architecture_that_timm_lacks(name):
    with pytest.raises(ConfigError, match=r"timm .* has no (architecture|weights)"):
        backbone(name, weights="scratch")


def test_a_typing_error_gets_a_hint():
    with pytest.raises(ConfigError, match=r"similar ones are .*test_convnext"):
        backbone("tset_convnext", weights="scratch")


@pytest.mark.parametrize(
    "options",
    [
        {"pretrained": True},
        {"pretrained_cfg": {"file": "x.pth"}},
        {"pretrained_cfg_overlay": {"file": "x.pth"}},
        {"checkpoint_path": "x.pth"},
        {"cache_dir": "/x"},
        {"in_chans": 3},
        {"num_classes": 2},
    ],
    ids=str,
)
def test_no_option_says_where_weights_come_from_or_how_many_outputs_there_are(options, monkeypatch):
    """A configuration may come with a stranger's detector, and what timm then reads may be a pickle."""
    monkeypatch.setattr("timm.create_model", None)
    with pytest.raises(ConfigError, match=f"{next(iter(options))}: no option of a backbone"):
        backbone("test_convnext", weights="scratch", options=options)


@pytest.mark.parametrize("options", [{"frobnicate": 3}, {"dims": "wide"}, {"drop_path_rate": "much"}])
def test_an_option_that_timm_cannot_use(options):
    with pytest.raises(ConfigError, match="timm cannot build test_convnext with"):
        backbone("test_convnext", weights="scratch", options=options)


def test_pretrained_weights_that_cannot_be_had_are_named_and_nothing_trains_from_scratch(monkeypatch):
    create = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise ConnectionError("no route to host")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        ConfigError, match=r"ConnectionError: no route to host.*fetch the file model"
    ) as caught:
        backbone("test_vit", weights="pretrained")
    assert "timm/test_vit" in str(caught.value)
    assert "weights = 'scratch'" in str(caught.value)


def test_an_architecture_without_pretrained_weights_says_so():
    with pytest.raises(ConfigError, match=r"cannot be had .*No pretrained weights exist"):
        backbone("mnasnet_050", weights="pretrained")


def test_pretrained_weights_are_those_that_timm_loads(monkeypatch):
    """As if downloaded: what timm builds with pretrained=True is taken over, but for the last layer."""
    create, given = timm.create_model, []

    def online(name, pretrained=False, **options):
        network = create(name, **options)
        if pretrained:
            given.append(network)
        return network

    monkeypatch.setattr(timm, "create_model", online)
    found = backbone("test_convnext", channels=12, weights="pretrained")
    (source,) = given
    assert torch.equal(found.stem[0].weight[:, 9:] * 4, source.stem[0].weight)
    assert torch.equal(found.stages[3].blocks[1].mlp.fc1.weight, source.stages[3].blocks[1].mlp.fc1.weight)
    assert found.head.fc.weight.shape == (2, 64)
