"""The manifest: read with line numbers in its errors, written, filtered, digested and split."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tellsign.data import Manifest, read, write
from tellsign.data.index import with_checksums
from tellsign.types import FAKE, REAL, ManifestError, Sample

HEADER = "path,label,dataset,generator,group,video,frame,split,sha256"


@pytest.fixture
def folder(tmp_path):
    """Five files, a.png to e.png, with one letter in each."""
    for letter in "abcde":
        (tmp_path / f"{letter}.png").write_text(letter)
    return tmp_path


def table(folder, *rows, header="path,label", name="manifest.csv"):
    path = folder / name
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8", errors="surrogateescape")
    return path


def samples(n, *, label=None, dataset="d", group="", split=""):
    return [
        Sample(
            path=Path(f"/{dataset}/{label}/{i}.png"),
            label=i % 2 if label is None else label,
            dataset=dataset,
            group=group and f"{group}{i}",
            split=split,
        )
        for i in range(n)
    ]


# reading


def test_every_column_is_read(folder):
    checksum = "0123456789abcdef" * 4
    row = f"a.png,fake,celeba,dcgan,person 7,v.mp4,1.5,valid,{checksum}"
    [sample] = read(table(folder, row, header=HEADER))
    assert sample == Sample(
        folder / "a.png", FAKE, "celeba", "dcgan", "person 7", "v.mp4", 1.5, "valid", checksum
    )


def test_what_is_not_needed_may_be_missing_and_other_columns_are_left_out(folder):
    manifest = read(table(folder, "9,real,a.png", "9,,b.png", header="width,label,path"))
    assert [s.label for s in manifest] == [REAL, None]
    assert manifest[0] == Sample(folder / "a.png", REAL)


@pytest.mark.parametrize(("text", "label"), [("real", 0), ("fake", 1), ("0", 0), ("1", 1), ("", None)])
def test_labels(folder, text, label):
    assert read(table(folder, f"a.png,{text}"))[0].label == label


def test_paths_are_relative_to_the_manifest(folder, monkeypatch):
    (folder / "deep").mkdir()
    table(folder / "deep", "../a.png,real", f"{folder}/b.png,fake")
    monkeypatch.chdir("/")
    manifest = read(folder / "deep" / "manifest.csv")
    assert [s.path.read_text() for s in manifest] == ["a", "b"]
    monkeypatch.chdir(folder)
    assert [s.path.read_text() for s in read("deep/manifest.csv")] == ["a", "b"]


def test_a_byte_order_mark_and_crlf_are_read(folder):
    (folder / "m.csv").write_bytes("\ufeffpath,label\r\na.png,real\r\n".encode())
    assert read(folder / "m.csv")[0].path == folder / "a.png"


@pytest.mark.parametrize(
    ("rows", "messages"),
    [
        (["a.png,real", "b.png,real", "a.png,real"], ["line 4: the path 'a.png' stands on line 2 already"]),
        (["a.png,real", "x/../a.png,real"], ["line 3: the path 'x/../a.png' stands on line 2 already"]),
        (["a.png,real", "z.png,fake"], ["line 3: there is no file", "z.png"]),
        (["a.png,real", f"{'z' * 5000},fake"], ["line 3: there is no file"]),
        ([".,real"], ["line 2: there is no file"]),
        (["a.png,real", "b.png,Fake"], ["line 3: unknown label 'Fake'; expected real, fake or nothing"]),
        (["a.png,2"], ["line 2: unknown label '2'"]),
        ([",real"], ["line 2: the path is empty"]),
        (["a.png,real", "b.png,real,c", "c.png,real"], ["line 3: 3 cells, the header has 2"]),
        (["z.png,real", "a.png,reel"], ["2 bad rows", "line 2: there is no", "line 3: unknown label"]),
        (["a.png,real", '"b.png,real'], ["after line 2", "unexpected end of data"]),
        (["a.png,real", '"b"c.png,real', "c.png,real"], ["after line 2", "expected after"]),
    ],
)
def test_faults_are_named_with_their_lines(folder, rows, messages):
    path = table(folder, *rows)
    with pytest.raises(ManifestError) as caught:
        read(path)
    for message in (str(path), *messages):
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b.png,real,,,,,,Train,", "line 3: unknown split 'Train'; expected train, valid, test or nothing"),
        ("b.png,real,,,,,later,,", "line 3: frame 'later' is not a time in seconds"),
        ("b.png,real,,,,,nan,,", "line 3: frame 'nan' is not a time in seconds"),
        ("b.png,real,,,,,,,abc", "line 3: sha256 'abc' is not 64 hexadecimal digits"),
        ("b.png,fake,,,anna,,,valid,", "line 3: group 'anna' is in split valid here and in train on line 2"),
    ],
)
def test_faults_of_other_columns(folder, row, message):
    with pytest.raises(ManifestError, match="1 bad rows") as caught:
        read(table(folder, "a.png,real,,,anna,,,train,", row, header=HEADER))
    assert message in str(caught.value)


def test_a_video_without_a_group_stays_in_one_split(folder):
    """As in every split of ours: a video is known by its data set, generator and name."""
    rows = ("a.png,real,x,,,v,,train,", "b.png,real,x,,,v,,train,", "c.png,fake,x,g,,v,,test,")
    assert len(read(table(folder, *rows, header=HEADER))) == 3
    wanted = r"line 4: video 'x//v' is in split test here and in train on line 2; a group, or a video"
    with pytest.raises(ManifestError, match=wanted):
        read(table(folder, *rows[:2], "d.png,real,x,,,v,,test,", header=HEADER))
    grouped = ("a.png,real,x,,anna,v,,train,", "b.png,real,x,,ben,v,,test,")
    assert len(read(table(folder, *grouped, header=HEADER))) == 2, "the group says more than the video"


def test_a_group_may_have_rows_that_are_not_split(folder):
    rows = ("a.png,real,anna,train", "b.png,real,anna,", "c.png,fake,anna,train")
    assert len(read(table(folder, *rows, header="path,label,group,split"))) == 3


def test_ten_faults_are_named_and_the_others_counted(folder):
    with pytest.raises(ManifestError) as caught:
        read(table(folder, *(f"no{i}.png,real" for i in range(25))))
    assert str(caught.value).count("line ") == 10
    assert "has 25 bad rows" in str(caught.value)
    assert "and 15 more" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"path,label\n", "has no rows"),
        (b"a.png,real\nb.png,fake\n", "line 1: a manifest's header has path and label; found 'a.png, real'"),
        (b"path,split\na.png,train\n", "header has path and label"),
        (b"path,label,path\na.png,real,b.png\n", "two columns 'path'"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", "m.csv"),
    ],
    ids=["empty", "blank", "no rows", "no header", "no label", "twice", "image"],
)
def test_what_is_no_manifest(folder, content, message):
    (folder / "m.csv").write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        read(folder / "m.csv")


def test_no_file_and_a_folder_are_no_manifests(folder):
    for path in (folder / "none.csv", folder):
        with pytest.raises(ManifestError, match="cannot be read"):
            read(path)


def test_files_need_not_be_there_when_nobody_asks(folder):
    assert len(read(table(folder, "gone.png,real"), check_files=False)) == 1


# writing


def test_what_is_written_is_read(folder):
    manifest = read(
        table(
            folder,
            "a.png,real,set A,,g1,,,train," + "0" * 64,
            "b.png,fake,set B,sg2,g2,v.mp4,0.1,,",
            header=HEADER,
        )
    )
    write(manifest, folder / "new" / "copy.csv")
    assert read(folder / "new" / "copy.csv").samples != manifest.samples  # ../a.png
    assert [s.path.resolve() for s in read(folder / "new" / "copy.csv")] == [
        s.path.resolve() for s in manifest
    ]
    write(read(folder / "new" / "copy.csv"), folder / "again.csv")
    assert read(folder / "again.csv") == manifest
    assert "\na.png,real," in (folder / "again.csv").read_text()
    assert sorted(path.name for path in (folder / "new").iterdir()) == ["copy.csv"], "no draft is left"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize(
    "name",
    [
        b"caf\xe9.png",
        b"\xff\xfe.png",
        "\u732b.png".encode(),
        b'say "a".png',
        b'"',
        b"a,b.png",
        b"a\nb.png",
        b"a\rb.png",
        b"a\r\nb.png",
        b" a ",
        b"'",
        b"\\x41.png",
        b"#a",
        b"-rf",
        b"\x1b[2J.png",
    ],
)
def test_any_name_survives(tmp_path, name):
    (tmp_path / os.fsdecode(name)).touch()
    manifest = Manifest((Sample(tmp_path / os.fsdecode(name), REAL, dataset="\udcff,\r"),))
    write(manifest, tmp_path / "m.csv")
    assert read(tmp_path / "m.csv") == manifest
    assert read(tmp_path / "m.csv").digest() == manifest.digest()


def test_numbers_of_numpy_are_written_as_numbers(folder):
    write(Manifest((Sample(folder / "a.png", REAL, frame=np.float64(0.1)),)), folder / "m.csv")
    assert read(folder / "m.csv")[0].frame == 0.1


@pytest.mark.skipif(os.name == "nt", reason="links need privileges on Windows")
def test_paths_through_links_are_written_as_what_they_mean(folder):
    """Behind a link, ".." leads out of its target: as text the path would be another file."""
    (folder / "far" / "deep").mkdir(parents=True)
    (folder / "far" / "x.png").write_text("the right one")
    (folder / "x.png").write_text("the wrong one")
    (folder / "link").symlink_to(folder / "far" / "deep")
    manifest = read(table(folder / "link", "../x.png,real"))
    assert manifest[0].path.read_text() == "the right one"
    for target in (folder / "out.csv", folder / "link" / "out.csv"):
        write(manifest, target)
        assert read(target)[0].path.read_text() == "the right one"


def test_a_link_keeps_its_own_name(folder):
    (folder / "link.png").symlink_to(folder / "a.png")
    write(read(table(folder, "a.png,real", "link.png,real")), folder / "out.csv")
    assert [s.path.name for s in read(folder / "out.csv")] == ["a.png", "link.png"]


def test_a_manifest_that_cannot_be_written(folder):
    manifest = Manifest((Sample(folder / "a.png", REAL),))
    with pytest.raises(ManifestError, match="cannot write"):
        write(manifest, folder / "a.png" / "m.csv")
    (folder / "m.csv").mkdir()
    with pytest.raises(ManifestError, match="cannot write"):
        write(manifest, folder / "m.csv")
    assert not list(folder.glob(".*"))


# a sequence


def test_it_is_a_sequence():
    manifest = Manifest(tuple(samples(5)))
    assert len(manifest) == 5
    assert isinstance(manifest[1:3], Manifest)
    assert list(manifest[1:3]) == [manifest[1], manifest[2]]
    assert manifest[-1] in manifest
    assert manifest == Manifest(tuple(manifest))
    assert hash(manifest) == hash(Manifest(tuple(manifest)))


def test_labels_are_numbers_and_none_may_be_missing():
    assert Manifest(tuple(samples(4))).labels == [0, 1, 0, 1]
    with pytest.raises(ManifestError, match=r"x.png' has no label"):
        _ = Manifest((*samples(2), Sample(Path("x.png")))).labels


def test_filter():
    manifest = Manifest(
        (
            Sample(Path("a"), REAL, "A", frame=0.5),
            Sample(Path("b"), FAKE, "A", "gan"),
            Sample(Path("c"), FAKE, "B"),
            Sample(Path("d"), None, "B"),
        )
    )

    def names(*args, **columns):
        return "".join(s.path.name for s in manifest.filter(*args, **columns))

    assert names() == "abcd"
    assert names(label=FAKE) == "bc"
    assert names(label=None) == "d"
    assert names(label=[REAL, None]) == "ad"
    assert names(label=FAKE, dataset="A") == "b"
    assert names(dataset=("A", "B"), generator="gan") == "b"
    assert names(path=Path("c")) == "c"
    assert names(frame=0.5) == "a"
    assert names(lambda s: s.path.name > "b", label=FAKE) == "c"
    assert names(dataset="C") == ""
    with pytest.raises(ManifestError, match="no column 'colour' in a manifest; there are path, label"):
        manifest.filter(colour="red")


# the digest


def test_the_digest_does_not_depend_on_the_order():
    manifest = Manifest(tuple(samples(5)))
    assert manifest.digest() == Manifest(tuple(reversed(manifest))).digest()
    assert len(manifest.digest()) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"label": 1},
        {"label": None},
        {"group": "g"},
        {"split": "test"},
        {"sha256": "f" * 64},
        {"path": Path("/z")},
    ],
    ids=str,
)
def test_the_digest_changes_with(change):
    first = {"path": Path("/d/a"), "label": 0, "sha256": "0" * 64 if "path" not in change else ""}
    other = Sample(Path("/d/b"), 1)
    assert Manifest((Sample(**first), other)).digest() != Manifest((Sample(**first | change), other)).digest()


def test_the_digest_changes_with_what_is_there():
    manifest = Manifest(tuple(samples(5)))
    assert manifest.digest() != manifest[:4].digest()
    assert manifest.digest() != Manifest((*manifest, manifest[0])).digest()
    assert Manifest(()).digest() == Manifest(()).digest() != manifest.digest()


def test_with_checksums_the_digest_is_that_of_the_content(folder):
    manifest = with_checksums(read(table(folder, "a.png,real", "b.png,fake")))
    (folder / "a.png").rename(folder / "renamed.png")
    renamed = with_checksums(read(table(folder, "renamed.png,real", "b.png,fake")))
    assert renamed.digest() == manifest.digest()
    (folder / "renamed.png").write_text("other")
    assert with_checksums(read(table(folder, "renamed.png,real", "b.png,fake"))).digest() != manifest.digest()


def test_the_digest_does_not_depend_on_where_the_data_lie(folder, monkeypatch):
    manifest = read(table(folder, "a.png,real", "b.png,fake"))
    monkeypatch.chdir(folder)
    assert read("manifest.csv").digest() == manifest.digest()
    moved = folder / "moved"
    moved.mkdir()
    for name in ("a.png", "b.png", "manifest.csv"):
        (moved / name).write_bytes((folder / name).read_bytes())
    assert read(moved / "manifest.csv").digest() == manifest.digest()
    write(manifest, moved / "pointing-back.csv")
    assert read(moved / "pointing-back.csv").digest() == manifest.digest()


# checksums


def test_checksums_on_demand_find_a_changed_file(folder):
    manifest = with_checksums(read(table(folder, "a.png,real", "b.png,fake")))
    assert manifest[0].sha256 == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert with_checksums(manifest) == manifest
    write(manifest, folder / "m.csv")
    (folder / "b.png").write_text("B")
    with pytest.raises(ManifestError, match=r"b.png' has changed: its sha256 is df7e70e"):
        with_checksums(read(folder / "m.csv"))
    (folder / "b.png").unlink()
    with pytest.raises(ManifestError, match=r"cannot read .*b.png'"):
        with_checksums(manifest)


def test_checksums_may_be_in_capitals(folder):
    manifest = read(table(folder, "a.png,real", "b.png,fake"))
    capitals = [with_checksums(manifest)[i].sha256.upper() for i in range(2)]
    path = table(folder, f"a.png,{capitals[0]},real", f"b.png,{capitals[1]},fake", header="path,sha256,label")
    assert with_checksums(read(path)) == with_checksums(manifest)


# the split


def counts(parts):
    return {name: Counter((s.dataset, s.label) for s in part) for name, part in parts.items()}


def test_shares_are_kept_for_each_data_set_and_label():
    manifest = Manifest(
        (
            *samples(100, label=REAL, dataset="A"),
            *samples(20, label=FAKE, dataset="A"),
            *samples(40, dataset="B"),
        )
    )
    parts = manifest.split({"train": 0.6, "valid": 0.2, "test": 0.2}, seed=0)
    assert counts(parts) == {
        name: {
            ("A", 0): round(100 * s),
            ("A", 1): round(20 * s),
            ("B", 0): round(20 * s),
            ("B", 1): round(20 * s),
        }
        for name, s in (("train", 0.6), ("valid", 0.2), ("test", 0.2))
    }
    for name, part in parts.items():
        assert {s.split for s in part} == {name}


def test_nothing_is_lost_and_the_order_is_kept():
    manifest = Manifest(tuple(samples(31)))
    parts = manifest.split({"train": 0.7, "valid": 0.3}, seed=0)
    assert sorted(s.path for part in parts.values() for s in part) == sorted(s.path for s in manifest)
    order = {s.path: i for i, s in enumerate(manifest)}
    for part in parts.values():
        indices = [order[s.path] for s in part]
        assert indices == sorted(indices)


@pytest.mark.parametrize("sha256", ["", "{:064x}"])
def test_a_split_does_not_depend_on_the_order_of_the_rows(sha256):
    """As the digest doesn't: who has the same manifest in another order makes the same halves of it."""
    rows = tuple(replace(s, sha256=sha256.format(7 * i % 100)) for i, s in enumerate(samples(100)))
    shares = {"select": 0.5, "calibrate": 0.5}
    found = [Manifest(order).split(shares, seed=0) for order in (rows, rows[::-1], rows[50:] + rows[:50])]
    halves = [{name: {s.path for s in half} for name, half in parts.items()} for parts in found]
    assert halves[0] == halves[1] == halves[2]


def test_copies_of_one_file_are_rows_of_their_own():
    """What is copied shows in an audit; a split that held copies together would part too few groups."""
    rows = tuple(replace(s, sha256="0" * 64) for s in samples(20))
    parts = Manifest(rows).split({"train": 0.5, "valid": 0.5}, seed=0)
    assert [len(part) for part in parts.values()] == [10, 10]


def test_no_group_crosses():
    rng = np.random.default_rng(0)
    manifest = Manifest(
        tuple(
            Sample(Path(f"{i}.png"), int(rng.integers(2)), group=f"g{rng.integers(30)}") for i in range(300)
        )
    )
    parts = manifest.split({"train": 0.5, "valid": 0.25, "test": 0.25}, seed=1)
    groups = [{s.group for s in part} for part in parts.values()]
    assert set.union(*groups) == {s.group for s in manifest}
    assert sum(map(len, groups)) == 30


def test_a_large_group_goes_where_it_fits():
    large = [Sample(Path(f"large{i}"), 0, group="large") for i in range(50)]
    small = [Sample(Path(f"small{i}"), 0, group=f"s{i}") for i in range(50)]
    for seed in range(5):
        parts = Manifest((*small, *large)).split({"train": 0.5, "valid": 0.5}, seed=seed)
        assert [len(part) for part in parts.values()] == [50, 50]


def test_many_small_data_sets_keep_the_shares_together():
    manifest = Manifest(
        tuple(s for d in range(50) for label in (0, 1) for s in samples(4, label=label, dataset=f"d{d}"))
    )
    parts = manifest.split({"train": 0.9, "valid": 0.1}, seed=0)
    assert Counter(s.label for s in parts["train"]) == {0: 180, 1: 180}
    assert Counter(s.label for s in parts["valid"]) == {0: 20, 1: 20}
    assert max(Counter((s.dataset, s.label) for s in parts["valid"]).values()) == 1


def test_the_seed_decides():
    manifest = Manifest(tuple(samples(60)))
    shares = {"train": 0.5, "valid": 0.5}
    assert manifest.split(shares, seed=3) == manifest.split(shares, seed=3)
    assert manifest.split(shares, seed=3) != manifest.split(shares, seed=4)


@pytest.mark.parametrize(
    "shares", [{"train": 0.5, "valid": 0.5}, {"train": 0.65, "valid": 0.25, "test": 0.1}]
)
def test_each_generator_is_spread_over_the_parts(shares):
    rows = [replace(s, generator=f"g{min(i % 6, 4)}") for i, s in enumerate(samples(120, label=1))]
    n = Counter(s.generator for s in rows)
    for seed in range(5):
        parts = Manifest(tuple(rows)).split(shares, seed=seed)
        for name, share in shares.items():
            found = Counter(s.generator for s in parts[name])
            assert all(abs(found[generator] - share * n[generator]) <= 1.5 for generator in n)


def test_generators_of_one_data_set_leave_the_others_as_they_are():
    """A split that was made before the rows of another data set named their generators is made again."""
    rows = [*samples(30, label=1), *samples(31, label=0), *samples(40, label=1, dataset="e")]
    named = [replace(s, generator=f"g{i % 5}") if s.label else s for i, s in enumerate(rows[:30])] + rows[30:]
    shares = {"train": 0.6, "valid": 0.4}
    one, two = (Manifest(tuple(part)).split(shares, seed=0) for part in (rows, named))
    unnamed = {s.path for s in rows[30:]}
    for name in shares:
        assert {s.path for s in one[name]} & unnamed == {s.path for s in two[name]} & unnamed


def test_the_old_split_is_forgotten():
    parts = Manifest(tuple(samples(10, split="test"))).split({"train": 0.5, "valid": 0.5}, seed=0)
    assert {s.split for part in parts.values() for s in part} == {"train", "valid"}


@pytest.mark.parametrize(
    "shares",
    [
        {},
        {"train": 0.5},
        {"train": 0.7, "valid": 0.7},
        {"train": 1.0, "valid": 0.0},
        {"train": 1.5, "valid": -0.5},
        {"train": float("nan")},
        {"train": float("inf"), "valid": float("-inf")},
    ],
    ids=str,
)
def test_bad_shares_are_refused(shares):
    with pytest.raises(ManifestError, match="shares must be positive and add up to 1"):
        Manifest(tuple(samples(10))).split(shares, seed=0)


def test_shares_may_be_rounded_as_numbers_are():
    assert len(Manifest(tuple(samples(30))).split({"train": 0.1, "valid": 0.2, "test": 0.7}, seed=0)) == 3


def test_a_negative_seed_is_refused():
    with pytest.raises(ManifestError, match="seed is not negative, found -1"):
        Manifest(tuple(samples(10))).split({"train": 0.5, "valid": 0.5}, seed=-1)


def test_too_few_groups_are_refused():
    one_group = Manifest(tuple(Sample(Path(f"{i}"), i % 2, group="the only one") for i in range(100)))
    with pytest.raises(ManifestError, match=r"1 groups are too few for a part 'valid' of 10%"):
        one_group.split({"train": 0.9, "valid": 0.1}, seed=0)
    with pytest.raises(ManifestError, match="0 groups"):
        Manifest(()).split({"train": 1.0}, seed=0)
