"""`tellsign reproduce sfcl-table*` on generated images with tiny networks, killed and started again."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
from reproduce_trials import Trials, cells_of

from sfcl_tiny import write_config
from tellsign.data import read
from tellsign.image import decode
from tellsign.image.network_input import seen

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes and signals of POSIX")

OWN = "SFCL-HCMF"


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trials")
    trials = Trials(folder, write_config(folder))
    yield trials
    trials.close()


@pytest.fixture(scope="module")
def first(trials):
    return trials.run("sfcl-table1")


def test_table_1_says_what_was_published_and_what_came_out(first, trials):
    table, said = first
    own = {row["column"]: row for row in table["rows"] if row["row"] == OWN}
    assert own["AUROC, FF++ c23"]["published"] == pytest.approx(0.9958)
    assert own["AUROC, FF++ c23"]["reproduced"] == own["AUROC, FF++ c40"]["reproduced"] is not None
    assert any("fold-2-of-2" in line for line in said)
    assert len(cells_of(trials.cells)) == 2


def test_scores_are_those_of_the_network_image_by_image(first, trials):
    from tellsign.evaluate.folds import folds
    from tellsign.evaluate.samples import known
    from tellsign.systems.sfcl_hcmf.system import SfclHcmfSystem

    (cell,) = trials.cells.glob("fold-1-of-2-*")
    test = folds(known(read(trials.folder / "data" / "manifest.csv")), 2, seed=0)[0].test
    lines = (cell / "scores.csv").read_text().splitlines()[1:]
    assert len(lines) == len(test)
    network = SfclHcmfSystem().network(cell / "detector")
    from tellsign.evaluate.sfcl_hcmf.study import configuration

    look = configuration(trials.config).input.look
    for line, sample in list(zip(lines, test, strict=True))[::7]:
        crops, descriptor = seen(decode(sample.path).array, look)
        with torch.inference_mode():
            logits = network(
                torch.from_numpy(np.asarray(crops, np.float32)), torch.from_numpy(descriptor)[None]
            )
        score = float(line.rsplit(",", 1)[1].strip('"'))
        assert score == pytest.approx(float(logits[0, 1] - logits[0, 0]), abs=1e-4)


@pytest.mark.slow
def test_ablations_go_on_after_a_kill_and_share_what_is_the_same(first, trials):
    trials.start(trials.arguments("sfcl-table3"))
    deadline = time.monotonic() + 200
    while not list(trials.cells.glob("sfcl-concat-*/detector.run/*")):
        assert time.monotonic() < deadline, (trials.folder / "said").read_text()
        time.sleep(0.002)
    assert trials.end("kill") == signal.SIGKILL
    assert {name[:-13] for name in cells_of(trials.cells)} == {"fold-1-of-2", "fold-2-of-2", "sfcl-no-sbcm"}
    table, said = trials.run("sfcl-table3")
    assert all(row["reproduced"] is not None for row in table["rows"])
    assert not any(line.startswith(("fold-1", "sfcl-no-sbcm")) for line in said)
    other, said = trials.run("sfcl-table4")
    assert sum("images to train on" in line for line in said) == 2, "FAAE alone and HCMA alone"
    rows = {(row["row"], row["column"]): row for row in (*table["rows"], *other["rows"])}
    areas = [rows[name, "AUROC"]["reproduced"] for name in ("without HCMF", "neither FAAE nor HCMA")]
    assert areas[0] == areas[1]
    again, said = trials.run("sfcl-table3")
    assert again == table
    assert said == []


def test_other_sources_are_looked_at_by_the_first_fold(first, trials, tmp_path):
    from pictures import write_dataset

    others = write_dataset(tmp_path, 6, size=72, seed=3, dataset="celeb-df-v2")
    table, said = trials.run("sfcl-table2", "--others", others)
    rows = {(row["row"], row["column"]): row for row in table["rows"]}
    across = rows[OWN, "AUROC, Celeb-DF v2"]
    assert across["published"] == pytest.approx(0.7468)
    assert across["reproduced"] is not None
    assert not any("epoch" in line for line in said)
