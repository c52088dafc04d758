"""Training: read what may be read, choose on one half, calibrate on the other, save all or nothing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pictures import natural, save, write_dataset, write_split_dataset
from tellsign import artifacts, hub, image
from tellsign import train as training
from tellsign.data import Manifest, read, write
from tellsign.data.index import with_checksums
from tellsign.metrics import auroc
from tellsign.systems.spectrum.config import SpectrumConfig
from tellsign.train import CalibrationConfig, calibrate, train
from tellsign.train_config import TrainConfig, read_config
from tellsign.types import FAKE, REAL, ArtifactError, ConfigError, ManifestError

pytest.importorskip("sklearn")

LOOSE = CalibrationConfig(fpr=0.4, fnr=0.4, domain_quantile=0.5)  # what eight images a class support
CONFIG = TrainConfig(
    system="spectrum",
    name="toy",
    config={"classifier": "linear_svm", "crop": 32, "c": 1.0},
    calibration=LOOSE,
)
KEYS = [field.name for field in fields(TrainConfig)]
TOML = """
system = "spectrum"
name = "toy"
seed = 3
[config]
classifier = "linear_svm"
crop = 32
[grid]
c = [0.1, 1.0]
[calibration]
fpr = 0.4
"""


@pytest.fixture(scope="module")
def data_path(tmp_path_factory):
    """16 training, 32 validation images; and test images that nobody can read."""
    path = write_split_dataset(tmp_path_factory.mktemp("data"), train=8, valid=16, test=3)
    for sample in read(path).filter(split="test"):
        sample.path.write_bytes(b"no image")
    return path


@pytest.fixture
def data(data_path):
    return read(data_path)


@pytest.fixture(scope="module")
def trained(data_path, tmp_path_factory):
    return train(CONFIG, read(data_path), tmp_path_factory.mktemp("out") / "toy")


# the configuration


def config_file(folder, text=TOML):
    (folder / "c.toml").write_text(text)
    return folder / "c.toml"


def test_a_file_becomes_a_configuration(tmp_path):
    assert read_config(config_file(tmp_path)) == TrainConfig(
        system="spectrum",
        name="toy",
        seed=3,
        config={"classifier": "linear_svm", "crop": 32},
        grid={"c": [0.1, 1.0]},
        calibration=CalibrationConfig(fpr=0.4),
    )


def test_options_override_the_file(tmp_path):
    overrides = [
        "seed=4",
        "config.crop=64",
        "config.classifier=kmeans",
        "grid.c=[2.0]",
        "calibration.fnr=0.1",
    ]
    config = read_config(config_file(tmp_path), [*overrides, " config.standardise = true", "name='a b'"])
    assert config.seed == 4
    assert config.config == {"classifier": "kmeans", "crop": 64, "standardise": True}
    assert config.grid == {"c": [2.0]}
    assert config.calibration == CalibrationConfig(fpr=0.4, fnr=0.1)
    assert config.name == "a b"


def test_a_table_that_the_file_lacks_can_be_set(tmp_path):
    path = config_file(tmp_path, 'system = "spectrum"\nname = "toy"\n')
    assert read_config(path, ["config.crop=64"]).config == {"crop": 64}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("colour=1", f"unknown key 'colour'; there are {', '.join(KEYS)}"),
        ("calibration.colour=1", r"\[calibration\]: unknown key 'colour'; there are method, fpr, fnr"),
        ("seed", "--set takes key=value, found 'seed'"),
        ("=1", "unknown key ''"),
        ("seed.deep=1", "'seed' is 3 and no table"),
        ("config=1", r"\[config\] is a table of options, found 1"),
        ("calibration=1", r"\[calibration\] is a table of options, found 1"),
        ("grid.c=1.0", r"\[grid\] c is a list of values to choose from, found 1.0"),
        ("grid.c=[]", r"\[grid\] c is a list"),
        ("grid.classifier=kmeans", r"\[grid\] classifier is a list"),
        ("seed=-1", r"seed is a whole number from 0 to 2\*\*32 - 1, found -1"),
        ("seed=4294967296", "seed is a whole number"),
        ("seed=1.5", "seed is a whole number"),
        ("seed=true", "seed is a whole number"),
        ("name=3", "name is a name, found 3"),
        ("name=''", "name is a name, found ''"),
        ('name="\\u001b[2J"', "name is a name"),
        ("system=1", "system is a name, found 1"),
        ("summary=1", "summary is a text, found 1"),
        ("calibration.method=magic", "method is one of sigmoid, isotonic, temperature, found 'magic'"),
        ("calibration.fpr=5", "fpr is a share between 0 and 1, both excluded, found 5"),
        ("calibration.fnr=0", "fnr is a share"),
        ("calibration.fnr=nan", "fnr is a share"),
        ("calibration.domain_quantile='0.9'", "domain_quantile is a share"),
    ],
)
def test_what_cannot_be_set(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        read_config(config_file(tmp_path), [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("system = ", "cannot be read as TOML"),
        ("name = '\udcff'", "cannot be read as TOML"),
        ("name = 'toy'", "lacks 'system'"),
        ("system = 'spectrum'", "lacks 'name'"),
        (TOML + "colour = 1", r"\[calibration\]: unknown key 'colour'"),
        ("colour = 1" + TOML, "unknown key 'colour'"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path, text, message):
    (tmp_path / "c.toml").write_text(text, errors="surrogateescape")
    with pytest.raises(ConfigError, match=message):
        read_config(tmp_path / "c.toml")


def test_no_file_is_no_configuration(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read as TOML"):
            read_config(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"colour": 1}}, r"\[config\]: unknown key 'colour'; there are classifier, c, gamma"),
        ({"grid": {"colour": [1]}}, r"\[grid\]: unknown key 'colour'; there are classifier, c, gamma"),
        ({"config": {"classifier": "forest"}}, "classifier is one of"),
        ({"grid": {"c": [1.0, -1.0]}}, "c must be a positive number, found -1.0"),
        ({"system": "nonsense"}, "no system 'nonsense'"),
    ],
    ids=str,
)
def test_options_of_the_system_are_checked_before_any_training(data, tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(training, "usable_scores", None)
    with pytest.raises(ConfigError, match=message):
        train(replace(CONFIG, **change), data, tmp_path / "out")
    assert not list(tmp_path.iterdir())


# what is read


def test_the_test_split_is_never_read(data, trained):
    """Its files are no images: reading one would raise."""
    with pytest.raises(ManifestError, match="6 of 6 images cannot be used"):
        hub.system("spectrum")().fit(data.filter(split="test"), data, out=trained.path / "x", seed=0)
    assert trained.spec["data"]["train"]["n"] == 16
    assert trained.spec["data"]["select"]["n"] + trained.spec["data"]["calibrate"]["n"] == 32


def scored(monkeypatch):
    """What `usable_scores` is asked for, call by call."""
    calls, original = [], training.usable_scores

    def recorded(artifact, manifest, left_out):
        result = original(artifact, manifest, left_out)
        calls.append((manifest, result[1]))
        return result

    monkeypatch.setattr(training, "usable_scores", recorded)
    return calls


def test_the_grid_is_chosen_on_one_half_and_calibrated_on_the_other(data, tmp_path, monkeypatch):
    calls, said = scored(monkeypatch), []
    # Labels that the images know nothing of, so that the candidates differ by chance.
    data = Manifest(tuple(replace(s, label=i % 2) for i, s in enumerate(data)))
    grid = {"classifier": ["kmeans", "linear_svm"], "crop": [16, 48]}
    config = replace(CONFIG, config={"normalise": "none"}, grid=grid)
    artifact = train(config, data, tmp_path / "out", say=said.append)
    *selections, (calibration, final_scores) = calls
    assert len(selections) == len(said) == artifact.spec["metrics"]["n_candidates"] == 4
    assert len({selection for selection, _ in selections}) == 1, "all candidates on the same half"
    select = selections[0][0]
    valid = data.filter(split="valid")
    assert sorted(s.path for s in (*select, *calibration)) == sorted(s.path for s in valid)
    assert not {s.path for s in select} & {s.path for s in calibration}
    areas = [auroc(np.array(select.labels), scores) for _, scores in selections]
    assert len(set(areas)) > 1, "the candidates differ, or nothing is proved"
    assert artifact.spec["metrics"]["auroc_select"] == max(areas)
    options = [(classifier, crop) for classifier in grid["classifier"] for crop in grid["crop"]]
    best = options[int(np.argmax(areas))]
    assert (artifact.spec["config"]["classifier"], artifact.spec["config"]["crop"]) == best
    assert f"classifier={best[0]} crop={best[1]}" in said[int(np.argmax(areas))]
    labels = np.array(calibration.labels)
    assert np.array_equal(artifact.arrays["scores.real"], np.sort(final_scores[labels == REAL]))
    assert np.array_equal(artifact.arrays["scores.fake"], np.sort(final_scores[labels == FAKE]))


def test_a_group_is_in_one_half_only(tmp_path, monkeypatch):
    train_part = read(write_dataset(tmp_path / "t", 6, size=32, seed=1, split="train"))
    valid_part = read(write_dataset(tmp_path / "v", 48, size=32, seed=2, split="valid", group_size=3))
    calls = scored(monkeypatch)
    train(CONFIG, Manifest((*train_part, *valid_part)), tmp_path / "out")
    (select, _), (calibration, _) = calls
    assert not {s.group for s in select} & {s.group for s in calibration}
    assert {s.group for s in (*select, *calibration)} == {s.group for s in valid_part}
    for half in (select, calibration):
        assert Counter(half.labels) == {REAL: 24, FAKE: 24}


# what is refused


def relabelled(manifest, split, label):
    return Manifest(tuple(replace(s, label=label) if s.split == split else s for s in manifest))


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_split_with_one_class_is_refused(data, tmp_path, split):
    for label, name in ((REAL, "real"), (FAKE, "fake")):
        with pytest.raises(ManifestError, match=f"the split '{split}' needs reals and fakes, .* {name}s;"):
            train(CONFIG, relabelled(data, split, label), tmp_path / "out")
    with pytest.raises(
        ManifestError, match=f"the split '{split}' needs reals and fakes, found 0 rows with nothing"
    ):
        train(CONFIG, data.filter(lambda s: s.split != split), tmp_path / "out")
    with pytest.raises(ManifestError, match="has no label"):
        train(CONFIG, relabelled(data, split, None), tmp_path / "out")


def test_a_group_in_train_and_valid_is_refused(data, tmp_path):
    leaking = Manifest(tuple(replace(s, group="anna") if s.path.name == "0001.png" else s for s in data))
    with pytest.raises(ManifestError, match=r"1 groups are in train and in valid, e.g. 'anna'"):
        train(CONFIG, leaking, tmp_path / "out")


def test_a_video_in_train_and_valid_is_refused(data, tmp_path):
    leaking = Manifest(
        tuple(
            replace(s, group="", video="v", generator="") if s.path.name == "0001.png" and not s.label else s
            for s in data
        )
    )
    with pytest.raises(ManifestError, match=r"1 groups are in train and in valid, e.g. '\w*//v'"):
        train(CONFIG, leaking, tmp_path / "out")


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (replace(LOOSE, fpr=0.05), "8 real scores cannot support fpr = 0.05"),
        (replace(LOOSE, fnr=0.1), "8 fake scores cannot support fnr = 0.1"),
        (replace(LOOSE, domain_quantile=0.99), "too few distances for the quantile 0.99"),
    ],
)
def test_rates_that_the_data_cannot_support_are_refused_before_training(
    data, tmp_path, monkeypatch, calibration, message
):
    monkeypatch.setattr("tellsign.systems.spectrum.system.SpectrumSystem.fit", None)
    with pytest.raises(ConfigError, match=message):
        train(replace(CONFIG, calibration=calibration), data, tmp_path / "out")


def test_images_that_cannot_be_used_stop_the_training(data, tmp_path):
    with pytest.raises(ManifestError, match="16 of 16 images cannot be used") as caught:
        train(replace(CONFIG, config={"crop": 64}), data, tmp_path / "out")
    assert "smaller than" in str(caught.value) or "needs at least 64 × 64" in str(caught.value)
    assert not list(tmp_path.iterdir())


class Lenient:
    """The spectrum detector, of which a training may leave images out."""

    def __init__(self, config):
        self.config = config

    def fit(self, train, valid, *, out, seed, say):
        whole = Manifest(tuple(s for s in train if s.path.read_bytes() != b"no image"))
        return hub.system("spectrum")(SpectrumConfig(**CONFIG.config)).fit(whole, valid, out=out, seed=seed)


@dataclass(frozen=True)
class LenientConfig:
    training: Any = None


def lenient(monkeypatch, **options):
    """The configuration of a `Lenient` that may leave so many images out."""
    original = hub.system
    Lenient.config_class = LenientConfig
    monkeypatch.setattr(hub, "system", lambda name: Lenient if name == "lenient" else original(name))
    own = {
        "config": {"training": SimpleNamespace(**options)},
        "calibration": replace(LOOSE, fpr=0.45, fnr=0.45),
    }
    return replace(CONFIG, system="lenient", **own)


@pytest.fixture
def partly_broken(tmp_path):
    """A data set of which one training image and one in each half of the validation images are broken."""
    data = read(write_split_dataset(tmp_path / "data", train=8, valid=16, test=3))
    halves = training.validation_halves(data.filter(split="valid"), seed=0)
    broken = [data.filter(split="train")[3], halves["select"][5], halves["calibrate"][2]]
    for sample in broken:
        sample.path.write_bytes(b"no image")
    return data, [sample.path for sample in broken]


def test_where_its_training_may_leave_images_out_a_detector_comes_of_it(partly_broken, tmp_path, monkeypatch):
    data, paths = partly_broken
    monkeypatch.setattr(training, "asdict", lambda config: {"name": config.name})  # a stand-in's is no TOML
    said = []
    config = lenient(monkeypatch, on_bad="skip", max_bad=3)
    artifact = train(config, data, tmp_path / "out", say=said.append)
    assert sum(line.startswith("left out: ") for line in said) == 3
    assert all(sum(str(path) in line for line in said) == 1 for path in paths)
    halves = training.validation_halves(data.filter(split="valid"), seed=0)
    assert artifact.spec["data"]["select"]["n"] == len(halves["select"]) - 1
    assert artifact.spec["calibration_data"]["n"] == len(halves["calibrate"]) - 1
    assert artifact.spec["calibration_data"]["left_out"] == 1
    n_scores = sum(artifact.arrays[f"scores.{name}"].size for name in ("real", "fake"))
    assert n_scores == len(halves["calibrate"]) - 1
    assert all(np.isfinite(array).all() for array in artifact.arrays.values())


def test_no_more_images_are_left_out_than_its_training_may(partly_broken, tmp_path, monkeypatch):
    data, paths = partly_broken
    config = lenient(monkeypatch, on_bad="skip", max_bad=2)
    monkeypatch.setattr(training, "asdict", lambda config: {"name": config.name})
    with pytest.raises(ManifestError, match=f"3 images can't be used, and max_bad is 2.*'{paths[2]}'"):
        train(config, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("on_bad", ["stop", None])
def test_where_it_may_not_the_first_such_image_is_named(partly_broken, tmp_path, monkeypatch, on_bad):
    data, paths = partly_broken
    config = lenient(monkeypatch, on_bad=on_bad)
    with pytest.raises(ManifestError, match=f"'{paths[1]}' cannot be used") as found:
        train(config, data, tmp_path / "out")
    assert ("on_bad" in str(found.value)) == (on_bad == "stop"), "an option is named where there is one"
    save(natural(5), paths[1])
    with pytest.raises(ManifestError, match=f"'{paths[0]}' cannot be used"):  # not without its path
        train(config, data, tmp_path / "out")


def test_an_image_that_has_changed_since_its_checksum_is_no_image_of_the_manifest(data, trained, tmp_path):
    known = with_checksums(data)
    assert len(training.raw_scores(trained, known.filter(split="valid"))[0]) == len(
        data.filter(split="valid")
    )
    wrong = [replace(s, sha256="0" * 64) if i % 5 == 3 else s for i, s in enumerate(known)]
    with pytest.raises(ManifestError, match="cannot be used: the file has changed: its sha256 is"):
        training.raw_scores(trained, Manifest(tuple(wrong)).filter(split="valid"))
    with pytest.raises(ManifestError, match=r"images cannot be used(?s:.)*the file has changed"):
        train(CONFIG, Manifest(tuple(wrong)), tmp_path / "out")
    with pytest.raises(ManifestError, match="the file has changed"):
        calibrate(trained, Manifest(tuple(wrong)).filter(split="valid"), CONFIG.calibration, tmp_path / "out")


def test_the_domain_is_taken_from_images_all_over_a_large_training_split(data, trained, monkeypatch):
    read_, original = [], image.decode

    def recorded(path):
        read_.append(path)
        return original(path)

    monkeypatch.setattr("tellsign.data.pixels.decode", recorded)
    part = data.filter(split="train")
    whole = training._domain_statistics(trained, part, training.LeftOut())
    assert read_ == [sample.path for sample in part], "all of them, where they are few"
    assert all(np.array_equal(whole[name], trained.arrays[name]) for name in whole)
    read_.clear()
    monkeypatch.setattr(training, "DOMAIN_IMAGES", 4)
    training._domain_statistics(trained, part, training.LeftOut())
    assert read_ == [part[row].path for row in (0, 5, 10, 15)]


def test_a_process_that_is_not_the_first_trains_and_nothing_else(data, tmp_path, monkeypatch):
    """The first one scores, chooses and removes the candidates; another would find them half gone."""
    fitted = []

    class Together:
        config_class, trains_together = SpectrumConfig, True

        def __init__(self, config):
            self.config = config

        def fit(self, train, valid, *, out, seed, say):
            fitted.append((out.name, self.config.c))
            return out  # which the first process has written, and may have removed

    monkeypatch.setattr(hub, "system", lambda name: Together)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    config, said = replace(CONFIG, grid={"c": [0.1, 1.0]}), []
    assert train(config, data, tmp_path / "toy", say=said.append) is None
    assert fitted == [("0", 0.1), ("1", 1.0)]
    assert said == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_system_that_one_process_fits_is_not_fitted_by_two(data, tmp_path, monkeypatch, rank):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    with pytest.raises(
        ConfigError, match="the system 'spectrum' is fitted by one process, and 2 were started"
    ):
        train(CONFIG, data, tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


def test_a_rank_alone_makes_no_second_process(data, trained, tmp_path, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("RANK", "1")
    assert train(CONFIG, data, tmp_path / "toy").digest == trained.digest


def test_a_place_that_holds_something_else_is_refused_before_training(data, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "system", None)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ArtifactError, match=r"it holds 'photo.jpg'"):
        train(CONFIG, data, tmp_path)


def test_a_training_that_fails_leaves_the_old_detector(data, tmp_path, monkeypatch):
    old = train(CONFIG, data, tmp_path / "toy")
    monkeypatch.setattr(training, "chosen_point", lambda *a, **k: 1 / 0)
    monkeypatch.setattr(training, "_check_support", lambda *a: None)
    with pytest.raises(ZeroDivisionError):
        train(replace(CONFIG, seed=9), data, tmp_path / "toy")
    assert artifacts.load(tmp_path / "toy").digest == old.digest
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


# what is written


def test_the_artifact_says_how_it_was_made(data, trained):
    spec = trained.spec
    assert spec["name"] == "toy"
    assert spec["system"] == "spectrum"
    assert spec["config"]["classifier"] == "linear_svm"
    assert spec["train"]["calibration"]["fpr"] == 0.4
    assert spec["data"]["manifest"] == data.digest()
    assert spec["data"]["train"]["by_dataset"] == {"made/fake": 8, "made/real": 8}
    assert {"tellsign", "numpy", "scikit-learn"} <= spec["versions"].keys()
    assert spec["metrics"]["auroc_select"] == spec["metrics"]["auroc_calibrate"] == 1
    assert spec["operating_point"]["n_real"] == spec["calibration"]["n_fake"] == 8
    assert spec["calibration"]["slope"] > 0
    assert spec["domain"]["quantile"] == 0.5
    assert 0 < spec["domain"]["limit"] < 10
    assert json.loads((trained.path / "detector.json").read_text()) == spec


def test_the_trained_detector_decides(data, trained):
    from tellsign import detectors
    from tellsign.scoring.decision import Decision

    detector, decision = detectors.from_artifact(trained), Decision.of(trained)
    for sample in data.filter(split="valid"):
        from tellsign import image

        inputs = detector.preprocess(image.decode(sample.path).array)
        score = detector.score({name: array[None] for name, array in inputs.items()})[0]
        assert (decision.probability(score) > 0.5) == (sample.label == FAKE)
        assert decision.label(score) == ("fake" if sample.label else "real")


def test_the_same_seed_gives_the_same_digest(data, trained, tmp_path):
    assert train(CONFIG, data, tmp_path / "again").digest == trained.digest
    assert train(replace(CONFIG, seed=1), data, tmp_path / "other").digest != trained.digest


def test_the_digest_does_not_depend_on_where_one_stands(data_path, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(data_path.parent)
    assert train(CONFIG, read(data_path.name), tmp_path / "again").digest == trained.digest


# calibrating again


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Other images to calibrate on."""
    return read(write_dataset(tmp_path_factory.mktemp("others"), 10, size=48, seed=7, dataset="others"))


def test_calibrating_changes_only_what_it_should(trained, others, tmp_path):
    (trained.path / "CARD.md").write_text("# Gesichter: é\n", encoding="utf-8")
    (trained.path / "LICENSE").write_text("CC0\n")
    new = calibrate(trained, others, replace(LOOSE, method="isotonic", fpr=0.3), tmp_path / "new")
    assert (tmp_path / "new" / "CARD.md").read_text(encoding="utf-8") == "# Gesichter: é\n"
    assert (tmp_path / "new" / "LICENSE").read_text() == "CC0\n"
    assert artifacts.load(trained.path).digest == trained.digest != new.digest
    assert new.spec["calibration"]["method"] == "isotonic"
    assert new.spec["operating_point"]["fpr"] == 0.3
    assert new.spec["calibration_data"]["manifest"] == others.digest()
    assert new.spec["calibration_data"]["by_dataset"] == {"others/fake": 10, "others/real": 10}
    changed = {"calibration", "operating_point", "domain", "calibration_data", "metrics"}
    changed |= {"operating_points", "cross_fitted", "calibration_groups"}
    for key in trained.spec.keys() - changed:
        assert new.spec[key] == trained.spec[key], key
    assert new.spec["metrics"]["auroc_select"] == trained.spec["metrics"]["auroc_select"]
    for name in trained.arrays.keys() - {"scores.real", "scores.fake"}:
        assert np.array_equal(new.arrays[name], trained.arrays[name]), name
    assert len(new.arrays["scores.real"]) == 10


def test_without_a_place_it_replaces_its_own(trained, others, tmp_path):
    copy = artifacts.save(
        tmp_path / "copy",
        spec={k: v for k, v in trained.spec.items() if k != "format"},
        arrays=trained.arrays,
        card="card",
        licence="licence",
    )
    new = calibrate(copy, others, LOOSE)
    assert new.path == copy.path
    assert artifacts.load(copy.path).digest == new.digest != copy.digest
    assert (copy.path / "CARD.md").read_text() == "card"
    assert (copy.path / "LICENSE").read_text() == "licence"


def test_calibrating_refuses_what_the_data_cannot_support(trained, others, tmp_path):
    with pytest.raises(ConfigError, match=r"10 real scores cannot support fpr = 0.05"):
        calibrate(trained, others, replace(LOOSE, fpr=0.05), tmp_path / "new")
    with pytest.raises(ConfigError):
        calibrate(trained, others.filter(label=FAKE), LOOSE, tmp_path / "new")
    with pytest.raises(ManifestError, match="has no label"):
        calibrate(trained, relabelled(others, "", None), LOOSE, tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_calibrating_names_an_image_that_cannot_be_used(trained, others, tmp_path):
    save(natural(0, 20, 20), tmp_path / "small.png")
    manifest = Manifest((*others, replace(others[0], path=tmp_path / "small.png")))
    with pytest.raises(ManifestError, match=r"small.png' cannot be used: .*20 × 20"):
        calibrate(trained, manifest, LOOSE, tmp_path / "new")


def test_scores_of_a_manifest_are_those_of_its_images(trained, others, tmp_path):
    """One row an image, in the manifest's order, whatever else is in it."""
    scores, distances = training.raw_scores(trained, others)
    assert scores.shape == distances.shape == (20,)
    backwards, _ = training.raw_scores(trained, Manifest(others.samples[::-1]))
    assert np.array_equal(backwards, scores[::-1])
    write(others, tmp_path / "m.csv")
    again, _ = training.raw_scores(trained, read(tmp_path / "m.csv"))
    assert np.array_equal(again, scores)
