"""Converters of image sets on small trees with the true names, and the contest's score file."""

from __future__ import annotations

import math
from collections import Counter

import pytest

import published
from tellsign import image
from tellsign.data import Manifest, read, write
from tellsign.data.convert import convert
from tellsign.data.convert.dfwild_cup import write_scores
from tellsign.scoring import store
from tellsign.types import FAKE, REAL, ConfigError, ManifestError


def converted(name, root, **options):
    """The manifest, and what was warned of."""
    said = []
    return convert(name, root, warn=said.append, **options), said


# DFWild-Cup


def test_dfwild_cup_counts_and_unlabelled_test_images(tmp_path):
    manifest, said = converted("dfwild-cup", published.dfwild_cup(tmp_path))
    assert Counter((s.split, s.label, s.generator) for s in manifest) == {
        ("train", REAL, ""): 2,
        ("train", FAKE, "dfwild"): 3,
        ("valid", REAL, ""): 2,
        ("valid", FAKE, "dfwild"): 3,
        ("test", None, ""): 2,
    }
    assert {s.group for s in manifest} == {""}
    assert said == [
        "not the published number of files: train real 2 of 42,690, train fake 3 of 219,470, valid 5 of 3,072"
    ]


@pytest.mark.parametrize(
    "names",
    [
        ("train/real/a.png", "train/fake/b.png", "val/Real/a.png", "val/Fake/b.png"),
        ("real/train/a.png", "fake/train/b.png", "real/validation/a.png", "fake/validation/b.png"),
        ("DFWild/Train-Real/a.png", "DFWild/Train-Fake/b.png", "x/dev_real/a.png", "x/dev_fake/b.png"),
    ],
)
def test_dfwild_cup_takes_the_layouts_that_are_passed_on(tmp_path, names):
    manifest, _ = converted("dfwild-cup", published.touch(tmp_path, *names))
    assert sorted((s.split, s.label) for s in manifest) == [
        ("train", REAL), ("train", FAKE), ("valid", REAL), ("valid", FAKE)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("real/a.png", "fake/b.png"), "names 0 splits and 1 labels"),
        (("train_real/a.png", "train_real_fake/b.png"), "names 1 splits and 2 labels"),
        (("train/a.png",), "names 1 splits and 0 labels"),
        (("train_real/a.png",), "train has no fake images"),
        (("train_real/a.png", "train_fake/b.png", "valid_fake/a.png"), "valid has no real images"),
        (("train_real/a.txt",), "there is no file of the data set"),
        (("unreal/train/a.png",), "names 1 splits and 0 labels"),
    ],
)
def test_dfwild_cup_refuses_what_it_cannot_tell(tmp_path, names, message):
    with pytest.raises(ManifestError, match=message):
        converted("dfwild-cup", published.touch(tmp_path, *names))


def rows(names, probabilities):
    """What of a scan's rows is read."""
    return [
        {"path": name, "probability": probability, "error": None if probability else "it is no image"}
        for name, probability in zip(names, probabilities, strict=True)
    ]


def test_the_contest_scores_are_higher_for_real(tmp_path):
    out = tmp_path / "scores.txt"
    write_scores(rows(["test/b.png", "test/a.png"], [0.9, 0.125]), out, separator=",", header="id,score")
    lines = out.read_text().splitlines()
    assert lines[0] == "id,score"
    scores = {name: float(score) for name, score in (line.split(",") for line in lines[1:])}
    assert scores == {"b.png": pytest.approx(0.1), "a.png": 0.875}
    write_scores(rows(["test/b.png"], [0.9]), out, suffix=False)
    assert out.read_text().startswith("b\t0.0999")


def test_the_contest_s_unlabelled_images_from_the_conversion_to_the_score_file(tmp_path):
    """In the order of the scan, as its files of every format are read."""
    manifest, _ = converted("dfwild-cup", published.dfwild_cup(tmp_path / "set"))
    names = [sample.path.name for sample in manifest.filter(split="test")][::-1]
    assert names == ["t1.png", "t0.png"]
    scanned = [dict.fromkeys(store.COLUMNS) | row | {"detector": "d@1"} for row in rows(names, [0.75, 0.5])]
    for suffix in ("parquet", "csv", "jsonl"):
        store.write_rows(scanned, tmp_path / f"test.{suffix}", suffix)
        write_scores(store.read_rows(tmp_path / f"test.{suffix}"), tmp_path / "scores.txt", separator=" ")
        assert (tmp_path / "scores.txt").read_text() == "t1.png 0.25\nt0.png 0.5\n"


@pytest.mark.parametrize(
    ("names", "probabilities", "message"),
    [
        (["a.png"], [math.nan], "'a.png' has no probability in \\[0, 1\\] but nan"),
        (["a.png"], [3.5], "but 3.5"),
        (["a/x.png", "b/x.png"], [0.1, 0.2], "two images are named 'x.png'"),
        (["a.png"], [None], "'a.png' has no probability in \\[0, 1\\] but None \\(it is no image\\)"),
        ([], [], "there is no row"),
    ],
)
def test_no_score_is_invented(tmp_path, names, probabilities, message):
    with pytest.raises(ConfigError, match=message):
        write_scores(rows(names, probabilities), tmp_path / "scores.txt")
    assert not (tmp_path / "scores.txt").exists()


# Faces-HQ, FFHQ, LSUN


def test_faces_hq(tmp_path):
    manifest, said = converted("faces-hq", published.faces_hq(tmp_path))
    assert Counter((s.label, s.generator) for s in manifest) == {
        (REAL, ""): 3,
        (FAKE, "100k-faces"): 1,
        (FAKE, "thispersondoesnotexist"): 1,
    }
    assert said[0] == "not the published number of files: celebA-HQ_10K 2 of 10,000"
    assert {s.path.suffix for s in manifest} == {".jpg"}
    assert image.decode(manifest[0].path).array.shape == (3, 16, 16)
    (tmp_path / "100KFake_10K" / "0.jpg").unlink()
    with pytest.raises(ManifestError, match="there are no images in 100KFake_10K"):
        converted("faces-hq", tmp_path)


def test_ffhq_has_the_last_ten_thousand_for_validation(tmp_path):
    manifest, said = converted("ffhq", published.ffhq(tmp_path))
    assert {s.path.stem: s.split for s in manifest} == {
        "00000": "train", "00001": "train", "59999": "train", "60000": "valid", "69999": "valid"
    }  # fmt: skip
    assert {s.label for s in manifest} == {REAL}
    assert manifest[0].group == "ffhq-00000"
    assert said == ["not the published number of files: images 5 of 70,000"]
    itself, _ = converted("ffhq", tmp_path / "images1024x1024")
    assert itself == manifest


def test_ffhq_at_two_sizes_needs_a_choice(tmp_path):
    root = published.pictures(published.ffhq(tmp_path), "thumbnails128x128/00000/00001.png")
    with pytest.raises(ManifestError, match="the same pictures; choose one with images=images1024x1024"):
        converted("ffhq", root)
    (sample,), _ = converted("ffhq", root, images="thumbnails128x128")
    assert sample.group == "ffhq-00001"
    with pytest.raises(ConfigError, match="images takes images1024x1024, thumbnails128x128"):
        converted("ffhq", root, images="64")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("images1024x1024/70000.png", "is not numbered 00000 to 69999"),
        ("images1024x1024/cat.png", "is not numbered"),
        ("images1024x1024/00000.jpg", "have one number"),
        ("images1024x1024/fake/00002.png", "is not numbered"),
    ],
)
def test_what_is_not_of_ffhq_is_an_error(tmp_path, name, message):
    root = published.pictures(published.ffhq(tmp_path), name)
    with pytest.raises(ManifestError, match=message):
        converted("ffhq", root)


def test_lsun_categories_are_data_sets(tmp_path):
    manifest, _ = converted("lsun", published.lsun(tmp_path))
    assert [(s.dataset, s.split, s.path.name) for s in manifest] == [
        ("lsun/bedroom", "train", "x.webp"),
        ("lsun/bedroom", "valid", "y.webp"),
        ("lsun/church_outdoor", "train", "z.webp"),
    ]
    some, _ = converted("lsun", tmp_path, categories="church_outdoor")
    assert len(some) == 1
    published.pictures(tmp_path, "fake/bedroom.png")
    with pytest.raises(ManifestError, match="'fake' is no category of LSUN"):
        converted("lsun", tmp_path)
    (tmp_path / "fake" / "bedroom.png").unlink()
    with pytest.raises(ConfigError, match="categories takes bedroom, church_outdoor, found 'kitten'"):
        converted("lsun", tmp_path, categories="kitten")


def test_lsun_folders_without_a_split_and_databases(tmp_path):
    root = published.pictures(tmp_path / "a", "cat/x.jpg", "dog/train/y.jpg", "dog/z.jpg")
    manifest, _ = converted("lsun", root)
    assert {s.path.name: (s.dataset, s.split) for s in manifest} == {
        "x.jpg": ("lsun/cat", ""), "y.jpg": ("lsun/dog", "train"), "z.jpg": ("lsun/dog", "")
    }  # fmt: skip
    published.touch(root, "bedroom_train_lmdb/data.mdb")
    _, said = converted("lsun", root)
    assert said == ["databases that were not exported are passed over: bedroom_train_lmdb"]
    with pytest.raises(
        ManifestError, match="bedroom_train_lmdb is an LMDB database; export its images first"
    ):
        converted("lsun", published.touch(tmp_path / "b", "bedroom_train_lmdb/data.mdb"))


def test_lsun_below_folders_of_splits(tmp_path):
    names = ("train/bedroom/a.jpg", "train/train/b.jpg", "val/church_outdoor/c.jpg")
    manifest, _ = converted("lsun", published.pictures(tmp_path / "a", *names))
    assert {s.path.name: (s.dataset, s.split) for s in manifest} == {
        "a.jpg": ("lsun/bedroom", "train"),
        "b.jpg": ("lsun/train", "train"),
        "c.jpg": ("lsun/church_outdoor", "valid"),
    }
    # The category of that name.
    manifest, _ = converted("lsun", published.pictures(tmp_path / "b", "train/a.jpg", "train/val/b.jpg"))
    assert {(s.dataset, s.split) for s in manifest} == {("lsun/train", ""), ("lsun/train", "valid")}
    with pytest.raises(ManifestError, match=r"holds images beside categories: 'x\.jpg'"):
        converted("lsun", published.pictures(tmp_path / "a", "train/x.jpg"))


# CelebA, CelebA-HQ


def test_celeba_has_the_partition_and_people_as_groups(tmp_path):
    manifest, said = converted("celeba", published.celeba(tmp_path))
    assert [(s.path.stem, s.split, s.group) for s in manifest] == [
        ("000001", "train", "celeba-7"),
        ("000002", "train", "celeba-7"),
        ("000003", "train", "celeba-2"),
        ("000004", "valid", "celeba-3"),
        ("000005", "valid", "celeba-3"),
        ("000006", "test", "celeba-9"),
    ]
    assert said == ["not the published number of files: images 6 of 202,599"]


def test_celeba_without_identities_and_from_csv(tmp_path):
    root = published.celeba(tmp_path)
    (root / "Anno" / "identity_CelebA.txt").unlink()
    text = (root / "Eval" / "list_eval_partition.txt").read_text()
    (root / "Eval" / "list_eval_partition.txt").unlink()
    (root / "list_eval_partition.csv").write_text("image_id,partition\n" + text.replace(" ", ","))
    manifest, said = converted("celeba", root)
    assert manifest[3].split == "valid"
    assert manifest[3].group == "celeba-file-000004"
    assert any("no identity_CelebA.txt" in text for text in said)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("Eval/list_eval_partition.txt", "000001.jpg 3\n", "line 1: .*found '3'"),
        ("Eval/list_eval_partition.txt", "000001.jpg 0\n000001.jpg 1\n", "line 2: .*000001.jpg twice"),
        ("Eval/list_eval_partition.txt", "000001.jpg\n", "line 1: expected 000001.jpg and 0, 1 or 2"),
        ("Eval/list_eval_partition.txt", "000001.jpg 0\n", "000002.jpg' is not in the lists of CelebA"),
        ("Anno/identity_CelebA.txt", "000001.jpg Ann\n", "line 1: a person is a number, found 'Ann'"),
        ("Anno/identity_CelebA.txt", "".join(f"00000{n}.jpg 5\n" for n in range(1, 7)), "is in two splits"),
    ],
)
def test_lists_of_celeba_that_cannot_be_right(tmp_path, file, content, message):
    root = published.celeba(tmp_path)
    (root / file).write_text(content)
    with pytest.raises(ManifestError, match=message):
        converted("celeba", root)


def test_celeba_without_its_list_or_with_two_folders(tmp_path):
    root = published.celeba(tmp_path)
    published.pictures(root, "Img/img_celeba/000001.jpg")
    with pytest.raises(ManifestError, match="choose one with images=NAME"):
        converted("celeba", root)
    assert len(converted("celeba", root, images="img_celeba")[0]) == 1
    (root / "Eval" / "list_eval_partition.txt").unlink()
    with pytest.raises(ManifestError, match=r"there is no list_eval_partition\.txt"):
        converted("celeba", root, images="img_celeba")


def test_celeba_hq_is_split_and_grouped_as_celeba_is(tmp_path):
    hq, _ = converted("celeba-hq", published.celeba_hq(tmp_path / "hq"))
    assert [(s.path.name, s.split, s.group) for s in hq] == [
        ("0.jpg", "train", "celeba-7"), ("1.jpg", "train", "celeba-7"), ("2.jpg", "test", "celeba-9")
    ]  # fmt: skip
    low, _ = converted("celeba", published.celeba(tmp_path / "low"))
    # One person in both is one group, so that the two can be joined.
    write(Manifest(low.samples + hq.samples), tmp_path / "both.csv")
    assert len(read(tmp_path / "both.csv")) == 9


def test_celeba_hq_with_folders_only(tmp_path):
    root = published.pictures(tmp_path, "train/female/000004.jpg", "val/male/000016.jpg", "imgHQ00007.png")
    manifest, said = converted("celeba-hq", root)
    assert "2 files have CelebA's numbers" in said[0]
    assert {s.path.name: s.split for s in manifest} == {
        "000004.jpg": "train", "000016.jpg": "valid", "imgHQ00007.png": ""
    }  # fmt: skip
    assert {s.group for s in manifest} == {""}
    assert any("CelebA-HQ-to-CelebA-mapping.txt" in text for text in said)
    published.pictures(root, "train/cat.png")
    with pytest.raises(ManifestError, match="is not named by a number"):
        converted("celeba-hq", root)
    (root / "train" / "cat.png").unlink()
    published.pictures(root, "fake/000004.png")
    with pytest.raises(ManifestError, match="the folder 'fake' is not one of CelebA-HQ"):
        converted("celeba-hq", root)


def test_celeba_numbers_are_not_looked_up_as_those_of_celeba_hq(tmp_path):
    root = published.celeba_hq(tmp_path / "hq")
    # 000001 of CelebA, in the folder val; the mapping knows a number 1, which is 000002.jpg of train.
    published.pictures(root, "celeba_hq/val/female/000001.jpg")
    manifest, said = converted("celeba-hq", root)
    found = {s.path.name: (s.split, s.group) for s in manifest}
    assert found["000001.jpg"] == ("valid", "")
    assert found["1.jpg"] == ("train", "celeba-7")
    assert any("1 files have CelebA's numbers" in text for text in said)
    with pytest.raises(ConfigError, match="mapping is for CelebA-HQ's numbers"):
        converted("celeba-hq", root, mapping=str(root / "CelebA-HQ-to-CelebA-mapping.txt"))
    part, _ = converted("celeba-hq", root / "celeba_hq" / "val")
    assert [(s.split, s.group) for s in part] == [("valid", "")]


@pytest.mark.parametrize(
    "name", ["celebahq_pggan_fake", "celeba-hq-fake", "CelebAHQ_stylegan", "celeba_hq_synth"]
)
def test_fakes_after_celeba_hq_are_not_real(tmp_path, name):
    published.pictures(tmp_path / "hq", "celeba_hq_256/1.jpg", f"{name}/0.jpg")
    with pytest.raises(ManifestError, match="is not one of CelebA-HQ"):
        converted("celeba-hq", tmp_path / "hq")
    with pytest.raises(ManifestError, match="its name is one of fakes"):
        converted("celeba-hq", tmp_path / "hq" / name)
    assert len(converted("celeba-hq", tmp_path / "hq" / "celeba_hq_256")[0]) == 1


def test_a_mapping_that_lacks_a_picture_is_an_error(tmp_path):
    root = published.pictures(published.celeba_hq(tmp_path), "CelebA-HQ-img/3.jpg")
    with pytest.raises(ManifestError, match=r"3\.jpg' is not in CelebA-HQ-to-CelebA-mapping\.txt"):
        converted("celeba-hq", root)


# CNNDetection, folders, tables


def test_each_generator_of_cnndetection_is_a_data_set(tmp_path):
    manifest, said = converted("cnndetection", published.cnndetection(tmp_path))
    assert Counter((s.dataset, s.label, s.generator, s.split) for s in manifest) == {
        ("cnndetection/biggan", REAL, "", "test"): 2,
        ("cnndetection/biggan", FAKE, "biggan", "test"): 1,
        ("cnndetection/progan", REAL, "", "test"): 4,
        ("cnndetection/progan", FAKE, "progan", "test"): 2,
    }
    assert said == []
    some, _ = converted("cnndetection", tmp_path, generators="BigGAN")
    assert {s.dataset for s in some} == {"cnndetection/biggan"}


def test_cnndetection_with_train_and_val_and_one_generator_alone(tmp_path):
    published.cnndetection(tmp_path / "set" / "test")
    for part in ("train", "val"):
        published.touch(tmp_path / "set", f"{part}/airplane/0_real/a.png", f"{part}/airplane/1_fake/a.png")
    published.touch(tmp_path / "set", "test/biggan/logo.png")
    manifest, said = converted("cnndetection", tmp_path / "set")
    assert Counter((s.dataset, s.split) for s in manifest) == {
        ("cnndetection/progan", "train"): 2,
        ("cnndetection/progan", "valid"): 2,
        ("cnndetection/progan", "test"): 6,
        ("cnndetection/biggan", "test"): 3,
    }
    assert said == ["1 images outside of 0_real and 1_fake are passed over: test/biggan/logo.png"]
    alone, _ = converted("cnndetection", tmp_path / "set" / "test" / "biggan")
    assert {s.dataset for s in alone} == {"cnndetection/biggan"}


@pytest.mark.parametrize(
    ("root", "split"), [("progan_train", "train"), ("progan_val", "valid"), ("progan", "test")]
)
def test_folders_of_objects_are_progan(tmp_path, root, split):
    objects = ("airplane", "train")
    names = [f"{root}/{name}/{mark}/a.png" for name in objects for mark in ("0_real", "1_fake")]
    published.touch(tmp_path / "set", *names)
    for place in ("set", f"set/{root}"):
        manifest, _ = converted("cnndetection", tmp_path / place)
        assert Counter((s.dataset, s.generator, s.split) for s in manifest) == {
            ("cnndetection/progan", "", split): 2,
            ("cnndetection/progan", "progan", split): 2,
        }


def test_folders_of_objects_of_nobody_knows_whom_are_refused(tmp_path):
    root = tmp_path / "stylegan"
    published.touch(root, "car/0_real/a.png", "car/1_fake/a.png")
    with pytest.raises(
        ManifestError, match=r"'car' is a category of objects, and no generator.*the folder above"
    ):
        converted("cnndetection", root)
    manifest, _ = converted("cnndetection", tmp_path)
    assert {s.dataset for s in manifest} == {"cnndetection/stylegan"}


def test_a_split_with_one_class_is_said(tmp_path):
    root = published.cnndetection(tmp_path / "set" / "test").parent
    published.touch(root, "train/cat/1_fake/a.png")
    _, said = converted("cnndetection", root)
    assert said == [
        "cnndetection/progan: there is nothing real in its split train; nothing can be told apart in it"
    ]


def test_a_generator_without_fakes_is_an_error(tmp_path):
    root = published.pictures(published.cnndetection(tmp_path), "san/0_real/0.png")
    with pytest.raises(ManifestError, match="cnndetection/san has 1 files, but no fake ones"):
        converted("cnndetection", root)


def test_folders_and_tables_go_the_same_way(tmp_path):
    manifest, said = converted(
        "folder", published.touch(published.folder(tmp_path / "set"), "real/notes.txt")
    )
    assert [(s.label, s.dataset, s.generator) for s in manifest] == [
        (FAKE, "set", "dcgan"),
        (REAL, "set", ""),
    ]
    assert said == ["1 files are passed over: real/notes.txt"]
    published.csv(tmp_path / "t")
    (tmp_path / "t" / "table.csv").write_text("file,class\na.png,real\nb.png,odd\n")
    options = {"path": "file", "label": "class", "skip_label": "odd"}
    table, said = converted("csv", tmp_path / "t" / "table.csv", **options)
    assert [s.label for s in table] == [REAL]
    assert said == ["rows with the label 'odd' are left out"]
    (tmp_path / "t" / "table.csv").write_text("path,label\na.png,1\nb.png,0\n")
    table, said = converted("csv", tmp_path / "t" / "table.csv")
    assert table.labels == [FAKE, REAL]
    assert "1 was read as fake" in said[0]
    table, said = converted("csv", tmp_path / "t" / "table.csv", label_of="1=real, 0=fake")
    assert (table.labels, said) == ([REAL, FAKE], [])
    with pytest.raises(ConfigError, match="label_of takes WORD=real and WORD=fake"):
        converted("csv", tmp_path / "t" / "table.csv", label_of="real")
    with pytest.raises(ManifestError, match="no column 'pixels'"):
        converted("csv", tmp_path / "t" / "table.csv", pixels="file")
