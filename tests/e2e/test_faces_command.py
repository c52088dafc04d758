"""`tellsign data faces` as a subprocess: crops, coverage, exit codes; killed, interrupted and resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from clips import clip
from e2e.command import inside, started, tellsign
from tellsign import image
from tellsign.data import Manifest, read, write
from tellsign.types import FAKE, REAL, Sample

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
N = 4


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of a face, and one file that is no video."""
    folder = tmp_path_factory.mktemp("films")
    rows = []
    for k in range(N):
        shutil.copy(EXAMPLES / "clip.mp4", path := folder / f"{k}.mp4")
        rows.append(Sample(path, k % 2, "made", "gan" if k % 2 else "", group=f"g{k // 2}"))
    (folder / "bad.mp4").write_text("no video")
    rows.append(Sample(folder / "bad.mp4", FAKE, "made", "gan"))
    write(Manifest(tuple(rows)), folder / "m.csv")
    return folder / "m.csv"


def state(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run with two workers."""
    out = tmp_path_factory.mktemp("whole") / "out"
    done = tellsign("data", "faces", manifest, "-o", out, "--frames", "2", "--workers", "2", "--json")
    assert done.code == 1, done.messages
    assert "bad.mp4: this is a text file" in done.messages
    assert f"all: {N} of {N + 1} files with crops (80.0%), a face in 8 of 8 frames (100.0%)" in done.messages
    assert "1 files failed, 0 show no face" in done.messages
    report = json.loads(done.text)
    assert report == json.loads((out / "report.json").read_text())
    assert (report["crops"], report["failed"]) == (2 * N, 1)
    return out


def test_crops_of_faces_with_time_stamps(whole: Path) -> None:
    rows = read(whole / "manifest.csv")
    assert Counter(rows.labels) == {REAL: 4, FAKE: 4}
    assert len({row.video for row in rows}) == N
    assert {row.group for row in rows} == {"g0", "g1"}
    assert [round(row.frame or 0, 2) for row in rows[:2]] == [0.5, 1.5]
    metas = [image.decode(row.path).meta for row in rows]
    assert all(meta.format == "PNG" and meta.width == meta.height for meta in metas)
    assert [meta.sha256 for meta in metas] == [row.sha256 for row in rows]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("end", ["kill", "ctrl-c"])
def test_a_stopped_run_goes_on_and_ends_like_a_whole_one(
    manifest: Path, whole: Path, tmp_path: Path, end: str
) -> None:
    command = ("data", "faces", manifest, "-o", tmp_path / "out", "--frames", "2", "--workers", "1")
    process = started(*command)
    for _ in range(600):
        if len(list(tmp_path.glob("out/made/*-*/crops.json"))) >= 1:
            break
        time.sleep(0.05)
    if end == "kill":
        process.kill()
        process.communicate()
    else:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert errors.decode() == f"tellsign: interrupted; the same command goes on in {tmp_path / 'out'}\n"
    n_done = len(list(tmp_path.glob("out/made/*-*/crops.json")))
    assert 1 <= n_done < N
    assert not (tmp_path / "out" / "manifest.csv").exists()

    done = tellsign(*command)
    assert done.code == 1
    assert int(done.messages.split(" files were done already")[0].rsplit(" ", 1)[1]) >= n_done
    assert state(tmp_path / "out") == state(whole)


def test_a_class_that_stays_short_is_said(tmp_path: Path) -> None:
    for name, n in (("real", 5), ("fake0", 9), ("fake1", 9)):
        (tmp_path / f"{name}.mp4").write_bytes(clip(n))
    rows = (Sample(tmp_path / f"{name}.mp4", int(name != "real")) for name in ("real", "fake0", "fake1"))
    write(Manifest(tuple(rows)), tmp_path / "m.csv")
    command = ("data", "faces", "m.csv", "--whole-frames", "--balance", "repeat", "--workers", "1")
    done = inside(*command, "-o", "a", "--frames", "4", cwd=tmp_path)
    assert done.code == 0, done.messages
    found = "5 real crops of 8 planned frames and 8 fake crops of 8 planned frames"
    assert f"the classes are not balanced: {found}. Balance takes other frames" in done.messages
    assert "repeats none; the real videos have no more" in done.messages
    done = inside(*command, "-o", "b", "--frames", "2", cwd=tmp_path)
    assert done.code == 0, done.messages
    assert "not balanced" not in done.messages


def test_other_options_are_refused(manifest: Path, whole: Path) -> None:
    before = state(whole)
    done = inside("data", "faces", manifest, "-o", whole, "--frames", "2", "--margin", "1.5")
    assert (done.code, done.out) == (2, b"")
    assert "margin was 1.3 and is 1.5" in done.messages
    assert state(whole) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--frames", "0"), "Invalid value for '--frames'"),
        (("--margin", "-1"), "margin is -1.0; expected a positive number"),
        (("--balance", "yes"), "balance is 'yes'; expected one of none, repeat, sample"),
        (("--factor", "4"), "a factor is given, but balance is none"),
        (("--faces", "both"), "which is 'both'; expected one of largest, all"),
        (("--balance", "repeat", "--factor", "0.5"), "factor is 0.5; expected 1 to 1000"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_writes_nothing(
    manifest: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = inside("data", "faces", manifest, "-o", tmp_path / "out", *arguments)
    assert done.code == 2
    assert message in " ".join(done.messages.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.data
def test_published_clips(data_root: Path, tmp_path: Path) -> None:
    """An original and its manipulation: each frame shows the one face."""
    clips = sorted((data_root / "clips").rglob("*519*.mp4"))
    rows = [Sample(path, int(path.parent.name == "fake"), path.name.split("_")[0]) for path in clips]
    write(Manifest(tuple(rows)), tmp_path / "m.csv")
    done = tellsign("data", "faces", tmp_path / "m.csv", "-o", tmp_path / "out", "--frames", "2", "--json")
    assert done.code == 0, done.messages
    report = json.loads(done.text)
    assert (report["coverage"], report["frame_coverage"], report["crops"]) == (1.0, 1.0, 4)
