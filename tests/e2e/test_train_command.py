"""`tellsign train`, `calibrate` and `models`, from the data to a detector."""

from __future__ import annotations

import json

import pytest

from e2e import command
from pictures import write_dataset, write_split_dataset
from tellsign import artifacts, hub
from tellsign.data import read

pytestmark = pytest.mark.skipif(not command.SCRIPT.exists(), reason="the tellsign command is not installed")

TOML = """
system = "spectrum"
name = "toy"
[config]
classifier = "linear_svm"
c = 1.0
[grid]
crop = [16, 32]
[calibration]
fpr = 0.4
fnr = 0.4
domain_quantile = 0.5
"""


def tellsign(*args, folder, code=0, env=None):
    """Standard output and standard error of a process."""
    return checked(command.tellsign(*args, cwd=folder, env=env), code)


def inside(*args, folder, code=0):
    """The same, without a process."""
    return checked(command.inside(*args, cwd=folder), code)


def checked(done, code):
    assert done.code == code, done.messages
    assert "Traceback" not in done.messages
    return done.text, done.messages


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """data/manifest.csv whose test images are no images, others/manifest.csv, and c.toml."""
    folder = tmp_path_factory.mktemp("train")
    for sample in read(write_split_dataset(folder / "data", test=2)).filter(split="test"):
        sample.path.write_bytes(b"no image")
    write_dataset(folder / "others", 10, size=48, seed=9)
    (folder / "c.toml").write_text(TOML)
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    pytest.importorskip("sklearn")
    return tellsign("train", "c.toml", "--data", "data/manifest.csv", "-o", "toy", folder=folder)


def test_a_detector_is_trained(folder, trained):
    out, said = trained
    assert out == "", "results are asked for with --json"
    assert said.count("AUROC 1.000 on the selection half") == 2
    assert "crop=16" in said
    artifact = artifacts.load(folder / "toy")
    assert f"wrote {artifact.name} to toy" in said
    assert artifact.spec["data"]["train"]["n"] == 16


def test_the_same_data_and_seed_give_the_same_digest(folder, trained):
    out, _ = tellsign(
        "train", folder / "c.toml", "--data", "manifest.csv", "-o", folder / "again", "--json",
        folder=folder / "data",
    )  # fmt: skip
    result = json.loads(out)
    assert result["digest"] == artifacts.load(folder / "toy").digest
    assert {"name", "digest", "path", "parameters", "metrics"} <= result.keys()
    assert result["name"] == "toy"


def test_options_can_be_set(folder, trained, tmp_path):
    inside(
        "train", "c.toml", "--data", "data/manifest.csv", "-o", tmp_path / "d",
        "--set", "seed=5", "--set", "grid.crop=[48]", "--set", "config.classifier=kmeans",
        folder=folder,
    )  # fmt: skip
    spec = artifacts.load(tmp_path / "d").spec
    assert (spec["seed"], spec["config"]["crop"], spec["config"]["classifier"]) == (5, 48, "kmeans")


def test_a_detector_is_calibrated(folder, trained):
    (folder / "toy" / "CARD.md").write_text("the card")
    rates = ("--fpr", "0.3", "--fnr", "0.3", "--method", "isotonic")
    said = inside(
        "calibrate", "toy", "--data", "others/manifest.csv", "-o", "new", *rates, folder=folder, code=2
    )[1]
    assert "too few distances for the quantile 0.99: found 20, needed 100" in said
    assert not (folder / "new").exists()
    write_dataset(folder / "many", 50, size=32, seed=4)
    out, _ = tellsign(
        "calibrate", "toy", "--data", "many/manifest.csv", "-o", "new", *rates, "--json", folder=folder
    )
    new = artifacts.load(folder / "new")
    assert json.loads(out)["digest"] == new.digest != artifacts.load(folder / "toy").digest
    assert new.spec["operating_point"]["fpr"] == 0.3
    assert new.spec["calibration"]["method"] == "isotonic"
    assert (folder / "new" / "CARD.md").read_text() == "the card"


def test_a_folder_of_reals_moves_the_thresholds(folder, trained):
    write_dataset(folder / "mine", 60, size=32, seed=7)
    (folder / "mine" / "real").rename(folder / "reals")
    (folder / "reals" / "notes.txt").write_text("no image")
    args = ("calibrate", "toy", "--data", "reals", "-o", "adapted", "--fpr", "0.05", "--json")
    out, said = inside(*args, "--fnr", "0.4", folder=folder)
    assert "1 files passed over, e.g. 'reals/notes.txt'" in said
    assert "false alarms among your 60 real images: " in said
    result, old, new = json.loads(out), artifacts.load(folder / "toy"), artifacts.load(folder / "adapted")
    assert result["digest"] == new.digest != old.digest
    assert result["fpr_before"] == new.spec["local_reals"]["fpr_before"]
    assert new.spec["operating_point"]["n_real"] == 60
    assert new.spec["calibration"] == old.spec["calibration"]
    said = inside(*args, "--fpr", "0.01", folder=folder, code=2)[1]
    assert "60 real scores cannot support fpr = 0.01: found 60, needed 300 (3 / fpr); add real images" in said


def test_a_detector_learns_to_abstain(folder, trained):
    write_dataset(folder / "abstain", 50, size=32, seed=6)
    args = ("calibrate", "toy", "--data", "abstain/manifest.csv", "-o", "abstaining", "--json")
    out, said = inside(*args, "--conformal", "0.1", "--method", "platt", folder=folder)
    assert "of the images get a verdict" in said
    assert json.loads(out)["cross_fitted"]["coverage"]["n"] == 100
    spec = artifacts.load(folder / "abstaining").spec
    assert spec["operating_point"]["rule"] == "conformal"
    assert spec["calibration"]["method"] == "sigmoid"
    inside("evaluate", "abstaining", "--data", "others/manifest.csv", "--reliability", "r.png",
             "--resamples", "10", "--workers", "1", folder=folder)  # fmt: skip
    assert (folder / "r.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--set", "colour=1"), "unknown key 'colour'; there are system, name"),
        (("--set", "config.colour=1"), "unknown key 'colour'; there are classifier, c, gamma"),
        (("--set", "config.crop=8"), "crop must be a whole number of at least 16, found 8"),
        (("--set", "calibration.fpr=0.01"), "8 real scores cannot support fpr = 0.01"),
        (("--set", "system=nonsense"), "no system 'nonsense'"),
        (("--data", "none.csv"), "none.csv cannot be read"),
        (("--data", "others/manifest.csv"), "the split 'train' needs reals and fakes, found 0 rows"),
        (("-o", "others"), "others exists and is not a detector folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_errors_are_one_message_and_exit_code_2(folder, args, message, tmp_path):
    pytest.importorskip("sklearn")
    defaults = ("--data", "data/manifest.csv", "-o", tmp_path / "d")
    out, said = inside("train", "c.toml", *defaults, *args, folder=folder, code=2)
    assert out == ""
    assert message in said
    assert said.startswith("tellsign: ")
    assert not (tmp_path / "d").exists()


def test_wrong_usage(folder):
    assert "Missing option '--data'" in inside("train", "c.toml", "-o", "x", folder=folder, code=2)[1]
    args = ("calibrate", "toy", "--data", "others/manifest.csv", "-o", "x")
    assert "magic" in inside(*args, "--method", "magic", folder=folder, code=2)[1]
    assert "fpr is a share" in inside(*args, "--fpr", "5", folder=folder, code=2)[1]
    said = inside("calibrate", "nonsense", *args[2:], folder=folder, code=2)[1]
    assert "no detector 'nonsense'" in said


def test_without_the_extra_it_says_how_to_install_it(folder, tmp_path):
    """A module of that name that raises what a missing one raises."""
    (tmp_path / "sklearn.py").write_text('raise ModuleNotFoundError("No module", name="sklearn")')
    args = ("train", "c.toml", "--data", "data/manifest.csv", "-o", tmp_path / "d")
    _, said = tellsign(*args, folder=folder, code=2, env={"PYTHONPATH": str(tmp_path)})
    assert "the system 'spectrum' needs sklearn; install it with: pip install 'tellsign[train]'" in said


def test_what_is_installed_is_listed(folder):
    out, said = tellsign("models", "--json", folder=folder)
    assert said == ""
    models = json.loads(out)
    assert [(model["kind"], model["name"]) for model in models] == [
        *(("detector", name) for name in hub.shipped_detectors()),
        *(("generator", name) for name in hub.shipped_generators()),
    ]
    for model in models:
        assert model.keys() >= {"name", "digest", "path", "card", "parameters", "metrics"}
        artifact = artifacts.load(model["path"])
        assert model["digest"] == artifact.digest
        assert model["parameters"] == sum(array.size for array in artifact.arrays.values())
        assert model["metrics"] == artifact.spec["metrics"]
    assert models[0]["digest"][:12] in inside("models", folder=folder)[0]
