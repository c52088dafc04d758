"""A network becomes a detector whose graph computes what PyTorch does, or nothing is written.

Shapes: B batch, C channels, S side of a crop, P parts.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from network import PARTS, SIZE, Pairs, crops
from tellsign import artifacts, detectors
from tellsign.detectors.graph import GraphInput
from tellsign.engine import export
from tellsign.engine.export import ScoredNetwork, graph_bytes, network_state, parity, save_network
from tellsign.types import ArtifactError, ConfigError

SPEC = {"name": "toy", "system": "toy", "config": {"size": SIZE}}


class Normalised(nn.Module):
    """A timm network of logits (B, 2), with its normalisation inside."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = timm.create_model("test_efficientnet", num_classes=2)
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).reshape(3, 1, 1))
        # Large enough that scores differ by more than rounding.
        with torch.no_grad():
            self.net.get_classifier().weight.mul_(50)

    def forward(self, images):
        return self.net((images - self.mean) / 0.25)


class Function(nn.Module):
    """Any maths as a network with one weight."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        return self.weight * self.function(images)


@pytest.fixture(scope="module")
def network():
    return Normalised().train()


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "toy"
    arrays = {"domain.mean": np.arange(3.0)}
    assert save_network(out, network, spec=SPEC, examples=crops(), arrays=arrays, card="# Toy\n") == out
    return artifacts.load(out)


@pytest.fixture(scope="module")
def pairs():
    return graph_bytes(ScoredNetwork(Pairs(), 2).eval(), SIZE)


def logits(network, images):
    """Of a copy in evaluation mode."""
    copy = Normalised().eval()
    copy.load_state_dict(network.state_dict())
    with torch.inference_mode():
        return copy(torch.from_numpy(images)).numpy()


def test_the_detector_gives_pytorch_s_scores(saved, network):
    images = crops(8, seed=50)
    expected = logits(network, images)
    scores = detectors.from_artifact(saved).score({"crops": images[:, None]})
    assert np.allclose(scores, expected[:, 1] - expected[:, 0], rtol=0, atol=1e-5)
    assert np.std(scores) > 1e-2, "differences can be seen"


def test_one_by_one_as_in_a_batch_of_any_length(saved, network):
    import onnxruntime

    session = onnxruntime.InferenceSession(saved.graph, providers=["CPUExecutionProvider"])
    images = crops(4)
    alone = np.concatenate([session.run(["score"], {"images": image[None]})[0] for image in images])
    for n in (1, 2, 3, 8):
        together = session.run(["score"], {"images": images[:n]})[0]
        assert together.shape == (n,)
        assert np.allclose(together, alone[:n], rtol=0, atol=1e-5)


def test_the_artifact_says_how_it_was_checked(saved):
    assert saved.spec["kind"] == "graph"
    assert saved.spec["preprocessing"] == GraphInput(size=SIZE).to_spec()
    graph = saved.spec["graph"]
    assert graph["opset"] == 18
    assert graph["parts"] == []
    assert graph["parity"]["n"] == 8
    assert 0 <= graph["parity"]["largest"] <= graph["parity"]["limit"] == 1e-4
    assert (saved.path / "CARD.md").read_text() == "# Toy\n"
    assert saved.arrays["domain.mean"].tolist() == [0, 1, 2]


def test_the_weights_come_back(saved, network):
    again = Normalised()
    again.load_state_dict(network_state(saved))
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_the_caller_s_network_stays_as_it_is(saved, network):
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(
        torch.equal(a, b) for a, b in zip(network.parameters(), Normalised().parameters(), strict=True)
    )


def test_the_graph_is_the_same_each_time_and_knows_no_path(saved, pairs):
    assert graph_bytes(ScoredNetwork(Pairs(), 2).eval(), SIZE) == pairs
    for content in (saved.graph.read_bytes(), pairs):
        for trace in (str(Path(__file__).parents[2]), "site-packages", "stack_trace", ".py"):
            assert trace.encode() not in content
        assert onnx.load_from_string(content).opset_import[0].version == 18


def test_every_form_of_a_network_gives_the_same_scores():
    images = torch.from_numpy(crops(2))
    network = Pairs()
    score, parts = network(images).values()

    class Given(nn.Module):
        def __init__(self, given) -> None:
            super().__init__()
            self.given = given

        def forward(self, _images):
            return self.given

    forms = ((score, parts), [score, parts], score, torch.stack([1 - score, torch.ones_like(score)], dim=1))
    for form in (network(images), {"score": score}, *forms):
        (found,) = ScoredNetwork(Given(form))(images)
        assert torch.allclose(found, score)
    for form in (network, Given((score, parts))):
        assert torch.equal(ScoredNetwork(form, 2)(images)[1], parts)


def test_other_shapes_than_scores_and_parts_are_refused(tmp_path):
    wrong = {
        r"parts of shape \(8, 2\), expected \(B, 3\)": (Pairs(), ("a", "b", "c")),
        r"parts of shape None, expected \(B, 1\)": (Function(lambda x: x.mean(dim=(1, 2, 3))), ("a",)),
        r"scores of shape \(8, 3\), expected \(B,\)": (Function(lambda x: x.mean(dim=(2, 3))), ()),
    }
    for message, (network, parts) in wrong.items():
        with pytest.raises(ArtifactError, match=message.replace("8", "2")):
            save_network(tmp_path / "toy", network, spec=SPEC, examples=crops(), parts=parts)
    assert list(tmp_path.iterdir()) == []


def mean_per_bin(images):
    """A scatter whose export was found to be wrong: the mean of pixels by the remainder of their place."""
    place = (torch.arange(SIZE * SIZE) % 7).expand(images.shape[0], 3, -1)
    empty = images.new_zeros(images.shape[0], 3, 7)
    bins = empty.scatter_reduce(2, place, images.flatten(2), "mean", include_self=False)
    return bins.square().mean(dim=(1, 2))


def test_an_operation_that_exports_to_something_else_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"does not compute what PyTorch does: on 8 examples .* by 0\."):
        save_network(tmp_path / "toy", Function(mean_per_bin), spec=SPEC, examples=crops())
    assert list(tmp_path.iterdir()) == []


def log_power(images):
    """Its zero frequency is left out, so that the levels of the images are not all that is seen."""
    power = torch.fft.fft2(images).abs().square()[..., 1:, 1:]
    return (power + 1e-3).log().mean(dim=(1, 2, 3))


@pytest.mark.parametrize(
    "function",
    [
        log_power,
        lambda images: torch.fft.rfft2(images, norm="ortho").abs()[..., 3:].mean(dim=(1, 2, 3)),
        lambda images: torch.fft.ifft2(torch.fft.fft2(images)[..., :8, :8]).real.square().sum(dim=(1, 2, 3)),
    ],
    ids=["fft2", "rfft2", "ifft2"],
)
def test_a_fourier_transform_exports_to_the_same_or_to_nothing(tmp_path, function):
    """Which of them, the versions of PyTorch and ONNX Runtime decide: what is written is right."""
    images, refused = crops(6, seed=70), ""
    try:
        save_network(tmp_path / "toy", Function(function), spec=SPEC, examples=crops())
    except ArtifactError as error:
        refused = str(error)
    if refused:
        assert "does not compute what PyTorch does" in refused or "cannot be exported" in refused
        assert list(tmp_path.iterdir()) == []
        return
    expected = 2 * function(torch.from_numpy(images)).numpy()
    found = detectors.from_artifact(artifacts.load(tmp_path / "toy")).score({"crops": images[:, None]})
    assert np.std(expected) > 1e-3, "differences can be seen"
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_an_operation_without_an_onnx_form_is_refused(tmp_path):
    network = Function(lambda images: images.flatten(1).median(dim=1).values)
    with pytest.raises(ArtifactError, match=r"cannot be exported to ONNX .*median"):
        save_network(tmp_path / "toy", network, spec=SPEC, examples=crops())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["score", "parts"])
def test_a_graph_of_other_weights_is_refused_and_the_old_detector_stays(tmp_path, monkeypatch, pairs, part):
    """By a thousandth, in all or in the parts alone."""
    monkeypatch.setattr(export, "graph_bytes", lambda network, size, n_descriptor: pairs)
    before = artifacts.load(save_network(tmp_path / "toy", Pairs(), spec=SPEC, examples=crops(), parts=PARTS))
    other = Pairs()
    other.level += 1e-3
    if part == "parts":
        other.forward = lambda images: Pairs.forward(other, images) | {"score": Pairs()(images)["score"]}
    with pytest.raises(ArtifactError, match="nothing was written"):
        save_network(tmp_path / "toy", other, spec=SPEC, examples=crops(), parts=PARTS)
    with pytest.raises(ArtifactError, match="nothing was written"):
        save_network(tmp_path / "new", other, spec=SPEC, examples=crops(), parts=PARTS)
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
    assert artifacts.load(tmp_path / "toy").digest == before.digest


def test_parity_is_the_difference(pairs):
    """The smallest of the scores, to which it is relative, is the 3 of up-sampled crops."""
    other = Pairs()
    other.level += 5e-5
    assert parity(pairs, ScoredNetwork(Pairs(), 2).eval(), crops())[0] < 2e-6
    assert parity(pairs, ScoredNetwork(other, 2).eval(), crops())[0] == pytest.approx(5e-5 / 3, rel=0.2)


def unlike(graph, function):
    """A graph's message on a network of another function."""
    with pytest.raises(ArtifactError, match="does not compute what PyTorch does") as caught:
        parity(graph, ScoredNetwork(Function(function), 0).eval(), crops())
    return str(caught.value)


def test_a_graph_may_differ_by_the_rounding_that_a_network_magnifies():
    """A small difference of large sums, which each processor adds up in an order of its own."""

    def magnified(images):
        return 100 * ((images + 1000).mean((1, 2, 3)) - 1000)

    def elsewhere(images):
        return magnified(images) + 1.0

    network = ScoredNetwork(Function(magnified), 0).eval()
    graph = graph_bytes(network, SIZE)
    with torch.inference_mode():
        exact = magnified(torch.from_numpy(crops()).double()) - magnified(torch.from_numpy(crops())).double()
    assert exact.abs().max() > 1e-3, "rounding can be seen"
    difference, limit = parity(graph, network, crops())
    assert difference <= limit < 0.1
    assert "expected 0.0001 at most" not in unlike(graph, elsewhere)


def test_rounding_excuses_nothing_in_a_network_that_hides_it(pairs):
    def in_float32(images):
        return functional.conv2d(images, torch.ones(1, 3, 1, 1)).mean((1, 2, 3)) + 2e-4

    exact = graph_bytes(ScoredNetwork(Function(lambda images: in_float32(images) - 2e-4), 0).eval(), SIZE)
    assert "expected 0.0001 at most" in unlike(exact, in_float32)


def test_a_network_that_mixes_the_images_of_a_batch_is_refused(tmp_path, monkeypatch, pairs):
    """What one image alone is given can't be what it is given beside others."""

    class Mixed(Pairs):
        def forward(self, images):
            found = super().forward(images)
            return {**found, "score": found["score"] - found["score"].mean()}

    monkeypatch.setattr(export, "graph_bytes", lambda network, size, n_descriptor: pairs)
    with pytest.raises(ArtifactError, match="does not compute what PyTorch does"):
        save_network(tmp_path / "toy", Mixed(), spec=SPEC, examples=crops(), parts=PARTS)


def test_scores_that_are_no_numbers_are_refused(tmp_path, monkeypatch, pairs):
    monkeypatch.setattr(export, "graph_bytes", lambda network, size, n_descriptor: pairs)
    broken = Pairs()
    broken.level.fill_(torch.nan)
    with pytest.raises(ArtifactError, match="no finite number"):
        save_network(tmp_path / "toy", broken, spec=SPEC, examples=crops(), parts=PARTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (crops()[:1], "2 or more crops"),
        (crops()[0], "2 or more crops"),
        (crops()[:, :1], "2 or more crops"),
        (crops()[..., :16], "2 or more crops"),
        (255 * crops(), r"outside of \[0, 1\]"),
        (crops() * np.nan, r"outside of \[0, 1\]"),
        (crops()[..., :16, :16], "examples have the side 16, and the detector's crops 32"),
    ],
)
def test_examples_that_are_no_crops_are_refused(tmp_path, examples, message):
    spec = SPEC | {"preprocessing": GraphInput(size=SIZE).to_spec()}
    with pytest.raises(ArtifactError, match=message):
        save_network(tmp_path / "toy", Pairs(), spec=spec, examples=examples, parts=PARTS)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_taken_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "graph_bytes", None)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ArtifactError, match="not a detector folder alone"):
        save_network(tmp_path, Pairs(), spec=SPEC, examples=crops(), parts=PARTS)


def test_a_network_too_large_for_a_graph_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "MAX_BYTES", 99)
    with pytest.raises(ArtifactError, match=r"weights take 196 bytes; .* 99 at most"):
        save_network(tmp_path / "toy", Pairs(), spec=SPEC, examples=crops(), parts=PARTS)


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ConfigError, match=rf"needs {package}; install it with: pip install 'tellsign\[train\]'"
    ):
        save_network(tmp_path / "toy", Pairs(), spec=SPEC, examples=crops(), parts=PARTS)
