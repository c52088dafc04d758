"""A benchmark's TOML: what is read, what is refused, and where its paths lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from tellsign.evaluate.benchmark import read
from tellsign.types import ConfigError

TOML = """
name = "b"
tests = ["a"]
harmonise = { size = 64 }
[[detector]]
name = "d"
path = "spectrum"
[[detector]]
name = "e"
train = "t"
config = { system = "spectrum", config = { crop = 32 } }
[data.a]
manifest = "a.csv"
labels = ["real", "fake"]
[data.t]
sources = [{ manifest = "b.csv" }, { manifest = "c.csv", columns = { dataset = "source" } }]
harmonise = false
split = { train = 0.5, valid = 0.5 }
"""


def written(folder: Path, text: str = TOML) -> Path:
    path = folder / "b.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_with_its_defaults(tmp_path: Path) -> None:
    config = read(written(tmp_path))
    assert config.root == str(tmp_path)
    assert config.perturbations == ("none",)
    assert (config.missing, config.detail) == ("error", "plain")
    one, two = config.detector
    assert (one.path, one.config) == ("spectrum", None)
    assert two.config is not None
    assert (two.config.name, two.config.seed, two.config.config) == ("e", 0, {"crop": 32})
    a, t = config.data["a"], config.data["t"]
    assert a.harmonise == config.harmonise is not None
    assert t.harmonise is None
    assert [source.manifest for source in t.sources] == ["b.csv", "c.csv"]
    assert a.sources[0].labels == ("real", "fake")


def test_overrides(tmp_path: Path) -> None:
    config = read(written(tmp_path), ["seed=3", "missing=worst", "root=elsewhere", 'tests=["t"]', "limit=5"])
    assert (config.seed, config.missing, config.tests, config.limit) == (3, "worst", ("t",), 5)
    assert config.root == "elsewhere"  # from where the user stands, and not from the file on
    assert config.detector[1].config is not None
    assert config.detector[1].config.seed == 3
    assert read(written(tmp_path), ["harmonise.size=32"]).data["a"].harmonise.size == 32  # type: ignore[union-attr]


def test_a_training_file_may_stand_alone(tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_text('system = "spectrum"\nname = "x"\nseed = 9\n')
    text = TOML.replace('{ system = "spectrum", config = { crop = 32 } }', '"train.toml"')
    found = read(written(tmp_path, text)).detector[1].config
    assert found is not None
    assert (found.name, found.seed) == ("x", 9)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "b"', 'name = "b"\nnmae = 1', "unknown key 'nmae'"),
        ('name = "b"', "", "lacks 'name'"),
        ('name = "b"', 'name = ""', "name is a text"),
        ('path = "spectrum"', 'path = "spectrum"\nseed = 1', "unknown key 'seed'"),
        ('path = "spectrum"', "", "either a path or a config"),
        ('train = "t"', "", "needs train"),
        ('train = "t"', 'train = "u"', r"no \[data.u\]"),
        ('tests = ["a"]', 'tests = ["z"]', r"no \[data.z\] .*there are a, t"),
        ('tests = ["a"]', "tests = []", "tests: at least one"),
        ('tests = ["a"]', 'tests = ["a", "a"]', "stands there twice"),
        ('tests = ["a"]', 'tests = "a"', "list of texts"),
        ('name = "e"', 'name = "d"', "'d' stands there twice"),
        ('name = "e"', 'name = "../e"', "names a folder"),
        ("crop = 32 }", "crop = 32 }, nome = 1", "unknown key 'nome'"),
        ('manifest = "a.csv"', "", "lacks 'manifest'"),
        ('manifest = "a.csv"', 'manifest = "a.csv"\nsources = []', "belongs into one of the sources"),
        ('manifest = "a.csv"', 'manifest = "a.csv"\nsplits = ["val"]', "splits are of train, valid, test"),
        ('manifest = "a.csv"', 'manifest = "a.csv"\nspits = ["val"]', "unknown key 'spits'"),
        ('labels = ["real", "fake"]', 'labels = ["genuine"]', "labels are of"),
        ("harmonise = false", "harmonise = 3", "harmonise is a table"),
        ("{ size = 64 }", "{ quality = 64 }", "lacks 'size'"),
        ("{ size = 64 }", "{ size = 64, quality = 101 }", "from 1 to 100"),
        ("{ train = 0.5, valid = 0.5 }", "{ training = 1.0 }", "split is a table of shares"),
        ('tests = ["a"]', 'tests = ["a"]\nmissing = "guess"', "missing is one of"),
        ('tests = ["a"]', 'tests = ["a"]\nresamples = -1', "resamples is a whole number"),
        ('tests = ["a"]', 'tests = ["a"]\ndetail = "some"', "detail is one of plain, all"),
        ('tests = ["a"]', 'tests = ["a"]\nattack_limit = 0', "attack_limit is a whole number"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TOML
    with pytest.raises(ConfigError, match=message):
        read(written(tmp_path, TOML.replace(old, new, 1)))
