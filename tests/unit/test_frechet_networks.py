"""Networks of features: by name in timm, from an ONNX file, and what is no such network."""

from __future__ import annotations

import numpy as np
import pytest

from pictures import natural, save
from tellsign.data import Manifest
from tellsign.generators.frechet import feature_network, features
from tellsign.types import REAL, ConfigError, Sample

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    paths = [save(natural(index, 40, 48), folder / f"{index}.png") for index in range(5)]
    return Manifest(tuple(Sample(path, REAL) for path in paths))


def write_onnx(path, *, shape=("batch", 3, "side", "side"), nodes=("GlobalAveragePool",)):
    """A network whose features are the mean of each channel."""
    names = ["images", *(f"x{index}" for index in range(1, len(nodes))), "features"]
    steps = [helper.make_node(kind, [names[i]], [names[i + 1]]) for i, kind in enumerate(nodes)]
    graph = helper.make_graph(
        steps,
        "features",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return str(path)


def test_features_of_an_onnx_file(images, tmp_path):
    network = feature_network(write_onnx(tmp_path / "mean.onnx"))
    assert network.size is None
    assert len(network.digest) == 64
    found = features(images, network, side=32)
    expected = np.array([natural(index, 40, 48)[:, 4:36, 8:40].mean(axis=(1, 2)) for index in range(5)])
    np.testing.assert_allclose(found, expected, atol=2 / 255)


def test_an_onnx_file_takes_no_other_weights(tmp_path):
    with pytest.raises(ConfigError, match=r"mean\.onnx has weights of its own: leave mine\.safetensors out"):
        feature_network(write_onnx(tmp_path / "mean.onnx"), "mine.safetensors")


def test_images_are_resized_to_what_a_network_takes(images, tmp_path):
    network = feature_network(write_onnx(tmp_path / "mean.onnx", shape=(1, 3, 24, 24)))
    assert network.size == 24
    found = features(images, network, side=40)
    expected = np.array([natural(index, 40, 48)[:, :, 4:44].mean(axis=(1, 2)) for index in range(5)])
    np.testing.assert_allclose(found, expected, atol=3 / 255)


def test_a_network_of_scores_gives_no_features(images, tmp_path):
    nodes = ("GlobalAveragePool", "Flatten", "ReduceMax")
    network = feature_network(write_onnx(tmp_path / "score.onnx", nodes=nodes))
    with pytest.raises(ConfigError, match="not of scores"):
        features(images, network, side=32)


def test_what_is_no_network_is_refused(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(ConfigError, match="cannot be read as ONNX"):
        feature_network(str(tmp_path / "bad.onnx"))
    with pytest.raises(ConfigError, match="cannot be read as ONNX"):
        feature_network(str(tmp_path / "nothing.onnx"))
    with pytest.raises(ConfigError, match=r"expected \(B, 3, S, S\)"):
        feature_network(write_onnx(tmp_path / "grey.onnx", shape=("batch", 1, 8, 8)))


def test_features_of_timm(images, tmp_path):
    timm = pytest.importorskip("timm")
    safetensors = pytest.importorskip("safetensors.torch")
    import torch

    torch.manual_seed(0)
    reference = timm.create_model("resnet10t", num_classes=0).eval()
    path = tmp_path / "weights.safetensors"
    safetensors.save_file(reference.state_dict(), path)
    network = feature_network("resnet10t", str(path))
    found = features(images[:2], network, side=40)
    assert found.shape == (2, 512)
    assert network.size == reference.pretrained_cfg["input_size"][-1]
    other = {name: tensor + 0.5 for name, tensor in reference.state_dict().items() if tensor.ndim}
    safetensors.save_file(reference.state_dict() | other, tmp_path / "other.safetensors")
    assert feature_network("resnet10t", str(tmp_path / "other.safetensors")).digest != network.digest
    assert feature_network("resnet10t", str(path)).digest == network.digest


def test_a_name_that_timm_does_not_know_and_random_weights_are_refused():
    pytest.importorskip("timm")
    with pytest.raises(ConfigError, match=r"no architecture 'incepton_v3'.*inception_v3"):
        feature_network("incepton_v3")
    with pytest.raises(ConfigError, match="random weights"):
        feature_network("resnet10t", "scratch")
