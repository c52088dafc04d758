"""`tellsign reproduce cae-net-*` on generated images with tiny networks, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from command import tellsign
from reproduce_trials import ENV, Trials, cells_of

from cae_net_tiny import write_config, write_one_branch
from pictures import write_dataset
from tellsign.data import Manifest, read, write
from tellsign.types import FAKE

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes and signals of POSIX")

BRANCHES = ("efficientnet", "deit", "wavelet")


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trials")
    trials = Trials(folder, write_config(folder))
    trials.one_branch = write_one_branch(folder)
    yield trials
    trials.close()


@pytest.fixture(scope="module")
def singles(trials):
    return trials.run("cae-net-singles")


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
    from tellsign.evaluate.folds import folds
    from tellsign.evaluate.samples import known
    from tellsign.groups import sources

    manifest = known(read(trials.folder / "data" / "manifest.csv"))
    found = {record["identity"]["data"]["test"]["manifest"] for record in cells_of(trials.cells).values()}
    own = folds(manifest, 2, seed=0)
    assert {fold.test.digest() for fold in own} <= found
    for fold in own:
        assert not set(sources(fold.test)) & {*sources(fold.train), *sources(fold.valid)}
        assert set(sources(fold.test)) <= set(sources(manifest))


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "moment",
    [
        "fold-1*/detector.run/deit/training/run.json",
        pytest.param("fold-2*/detector.run/*", marks=pytest.mark.slow),
    ],
)
def test_a_queue_that_is_killed_goes_on_to_the_same_table(singles, trials, tmp_path, moment):
    trials.start(trials.arguments("cae-net-singles", out=tmp_path))
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob(moment)):
        assert time.monotonic() < deadline, (trials.folder / "said").read_text()
        time.sleep(0.002)
    assert trials.end("kill") == signal.SIGKILL
    first_is_done = moment.startswith("fold-2")
    assert len(cells_of(tmp_path)) == first_is_done
    table, said = trials.run("cae-net-singles", out=tmp_path)
    assert table == {**singles[0], "notes": table["notes"]}
    # The seconds may differ, and nothing else.
    for own, other in zip(table["notes"], singles[0]["notes"], strict=True):
        assert own == other or "trained in" in own
    if first_is_done:
        assert not any("fold-1" in line for line in said)
    else:
        n_epochs = sum("efficientnet: epoch" in line for line in said)
        assert n_epochs == 2, "those of fold 2: in fold 1 it was done before the kill"


@pytest.mark.slow
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
    _check_fgsm(found["cae-net-fgsm"]["rows"], trials)
    _check_robustness(found["cae-net-robustness"]["rows"])
    for name in ("cae-net-tsne", "cae-net-roc", "cae-net-confusion"):
        assert found[name]["picture"] == str(trials.cells / f"{name}.png")
        assert Path(found[name]["picture"]).read_bytes().startswith(b"\x89PNG")
    again, said = trials.run("cae-net-fgsm", "--samples", "12")
    assert again == found["cae-net-fgsm"]
    assert not any(line.startswith("FGSM") for line in said)


def _check_fgsm(rows: list[dict], trials: Trials) -> None:
    """Against a step along the sign of the gradient that is taken here."""
    import torch

    from tellsign.evaluate.folds import folds
    from tellsign.evaluate.samples import evenly
    from tellsign.image import decode
    from tellsign.systems.cae_net.system import CaeNetSystem

    values = {(row["row"], row["column"]): row["reproduced"] for row in rows}
    ensembles = {"ensemble by weights", "ensemble by vote"}
    transfer = "ensemble by vote, images made against ensemble by weights"
    pairs = {f"{vote} - ensemble by weights" for vote in ("ensemble by vote", transfer)}
    assert {row for row, _ in values} == {*BRANCHES, *ensembles, transfer, *pairs}
    for vote in ("ensemble by vote", transfer):
        difference = values[f"{vote} - ensemble by weights", "accuracy, FGSM 0.02, difference"]
        both = (values[target, "accuracy, FGSM 0.02"] for target in (vote, "ensemble by weights"))
        assert difference == pytest.approx(next(both) - next(both))
    (cell,) = [
        trials.cells / name
        for name, record in cells_of(trials.cells).items()
        if record["identity"]["seed"] == 0 and record["name"] == "fold-1-of-2"
    ]
    sample = evenly(folds(read(trials.folder / "data" / "manifest.csv"), 2, seed=0)[0].test, 12)
    x = torch.from_numpy(np.stack([decode(one.path).array for one in sample])).float().requires_grad_()
    y = torch.tensor(sample.labels, dtype=torch.float32)
    system = CaeNetSystem()
    scores = {name: system.branch_module(cell / "detector", name) for name in BRANCHES}
    parts = tuple(scores.values())
    scores["ensemble by weights"] = system.module(cell / "detector")
    scores["ensemble by vote"] = lambda images: torch.stack([part(images) for part in parts]).median(dim=0)[0]
    judged = {name: (name, name) for name in scores} | {transfer: ("ensemble by weights", "ensemble by vote")}
    for target, (source, judge) in judged.items():
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores[source](x), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        for column, eps in (("clean", 0), ("FGSM 0.01", 0.01), ("FGSM 0.03", 0.03)):
            with torch.no_grad():
                called = scores[judge]((x + eps * gradient.sign()).clamp(0, 1)) >= 0
            share = float((called == y.bool()).float().mean())
            assert values[target, f"accuracy, {column}"] == pytest.approx(share), (target, column)
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


@pytest.mark.slow
def test_strategies_and_retention_share_their_trainings(trials, tmp_path):
    options = {"config": trials.one_branch, "out": tmp_path}
    retention, _ = trials.run("cae-net-retention", **options)
    assert Path(retention["picture"]).is_file()
    rows = {(row["row"], row["column"]): row for row in retention["rows"]}
    for schedule in ("multistage, reals repeat", "multistage, reals disjoint"):
        assert rows[f"{schedule}, wavelet, stage 1", "subset 2, to come"]["reproduced"] is not None
        assert rows[f"{schedule}, wavelet, stage 2", "subset 2, trained on"]["reproduced"] is not None
    balancing, said = trials.run("cae-net-balancing", **options)
    assert sum("multistage" in line and "images to train on" in line for line in said) == 0
    assert sum("images to train on" in line for line in said) == 5
    assert all(row["reproduced"] is not None for row in balancing["rows"])


def test_an_input_that_a_network_cannot_take_leaves_the_others(trials, tmp_path):
    """The native sub-bands are too small for it. One of the rest is a cell of another table as well."""
    wavelet, _ = trials.run("cae-net-wavelet", out=tmp_path)
    rows = {(row["row"], row["column"]): row for row in wavelet["rows"]}
    assert "can't take crops" in rows["sub-bands, native", "AUROC"]["note"]
    assert rows["sub-bands, enlarged", "AUROC"]["reproduced"] is not None
    assert rows["pixels", "accuracy"]["reproduced"] is not None
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set(cells_of(tmp_path))
    frequency, said = trials.run("cae-net-frequency", out=tmp_path)
    assert all(row["reproduced"] is not None for row in frequency["rows"])
    assert sum("images to train on" in line for line in said) == 3
    assert len(cells_of(tmp_path)) == 5


@pytest.mark.slow
def test_the_command_itself_with_a_graph(trials, tmp_path):
    arguments = trials.arguments("cae-net-fgsm", "--samples", "12", config=trials.one_branch, out=tmp_path)
    found = tellsign(*arguments, env=ENV)
    assert found.code == 0, found.messages
    rows = {(row["row"], row["column"]): row for row in json.loads(found.text)["rows"]}
    assert rows["wavelet", "accuracy, FGSM 0.01"]["published"] == pytest.approx(0.0645)
    assert rows["wavelet", "accuracy, FGSM 0.01"]["reproduced"] is not None
    (cell,) = cells_of(tmp_path)
    assert (tmp_path / cell / "detector" / "graph.onnx").stat().st_size > 1000


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cae-net-singles", ["--data", "DATA"], "-o FOLDER"),
        ("upconv-table4", ["--config", "CONFIG"], "trains no network"),
        ("cae-net-singles", ["--others", "DATA"], "has no use for others"),
        ("cae-net-singles", ["--data", "DATA", "-o", "DATA"], "cannot write"),
        ("cae-net-singles", ["--config", "no.toml", "--data", "DATA", "-o", "OUT"], "no.toml"),
    ],
)
def test_what_the_command_refuses(trials, tmp_path, name, arguments, message):
    places = {
        "DATA": str(trials.folder / "data" / "manifest.csv"),
        "CONFIG": str(trials.config),
        "OUT": str(tmp_path),
    }
    trials.start(["reproduce", name, *(places.get(word, word) for word in arguments)])
    assert trials.end("wait") == -2
    assert message in (trials.folder / "said").read_text()
