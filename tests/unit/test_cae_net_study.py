"""The spectrum detector beside CAE-Net: fitted on a fold's training part, scored on its test part."""

from __future__ import annotations

import numpy as np
import pytest

from cae_net_tiny import images, write_config
from tellsign import artifacts, detectors, hub
from tellsign.image import decode
from tellsign.metrics import auroc

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("sklearn")
from tellsign.evaluate.cae_net.study import Study, configuration
from tellsign.systems.spectrum.config import SpectrumConfig
from tellsign.systems.spectrum.system import SpectrumSystem


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    # Not class by class, so that an order by label is another one than the manifest's.
    manifest = images(folder / "data", 24)
    rows = np.random.default_rng(0).permutation(len(manifest)).tolist()
    mixed = type(manifest)(tuple(manifest[row] for row in rows))
    config = configuration(write_config(folder))
    return Study(mixed, config, folder / "cells", 2, 0, None, None, lambda text: None)


def by_hand(given, number, out):
    """(N,) scores of a detector fitted here, one image after the other."""
    fold = given.folds[number - 1]
    spec = artifacts.load(hub.detector_path("spectrum")).spec
    SpectrumSystem(SpectrumConfig(**spec["config"])).fit(fold.train, fold.valid, out=out, seed=given.seed)
    detector = detectors.from_artifact(artifacts.load(out))
    inputs = [detector.preprocess(decode(sample.path).array) for sample in fold.test]
    scores = [detector.score({name: array[None] for name, array in one.items()})[0] for one in inputs]
    return np.array(scores), np.array(fold.test.labels)


def test_the_spectrum_detector_of_a_fold_is_fitted_on_its_training_part_alone(given, tmp_path, monkeypatch):
    expected = {}
    for number in (1, 2):
        expected[number], labels = by_hand(given, number, tmp_path / str(number))
        assert auroc(labels, expected[number]) > 0.9
        assert len(set(labels[:6].tolist())) == 2, "classes are mixed"
        assert np.allclose(given.spectrum_scores(number), expected[number], atol=1e-6)
    assert not np.array_equal(np.sort(expected[1]), np.sort(expected[2]))
    monkeypatch.setattr(SpectrumSystem, "fit", lambda *_, **__: pytest.fail("fitted again"))
    for number in (1, 2):
        assert np.allclose(given.spectrum_scores(number), expected[number], atol=1e-6), "as it was kept"
