"""`tellsign attack` in this process: which images it takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detector import CROP, write_detector
from pictures import write_dataset
from tellsign.cli import attack as command
from tellsign.data import Manifest, read, write
from tellsign.evaluate import robustness
from tellsign.evaluate.benchmark.sets import DataSet, capped, verified
from tellsign.types import ManifestError


class Taken(Exception):
    """Stands for the attack itself."""


@pytest.fixture
def taken(tmp_path, monkeypatch):
    """Runs the command on a table, and gives the names of the images that it would attack."""
    write_detector(tmp_path / "toy")

    def attacked(_, manifest, **__):
        raise Taken([sample.path.name for sample in manifest])

    def run(table, **options):
        monkeypatch.setattr(robustness, "robustness", attacked)
        with pytest.raises(Taken) as found:
            command.attack(str(tmp_path / "toy"), table, **options)
        return found.value.args[0]

    return run


@pytest.mark.parametrize("seed", [0, 3])
def test_a_limit_takes_what_a_benchmark_takes(taken, tmp_path, seed):
    """Whether or not the table has checksums, which a benchmark takes by itself."""
    table = write_dataset(tmp_path / "data", 8, size=CROP)
    bare = Manifest(tuple(replace(sample, sha256="") for sample in read(table)))
    known = verified(bare, "data")
    write(bare, tmp_path / "bare.csv")
    write(known, tmp_path / "known.csv")
    wanted = [s.path.name for s in capped(DataSet("data", known), 3, seed=seed).manifest]
    assert len(wanted) == 6
    for name in ("bare.csv", "known.csv"):
        assert taken(tmp_path / name, limit=3, seed=seed) == wanted
    assert len(taken(tmp_path / "bare.csv")) == 16
    wrong = Manifest((replace(known[0], sha256="0" * 64), *known[1:]))
    write(wrong, tmp_path / "wrong.csv")
    with pytest.raises(ManifestError, match="has changed"):
        command.attack(str(tmp_path / "toy"), tmp_path / "wrong.csv", limit=3)
