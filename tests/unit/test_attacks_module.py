"""The spectrum detectors in PyTorch: the same scores as in NumPy, with gradients, and attacked."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

from detector import write_detector  # noqa: E402
from pictures import natural, upsampled  # noqa: E402
from tellsign import artifacts, detectors, hub  # noqa: E402
from tellsign.detectors.vector import class_bands  # noqa: E402
from tellsign.perturb.attacks import detector_score, parse  # noqa: E402
from tellsign.perturb.attacks.evaluation import masking_report, outcome  # noqa: E402
from tellsign.systems.spectrum.config import CLASSIFIERS, SpectrumConfig  # noqa: E402
from tellsign.systems.spectrum.model import fit  # noqa: E402
from tellsign.systems.spectrum.system import SpectrumSystem  # noqa: E402
from tellsign.types import ArtifactError, ConfigError, ImageError, TooSmallError  # noqa: E402

N = 12  # training images a class


def made(n, height, width, seed=0):
    """(2 n, 3, height, width): natural images, then up-sampled ones; noise, so that no frequency is empty."""
    images = np.stack([make(seed + i, height, width) for make in (natural, upsampled) for i in range(n)])
    noise = np.random.default_rng(seed).normal(scale=0.5 / 255, size=images.shape)
    return np.clip(images + noise, 0, 1).astype(np.float32)


def trained(folder, config, height=24, width=24):
    """A detector fitted on made images; (detector, module)."""
    pytest.importorskip("sklearn")
    from tellsign.detectors.preprocessing import profile

    features = np.stack([profile(image, config.input) for image in made(N, height, width, 1000)])
    labels = np.repeat([0, 1], N)
    fitted = fit(features, labels, config)
    spec = {"name": "toy", "kind": fitted.kind, "preprocessing": config.input.to_spec()}
    artifacts.save(folder, spec=spec, arrays=fitted.arrays | class_bands(features, labels))
    return detectors.from_artifact(artifacts.load(folder)), SpectrumSystem(config).module(folder)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("preset", ["official", "paper"])
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_scores_are_those_of_the_detector(tmp_path, classifier, preset, standardise):
    config = SpectrumConfig(classifier, standardise=standardise, preset=preset, crop=20, gamma=0.1)
    detector, module = trained(tmp_path / "toy", config)
    for height, width in ((20, 20), (31, 64), (70, 45)):  # one crop, and several
        images = made(3, height, width).astype(np.float64)
        expected = detector_score(detector)(images)
        with torch.no_grad():
            found = module(torch.from_numpy(images)).numpy()
            single = module(torch.from_numpy(images.astype(np.float32))).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(single, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert np.ptp(expected) > 0


@pytest.mark.parametrize("normalise", ["none", "first", "minmax"])
def test_whole_images_of_any_shape_are_scored_alike(tmp_path, normalise):
    config = SpectrumConfig("linear_svm", crop=None, length=12, normalise=normalise, standardise=True)
    detector, module = trained(tmp_path / "toy", config)
    images = made(2, 21, 34).astype(np.float64)
    expected = detector_score(detector)(images)
    np.testing.assert_allclose(module(torch.from_numpy(images)).numpy(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["linear", "kernel"])
def test_float32_comes_close(tmp_path, kind):
    folder = write_detector(tmp_path / "toy", kind=kind)
    detector = detectors.from_artifact(artifacts.load(folder))
    module = SpectrumSystem().module(folder).float()
    images = made(4, 48, 64)
    found = module(torch.from_numpy(images))
    assert found.dtype == torch.float32
    expected = detector_score(detector)(images)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3 * np.abs(expected).max())


def test_the_shipped_detector_has_its_module():
    folder = hub.detector_path("spectrum")
    detector, module = detectors.from_artifact(artifacts.load(folder)), SpectrumSystem().module(folder)
    images = made(1, 240, 300).astype(np.float64)
    expected = detector_score(detector)(images)
    np.testing.assert_allclose(module(torch.from_numpy(images)).numpy(), expected, rtol=1e-6)
    assert not module.training


@pytest.mark.parametrize("preset", ["official", "paper"])
@pytest.mark.parametrize("classifier", ["logistic_regression", "rbf_svm"])
def test_gradients_are_those_of_finite_differences(tmp_path, classifier, preset):
    config = SpectrumConfig(classifier, preset=preset, crop=16, gamma=0.1, standardise=True)
    _, module = trained(tmp_path / "toy", config)
    images = torch.from_numpy(0.2 + 0.6 * made(1, 16, 16)[1:].astype(np.float64)).requires_grad_()
    assert torch.autograd.gradcheck(module, (images,), fast_mode=True)


def test_pixels_outside_the_crops_have_no_gradient(tmp_path):
    _, module = trained(tmp_path / "toy", SpectrumConfig("linear_svm", crop=16, max_crops=1))
    images = torch.from_numpy(made(1, 20, 24)).requires_grad_()
    module(images).sum().backward()
    inside = images.grad[:, :, 2:18, 4:20].abs().sum()
    assert inside > 0
    assert inside == images.grad.abs().sum()


def test_an_image_does_not_depend_on_its_neighbours(tmp_path):
    _, module = trained(tmp_path / "toy", SpectrumConfig(crop=20, gamma=0.1))
    images = torch.from_numpy(made(3, 40, 50))
    alone = torch.cat([module(image[None]) for image in images])
    torch.testing.assert_close(module(images), alone, rtol=1e-12, atol=0)


def test_what_cannot_be_scored_is_refused_as_by_the_detector(tmp_path):
    folder = write_detector(tmp_path / "toy")
    module = SpectrumSystem().module(folder)
    with pytest.raises(TooSmallError, match="smaller than the 32 × 32"):
        module(torch.zeros(1, 3, 31, 40))
    for shape in ((3, 32, 32), (1, 1, 32, 32)):
        with pytest.raises(ImageError, match=r"\(B, 3, H, W\)"):
            module(torch.zeros(shape))
    with pytest.raises(ArtifactError, match="no detector at"):
        SpectrumSystem().module(tmp_path / "nothing")
    saved = artifacts.load(folder)
    artifacts.save(folder, spec=saved.spec | {"kind": "forest"}, arrays=saved.arrays)
    with pytest.raises(ArtifactError, match=r"no gradient; .* linear or kernel"):
        SpectrumSystem().module(folder)
    artifacts.save(folder, spec=saved.spec, arrays=saved.arrays | {"weights": np.zeros(3)})
    with pytest.raises(ArtifactError, match="weights"):
        SpectrumSystem().module(folder)


@pytest.mark.parametrize("kind", ["linear", "kernel"])
def test_the_detector_that_runs_is_fooled_through_its_module(tmp_path, kind):
    """From the pixels, rounded to levels, judged in NumPy: what an adversary would do."""
    folder = write_detector(tmp_path / "toy", kind=kind)
    score = detector_score(detectors.from_artifact(artifacts.load(folder)))
    module = SpectrumSystem().module(folder)
    images = (np.rint(made(4, 40, 40) * 255) / 255).astype(np.float32)
    labels = np.repeat([0, 1], 4)
    scores = score(images)
    threshold = float(scores[:4].max() + scores[4:].min()) / 2
    rows = []
    for text in ("none", "pgd:0.03,steps=10", "apgd:0.03,steps=10"):
        found = parse(text).run(module, images, labels, threshold=threshold, seed=0)
        rows.append(outcome(labels, scores, score(found), threshold=threshold, attack=text))
    assert rows[0].attacked_accuracy == 1
    for row in rows[1:]:
        assert row.success >= 0.5
        assert row.attacked_auroc < rows[0].attacked_auroc
    report = masking_report(module, images, labels, threshold=threshold, eps=0.01, seed=0, queries=30)
    assert report.passed, [check for check in report.checks if not check.passed]


def test_a_detector_without_module_is_attacked_by_its_scores(tmp_path):
    score = detector_score(detectors.from_artifact(artifacts.load(write_detector(tmp_path / "toy"))))
    images, labels = made(2, 40, 40), np.repeat([0, 1], 2)
    found = parse("square:0.05,queries=100,quantise=no").run(score, images, labels, threshold=0.0, seed=0)
    change = (score(found) - score(images)) * np.where(labels == 1, -1, 1)
    assert (change > 0).all()
    with pytest.raises(ConfigError, match="no PyTorch module"):
        parse("fgsm:0.05").run(score, images, labels, threshold=0.0, seed=0)
