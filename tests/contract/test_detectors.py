"""What every detector promises, whoever made it: one suite over all systems and shipped detectors.

A new system in `hub.SYSTEMS` and a new folder in `src/tellsign/shipped` fall in by themselves. A system whose
defaults are too slow or too large for a test gets small options in SMALL.

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from cae_net_tiny import without_graph
from pictures import natural, stamped, upsampled, write_split_dataset
from tellsign import artifacts, detectors, hub
from tellsign.data import read
from tellsign.detectors.preprocessing import ProfileInput, profile
from tellsign.detectors.vector import VectorDetector
from tellsign.metrics import auroc
from tellsign.types import ArtifactError, TooSmallError

pytestmark = pytest.mark.usefixtures("no_curves")

SIZE = 48  # of the images that systems are trained on here

BRIEF = {
    "epochs": 12,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "optimiser": "adamw",
    "schedule": "cosine",
    "workers": 0,
}
# System → variants, each the options of a training that takes a second on images of 48 pixels.
SMALL = {
    "spectrum": {
        "linear_svm": {"classifier": "linear_svm", "crop": 32, "c": 1.0},
        "rbf_svm": {"classifier": "rbf_svm", "crop": 32, "standardise": True, "gamma": 0.05},
        "logistic_regression": {"classifier": "logistic_regression", "crop": 32, "normalise": "none"},
        "kmeans": {"classifier": "kmeans", "crop": 32, "normalise": "minmax"},
        "whole_image": {"classifier": "linear_svm", "crop": None, "length": 20, "standardise": True},
    },
    "cae-net": {
        "bands": {
            # Crops smaller than the images: at one place alone, the phase of the up-sampling would be learnt.
            "size": 32,
            "branches": {"bands": {"backbone": "test_resnet", "input": "dwt"}},
            "dwt": "native",
            "weights": "scratch",
            "strategy": "plain",
            "fusion": "fit",
            "training": BRIEF | {"epochs": 24, "learning_rate": 6e-3},
        },
    },
    "sfcl-hcmf": {
        "small": {
            "region": "image",
            "fit": "crop",
            "size": 32,
            "spatial": {"backbone": "test_efficientnet", "weights": "scratch"},
            "local": {"width": 0.02, "middle": 0, "weights": "scratch"},
            "hcma": {"d": 16, "heads": 2},
            "training": BRIEF,
        },
    },
    "resynthesis": {
        "pixel": {
            "size": 32,
            "stages": (0,),
            "network": {"features": 8, "growth": 8, "blocks": 1, "layers": 2},
            "perceptual": {"network": "none"},
            "classifier": {"widths": (16, 16, 16, 16), "blocks": (1, 1, 1, 1), "stem": "plain"},
            "reconstruction": {
                "patch": 32,
                "training": {"epochs": 6, "batch_size": 8, "learning_rate": 5e-3, "workers": 0},
            },
            "training": BRIEF | {"epochs": 80, "learning_rate": 6e-3, "weight_decay": 0.0},
        },
    },
    "prnu": {
        "intensity": {"crop": 32, "levels": 2},
        "mean": {"crop": 32, "max_crops": 1, "levels": 1, "sigma": 3.0, "fingerprint": "mean"},
    },
    "sida": {
        "logistic_regression": {},
        "gradient_boosting": {
            "classifier": "gradient_boosting",
            "trees": 20,
            "leaves": 3,
            "leaf_images": 4,
        },
        "crops": {"crop": 24, "max_crops": 4, "c": 1.0},
    },
    "image": {
        "small": {
            "size": 32,
            "widths": (16, 16, 16, 16),
            "blocks": (1, 1, 1, 1),
            "stem": "plain",
            "training": BRIEF | {"epochs": 80},
        },
    },
    "fft2d": {
        "small": {"size": 32, "backbone": "test_resnet", "weights": "scratch", "training": BRIEF},
    },
    "gramnet": {
        "small": {
            "size": 32,
            "backbone": "test_resnet",
            "weights": "scratch",
            "training": BRIEF | {"epochs": 24, "learning_rate": 6e-3},
        },
    },
    "dct2d": {
        "logistic": {"classifier": "logistic", "size": 32},
        "ridge": {"classifier": "ridge", "size": 32, "max_crops": 4},
        "cnn": {"classifier": "cnn", "size": 32, "training": BRIEF},
    },
}
# These learn what is the same in all fakes; up-sampling alone leaves them nothing.
STAMPED = ("prnu", "image", "resynthesis")
TRAINED = [(name, variant) for name in hub.SYSTEMS for variant in SMALL.get(name, {"default": {}})]
SHIPPED = list(hub.shipped_detectors())
NETWORKS = [
    (name, variant) for name, variant in TRAINED if "training" in SMALL.get(name, {}).get(variant, {})
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return read(write_split_dataset(tmp_path_factory.mktemp("data"), train=16, valid=4, size=SIZE))


def fitted(name, variant, data, out, *, seed=0, briefly=False):
    """A detector; briefly: trained for two epochs, where what it has learnt does not matter."""
    pytest.importorskip("sklearn")
    system = hub.system(name)
    options = dict(SMALL.get(name, {}).get(variant, {}))
    if briefly and "training" in options:
        options["training"] = options["training"] | {"epochs": 2}
    options = system.config_class(**options)
    train, valid = data.filter(split="train"), data.filter(split="valid")
    return system(options).fit(train, valid, out=out, seed=seed)


@dataclass(frozen=True, eq=False)
class Subject:
    """A detector under test, and images that it takes."""

    artifact: artifacts.Artifact
    detector: object
    side: int  # smallest image that it takes
    fake: Callable = upsampled  # makes what it was trained on as fakes

    def images(self, n, extra=0):
        side = max(self.side, SIZE) + extra
        return [make(900 + i, side, side + 7) for i in range(n) for make in (natural, self.fake)]

    def batch(self, images):
        inputs = [self.detector.preprocess(image) for image in images]
        return {name: np.stack([one[name] for one in inputs]) for name in inputs[0]}

    def scores(self, images):
        return self.detector.score(self.batch(images))


@pytest.fixture(
    scope="module", params=[*TRAINED, *SHIPPED], ids=lambda p: p if isinstance(p, str) else "-".join(p)
)
def subject(request, data, tmp_path_factory):
    fake = stamped if request.param[0] in STAMPED else upsampled
    if isinstance(request.param, str):
        path = hub.shipped_detectors()[request.param]
    else:
        folder = tmp_path_factory.mktemp("detector")
        if fake is not upsampled:
            data = read(write_split_dataset(folder / "data", train=16, valid=4, size=SIZE, fake=fake))
        path = fitted(*request.param, data, folder / "d")
    artifact = artifacts.load(path)
    look = artifact.spec["preprocessing"]
    return Subject(
        artifact, detectors.from_artifact(artifact), look.get("crop") or look.get("size") or 16, fake
    )


def test_scores_are_one_finite_number_an_image(subject):
    images = subject.images(3)
    scores = subject.scores(images)
    assert scores.shape == (6,)
    assert np.issubdtype(scores.dtype, np.floating)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 1


def test_inputs_come_without_the_batch_axis(subject):
    inputs = subject.detector.preprocess(subject.images(1)[0])
    assert inputs
    for name, array in inputs.items():
        assert isinstance(name, str)
        assert isinstance(array, np.ndarray)
        assert subject.batch(subject.images(1))[name].shape == (2, *array.shape)


def test_higher_is_more_fake(subject):
    """A trained one on images like those it saw; a shipped one on the scores it was calibrated with."""
    if "scores.real" in subject.artifact.arrays:
        real, fake = subject.artifact.arrays["scores.real"], subject.artifact.arrays["scores.fake"]
    else:
        scores = subject.scores(subject.images(8))
        real, fake = scores[::2], scores[1::2]
        assert fake.min() > real.max(), "an easy task"
    labels = np.repeat([0, 1], [len(real), len(fake)])
    assert auroc(labels, np.concatenate([real, fake])) > 0.55
    assert fake.mean() > real.mean()


def test_inputs_are_not_changed(subject):
    images = subject.images(2)
    before = [image.copy() for image in images]
    for image in images:
        image.flags.writeable = False
    batch = subject.batch(images)
    copies = {name: array.copy() for name, array in batch.items()}
    for array in batch.values():
        array.flags.writeable = False
    subject.detector.score(batch)
    subject.detector.explain(images[0])
    assert all(np.array_equal(a, b) for a, b in zip(images, before, strict=True))
    assert all(np.array_equal(batch[name], copies[name]) for name in batch)


def test_a_score_does_not_depend_on_its_neighbours(subject):
    """To the last bit: one at a time, in another order, in other company, laid out otherwise in memory."""
    batch = subject.batch(subject.images(10))
    n = 20
    together = subject.detector.score(batch)
    alone = np.concatenate(
        [subject.detector.score({k: v[i : i + 1] for k, v in batch.items()}) for i in range(n)]
    )
    assert np.array_equal(together, alone)
    order = np.random.default_rng(0).permutation(n)
    assert np.array_equal(subject.detector.score({k: v[order] for k, v in batch.items()}), together[order])
    repeated = subject.detector.score({k: np.concatenate([v] * 30) for k, v in batch.items()})
    assert np.array_equal(repeated.reshape(30, n), np.tile(together, (30, 1)))
    other_layout = {k: np.asfortranarray(v) for k, v in batch.items()}
    assert np.array_equal(subject.detector.score(other_layout), together)
    strided = {k: np.repeat(v, 2, axis=-1)[..., ::2] for k, v in batch.items()}
    assert np.array_equal(subject.detector.score(strided), together)


def test_scores_in_single_precision_do_not_depend_on_neighbours_either(subject):
    batch = {k: v.astype(np.float32) for k, v in subject.batch(subject.images(10)).items()}
    together = subject.detector.score(batch)
    alone = [subject.detector.score({k: v[i : i + 1] for k, v in batch.items()})[0] for i in range(20)]
    assert np.array_equal(together, alone)


def test_an_empty_batch_has_no_scores(subject):
    batch = {name: array[:0] for name, array in subject.batch(subject.images(1)).items()}
    assert subject.detector.score(batch).shape == (0,)


def test_scoring_twice_gives_the_same(subject):
    images = subject.images(3)
    first = subject.scores(images)
    subject.scores(subject.images(2, extra=20))  # images of another size in between
    subject.detector.explain(images[1])
    assert np.array_equal(subject.scores(images), first)


def test_save_and_load_give_an_equal_detector(subject, tmp_path):
    spec = {key: value for key, value in subject.artifact.spec.items() if key != "format"}
    saved = artifacts.save(
        tmp_path / "copy", spec=spec, arrays=subject.artifact.arrays, graph=subject.artifact.graph
    )
    copy = Subject(saved, detectors.from_artifact(saved), subject.side)
    again = artifacts.load(tmp_path / "copy")
    assert again.digest == saved.digest
    images = subject.images(3)
    assert np.array_equal(copy.scores(images), subject.scores(images))


def test_an_image_that_is_too_small_is_refused_as_such(subject):
    for height, width in ((1, 1), (4, 4), (subject.side - 1, 300), (300, subject.side - 1)):
        with pytest.raises(TooSmallError) as caught:
            subject.detector.preprocess(natural(0, height, width))
        assert f"{width} × {height} pixels" in str(caught.value)
        with pytest.raises(TooSmallError):
            subject.detector.explain(natural(0, height, width))
    side = subject.side
    assert np.isfinite(subject.scores([natural(0, side, side)])).all()


def test_images_without_any_structure_have_a_score(subject):
    side = max(subject.side, SIZE)
    for value in (0.0, 0.5, 1.0):
        assert np.isfinite(subject.scores([np.full((3, side, side), value, np.float32)])).all()


def test_evidence_can_be_drawn(subject):
    evidence = subject.detector.explain(subject.images(1)[1])
    assert evidence
    assert len({one.name for one in evidence}) == len(evidence)
    for one in evidence:
        assert np.isfinite(one.values).all()
        assert one.values.ndim == {"heatmap": 2, "curve": 2, "scalar": 0}[one.kind]
        assert one.unit
        assert one.caption.endswith(".")
        if one.kind == "curve":
            assert len(one.labels) == len(one.values)


def test_the_artifact_says_what_it_was_made_from(subject):
    spec = subject.artifact.spec
    assert spec["system"] in hub.SYSTEMS
    assert json.loads(json.dumps(spec)) == spec
    config = hub.system(spec["system"]).config_class(**spec["config"])
    assert spec["preprocessing"] == config.input.to_spec()


# detectors of profiles


@pytest.fixture
def profiled(subject):
    if not isinstance(getattr(subject.detector, "input", None), ProfileInput):
        pytest.skip("a detector without spectrum profiles")
    return subject


def test_nothing_is_resized(profiled):
    """The crops of an image stand for it: two halves side by side give their mean."""
    crop = profiled.detector.input.crop
    if crop is None:
        pytest.skip("this detector looks at whole images")
    image = natural(5, crop, 2 * crop)
    several = replace(profiled.detector.input, max_crops=2)
    whole, left, right = (profile(part, several) for part in (image, image[..., :crop], image[..., crop:]))
    assert np.allclose(whole, (left + right) / 2, rtol=1e-12, atol=0)
    large = natural(6, 2 * crop + 31, 3 * crop + 8)
    centre = large[:, (crop + 31) // 2 :, (2 * crop + 8) // 2 :][:, :crop, :crop]
    single = replace(profiled.detector.input, max_crops=1)
    assert np.array_equal(profile(large, single), profile(centre, single))


def test_the_influence_of_all_bands_is_that_of_replacing_them(profiled):
    image = profiled.images(1)[1]
    influence = {one.name: one for one in profiled.detector.explain(image)}["influence"].values[0]
    own = profiled.detector.preprocess(image)["profile"]
    real = profiled.artifact.arrays["band.real_mean"]
    bands = np.array_split(np.arange(len(own)), len(influence))
    for band, found in zip(bands, influence, strict=True):
        other = own.copy()
        other[band] = real[band]
        scores = [profiled.detector.score({"profile": rows[None]})[0] for rows in (own, other)]
        assert found == pytest.approx(scores[0] - scores[1], abs=1e-12)


# detectors of vectors: profiles and descriptors


@pytest.fixture
def vectors(subject):
    if not isinstance(subject.detector, VectorDetector):
        pytest.skip("a detector of something else than vectors")
    return subject


def test_another_number_of_features_is_refused(vectors):
    with pytest.raises(ArtifactError, match="was trained on"):
        vectors.detector.score({vectors.detector.input.key: np.ones((2, 3))})


DAMAGES = ("missing", "longer", "deeper", "nan", "other type", "negative scale", "other crop")


@pytest.mark.parametrize("damage", DAMAGES)
def test_arrays_that_do_not_fit_are_refused(vectors, damage):
    """Each array that the detector reads, damaged in one way, is named when the detector is made."""
    options = vectors.detector.input
    if damage == "other crop" and not isinstance(options, ProfileInput):
        pytest.skip("descriptors are of one length")
    needed = [name for name in vectors.artifact.arrays if not name.startswith(("scores.", "domain."))]
    for name in needed:
        arrays, spec = dict(vectors.artifact.arrays), dict(vectors.artifact.spec)
        array = arrays[name]
        is_whole = np.issubdtype(array.dtype, np.integer)
        if damage == "missing":
            del arrays[name]
        elif damage == "longer":
            arrays[name] = np.ones((*array.shape[:-1], array.shape[-1] + 1)) if array.ndim else np.ones(2)
        elif damage == "deeper":
            arrays[name] = np.stack([array, array])
        elif damage == "nan":
            arrays[name] = np.full_like(array, -1 if is_whole else np.nan)
        elif damage == "other type":
            arrays[name] = array.astype(float if is_whole else int)
        elif damage == "negative scale":
            arrays["scale"] = -arrays["scale"]
        else:
            crop, length = (options.crop + 16, None) if options.crop else (None, options.length + 1)
            spec["preprocessing"] = replace(options, crop=crop, length=length).to_spec()
        with pytest.raises(ArtifactError) as caught:
            detectors.from_artifact(replace(vectors.artifact, spec=spec, arrays=arrays))
        assert str(vectors.artifact.path) in str(caught.value)
        if damage in {"missing", "nan", "other type", "deeper"}:
            assert repr(name) in str(caught.value)


# what is wrong with an artifact


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "forest"}, "unknown kind of detector 'forest'; this version runs linear, kernel"),
        ({"preprocessing": {"crop": 32, "colour": "hsv"}}, "unknown preprocessing .*colour"),
        ({"preprocessing": {"crop": "32"}}, "crop must be a whole number"),
        ({"preprocessing": {"crop": None}}, "profile of fixed length"),
        ({"preprocessing": {"preset": "mine"}}, "preset is one of"),
        ({"preprocessing": {"region": "eye"}}, "region is image or face"),
    ],
    ids=str,
)
def test_a_specification_that_cannot_be_carried_out(change, message):
    artifact = artifacts.load(hub.detector_path(hub.DEFAULT_DETECTOR))
    with pytest.raises(ArtifactError, match=message):
        detectors.from_artifact(replace(artifact, spec=artifact.spec | change))


# training again


@pytest.fixture
def weights_alone(monkeypatch):
    """Without the graph that is made of a network's weights, which takes longer than to learn them."""
    if importlib.util.find_spec("torch"):
        without_graph(monkeypatch)


@pytest.mark.parametrize(("name", "variant"), TRAINED)
def test_the_same_seed_gives_the_same_detector(name, variant, data, tmp_path, weights_alone):
    assert_made_twice_the_same(name, variant, data, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), NETWORKS)
def test_the_same_seed_gives_the_same_detector_with_its_graph(name, variant, data, tmp_path):
    """At greater length what the test above and test_export show: the same weights, and the same graph."""
    assert_made_twice_the_same(name, variant, data, tmp_path)


def assert_made_twice_the_same(name, variant, data, tmp_path):
    one, two = (artifacts.load(fitted(name, variant, data, tmp_path / d, seed=3, briefly=True)) for d in "ab")
    assert one.digest == two.digest
    for key in one.arrays:
        assert np.array_equal(one.arrays[key], two.arrays[key])


@pytest.mark.parametrize("name", hub.SYSTEMS)
def test_images_that_changed_are_looked_at_again(name, data, tmp_path, weights_alone):
    """What is kept between two trainings is kept by content and not by name."""
    import shutil

    shutil.copytree(data[0].path.parents[2], tmp_path / "data")
    copy = read(tmp_path / "data" / "manifest.csv")
    variant = next(iter(SMALL.get(name, {"default": {}})))
    before = artifacts.load(fitted(name, variant, copy, tmp_path / "a", briefly=True))
    first = copy.filter(split="train")[0].path
    first.write_bytes(copy.filter(split="train")[1].path.read_bytes())
    after = artifacts.load(fitted(name, variant, copy, tmp_path / "b", briefly=True))
    assert before.digest != after.digest


def test_small_options_are_for_systems_that_exist():
    assert set(SMALL) <= set(hub.SYSTEMS)


CORE_ONLY = """
import sys
import numpy as np
from tellsign import artifacts, detectors, hub
for path in hub.shipped_detectors().values():
    detector = detectors.from_artifact(artifacts.load(path))
    inputs = detector.preprocess(np.random.default_rng(0).uniform(size=(3, 512, 512)).astype("float32"))
    detector.score({name: array[None] for name, array in inputs.items()})
    detector.explain(np.full((3, 512, 512), 0.5, "float32"))
print(sorted({"torch", "sklearn", "timm", "pandas", "matplotlib"} & set(sys.modules)))
"""


def test_shipped_detectors_run_without_what_trained_them():
    run = subprocess.run([sys.executable, "-c", CORE_ONLY], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_this_suite_finds_what_is_shipped():
    shipped = Path(detectors.__file__).parents[1] / "shipped"
    folders = {path.name for path in shipped.iterdir() if path.is_dir()}
    assert {*SHIPPED} == folders - {"generators"}  # of which test_shipped_generators.py tells
