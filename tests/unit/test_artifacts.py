"""Detector folders: written whole, read back equal, and never able to run anything."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tellsign import artifacts, hub
from tellsign.types import ArtifactError

SPEC = {"name": "toy", "kind": "linear", "preprocessing": {"crop": 32}}


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "weights": rng.normal(size=5),
        "support": np.asfortranarray(rng.normal(size=(4, 5))),
        "bias": np.float64(0.25),
        "small": rng.normal(size=3).astype(np.float32),
        "counts": np.arange(3, dtype=np.int64),
    }


def safetensors(dtype, n_bytes):
    """A sound file with one number of a type that NumPy may not have."""
    header = json.dumps({"x": {"dtype": dtype, "shape": [1], "data_offsets": [0, n_bytes]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * n_bytes


@pytest.fixture
def saved(tmp_path):
    return artifacts.save(tmp_path / "toy", spec=SPEC, arrays=arrays(), card="# Toy\n", licence="CC0\n")


def test_what_is_saved_is_loaded(saved):
    again = artifacts.load(saved.path)
    assert again.spec == {"format": artifacts.FORMAT, **SPEC}
    assert again.arrays.keys() == arrays().keys()
    for name, array in arrays().items():
        assert again.arrays[name].dtype == array.dtype
        assert again.arrays[name].shape == np.shape(array), name
        assert np.array_equal(again.arrays[name], array), name
    assert again.digest == saved.digest
    assert (saved.path / "CARD.md").read_text() == "# Toy\n"
    assert (saved.path / "LICENSE").read_text() == "CC0\n"


def test_a_detector_that_cannot_be_replaced_stays(saved, monkeypatch):
    rename, calls = Path.rename, []

    def second_fails(path, target):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.EIO, "the disk is gone")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(ArtifactError, match="the disk is gone"):
        artifacts.save(saved.path, spec=SPEC, arrays=arrays(1))
    assert artifacts.load(saved.path).digest == saved.digest
    assert [path.name for path in saved.path.parent.iterdir()] == ["toy"]


DIES = """
import os, sys
from pathlib import Path
import numpy as np
from tellsign import artifacts
rename, calls = Path.rename, []
def dies(path, target):
    calls.append(path)
    if len(calls) == 2:
        os._exit(9)
    return rename(path, target)
Path.rename = dies
spec = {"name": "other", "kind": "linear", "preprocessing": {}}
artifacts.save(Path(sys.argv[1]), spec=spec, arrays={"a": np.zeros(1)})
"""


def killed_between_the_renames(saved):
    """A process saves another detector there, and dies when the old one has lost its name."""
    assert subprocess.run([sys.executable, "-c", DIES, saved.path], check=False).returncode == 9
    assert not saved.path.exists()


@pytest.mark.parametrize("by", ["load", "hub", "save"])
def test_a_save_that_is_killed_between_its_renames_loses_no_detector(saved, by):
    killed_between_the_renames(saved)
    if by == "load":
        assert artifacts.load(saved.path).digest == saved.digest
    elif by == "hub":
        assert artifacts.load(hub.detector_path(saved.path)).digest == saved.digest
    else:
        with pytest.raises(UnicodeEncodeError):
            artifacts.save(saved.path, spec=SPEC, arrays=arrays(1), card="\ud800")
        assert artifacts.load(saved.path).digest == saved.digest
        new = artifacts.save(saved.path, spec=SPEC, arrays=arrays(2))
        assert artifacts.load(saved.path).digest == new.digest != saved.digest
    assert not list(saved.path.parent.glob("*.old"))


def test_only_the_detector_of_that_name_is_brought_back(saved):
    killed_between_the_renames(saved)
    for name in ("to", "toy-", "other"):
        with pytest.raises(ArtifactError, match="no detector"):
            artifacts.load(saved.path.with_name(name))
    # What a save that had done its work could not clear away is no detector that was being replaced.
    (old,) = saved.path.parent.glob(".toy-*.old")
    old.with_suffix("").rename(saved.path)
    shutil.rmtree(saved.path)
    with pytest.raises(ArtifactError, match="no detector"):
        artifacts.load(saved.path)


@pytest.mark.parametrize("call", [1, 2])
def test_what_killed_saves_have_left_is_cleared_and_the_detector_stays(saved, call):
    dies = DIES.replace("len(calls) == 2", f"len(calls) == {call}")
    assert subprocess.run([sys.executable, "-c", dies, saved.path], check=False).returncode == 9
    own = saved.path.with_name(".toy-pictures")
    own.mkdir()
    artifacts.clear_drafts(saved.path)
    assert sorted(path.name for path in saved.path.parent.iterdir()) == [own.name, "toy"]
    assert artifacts.load(saved.path).digest == saved.digest


def test_a_detector_that_cannot_be_brought_back_is_not_cleared_away(saved, monkeypatch):
    killed_between_the_renames(saved)

    def fails(path, target):
        raise OSError(errno.EIO, "the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fails)
        artifacts.clear_drafts(saved.path)
    assert artifacts.load(saved.path).digest == saved.digest


def test_drafts_of_a_detector_that_never_was_are_cleared(tmp_path):
    (tmp_path / ".toy-abcd1234.draft").mkdir()
    artifacts.clear_drafts(tmp_path / "toy")
    artifacts.clear_drafts(tmp_path / "nowhere" / "toy")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_brings_the_old_detector_back_in_between_is_in_no_saver_s_way(saved, monkeypatch):
    rename, calls = Path.rename, []

    def read_in_between(path, target):
        calls.append(path)
        rename(path, target)
        if len(calls) == 1:
            assert artifacts.load(saved.path).digest == saved.digest

    monkeypatch.setattr(Path, "rename", read_in_between)
    new = artifacts.save(saved.path, spec=SPEC, arrays=arrays(1))
    assert len(calls) == 5
    assert artifacts.load(saved.path).digest == new.digest != saved.digest
    assert [path.name for path in saved.path.parent.iterdir()] == ["toy"]


def test_the_name_has_the_first_digits_of_the_digest(saved):
    assert saved.name == f"toy@{saved.digest[:12]}"
    assert len(saved.digest) == 64


def test_the_digest_is_that_of_the_content_wherever_it_lies(saved, tmp_path):
    other = artifacts.save(tmp_path / "elsewhere", spec=SPEC, arrays=dict(reversed(arrays().items())))
    assert other.digest == saved.digest


def test_the_digest_changes_with_the_weights_and_the_specification(saved, tmp_path):
    changed = arrays()
    changed["bias"] = np.nextafter(changed["bias"], 1)
    others = {
        artifacts.save(tmp_path / "a", spec=SPEC, arrays=changed).digest,
        artifacts.save(tmp_path / "b", spec={**SPEC, "name": "tox"}, arrays=arrays()).digest,
    }
    (saved.path / "graph.onnx").write_bytes(b"graph")
    others.add(artifacts.folder_digest(saved.path))
    assert len(others | {saved.digest}) == 4


def test_the_digest_does_not_change_with_the_card(saved):
    (saved.path / "CARD.md").write_text("another card")
    (saved.path / "LICENSE").unlink()
    assert artifacts.load(saved.path).digest == saved.digest


def test_loaded_arrays_cannot_be_changed_by_accident(saved):
    with pytest.raises(ValueError):
        artifacts.load(saved.path).arrays["weights"][0] = 1


@pytest.mark.parametrize("name", ["detector.json", "weights.safetensors"])
def test_a_missing_file_is_named(saved, name):
    (saved.path / name).unlink()
    with pytest.raises(ArtifactError, match=rf"no detector at .*toy: {name} is missing"):
        artifacts.load(saved.path)


def test_a_missing_folder_and_a_file_are_no_detectors(tmp_path):
    with pytest.raises(ArtifactError, match="no detector at"):
        artifacts.load(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError):
        artifacts.load(tmp_path / "file")


@pytest.mark.parametrize("name", ["detector.json", "weights.safetensors"])
@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_file_is_refused(saved, name, share):
    content = (saved.path / name).read_bytes()
    # The last byte of detector.json is a line feed that nobody needs.
    (saved.path / name).write_bytes(content[: int((len(content) - 1) * share)])
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifacts.load(saved.path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("bomb",)


def test_a_pickle_is_refused_and_not_executed(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(Bomb())
    pickle.loads(content)
    assert (tmp_path / "bomb").is_dir(), "this pickle does run when it is loaded"
    (tmp_path / "bomb").rmdir()
    (saved.path / "weights.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifacts.load(saved.path)
    np.save(saved.path / "weights.safetensors", np.array([Bomb()], dtype=object), allow_pickle=True)
    (saved.path / "weights.safetensors.npy").rename(saved.path / "weights.safetensors")
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifacts.load(saved.path)
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\xff" * 100,  # a header longer than the file
        b"[" * 200_000,
        safetensors("BF16", 2),
        safetensors("F8_E4M3", 1),
    ],
    ids=["png", "ff", "nested", "bf16", "f8"],
)
def test_foreign_weights_are_refused(saved, content):
    (saved.path / "weights.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifacts.load(saved.path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "format 'list'"),
        ("null", "format 'NoneType'"),
        ("{}", "format None"),
        ('{"format": 2}', "format 2, this version reads 1"),
        ('{"format": 1}', "'name' should be a str, found None"),
        (
            '{"format": 1, "name": 3, "kind": "linear", "preprocessing": {}}',
            "'name' should be a str, found 3",
        ),
        ('{"format": 1, "name": "x", "kind": [], "preprocessing": {}}', "'kind' should be a str"),
        ('{"format": 1, "name": "x", "kind": "linear", "preprocessing": 3}', "'preprocessing' should be a"),
        ("[" * 200_000, "cannot be read"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_foreign_specification_is_refused(saved, text, reason):
    (saved.path / "detector.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ArtifactError, match=reason):
        artifacts.load(saved.path)


def test_a_detector_is_replaced(saved):
    new = artifacts.save(saved.path, spec={**SPEC, "name": "new"}, arrays=arrays(1))
    assert artifacts.load(saved.path).digest == new.digest != saved.digest
    assert not (saved.path / "CARD.md").exists()
    assert [path.name for path in saved.path.parent.iterdir()] == ["toy"], "nothing else is left behind"


def test_an_empty_folder_and_missing_parents_are_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
        assert artifacts.save(folder, spec=SPEC, arrays=arrays()).path == folder


def test_only_detectors_are_replaced(saved, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "me.jpg").touch()
    file = tmp_path / "file"
    file.touch()
    (saved.path / "notes.txt").write_text("mine")
    for target in (photos, file, saved.path):
        with pytest.raises(ArtifactError):
            artifacts.check_target(target)
        with pytest.raises(ArtifactError):
            artifacts.save(target, spec=SPEC, arrays=arrays(1))
    assert (photos / "me.jpg").is_file()
    assert file.is_file()
    assert (saved.path / "notes.txt").read_text() == "mine"
    assert artifacts.load(saved.path).digest == saved.digest


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ({**SPEC, "metric": float("nan")}, arrays()),
        ({**SPEC, "when": object()}, arrays()),
        (SPEC, {"weights": np.array([object()])}),
    ],
    ids=["nan", "object", "array"],
)
def test_what_cannot_be_stored_leaves_the_old_detector(saved, spec, values):
    with pytest.raises(ArtifactError, match="cannot be stored"):
        artifacts.save(saved.path, spec=spec, arrays=values)
    assert artifacts.load(saved.path).digest == saved.digest
    assert [path.name for path in saved.path.parent.iterdir()] == ["toy"]


def test_a_failure_half_way_leaves_the_old_detector(saved):
    with pytest.raises(UnicodeEncodeError):
        artifacts.save(saved.path, spec=SPEC, arrays=arrays(1), card="\ud800")
    assert artifacts.load(saved.path).digest == saved.digest
    assert [path.name for path in saved.path.parent.iterdir()] == ["toy"]


def test_a_folder_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError):
        artifacts.save(tmp_path / "file" / "toy", spec=SPEC, arrays=arrays())


# graphs and large weights


def test_a_graph_is_kept_with_the_rest(saved, tmp_path):
    content = bytes(range(256)) * 10
    assert saved.graph is None
    own = artifacts.save(tmp_path / "own", spec=SPEC, arrays=arrays(), graph=content)
    assert own.graph == tmp_path / "own" / "graph.onnx"
    assert own.graph.read_bytes() == content
    assert own.digest not in (
        saved.digest,
        artifacts.save(tmp_path / "b", spec=SPEC, arrays=arrays(), graph=content + b"x").digest,
    )
    copied = artifacts.save(tmp_path / "copied", spec=SPEC, arrays=arrays(), graph=own.graph)
    assert copied.digest == own.digest


def test_a_detector_is_replaced_with_its_own_graph(tmp_path):
    own = artifacts.save(tmp_path / "own", spec=SPEC, arrays=arrays(), graph=b"graph")
    again = artifacts.save(tmp_path / "own", spec=SPEC | {"name": "new"}, arrays=arrays(), graph=own.graph)
    assert again.graph.read_bytes() == b"graph"
    without = artifacts.save(tmp_path / "own", spec=SPEC, arrays=arrays())
    assert without.graph is None
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_a_graph_that_cannot_be_copied_leaves_the_old_detector(saved):
    with pytest.raises(ArtifactError, match=r"cannot write the detector .*gone\.onnx"):
        artifacts.save(saved.path, spec=SPEC, arrays=arrays(1), graph=saved.path / "gone.onnx")
    assert artifacts.load(saved.path).digest == saved.digest
    assert [path.name for path in saved.path.parent.iterdir()] == ["toy"]


def test_the_digest_is_that_of_names_and_contents(tmp_path):
    """Written out by hand, so that it can't change with the way in which files are read."""
    own = artifacts.save(tmp_path / "own", spec=SPEC, arrays=arrays(), graph=b"graph")
    total = hashlib.sha256()
    for name in ("detector.json", "weights.safetensors", "graph.onnx"):
        content = (own.path / name).read_bytes()
        total.update(name.encode() + b"\0" + hashlib.sha256(content).hexdigest().encode() + b"\0")
    assert own.digest == total.hexdigest()


@pytest.fixture
def mapped(monkeypatch):
    """All weights are large."""
    monkeypatch.setattr(artifacts, "MAPPED_BYTES", 0)


def test_large_weights_are_the_same(saved, mapped):
    again = artifacts.load(saved.path)
    assert again.digest == saved.digest
    assert again.arrays.keys() == saved.arrays.keys()
    for name, array in saved.arrays.items():
        found = again.arrays[name]
        assert type(found) is np.ndarray
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert np.array_equal(found, array), name
        with pytest.raises(ValueError):
            found[...] = 0


def test_large_weights_of_every_type(tmp_path, mapped):
    values = {
        kind: np.array([[0, 1, 2]]).astype(kind)
        for kind in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")
    } | {"none": np.zeros((0, 3), np.float32), "scalar": np.float64(0.1)}
    found = artifacts.save(tmp_path / "toy", spec=SPEC, arrays=values).arrays
    for name, value in values.items():
        assert found[name].dtype == value.dtype, name
        assert np.array_equal(found[name], value), name


def test_large_weights_outlive_the_detector_that_is_replaced(saved, mapped):
    before = artifacts.load(saved.path)
    artifacts.save(saved.path, spec=SPEC, arrays=arrays(1))
    assert np.array_equal(before.arrays["weights"], arrays()["weights"])
    assert np.array_equal(artifacts.load(saved.path).arrays["weights"], arrays(1)["weights"])


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.99])
def test_large_weights_that_are_truncated_are_refused(saved, mapped, share):
    weights = saved.path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[: int(weights.stat().st_size * share)])
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifacts.load(saved.path)


@pytest.mark.parametrize("content", [b"\xff" * 100, pickle.dumps([1]), safetensors("BF16", 2)])
def test_large_weights_that_are_foreign_are_refused(saved, mapped, content):
    (saved.path / "weights.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifacts.load(saved.path)


def test_names_that_are_not_utf_8_are_kept(tmp_path):
    spec = {**SPEC, "data": {"Gesichter-\udcff": 1, "Fotografías": 2}}
    assert artifacts.save(tmp_path / "toy", spec=spec, arrays=arrays()).spec["data"] == spec["data"]


@pytest.mark.skipif(os.name == "nt", reason="links need privileges on Windows")
def test_what_a_link_points_to_is_replaced(saved, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(saved.path)
    new = artifacts.save(link, spec=SPEC, arrays=arrays(1))
    assert link.is_symlink()
    assert artifacts.load(saved.path).digest == new.digest
