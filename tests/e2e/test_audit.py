"""`tellsign data audit` as a user runs it: table, JSON, page, exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.command import inside, tellsign
from pictures import natural, save
from tellsign.data import Manifest, read, write
from tellsign.types import FAKE, REAL, Sample

pytest.importorskip("sklearn")


def made(folder: Path, *, quality: int = 90, split: str = "") -> Path:
    samples = []
    for label, name in ((REAL, "real"), (FAKE, "fake")):
        for i in range(10):
            path = folder / name / f"{i:03d}.jpg"
            save(natural(100 * label + i), path, quality=quality if label else 90)
            samples.append(Sample(path, label, "made", group=f"{name}{i}", split=split))
    write(Manifest(tuple(samples)), folder / "m.csv")
    return folder / "m.csv"


def test_table_page_and_exit_code(tmp_path):
    manifest = made(tmp_path, quality=50)
    done = tellsign("data", "audit", manifest, "--page", tmp_path / "p.html", "--workers", "1")
    assert done.code == 0, "without --max-auroc nothing is judged"
    assert "jpeg            1.000  [1.000, 1.000]  tells the label" in done.text
    assert "tellsign data harmonise MANIFEST --size 64 --quality 50" in done.text
    assert "Audit of m.csv" in (tmp_path / "p.html").read_text(encoding="utf-8")
    done = inside("data", "audit", manifest, "--max-auroc", "0.95", "--json", "--workers", "1")
    assert done.code == 1
    assert "above --max-auroc 0.95: " in done.messages
    assert "jpeg 1.000" in done.messages
    result = json.loads(done.text)
    assert result["cues"]["jpeg"] == {"auroc": 1.0, "ci": [1.0, 1.0], "note": None}
    assert result["limit"] == 0.95


def test_a_cue_without_a_value_is_not_below_the_limit(tmp_path):
    manifest = made(tmp_path)
    write(read(manifest).filter(label=REAL), manifest)
    assert inside("data", "audit", manifest, "--workers", "1").code == 0, "nothing is judged"
    done = inside("data", "audit", manifest, "--max-auroc", "0.9", "--workers", "1")
    assert done.code == 1
    assert "no value to compare with --max-auroc 0.9: format, size, bytes, " in done.messages
    assert "thumbnail (no fake image that can be read" in done.messages


def test_harmonising_mends_it_as_the_advice_says(tmp_path):
    manifest = made(tmp_path / "set", quality=50)
    advice = ("--size", "64", "--quality", "50")
    assert inside("data", "harmonise", manifest, *advice, "-o", tmp_path / "h").code == 0
    done = inside("data", "audit", tmp_path / "h" / "manifest.csv", "--json", "--workers", "1")
    cues = json.loads(done.text)["cues"]
    assert [cues[name]["auroc"] for name in ("format", "size", "jpeg", "exif", "name")] == [0.5] * 5


def test_what_cannot_be_read_is_named_and_the_rest_is_audited(tmp_path):
    manifest = made(tmp_path)
    (tmp_path / "fake" / "003.jpg").write_text("no image")
    (tmp_path / "real" / "004.jpg").unlink()
    done = inside("data", "audit", manifest, "--json", "--workers", "1")
    assert done.code == 1
    result = json.loads(done.text)
    assert result["n"] == 20
    assert len(result["unreadable"]) == 2
    assert "003.jpg: this is a text file" in done.messages
    assert "004.jpg: there is no such file" in done.messages


def test_a_group_in_two_splits_is_a_finding_and_no_error(tmp_path):
    manifest = made(tmp_path, split="train")
    lines = manifest.read_text(encoding="utf-8").splitlines()
    lines[1] = lines[1].replace("train", "test").replace("real0", "fake3")
    manifest.write_text("\n".join(lines), encoding="utf-8")
    done = inside("data", "audit", manifest, "--json", "--workers", "1")
    assert done.code == 0, done.messages
    assert json.loads(done.text)["leaks"][0]["group"] == "fake3"


@pytest.mark.parametrize(
    "leak", ["group", *(pytest.param(leak, marks=pytest.mark.slow) for leak in ("video", "duplicate"))]
)
def test_the_advised_command_mends_what_lies_in_several_splits(tmp_path, leak):
    """The first two reals share something, and one of them is in another split."""
    manifest = made(tmp_path, split="train")
    rows = [
        replace(s, split="valid" if i % 5 == 1 else "test" if i % 5 == 2 else s.split)
        for i, s in enumerate(read(manifest))
    ]
    shared = {"group": {"group": "same"}, "video": {"group": "", "video": "same"}, "duplicate": {}}[leak]
    rows[:2] = [replace(row, **shared) for row in rows[:2]]
    if leak == "duplicate":
        rows[1].path.write_bytes(rows[0].path.read_bytes())
    write(Manifest(tuple(rows)), manifest)

    def leaks(path):
        done = inside("data", "audit", path, "--json", "--workers", "1")
        assert done.code == 0, done.messages
        found = json.loads(done.text)
        about = "duplicates" if leak == "duplicate" else "leaks"
        return found["leaks"], [f["advice"] for f in found["findings"] if f["about"] == about]

    found, (advice,) = leaks(manifest)
    assert len(found) == 1
    if "one group in the manifest" in advice:
        rows[:2] = [replace(row, group="one") for row in rows[:2]]
        write(Manifest(tuple(rows)), manifest)
    (command,) = re.findall("`tellsign ([^`]*)`", advice)
    words = [{"MANIFEST": manifest, "SPLIT.csv": tmp_path / "s.csv"}.get(w, w) for w in shlex.split(command)]
    done = inside(*words)
    assert done.code == 0, done.messages
    assert leaks(tmp_path / "s.csv") == ([], [])
    assert {s.split for s in read(tmp_path / "s.csv")} == {"train", "valid", "test"}


def test_splitting_anew_still_checks_files(tmp_path):
    manifest = made(tmp_path)
    (tmp_path / "real" / "004.jpg").unlink()
    done = inside("data", "split", manifest, "--part", "train=1", "--anew", "-o", tmp_path / "s.csv")
    assert done.code == 2
    assert "there is no file" in done.messages


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--split", "test"), "has no split 'test'"),
        (("--folds", "1"), "folds"),
        (("--max-auroc", "2"), "max-auroc"),
        (("--page", "no/such/folder/p.html"), "cannot write 'p.html'"),
    ],
)
def test_misuse(tmp_path, arguments, message):
    done = inside("data", "audit", made(tmp_path, split="train"), *arguments, "--workers", "1", cwd=tmp_path)
    assert done.code == 2
    assert message in done.messages
    assert "Traceback" not in done.messages


def test_no_manifest(tmp_path):
    assert inside("data", "audit", tmp_path / "gone.csv").code == 2


def test_the_extra_is_named_before_files_are_read(tmp_path):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sklearn.py").write_text("raise ModuleNotFoundError('blocked', name='sklearn')\n")
    env = {"PYTHONPATH": os.pathsep.join([str(blocked), os.environ.get("PYTHONPATH", "")])}
    done = tellsign("data", "audit", made(tmp_path), env=env)
    assert done.code == 2
    assert "pip install 'tellsign[train]'" in done.messages


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes need a POSIX file system")
def test_names_of_any_bytes(tmp_path):
    manifest = made(tmp_path)
    name = os.fsencode(tmp_path) + b"/real/\xff.jpg"
    Path(os.fsdecode(name)).write_bytes(b"no image")
    with manifest.open("ab") as file:
        file.write(b"real/\xff.jpg,real\n")
    done = tellsign("data", "audit", manifest, "--json", "--workers", "1", "--page", tmp_path / "p.html")
    assert done.code == 1, done.messages
    assert json.loads(done.text)["unreadable"][0]["path"].endswith("real/\\xff.jpg")
    assert "\\udcff.jpg" in (tmp_path / "p.html").read_text(encoding="utf-8")
