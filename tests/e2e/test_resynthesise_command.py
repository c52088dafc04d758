"""`tellsign data resynthesise` as a user runs it: a detector on disk, pairs, a stop, and what is refused."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from detector import write_detector as write_other  # noqa: E402
from e2e.command import SCRIPT, inside, started, tellsign  # noqa: E402
from pictures import natural, save, write_dataset  # noqa: E402
from resynthesis_tiny import write_detector  # noqa: E402
from tellsign import image  # noqa: E402
from tellsign.data import Manifest, read, write  # noqa: E402
from tellsign.types import REAL, Sample  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.skipif(not SCRIPT.exists(), reason="the tellsign command is not installed"),
]
RUN = ("data", "resynthesise")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a detector, a manifest of both classes and the network."""
    folder = tmp_path_factory.mktemp("place")
    made = write_detector(folder / "detector")
    write_dataset(folder / "set", 3, size=50, split="train")
    return folder, made


def test_pairs_are_what_the_network_makes_of_the_reals(place):
    folder, made = place
    done = tellsign(*RUN, "set/manifest.csv", "-d", "detector", "-o", "pairs", "--only-real", cwd=folder)
    assert done.code == 0, done.messages
    assert "wrote 6 rows to pairs/manifest.csv" in done.messages
    pairs = read(folder / "pairs" / "manifest.csv")
    assert list(pairs.labels) == [0, 1] * 3
    assert {sample.generator for sample in pairs if sample.label} == {"tiny"}
    assert {sample.split for sample in pairs} == {"train"}
    for real, fake in zip(pairs[::2], pairs[1::2], strict=True):
        source = image.decode(real.path).array
        assert source.shape == (3, 48, 48)
        with torch.inference_mode():
            expected = made.residuals().restored(torch.tensor(source)[None])[0].clamp(0, 1).numpy()
        assert np.abs(image.decode(fake.path).array - expected).max() <= 0.5 / 255 + 1e-5
        assert real.group == fake.group
    again = inside(*RUN, "set/manifest.csv", "-d", "detector", "-o", "pairs", "--only-real", cwd=folder)
    assert (again.code, again.out) == (0, b"")
    assert "3 pairs were done already" in again.messages


def test_a_run_that_is_stopped_goes_on(place, tmp_path):
    folder, _ = place
    paths = [save(natural(seed, 160, 160), tmp_path / "many" / f"{seed}.png") for seed in range(24)]
    write(Manifest(tuple(Sample(path, REAL, "photos") for path in paths)), tmp_path / "many.csv")
    arguments = (
        *RUN,
        str(tmp_path / "many.csv"),
        "-d",
        str(folder / "detector"),
        "-o",
        str(tmp_path / "out"),
    )
    process = started(*arguments)
    record, until = tmp_path / "out" / "pairs.jsonl", time.monotonic() + 120
    while not record.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = inside(*arguments)
    assert done.code == 0, done.messages
    assert len(read(tmp_path / "out" / "manifest.csv")) == 48
    assert "pairs were done already" in done.messages
    assert not list((tmp_path / "out").rglob("*.draft"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-d", "detector"), "not real"),
        (("-d", "none"), "no detector 'none'"),
        (("-d", "spectrum", "--only-real"), "of the system 'spectrum'"),
        (("-d", "other", "--only-real"), "of the system 'spectrum'"),
        (("-d", "detector", "--split", "valid"), "no split"),
    ],
)
def test_what_it_refuses(place, arguments, message):
    folder, _ = place
    if not (folder / "other").exists():
        write_other(folder / "other", system="spectrum")
    done = inside(*RUN, "set/manifest.csv", "-o", "refused", *arguments, cwd=folder)
    assert (done.code, done.out) == (2, b"")
    assert message in done.messages
    assert not (folder / "refused").exists()
