"""Converters of video sets: labels, generators, groups and official splits, on small trees."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import numpy as np
import pytest

import published
from tellsign.data.convert import convert
from tellsign.types import FAKE, REAL, ConfigError, ManifestError


def converted(name, root, **options):
    """The manifest, and what was warned of."""
    said = []
    return convert(name, root, warn=said.append, **options), said


def rows(manifest):
    return {sample.path.name: sample for sample in manifest}


def groups(manifest):
    found = defaultdict(set)
    for sample in manifest:
        found[sample.group].add(sample.path.stem)
    return dict(found)


# FaceForensics++


def test_faceforensics_counts_labels_and_generators(tmp_path):
    manifest, _ = converted("faceforensics", published.faceforensics(tmp_path))
    assert Counter((s.dataset, s.label, s.generator) for s in manifest) == {
        ("faceforensics++/c23", REAL, ""): 8,
        ("faceforensics++/c23", FAKE, "deepfakes"): 8,
        ("faceforensics++/c23", FAKE, "face2face"): 8,
        ("faceforensics++/c23", FAKE, "faceswap"): 8,
        ("faceforensics++/c23", FAKE, "neuraltextures"): 8,
        ("faceforensics++/c23", FAKE, "faceshifter"): 8,
        ("deepfakedetection/c23", REAL, ""): 4,
        ("deepfakedetection/c23", FAKE, "deepfakedetection"): 2,
    }
    assert not [s for s in manifest if "masks" in s.path.parts]


def test_the_pairs_of_faceforensics_are_groups_and_follow_the_official_split(tmp_path):
    manifest, _ = converted("faceforensics", published.faceforensics(tmp_path), methods="deepfakes")
    assert groups(manifest) == {
        "ff++-054-071": {"071", "054", "071_054", "054_071"},
        "ff++-081-087": {"087", "081", "087_081", "081_087"},
        "ff++-672-720": {"720", "672", "720_672", "672_720"},
        "ff++-953-974": {"953", "974", "953_974", "974_953"},
    }
    assert Counter(s.split for s in manifest) == {"train": 8, "valid": 4, "test": 4}
    assert {s.split for s in manifest if s.group == "ff++-672-720"} == {"valid"}


def test_faceforensics_of_full_size_is_warned_of_by_nothing(tmp_path):
    """All names of the recordings and of one method, divided as the official lists divide them."""
    names = [f"{n:03d}" for n in np.random.default_rng(0).permutation(1000)]
    pairs = [[names[n], names[n + 1]] for n in range(0, 1000, 2)]
    for file, part in (("train", pairs[:360]), ("val", pairs[360:430]), ("test", pairs[430:])):
        published.write_json(tmp_path / "splits" / f"{file}.json", part)
    published.touch(tmp_path, *(f"original_sequences/youtube/c23/videos/{name}.mp4" for name in names))
    fakes = [f"{a}_{b}.mp4" for pair in pairs for a, b in (pair, pair[::-1])]
    published.touch(tmp_path, *(f"manipulated_sequences/Deepfakes/c23/videos/{name}" for name in fakes))
    manifest, said = converted("faceforensics", tmp_path)
    assert said == []
    parts = {"train": (360, 720), "valid": (70, 140), "test": (70, 140)}
    for split, (n_pairs, n_ids) in parts.items():
        part = manifest.filter(split=split)
        assert Counter(part.labels) == {REAL: n_ids, FAKE: n_ids}
        assert len({sample.group for sample in part}) == n_pairs
    assert len({sample.group for sample in manifest}) == 500
    (tmp_path / "original_sequences/youtube/c23/videos" / f"{names[0]}.mp4").unlink()
    published.write_json(tmp_path / "splits" / "train.json", pairs[1:360])
    for name in fakes[:2]:
        (tmp_path / "manipulated_sequences/Deepfakes/c23/videos" / name).unlink()
    (tmp_path / "original_sequences/youtube/c23/videos" / f"{names[1]}.mp4").unlink()
    assert converted("faceforensics", tmp_path)[1] == [
        "not the published number of files: pairs in train 359 of 360",
        "not the published number of files: youtube c23 998 of 1,000, Deepfakes c23 998 of 1,000",
    ]


def test_compressions_are_data_sets_with_common_groups(tmp_path):
    root = published.faceforensics(tmp_path, ("raw", "c23", "c40"))
    manifest, _ = converted("faceforensics", root)
    sets = {s.dataset for s in manifest}
    assert sets == {
        f"{n}/{c}" for n in ("faceforensics++", "deepfakedetection") for c in ("c0", "c23", "c40")
    }
    assert len({s.group for s in manifest if s.path.stem == "071_054"}) == 1
    only, _ = converted("faceforensics", root, compression="C40", methods="FaceSwap,face2face")
    assert {(s.dataset, s.generator) for s in only} == {
        ("faceforensics++/c40", g) for g in ("", "faceswap", "face2face")
    }


def test_actors_that_a_fake_links_are_one_group(tmp_path):
    manifest, said = converted(
        "faceforensics", published.faceforensics(tmp_path), methods="DeepFakeDetection"
    )
    found = groups(manifest)
    assert found["dfd-04"] == {"04__kitchen_pan"}
    assert len(found["dfd-01"]) == 5
    assert {s.split for s in manifest} == {""}
    assert not [text for text in said if "one group" in text]
    (tmp_path / "original_sequences/actors/c23/videos/04__kitchen_pan.mp4").unlink()
    _, said = converted("faceforensics", tmp_path, methods="DeepFakeDetection")
    assert any("link all 3 actors" in text for text in said)


def test_without_lists_the_split_is_empty_and_the_groups_stay(tmp_path):
    with_lists, _ = converted("faceforensics", published.faceforensics(tmp_path / "a"))
    manifest, said = converted("faceforensics", published.faceforensics(tmp_path / "b", splits=False))
    assert {s.split for s in manifest} == {""}
    assert groups(manifest) == groups(with_lists)
    assert any("split is left empty" in text and "splits=FOLDER" in text for text in said)
    manifest, said = converted("faceforensics", tmp_path / "b", splits=str(tmp_path / "a" / "splits"))
    assert Counter(s.split for s in manifest)["test"] == 12
    assert not [text for text in said if "left empty" in text]


def test_missing_files_are_warned_of_with_names(tmp_path):
    root = published.faceforensics(tmp_path)
    (root / "original_sequences/youtube/c23/videos/071.mp4").unlink()
    (root / "original_sequences/actors/c23/videos/02__kitchen_pan.mp4").unlink()
    _, said = converted("faceforensics", root)
    text = "\n".join(said)
    assert "youtube c23 7 of 1,000" in text
    assert "Deepfakes c23 8 of 1,000" in text
    assert "pairs in train 2 of 360" in text
    assert "the original of 6 fakes is not there: DeepFakeDetection/02_03__kitchen_pan__0XUW13RW.mp4" in text


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train.json", '[["071", "054"],\n ["087"', "line 2, column 8: not valid JSON"),
        ("train.json", '[["071", "054"], ["087", 81]]', "entry 2: expected a pair"),
        ("train.json", '{"071": "054"}', "expected a list of pairs"),
        ("val.json", '[["720", "672"], ["071", "999"]]', "071 is in train already"),
        ("test.json", '[["953", "000"]]', "the recording 974 is in none of the official splits"),
        ("train.json", '[["071", "720"], ["087", "081"]]', "720 is in train already"),
    ],
)
def test_broken_lists_are_errors_with_the_place(tmp_path, file, content, message):
    root = published.faceforensics(tmp_path)
    (root / "splits" / file).write_text(content)
    with pytest.raises(ManifestError) as caught:
        converted("faceforensics", root)
    assert message in str(caught.value)


def test_a_fake_of_two_splits_is_an_error(tmp_path):
    root = published.faceforensics(tmp_path)
    published.touch(root, "manipulated_sequences/Deepfakes/c23/videos/071_953.mp4")
    with pytest.raises(ManifestError, match=r"071_953.mp4'?: 071 is in train, 953 in test"):
        converted("faceforensics", root)


def test_one_list_of_three_is_an_error(tmp_path):
    root = published.faceforensics(tmp_path)
    (root / "splits" / "val.json").unlink()
    with pytest.raises(ManifestError, match=r"val\.json' cannot be read"):
        converted("faceforensics", root)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("original_sequences/youtube/c23/videos/hello.mp4", "has a name like 000.mp4"),
        ("manipulated_sequences/FaceSwap/c23/videos/000.mp4", "has a name like 000_003.mp4"),
        ("original_sequences/youtube/c0/videos/071.mp4", "faceforensics\\+\\+/c0 has 1 files, but no fake"),
    ],
)
def test_what_cannot_be_understood_is_an_error(tmp_path, extra, message):
    root = published.touch(published.faceforensics(tmp_path), extra)
    with pytest.raises(ManifestError, match=message):
        converted("faceforensics", root)


def test_raw_and_c0_at_once_is_an_error(tmp_path):
    root = published.faceforensics(tmp_path, ("raw", "c0"))
    with pytest.raises(ManifestError, match="both c0 and raw"):
        converted("faceforensics", root)


def test_files_that_archives_leave_behind_are_not_videos(tmp_path):
    root = published.faceforensics(tmp_path)
    n = len(converted("faceforensics", root)[0])
    published.touch(root, "original_sequences/youtube/c23/videos/._071.mp4")
    assert len(converted("faceforensics", root)[0]) == n


# Celeb-DF


@pytest.mark.parametrize("name", ["celeb-df-v1", "celeb-df-v2"])
def test_celeb_df_has_the_list_as_test_and_no_leak(tmp_path, name):
    manifest, said = converted(name, published.celeb_df(tmp_path))
    found = rows(manifest)
    assert {n for n, s in found.items() if s.split == "test"} == {
        "00170.mp4",
        "id0_0000.mp4",
        "id0_id1_0000.mp4",
    }
    assert found["id0_0000.mp4"].label == REAL
    assert found["id0_id1_0000.mp4"].label == FAKE
    # It shares its recording with a listed fake, but is not listed.
    assert "id0_id2_0000.mp4" not in found
    assert any("1 videos outside of the test list share their recording" in text for text in said)
    assert groups(manifest)[f"{name}-id0_0001"] == {"id0_0001", "id0_id1_0001"}
    assert {s.dataset for s in manifest} == {name}
    assert Counter(s.generator for s in manifest) == {"": 6, "celeb-df": 3}


def test_celeb_df_v1_of_full_size_is_warned_of_by_nothing(tmp_path):
    recordings = [f"id{n // 3}_{n % 3:04d}" for n in range(158)]
    fakes = [
        f"{person}_id{90 + k}_{number}"
        for n, (person, number) in enumerate(name.split("_") for name in recordings)
        for k in range(5 + (n < 5))
    ]
    youtube = [f"{n:05d}" for n in range(250)]
    tested = recordings[-8:]  # with all of their fakes, which the true list has not
    own = [name for name in fakes if f"{name.split('_')[0]}_{name.split('_')[2]}" in tested]
    folders = {"Celeb-real": recordings, "Celeb-synthesis": fakes, "YouTube-real": youtube}
    assert [len(names) for names in folders.values()] == [158, 795, 250]
    for folder, names in folders.items():
        published.touch(tmp_path / folder, *(f"{name}.mp4" for name in names))
    lines = [f"1 Celeb-real/{name}.mp4" for name in tested]
    lines += [f"0 Celeb-synthesis/{name}.mp4" for name in own]
    lines += [f"1 YouTube-real/{name}.mp4" for name in youtube[: 100 - len(lines)]]
    (tmp_path / "List_of_testing_videos.txt").write_text("\n".join(lines))
    manifest, said = converted("celeb-df-v1", tmp_path)
    assert said == []
    assert Counter(s.split for s in manifest) == {"train": 1103, "test": 100}
    (tmp_path / "List_of_testing_videos.txt").write_text("\n".join(lines[:-1]))
    for folder, names in folders.items():
        (tmp_path / folder / f"{names[0]}.mp4").unlink()
    said = converted("celeb-df-v1", tmp_path, test_list="none")[1]
    assert said[0] == (
        "not the published number of files: Celeb-real 157 of 158, YouTube-real 249 of 250, "
        "Celeb-synthesis 794 of 795"
    )
    said = converted("celeb-df-v1", tmp_path)[1]
    assert said[0] == "not the published number of files: List_of_testing_videos.txt 99 of 100"


def test_celeb_df_by_identity(tmp_path):
    manifest, said = converted("celeb-df-v2", published.celeb_df(tmp_path), group="identity")
    # Every person is linked with id0, who is in the list.
    assert {s.path.name for s in manifest if s.split == "train"} == {"00000.mp4"}
    assert any("6 videos outside of the test list share their identity" in text for text in said)
    everything, _ = converted("celeb-df-v2", tmp_path, group="identity", test_list="none")
    assert len(everything) == 10
    assert {s.split for s in everything} == {""}
    assert len({s.group for s in everything}) == 3


def test_celeb_df_without_a_list(tmp_path):
    (published.celeb_df(tmp_path) / "List_of_testing_videos.txt").unlink()
    manifest, said = converted("celeb-df-v2", tmp_path)
    assert len(manifest) == 10
    assert {s.split for s in manifest} == {""}
    assert any("split is left empty" in text for text in said)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 Celeb-real/id0_0000.mp4", "line 2: 'Celeb-real/id0_0000.mp4' is marked 0, which is fake here"),
        ("1 Celeb-synthesis/id0_id1_0000.mp4", "line 2: .*is marked 1, which is real here"),
        ("2 Celeb-real/id0_0000.mp4", "line 2: expected e.g. 1 YouTube-real/00170.mp4"),
        ("1 Celebs/id0_0000.mp4", "line 2: expected e.g."),
        ("Celeb-real/id0_0000.mp4", "line 2: expected 0 or 1 and FOLDER"),
        ("1 YouTube-real/00170.mp4", "line 2: .*is listed twice"),
    ],
)
def test_lines_that_are_not_of_the_list_are_errors(tmp_path, line, message):
    root = published.celeb_df(tmp_path)
    (root / "List_of_testing_videos.txt").write_text(f"1 YouTube-real/00170.mp4\n{line}\n")
    with pytest.raises(ManifestError, match=message):
        converted("celeb-df-v2", root)


def test_listed_videos_and_originals_that_are_missing_are_warned_of(tmp_path):
    root = published.celeb_df(tmp_path)
    (root / "Celeb-real" / "id0_0000.mp4").unlink()
    _, said = converted("celeb-df-v2", root)
    text = "\n".join(said)
    assert "1 of the listed test videos are not there: Celeb-real/id0_0000.mp4" in text
    assert "the original of 2 fakes is not in Celeb-real: Celeb-synthesis/id0_id1_0000.mp4" in text
    assert "Celeb-real 3 of 590" in text
    assert "List_of_testing_videos.txt 3 of 518" in text
    (root / "List_of_testing_videos.txt").write_text("1 YouTube-real/99999.mp4\n")
    with pytest.raises(ManifestError, match="lists none of the videos"):
        converted("celeb-df-v2", root)


def test_celeb_df_with_videos_folders_and_another_case(tmp_path):
    root = published.celeb_df(tmp_path / "a")
    other = tmp_path / "b"
    for path in sorted(root.rglob("*.mp4")):
        name = path.parent.name.replace("YouTube", "Youtube")
        published.touch(other, f"{name}/videos/{path.name}")
    (other / "List_of_testing_videos.txt").write_bytes(
        (root / "List_of_testing_videos.txt").read_bytes().replace(b"\n", b"\r\n")
    )
    plain, _ = converted("celeb-df-v2", root)
    nested, _ = converted("celeb-df-v2", other)
    assert [(s.path.name, s.split, s.group) for s in plain] == [
        (s.path.name, s.split, s.group) for s in nested
    ]


def test_a_missing_folder_shows_what_was_expected_and_found(tmp_path):
    root = published.touch(tmp_path, "Celeb-real/id0_0000.mp4", "photos/a.png", "notes.txt")
    with pytest.raises(ManifestError) as caught:
        converted("celeb-df-v2", root)
    text = str(caught.value)
    assert "there is no folder YouTube-real" in text
    assert "Celeb-synthesis/id0_id1_0000.mp4" in text.partition("expected below it:")[2]
    assert "Celeb-real/ (id0_0000.mp4 …)" in text.partition("found:")[2]
    assert "notes.txt" in text.partition("found:")[2]


# DFDC


def test_dfdc_reads_every_kind_of_list(tmp_path):
    manifest, said = converted("dfdc", published.dfdc(tmp_path))
    assert Counter((s.split, s.label) for s in manifest) == {
        ("train", REAL): 2, ("train", FAKE): 4, ("valid", REAL): 1, ("valid", FAKE): 1,
        ("test", REAL): 1, ("test", FAKE): 1,
    }  # fmt: skip
    assert groups(manifest) == {
        "dfdc-aa": {"aa", "ab", "ab2"},
        "dfdc-ba": {"ba", "bb", "bb2"},
        "": {"va", "vb", "ta", "tb"},
    }
    assert {(s.label, s.generator) for s in manifest} == {(REAL, ""), (FAKE, "dfdc")}
    assert said == []


def test_dfdc_by_part_and_one_part_alone(tmp_path):
    manifest, _ = converted("dfdc", published.dfdc(tmp_path), group="part")
    assert {s.group for s in manifest} == {"dfdc-dfdc_train_part_0", "dfdc-dfdc_train_part_1", ""}
    alone, _ = converted("dfdc", tmp_path / "dfdc_train_part_0")
    assert len(alone) == 3


def test_dfdc_says_what_is_missing(tmp_path):
    root = published.dfdc(tmp_path)
    (root / "dfdc_train_part_0" / "ab.mp4").unlink()
    published.touch(root, "dfdc_train_part_0/stray.mp4")
    path = root / "dfdc_train_part_1" / "metadata.json"
    path.write_text(path.read_text().replace('"original": "ba.mp4"', '"original": "zz.mp4"'))
    manifest, said = converted("dfdc", root)
    text = "\n".join(said)
    assert "ab.mp4" not in rows(manifest)
    assert "1 videos of" in text
    assert "are not there: ab.mp4" in text
    assert "are not in it: stray.mp4" in text
    assert "1 originals that fakes name are in no list: zz.mp4" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"aa.mp4": {"label": "REAL"},\n', "line 2, column 1: not valid JSON"),
        ('{"aa.mp4": {"label": "MAYBE"}}', 'expected "label": "REAL" or "FAKE"'),
        ('{"aa.mp4": {}}', 'expected "label": "REAL" or "FAKE"'),
        ('{"aa.mp4": "REAL"}', "expected names of videos"),
        ('{"ab.mp4": {"label": "FAKE", "split": "train"}}', "its original is not named"),
        ('{"ab.mp4": {"label": "FAKE", "split": "train", "original": null}}', "its original is not named"),
        ('{"aa.mp4": {"label": "REAL", "original": "ab.mp4"}}', "a real video with an original"),
        ('{"aa.mp4": {"label": "REAL"}, "aa.mp4": {"label": "FAKE"}}', "names 'aa.mp4' twice"),
        ("[" * 100_000, "not a list of samples"),
    ],
    ids=range(9),
)
def test_broken_metadata_is_an_error(tmp_path, content, message):
    root = published.dfdc(tmp_path)
    (root / "dfdc_train_part_0" / "metadata.json").write_text(content)
    with pytest.raises(ManifestError, match=message):
        converted("dfdc", root)


def test_words_of_the_folder_are_the_split_of_dfdc(tmp_path):
    root = published.dfdc(tmp_path / "set")
    (root / "test").rename(root / "dfdc_test")
    (root / "validation").rename(root / "DFDC-Validation_set")
    manifest, said = converted("dfdc", root)
    assert {name: rows(manifest)[name].split for name in ("va.mp4", "ta.mp4")} == {
        "va.mp4": "valid",
        "ta.mp4": "test",
    }
    assert said == []
    (root / "dfdc_test").rename(root / "more")
    manifest, said = converted("dfdc", root)
    assert rows(manifest)["ta.mp4"].split == ""
    (warning,) = said
    assert warning.startswith("2 videos of")
    assert "have no split" in warning


def test_a_fake_without_an_original_is_kept_where_that_is_asked(tmp_path):
    root = published.dfdc(tmp_path)
    path = root / "dfdc_train_part_0" / "metadata.json"
    facts = json.loads(path.read_text())
    del facts["ab.mp4"]["original"]
    path.write_text(json.dumps(facts))
    manifest, _ = converted("dfdc", root, orphans="keep")
    assert groups(manifest)["dfdc-ab"] == {"ab"}


def test_labels_csv_is_read_with_line_numbers(tmp_path):
    root = published.dfdc(tmp_path)
    (root / "validation" / "labels.csv").write_text("filename,label\nva.mp4,0\nvb.mp4,FAKE\n")
    with pytest.raises(ManifestError, match="line 3: a label is 0 or 1, found 'FAKE'"):
        converted("dfdc", root)


def test_the_preview_of_dfdc(tmp_path):
    manifest, said = converted("dfdc-preview", published.dfdc_preview(tmp_path))
    assert Counter((s.split, s.label, s.generator) for s in manifest) == {
        (part, label, generator): n
        for part in ("train", "test")
        for label, generator, n in ((REAL, "", 2), (FAKE, "dfdc-preview-a", 1), (FAKE, "dfdc-preview-b", 1))
    }
    assert {(s.group, s.split) for s in manifest} == {("dfdc-preview-1", "train"), ("dfdc-preview-3", "test")}
    assert said == []


@pytest.mark.parametrize(
    ("name", "facts", "message"),
    [
        ("method_A/3/3_A/3_1_A_9.mp4", ("fake", "test", 3, 1), "is in two splits"),
        ("method_A/3/3_A/3_1_A_9.mp4", ("real", "test", 3, None), "with a label that agrees"),
        ("method_A/3/3_A/3_1_A_9.mp4", ("fake", "later", 3, 4), '"set": "train" or "test"'),
        ("method_C/3/3_A/3_1_A_9.mp4", ("fake", "test", 3, 4), "expected a video below original_videos"),
        ("method_A/3/3_A/3_1_A_9.mp4", ("fake", "test", 3, None), "expected target_id and swapped_id"),
    ],
)
def test_the_preview_contradicts_itself(tmp_path, name, facts, message):
    root = published.dfdc_preview(tmp_path)
    published.touch(root, name)
    entries = json.loads((root / "dataset.json").read_text())
    entries[name] = dict(zip(("label", "set", "target_id", "swapped_id"), facts, strict=True))
    (root / "dataset.json").write_text(json.dumps(entries))
    with pytest.raises(ManifestError, match=message):
        converted("dfdc-preview", root)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("faceforensics", {"compression": "c10"}, "compression takes c0, c23, c40, found 'c10'"),
        ("faceforensics", {"methods": "Deepfake"}, "methods takes Deepfakes, Face2Face"),
        ("faceforensics", {"splits": "nowhere"}, "splits: there is no 'nowhere'"),
        ("celeb-df-v2", {"group": "person"}, "group takes recording, identity"),
        ("celeb-df-v2", {"test_list": "nowhere.txt"}, "there is no 'nowhere.txt'"),
        ("dfdc", {"group": "person"}, "group takes original, part"),
        ("dfdc", {"orphans": "drop"}, "orphans takes error, keep"),
    ],
)
def test_options_that_have_no_meaning_are_errors(tmp_path, name, options, message):
    with pytest.raises(ConfigError, match=message):
        convert(name, published.TREES[name](tmp_path), **options)
