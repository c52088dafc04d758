"""SIDA as a detector: what it takes and refuses, what it shows, and its form with gradients.

Shapes: B batch, C channels, H W pixels, K = 2304 statistics.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from pictures import natural, save, upsampled, write_split_dataset
from tellsign import artifacts, detectors, faces, hub, image
from tellsign.calibration import CalibrationConfig
from tellsign.configuration import config_of
from tellsign.data import read
from tellsign.detectors.preprocessing import (
    DescriptorInput,
    ProfileInput,
    descriptor,
    profile,
    vector_input,
)
from tellsign.evaluate.benchmark.worker import unfit
from tellsign.faces import Box
from tellsign.features.colour import ycbcr
from tellsign.features.dct import block_dct, whole_blocks
from tellsign.features.sida import LENGTH, entries, sida
from tellsign.scoring.explanation import explained
from tellsign.scoring.looks import Options
from tellsign.scoring.scorer import Scorer
from tellsign.systems.sfcl_hcmf.sida_config import SidaConfig
from tellsign.systems.sfcl_hcmf.sida_system import SidaSystem
from tellsign.train import train
from tellsign.train_config import TrainConfig, read_config
from tellsign.types import (
    ArtifactError,
    ConfigError,
    ImageError,
    ManifestError,
    TooSmallError,
)

ROOT = Path(__file__).resolve().parents[2]
SIZE = 48  # of training images
SMALL = {
    "logistic_regression": {"c": 0.1},
    "gradient_boosting": {"classifier": "gradient_boosting", "trees": 12, "leaves": 3, "leaf_images": 4},
}
LOOSE = CalibrationConfig(fpr=0.4, fnr=0.4, domain_quantile=0.8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return read(write_split_dataset(tmp_path_factory.mktemp("data"), train=12, valid=16, size=SIZE))


def fitted(data, out, **options):
    system = SidaSystem(SidaConfig(**options))
    return system.fit(data.filter(split="train"), data.filter(split="valid"), out=out, seed=0)


@pytest.fixture(scope="module", params=list(SMALL))
def folder(request, data, tmp_path_factory):
    """A detector of each kind."""
    return fitted(data, tmp_path_factory.mktemp("detector") / "d", **SMALL[request.param])


@pytest.fixture(scope="module")
def linear(data, tmp_path_factory):
    return fitted(data, tmp_path_factory.mktemp("detector") / "d", c=0.1)


@pytest.fixture(scope="module")
def boosted(data, tmp_path_factory):
    return fitted(data, tmp_path_factory.mktemp("detector") / "d", **SMALL["gradient_boosting"])


def loaded(folder):
    return detectors.from_artifact(artifacts.load(folder))


def score(detector, picture):
    return float(detector.score({k: v[None] for k, v in detector.preprocess(picture).items()})[0])


# what is looked at


def test_a_descriptor_is_that_of_the_whole_image():
    picture = natural(1, 45, 70)
    found = descriptor(picture, DescriptorInput())
    assert found.shape == (LENGTH,) == (DescriptorInput().n_features,)
    assert np.array_equal(found, sida(block_dct(ycbcr(picture[None, :, :40, :64])))[0])
    exact = sida(block_dct(ycbcr(whole_blocks(picture[None].astype(np.float64)))))[0]
    assert found == pytest.approx(exact, rel=1e-3, abs=1e-4)


def test_several_crops_are_averaged():
    picture = natural(1, 32, 64)
    options = DescriptorInput(crop=32, max_crops=2)
    halves = [descriptor(part, DescriptorInput()) for part in (picture[..., :32], picture[..., 32:])]
    assert descriptor(picture, options) == pytest.approx(np.mean(halves, axis=0), rel=1e-12)
    uneven = DescriptorInput(crop=20)  # two blocks and a half
    assert np.array_equal(descriptor(picture, uneven), descriptor(picture[:, 6:22, 22:38], DescriptorInput()))


def test_the_profile_is_for_the_domain_check_alone(folder):
    detector, picture = loaded(folder), natural(3, 60, 90)
    found = detector.preprocess(picture)
    assert list(found) == ["descriptor", "profile"]
    assert np.array_equal(found["profile"], profile(picture, ProfileInput(crop=None, length=64, max_crops=1)))
    alone = detector.score({"descriptor": found["descriptor"][None]})
    assert alone.tolist() == [score(detector, picture)]
    crops = DescriptorInput(crop=200).domain
    assert (crops.crop, crops.max_crops, crops.region) == (128, 1, "image")
    assert DescriptorInput(crop=40, region="face").domain.crop == 40


@pytest.mark.parametrize(
    "options",
    [
        DescriptorInput(),
        DescriptorInput("face", crop=96, max_crops=4),
        DescriptorInput(crop=64, profile=ProfileInput(crop=32, preset="paper")),
    ],
)
def test_an_input_is_stored_as_plain_values(options):
    spec = json.loads(json.dumps(options.to_spec()))
    assert vector_input(spec) == options
    assert vector_input({k: v for k, v in spec.items() if k != "profile"}).crop == options.crop
    assert isinstance(vector_input(ProfileInput().to_spec()), ProfileInput)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"descriptor": "lbp"}, "descriptor is sida or dct2d, found 'lbp'"),
        ({"descriptor": "sida", "crop": 12}, "crop must be a whole number of at least 16, found 12"),
        ({"descriptor": "sida", "crop": "all"}, "crop must be a whole number"),
        ({"descriptor": "sida", "max_crops": 0}, "max_crops must be a whole number"),
        ({"descriptor": "sida", "region": "eye"}, "region is image or face, found 'eye'"),
        ({"descriptor": "sida", "colour": "hsv"}, "unknown preprocessing .*colour"),
        ({"descriptor": "sida", "profile": 3}, "should be a table of options, found 3"),
        ({"descriptor": "sida", "profile": {"crop": 20, "angle": 1}}, "unknown preprocessing .*angle"),
        ({"descriptor": "sida", "profile": {"crop": 20}}, "the crop 20 of the image; .* than the 16 pixels"),
        ({"descriptor": "sida", "crop": 32, "profile": {"crop": 48}}, "no more than the 32 pixels"),
        ({"descriptor": "sida", "region": "face", "profile": {"crop": 16}}, "expected the region face"),
    ],
    ids=str,
)
def test_an_input_that_cannot_be_carried_out(spec, message):
    with pytest.raises(ArtifactError, match=message):
        vector_input(spec)


def test_an_artifact_of_another_kind_is_refused(linear):
    artifact = artifacts.load(linear)
    kernel = {"support": np.ones((2, LENGTH)), "dual": np.ones(2), "gamma": np.array(1.0)}
    other = replace(artifact, spec=artifact.spec | {"kind": "kernel"}, arrays=artifact.arrays | kernel)
    with pytest.raises(ArtifactError, match="judges profiles, and not descriptors"):
        detectors.from_artifact(other)


def test_trees_that_lead_in_a_circle_are_refused(boosted):
    artifact = artifacts.load(boosted)
    left = artifact.arrays["tree.left"].copy()
    left[1] = 0
    with pytest.raises(ArtifactError, match=r"from a node to later ones.*; train the detector again"):
        detectors.from_artifact(replace(artifact, arrays=artifact.arrays | {"tree.left": left}))


def test_a_detector_can_be_sent_to_another_process(folder):
    detector, picture = loaded(folder), upsampled(3, SIZE, SIZE)
    assert score(pickle.loads(pickle.dumps(detector)), picture) == score(detector, picture)


# bad input


@pytest.mark.parametrize(("height", "width"), [(15, 40), (40, 15), (8, 8), (1, 1)])
def test_an_image_that_is_too_small(folder, height, width):
    detector = loaded(folder)
    with pytest.raises(TooSmallError, match=rf"{width} × {height} pixels, a descriptor needs at least 16"):
        detector.preprocess(natural(0, height, width))
    with pytest.raises(TooSmallError):
        detector.explain(natural(0, height, width))


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((3, 16, 16), np.float32),
        np.ones((3, 23, 31), np.float32),
        np.full((3, 64, 17), 0.3, np.float32),
        np.repeat(natural(2, 40, 40)[:1], 3, axis=0),  # grey
        np.broadcast_to((np.arange(40) % 2).astype(np.float32), (3, 40, 40)),
        np.eye(16, dtype=np.float32)[None].repeat(3, axis=0),
    ],
    ids=["black", "white", "flat", "grey", "stripes", "line"],
)
def test_odd_pictures_have_a_score_and_evidence(folder, picture):
    detector = loaded(folder)
    inputs = detector.preprocess(picture)
    assert all(np.isfinite(array).all() for array in inputs.values())
    assert np.isfinite(score(detector, picture))
    assert all(np.isfinite(one.values).all() for one in detector.explain(picture))


def test_an_image_that_cannot_be_used_stops_a_training(data, tmp_path):
    small = save(natural(0, 12, 40), tmp_path / "small.png")
    sample = replace(data.filter(split="train")[0], path=small, sha256="")
    worse = type(data)((*data.filter(split="train"), sample))
    with pytest.raises(ManifestError, match=r"1 of 25 images cannot be used(?s:.)*small.png.*40 × 12 pixels"):
        SidaSystem().fit(worse, worse, out=tmp_path / "d", seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classifier": "forest"}, "classifier is one of logistic_regression, gradient_boosting"),
        ({"c": 0}, "c must be a positive number, found 0"),
        ({"c": float("nan")}, "c must be a positive number"),
        ({"learning_rate": float("inf")}, "learning_rate must be a positive number"),
        ({"l2": -1.0}, "l2 must be a number of at least 0"),
        ({"l2": True}, "l2 must be a number"),
        ({"trees": 0}, "trees must be a whole number of at least 1"),
        ({"leaves": 1}, "leaves must be a whole number of at least 2"),
        ({"leaf_images": 2.0}, "leaf_images must be a whole number of at least 1"),
        ({"crop": 8}, "crop must be a whole number of at least 16"),
        ({"max_crops": True}, "max_crops must be a whole number"),
        ({"region": "eye"}, "region is image or face"),
    ],
    ids=str,
)
def test_options_that_cannot_be_carried_out(options, message):
    with pytest.raises(ConfigError, match=message):
        SidaConfig(**options)


def test_the_shipped_configuration_is_read():
    config = read_config(ROOT / "configs" / "sida.toml")
    assert (config.system, config.name) == ("sida", "sida")
    for c in config.grid["c"]:
        options = config_of(SidaConfig, {**config.config, "c": c}, "[config]")
        assert (options.classifier, options.input) == ("logistic_regression", DescriptorInput())
    assert hub.system("sida") is SidaSystem
    assert SidaConfig(**asdict(options)) == options


# what is shown


def named(detector, picture):
    return {one.name: one for one in detector.explain(picture)}


def test_the_evidence_adds_up_to_the_score(folder):
    detector = loaded(folder)
    for picture in (natural(50, SIZE, 60), upsampled(50, 64, SIZE)):
        found = named(detector, picture)
        start, influence = found["average training image"].values, found["influence"].values
        assert influence.shape == (1, 15)
        assert start + influence.sum() == pytest.approx(score(detector, picture), abs=1e-9)


def test_the_strongest_statistics_are_named_by_what_they_are(linear):
    detector, picture = loaded(linear), upsampled(50, SIZE, SIZE)
    artifact = artifacts.load(linear)
    own = detector.preprocess(picture)["descriptor"]
    parts = (own - artifact.arrays["mean"]) / artifact.arrays["scale"] * artifact.arrays["weights"]
    order = np.argsort(-np.abs(parts))[:10]
    shown = [one for one in detector.explain(picture) if one.unit == "of the score"]
    assert [one.name for one in shown] == [str(entries()[place]) for place in order]
    assert [float(one.values) for one in shown] == pytest.approx(parts[order].tolist())
    band = artifact.arrays["band.real_mean"][order[0]]
    assert f"This image has {own[order[0]]:.3g}; the real training images {band:.3g} ±" in shown[0].caption


def test_influence_is_by_the_fineness_of_a_statistics_frequency(linear):
    detector, picture = loaded(linear), upsampled(51, SIZE, SIZE)
    arrays = artifacts.load(linear).arrays
    own = detector.preprocess(picture)["descriptor"]
    expected = [0.0] * 15
    for place, entry in enumerate(entries()):
        z = (own[place] - arrays["mean"][place]) / arrays["scale"][place]
        expected[sum(entry.frequency)] += float(z * arrays["weights"][place])
    assert named(detector, picture)["influence"].values[0] == pytest.approx(expected, abs=1e-9)


def test_curves_are_means_of_luma_over_the_bands_of_the_classes(folder):
    detector, picture = loaded(folder), natural(52, SIZE, 80)
    arrays, own = artifacts.load(folder).arrays, detector.preprocess(picture)["descriptor"]
    luma = (0.299 * picture[0] + 0.587 * picture[1] + 0.114 * picture[2])[None, None].astype(np.float64)
    blocks = 255 * block_dct(luma)[0, 0]
    differences = {
        "change to the block below": np.abs(np.diff(blocks, axis=1)),
        "change to the block beside it": np.abs(np.diff(blocks, axis=2)),
        "change to the next frequency": np.abs(np.diff(blocks, axis=0)),
    }
    found = named(detector, picture)
    for (name, planes), first in zip(differences.items(), (0, 192, 384), strict=True):
        values = found[name].values
        n = 63 if first == 384 else 64
        assert values.shape == (5, n)
        assert values[0] == pytest.approx(planes.mean(axis=(1, 2)), rel=1e-3, abs=1e-3)
        assert values[0] == pytest.approx(255 * own[first : first + n])
        mean, std = (255 * arrays[f"band.real_{what}"][first : first + n] for what in ("mean", "std"))
        assert values[1:4] == pytest.approx(np.stack([mean, mean - std, mean + std]))
        assert values[4] == pytest.approx(255 * arrays["band.fake_mean"][first : first + n])
        assert found[name].labels == ("this image", "real, mean", "real, lower", "real, upper", "fake, mean")


def test_the_map_shows_where_blocks_have_detail(folder):
    picture = np.full((3, 40, 61), 0.5, np.float32)
    picture[:, 8:16, 24:32] += 0.2 * np.tile([1, -1], 4)  # one block of stripes
    picture[:, 24:32, :] = 0.9  # as bright as can be, and flat
    found = named(loaded(folder), picture)["detail in blocks"]
    assert found.values.shape == (5, 7)
    assert np.unravel_index(found.values.argmax(), found.values.shape) == (1, 3)
    energy = 64 * (0.2 * 255) ** 2  # of the pixels' deviations, by Parseval
    assert found.values[1, 3] == pytest.approx(np.log10(1 + energy), rel=1e-4)
    assert np.delete(found.values.ravel(), 10).max() < 1e-3


def test_a_map_of_a_face_lies_over_the_face(data, tmp_path, monkeypatch):
    config = TrainConfig(system="sida", name="toy", config={"c": 0.1}, calibration=LOOSE)
    train(config, data, tmp_path / "toy")
    picture = save(natural(7, 200, 160), tmp_path / "a.png")
    _, whole = explained(Scorer(tmp_path / "toy"), picture, full_metadata=False)
    assert whole.grounds == {}
    monkeypatch.setattr(faces, "boxes", lambda pixels: (Box(60, 60, 100, 100),))
    _, found = explained(Scorer(tmp_path / "toy", Options(faces=True)), picture, full_metadata=False)
    assert found.verdict is not None
    crop = faces.crop(image.decode(picture).array, Box(60, 60, 100, 100)).image
    assert list(found.grounds) == ["detail in blocks"]
    assert np.array_equal(
        found.grounds["detail in blocks"], np.round(255 * crop.transpose(1, 2, 0)).astype(np.uint8)
    )
    (shown,) = (one for one in found.verdict.evidence if one.name == "detail in blocks")
    assert shown.values.shape == (crop.shape[1] // 8, crop.shape[2] // 8)


# without what trained it

CORE = """
import sys
for name in ("torch", "torchvision", "timm", "sklearn"):
    sys.modules[name] = None  # as if it were not installed
import numpy as np
from tellsign import artifacts, detectors
image = np.random.default_rng(0).uniform(size=(3, 50, 70)).astype("float32")
detector = detectors.from_artifact(artifacts.load(sys.argv[1]))
inputs = detector.preprocess(image)
print(repr(float(detector.score({name: array[None] for name, array in inputs.items()})[0])))
print(len(detector.explain(image)))
"""


def test_the_core_install_runs_it(folder):
    done = subprocess.run([sys.executable, "-c", CORE, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    own, n = done.stdout.split()
    picture = np.random.default_rng(0).uniform(size=(3, 50, 70)).astype("float32")
    assert float(own) == score(loaded(folder), picture)
    assert int(n) == len(loaded(folder).explain(picture))


# gradients


@pytest.fixture
def torch(one_torch_thread):
    return pytest.importorskip("torch")


def made(n, height, width):
    return np.stack([make(60 + i, height, width) for make in (natural, upsampled) for i in range(n)])


@pytest.mark.parametrize("options", [{}, {"crop": 24, "max_crops": 3}, {"crop": 36}], ids=str)
def test_the_module_scores_as_the_detector_does(torch, data, tmp_path, options):
    path = fitted(data, tmp_path / "d", c=0.1, **options)
    module, detector = SidaSystem().module(path), loaded(path)
    assert not module.training
    for height, width in ((36, 36), (45, 70)):
        images = made(3, height, width)
        expected = [score(detector, picture) for picture in images]
        with torch.no_grad():
            found = module(torch.from_numpy(images)).numpy()
            single = module.float()(torch.from_numpy(images)).numpy()
            module.double()
        # The detector takes descriptors in float32.
        assert found == pytest.approx(expected, abs=1e-3)
        assert single == pytest.approx(expected, abs=1e-3)
        assert np.ptp(expected) > 0.5


def test_the_modules_gradient_is_that_of_finite_differences(torch, linear):
    module = SidaSystem().module(linear)
    images = torch.from_numpy(0.2 + 0.6 * natural(5, 17, 16)[None].astype(np.float64)).requires_grad_()
    assert torch.autograd.gradcheck(module, (images,), fast_mode=True)


def test_a_step_along_the_gradient_moves_the_detectors_score(torch, linear):
    module, detector = SidaSystem().module(linear), loaded(linear)
    picture = natural(70, SIZE, SIZE)
    pixels = torch.from_numpy(picture[None]).requires_grad_()
    module(pixels).sum().backward()
    step = 0.002 * np.sign(pixels.grad[0].numpy())
    moved = [score(detector, np.clip(picture + sign * step, 0, 1)) for sign in (-1, 0, 1)]
    assert moved[0] < moved[1] < moved[2]
    flat = torch.full((1, 3, 16, 16), 0.5, requires_grad=True)
    module(flat).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_what_the_module_refuses(torch, linear, boosted):
    module = SidaSystem().module(linear)
    with pytest.raises(TooSmallError, match="15 × 40 pixels"):
        module(torch.zeros(1, 3, 40, 15))
    with pytest.raises(ImageError, match="shape"):
        module(torch.zeros(3, 40, 40))
    with pytest.raises(ArtifactError, match=r"'trees' detector has no gradient; attack it by .*\(square\)"):
        SidaSystem().module(boosted)


def test_attacks_that_trees_do_not_allow_are_known_before(linear, boosted):
    specs = [artifacts.load(path).spec for path in (linear, boosted)]
    reasons = [[unfit(spec, attack) for attack in ("fgsm:0.01", "square:0.03,queries=5")] for spec in specs]
    assert reasons == [[None, None], ["decision trees have no gradient; a black-box attack is square", None]]
