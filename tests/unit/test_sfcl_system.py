"""SFCL-HCMF as a system: what `fit` writes, what runs it, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxscript")

from pictures import natural, write_split_dataset  # noqa: E402
from sfcl_tiny import config as tiny  # noqa: E402
from tellsign import artifacts, detectors, faces  # noqa: E402
from tellsign.data import read  # noqa: E402
from tellsign.data.left_out import LeftOut  # noqa: E402
from tellsign.engine import classifier  # noqa: E402
from tellsign.features.colour import ycbcr  # noqa: E402
from tellsign.features.dct import block_dct  # noqa: E402
from tellsign.image import decode  # noqa: E402
from tellsign.image.network_input import described, seen  # noqa: E402
from tellsign.nn.region import RegionScore  # noqa: E402
from tellsign.systems.sfcl_hcmf import training  # noqa: E402
from tellsign.systems.sfcl_hcmf.system import SfclHcmfSystem  # noqa: E402
from tellsign.types import ArtifactError, ConfigError, ManifestError, TooSmallError  # noqa: E402

pytestmark = pytest.mark.usefixtures("no_curves")

TRAINING = {"epochs": 1, "batch_size": 8, "workers": 0, "device": "cpu"}


def config(**options):
    return tiny(**{"region": "image", "fit": "crop", "size": 64, "training": TRAINING, **options})


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_split_dataset(folder, train=8, valid=5, size=72)
    return read(folder / "manifest.csv")


def parts(manifest):
    return manifest.filter(split="train"), manifest.filter(split="valid")


@pytest.fixture(scope="module")
def folder(manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("detectors") / "d"
    return SfclHcmfSystem(config()).fit(*parts(manifest), out=out, seed=0)


def test_the_detector_scores_as_its_network_does(folder, manifest):
    system = SfclHcmfSystem(config())
    artifact = artifacts.load(folder)
    detector, module, network = (
        detectors.from_artifact(artifact),
        system.module(folder),
        system.network(folder),
    )
    found = []
    for sample in parts(manifest)[1][:3]:
        image = decode(sample.path).array
        inputs = detector.preprocess(image)
        found.append(inputs)
        score = detector.score({name: array[None] for name, array in inputs.items()})[0]
        with torch.inference_mode():
            crops, descriptor = (torch.from_numpy(inputs[name]) for name in ("crops", "descriptor"))
            logits = network(crops, descriptor[None])
            own = float(module(torch.from_numpy(image)[None]))
        assert score == pytest.approx(float(logits[0, 1] - logits[0, 0]), abs=1e-4)
        assert score == pytest.approx(own, abs=1e-4)
    crops, descriptors = (np.stack([one[name] for one in found]) for name in ("crops", "descriptor"))
    together = detector.score({"crops": crops, "descriptor": descriptors})
    with torch.inference_mode():
        logits = network(torch.from_numpy(crops[:, 0]), torch.from_numpy(descriptors)).numpy()
    np.testing.assert_allclose(together, logits[:, 1] - logits[:, 0], atol=1e-4)
    assert np.ptp(together) > 1e-2
    assert artifact.spec["parameters"]["total"] == sum(p.numel() for p in network.parameters())


def test_what_is_unusual_is_shown_without_the_network(folder):
    artifact = artifacts.load(folder)
    network = SfclHcmfSystem(config()).network(folder)
    for name in ("mean", "std"):
        np.testing.assert_array_equal(
            artifact.arrays[f"descriptor.{name}"], network.descriptor.get_buffer(name)
        )
    found = detectors.from_artifact(artifact).explain(natural(0, 80, 72))
    names = [one.name for one in found]
    assert names[:4] == ["log spectrum", "score", "detail in blocks", "unusual statistics"]
    assert len(names) == 14


def test_the_gradient_reaches_the_pixels_by_both_ways(folder):
    module = SfclHcmfSystem(config()).module(folder)
    image = torch.from_numpy(natural(3, 72, 72)).float()[None].requires_grad_()
    module(image).sum().backward()
    assert torch.isfinite(image.grad).all()
    S = config().size
    border = image.grad.clone()
    edge = (72 - S) // 2
    border[:, :, edge : edge + S, edge : edge + S] = 0
    assert border.abs().sum() > 0  # the statistics are those of the whole


def test_what_it_standardises_with_is_taken_from_training_images(manifest, tmp_path):
    options = config()
    network = training.new_network(options, seed=0)
    images = training.Looked(parts(manifest)[0], None)
    training.standardised(network, images, options, left_out=LeftOut(), run=tmp_path)
    arrays = [decode(sample.path).array for sample in images.manifest]
    crops = np.concatenate([np.asarray(seen(array, options.input.look).crops) for array in arrays])
    coefficients = block_dct(ycbcr(crops.astype(np.float64))).reshape(len(crops), 192, -1)
    found = network.local.coefficients.standardisation
    np.testing.assert_allclose(found.mean, coefficients.mean(axis=(0, 2)), atol=1e-5)
    np.testing.assert_allclose(found.std, coefficients.std(axis=(0, 2)), rtol=1e-3, atol=1e-6)
    whole = np.stack([described(array, "sida") for array in arrays]).astype(np.float64)
    np.testing.assert_allclose(network.descriptor.mean, whole.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_a_killed_training_goes_on(manifest, tmp_path, monkeypatch):
    """Ended in its second epoch, it comes to the weights of one that was not."""
    two = config(training={**TRAINING, "epochs": 2, "checkpoint_seconds": 0.0})

    def weights(name):
        network = training.new_network(two, seed=1)
        training.trained(network, *parts(manifest), two, run=tmp_path / name, seed=1, say=print)
        return network.state_dict()

    whole, steps, step = weights("whole"), [], classifier.training_step

    def ends(*arguments, **options):
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return step(*arguments, **options)

    monkeypatch.setattr(classifier, "training_step", ends)
    with pytest.raises(KeyboardInterrupt):
        weights("ended")
    again = weights("ended")
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def test_weights_that_lie_elsewhere_are_the_same_training(manifest, tmp_path, monkeypatch):
    import timm
    from safetensors.torch import save_file

    state = timm.create_model("test_efficientnet", num_classes=2).state_dict()
    run = tmp_path / "d.run"
    for name in ("here", "there"):
        save_file(state, tmp_path / f"{name}.safetensors")
        chosen = config(spatial={"weights": str(tmp_path / f"{name}.safetensors")})
        network = training.new_network(chosen, seed=0)
        training.trained(network, *parts(manifest), chosen, run=run, seed=0, say=print)
        monkeypatch.setattr(classifier, "training_step", lambda *_, **__: pytest.fail("trained anew"))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"fusion": "concat"}, marks=pytest.mark.slow),
        pytest.param({"sida": False}, marks=pytest.mark.slow),
        {"fusion": "spatial", "sbcm": False, "sida": False},
    ],
    ids=str,
)
def test_ablations_run_too(manifest, tmp_path, options):
    chosen = config(**options)
    out = SfclHcmfSystem(chosen).fit(*parts(manifest), out=tmp_path / "d", seed=0)
    detector = detectors.from_artifact(artifacts.load(out))
    inputs = detector.preprocess(natural(0, 80, 72))
    assert ("descriptor" in inputs) == chosen.sida
    assert np.isfinite(detector.score({name: array[None] for name, array in inputs.items()})[0])


def test_faces_are_cut_out_and_seen_at_both_sizes(manifest, tmp_path, monkeypatch):
    box = faces.Box(20, 16, 52, 48)
    monkeypatch.setattr("tellsign.faces.boxes", lambda image: (box,))
    chosen = config(region="face", fit="resize")
    network = training.new_network(chosen, seed=0)
    images = training.looked_at(parts(manifest)[0], "training", chosen, run=tmp_path, say=print)
    (batch,) = training.usable(
        training.Looked(
            images.manifest[:4], type(images.faces)(images.faces.boxes[:4], images.faces.sizes[:4])
        ),
        chosen,
        left_out=LeftOut(),
        run=tmp_path,
    )
    for row, sample in enumerate(images.manifest[:4]):
        face = faces.crop(decode(sample.path).array, box).image
        assert face.shape[1:] == (42, 42)
        np.testing.assert_array_equal(batch.crops[row], seen(face, chosen.input.look).crops)
        np.testing.assert_array_equal(batch.descriptors[row], described(face, "sida"))
    written = {}
    monkeypatch.setattr(
        "tellsign.engine.export.save_network", lambda out, module, **given: written.update(given)
    )
    SfclHcmfSystem(chosen).fit(*parts(manifest), out=tmp_path / "d", seed=0)
    assert written["spec"]["preprocessing"]["region"] == "face"
    assert (len(written["examples"]), written["descriptors"].shape) == (10, (10, 2304))
    assert network(batch.crops[:, 0], batch.descriptors).shape == (4, 2)


def test_images_without_a_face_are_too_few(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr("tellsign.faces.boxes", lambda image: ())
    with pytest.raises(ManifestError, match="face"):
        SfclHcmfSystem(config(region="face")).fit(*parts(manifest), out=tmp_path / "d", seed=0)


def test_what_it_refuses(folder, manifest, tmp_path):
    train, valid = parts(manifest)
    with pytest.raises(ManifestError, match="training needs reals and fakes"):
        SfclHcmfSystem(config()).fit(train.filter(label=1), valid, out=tmp_path / "d", seed=0)
    with pytest.raises(ManifestError, match="needs at least"):
        SfclHcmfSystem(config(size=96)).fit(train, valid, out=tmp_path / "d", seed=0)
    run = tmp_path / "d.run"
    network = training.new_network(config(), seed=0)
    training.trained(network, train, valid, config(), run=run, seed=0, say=print)
    with pytest.raises(ConfigError, match="was"):  # another training lies there
        training.trained(network, train, valid, config(flip=False), run=run, seed=0, say=print)
    made = artifacts.load(folder)
    for spec in ({**made.spec, "system": "cae-net"}, {**made.spec, "config": {"size": -1}}):
        artifacts.save(tmp_path / "other", spec=spec, arrays=made.arrays, graph=made.graph)
        with pytest.raises(ArtifactError):
            SfclHcmfSystem(config()).network(tmp_path / "other")
    other = made.spec["config"] | {"hcma": {"d": 8, "heads": 2, "tokens": "map"}}
    artifacts.save(
        tmp_path / "other", spec={**made.spec, "config": other}, arrays=made.arrays, graph=made.graph
    )
    with pytest.raises(ArtifactError, match="don't fit"):
        SfclHcmfSystem(config()).network(tmp_path / "other")


@pytest.mark.parametrize("size", [40, 64, 150])
def test_a_region_is_resized_as_the_detector_does_it(size):
    """By PyTorch's filter in place of Pillow's, which is the same one."""
    look = config(fit="resize", size=size, sida=False).input.look

    class Pixels(torch.nn.Module):
        def forward(self, crops):
            self.seen = crops
            return crops.mean(dim=(2, 3))[:, :2]

    network = Pixels()
    image = natural(1, 70, 90)
    RegionScore(network, look)(torch.from_numpy(image).float()[None])
    np.testing.assert_allclose(network.seen.numpy(), seen(image, look).crops, atol=2e-6)
    with pytest.raises(TooSmallError):
        RegionScore(network, look)(torch.zeros(1, 3, 15, 40))
