"""A study: what it takes, what it trains, and the spectrum detector beside it."""

from __future__ import annotations

import numpy as np
import pytest

from cae_net_tiny import images, write_config
from tellsign import artifacts, detectors, hub
from tellsign.image import decode
from tellsign.metrics import auroc
from tellsign.types import ArtifactError, ConfigError, ManifestError, OutputError, ResourceError, Sample

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("sklearn")
from tellsign.evaluate.cae_net.study import SMALL, configuration, scores_on
from tellsign.evaluate.reproduce import Inputs
from tellsign.evaluate.study import Study, attempted, first_error, study
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
    return Study(mixed, "cae-net", config, scores_on, folder / "cells", 2, 0, None, None, lambda text: None)


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


# what is given


def asked(folder, manifest, **more):
    return study(Inputs(manifest=manifest, folder=folder, **more), system="cae-net", small=SMALL, scorer=None)


def test_images_are_known_by_content_whether_the_manifest_has_checksums_or_not(given, tmp_path):
    manifest = given.manifest
    found = asked(tmp_path, manifest, others=manifest[:3])
    sums = [decode(sample.path).meta.sha256 for sample in manifest]
    assert [sample.sha256 for sample in found.manifest] == sums
    assert [sample.sha256 for sample in found.others] == sums[:3]
    again = asked(tmp_path, found.manifest)
    assert again.manifest == found.manifest
    assert [fold.test.digest() for fold in again.folds] == [fold.test.digest() for fold in found.folds]


def test_data_under_the_same_names_are_other_data(given, tmp_path):
    names = [Sample(tmp_path / "data" / f"{row}.png", row % 2) for row in range(40)]
    digests = set()
    for version in (b"1", b"2"):
        (tmp_path / "data").mkdir(exist_ok=True)
        for sample in names:
            sample.path.write_bytes(sample.path.name.encode() + version)
        digests.add(asked(tmp_path, type(given.manifest)(tuple(names))).manifest.digest())
    assert len(digests) == 2


def test_inputs_that_do_not_do(given, tmp_path):
    assert study(Inputs(), system="cae-net", small=SMALL, scorer=None) is None
    with pytest.raises(ConfigError, match="-o FOLDER"):
        asked(None, given.manifest)
    film = type(given.manifest)((Sample(tmp_path / "film.mp4", 1),))
    for more in ({}, {"others": film}):
        with pytest.raises(ManifestError, match="video"):
            asked(tmp_path, given.manifest if more else film, **more)
    gone = type(given.manifest)((Sample(tmp_path / "gone.png", 1),))
    with pytest.raises(ManifestError, match=r"cannot read .*gone\.png"):
        asked(tmp_path, given.manifest, others=gone)


# cells that fail


@pytest.mark.parametrize("kind", [ConfigError, ManifestError, ArtifactError])
def test_what_is_wrong_with_one_cell_is_a_reason(kind):
    def make():
        raise kind("the graph computes something else")

    assert attempted(make) == "the graph computes something else"


@pytest.mark.parametrize("kind", [ResourceError, OutputError])
def test_what_is_wrong_with_the_machine_stops(kind):
    def make():
        raise kind("out of memory")

    with pytest.raises(kind, match="out of memory"):
        attempted(make)


def test_where_no_cell_can_be_made_the_first_reason_is_raised():
    first_error([])
    first_error(["one", object()])
    with pytest.raises(ConfigError, match="one"):
        first_error(["one", "two"])
