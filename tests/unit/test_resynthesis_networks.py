"""The re-synthesiser, the perceptual network and tiles: sizes, shapes, how far they see, what they refuse."""

from __future__ import annotations

from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
from safetensors.torch import save_file  # noqa: E402

from resynthesis_tiny import NETWORK, count, images, residuals, vgg  # noqa: E402
from tellsign import artifacts  # noqa: E402
from tellsign.engine.export import network_arrays  # noqa: E402
from tellsign.nn.resnet import residual_network  # noqa: E402
from tellsign.systems.resynthesis.config import NetworkConfig, PerceptualConfig  # noqa: E402
from tellsign.systems.resynthesis.model import Residuals, StageClassifier, residual_maps  # noqa: E402
from tellsign.systems.resynthesis.perceptual import (  # noqa: E402
    CHANNELS,
    STRIDES,
    DetectorStages,
    Perceptual,
    Vgg19,
    detector_network,
    perceptual_network,
)
from tellsign.systems.resynthesis.rdn import ResidualDenseNetwork, take_weights  # noqa: E402
from tellsign.systems.resynthesis.tiles import tiled  # noqa: E402
from tellsign.types import ConfigError, TooSmallError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SPEC = {"kind": "network", "preprocessing": {}}
SMALL = {"widths": (4, 6, 8, 10), "blocks": (1, 2, 1, 1), "stem": "deep"}


def on_meta(make):
    """A network without weights, whose shapes cost nothing."""
    with torch.device("meta"):
        return make()


def open_network(**options):
    """A re-synthesiser whose results depend on all that they see: all weights are positive."""
    torch.manual_seed(0)
    made = ResidualDenseNetwork(NetworkConfig(**(NETWORK | options))).double().requires_grad_(False)
    for parameter in made.parameters():
        parameter.abs_()
    return made


# the re-synthesiser


def test_it_has_the_published_number_of_parameters():
    assert count(on_meta(lambda: ResidualDenseNetwork(NetworkConfig()))) == 22_271_107


@pytest.mark.parametrize("shape", [(1, 3, 256, 256), (2, 3, 5, 9), (1, 3, 1, 1)])
def test_it_gives_four_times_the_sides(shape):
    made = on_meta(lambda: ResidualDenseNetwork(NetworkConfig(**NETWORK)))
    found = made(torch.zeros(shape, device="meta"))
    assert found.shape == (shape[0], 3, 4 * shape[2], 4 * shape[3])


def test_what_it_computes_is_what_the_paper_says():
    """Written again without modules of its own."""
    torch.manual_seed(2)
    made = ResidualDenseNetwork(NetworkConfig(**NETWORK))
    small = torch.rand(2, 3, 6, 7)
    state = made.state_dict()

    def conv(name, x):
        weight, bias = (state[f"{name}.{part}"] for part in ("weight", "bias"))
        return torch.nn.functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    shallow = conv("first", small)
    x, outputs = conv("second", shallow), []
    for block in range(2):
        start, seen = x, [x]
        for layer in range(2):
            seen.append(torch.relu(conv(f"blocks.{block}.layers.{layer}", torch.cat(seen, 1))))
        x = conv(f"blocks.{block}.fusion", torch.cat(seen, 1)) + start
        outputs.append(x)
    x = conv("fusion.1", conv("fusion.0", torch.cat(outputs, 1))) + shallow
    for number in (0, 2):
        x = torch.pixel_shuffle(conv(f"enlarge.{number}", x), 2)
    torch.testing.assert_close(made(small), conv("enlarge.4", x))


@pytest.mark.parametrize("options", [{}, {"blocks": 1, "layers": 3}], ids=str)
def test_its_margin_is_exact(options):
    """A pixel as far away as the margin says is seen, and the next one isn't."""
    made = open_network(**options)
    assert made.receptive_field == 4 * (2 * made.margin + 1)
    side = 2 * made.margin + 5
    middle = side // 2
    small = torch.rand(1, 3, side, side, dtype=torch.float64).requires_grad_()
    cell = made(small)[..., 4 * middle : 4 * middle + 4, 4 * middle : 4 * middle + 4]
    (gradient,) = torch.autograd.grad(cell.sum(), small)
    seen = gradient.abs().sum(dim=(0, 1)) > 0
    inside = slice(middle - made.margin, middle + made.margin + 1)
    assert seen[inside, inside].all()
    assert seen.sum() == (2 * made.margin + 1) ** 2


def test_the_published_one_sees_more_than_a_thousand_pixels():
    made = on_meta(lambda: ResidualDenseNetwork(NetworkConfig()))
    assert (made.margin, made.receptive_field) == (133, 1068)


def test_weights_of_a_file_are_taken_whole(tmp_path):
    torch.manual_seed(3)
    one, other = (ResidualDenseNetwork(NetworkConfig(**NETWORK)) for _ in range(2))
    save_file(one.state_dict(), tmp_path / "w.safetensors")
    take_weights(other, tmp_path / "w.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    inside = {f"network.resynthesiser.{name}": tensor for name, tensor in one.state_dict().items()}
    save_file({**inside, "domain.mean": torch.zeros(3)}, tmp_path / "detector.safetensors")
    torch.manual_seed(4)
    again = ResidualDenseNetwork(NetworkConfig(**NETWORK))
    take_weights(again, tmp_path / "detector.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    larger = ResidualDenseNetwork(NetworkConfig(**(NETWORK | {"growth": 5})))
    with pytest.raises(ConfigError, match=r"has the shape .*, expected .* \[config.network\]"):
        take_weights(larger, tmp_path / "w.safetensors")
    deeper = ResidualDenseNetwork(NetworkConfig(**(NETWORK | {"layers": 3})))
    with pytest.raises(ConfigError, match=r"it lacks 'blocks\.0\.layers\.2\.bias'"):
        take_weights(deeper, tmp_path / "w.safetensors")
    broken = one.state_dict() | {"first.bias": torch.full((4,), torch.nan)}
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(ConfigError, match=r"'first.bias' holds what is no finite number"):
        take_weights(other, tmp_path / "broken.safetensors")
    with pytest.raises(ConfigError, match="cannot be read"):
        take_weights(other, tmp_path / "none.safetensors")


# VGG-19


def test_stages_have_the_published_shapes():
    made = on_meta(lambda: Perceptual(Vgg19()))
    found = made(torch.zeros(1, 3, 1024, 1024, device="meta"))
    sides = (1024, 512, 256, 128, 64)
    expected = [(1, *one) for one in zip((64, 128, 256, 512, 512), sides, sides, strict=True)]
    assert [tuple(one.shape) for one in found] == expected
    assert (made.channels, made.strides) == (CHANNELS, STRIDES)


def test_layers_are_torchvisions():
    vgg = pytest.importorskip("torchvision").models.vgg
    whole = on_meta(vgg.vgg19)
    own = on_meta(Vgg19)
    state = whole.state_dict()
    assert {name: tuple(t.shape) for name, t in own.state_dict().items()} == {
        name: tuple(state[name].shape) for name in own.state_dict()
    }
    small = vgg.make_layers([64, 64, "M", 128, 128, "M", 256])
    made = Vgg19(3)
    made.load_state_dict({f"features.{name}": tensor for name, tensor in small.state_dict().items()})
    x = images(1, 32)
    expected, ends = [], (0, 2, 7, 12)
    for first, last in pairwise(ends):
        x = small[first:last](x)
        expected.append(x.clone())  # its activations overwrite their input
    for found, stage in zip(made(images(1, 32), 3), expected, strict=True):
        torch.testing.assert_close(found, stage)


@pytest.mark.parametrize("stage", [1, 2, 3, 4, 5])
def test_the_margin_of_a_stage_is_exact(stage):
    margin, stride = on_meta(lambda: Vgg19(stage)).margin(stage), STRIDES[stage - 1]
    assert margin == (1, 4, 10, 30, 70)[stage - 1]
    # The same steps with one channel, and means in place of maxima, so that nothing that is seen is lost.
    layers = []
    for layer in on_meta(lambda: Vgg19(stage)).features:
        if isinstance(layer, torch.nn.Conv2d):
            layers.append(torch.nn.Conv2d(1, 1, kernel_size=3, padding=1, bias=False).double())
            torch.nn.init.constant_(layers[-1].weight, 1 / 9)
        elif isinstance(layer, torch.nn.MaxPool2d):
            layers.append(torch.nn.AvgPool2d(kernel_size=2))
    cells = 2 * (-(-margin // stride)) + 3
    middle = cells // 2
    picture = torch.rand(1, 1, cells * stride, cells * stride, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(torch.nn.Sequential(*layers)(picture)[0, 0, middle, middle], picture)
    rows = torch.nonzero(gradient[0, 0].abs().sum(dim=1) > 0).flatten().tolist()
    assert rows == list(range(middle * stride - margin, (middle + 1) * stride + margin))


def test_no_stage_is_computed_that_nobody_asked_for():
    made, ran = vgg(4), []
    for number, layer in enumerate(made.stages.features, 1):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    made(images(1, 32), 2)
    assert ran == list(range(1, 8))
    assert len(made.stages.features) == 21  # none of the fifth stage was built


def test_it_is_never_trained_and_normalises_only_where_asked():
    made = vgg(1)
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert not made.train().training
    own = Perceptual(made.stages, normalise=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    shifted = (images() - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    torch.testing.assert_close(own(images())[0], made(shifted)[0])
    assert (own(images())[0] - made(images())[0]).abs().max() > 0.1


def test_weights_come_from_a_file(tmp_path):
    made = vgg(1)
    file = tmp_path / "vgg.safetensors"
    save_file(made.stages.state_dict() | {"classifier.0.weight": torch.zeros(2)}, file)
    found = perceptual_network(PerceptualConfig(weights=str(file)), 1)
    torch.testing.assert_close(found(images())[0], made(images())[0])
    with pytest.raises(ConfigError, match=r"4 of 6 arrays are missing, e.g. 'features.2.weight"):
        perceptual_network(PerceptualConfig(weights=str(file)), 2)
    other = made.stages.state_dict() | {"features.0.weight": torch.zeros(64, 1, 3, 3)}
    save_file(other, file)
    with pytest.raises(ConfigError, match=r"'features.0.weight' has the shape \(64, 1, 3, 3\), expected"):
        perceptual_network(PerceptualConfig(weights=str(file)), 1)
    save_file(made.stages.state_dict() | {"features.0.bias": torch.full((64,), torch.inf)}, file)
    with pytest.raises(ConfigError, match="no finite number"):
        perceptual_network(PerceptualConfig(weights=str(file)), 1)


def test_weights_that_cannot_be_had_are_named(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise ConfigError(
            "the pretrained weights of vgg19 cannot be had (offline). Fetch it, and give its path"
        )

    monkeypatch.setattr("tellsign.systems.resynthesis.perceptual.backbone", offline)
    with pytest.raises(ConfigError, match=r"weights of VGG-19.*weights = PATH.*network = \"detector\""):
        perceptual_network(PerceptualConfig(), 5)
    with pytest.raises(ConfigError, match="cannot be read"):
        perceptual_network(PerceptualConfig(weights=str(tmp_path / "none.safetensors")), 5)


# the stages of a detector


def write_detector(folder, **options):
    torch.manual_seed(5)
    made = residual_network(3, **(SMALL | options)).eval()
    artifacts.save(folder, spec={"name": "image", **SPEC}, arrays=network_arrays(made))
    return made


@pytest.mark.parametrize("options", [{}, {"stem": "plain"}], ids=str)
def test_the_stages_of_a_detector_are_its_own(tmp_path, options):
    whole = write_detector(tmp_path / "d", **options)
    architecture, _ = detector_network(tmp_path / "d")
    assert architecture == SMALL | options
    config = PerceptualConfig(network="detector", detector=str(tmp_path / "d"), architecture=architecture)
    found = perceptual_network(config, 5)
    x = images(2, 64)
    maps = found(x)
    torch.testing.assert_close(maps[4], whole.forward_features(x))
    assert [one.shape[1] for one in maps] == list(found.channels)
    assert [64 // one.shape[2] for one in maps] == list(found.strides)
    assert len(found(x, 2)) == 2
    assert len(perceptual_network(config, 2)(x)) == 2


def test_detectors_without_such_a_network_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no detector in"):
        detector_network(tmp_path / "none")
    others = {
        "linear": torch.nn.Linear(2, 2),
        "of residuals": torch.nn.ModuleDict({"pixel": residual_network(3, **SMALL)}),
        "of maps": residual_network(64, **SMALL),
    }
    for name, module in others.items():
        spec = {"name": name, "system": name, **SPEC}
        artifacts.save(tmp_path / name, spec=spec, arrays=network_arrays(module))
        with pytest.raises(ConfigError, match=f"is '{name}': its network is no residual network"):
            detector_network(tmp_path / name)


# residuals, and tiles


def test_residuals_are_those_of_the_middle():
    made = residuals(n_stages=2)
    picture = images(2, 60)
    whole = made(picture, (0, 1, 2))
    inside = picture[..., 6:54, 6:54]
    restored = made.restored(inside)
    torch.testing.assert_close(whole[0], (restored - inside).abs())
    for stage in (1, 2):
        ours, theirs = (made.perceptual(one)[stage - 1] for one in (restored, inside))
        torch.testing.assert_close(whole[stage], (ours - theirs).abs())
    assert list(made(picture, (2,))) == [2]


def test_residuals_are_not_those_of_rounding():
    made = residuals(n_stages=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = made(images(), (0, 1))
    for stage, values in made(images(), (0, 1)).items():
        assert torch.equal(mixed[stage], values)


def test_a_stage_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="stage 3 was asked for, and 2 stages"):
        residuals(n_stages=2)(images(), (3,))
    with pytest.raises(ConfigError, match="stage 1 was asked for, and 0 stages"):
        residual_maps(residuals(), images()[0], (1,))
    with pytest.raises(TooSmallError, match="15 × 48 pixels"):
        residuals()(images()[..., :15], (0,))


@pytest.mark.parametrize("size", [(48, 48), (64, 90)])
def test_tiles_give_what_the_whole_gives(size):
    made = residuals(n_stages=2)
    picture = torch.rand(3, *size, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        whole = made(picture[None], (0, 1, 2))
        found = residual_maps(made, picture, (0, 1, 2), side=32)
    for stage, values in found.items():
        torch.testing.assert_close(values, whole[stage][0], atol=1e-5, rtol=1e-4)


def test_tiles_that_see_too_little_give_something_else():
    """So that the comparison above can fail."""
    made = open_network()
    small = torch.rand(1, 3, 24, 24, dtype=torch.float64)
    whole = made(small)

    def cut(margin):
        return tiled(lambda one: (made(one),), (small,), side=8, margin=margin, scales=((4, 1),))[0]

    torch.testing.assert_close(cut(made.margin), whole, rtol=1e-12, atol=0)
    assert (cut(made.margin - 1) - whole).abs().max() > 1e-9 * whole.abs().max()


def test_no_window_is_larger_than_a_tile_with_its_margin():
    made, seen = residuals(), []
    own = made.resynthesiser
    for part in (own.first, own.enlarge):
        part.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[-2:])))
    residual_maps(made, torch.rand(3, 256, 320), (0,), side=32)
    assert len(seen) == 2 * 80
    # The enlargement sees 2 pixels of the small image to either side, the blocks what is left of the margin.
    for windows, margin in ((seen[:80], own.margin - 2), (seen[80:], 2)):
        assert max(max(shape) for shape in windows) == 32 // 4 + 2 * margin


def test_sides_that_do_not_do():
    for side in (0, 24):
        with pytest.raises(ConfigError, match="multiple of 16 pixels"):
            residual_maps(residuals(), images()[0], (0,), side=side)
    with pytest.raises(ConfigError, match="multiple of 4 pixels and a margin"):
        tiled(lambda one: (one,), (images(),), side=6, margin=1, scales=((1, 4),))


def test_what_is_no_number_is_told():
    made = residuals()
    with torch.no_grad():
        made.resynthesiser.first.bias[0] = torch.nan
    with pytest.raises(ConfigError, match="residual of pixel holds what is no finite number"):
        residual_maps(made, images()[0], (0,))


def test_a_stage_classifier_trains_its_classifier_alone():
    own = residuals(n_stages=1)
    made = StageClassifier(own, torch.nn.Sequential(torch.nn.BatchNorm2d(64), torch.nn.Flatten()), 1).train()
    assert made.classifier.training
    assert not any(part.training for part in made.residuals.modules())
    trained = [name for name, one in made.named_parameters() if one.requires_grad]
    assert trained == ["classifier.0.weight", "classifier.0.bias"]
    picture = images().requires_grad_()
    made(picture).sum().backward()
    assert picture.grad.abs().sum() > 0  # for attacks: frozen weights let gradients through
    assert isinstance(made.residuals, Residuals)


def test_stages_of_a_detector_are_built_as_far_as_needed():
    assert not hasattr(DetectorStages(SMALL, 3), "layer3")


def test_a_loss_from_scratch_looks_through_the_same_network_each_time():
    from tellsign.engine.checkpoint import weights_digest
    from tellsign.systems.resynthesis.config import ResynthesisConfig
    from tellsign.systems.resynthesis.reconstruction import loss_network

    config = ResynthesisConfig(perceptual={"network": "vgg19", "weights": "scratch"})
    digests = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        digests.add(weights_digest(loss_network(config)))
        assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers stay as they were"
    assert len(digests) == 1
