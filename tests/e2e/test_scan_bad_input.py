"""Every file gets its row, whatever it is: a clear reason where there is no verdict, and nothing is lost."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from clips import clip, sound_only
from corpus import CorpusFile, bit_flips, good_files, png_bytes, truncations, write_corpus
from detector import write_detector
from e2e.command import SCRIPT, Finished, inside, started, tellsign
from pictures import natural, save
from tellsign.scoring.names import printable, unescape


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "stand-in")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[CorpusFile]:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def scanned(detector: Path, corpus: list[CorpusFile]) -> Finished:
    return tellsign("scan", corpus[0].path.parent, "-d", detector, "--json")


def by_path(done: Finished) -> dict[str, dict[str, Any]]:
    rows = {unescape(row["path"]): row for row in done.rows}
    assert len(rows) == len(done.rows), "a file has two rows"
    return rows


def test_every_file_has_one_row(scanned: Finished, corpus: list[CorpusFile]) -> None:
    assert scanned.code == 1
    assert by_path(scanned).keys() == {str(file.path) for file in corpus}
    assert list(by_path(scanned)) == sorted(map(str, (file.path for file in corpus)), key=os.fsencode)


def test_good_files_are_scored_beside_bad_ones(scanned: Finished, corpus: list[CorpusFile]) -> None:
    rows = by_path(scanned)
    for file in corpus:
        row = rows[str(file.path)]
        assert (row["error"] is None) == file.ok, f"{file.path!a} ({file.why}): {row['error']}"
        assert (row["label"] is None) == (not file.ok)
        if file.ok and row["score"] is None:
            assert row["warnings"], f"{file.path!a} has no score and no reason"
    assert sum(row["score"] is not None for row in rows.values()) >= 20


def test_every_reason_is_clear_and_on_standard_error(scanned: Finished, corpus: list[CorpusFile]) -> None:
    rows = by_path(scanned)
    *messages, summary = scanned.messages.splitlines()
    failed = [row for row in rows.values() if row["error"]]
    expected = [f"tellsign: {printable(row['path'])}: {row['error']}" for row in failed]
    assert messages == expected
    assert f"{len(failed)} failed" in summary
    for row in failed:
        assert 10 <= len(row["error"]) < 400
        assert row["error"].isprintable()
        for unclear in ("Traceback", "Error(", "errno", "NoneType", str(corpus[0].path.parent)):
            assert unclear not in row["error"]


def test_all_forms_hold_every_file(detector: Path, corpus: list[CorpusFile], tmp_path: Path) -> None:
    folder = corpus[0].path.parent
    table = tellsign("scan", folder, "-d", detector)
    assert table.code == 1
    assert len(table.text.splitlines()) == len(corpus) + 1
    assert all(line.isprintable() for line in table.text.split("\n"))
    printed = inside("scan", folder, "-d", detector, "--csv")
    cells = list(csv.DictReader(io.StringIO(printed.text, newline="")))
    assert len(cells) == len(corpus)
    raw = inside("scan", folder, "-d", detector, "-0")
    paths = [record.split(b"\t", 2)[2] for record in raw.out.split(b"\0")[:-1]]
    assert paths == sorted(os.fsencode(file.path) for file in corpus)
    done = inside("scan", folder, "-d", detector, "-o", tmp_path / "out.jsonl")
    assert done.code == 1
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == len(corpus)


def test_damaged_files_of_every_format(detector: Path, tmp_path: Path) -> None:
    """Cut off anywhere, and with flipped bits: a row each, and the whole file beside them is scored."""
    n_files = 0
    for name in (
        "plain.jpg",
        "progressive.jpg",
        "plain.png",
        "plain.webp",
        "plain.tif",
        "plain.gif",
        "plain.avif",
    ):
        content = good_files()[name][0]
        damaged = truncations(content, parts=8) + bit_flips(content, count=8, seed=1)
        for number, data in enumerate(damaged):
            (tmp_path / f"{name}-{number}{Path(name).suffix}").write_bytes(data)
        n_files += len(damaged)
    film = clip(12)
    for number, data in enumerate(
        [*truncations(film, parts=5), *bit_flips(film, count=5, seed=2), sound_only()]
    ):
        (tmp_path / f"film-{number}.mp4").write_bytes(data)
        n_files += 1
    save(natural(1), tmp_path / "whole.png")
    done = tellsign("scan", tmp_path, "-d", detector, "--json")
    rows = by_path(done)
    assert done.code == 1
    assert len(rows) == n_files + 1
    assert rows[str(tmp_path / "whole.png")]["label"] == "real"
    for row in rows.values():
        assert (row["label"] is None) == (row["error"] is not None)


@pytest.mark.skipif(sys.platform == "win32", reason="names of POSIX")
def test_hard_names_on_the_command_line_and_in_a_list(detector: Path, tmp_path: Path) -> None:
    content = save(natural(1), tmp_path / "plain.png").read_bytes()
    names = [
        b"-rf",
        b"--json",
        b" ",
        b"a b.png",
        b"'\"`$(id).png",
        b"\xff\xfe.png",
        b"a\nb.png",
        b"\\x41.png",
        b"*",
    ]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    named = tellsign("scan", "-d", detector, "--json", "--", *map(os.fsdecode, names), cwd=tmp_path)
    assert named.code == 0
    assert [os.fsencode(unescape(row["path"])) for row in named.rows] == names
    listed = tellsign("scan", "-0", "-", "-d", detector, "--json", cwd=tmp_path, stdin=b"\0".join(names))
    assert listed.out == named.out
    folder = tellsign("scan", tmp_path, "-d", detector, "--json")
    assert {os.fsencode(Path(unescape(row["path"])).name) for row in folder.rows} == {*names, b"plain.png"}


@pytest.mark.skipif(sys.platform == "win32", reason="files of POSIX")
def test_what_is_no_file_does_not_hold_up_the_rest(detector: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "loop").symlink_to(".")
    save(natural(1), tmp_path / "good.png")
    done = tellsign("scan", tmp_path, "/dev/zero", "-d", detector, "--json", timeout=60)
    errors = {Path(path).name: row["error"] for path, row in by_path(done).items()}
    assert errors.keys() == {"pipe.jpg", "loop.jpg", "good.png", "zero"}
    assert [name for name, error in errors.items() if error is None] == ["good.png"]
    assert done.code == 1


def test_a_file_that_vanishes_while_the_run_goes_on(detector: Path, tmp_path: Path) -> None:
    """It is removed when its name has been read from the list and it is not yet its turn."""
    paths = [save(natural(number), tmp_path / f"{number}.png") for number in range(4)]
    process = started("scan", "-", "-d", detector, "--json", "--workers", "1")
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{paths[0]}\n{paths[1]}\n".encode())
    process.stdout.read(1)  # the first is done
    paths[3].unlink()
    out, errors = process.communicate(f"{paths[3]}\n{paths[2]}\n".encode(), timeout=60)
    rows = [json.loads(line) for line in (b"{" + out).splitlines()]
    assert [row["label"] for row in rows] == ["real", "real", None, "real"]
    assert process.returncode == 1
    assert b"3.png: there is no such file" in errors


def without_privileges() -> list[str]:
    """What to run a command with so that it may not read everything, as root may."""
    if os.geteuid() != 0:
        return []
    dropped = "-dac_override,-dac_read_search"
    command = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("root reads everything, and its privileges cannot be dropped")
    return command


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_what_may_not_be_read_is_a_row(detector: Path, tmp_path: Path) -> None:
    """A file, a file without a suffix and a whole folder are closed."""
    content = save(natural(1), tmp_path / "album" / "inside.png").read_bytes()
    for name in ("open.png", "closed.png", "nosuffix"):
        (tmp_path / name).write_bytes(content)
    closed = [tmp_path / name for name in ("closed.png", "nosuffix", "album")]
    for path in closed:
        path.chmod(0)
    command = [*without_privileges(), SCRIPT, "scan", tmp_path, "-d", detector, "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    for path in closed:
        path.chmod(0o700)
    rows = {Path(row["path"]).name: row for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1, done.stderr
    assert rows.keys() == {"open.png", "closed.png", "nosuffix", "album"}
    assert [name for name, row in rows.items() if row["error"] is None] == ["open.png"]
    for path in closed:
        assert "Permission denied" in rows[path.name]["error"]


def test_a_file_that_takes_too_long(detector: Path, tmp_path: Path) -> None:
    """Ninety megapixels of black in few bytes take seconds; its neighbours take milliseconds."""
    import struct
    import zlib

    side = 9400
    line = b"\0" + bytes(3 * side)
    packer = zlib.compressobj(1)
    body = b"".join([*(packer.compress(line) for _ in range(side)), packer.flush()])
    small = png_bytes(natural_levels(), colour_type=2)

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    large = small[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(small)
    (tmp_path / "5 large.png").write_bytes(large)
    done = tellsign("scan", tmp_path, "-d", detector, "--json", "--workers", "1", "--timeout", "1")
    rows = {Path(row["path"]).name: row for row in done.rows}
    assert done.code == 1
    assert rows["5 large.png"]["error"] == "it took longer than 1 s (--timeout)"
    assert [row["label"] for name, row in rows.items() if name != "5 large.png"] == ["real"] * 8
    # And with too little memory for it, the same file says that.
    done = tellsign("scan", tmp_path, "-d", detector, "--json", "--workers", "1", "--memory-limit", "700")
    rows = {Path(row["path"]).name: row for row in done.rows}
    assert done.code == 1
    assert "memory" in rows["5 large.png"]["error"]
    assert [row["label"] for name, row in rows.items() if name != "5 large.png"] == ["real"] * 8


def natural_levels() -> Any:
    import numpy as np

    return np.rint(255 * natural(1)).astype(np.uint8).transpose(1, 2, 0)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers by /proc")
def test_a_worker_that_is_killed_from_outside(detector: Path, tmp_path: Path) -> None:
    """As by the kernel when memory runs out, in the middle of a run: at most the file at hand is lost."""
    paths = [save(natural(number), tmp_path / f"{number:03d}.png") for number in range(60)]
    process = started("scan", "-", "-d", detector, "--json", "--workers", "1", "--batch-size", "4")
    assert process.stdin
    lines: list[bytes] = []
    assert process.stdout
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
    reader.start()
    for number, path in enumerate(paths):
        process.stdin.write(f"{path}\n".encode())
        if number in {20, 40}:
            time.sleep(0.5)
            for worker in children(process.pid):
                os.kill(worker, 9)
    process.stdin.close()
    reader.join(60)
    assert process.wait(60) in {0, 1}
    rows = [json.loads(line) for line in lines]
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    assert sum(row["error"] is not None for row in rows) <= 2
    assert process.stderr
    process.stderr.close()
    process.stdout.close()


def children(parent: int) -> list[int]:
    """Worker processes of a run (and not the helper process that Python starts beside them)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"spawn_main" in command:
            found.append(int(stat.parent.name))
    return found
