"""Small trees with the names of published data sets, made here and now: what a download holds, in small.

Videos are empty files, since no converter looks into one; images are generated. Functions return the root.
"""

from __future__ import annotations

import json
from pathlib import Path

from pictures import natural, save, upsampled


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def pictures(root: Path, *names: str, fake: bool = False) -> Path:
    for number, name in enumerate(names):
        save((upsampled if fake else natural)(number, 16, 16), root / name)
    return root


def faceforensics(root: Path, compressions: tuple[str, ...] = ("c23",), *, splits: bool = True) -> Path:
    """Four pairs: two of train, one of valid, one of test; fakes in both directions; three actors."""
    pairs = {"train": [["071", "054"], ["087", "081"]], "val": [["720", "672"]], "test": [["953", "974"]]}
    for compression in compressions:
        for a, b in (pair for part in pairs.values() for pair in part):
            touch(root, *(f"original_sequences/youtube/{compression}/videos/{x}.mp4" for x in (a, b)))
            for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"):
                folder = f"manipulated_sequences/{method}/{compression}"
                touch(root, f"{folder}/videos/{a}_{b}.mp4", f"{folder}/videos/{b}_{a}.mp4")
                touch(root, f"{folder}/masks/{a}_{b}.mp4")
        actors = f"original_sequences/actors/{compression}/videos"
        touch(root, *(f"{actors}/{n}__kitchen_pan.mp4" for n in ("01", "02", "03", "04")))
        fakes = f"manipulated_sequences/DeepFakeDetection/{compression}/videos"
        touch(root, f"{fakes}/01_02__kitchen_pan__YVGY8LOK.mp4", f"{fakes}/02_03__kitchen_pan__0XUW13RW.mp4")
    if splits:
        for name, part in pairs.items():
            write_json(root / "splits" / f"{name}.json", part)
    return root


def celeb_df(root: Path) -> Path:
    """Three people and a list that takes one of two fakes of a recording, as the true list does."""
    touch(root, *(f"Celeb-real/{n}.mp4" for n in ("id0_0000", "id0_0001", "id1_0000", "id2_0000")))
    touch(root, *(f"YouTube-real/{n:05d}.mp4" for n in (0, 170)))
    fakes = ("id0_id1_0000", "id0_id2_0000", "id0_id1_0001", "id1_id0_0000")
    touch(root, *(f"Celeb-synthesis/{n}.mp4" for n in fakes))
    (root / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00170.mp4\n1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n"
    )
    return root


def dfdc(root: Path) -> Path:
    """Two parts of train, validation with labels.csv and test with is_fake."""
    for part, (a, b) in enumerate((("aa", "ab"), ("ba", "bb"))):
        folder = root / f"dfdc_train_part_{part}"
        touch(folder, f"{a}.mp4", f"{b}.mp4", f"{b}2.mp4")
        real = {"label": "REAL", "split": "train"}
        fake = {"label": "FAKE", "split": "train", "original": f"{a}.mp4"}
        write_json(folder / "metadata.json", {f"{a}.mp4": real, f"{b}.mp4": fake, f"{b}2.mp4": fake})
    touch(root, "validation/va.mp4", "validation/vb.mp4")
    (root / "validation" / "labels.csv").write_text("filename,label\nva.mp4,0\nvb.mp4,1\n")
    touch(root, "test/videos/ta.mp4", "test/videos/tb.mp4")
    write_json(root / "test" / "metadata.json", {"ta.mp4": {"is_fake": 0}, "tb.mp4": {"is_fake": 1}})
    return root


def dfdc_preview(root: Path) -> Path:
    """Two people in train, two in test."""
    entries = {}
    for a, b, part in ((1, 2, "train"), (3, 4, "test")):
        for person in (a, b):
            name = f"original_videos/{person}/{person}_A_001.mp4"
            entries[name] = {"label": "real", "set": part, "target_id": person, "swapped_id": None}
        for method, target, source in (("method_A", a, b), ("method_B", b, a)):
            name = f"{method}/{source}/{source}_A/{target}_{source}_A_001.mp4"
            entries[name] = {"label": "fake", "set": part, "target_id": target, "swapped_id": source}
    touch(root, *entries)
    write_json(root / "dataset.json", entries)
    return root


def dfwild_cup(root: Path) -> Path:
    for part in ("train", "valid"):
        pictures(root, f"{part}_real/a.png", f"{part}_real/b.png")
        pictures(root, *(f"{part}_fake/{n}.png" for n in range(3)), fake=True)
    return pictures(root, "test/t0.png", "test/t1.png")


def faces_hq(root: Path) -> Path:
    pictures(root, "celebA-HQ_10K/0.jpg", "celebA-HQ_10K/1.jpg", "Flickr-Faces-HQ_10K/0.jpg")
    return pictures(root, "100KFake_10K/0.jpg", "thispersondoesntexists_10K/0.jpg", fake=True)


def ffhq(root: Path) -> Path:
    numbers = ("00000", "00001", "59999", "60000", "69999")
    return pictures(root, *(f"images1024x1024/{n[:2]}000/{n}.png" for n in numbers))


def celeba(root: Path) -> Path:
    """Six pictures of four people, two of them twice."""
    names = [f"{n:06d}.jpg" for n in range(1, 7)]
    pictures(root / "Img" / "img_align_celeba", *names)
    for folder, name, marks in (
        ("Eval", "list_eval_partition.txt", "000112"),
        ("Anno", "identity_CelebA.txt", "772339"),
    ):
        (root / folder).mkdir()
        rows = (f"{image} {mark}\n" for image, mark in zip(names, marks, strict=True))
        (root / folder / name).write_text("".join(rows))
    return root


def celeba_hq(root: Path) -> Path:
    """Three of the pictures of `celeba`, under their other numbers, with its lists."""
    pictures(root, *(f"CelebA-HQ-img/{n}.jpg" for n in range(3)))
    touch(root, "CelebAMask-HQ-mask-anno/0/00000_hair.png")
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text(
        "idx      orig_idx       orig_file\n0        0       000001.jpg\n"
        "1        1       000002.jpg\n2        5       000006.jpg\n"
    )
    (root / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 0\n000006.jpg 2\n")
    (root / "identity_CelebA.txt").write_text("000001.jpg 7\n000002.jpg 7\n000006.jpg 9\n")
    return root


def lsun(root: Path) -> Path:
    return pictures(root, "bedroom_train/a/b/x.webp", "bedroom_val/y.webp", "church_outdoor_train/z.webp")


def cnndetection(root: Path) -> Path:
    for folder in ("biggan", "progan/airplane", "progan/cat"):
        pictures(root, f"{folder}/0_real/00000.png", f"{folder}/0_real/00001.png")
        pictures(root, f"{folder}/1_fake/00000.png", fake=True)
    return root


def folder(root: Path) -> Path:
    return pictures(pictures(root, "real/a.png"), "fake/dcgan/b.png", fake=True)


def csv(root: Path) -> Path:
    """The path of the table."""
    pictures(root, "a.png", "b.png")
    (root / "table.csv").write_text("path,label\na.png,real\nb.png,fake\n")
    return root / "table.csv"


TREES = {
    "faceforensics": faceforensics,
    "celeb-df-v1": celeb_df,
    "celeb-df-v2": celeb_df,
    "dfdc": dfdc,
    "dfdc-preview": dfdc_preview,
    "dfwild-cup": dfwild_cup,
    "faces-hq": faces_hq,
    "ffhq": ffhq,
    "celeba": celeba,
    "celeba-hq": celeba_hq,
    "lsun": lsun,
    "cnndetection": cnndetection,
    "folder": folder,
    "csv": csv,
}
