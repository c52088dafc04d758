"""Linear classifiers of cosine coefficients: what is minimised, stored, run and shown."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from pictures import natural, write_split_dataset
from tellsign import artifacts, detectors
from tellsign.data import read
from tellsign.detectors.preprocessing import DescriptorInput, features
from tellsign.systems.baselines import statistics
from tellsign.systems.baselines.config import Dct2dConfig
from tellsign.systems.baselines.linear import fit
from tellsign.systems.baselines.statistics import coefficient_statistics
from tellsign.systems.baselines.system import Dct2dSystem
from tellsign.types import ArtifactError, ConfigError, ManifestError, TooSmallError

pytest.importorskip("sklearn")

SIZE = 16


def table(n=30, k=7, *, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return 3 * rng.normal(size=(n, k)) + 5 + labels[:, None] * rng.normal(size=k), labels


def objective(weights, bias, z, labels, l2, kind):
    scores, signs = z @ weights + bias, 2 * labels - 1
    losses = np.log1p(np.exp(-signs * scores)) if kind == "logistic" else (scores - signs) ** 2
    return losses.mean() + l2 * np.square(weights).sum()


@pytest.mark.parametrize("l2", [0.01, 1.0])
@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_the_objective_has_its_minimum_there(kind, l2):
    values, labels = table()
    found = fit(values, labels, Dct2dConfig(classifier=kind, l2=l2)).arrays
    z = (values - found["mean"]) / found["scale"]
    weights, bias = found["weights"], found["bias"]
    least = objective(weights, bias, z, labels, l2, kind)
    for place in range(len(weights) + 1):
        step = np.zeros(len(weights) + 1)
        step[place] = 1e-2
        for sign in (-1, 1):
            moved = (weights + sign * step[:-1], bias + sign * step[-1])
            assert objective(*moved, z, labels, l2, kind) > least


def test_ridge_has_the_solution_of_the_normal_equations():
    values, labels = table(k=50)
    found = fit(values, labels, Dct2dConfig(classifier="ridge", l2=0.3)).arrays
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    expected = np.linalg.solve(z.T @ z / len(z) + 0.3 * np.eye(50), z.T @ (2.0 * labels - 1) / len(z))
    np.testing.assert_allclose(found["weights"], expected, atol=1e-5)
    assert found["bias"] == pytest.approx(0, abs=1e-6)


def test_statistics_in_one_pass_are_those_of_all():
    values = 1e6 + np.random.default_rng(0).normal(size=(23, 4, 3))
    values[:, 0, 0] = 7.0
    for parts in (1, 3, 23):
        mean, std = coefficient_statistics([np.empty((0, 4, 3)), *np.array_split(values, parts)])
        np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-15)
        np.testing.assert_allclose(std.ravel()[1:], values.std(axis=0).ravel()[1:], rtol=1e-9)
        assert std[0, 0] == 1
    with pytest.raises(ManifestError, match="no image is left"):
        coefficient_statistics([])
    assert doctest.testmod(statistics).failed == 0


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return read(write_split_dataset(tmp_path_factory.mktemp("data"), train=8, valid=4, size=24))


@pytest.fixture(scope="module")
def folder(manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("detectors") / "d"
    return system(max_crops=3).fit(
        manifest.filter(split="train"), manifest.filter(split="valid"), out=out, seed=0
    )


def system(**options):
    return Dct2dSystem(Dct2dConfig(**{"size": SIZE, **options}))


def test_the_detector_scores_as_its_form_in_pytorch_does(folder):
    torch = pytest.importorskip("torch")
    detector, module = detectors.from_artifact(artifacts.load(folder)), system().module(folder)
    for shape in ((16, 16), (20, 41)):
        image = natural(3, *shape)
        inputs = detector.preprocess(image)
        score = detector.score({name: array[None] for name, array in inputs.items()})[0]
        pixels = torch.from_numpy(image)[None].requires_grad_()
        own = module(pixels)
        assert score == pytest.approx(float(own.detach()[0]), rel=1e-9)
        own.sum().backward()
        assert torch.isfinite(pixels.grad).all()
        assert pixels.grad.abs().sum() > 0


def test_the_influence_of_all_bands_leads_to_the_score(folder):
    detector = detectors.from_artifact(artifacts.load(folder))
    image = natural(4, 30, 30)
    found = {one.name: one for one in detector.explain(image)}
    inputs = {name: array[None] for name, array in detector.preprocess(image).items()}
    total = float(found["average training image"].values) + found["influence"].values.sum()
    assert total == pytest.approx(detector.score(inputs)[0])
    for name in ("cosine spectrum", "distance from real images", "weight of frequencies"):
        assert found[name].values.shape == (SIZE, SIZE)


def test_what_is_judged_are_the_mean_logarithms_of_the_crops():
    options = DescriptorInput(crop=SIZE, max_crops=2, descriptor="dct2d")
    image = natural(5, 16, 32)
    parts = [features(image[..., a : a + 16], options) for a in (0, 16)]
    assert options.n_features == parts[0].size == 3 * 16 * 16
    np.testing.assert_allclose(features(image, options), np.mean(parts, axis=0))
    with pytest.raises(ConfigError, match="dct2d needs a crop"):
        DescriptorInput(descriptor="dct2d")
    with pytest.raises(ConfigError, match="descriptor is sida or dct2d, found 'dct'"):
        DescriptorInput(descriptor="dct")


def test_an_image_that_is_too_small_is_refused(folder):
    detector = detectors.from_artifact(artifacts.load(folder))
    with pytest.raises(TooSmallError, match="40 × 15 pixels"):
        detector.preprocess(natural(0, 15, 40))


def test_one_class_is_refused(manifest, tmp_path):
    real = manifest.filter(split="train").filter(label=0)
    with pytest.raises(ManifestError, match="fake"):
        system().fit(real, real, out=tmp_path / "d", seed=0)
    assert not (tmp_path / "d").exists()


def test_images_without_structure_can_be_fitted(tmp_path):
    values = np.full((4, 3), np.log(1e-12))
    found = fit(values, np.array([0, 1, 0, 1]), Dct2dConfig()).arrays
    assert all(np.isfinite(array).all() for array in found.values())
    np.testing.assert_array_equal(found["weights"], 0)


def test_a_linear_detector_has_no_attention(folder):
    with pytest.raises(ConfigError, match="looks at a spectrum"):
        system().evidence(folder)
    with pytest.raises(ArtifactError):
        system().network(folder)
