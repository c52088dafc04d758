"""`tellsign scan` as users run it: what it prints where, in which form, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clips import clip
from detector import CROP, write_detector
from e2e.command import SCRIPT, inside, next_line, started, tellsign
from pictures import natural, save, upsampled, write_dataset
from tellsign.cli import main

KEYS = [
    "path",
    "sha256",
    "kind",
    "label",
    "probability",
    "score",
    "threshold",
    "detector",
    "faces",
    "warnings",
    "error",
]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "stand-in")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real and a fake picture, one that is too small, a film, and a text file that is passed over."""
    folder = tmp_path_factory.mktemp("photos")
    save(natural(1), folder / "a real.png")
    save(upsampled(2), folder / "sub" / "fake.png")
    save(natural(3, CROP // 2, CROP // 2), folder / "small.png")
    (folder / "film.mp4").write_bytes(clip(4))
    (folder / "notes.txt").write_text("text")
    return folder


def test_a_table_for_people(detector: Path, photos: Path) -> None:
    done = tellsign("scan", photos, "-d", detector)
    assert done.code == 0
    header, *lines = done.text.splitlines()
    assert header.split() == ["verdict", "P(fake)", "file"]
    assert len(lines) == 4
    by_name = {name: line for line in lines for name in ("real", "fake.png", "small", "film") if name in line}
    assert lines[0].startswith("no sign found")
    assert by_name["fake.png"].startswith("FAKE")
    assert by_name["small"].startswith("can't tell           –")
    assert "needs at least" in by_name["small"]
    assert not any(line.startswith("real") for line in lines), "people never read the bare word real"
    assert done.messages.startswith("tellsign: 4 scanned, 1 fake, 1 without a sign, 2 can't tell, 0 failed")
    assert "1 passed over" in done.messages


def test_json_lines_for_scripts(detector: Path, photos: Path) -> None:
    done = tellsign("scan", photos, "-d", detector, "--json")
    assert done.code == 0
    rows = done.rows
    assert [Path(row["path"]).name for row in rows] == ["a real.png", "film.mp4", "small.png", "fake.png"]
    for row in rows:
        assert [key for key in row if key in KEYS] == KEYS
        assert row["detector"].startswith("stand-in@")
    assert [row["label"] for row in rows] == ["real", rows[1]["label"], "uncertain", "fake"]
    assert rows[1]["kind"] == "video"
    assert rows[1]["vote"].keys() == {"label", "real", "fake", "uncertain"}
    assert len(rows[1]["timeline"]) == 4
    assert rows[2]["probability"] is None


def test_every_form_says_the_same(detector: Path, photos: Path, tmp_path: Path) -> None:
    rows = inside("scan", photos, "-d", detector, "--json").rows
    printed = inside("scan", photos, "-d", detector, "--csv")
    for suffix in ("jsonl", "csv", "parquet"):
        done = inside("scan", photos, "-d", detector, "-o", tmp_path / f"out.{suffix}")
        assert (done.code, done.out) == (0, b"")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == rows
    assert (tmp_path / "out.csv").read_bytes() == printed.out
    tables = [
        list(csv.DictReader(io.StringIO(printed.text, newline=""))),
        pq.read_table(tmp_path / "out.parquet").to_pylist(),
    ]
    for table in tables:
        for row, cells in zip(rows, table, strict=True):
            assert cells["path"] == row["path"]
            assert float(cells["score"] or "nan") == pytest.approx(
                float("nan") if row["score"] is None else row["score"], rel=0, abs=0, nan_ok=True
            )
            assert json.loads(cells["warnings"]) == row["warnings"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.jsonl", "out.parquet"]


def test_rows_can_be_seen_and_written_at_once(detector: Path, photos: Path, tmp_path: Path) -> None:
    done = inside("scan", photos, "-d", detector, "--json", "-o", tmp_path / "out.jsonl")
    assert done.out == (tmp_path / "out.jsonl").read_bytes()


def test_workers_batches_and_order_change_no_bit(detector: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", 10, size=40)
    expected = tellsign("scan", tmp_path / "set", "-d", detector, "--json", "--workers", "1").out
    assert expected.count(b"\n") == 20
    for options in (["--workers", "3"], ["--workers", "2", "--batch-size", "1"]):
        assert tellsign("scan", tmp_path / "set", "-d", detector, "--json", *options).out == expected
    names = [json.loads(line)["path"] for line in expected.splitlines()][::-1]
    backwards = tellsign("scan", *names, "-d", detector, "--json", "--batch-size", "7")
    assert backwards.out.splitlines()[::-1] == expected.splitlines()


def test_a_list_on_standard_input(detector: Path, photos: Path) -> None:
    names = f"{photos}/a real.png\n\n{photos}/sub\n{photos}/gone.jpg\n"
    done = tellsign("scan", "-", "-d", detector, "--json", stdin=names.encode())
    assert done.code == 1
    assert [Path(row["path"]).name for row in done.rows] == ["a real.png", "fake.png", "gone.jpg"]
    assert done.rows[2]["error"]


def test_a_manifest(detector: Path, tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path, 3, size=40)
    (tmp_path / "real" / "0001.png").unlink()
    done = inside("scan", manifest, "--manifest", "-d", detector, "--json")
    assert done.code == 1, "a file that is gone is a row, not the end of the run"
    assert len(done.rows) == 6
    assert [row["label"] for row in done.rows] == ["real", None, "real", "fake", "fake", "fake"]


def test_a_manifest_that_is_none(detector: Path, photos: Path) -> None:
    done = inside("scan", photos / "notes.txt", "--manifest", "-d", detector)
    assert (done.code, done.out) == (2, b"")
    assert "notes.txt" in done.messages


def test_names_separated_by_nul_both_ways(detector: Path, tmp_path: Path) -> None:
    names = [b"plain.png", b"new\nline.png", b"caf\xe9.png", b"back\\slash.png"]
    content = save(upsampled(1), tmp_path / "plain.png").read_bytes()
    for name in names[1:]:
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    listed = b"\0".join(os.fsencode(tmp_path) + b"/" + name for name in [*names, b"gone\n.png"])
    done = tellsign("scan", "-0", "-", "-d", detector, stdin=listed)
    assert done.code == 1
    *records, rest = done.out.split(b"\0")
    assert rest == b""
    fields = [record.split(b"\t", 2) for record in records]
    assert b"\0".join(path for _, _, path in fields) == listed, "names come back byte for byte"
    assert [label for label, _, _ in fields] == [b"fake"] * 4 + [b"failed"]
    assert float(fields[0][1]) > 0.5
    assert fields[4][1] == b""


def test_nul_is_for_the_list_alone_where_the_form_has_escapes(detector: Path, photos: Path) -> None:
    listed = os.fsencode(photos / "a real.png") + b"\0" + os.fsencode(photos / "sub" / "fake.png")
    done = tellsign("scan", "-0", "-", "--json", "-d", detector, stdin=listed)
    assert [row["label"] for row in done.rows] == ["real", "fake"]
    done = tellsign("scan", "-0", "-", "--csv", "-d", detector, stdin=listed)
    assert [row["label"] for row in csv.DictReader(io.StringIO(done.text))] == ["real", "fake"]


def test_videos_and_their_frames(detector: Path, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(clip(30))
    (row,) = inside("scan", tmp_path, "-d", detector, "--json", "--frames", "5").rows
    assert len(row["timeline"]) == row["n_frames"] == 5
    assert row["duration"] == pytest.approx(1.2)
    assert [entry["time"] for entry in row["timeline"]] == sorted(entry["time"] for entry in row["timeline"])
    scores = [entry["score"] for entry in row["timeline"]]
    if None not in scores:
        assert row["score"] == pytest.approx(sum(scores) / 5)


def test_faces_and_no_face(detector: Path, photos: Path) -> None:
    done = inside("scan", photos / "sub", "-d", detector, "--json", "--faces")
    (row,) = done.rows
    assert done.code == 0
    assert (row["label"], row["score"], row["probability"], row["faces"]) == ("uncertain", None, None, 0)
    assert "made for the whole image" in row["warnings"][0]
    assert "no face was found" in row["warnings"][1]


def test_the_detector_that_ships_scans_the_examples() -> None:
    examples = Path(__file__).parents[2] / "examples"
    done = tellsign("scan", examples, "--json")
    assert done.code == 0
    assert len(done.rows) >= 4
    assert {row["kind"] for row in done.rows} == {"image", "video"}


def test_fpr_and_prior_move_threshold_and_probability(detector: Path, photos: Path) -> None:
    (stored,) = inside("scan", photos / "sub", "-d", detector, "--json").rows
    (moved,) = inside(
        "scan", photos / "sub", "-d", detector, "--json", "--fpr", "0.2", "--prior", "0.01"
    ).rows
    assert moved["score"] == stored["score"]
    assert moved["probability"] < stored["probability"]
    assert (moved["prior"], moved["fpr"]) == (0.01, 0.2)
    assert moved["threshold"] != stored["threshold"]


# How it ends ------------------------------------------------------------------------------------------------


def test_failed_inputs_are_named_and_the_code_is_1(detector: Path, tmp_path: Path) -> None:
    save(natural(1), tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_bytes(b"<html>not found</html>")
    done = tellsign("scan", tmp_path, tmp_path / "gone.png", "-d", detector)
    assert done.code == 1
    assert "no sign found" in done.text
    assert done.text.count("failed  ") == 2
    bad, gone, summary = done.messages.splitlines()
    assert "bad.jpg: this is an HTML page" in bad
    assert "gone.png: there is no such file" in gone
    assert "3 scanned" in summary
    assert "2 failed" in summary


@pytest.mark.parametrize("content", ["nothing", "an empty folder", "only text", "an empty list"])
def test_nothing_to_scan_is_wrong_usage(detector: Path, tmp_path: Path, content: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if content == "only text":
        (folder / "notes.txt").write_text("text")
    paths = {"nothing": [], "an empty list": ["-"]}.get(content, [folder])
    run = tellsign if content == "an empty list" else inside  # a process reads its input
    done = run("scan", *paths, "-d", detector, "-o", tmp_path / "out.jsonl")
    assert (done.code, done.out) == (2, b"")
    if content == "nothing":
        assert "Missing argument" in done.messages
    else:
        assert "found no image or video" in done.messages
    if content == "only text":
        assert "1 files are neither" in done.messages
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--json", "--csv"], "exclude each other"),
        (["--resume"], "need an output file"),
        (["--overwrite"], "need an output file"),
        (["-o", "rows.txt"], "must end in .jsonl"),
        (["-d", "nowhere"], "no detector 'nowhere'"),
        (["--fpr", "0.0001"], "fpr"),
        (["--fpr", "2"], "fpr"),
        (["--prior", "1"], "--prior is a share"),
        (["--timeout", "0"], "--timeout"),
        (["--workers", "-1"], "--workers"),
        (["--batch-size", "0"], "--batch-size"),
        (["--frames", "0"], "--frames"),
        (["--no-such-option"], "--no-such-option"),
        ([""], "a path is empty"),
    ],
)
def test_wrong_usage(
    detector: Path,
    photos: Path,
    tmp_path: Path,
    arguments: list[str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In this process, and not as a subprocess: there are many of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tellsign", "scan", str(photos), "-d", str(detector), *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    out, messages = capfd.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert reason in messages
    assert not list(tmp_path.iterdir())


def test_wrong_usage_as_a_subprocess(detector: Path, photos: Path, tmp_path: Path) -> None:
    done = tellsign("scan", photos, "-d", detector, "--json", "--csv", cwd=tmp_path)
    assert (done.code, done.out) == (2, b"")
    assert done.messages == "tellsign: --json and --csv exclude each other\n"


def test_a_memory_limit_too_small_to_start(detector: Path, photos: Path) -> None:
    done = tellsign("scan", photos, "-d", detector, "--memory-limit", "1")
    assert done.code == 2
    assert "--memory-limit" in done.messages


def test_a_detector_without_calibration(detector: Path, photos: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    spec = json.loads((detector / "detector.json").read_text())
    del spec["calibration"]
    (bare / "detector.json").write_text(json.dumps(spec))
    (bare / "weights.safetensors").write_bytes((detector / "weights.safetensors").read_bytes())
    done = inside("scan", photos, "-d", bare)
    assert done.code == 2
    assert "tellsign calibrate" in done.messages


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"], ["-0"]])
def test_a_reader_that_leaves_is_no_error_to_talk_about(
    detector: Path, tmp_path: Path, form: list[str]
) -> None:
    save(natural(1), tmp_path / "a.png")
    names = b"\0".join([os.fsencode(tmp_path / "a.png")] * 400)
    process = (
        started("scan", "-0", "-", "-d", detector, "--batch-size", "4", *form) if form == ["-0"] else None
    )
    if process is None:
        names = names.replace(b"\0", b"\n")
        process = started("scan", "-", "-d", detector, "--batch-size", "4", *form)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.write(names)
    process.stdin.close()
    assert process.stdout.read(1)
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 141
    assert errors == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"], ["-0"]])
def test_a_full_disk_behind_standard_output(detector: Path, photos: Path, form: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [SCRIPT, "scan", photos / "sub", "-d", detector, *form],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 2
    assert b"cannot write the results: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_json_is_utf_8_whatever_the_locale(detector: Path, tmp_path: Path) -> None:
    save(upsampled(1), tmp_path / "Grüße 写真.png")
    for environment in (
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
    ):
        done = tellsign("scan", tmp_path, "-d", detector, "--json", env=environment)
        assert done.rows[0]["path"].endswith("Grüße 写真.png"), environment


# On a terminal ----------------------------------------------------------------------------------------------


def on_terminal(*arguments: str | Path) -> tuple[int, str]:
    """What a terminal shows of standard output and error."""
    import pty

    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "200"}
    process = subprocess.Popen([SCRIPT, *arguments], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536) or b""
        except OSError:  # the other end is closed
            break
    os.close(ours)
    return process.wait(60), shown.decode()


HOSTILE = ["\x1b]0;title\x07.png", "\x9b2J.png", "\u202egnp.exe.png", "a\rb.png", "c\nd.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_no_name_moves_the_cursor(detector: Path, tmp_path: Path, form: list[str]) -> None:
    content = save(upsampled(1), tmp_path / "plain.png").read_bytes()
    for name in HOSTILE:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "\x1b[31mbad.png").write_bytes(b"text")
    code, shown = on_terminal("scan", tmp_path, "-d", detector, *form)
    assert code == 1
    lines = shown.split("\r\n")
    assert all(line.isprintable() for line in lines), [line for line in lines if not line.isprintable()]
    n_head = form != ["--json"]
    assert len(lines) == n_head + len(HOSTILE) + 2 + 2 + 1, "a line feed in a name made a line"
    assert "\\x1b]0;title" in shown or "\\u001b]0;title" in shown


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_bar_with_rate_and_remaining_time(detector: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "sub" / "bad.jpg").write_bytes(b"\x1b[31mtext")
    try:
        code, shown = on_terminal("scan", photos, "-d", detector, "-o", tmp_path / "out.csv")
    finally:
        (photos / "sub" / "bad.jpg").unlink()
    assert code == 1
    assert "5/5" in shown
    assert re.search(r"\d\.\d/s", shown)
    assert "0:00:0" in shown
    assert "bad.jpg: this is a text file" in shown.replace("\r\n", " ")
    assert "5 scanned" in shown


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_no_bar_beside_a_table(detector: Path, photos: Path) -> None:
    _, shown = on_terminal("scan", photos, "-d", detector)
    assert not re.search(r"\d\.\d/s", shown)
    assert shown.count("\r\n") == 6


# What runs do at the same time ------------------------------------------------------------------------------


def test_two_runs_cannot_write_one_output(detector: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    process = started("scan", "-", "-d", detector, "-o", output, "--json", "--workers", "1")
    assert process.stdin
    names = [os.fsencode(photos / name) for name in ("a real.png", "small.png", "film.mp4", "a real.png")]
    process.stdin.write(b"\n".join(names) + b"\n")
    next_line(process)  # it is at work, and waits for more names
    for options in ([], ["--resume"], ["--overwrite"]):
        second = inside("scan", photos, "-d", detector, "-o", output, *options)
        assert second.code == 2
        assert f"another run is writing {output}; wait" in second.messages
    other = inside("scan", photos / "sub", "-d", detector, "-o", tmp_path / "other.jsonl")
    assert other.code == 0
    process.communicate(b"%s\n" % os.fsencode(photos / "sub" / "fake.png"), timeout=60)
    assert process.returncode == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["a real.png", "small.png", "film.mp4", "fake.png"], (
        "with an output, a file that is named twice is scored once"
    )
    assert inside("scan", photos, "-d", detector, "-o", output).code == 2, (
        "the lock is gone, the output is there"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.jsonl", "out.jsonl"]
