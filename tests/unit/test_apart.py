"""Parts of a calculation in processes of their own, and what happens where one gives no result."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from tellsign.metrics import apart, resampling, summary
from tellsign.metrics.apart import side_by_side

SCRIPT = """
import numpy as np
from tellsign.metrics import resampling, summary
resampling._APART = 1
rng = np.random.default_rng(0)
labels = rng.integers(0, 2, 500)
found = summary(labels, rng.normal(size=500) + labels, threshold=0.5, n_resamples=20, workers=2)
print(found["auroc"].low)
"""


def process_of(_: int) -> int:
    return os.getpid()


def square(here: int, number: int) -> int:
    """Of a process that ends without a word where it is not the first."""
    if os.getpid() != here:
        os._exit(3)
    return number**2


def chatty_square(number: int) -> int:
    print("a library says hello")
    return number**2


def fails(number: int) -> int:
    raise ValueError(f"no {number}")


def test_each_part_but_the_first_has_a_process_of_its_own():
    own, *others = side_by_side(process_of, [1, 2, 3])
    assert own == os.getpid()
    assert len({own, *others}) == 3


def test_results_keep_the_order_of_the_parts():
    assert side_by_side(partial(pow, 2), [5, 3, 1]) == [32, 8, 2]
    assert side_by_side(partial(pow, 2), [5]) == [32]
    assert side_by_side(partial(pow, 2), []) == []


@pytest.mark.parametrize("work", [partial(square, os.getpid()), chatty_square], ids=["dies", "prints"])
def test_what_a_process_could_not_do_is_done_here(work):
    assert side_by_side(work, [1, 2, 3]) == [1, 4, 9]


@pytest.mark.parametrize("program", ["", "/no/such/python", "false"])
def test_without_an_interpreter_everything_is_done_here(program, monkeypatch):
    monkeypatch.setattr(sys, "executable", program)
    assert side_by_side(process_of, [1, 2]) == [os.getpid()] * 2


def test_an_error_of_the_work_is_raised():
    with pytest.raises(ValueError, match="no 1"):
        side_by_side(fails, [1, 2])
    with pytest.raises(ValueError, match="no 2"):
        side_by_side(partial(_fails_from, 2), [1, 2])


def _fails_from(first: int, number: int) -> int:
    return fails(number) if number >= first else number


def test_a_bootstrap_in_processes_is_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    scores, probabilities = rng.normal(size=300) + labels, rng.uniform(size=300)

    def intervals(workers: int):
        options = {"probabilities": probabilities, "groups": np.arange(300) // 3, "n_resamples": 25}
        return summary(labels, scores, threshold=0.5, workers=workers, **options)

    alone = intervals(1)
    started = []
    monkeypatch.setattr(apart, "_elsewhere", _noted(apart._elsewhere, started))
    assert intervals(3) == alone
    assert started == []  # not worth a process
    monkeypatch.setattr(resampling, "_APART", 1)
    assert intervals(3) == alone
    assert sorted(started, key=lambda part: part.start) == [range(9, 18), range(18, 25)]


def _noted(function, parts):
    def elsewhere(work, part):
        answer = function(work, part)
        assert answer is not None
        parts.append(part)
        return answer

    return elsewhere


def test_a_script_needs_no_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) == 1  # the script ran once
