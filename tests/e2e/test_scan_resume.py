"""Runs that are killed, interrupted and resumed end where an uninterrupted one does, byte for byte."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from clips import clip
from detector import write_detector
from e2e.command import inside, next_line, started, tellsign
from pictures import natural, save, upsampled
from tellsign.scoring.store import read_rows

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

FORMATS = ["jsonl", "csv", "parquet"]
N = 60


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "stand-in")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two kinds, a film, one that is too small, bad ones, and names that are hard to write."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(N - 6):
        save((natural, upsampled)[number % 2](number, 40, 40), folder / f"{number:03d}.png")
    (folder / "007.mp4").write_bytes(clip(3))
    save(natural(7, 8, 8), folder / "small.png")
    (folder / "bad.jpg").write_bytes(b"text")
    (folder / "empty.jpg").touch()
    shutil.copy(folder / "001.png", folder / "=a,\"b'\r\nc.png")
    shutil.copy(folder / "002.png", folder / os.fsdecode(b"caf\xe9.png"))
    return folder


@pytest.fixture(scope="module")
def whole(detector: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Suffix → output of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    for suffix in FORMATS:
        assert tellsign("scan", photos, "-d", detector, "-o", folder / f"out.{suffix}").code == 1
    return {suffix: (folder / f"out.{suffix}").read_bytes() for suffix in FORMATS}


def names(photos: Path) -> list[bytes]:
    return sorted(os.fsencode(path) for path in photos.iterdir())


def killed(photos: Path, detector: Path, output: Path, *options: str, seed: int) -> None:
    """A run that has had some of the names, is waiting for more, and is killed with its workers at work."""
    rng = random.Random(seed)
    process = started("scan", "-0", "-", "-d", detector, "-o", output, "--batch-size", "3", *options)
    assert process.stdin
    for name in names(photos)[: rng.randint(1, N - 1)]:
        process.stdin.write(name + b"\0")
    time.sleep(1.3 * rng.random())  # from the very start to well into it
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def finish(photos: Path, detector: Path, output: Path) -> str:
    done = tellsign("scan", photos, "-d", detector, "-o", output, "--resume")
    assert done.code == 1, done.messages
    assert sorted(path.name for path in output.parent.iterdir()) == [output.name]
    return done.messages


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_killed_run_ends_like_a_whole_one(
    detector: Path, photos: Path, whole: dict[str, bytes], tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"out.{suffix}"
    for seed in (1, 2):
        killed(photos, detector, output, "--resume", seed=seed)
    finish(photos, detector, output)
    assert output.read_bytes() == whole[suffix]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_run_killed_again_and_again_ends_like_a_whole_one(
    detector: Path, photos: Path, whole: dict[str, bytes], tmp_path: Path, suffix: str
) -> None:
    for seed in range(10):
        output = tmp_path / str(seed) / f"out.{suffix}"
        for kill in range(3):
            killed(photos, detector, output, "--resume", seed=100 * seed + kill)
        finish(photos, detector, output)
        assert output.read_bytes() == whole[suffix], f"seed {seed}"


def test_what_was_scored_is_not_scored_again(detector: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert inside("scan", photos, "-d", detector, "-o", output).code == 1
    before = output.read_bytes()
    messages = finish(photos, detector, output)
    assert output.read_bytes() == before
    # The two that failed are tried again: it might have been a lack of memory or of time.
    assert f"{N} scanned" in messages
    assert f"{N - 2} of them taken over unchanged" in messages


@pytest.mark.parametrize("suffix", FORMATS)
def test_ctrl_c_leaves_a_valid_output_of_the_finished_rows(
    detector: Path, photos: Path, whole: dict[str, bytes], tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"out.{suffix}"
    process = started("scan", "-0", "-", "-d", detector, "-o", output, "--json", "--workers", "1")
    assert process.stdin
    process.stdin.write(b"\0".join(names(photos)[:30]) + b"\0")  # and then waits for more
    printed = [next_line(process) for _ in range(5)]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.decode().endswith("continue with --resume\n")
    assert b"Traceback" not in errors
    rows = list(read_rows(output))
    n_printed = len(printed) + rest.count(b"\n")
    assert n_printed <= len(rows) <= n_printed + 1  # a row is kept before it is printed
    assert output.with_name(f"{output.name}.partial").exists()
    second = inside("scan", photos, "-d", detector, "-o", output)
    assert second.code == 2
    assert "--resume continues it" in second.messages
    assert " of them taken over unchanged" in finish(photos, detector, output)
    assert output.read_bytes() == whole[suffix]


def test_ctrl_c_while_it_starts(detector: Path, photos: Path, tmp_path: Path) -> None:
    process = started("scan", photos, "-d", detector, "-o", tmp_path / "out.csv")
    time.sleep(0.15)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in {130, -signal.SIGINT}  # the latter before Python itself was up
    assert process.returncode == -signal.SIGINT or b"Traceback" not in errors


def test_files_that_changed_came_and_went(detector: Path, photos: Path, tmp_path: Path) -> None:
    folder, output = tmp_path / "photos", tmp_path / "rows" / "out.jsonl"
    shutil.copytree(photos, folder)
    assert inside("scan", folder, "-d", detector, "-o", output).code == 1
    before = {row["path"]: row for row in read_rows(output)}
    save(upsampled(500, 40, 40), folder / "010.png")
    (folder / "011.png").unlink()
    save(natural(501, 40, 40), folder / "0105 new.png")
    save(natural(502, 40, 40), folder / "bad.jpg", format="PNG")
    messages = finish(folder, detector, output)
    fresh = tmp_path / "fresh.jsonl"
    inside("scan", folder, "-d", detector, "-o", fresh)
    assert output.read_bytes() == fresh.read_bytes()
    after = {row["path"]: row for row in read_rows(output)}
    changed = {name for name in after if after[name] != before.get(name)}
    assert {Path(name).name for name in changed} == {"010.png", "0105 new.png", "bad.jpg"}
    assert {Path(name).name for name in set(before) - set(after)} == {"011.png"}
    assert f"{N - 4} of them taken over unchanged" in messages


def test_a_failed_file_is_tried_again_with_more_room(detector: Path, tmp_path: Path) -> None:
    folder, output = tmp_path / "photos", tmp_path / "out.jsonl"
    save(natural(1, 40, 40), folder / "a.png")
    save(natural(2, 60, 60), folder / "b.png")
    done = inside("scan", folder, "-d", detector, "-o", output, "--max-pixels", "2000")
    assert done.code == 1
    assert "3,600 pixels" in done.messages
    done = inside("scan", folder, "-d", detector, "-o", output, "--resume")
    assert done.code == 0
    assert "1 of them taken over unchanged" in done.messages
    assert [row["label"] for row in read_rows(output)] == ["real", "real"]


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--fpr", "0.1"], "fpr was 0.05 and is 0.1"),
        (["--prior", "0.01"], "prior was 0.5 and is 0.01"),
        (["--faces"], "region was 'image' and is 'face'"),
        (["--frames", "3"], "n_frames was 20 and is 3"),
        (["-d", "other"], "detector was 'stand-in@"),
    ],
)
def test_resuming_with_other_settings_is_refused(
    detector: Path, photos: Path, whole: dict[str, bytes], tmp_path: Path, options: list[str], difference: str
) -> None:
    if "other" in options:
        options = ["-d", str(write_detector(tmp_path / "other", summary="of another digest"))]
    output = tmp_path / "out.jsonl"
    output.write_bytes(whole["jsonl"])
    done = inside("scan", photos, "-d", detector, "-o", output, "--resume", *options)
    assert (done.code, done.out) == (2, b"")
    assert difference in done.messages
    assert "--overwrite" in done.messages
    assert output.read_bytes() == whole["jsonl"]
    assert not list(tmp_path.glob("out.jsonl.*"))


def test_a_killed_run_is_not_resumed_with_other_settings(
    detector: Path, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    process = started("scan", "-0", "-", "-d", detector, "-o", output, "--json", "--workers", "1")
    assert process.stdin
    process.stdin.write(b"\0".join(names(photos)[:9]) + b"\0")
    next_line(process)
    process.kill()
    process.communicate()
    assert (tmp_path / "out.jsonl.lock").exists()
    done = inside("scan", photos, "-d", detector, "-o", output, "--resume", "--prior", "0.01")
    assert done.code == 2
    assert "prior was 0.5 and is 0.01" in done.messages
    # The lock that the killed run left behind holds nobody up.
    assert "scanned" in finish(photos, detector, output)


def test_overwriting_starts_anew(
    detector: Path, photos: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    killed(photos, detector, output, seed=3)
    done = inside("scan", photos, "-d", detector, "-o", output, "--overwrite")
    assert done.code == 1
    assert "unchanged" not in done.messages
    assert output.read_bytes() == whole["csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
