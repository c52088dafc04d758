"""The output and its partial rows: formats, locks, settings, and a kill at any line of the code."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tellsign import lock as lock_module
from tellsign.scoring import store as module
from tellsign.scoring.store import COLUMNS, Store, csv_line, json_line, read_rows, write_rows
from tellsign.types import ConfigError

SETTINGS = {"detector": "d@1", "prior": 0.5, "threshold": 0.7, "fpr": 0.05, "region": "image", "n_frames": 20}
FORMATS = ["jsonl", "csv", "parquet"]


def row(path: str = "a.jpg", **changes: Any) -> dict[str, Any]:
    values = {
        "path": path,
        "sha256": "ab" * 32,
        "kind": "image",
        "label": "fake",
        "reason": None,
        "probability": 0.1 + 0.2,
        "prior": 0.5,
        "score": -1.5,
        "threshold": 0.7,
        "fpr": 0.05,
        "detector": "d@1",
        "region": "image",
        "faces": None,
        "warnings": [],
        "error": None,
    }
    return values | changes


def video_row(path: str = "v.mp4", **changes: Any) -> dict[str, Any]:
    more = {
        "kind": "video",
        "duration": 2.0,
        "n_frames": 20,
        "timeline": [
            {"time": 0.0, "score": 1.0, "label": "fake"},
            {"time": 1.0, "score": None, "label": None},
        ],
        "vote": {"label": "fake", "real": 0, "fake": 1, "uncertain": 0},
        "tracks": [],
    }
    return row(path) | more | changes


ROWS = [
    row(),
    row("b.jpg", label=None, probability=None, score=None, sha256=None, error='it\'s "cut off",\nafter\r5'),
    row("Grüße 写真\\xff.jpg", warnings=["first, second", 'the "third"'], faces=3),
    row("=1+1.jpg"),
    row("'-quoted.jpg"),
    row("carriage\rreturn.jpg"),
    row("\r\nboth.jpg"),
    row("\x1b[2J\x9b\u202e\u2028.jpg"),
    video_row(),
    video_row("-0.mp4", vote=None, timeline=[]),
]


def finished(path: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    with Store(path, settings=SETTINGS | changes, resume=False, overwrite=False) as store:
        for one in rows:
            store.put(one)
    return path


@pytest.mark.parametrize("format_", FORMATS)
def test_rows_come_back_as_they_were(tmp_path: Path, format_: str) -> None:
    path = finished(tmp_path / f"out.{format_}", ROWS)
    rows = list(read_rows(path))
    assert len(rows) == len(ROWS)
    for found, expected in zip(rows, ROWS, strict=True):
        # Tables have no place for the difference between an absent and an empty vote.
        kept = (
            expected
            if format_ == "jsonl"
            else {k: v for k, v in expected.items() if (k, v) != ("vote", None)}
        )
        assert found == kept
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("format_", FORMATS)
def test_rewriting_what_was_read_gives_the_same_bytes(tmp_path: Path, format_: str) -> None:
    path = finished(tmp_path / f"out.{format_}", ROWS)
    again = tmp_path / f"again.{format_}"
    write_rows(read_rows(path), again, format_)
    assert again.read_bytes() == path.read_bytes()


TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.tuples(TEXT.filter(bool), TEXT.filter(bool)), min_size=1, max_size=5))
@example([("\r", "\n")])
@example([("'", '"')])
@example([(",", "\u2028")])
@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_any_text_survives(tmp_path: Path, format_: str, texts: list[tuple[str, str]]) -> None:
    rows = [row(name, error=error, warnings=[error]) for name, error in texts]
    write_rows(rows, tmp_path / f"x.{format_}", format_)
    assert list(read_rows(tmp_path / f"x.{format_}")) == rows


@given(TEXT)
@example("\x1b]0;title\x07")
@example("\x9b2J")
@example("\u202egnp.exe")
def test_a_line_of_json_does_nothing_to_a_terminal(text: str) -> None:
    line = json_line(row(text))
    assert line.isprintable()
    assert json.loads(line)["path"] == text


def test_ordinary_text_is_readable_in_json() -> None:
    assert "Grüße 写真" in json_line(row("Grüße 写真"))


def test_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        json_line(row(score=float("nan")))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_begins_like_a_formula(start: str) -> None:
    line = csv_line(row(f"{start}cmd|' /C calc'!A1.jpg", error=f"{start}x"))
    (cells,) = csv.reader(io.StringIO(line, newline=""))
    named = dict(zip(COLUMNS, cells, strict=True))
    assert named["path"].startswith(f"'{start}")
    assert named["error"] == f"'{start}x"
    assert named["score"] == "-1.5", "a number is no formula"


def test_csv_is_what_other_readers_expect(tmp_path: Path) -> None:
    path = finished(tmp_path / "out.csv", ROWS)
    with path.open(newline="", encoding="utf-8") as file:
        header, *cells = csv.reader(file)
    assert header == list(COLUMNS)
    assert [len(line) for line in cells] == [len(COLUMNS)] * len(ROWS)
    assert cells[1][header.index("error")] == 'it\'s "cut off",\nafter\r5'


def test_parquet_has_types(tmp_path: Path) -> None:
    table = pq.read_table(finished(tmp_path / "out.parquet", ROWS))
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert types["path"] == "string"
    assert types["score"] == "double"
    assert types["faces"] == "int64"
    assert json.loads(table["vote"].to_pylist()[8])["fake"] == 1
    assert table["error"].to_pylist()[0] is None


@pytest.mark.parametrize("name", ["out", "out.txt", "out.jsonl.gz"])
def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"must end in \.jsonl"):
        finished(tmp_path / name, [])
    assert not list(tmp_path.iterdir())


def test_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        Store(tmp_path / "out.csv", settings=SETTINGS, resume=False, overwrite=True)


def test_the_output_s_folder_is_made(tmp_path: Path) -> None:
    assert finished(tmp_path / "new" / "deep" / "out.csv", ROWS).is_file()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write .*out\.csv"):
        finished(tmp_path / "file" / "out.csv", ROWS)


def test_an_output_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = finished(tmp_path / "out.jsonl", ROWS)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"exists; --resume continues it, --overwrite replaces it"):
        finished(path, ROWS[:1])
    assert path.read_bytes() == before
    with Store(path, settings=SETTINGS, resume=False, overwrite=True) as store:
        assert store.known("a.jpg") is None
        store.put(ROWS[0])
    assert list(read_rows(path)) == ROWS[:1]


def interrupted(path: Path, rows: list[dict[str, Any]], *, resume: bool = False, **changes: Any) -> None:
    def run_into_it() -> None:
        with Store(path, settings=SETTINGS | changes, resume=resume, overwrite=False) as store:
            for one in rows:
                store.put(one)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_into_it()


@pytest.mark.parametrize("format_", FORMATS)
def test_an_interrupted_run_leaves_its_rows_in_a_valid_output(tmp_path: Path, format_: str) -> None:
    path = tmp_path / f"out.{format_}"
    interrupted(path, ROWS[:3])
    assert list(read_rows(path)) == ROWS[:3]
    assert (tmp_path / f"out.{format_}.partial").is_file()
    with pytest.raises(ConfigError, match="exists"):
        finished(path, ROWS)
    with Store(path, settings=SETTINGS, resume=True, overwrite=False) as store:
        assert store.known("a.jpg") == ROWS[0]
        for one in ROWS:
            store.put(one)
    assert path.read_bytes() == finished(tmp_path / f"whole.{format_}", ROWS).read_bytes()


def test_a_resumed_and_interrupted_run_loses_no_earlier_row(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    interrupted(path, ROWS[:5])
    interrupted(path, ROWS[3:6], resume=True)
    assert {one["path"] for one in read_rows(path)} == {one["path"] for one in ROWS[:6]}


def test_an_interrupt_before_the_first_row_leaves_nothing(tmp_path: Path) -> None:
    interrupted(tmp_path / "out.jsonl", [])
    assert not list(tmp_path.iterdir())


def test_an_interrupt_before_the_first_row_keeps_the_old_output(tmp_path: Path) -> None:
    path = finished(tmp_path / "out.jsonl", ROWS)
    before = path.read_bytes()
    with (
        pytest.raises(KeyboardInterrupt),
        Store(path, settings=SETTINGS, resume=False, overwrite=True),
    ):
        raise KeyboardInterrupt
    assert path.read_bytes() == before


def test_rows_of_files_that_are_gone_are_dropped_at_the_end(tmp_path: Path) -> None:
    path = finished(tmp_path / "out.jsonl", ROWS)
    with Store(path, settings=SETTINGS, resume=True, overwrite=False) as store:
        store.put(ROWS[2])
    assert list(read_rows(path)) == [ROWS[2]]


def test_a_path_of_this_run_is_seen_and_one_of_the_last_is_known(tmp_path: Path) -> None:
    path = finished(tmp_path / "out.jsonl", ROWS[:2])
    with Store(path, settings=SETTINGS, resume=True, overwrite=False) as store:
        assert not store.seen("a.jpg")
        assert store.known("a.jpg") == ROWS[0]
        store.put(row("a.jpg", score=9.0))
        assert store.seen("a.jpg")
        assert store.known("a.jpg") is None
        assert store.known("new.jpg") is None
    assert list(read_rows(path)) == [row("a.jpg", score=9.0)]


CHANGES = [
    ("detector", "d@2"),
    ("prior", 0.01),
    ("threshold", 0.9),
    ("fpr", 0.1),
    ("region", "face"),
    ("n_frames", 5),
]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(("name", "value"), CHANGES)
@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_other_settings_are_refused_by_name(
    tmp_path: Path, format_: str, name: str, value: object, state: str
) -> None:
    path = tmp_path / f"out.{format_}"
    if state == "finished":
        finished(path, [video_row(), *ROWS])
    else:
        interrupted(path, [video_row(), *ROWS])
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ConfigError) as caught:
        Store(path, settings=SETTINGS | {name: value}, resume=True, overwrite=False)
    assert f"{name} was {SETTINGS[name]!r} and is {value!r}" in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("out.jsonl", b"[1]\n"),
        ("out.jsonl", b'{"path": "a"}\n'),
        ("out.jsonl", b"null\n"),
        ("out.jsonl", b"no json\n"),
        ("out.jsonl", b"\xff\xfe\n"),
        ("out.csv", b"a,b\n1,2\n"),
        ("out.csv", b"\xff\n1\n"),
        ("out.csv", csv_line().encode() + b"\na.jpg\n"),
        ("out.csv", csv_line().encode() + b"\n" + csv_line(row()).replace("0.3", "x").encode() + b"\n"),
        ("out.parquet", b"PAR1"),
        ("out.parquet", b""),
    ],
)
def test_resuming_on_a_foreign_file_is_refused_and_leaves_it(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not an output of `tellsign scan`"):
        Store(path, settings=SETTINGS, resume=True, overwrite=False)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {name: content}


def test_partial_rows_that_are_no_database_are_refused(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.partial").write_bytes(b"no database, but longer than its header" * 9)
    with pytest.raises(ConfigError, match=r"out\.jsonl\.partial cannot be used .* remove it"):
        Store(tmp_path / "out.jsonl", settings=SETTINGS, resume=True, overwrite=False)


def test_overwriting_leaves_no_log_of_killed_rows(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for ending in ("", "-wal", "-shm"):
        (tmp_path / f"out.jsonl.partial{ending}").write_bytes(b"of another time")
    with Store(path, settings=SETTINGS, resume=False, overwrite=True) as store:
        store.put(ROWS[0])
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with Store(path, settings=SETTINGS, resume=False, overwrite=False) as store:
        store.put(ROWS[0])
        for options in ({"resume": True}, {"overwrite": True}, {}):
            with pytest.raises(ConfigError, match=r"another run is writing .*out\.csv; wait"):
                Store(path, settings=SETTINGS, **({"resume": False, "overwrite": False} | options))
        store.put(ROWS[1])
    assert len(list(read_rows(path))) == 2


def test_a_lock_file_that_was_left_behind_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / "out.csv.lock").write_bytes(b"")
    finished(tmp_path / "out.csv", ROWS)
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run ends between our opening of its lock file and our locking of it."""
    path, held, calls = tmp_path / "out.csv", lock_module._held, []

    def too_late(output: Path) -> Any:
        file = held(output)
        calls.append(file)
        if len(calls) == 1:
            Path(file.name).unlink()
        return file

    monkeypatch.setattr(lock_module, "_held", too_late)
    with lock_module.lock(path) as file:
        assert calls[0].closed
        assert os.path.samestat(os.fstat(file.fileno()), (tmp_path / "out.csv.lock").stat())
        with pytest.raises(ConfigError, match="another run"):
            held(path)


class FullDisk:
    """A connection whose COMMIT finds no room."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.full = False

    def execute(self, statement: str, *values: Any) -> Any:
        if self.full and statement.startswith(("COMMIT", "INSERT")):
            raise sqlite3.OperationalError("database or disk is full")
        return self.connection.execute(statement, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


def test_a_full_disk_keeps_the_rows_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMIT_SECONDS", -1)
    path = tmp_path / "out.jsonl"

    def fill() -> None:
        with Store(path, settings=SETTINGS, resume=False, overwrite=False) as store:
            disk = FullDisk(store._rows)
            store._rows = disk  # type: ignore[assignment]
            store.put(ROWS[0])
            store.put(ROWS[1])
            disk.full = True
            store.put(ROWS[2])

    with pytest.raises(ConfigError, match=r"disk is full.* kept in .*partial: make room .* --resume"):
        fill()
    with Store(path, settings=SETTINGS, resume=True, overwrite=False) as store:
        assert [store.known(one["path"]) for one in ROWS[:3]] == [ROWS[0], ROWS[1], None]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_disk_that_fills_while_the_output_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    def full(rows: Iterator[Any], path: Path, format_: str) -> None:
        write(rows, path, format_)
        raise OSError(28, "No space left on device")

    write = module.write_rows
    path = tmp_path / f"out.{format_}"
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_rows", full)
        with pytest.raises(ConfigError, match=r"No space left.* kept in .*partial"):
            finished(path, ROWS)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"out.{format_}.partial"], "the draft takes room"
    with Store(path, settings=SETTINGS, resume=True, overwrite=False) as store:
        for one in ROWS:
            assert store.known(one["path"]) == one
            store.put(one)
    assert len(list(read_rows(path))) == len(ROWS)


def small_disk(folder: Path) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.decode().strip()}")


def test_a_disk_that_is_really_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMIT_SECONDS", -1)
    disk = tmp_path / "disk"
    disk.mkdir()
    small_disk(disk)
    try:
        path = disk / "out.jsonl"
        put: list[str] = []

        def fill() -> None:
            with Store(path, settings=SETTINGS, resume=False, overwrite=False) as store:
                for number in range(10_000):
                    store.put(row(f"{number}.jpg"))
                    put.append(f"{number}.jpg")

        with pytest.raises(ConfigError, match=r"cannot write .*(full|space).* kept in .*--resume"):
            fill()
        assert 10 < len(put) < 1000
        # What was kept is there when there is room again.
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        with Store(path, settings=SETTINGS, resume=True, overwrite=False) as store:
            assert sum(store.known(name) is not None for name in put) >= len(put) - 1
            store.put(row())
        assert [p.name for p in disk.iterdir()] == ["out.jsonl"]
    finally:
        subprocess.run(["umount", disk], check=True)


# A kill at any moment --------------------------------------------------------------------------------

NAMES = [f"{number}.jpg" for number in range(4)]


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is such a disk: a kill loses nothing that waits to be written to one."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


def run(path: Path, *, resume: bool) -> int:
    """What a scan does with its store; how many files it had to score."""
    scored = 0
    with Store(path, settings=SETTINGS, resume=resume, overwrite=False) as store:
        for number, name in enumerate(NAMES):
            known = store.known(name)
            scored += known is None
            store.put(known or row(name, score=number / 7))
    return scored


def killed_at(line: int, path: Path, *, resume: bool) -> bool:
    """A run in another process that is killed before the n-th line of the store's code; False if it ended."""
    child = os.fork()
    if child == 0:
        left = line

        def count(frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename != module.__file__:
                return None
            if event == "line":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return count

        sys.settrace(count)
        try:
            run(path, resume=resume)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("format_", "step"),
    [
        ("jsonl", 4),
        ("csv", 31),
        ("parquet", 11),
        pytest.param("jsonl", 1, marks=pytest.mark.slow),
        pytest.param("csv", 1, marks=pytest.mark.slow),
        pytest.param("parquet", 1, marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_at_any_line_and_resumed_is_the_same(
    memory: Path, monkeypatch: pytest.MonkeyPatch, format_: str, step: int
) -> None:
    monkeypatch.setattr(module, "COMMIT_SECONDS", -1)  # every row is in the file when `put` returns
    whole = memory / f"whole.{format_}"
    assert run(whole, resume=False) == len(NAMES)
    n_kills = 0
    for line in range(0, 10_000, step):
        folder = memory / str(line)
        folder.mkdir()
        path = folder / f"out.{format_}"
        if not killed_at(line, path, resume=False):
            break
        n_kills += 1
        # A second kill, while it resumes; somewhere else each time.
        killed_at(line * 7919 % 150, path, resume=True)
        scored = run(path, resume=True)
        assert path.read_bytes() == whole.read_bytes(), f"killed at line {line}"
        assert [p.name for p in folder.iterdir()] == [path.name], f"killed at line {line}"
        assert scored < len(NAMES) or line < 60, f"killed at line {line}, nothing was kept"
    assert n_kills > 15
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_finished_output_survives_a_kill_while_it_is_resumed(memory: Path) -> None:
    path = memory / "out.jsonl"
    run(path, resume=False)
    whole = path.read_bytes()
    for line in range(0, 10_000, 3):
        if not killed_at(line, path, resume=True):
            break
        assert path.read_bytes() == whole, f"killed at line {line}"
    else:
        pytest.fail("never ended")
    assert run(path, resume=True) == 0
    assert path.read_bytes() == whole
