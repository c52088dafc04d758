"""The baselines as systems: what `fit` writes, what goes on after an end, what is refused.

Graphs are written and compared in tests/contract and tests/unit/test_spectra.py; here they are left out.
"""

from __future__ import annotations

import numpy as np
import pytest

from pictures import natural, write_split_dataset
from tellsign import artifacts
from tellsign.data import read
from tellsign.data.left_out import LeftOut
from tellsign.features.dct import log_dct
from tellsign.image import decode
from tellsign.image.network_input import seen
from tellsign.types import ArtifactError, ConfigError, ManifestError, TooSmallError

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxscript")
from cae_net_tiny import without_graph  # noqa: E402 - need PyTorch
from tellsign.nn.region import RegionScore  # noqa: E402
from tellsign.systems.baselines import training  # noqa: E402
from tellsign.systems.baselines.config import (  # noqa: E402
    Dct2dConfig,
    Fft2dConfig,
    GramNetConfig,
    ImageConfig,
)
from tellsign.systems.baselines.system import (  # noqa: E402
    Dct2dSystem,
    Fft2dSystem,
    GramNetSystem,
    ImageSystem,
)

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIZE = 32
TRAINING = {"epochs": 1, "batch_size": 8, "workers": 0, "device": "cpu"}
RESNET = {"size": SIZE, "widths": (4, 4, 8, 8), "blocks": (1, 1, 1, 1)}
BACKBONE = {"size": SIZE, "backbone": "test_resnet", "weights": "scratch"}
SYSTEMS = {
    "image": (ImageSystem, ImageConfig, RESNET),
    "fft2d": (Fft2dSystem, Fft2dConfig, BACKBONE),
    "gramnet": (GramNetSystem, GramNetConfig, BACKBONE),
    "dct2d": (Dct2dSystem, Dct2dConfig, {"size": SIZE, "classifier": "cnn"}),
}
EACH = pytest.mark.parametrize("name", SYSTEMS)


def system(name, **options):
    own, record, small = SYSTEMS[name]
    return own(record(**{"training": TRAINING, **small, **options}))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return read(write_split_dataset(tmp_path_factory.mktemp("data"), train=6, valid=3, size=40))


def parts(manifest):
    return manifest.filter(split="train"), manifest.filter(split="valid")


@pytest.fixture(scope="module")
def folders(manifest, tmp_path_factory):
    """Name → a detector of each system."""
    folder = tmp_path_factory.mktemp("detectors")
    with pytest.MonkeyPatch.context() as patch:
        without_graph(patch)
        return {name: system(name).fit(*parts(manifest), out=folder / name, seed=0) for name in SYSTEMS}


@EACH
def test_the_module_is_the_network_on_the_crop_in_the_middle(name, folders):
    own = system(name)
    module, network = own.module(folders[name]), own.network(folders[name])
    assert isinstance(module, RegionScore)
    image = natural(3, 40, 52)
    pixels = torch.from_numpy(image)[None].requires_grad_()
    found = module(pixels)
    with torch.no_grad():
        logits = network(torch.from_numpy(np.asarray(seen(image, own.config.input.look).crops)))
    assert float(found.detach()) == pytest.approx(float(logits[0, 1] - logits[0, 0]), abs=1e-5)
    found.sum().backward()
    assert torch.isfinite(pixels.grad).all()
    assert pixels.grad.abs().sum() > 0
    with pytest.raises(TooSmallError):
        module(torch.zeros(1, 3, SIZE - 1, 60))


@EACH
def test_the_artifact_says_what_it_is(name, folders):
    spec = artifacts.load(folders[name]).spec
    network = system(name).network(folders[name])
    assert (spec["name"], spec["system"]) == (name, name)
    assert spec["parameters"]["total"] == sum(one.numel() for one in network.parameters())
    assert spec["best_epoch"]["epoch"] == 1
    record = SYSTEMS[name][1]
    assert record(**spec["config"]) == system(name).config
    assert not network.training


def test_another_systems_detector_is_refused(folders):
    with pytest.raises(ArtifactError, match="of the system 'image', expected 'gramnet'"):
        system("gramnet").network(folders["image"])


def test_what_the_cosine_network_standardises_with_is_of_all_training_images(manifest, folders):
    crops = [
        seen(decode(sample.path).array, system("dct2d").config.input.look).crops
        for sample in parts(manifest)[0]
    ]
    logarithms = log_dct(np.concatenate(crops).astype(np.float64))
    network = system("dct2d").network(folders["dct2d"])
    np.testing.assert_allclose(network.mean, logarithms.mean(axis=0), rtol=1e-6, atol=1e-6)
    std = logarithms.std(axis=0)
    np.testing.assert_allclose(network.std, np.where(std > 1e-6, std, 1), rtol=1e-5)


@pytest.mark.parametrize("name", ["fft2d", "dct2d"])
def test_a_spectrum_has_no_attention_in_the_picture(name, folders):
    with pytest.raises(ConfigError, match="looks at a spectrum"):
        system(name).evidence(folders[name])


def test_a_training_that_was_ended_goes_on_to_the_same_weights(manifest, tmp_path):
    config = system("image", training={**TRAINING, "epochs": 2, "checkpoint_seconds": 0.0}).config
    train, valid = parts(manifest)

    def weights(run, say=lambda text: None):
        network = training.begun(config, seed=1)
        training.trained(network, train, valid, config, name="image", run=run, seed=1, say=say)
        return network.state_dict()

    class Ended(Exception):
        pass

    def end(text):
        if "epoch 1" in text:
            raise Ended

    whole = weights(tmp_path / "whole")
    with pytest.raises(Ended):
        weights(tmp_path / "ended", say=end)
    again = weights(tmp_path / "ended")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@EACH
def test_one_class_is_refused_before_anything_is_built(name, manifest, tmp_path):
    train, valid = parts(manifest)
    with pytest.raises(ManifestError, match="fake"):
        system(name).fit(train.filter(label=0), valid, out=tmp_path / "d", seed=0)
    assert not list(tmp_path.iterdir())


def test_images_that_are_smaller_than_a_crop_are_refused_by_name(manifest, tmp_path):
    train, _ = parts(manifest)
    config = system("dct2d", size=64).config
    network = training.begun(config, seed=0)
    with pytest.raises(ManifestError, match=r"0000\.png.* cannot be used.*at least 64 × 64"):
        training.standardised(network, train, config, left_out=LeftOut(), run=tmp_path)


@pytest.mark.parametrize(
    ("batch_size", "balance", "n"), [(11, "plain", 12), (1, "plain", 12), (11, "over", 11)]
)
def test_a_last_batch_of_one_number_a_channel_is_refused_before_any_step(
    manifest, tmp_path, batch_size, balance, n
):
    train, valid = parts(manifest)
    given = {**TRAINING, "batch_size": batch_size, "balance": balance}
    with pytest.raises(ConfigError, match=r"one image, .* at size = 32 .*another batch_size"):
        system("image", training=given).fit(train[:n], valid, out=tmp_path / "out", seed=0)
