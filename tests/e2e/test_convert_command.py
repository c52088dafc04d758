"""`tellsign data convert` as a subprocess: manifests, messages and exit codes."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

import published
from detector import write_detector
from e2e.command import inside, tellsign
from pictures import natural, save, upsampled
from tellsign.cli import main
from tellsign.data import read
from tellsign.data.convert import CONVERTERS


def test_a_download_becomes_a_manifest(tmp_path):
    published.faceforensics(tmp_path / "ff", ("c23", "c40"))
    options = ("--set", "compression=c23", "--set", "methods=Deepfakes,FaceSwap", "--checksums")
    done = tellsign("data", "convert", "faceforensics", "ff", "-o", "ff.csv", *options, cwd=tmp_path)
    assert done.code == 0, done.messages
    assert done.out == b""
    assert "     4 real     train    faceforensics++/c23\n" in done.messages
    assert "     8 fake     train    faceforensics++/c23\n" in done.messages
    assert "     2 real     test     faceforensics++/c23\n" in done.messages
    assert "youtube c23 8 of 1,000" in done.messages
    manifest = read(tmp_path / "ff.csv")
    assert f"wrote 24 rows to ff.csv, digest {manifest.digest()[:12]}" in done.messages
    assert Counter((s.split, s.generator) for s in manifest)["test", "deepfakes"] == 2
    assert all(len(s.sha256) == 64 for s in manifest)


def test_the_list_names_every_converter():
    done = inside("data", "convert", "--list")
    assert done.code == 0
    assert {line.split()[0] for line in done.text.splitlines()} >= set(CONVERTERS)


def test_the_list_as_json(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tellsign", "data", "convert", "--list", "--json"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert set(json.loads(capsys.readouterr().out)) >= set(CONVERTERS)


def test_an_error_has_its_exit_code_and_writes_nothing(tmp_path):
    published.touch(tmp_path, "set/holiday/beach.png")
    done = inside("data", "convert", "celeb-df-v2", "set", "-o", "x.csv", cwd=tmp_path)
    assert done.code == 2
    assert "Traceback" not in done.messages
    assert "expected below it:" in done.messages
    assert "holiday/ (beach.png …)" in done.messages
    assert not (tmp_path / "x.csv").exists()


def test_the_page_s_lines_write_the_contest_s_scores(tmp_path, monkeypatch):
    """The test images have no label: a scan reads them, and what it writes becomes the score file."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "write_scores" in b]
    assert "tellsign scan DFWild/test --detector spectrum -o test.parquet\n" in page
    save(natural(1, 48, 48), tmp_path / "DFWild" / "test" / "1.png")
    save(upsampled(0, 48, 48), tmp_path / "DFWild" / "test" / "0.png")
    own = write_detector(tmp_path / "own")
    command = ("scan", "DFWild/test", "--detector", own, "-o", "test.parquet", "--json", "--workers", "1")
    done = inside(*command, cwd=tmp_path)
    assert done.code == 0, done.messages
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "page", "exec"), {})
    lines = [line.split(" ") for line in (tmp_path / "scores.txt").read_text().splitlines()]
    assert [(name, float(score)) for name, score in lines] == [
        (Path(row["path"]).name, 1 - row["probability"]) for row in done.rows
    ]
    scores = {name: float(score) for name, score in lines}
    assert scores["1.png"] > 0.5 > scores["0.png"], "higher = real"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonsense", "set", "-o", "x.csv"), "no converter 'nonsense'; there are faceforensics"),
        (("ffhq", "set"), "--output is missing"),
        (("ffhq",), "ROOT is missing"),
        (("ffhq", "set", "-o", "x.csv", "--set", "images"), "--set takes NAME=VALUE, found 'images'"),
        (("ffhq", "set", "-o", "x.csv", "--set", "size=3"), "has no option 'size'; it has images"),
        (("csv", "set", "-o", "x.csv", "--set", "warn=3"), "no converter has an option 'warn'"),
    ],
)
def test_wrong_usage_is_one_message(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tellsign", "data", "convert", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
