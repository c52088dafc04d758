"""Manifests from folders and from other projects' tables."""

from __future__ import annotations

import hashlib
import os
from collections import Counter

import pytest

from tellsign.data.index import index_csv, index_folder
from tellsign.types import FAKE, REAL, ConfigError, ManifestError

IMAGES = frozenset({".png", ".jpg"})


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def rows(manifest, root):
    return {
        s.path.relative_to(root).as_posix(): ("real", "fake")[s.label] + f"|{s.dataset}|{s.generator}"
        for s in manifest
    }


# folders


def test_folders_give_label_data_set_and_generator(tmp_path):
    root = touch(
        tmp_path / "faces",
        "real/a.png",
        "real/deep/er/b.PNG",
        "fake/c.jpg",
        "fake/dcgan/d.png",
        "fake/dcgan/epoch9/e.png",
        "celeba/real/f.png",
        "celeba/fake/sg2/g.png",
    )
    assert rows(index_folder(root, suffixes=IMAGES), root) == {
        "real/a.png": "real|faces|",
        "real/deep/er/b.PNG": "real|faces|",
        "fake/c.jpg": "fake|faces|",
        "fake/dcgan/d.png": "fake|faces|dcgan",
        "fake/dcgan/epoch9/e.png": "fake|faces|dcgan",
        "celeba/real/f.png": "real|celeba|",
        "celeba/fake/sg2/g.png": "fake|celeba|sg2",
    }


def test_the_layout_of_cnndetection(tmp_path):
    root = touch(tmp_path, "biggan/0_real/a.png", "biggan/1_fake/b.png", "crn/cars/1_fake/c.png")
    assert rows(index_folder(root, suffixes=IMAGES), root) == {
        "biggan/0_real/a.png": "real|biggan|",
        "biggan/1_fake/b.png": "fake|biggan|",
        "crn/cars/1_fake/c.png": "fake|cars|",
    }


def test_the_nearest_folder_counts_in_any_case(tmp_path):
    root = touch(tmp_path, "Fake/REAL/a.png", "real/x/Fake/b.png")
    assert {name: row[:4] for name, row in rows(index_folder(root, suffixes=IMAGES), root).items()} == {
        "Fake/REAL/a.png": "real",
        "real/x/Fake/b.png": "fake",
    }


def test_what_is_passed_over_is_told(tmp_path):
    root = touch(tmp_path, "real/a.png", "real/Thumbs.db", "fake/b.png", "c.png", "unreal/d.png")
    skipped = []
    assert len(index_folder(root, suffixes=IMAGES, on_skip=skipped.append)) == 2
    assert sorted(path.name for path in skipped) == ["Thumbs.db", "c.png", "d.png"]


def test_the_order_is_that_of_the_paths(tmp_path):
    root = touch(tmp_path, *(f"{label}/{i}.png" for label in ("real", "fake") for i in (2, 10, 1)))
    names = [s.path.relative_to(root).as_posix() for s in index_folder(root, suffixes=IMAGES)]
    assert names == sorted(names)


@pytest.mark.skipif(os.name == "nt", reason="links need privileges on Windows")
def test_links_to_folders_are_followed_and_loops_are_not(tmp_path):
    root = touch(tmp_path / "set", "fake/a.png")
    touch(tmp_path / "far", "b.png")
    (root / "real").symlink_to(tmp_path / "far")
    (root / "fake" / "loop").symlink_to(root)
    assert rows(index_folder(root, suffixes=IMAGES), root) == {
        "fake/a.png": "fake|set|",
        "real/b.png": "real|set|",
    }


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    root = touch(tmp_path, "real/a.png", "fake/b.png")
    (root / "fake").chmod(0)
    with pytest.raises(ManifestError, match="cannot read the folder"):
        index_folder(root, suffixes=IMAGES)
    (root / "fake").chmod(0o755)


def test_no_labels_and_no_folder_are_errors(tmp_path):
    with pytest.raises(ManifestError, match="found no images below folders named real and fake"):
        index_folder(touch(tmp_path, "photos/a.png", "real/notes.txt"), suffixes=IMAGES)
    with pytest.raises(ManifestError, match="is not a folder"):
        index_folder(tmp_path / "none", suffixes=IMAGES)


def test_checksums_of_a_folder(tmp_path):
    root = touch(tmp_path, "real/a.png", "fake/b.png")
    for sample in index_folder(root, suffixes=IMAGES, checksums=True):
        assert sample.sha256 == hashlib.sha256(sample.path.read_bytes()).hexdigest()
    assert {s.sha256 for s in index_folder(root, suffixes=IMAGES)} == {""}


# tables


@pytest.fixture
def folder(tmp_path):
    return touch(tmp_path, "a.png", "b.png", "c.mp4", "d.npz")


def table(folder, text):
    (folder / "t.csv").write_text(text)
    return folder / "t.csv"


def test_other_names_of_columns_and_splits(folder):
    path = table(
        folder,
        "path,label,source,method,split_hint,width\n"
        "a.png,real,celeba,,val,9\nb.png,fake,celeba,dcgan,train,9\nc.mp4,fake,ff,df,extra,9\n",
    )
    manifest = index_csv(path)
    assert [(s.dataset, s.generator, s.split) for s in manifest] == [
        ("celeba", "", "valid"),
        ("celeba", "dcgan", "train"),
        ("ff", "df", ""),
    ]


def test_our_own_names_come_first(folder):
    path = table(folder, "path,label,dataset,source\na.png,real,celeba,https://example.org\n")
    assert index_csv(path)[0].dataset == "celeba"


def test_columns_can_be_named(folder):
    path = table(folder, "file,path,class,source,who\na.png,/old/a.png,real,celeba,anna\n")
    [sample] = index_csv(path, columns={"path": "file", "label": "class", "group": "who"})
    assert (sample.path, sample.label, sample.group, sample.dataset) == (
        folder / "a.png",
        REAL,
        "anna",
        "celeba",
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"colour": "x"}, "no column 'colour' in a manifest; there are path, label"),
        ({"group": "nobody"}, "has no column 'nobody'; it has 'path, label'"),
        ({"path": "file"}, "has no column 'file'"),
    ],
)
def test_columns_that_are_not_there(folder, columns, message):
    with pytest.raises(ManifestError, match=message):
        index_csv(table(folder, "path,label\na.png,real\n"), columns=columns)


def test_a_table_without_paths_says_how_to_name_them(folder):
    with pytest.raises(ManifestError, match=r"it has 'file, label'. Name them with --column path=THEIRS"):
        index_csv(table(folder, "file,label\na.png,real\n"))


def test_labels_and_suffixes_are_left_out_when_asked(folder):
    path = table(folder, "path,label\na.png,real\nb.png,fake\nc.mp4,fake\nd.npz,features\n")
    with pytest.raises(ManifestError, match="line 5: unknown label 'features'"):
        index_csv(path)
    assert len(index_csv(path, skip_labels=["features"])) == 3
    assert len(index_csv(path, skip_labels=["features"], suffixes=IMAGES)) == 2
    with pytest.raises(ManifestError, match="has no rows"):
        index_csv(path, skip_labels=["features", "real", "fake"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.png,real\nz.png,fake\n", "line 3: there is no file"),
        ("path,label\na.png,real\na.png,real\n", "line 3: the path 'a.png' stands on line 2"),
        ("path,label\na.png,real\nb.png,fake,dcgan\n", "line 3: 3 cells, the header has 2"),
        ("path,label\na.png,real\n'b,.png',fake\n", "line 3: 3 cells"),
        ('path,label\na.png,real\n"b.png,fake\n', "after line 2"),
        ("", "is empty"),
    ],
)
def test_faults_are_named_with_their_lines(folder, text, message):
    with pytest.raises(ManifestError, match=message):
        index_csv(table(folder, text))
    with pytest.raises(ManifestError, match="cannot be read"):
        index_csv(folder / "none.csv")


def test_a_table_with_checksums_is_checked(folder):
    good = hashlib.sha256(b"a.png").hexdigest()
    path = table(folder, f"path,label,sha256\na.png,real,{good}\nb.png,fake,\n")
    assert [bool(s.sha256) for s in index_csv(path)] == [True, False]
    assert [bool(s.sha256) for s in index_csv(path, checksums=True)] == [True, True]
    (folder / "a.png").write_text("changed")
    assert index_csv(path)[0].sha256 == good
    with pytest.raises(ManifestError, match=r"a.png' has changed"):
        index_csv(path, checksums=True)


def test_folders_of_splits_are_splits_and_no_data_sets(tmp_path):
    root = touch(
        tmp_path / "faces",
        "train/real/a.png",
        "train/fake/gan/b.png",
        "Test/fake/c.png",
        "celeba/validation/real/d.png",
        "fake/test/gan/e.png",
        "real/train/f.png",
        "real/g.png",
    )
    found = {s.path.name: (s.dataset, s.generator, s.split) for s in index_folder(root, suffixes=IMAGES)}
    assert found == {
        "a.png": ("faces", "", "train"),
        "b.png": ("faces", "gan", "train"),
        "c.png": ("faces", "", "test"),
        "d.png": ("celeba", "", "valid"),
        "e.png": ("faces", "gan", "test"),
        "f.png": ("faces", "", "train"),
        "g.png": ("faces", "", ""),
    }


def test_names_with_a_dot_in_front_are_no_images(tmp_path):
    root = touch(tmp_path, "real/a.png", "real/._a.png", "fake/b.png", "fake/.trash/c.png")
    skipped = []
    found = index_folder(root, suffixes=IMAGES, on_skip=skipped.append)
    assert [s.path.name for s in found] == ["b.png", "a.png"]
    assert skipped == []


def test_numbers_as_labels_are_said_and_can_be_turned_round(folder):
    path = table(folder, "path,label\na.png,1\nb.png,0\nc.mp4,fake\n")
    said = []
    assert index_csv(path, warn=said.append).labels == [FAKE, REAL, FAKE]
    assert len(said) == 1
    assert "0 was read as real and 1 was read as fake in 2 rows" in said[0]
    assert index_csv(path, label_of={"1": "real", "0": "fake"}, warn=said.append).labels == [REAL, FAKE, FAKE]
    assert len(said) == 1, "what was asked for is not said"


def test_a_number_that_contradicts_its_folder_is_an_error(tmp_path):
    root = touch(tmp_path, "x/train/Real/a.png", "x/train/fake/real.png")
    path = table(root, "path,label\nx/train/fake/real.png,1\nx/train/Real/a.png,1\n")
    message = r"line 3: the label 1 is read as fake, .* folder 'Real'.*--label-of 1=real --label-of 0=fake"
    with pytest.raises(ManifestError, match=message):
        index_csv(path)
    path = table(root, "path,label\nx/train/fake/real.png,0\nx/train/Real/a.png,1\n")
    assert index_csv(path, label_of={"1": "real", "0": "fake"}).labels == [FAKE, REAL]


@pytest.mark.parametrize(
    ("label_of", "message"),
    [({"1": "yes"}, "'1' is to be read as 'yes'; expected real or fake"), ({"1": "real"}, "give both")],
)
def test_meanings_of_labels_that_have_none(folder, label_of, message):
    with pytest.raises(ConfigError, match=message):
        index_csv(table(folder, "path,label\na.png,1\nb.png,0\n"), label_of=label_of)


def test_splits_in_any_case_and_those_that_nobody_understands(folder):
    said = []
    path = table(folder, "path,label,split\na.png,real,Train\nb.png,fake,testing\nc.mp4,fake,holdout\n")
    assert [s.split for s in index_csv(path, warn=said.append)] == ["train", "test", ""]
    assert len(said) == 1
    assert "1 rows have a split that is not understood, and are not split: 1 with 'holdout'" in said[0]


@pytest.mark.data
def test_the_real_images(data_root):
    with pytest.raises(ManifestError, match="unknown label 'features'"):
        index_csv(data_root / "manifest.csv")
    manifest = index_csv(data_root / "manifest.csv", skip_labels=["features"])
    counts = Counter((s.dataset, s.label) for s in manifest)
    known = {
        "stylegan140k": (800, 800),
        "durall": (0, 1000),
        "celebahq_pggan": (24, 24),
        "ffhq1024": (60, 0),
        "cnnd10": (100, 100),
        "ciplab": (80, 80),
        "bsds500": (120, 0),
        "clips": (3, 3),
    }
    assert {name: (counts[name, REAL], counts[name, FAKE]) for name in known} == known
    assert {s.split for s in manifest} <= {"train", "valid", "test", ""}
    assert all(len(s.sha256) == 64 for s in manifest)
