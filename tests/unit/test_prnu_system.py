"""The fingerprint detector: what it is fitted on, what it says of an image and what it refuses.

Shapes: C channels, H W pixels.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from pictures import natural, save, stamped, write_dataset, write_split_dataset
from tellsign import artifacts, detectors
from tellsign.calibration import CalibrationConfig
from tellsign.configuration import config_of
from tellsign.data import Manifest, read
from tellsign.detectors.fingerprint import FingerprintInput, tiles
from tellsign.features.prnu import Fingerprint, correlations, residual
from tellsign.scoring.looks import Looker
from tellsign.systems.baselines.prnu import PrnuConfig, PrnuSystem
from tellsign.train import train
from tellsign.train_config import TrainConfig, read_config
from tellsign.types import ArtifactError, ConfigError, ImageError, ManifestError, TooSmallError

ROOT = Path(__file__).resolve().parents[2]
TILES = PrnuConfig(crop=32, levels=2)
WHOLE = PrnuConfig(crop=None, levels=2)


def other(seed, height, width):
    """A second generator."""
    return stamped(seed, height, width, period=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Reals and two generators, 48 pixels."""
    folder = tmp_path_factory.mktemp("data")
    first = read(write_dataset(folder / "a", 12, size=48, fake=stamped))
    second = read(write_dataset(folder / "b", 12, size=48, seed=1, fake=other)).filter(label=1)
    return Manifest((*first, *second))


@pytest.fixture(scope="module", params=[TILES, WHOLE], ids=["tiles", "whole"])
def folder(request, data, tmp_path_factory):
    return PrnuSystem(request.param).fit(data, data, out=tmp_path_factory.mktemp("detector") / "d", seed=0)


def loaded(folder):
    return detectors.from_artifact(artifacts.load(folder))


def judged(detector, picture):
    """(score, part of each generator)."""
    batch = {name: array[None] for name, array in detector.preprocess(picture).items()}
    return float(detector.score(batch)[0]), {name: float(x[0]) for name, x in detector.parts(batch).items()}


def test_each_generator_is_known_by_its_fingerprint(folder):
    detector, fakes, reals = loaded(folder), [], []
    assert detector.sources == ("real", "other", "stamped")
    for seed in range(6):
        for make, name in ((stamped, "stamped"), (other, "other")):
            score, parts = judged(detector, make(900 + seed, 48, 48))
            assert max(parts, key=parts.get) == name
            assert score == max(parts.values())
            fakes.append(score)
        reals.append(judged(detector, natural(900 + seed, 48, 48))[0])
    assert min(fakes) > max(0.0, *reals), (fakes, reals)


def test_the_score_is_the_best_generators_lead_over_the_reals(data, tmp_path):
    folder = PrnuSystem(WHOLE).fit(data, data, out=tmp_path / "d", seed=0)
    options, picture = WHOLE.input.noise, stamped(77, 48, 48)
    prints = []
    for name in ("", "other", "stamped"):
        found = Fingerprint(options)
        for sample in data:
            if sample.generator == name:
                found.add(np.asarray(_array(sample)))
        prints.append(found.estimate())
    real, *generators = correlations(residual(picture, options)[None], np.stack(prints))[0]
    score, parts = judged(loaded(folder), picture)
    assert score == pytest.approx(max(generators) - real, abs=1e-6)
    assert parts == pytest.approx({"other": generators[0] - real, "stamped": generators[1] - real}, abs=1e-6)
    spec = artifacts.load(folder).spec
    assert (spec["sources"], spec["source_images"]) == (["real", "other", "stamped"], [12, 12, 12])


def _array(sample):
    from tellsign import image

    return image.decode(sample.path).array


def test_tiles_lie_on_a_grid_from_the_upper_left_corner():
    grid = np.stack(np.broadcast_arrays(np.arange(70.0)[:, None], np.arange(100.0), np.zeros((70, 100))))

    def corners(**options):
        return [tuple(t[:2, 0, 0]) for t in tiles(grid, FingerprintInput(32, levels=2, **options))]

    assert corners(max_crops=9) == [(0, 0), (0, 32), (0, 64), (32, 0), (32, 32), (32, 64)]
    assert corners(max_crops=1) == [(32, 0)]
    assert corners(max_crops=2) == [(0, 32), (32, 32)]
    assert corners(max_crops=3) == [(0, 32), (32, 0), (32, 64)]
    (whole,) = tiles(grid, FingerprintInput(None, levels=2))
    assert whole is grid


def test_the_pattern_is_found_in_images_of_any_size_by_tiles(data, tmp_path):
    detector = loaded(PrnuSystem(TILES).fit(data, data, out=tmp_path / "d", seed=0))
    for height, width in ((32, 32), (40, 97), (130, 64)):
        fake, real = (judged(detector, make(60, height, width))[0] for make in (stamped, natural))
        assert fake > max(0.0, real)


def test_correlations_of_tiles_are_averaged(data, tmp_path):
    detector = loaded(PrnuSystem(TILES).fit(data, data, out=tmp_path / "d", seed=0))
    picture = stamped(61, 32, 64)
    (_, left), (_, right) = (judged(detector, part) for part in (picture[..., :32], picture[..., 32:]))
    both = judged(detector, picture)[1]
    assert both == pytest.approx({name: (left[name] + right[name]) / 2 for name in left}, abs=1e-9)


@pytest.mark.parametrize("make", [np.zeros, np.ones])
def test_nothing_is_a_tie(folder, make):
    picture = make((3, 48, 48), np.float32)
    assert judged(loaded(folder), picture) == (0.0, {"other": 0.0, "stamped": 0.0})
    assert all(np.isfinite(one.values).all() for one in loaded(folder).explain(picture))


def test_constant_training_images_give_a_detector_without_nan(tmp_path):
    for label, name in enumerate(("real", "fake")):
        for index in range(2):
            save(np.full((3, 32, 32), 0.5 * label, np.float32), tmp_path / name / f"{index}.png")
    from tellsign.data.index import index_folder

    manifest = index_folder(tmp_path, suffixes={".png"})
    artifact = artifacts.load(PrnuSystem(TILES).fit(manifest, manifest, out=tmp_path / "d", seed=0))
    assert not artifact.arrays["fingerprint"].any()
    assert artifact.spec["sources"] == ["real", "fake"]
    assert judged(detectors.from_artifact(artifact), stamped(0, 32, 32))[0] == 0.0


def test_the_evidence_is_the_residual_and_the_correlations(folder):
    detector, picture = loaded(folder), stamped(8, 48, 48)
    heat, *scalars = detector.explain(picture)
    assert (heat.kind, heat.name) == ("heatmap", "noise residual")
    found = {one.name: float(one.values) for one in scalars}
    assert list(found) == [f"correlation with {name}" for name in ("real images", "other", "stamped")]
    assert found["correlation with stamped"] - found["correlation with real images"] == pytest.approx(
        judged(detector, picture)[1]["stamped"]
    )


# what is refused


def test_whole_images_of_different_sizes_are_no_training_set(data, tmp_path):
    path = save(natural(0, 48, 56), tmp_path / "odd.png")
    worse = Manifest((*data, replace(data[0], path=path, sha256="", group="odd")))
    with pytest.raises(
        ManifestError, match=r"1 of 37 .*(?s:.)*odd.png.*56 × 48 pixels.* 48 × 48: .*one size.*tiles"
    ):
        PrnuSystem(WHOLE).fit(worse, worse, out=tmp_path / "d", seed=0)
    PrnuSystem(TILES).fit(worse, worse, out=tmp_path / "d", seed=0)


def test_a_query_of_another_size_is_refused_where_whole_images_are_compared(data, tmp_path):
    detector = loaded(PrnuSystem(WHOLE).fit(data, data, out=tmp_path / "d", seed=0))
    with pytest.raises(
        ImageError, match=r"56 × 48 pixels, and the fingerprints are of images of 48 × 48.*tiles"
    ):
        detector.preprocess(natural(0, 48, 56))
    with pytest.raises(TooSmallError, match="27 × 48 pixels, this detector needs at least 28 × 28"):
        detector.preprocess(natural(0, 48, 27))


def test_an_image_that_is_too_small_stops_a_training(data, tmp_path):
    path = save(natural(0, 31, 64), tmp_path / "small.png")
    worse = Manifest((*data, replace(data[0], path=path, sha256="", group="small")))
    with pytest.raises(ManifestError, match=r"1 of 37 images cannot be used(?s:.)*64 × 31 pixels"):
        PrnuSystem(TILES).fit(worse, worse, out=tmp_path / "d", seed=0)


def test_training_data_that_do_not_do(data, tmp_path):
    with pytest.raises(ManifestError, match="fake"):
        PrnuSystem(TILES).fit(data.filter(label=0), data, out=tmp_path / "d", seed=0)
    named = Manifest(tuple(replace(s, generator="real" if s.label else "") for s in data))
    with pytest.raises(ManifestError, match="its generator is called 'real': rename it"):
        PrnuSystem(TILES).fit(named, data, out=tmp_path / "d", seed=0)


def test_sources_with_few_images_are_told(data, tmp_path):
    said = []
    PrnuSystem(TILES).fit(data, data, out=tmp_path / "d", seed=0, say=said.append)
    assert [text.split(";")[0] for text in said] == [
        f"the fingerprint of {name} is taken of 12 images" for name in ("real", "other", "stamped")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fingerprint": "median"}, "fingerprint is one of intensity, mean"),
        ({"crop": 64}, "tiles of 64 pixels are too small for 4 levels of a wavelet, which need 112"),
        ({"crop": 12}, "crop is a whole number of at least 16"),
        ({"crop": None, "levels": 0}, "levels is a whole number"),
        ({"max_crops": 0}, "max_crops is a whole number"),
        ({"sigma": -1.0}, "sigma must be a positive number"),
    ],
    ids=str,
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ConfigError, match=message):
        PrnuConfig(**options)


@pytest.mark.parametrize(
    ("spec", "arrays", "message"),
    [
        ({"preprocessing": {"crop": 32, "angle": 1}}, {}, "unknown preprocessing .*angle"),
        ({"preprocessing": {"crop": 32}}, {}, "cannot be carried out: tiles of 32"),
        ({"preprocessing": {"crop": 64, "levels": 2}}, {}, r"should have the shape \(3, 64, 64\)"),
        ({"sources": "real"}, {}, "'sources' should name"),
        ({"sources": ["real"]}, {}, "should begin with 'real'"),
        ({"sources": ["other", "real", "stamped"]}, {}, "should begin with 'real'"),
        ({"sources": ["real", "other"]}, {}, r"should have the shape \(2, 32, 32\), found \(3, 32, 32\)"),
        ({}, {"fingerprint": None}, "'fingerprint' is missing"),
        ({}, {"fingerprint": np.ones((3, 32))}, r"'fingerprint' should have the shape \(3, 32, 32\)"),
        ({}, {"fingerprint": np.full((3, 32, 32), np.nan)}, "'fingerprint' should hold finite"),
        ({}, {"fingerprint": np.ones((3, 32, 32), int)}, "'fingerprint' should hold finite"),
    ],
    ids=str,
)
def test_an_artifact_whose_parts_do_not_fit(data, tmp_path, spec, arrays, message):
    artifact = artifacts.load(PrnuSystem(TILES).fit(data, data, out=tmp_path / "e", seed=0))
    found = {k: v for k, v in (artifact.arrays | arrays).items() if v is not None}
    with pytest.raises(ArtifactError, match=message) as caught:
        detectors.from_artifact(replace(artifact, spec=artifact.spec | spec, arrays=found))
    assert str(artifact.path) in str(caught.value)


def test_a_batch_of_another_size_is_refused(folder):
    with pytest.raises(ArtifactError, match="compares residuals of"):
        loaded(folder).score({"residual": np.zeros((1, 1, 20, 20))})


def test_an_engine_is_for_networks(folder):
    with pytest.raises(ConfigError, match="runs networks"):
        detectors.from_artifact(artifacts.load(folder), "openvino")


# training and scanning


def test_the_shipped_configuration_is_read():
    config = read_config(ROOT / "configs" / "prnu.toml")
    assert (config.system, config.name) == ("prnu", "prnu")
    options = [config_of(PrnuConfig, {**config.config, "sigma": s}, "[config]") for s in config.grid["sigma"]]
    assert options[-1] == PrnuConfig() == PrnuConfig(**asdict(options[-1]))


def test_a_trained_detector_gives_verdicts(tmp_path):
    pytest.importorskip("sklearn")
    data = read(write_split_dataset(tmp_path / "data", train=12, valid=16, fake=stamped))
    options = CalibrationConfig(fpr=0.4, fnr=0.4, domain_quantile=0.8)
    config = TrainConfig(
        system="prnu",
        name="p",
        config={"crop": 32, "levels": 2},
        grid={"sigma": [2.0, 5.0]},
        calibration=options,
    )
    artifact = train(config, data, tmp_path / "d")
    assert artifact.spec["metrics"]["auroc_select"] == 1
    looker = Looker(tmp_path / "d")
    fake, real, small = looker.look([stamped(5, 48, 48), natural(5, 48, 48), natural(5, 20, 48)])
    assert fake.score > real.score
    assert list(fake.parts) == ["stamped"]
    assert "48 × 20 pixels" in small.reason
