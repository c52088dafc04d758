"""The network of SFCL-HCMF as a whole: counts of the spec, ablations, gradients, graph, and what is refused.

Shapes: B batch, S side of a crop.
"""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest

from tellsign.types import ConfigError, ImageError

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from safetensors.torch import save_file  # noqa: E402 - needs PyTorch

from sfcl_tiny import SIZE, config, count, descriptors, images, network  # noqa: E402
from tellsign.nn.attention import cam_layer  # noqa: E402
from tellsign.systems.sfcl_hcmf.config import SfclHcmfConfig, SpatialConfig  # noqa: E402
from tellsign.systems.sfcl_hcmf.model import DESCRIPTOR, SfclHcmf  # noqa: E402
from tellsign.systems.sfcl_hcmf.spatial import SpatialStream, spatial_maps  # noqa: E402

ALONE = {"fusion": "spatial", "sbcm": False, "sida": False}
ABLATIONS = {
    "full": {},
    "no sbcm": {"sbcm": False},
    "no sida": {"sida": False},
    "no faae": {"fusion": "hcma"},
    "no hcma": {"fusion": "faae"},
    "concat": {"fusion": "concat"},
    "all off": {"fusion": "concat", "sbcm": False, "sida": False},
    "spatial": ALONE,
}


def scores(net, n=3):
    given = (images(n), descriptors(n)) if net.descriptor is not None else (images(n),)
    with torch.no_grad():
        return net(*given)


def names(net):
    return {name: parameter.shape for name, parameter in net.named_parameters()}


# what is published


@pytest.fixture(scope="module")
def full_size():
    with torch.device("meta"):
        return SfclHcmf(SfclHcmfConfig().from_scratch()).eval()


def test_the_published_shapes(full_size):
    maps = spatial_maps(SpatialConfig(), 380)
    assert maps == [
        (24, 190, 190),
        (32, 95, 95),
        (56, 48, 48),
        (112, 24, 24),
        (160, 24, 24),
        (272, 12, 12),
        (448, 12, 12),
        (1792, 12, 12),
    ]
    with torch.device("meta"):
        shallow = full_size.shallow(torch.zeros(2, 3, 380, 380))
        deep = full_size.deep(*shallow)
        logits = full_size(torch.zeros(2, 3, 380, 380), torch.zeros(2, DESCRIPTOR))
    assert [one.shape for one in shallow] == [(2, 56, 48, 48), (2, 192, 48, 48)]
    assert [one.shape for one in deep] == [(2, 1792, 12, 12), (2, 2048, 6, 6)]
    assert logits.shape == (2, 2)


def test_the_published_parameters(full_size):
    parts = {
        "spatial": 17_548_616,
        "local.sbcm": 9_376,
        "local.cnn_f": 20_785_544,
        "faae": 42_113,
    }
    assert {name: count(full_size.get_submodule(name)) for name in parts} == parts
    assert count(full_size) == sum(parts.values()) + 10_493_954


def test_the_image_is_standardised_for_the_spatial_stream_alone(full_size):
    with torch.device("cpu"):
        stream = SpatialStream(SpatialConfig(backbone="efficientnet_b0"), weights="scratch")
    assert stream.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert stream.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert full_size.spatial.network.pretrained_cfg["mean"] == pytest.approx((0.485, 0.456, 0.406))


# the small one is the same


def test_the_spatial_stream_is_timms_network_cut_in_two():
    net = network(**ALONE)
    x = images(2)
    with torch.no_grad():
        standardised = (x - net.spatial.mean) / net.spatial.std
        expected = net.spatial.network.forward_features(standardised)
        assert torch.equal(net.spatial(x), expected)
        assert torch.equal(net(x), net.classifier(expected.mean(dim=(2, 3))))


def test_the_spatial_stream_starts_from_the_weights_that_are_given(tmp_path):
    torch.manual_seed(9)
    own = timm.create_model("test_efficientnet")  # of 1000 classes, whose layer is left out
    save_file(own.state_dict(), tmp_path / "w.safetensors")
    stream = SpatialStream(SpatialConfig("test_efficientnet", str(tmp_path / "w.safetensors")))
    found, given = stream.network.state_dict(), own.state_dict()
    assert given.keys() - found.keys() == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(tensor, given[name]) for name, tensor in found.items())


def test_the_steps_are_the_equations_put_together():
    net = network()
    x, descriptor = images(2), descriptors(2)
    with torch.no_grad():
        x_s, x_f = net.shallow(x)
        y_s = net.faae(x_s, x_f)
        tokens = net.hcma(net.spatial.deep(y_s), net.local.deep(x_f))
        scaled = (descriptor - net.descriptor.mean) / net.descriptor.std
        gate = torch.sigmoid(scaled @ net.gate.linear.weight.T + net.gate.linear.bias)
        expected = net.classifier((tokens * gate[:, None, :]).mean(dim=1))
        assert torch.allclose(net(x, descriptor), expected, atol=1e-6)
    assert tokens.shape == (2, 9, 16)


@pytest.mark.parametrize("name", ABLATIONS)
def test_one_image_scores_alone_as_among_others(name):
    net = network(**ABLATIONS[name])
    together = scores(net)
    assert together.shape == (3, 2)
    given = (images(), descriptors()) if net.descriptor is not None else (images(),)
    with torch.no_grad():
        alone = torch.cat([net(*(one[i : i + 1] for one in given)) for i in range(3)])
    assert torch.allclose(alone, together, atol=1e-5)
    assert together.std(dim=0).min() > 1e-3, "the images are told apart"


def test_an_ablation_lacks_exactly_the_parameters_of_what_it_leaves_out():
    found = {name: names(network(**options)) for name, options in ABLATIONS.items()}
    full = found["full"]
    lacking = {
        "no sbcm": ("local.sbcm.",),
        "no sida": ("gate.",),
        "no faae": ("faae.",),
        "no hcma": ("hcma.", "gate."),
        "concat": ("hcma.", "gate.", "faae."),
        "all off": ("hcma.", "gate.", "faae.", "local.sbcm."),
        "spatial": ("hcma.", "gate.", "faae.", "local."),
    }
    for name, prefixes in lacking.items():
        expected = {key: shape for key, shape in full.items() if not key.startswith(prefixes)}
        if "hcma." in prefixes:  # the classifier then sees the streams themselves
            width = (
                256 + (0 if name == "spatial" else 40) + (0 if name in {"all off", "spatial"} else DESCRIPTOR)
            )
            expected["classifier.weight"] = (2, width)
        assert found[name] == expected, name


def test_the_two_baselines_of_the_tables_are_two_networks():
    """Without HCMF, SBCM and SIDA kept (table 3); and with everything off (tables 3 and 4)."""
    kept, off = network(**ABLATIONS["concat"]), network(**ABLATIONS["all off"])
    assert kept.local.sbcm is not None
    assert kept.descriptor is not None
    assert off.local.sbcm is None
    assert off.descriptor is None
    with torch.no_grad():
        x, descriptor = images(2), descriptors(2)
        assert not torch.allclose(kept(x, descriptor), kept(x, descriptor + 1), atol=1e-3)


@pytest.mark.parametrize(
    ("descriptor", "expected"),
    [
        ("zscore", lambda d: (d - 3) / 2),
        ("none", lambda d: d),
        ("layer", lambda d: (d - d.mean(1, True)) / (d.var(1, correction=0, keepdim=True) + 1e-5).sqrt()),
    ],
)
def test_the_descriptor_is_scaled_as_asked(descriptor, expected):
    made = {"mean": (3.0,) * DESCRIPTOR, "std": (2.0,) * DESCRIPTOR}
    net = SfclHcmf(config(scaling=descriptor), descriptors=made).eval()
    values = descriptors()
    assert torch.allclose(net.descriptor(values), expected(values), atol=1e-5)
    assert not list(net.descriptor.parameters())


def test_statistics_are_part_of_the_state():
    made = {"mean": (1.0,) * 192, "std": (4.0,) * 192}
    torch.manual_seed(1)
    net = SfclHcmf(config(), coefficients=made, descriptors={"mean": (1,) * 2304, "std": (5,) * 2304}).eval()
    torch.manual_seed(2)
    again = SfclHcmf(config()).eval()
    assert not torch.allclose(scores(again), scores(net), atol=1e-4)
    again.load_state_dict(net.state_dict())
    assert torch.equal(scores(again), scores(net))


def test_the_same_seed_gives_the_same_network():
    one, two, other = network(seed=4), network(seed=4), network(seed=5)
    assert torch.equal(scores(one), scores(two))
    assert not torch.equal(scores(one), scores(other))


@pytest.mark.parametrize("tokens", ["map", "vector"])
def test_the_gradient_reaches_every_parameter_that_can_learn(tokens):
    # In evaluation mode: the statistics of a batch would take out what a bias in front of them adds.
    net = network(hcma={"tokens": tokens})
    labels = torch.tensor([0, 1, 0])
    torch.nn.functional.cross_entropy(net(images(), descriptors()), labels).backward()
    # The same for all keys of a softmax, these change nothing.
    idle = {"faae.conv_k_f.bias", "faae.conv_k_s.bias"}
    if tokens == "vector":
        idle |= {"hcma.w_q.weight", "hcma.w_k.weight"}
    largest = {name: parameter.grad.abs().max().item() for name, parameter in net.named_parameters()}
    assert {name for name, value in largest.items() if value < 1e-7} == idle


def test_the_gradient_reaches_the_pixels_by_both_streams():
    net = network()
    x = images(2).requires_grad_()
    x_s, x_f = net.shallow(x)
    for one in (x_s, x_f, net(x, descriptors(2))):
        (gradient,) = torch.autograd.grad(one.square().sum(), x, retain_graph=True)
        assert (gradient.abs().amax(dim=(1, 2, 3)) > 0).all()


def test_its_weights_can_lie_with_channels_last():
    net = network()
    expected = scores(net)
    net = net.to(memory_format=torch.channels_last)
    with torch.no_grad():
        found = net(images().contiguous(memory_format=torch.channels_last), descriptors())
    assert torch.allclose(found, expected, atol=1e-5)


def test_it_trains_in_mixed_precision():
    net = network().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(images(), descriptors())
    logits.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
    assert torch.allclose(logits.float(), net(images(), descriptors()), atol=0.2)


def test_the_attention_of_both_fusions_can_be_looked_at():
    net = network()
    with torch.no_grad():
        x_s, x_f = net.shallow(images(2))
        alpha = net.faae.attention(x_s, x_f)
        attention = net.hcma.attention(*net.hcma.embedded(*net.deep(x_s, x_f)))
    assert alpha.shape == (2, 32, 12, 12)
    assert attention.shape == (2, 4, 9, 4)
    assert torch.allclose(attention.sum(dim=-1), torch.ones(2, 4, 9))


def test_grad_cam_finds_the_spatial_stream():
    net = network()
    assert cam_layer(net).module is net.spatial.network.bn2


# its graph


@pytest.mark.slow
def test_its_graph_computes_the_same_for_any_batch(monkeypatch):
    """With weights that hide nothing; test_sfcl_system shows it quickly, with those of a short training."""
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    net = network(local={"middle": 0}).requires_grad_(False)
    inputs = {"images": images(3), "descriptor": descriptors(3)}
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # it traces its every step
        program = torch.onnx.export(
            net,
            tuple(one[:2] for one in inputs.values()),
            dynamo=True,
            opset_version=18,
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes={key: {0: batch} for key in inputs},
            external_data=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert [one.name for one in session.get_inputs()] == list(inputs)
    expected = scores(net).numpy()
    for n in (1, 3):
        (found,) = session.run(None, {key: one[:n].numpy() for key, one in inputs.items()})
        assert np.allclose(found, expected[:n], atol=1e-4)
    assert np.ptp(expected, axis=0).min() > 1e-2


# what is refused


def test_statistics_that_are_missing_or_of_no_use():
    net, without = network(), network(sida=False)
    with pytest.raises(ImageError, match=r"shape \(B, 2304\) beside the images, .* found None"):
        net(images())
    with pytest.raises(ImageError, match=r"found \(3, 2303\)"):
        net(images(), descriptors()[:, 1:])
    with pytest.raises(ImageError, match="without SIDA"):
        without(images(), descriptors())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"spatial": {"stage": 2}},
            "stage = 2: a crop of 92 pixels has 12 x 12 blocks, .* 46, 23, 12, 6, 3. The stages .* are 3;",
        ),
        ({"spatial": {"stage": 6}}, "stage = 6: .* The stages that fit are 3; take one"),
        ({"spatial": {"options": {"output_stride": 8}, "stage": 1}}, "The stages that fit are 3, 4, 5; take"),
        (
            {"fit": "resize", "size": 97, "spatial": {"stage": 4}},
            "has 13 x 13 blocks, .* stages that fit are 3",
        ),
        ({"spatial": {"backbone": "test_resnet"}}, r"is a ResNet; expected a network that timm builds as"),
        ({"spatial": {"backbone": "efficientnet_b99"}}, "has no architecture 'efficientnet_b99'"),
        ({"spatial": {"options": {"no_such": 1}}}, "cannot build test_efficientnet"),
    ],
    ids=str,
)
def test_a_spatial_network_that_does_not_fit(options, message):
    with pytest.raises(ConfigError, match=message):
        SfclHcmf(config(**options))


def test_the_stage_is_free_where_nothing_is_fused_behind_it():
    assert scores(network(fusion="hcma", spatial={"stage": 2})).shape == (3, 2)


def test_maps_that_are_not_square_are_refused_in_words():
    net = network()
    with pytest.raises(ImageError, match="FAAE takes square maps of one size, found 12 x 8"):
        net(images(2)[..., : SIZE - 32], descriptors(2))
