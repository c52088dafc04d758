"""`tellsign reproduce cae-net-*` on generated images with tiny networks, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import tellsign

from cae_net_tiny import images, write_config
from pictures import write_dataset
from tellsign.data import Manifest, read, write
from tellsign.types import FAKE

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxscript")

TESTS = Path(__file__).resolve().parents[1]
SCRIPT = TESTS / "e2e" / "reproduce_tiny.py"
PATHS = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
ENV = {**os.environ, "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
BRANCHES = ("efficientnet", "deit", "wavelet")
ONE_BRANCH = {
    'weights = "scratch"\n': 'weights = "scratch"\nfusion_weights = [1.0]\n',
    'fusion = "fit"': 'fusion = "weights"',
}


class Trials:
    """One data set, one configuration, and the folder of cells that tests share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        images(folder / "data")
        self.config = write_config(folder)
        self.cells = folder / "cells"

    def arguments(self, name: str, *more: str | Path, out: Path | None = None) -> list[str]:
        data = self.folder / "data" / "manifest.csv"
        given = ["--data", data, "--config", self.config, "--folds", "2", "--json", "-o", out or self.cells]
        return [str(one) for one in ("reproduce", name, *given, *more)]

    def process(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, SCRIPT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV
        )

    def run(self, name: str, *more: str | Path, out: Path | None = None) -> tuple[dict, list[str]]:
        """The table, and what was said."""
        process = self.process(self.arguments(name, *more, out=out))
        printed, said = process.communicate(timeout=300)
        assert process.returncode == 0, said.decode()
        return json.loads(printed), said.decode().splitlines()


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    return Trials(tmp_path_factory.mktemp("trials"))


@pytest.fixture(scope="module")
def singles(trials):
    return trials.run("cae-net-singles")


def cells_of(folder: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_bytes()) for path in folder.glob("*/record.json")}


def test_singles_say_what_was_published_and_what_came_out(singles, trials):
    table, said = singles
    assert set(table) == {"name", "paper", "rows", "notes"}
    for row in table["rows"]:
        assert set(row) == {"row", "column", "published", "reproduced", "ci", "note", "unit"}
        assert row["reproduced"] is not None, row
    published = [row for row in table["rows"] if row["published"] is not None]
    assert {row["row"] for row in published} == {*BRANCHES, "ensemble"}
    assert {row["column"].split(", ")[1] for row in published} == {"v1", "v2", "v3"}
    difference = next(row for row in table["rows"] if row["row"] == "ensemble - spectrum detector")
    assert difference["ci"][0] <= difference["reproduced"] <= difference["ci"][1]
    verdict = difference["note"] == "undecided"
    assert verdict == (difference["ci"][0] <= 0 <= difference["ci"][1])
    assert any("fold-1-of-2" in line for line in said)


def test_no_group_of_a_test_part_is_in_its_training(singles, trials):
    """As the cells themselves say: by the digests of the parts that the folds of this seed have."""
    from tellsign.evaluate.cae_net.folds import folds
    from tellsign.groups import sources

    manifest = read(trials.folder / "data" / "manifest.csv")
    found = {record["identity"]["data"]["test"]["manifest"] for record in cells_of(trials.cells).values()}
    own = folds(manifest, 2, seed=0)
    assert {fold.test.digest() for fold in own} <= found
    for fold in own:
        assert not set(sources(fold.test)) & {*sources(fold.train), *sources(fold.valid)}
        assert set(sources(fold.test)) <= set(sources(manifest))


def test_the_same_command_again_trains_nothing_and_another_seed_has_cells_of_its_own(singles, trials):
    before = {path: path.stat().st_mtime_ns for path in trials.cells.rglob("*") if path.is_file()}
    table, said = trials.run("cae-net-singles")
    assert table == singles[0]
    assert not any("epoch" in line for line in said)
    assert before == {path: path.stat().st_mtime_ns for path in trials.cells.rglob("*") if path.is_file()}
    other, _ = trials.run("cae-net-singles", "--seed", "1")
    assert other["rows"] != table["rows"]
    names = sorted(cells_of(trials.cells))
    assert [name[:12] for name in names] == ["fold-1-of-2-"] * 2 + ["fold-2-of-2-"] * 2


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals of POSIX")
@pytest.mark.parametrize("moment", ["fold-1*/detector.run/deit/training/run.json", "fold-2*/detector.run/*"])
def test_a_queue_that_is_killed_goes_on_to_the_same_table(singles, trials, tmp_path, moment):
    process = trials.process(trials.arguments("cae-net-singles", out=tmp_path))
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob(moment)):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.communicate()
    done = cells_of(tmp_path)
    assert len(done) == (1 if moment.startswith("fold-2") else 0)
    table, said = trials.run("cae-net-singles", out=tmp_path)
    assert table == {**singles[0], "notes": table["notes"]}
    # The seconds may differ, and nothing else.
    for own, other in zip(table["notes"], singles[0]["notes"], strict=True):
        assert own == other or "trained in" in own
    assert not any(
        "efficientnet: epoch" in line for line in said[: len(said) // 2 if done else None] if not done
    )


def test_studies_of_the_trained_detector_train_nothing(singles, trials):
    others = trials.folder / "others"
    made = [*read(write_dataset(others / "a", 4, size=64, dataset="a"))]
    made += read(write_dataset(others / "b", 4, size=64, seed=1, dataset="b")).filter(label=FAKE)
    made += read(write_dataset(others / "c", 2, size=16, seed=2, dataset="c"))
    write(Manifest(tuple(made)), others / "manifest.csv")
    found = {}
    for name, more in {
        "cae-net-fgsm": (),
        "cae-net-robustness": ("--others", others / "manifest.csv"),
        "cae-net-tsne": (),
        "cae-net-roc": (),
        "cae-net-confusion": (),
    }.items():
        found[name], said = trials.run(name, "--samples", "12", *more)
        assert not any("epoch" in line for line in said), name
    _check_fgsm(found["cae-net-fgsm"]["rows"])
    _check_robustness(found["cae-net-robustness"]["rows"])
    for name in ("cae-net-tsne", "cae-net-roc", "cae-net-confusion"):
        assert found[name]["picture"] == str(trials.cells / f"{name}.png")
        assert Path(found[name]["picture"]).read_bytes().startswith(b"\x89PNG")
    again, said = trials.run("cae-net-fgsm", "--samples", "12")
    assert again == found["cae-net-fgsm"]
    assert not any(line.startswith("FGSM") for line in said)


def _check_fgsm(rows: list[dict]) -> None:
    values = {(row["row"], row["column"]): row["reproduced"] for row in rows}
    ensembles = {"ensemble by weights", "ensemble by vote"}
    transfer = "ensemble by vote, images made against ensemble by weights"
    assert {row for row, _ in values} == {*BRANCHES, *ensembles, transfer}
    for target in (*BRANCHES, "ensemble by weights"):
        assert values[target, "accuracy, FGSM 0.03"] <= values[target, "accuracy, clean"] + 0.26, target
    assert values[transfer, "accuracy, clean"] == values["ensemble by vote", "accuracy, clean"]
    assert any(
        values[target, "accuracy, FGSM 0.03"] < values[target, "accuracy, clean"] for target in BRANCHES
    )


def _check_robustness(rows: list[dict]) -> None:
    found = {(row["row"], row["column"]): row for row in rows}
    assert found["deit", "AUROC, jpeg:50"]["reproduced"] is not None
    assert found["ensemble by vote", "fake accuracy, blur:9"]["reproduced"] is not None
    assert found["ensemble by weights", "AUROC, a"]["reproduced"] is not None
    assert found["ensemble by weights", "AUROC, b and reals of the test part"]["reproduced"] is not None
    small = found["ensemble by weights", "AUROC, c"]
    assert small["reproduced"] is None
    assert "4 of 4 images can't be used" in small["note"]
    assert found["NeRF", "AUROC"]["reproduced"] is None


def test_strategies_and_retention_share_their_trainings(trials):
    retention, _ = trials.run("cae-net-retention")
    assert Path(retention["picture"]).is_file()
    rows = {(row["row"], row["column"]): row for row in retention["rows"]}
    for schedule in ("multistage, reals repeat", "multistage, reals disjoint"):
        for branch in BRANCHES:
            assert rows[f"{schedule}, {branch}, stage 1", "subset 2, to come"]["reproduced"] is not None
            assert rows[f"{schedule}, {branch}, stage 2", "subset 2, trained on"]["reproduced"] is not None
    balancing, said = trials.run("cae-net-balancing")
    assert sum("multistage" in line and "images to train on" in line for line in said) == 0
    assert sum("images to train on" in line for line in said) == 5
    assert all(row["reproduced"] is not None for row in balancing["rows"])


def test_the_command_itself_with_a_graph(trials, tmp_path):
    """One network on three inputs; the native sub-bands are too small for it, and the others go on."""
    found = tellsign(*trials.arguments("cae-net-wavelet", out=tmp_path), env=ENV)
    assert found.code == 0, found.messages
    rows = {(row["row"], row["column"]): row for row in json.loads(found.text)["rows"]}
    assert "can't take crops" in rows["sub-bands, native", "AUROC"]["note"]
    assert rows["sub-bands, enlarged", "AUROC"]["reproduced"] is not None
    assert rows["pixels", "accuracy"]["reproduced"] is not None
    cells = cells_of(tmp_path)
    assert len(cells) == 2
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2, "nothing is left of the other"
    for name in cells:
        graph = tmp_path / name / "detector" / "graph.onnx"
        assert graph.stat().st_size > 1000


def test_what_the_command_refuses(trials, tmp_path):
    data = trials.folder / "data" / "manifest.csv"
    for arguments, message in (
        (("cae-net-singles", "--data", data), "-o FOLDER"),
        (("upconv-table4", "--config", trials.config), "trains no network"),
        (("cae-net-singles", "--data", data, "-o", data), "cannot write"),
        (("cae-net-singles", "--config", tmp_path / "no.toml", "--data", data, "-o", tmp_path), "no.toml"),
    ):
        found = tellsign("reproduce", *arguments)
        assert found.code == 2, arguments
        assert message in found.messages
