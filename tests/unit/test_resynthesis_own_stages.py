"""Re-synthesis whose perceptual network is a detector's: the loss, the stages, the artifact without it."""

from __future__ import annotations

import shutil
from dataclasses import asdict

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxscript")

from pictures import natural, write_split_dataset  # noqa: E402
from resynthesis_tiny import config as tiny  # noqa: E402
from resynthesis_tiny import images  # noqa: E402
from tellsign import artifacts, detectors  # noqa: E402
from tellsign.data import read  # noqa: E402
from tellsign.engine.export import network_arrays  # noqa: E402
from tellsign.nn.resnet import residual_network  # noqa: E402
from tellsign.systems.baselines.config import ImageConfig  # noqa: E402
from tellsign.systems.resynthesis.perceptual import with_architecture  # noqa: E402
from tellsign.systems.resynthesis.reconstruction import loss_network, reconstruction_losses  # noqa: E402
from tellsign.systems.resynthesis.system import ResynthesisSystem  # noqa: E402
from tellsign.types import ConfigError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIZES = {"widths": (4, 6, 8, 10), "blocks": (1, 2, 1, 1)}
WEIGHTS = [1, 0.5, 0.25, 0, 0, 0]


def write_image_detector(folder, *, seed=5):
    """As the system `image` leaves one, without its graph."""
    torch.manual_seed(seed)
    made = residual_network(3, **SIZES)
    made(images(6))  # statistics that are not those of the start
    spec = {"name": "image", "system": "image", "kind": "network", "preprocessing": {}}
    own = {"config": asdict(ImageConfig(**SIZES))}
    artifacts.save(folder, spec=spec | own, arrays=network_arrays(made.eval()))
    return made


def options(folder, **more):
    return {
        "stages": (0, 2),
        "perceptual": {"network": "detector", "detector": str(folder)},
        "reconstruction": {"loss_weights": WEIGHTS},
    } | more


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A detector, its perceptual network, and a folder from which the latter's detector is gone."""
    folder = tmp_path_factory.mktemp("own")
    made = write_image_detector(folder / "image")
    name = artifacts.load(folder / "image").name
    data = read(write_split_dataset(folder / "data", train=4, valid=4, size=48))
    system = ResynthesisSystem(tiny(**options(folder / "image", joint={"epochs": 1})))
    parts = (data.filter(split=split) for split in ("train", "valid"))
    found = system.fit(*parts, out=folder / "d", seed=0)
    shutil.rmtree(folder / "image")
    return found, made, name


def test_the_loss_compares_the_maps_of_the_detector(tmp_path):
    made = write_image_detector(tmp_path / "image")
    own = options(tmp_path / "image")
    config = tiny(**own | {"perceptual": asdict(with_architecture(tiny(**own).perceptual))})
    network = loss_network(config)
    assert network.n_stages == 2
    picture, restored = images(2, 32), (images(2, 32) + 0.1).requires_grad_()
    losses, _ = reconstruction_losses(restored, picture, network, config.loss_weights)

    def stages(x):
        first = made.act1(made.bn1(made.conv1(x)))
        return first, made.layer1(made.maxpool(first))

    expected = (restored - picture).abs().mean(dim=(1, 2, 3))
    for weight, ours, theirs in zip(WEIGHTS[1:], stages(restored), stages(picture), strict=False):
        expected = expected + weight * (ours - theirs).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(losses, expected)
    losses.sum().backward()
    assert restored.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_artifact_holds_it_and_says_whose_it_is(trained):
    folder, made, name = trained
    spec = artifacts.load(folder).spec
    assert spec["perceptual"] == name
    assert spec["config"]["perceptual"]["architecture"] == {
        "widths": [4, 6, 8, 10],
        "blocks": [1, 2, 1, 1],
        "stem": "deep",
    }
    perceptual = ResynthesisSystem().network(folder).perceptual
    x = images(1, 64)
    with torch.no_grad():
        first = made.act1(made.bn1(made.conv1(x)))
        torch.testing.assert_close(perceptual(x)[1], made.layer1(made.maxpool(first)))
    assert not any("layer2" in key for key in perceptual.state_dict())


def test_it_runs_without_the_detector(trained):
    folder, _, _ = trained
    detector = detectors.from_artifact(artifacts.load(folder))
    image = natural(3, 48, 60)
    inputs = {key: array[None] for key, array in detector.preprocess(image).items()}
    scores, parts = detector.scores_and_parts(inputs)
    module = ResynthesisSystem().module(folder)
    with torch.inference_mode():
        assert scores[0] == pytest.approx(float(module(torch.from_numpy(image)[None])), abs=1e-4)
    assert list(parts) == ["pixel", "stage2"]
    assert np.isfinite(list(parts.values())).all()


def test_a_detector_of_something_else_is_refused_before_anything_is_trained(trained, tmp_path):
    data = read(write_split_dataset(tmp_path / "data", train=2, valid=2, size=48))
    for folder, message in (
        (trained[0], "no residual network that sees the pixels"),
        (tmp_path, "no detector"),
    ):
        config = tiny(**options(folder))
        with pytest.raises(ConfigError, match=message):
            ResynthesisSystem(config).fit(data, data, out=tmp_path / "d", seed=0)
    assert not list(tmp_path.glob("d*.run"))
