"""Fixtures that several test layers share."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_finish() -> None:
    """What was imported stays: neither the garbage collector nor a fork need look at it again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown() -> None:
    """PyTorch's loaders handle SIGCHLD for good, on a stack that other libraries take away: it crashed."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk() -> Iterator[None]:
    """No test cuts the power, and what is written is there for every process at once.

    What is no open file is still an error.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="module")
def one_torch_thread() -> Iterator[None]:
    """Small tensors on a busy machine: threads would only wait for each other."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def no_curves() -> Iterator[None]:
    """Trainings whose picture is an empty file: it takes longer than they do. test_engine_loop has one."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("torch"):
            patch.setattr(
                "tellsign.engine.recorder.write_curves", lambda run, journal: (run / "curves.png").touch()
            )
        yield


@pytest.fixture(scope="module")
def no_graphs() -> Iterator[None]:
    """Generators whose graph is of no interest: an export takes longer than their training."""
    from tellsign import artifacts
    from tellsign.generators import training

    def without_graph(out, network, *, size, spec, card="", licence=""):  # type: ignore[no-untyped-def]
        arrays = {f"network.{name}": value.numpy() for name, value in network.state_dict().items()}
        content = {**spec, "kind": "generator", "preprocessing": {}, "size": size}
        return artifacts.save(out, spec=content, arrays=arrays, card=card, licence=licence)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "save_generator", without_graph)
        yield


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real images beside the project, or a skip that says how to provide it."""
    root = Path(os.environ.get("TELLSIGN_DATA", ROOT.parent / "shared" / "data"))
    if not (root / "manifest.csv").is_file():
        pytest.skip(f"no data at {root}: set TELLSIGN_DATA to a folder with manifest.csv")
    return root
