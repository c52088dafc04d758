"""`tellsign data`: manifests made, split and harmonised; exit codes and messages."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from e2e import command
from pictures import natural, save, upsampled, write_dataset
from tellsign import image
from tellsign.data import Manifest, read, write
from tellsign.types import FAKE, REAL, Sample

pytestmark = pytest.mark.skipif(not command.SCRIPT.exists(), reason="the tellsign command is not installed")


def tellsign(*args, folder, code=0, run=command.inside):
    """What the command wrote on standard error; its exit code and a clean message are checked."""
    done = run(*args, cwd=folder)
    assert done.code == code, done.messages
    assert "Traceback" not in done.messages
    assert done.out == b"", "tables are written to files, messages to standard error"
    assert done.messages
    return done.messages


@pytest.fixture
def folder(tmp_path):
    """real/ and fake/GAN/ with three small images each, one that is too small, and a stray file."""
    for i in range(3):
        save(natural(i, 40, 50), tmp_path / "set" / "real" / f"{i}.jpg", quality=95)
        save(upsampled(i, 60, 44), tmp_path / "set" / "fake" / "gan" / f"{i}.png")
    save(natural(9, 20, 90), tmp_path / "set" / "real" / "small.png")
    (tmp_path / "set" / "real" / "notes.txt").write_text("no image")
    return tmp_path


def test_from_folders_to_a_harmonised_split(folder):
    said = tellsign("data", "index", "set", "-o", "m.csv", "--checksums", folder=folder, run=command.tellsign)
    assert "1 files passed over, e.g. 'set/real/notes.txt'" in said
    assert "4 real     no split set" in said
    assert "wrote 7 rows to m.csv, digest " in said
    manifest = read(folder / "m.csv")
    assert Counter((s.label, s.dataset, s.generator) for s in manifest) == {
        (REAL, "set", ""): 4,
        (FAKE, "set", "gan"): 3,
    }
    assert all(len(s.sha256) == 64 for s in manifest)
    assert manifest.digest()[:12] in said

    said = tellsign(
        "data", "harmonise", "m.csv", "-o", "h", "--size", "32", "--quality", "75",
        folder=folder, code=1, run=command.tellsign,
    )  # fmt: skip
    assert "set/real/small.png: the image has 90 × 20 pixels" in said
    assert "wrote 6 rows to h/manifest.csv" in said
    harmonised = read(folder / "h" / "manifest.csv")
    assert Counter(harmonised.labels) == {REAL: 3, FAKE: 3}
    metas = [image.decode(s.path).meta for s in harmonised]
    assert len({(m.format, m.width, m.height, m.jpeg_tables, *m.exif) for m in metas}) == 1

    split = ("data", "split", "h/manifest.csv", "-o", "h/split.csv", "--part", "train=0.667", "--part")
    said = tellsign(*split, "valid=0.333", "--seed", "1", folder=folder, run=command.tellsign)
    assert "2 real     train    set" in said
    parts = read(folder / "h" / "split.csv")
    assert Counter((s.split, s.label) for s in parts) == {
        ("train", REAL): 2, ("train", FAKE): 2, ("valid", REAL): 1, ("valid", FAKE): 1
    }  # fmt: skip
    first = (folder / "h" / "split.csv").read_bytes()
    tellsign(*split, "valid=0.333", "--seed", "1", folder=folder)
    assert (folder / "h" / "split.csv").read_bytes() == first


def test_a_foreign_table(folder):
    (folder / "t.csv").write_text(
        "file,class,source,split_hint\nset/real/0.jpg,real,a,val\nset/fake/gan/0.png,fake,b,train\n"
        "set/real/notes.txt,features,a,\nset/movie.mp4,fake,a,test\n"
    )
    (folder / "set" / "movie.mp4").touch()
    options = ("--column", "path=file", "--column", "label=class", "--skip-label", "features")
    tellsign("data", "index", "t.csv", "-o", "all.csv", *options, folder=folder)
    assert [(s.path.name, s.dataset, s.split) for s in read(folder / "all.csv")] == [
        ("0.jpg", "a", "valid"),
        ("0.png", "b", "train"),
        ("movie.mp4", "a", "test"),
    ]
    tellsign(
        "data", "index", "t.csv", "-o", "some.csv", *options, "--no-videos", "--dataset", "a", folder=folder
    )
    assert [s.path.name for s in read(folder / "some.csv")] == ["0.jpg"]
    assert "line 4: unknown label 'features'" in tellsign(
        "data", "index", "t.csv", "-o", "x.csv", *options[:4], folder=folder, code=2
    )
    assert "no data set 'c'" in tellsign(
        "data", "index", "t.csv", "-o", "x.csv", *options, "--dataset", "c", folder=folder, code=2
    )
    assert not (folder / "x.csv").exists()


def test_the_test_split_is_kept(tmp_path):
    rows = [
        *read(write_dataset(tmp_path / "a", 6, size=16, seed=1)),
        *read(write_dataset(tmp_path / "b", 2, size=16, seed=2, split="test")),
    ]
    write(Manifest(tuple(rows)), tmp_path / "m.csv")
    split = ("data", "split", "m.csv", "-o", "s.csv", "--part", "train=0.5", "--part", "valid=0.5")
    tellsign(*split, "--keep-test", folder=tmp_path)
    found = read(tmp_path / "s.csv")
    assert Counter(s.split for s in found) == {"train": 6, "valid": 6, "test": 4}
    assert {s.path.parts[-3] for s in found.filter(split="test")} == {"b"}
    said = tellsign(*split, folder=tmp_path, code=2)
    assert "4 of 16 rows of m.csv have a split already (4 are test)" in said
    assert "leave one of them out" in tellsign(*split, "--keep-test", "--anew", folder=tmp_path, code=2)
    tellsign(*split, "--anew", folder=tmp_path)
    assert Counter(s.split for s in read(tmp_path / "s.csv")) == {"train": 8, "valid": 8}

    (tmp_path / "s.csv").unlink()
    leaking = Sample(rows[0].path, rows[0].label, group=rows[-1].group)
    write(Manifest((leaking, *rows[1:])), tmp_path / "m.csv")
    said = tellsign(*split, "--keep-test", folder=tmp_path, code=2)
    assert "1 groups are in the split test and outside of it" in said
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("index", "nowhere", "-o", "x.csv"), "nowhere cannot be read"),
        (("index", "set/real", "-o", "x.csv"), "found no images below folders named real and fake"),
        (("index", "set", "-o", "set/real/0.jpg/x.csv"), "cannot write set/real/0.jpg/x.csv"),
        (("index", "m.csv", "-o", "x.csv", "--column", "path"), "--column takes NAME=VALUE, found 'path'"),
        (("index", "set"), "Missing option '--output'"),
        (("split", "m.csv", "-o", "x.csv", "--part", "train=0.5"), "shares must be positive and add up to 1"),
        (("split", "m.csv", "-o", "x.csv", "--part", "train=nan"), "shares must be positive and add up to 1"),
        (("split", "m.csv", "-o", "x.csv", "--part", "train=x"), "--part takes a number, found 'x'"),
        (
            ("split", "m.csv", "-o", "x.csv", "--part", "mine=1"),
            "--part takes train, valid or test, found 'mine'",
        ),
        (
            ("split", "m.csv", "-o", "x.csv", "--part", "train=1", "--seed", "-1"),
            "Invalid value for '--seed'",
        ),
        (("split", "bad.csv", "-o", "x.csv", "--part", "train=1"), "line 2: there is no file"),
        (
            ("harmonise", "m.csv", "-o", "x.csv", "--size", "32", "--quality", "75", "--resize", "no"),
            "filter 'no'",
        ),
        (("harmonise", "m.csv", "-o", "x.csv", "--size", "99", "--quality", "75"), "none of the 2 images"),
        (
            ("harmonise", "m.csv", "-o", "x.csv", "--size", "32", "--quality", "101"),
            "Invalid value for '--quality'",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_errors_are_one_message_and_exit_code_2(folder, args, message):
    rows = "set/real/0.jpg,real\nset/fake/gan/0.png,fake\n"
    (folder / "m.csv").write_text("path,label\n" + rows)
    (folder / "bad.csv").write_text("path,label\nz.png,real\n")
    assert message in " ".join(tellsign("data", *args, folder=folder, code=2).split())
    assert not (folder / "x.csv").exists()


def test_numbers_as_labels(folder):
    (folder / "t.csv").write_text("path,label\nset/real/0.jpg,1\nset/fake/gan/0.png,0\n")
    said = tellsign("data", "index", "t.csv", "-o", "m.csv", folder=folder, code=2)
    assert "line 2: the label 1 is read as fake, but the file lies in the folder 'real'" in said
    turned = ("--label-of", "1=real", "--label-of", "0=fake")
    assert "was read as" not in tellsign("data", "index", "t.csv", "-o", "m.csv", *turned, folder=folder)
    assert read(folder / "m.csv").labels == [REAL, FAKE]
    (folder / "t.csv").write_text("path,label\nset/real/0.jpg,0\nset/fake/gan/0.png,1\n")
    said = tellsign("data", "index", "t.csv", "-o", "m.csv", folder=folder)
    assert "1 was read as fake" in said


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_that_are_not_utf_8_go_all_the_way(tmp_path):
    for label in ("real", "fake"):
        save(natural(1, 20, 20), tmp_path / "set" / label / f"{os.fsdecode(bytes([255]))}\r\n.png")
    tellsign("data", "index", "set", "-o", "m.csv", folder=tmp_path)
    said = tellsign(
        "data", "harmonise", "m.csv", "-o", "h", "--size", "32", "--quality", "75", folder=tmp_path, code=2
    )
    assert "none of the 2 images" in said
    tellsign("data", "harmonise", "m.csv", "-o", "h", "--size", "16", "--quality", "75", folder=tmp_path)
    assert len(read(tmp_path / "h" / "manifest.csv")) == 2
