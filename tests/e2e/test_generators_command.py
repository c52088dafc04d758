"""`tellsign generators distance` as a user runs it: its output, its picture, its exit codes."""

from __future__ import annotations

import json

import PIL.Image
import pytest

from e2e.command import tellsign
from pictures import natural, save, write_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets")
    write_dataset(path, 6, size=32)
    return path


def test_json_and_picture(folder, tmp_path):
    picture = tmp_path / "a.png"
    done = tellsign(
        "generators", "distance", folder / "real", folder / "fake", "--json", "--picture", picture
    )
    assert done.code == 0, done.messages
    found = json.loads(done.text)
    low, high = found["distance"]["ci"]
    assert 0 < found["noise_floor"] < low <= found["distance"]["value"] <= high
    assert found["frechet"]["value"] is None
    assert "--features" in found["frechet"]["note"]
    assert found["cloaking"]["folds"] == 5
    assert (found["n_real"], found["n_fake"], found["size"]) == (6, 6, 32)
    assert {len(values) for values in found["profile"].values()} == {20}
    assert PIL.Image.open(picture).width == 1080


def test_a_limit_that_is_exceeded_is_exit_code_1(folder):
    manifest = folder / "manifest.csv"
    done = tellsign("generators", "distance", manifest, manifest, "--max", "0.5")
    assert done.code == 1
    assert "above --max 0.5" in done.messages
    assert "rows left out that are not real" in done.messages
    assert "held-out" in done.text
    assert "as in the paper" in done.text


def test_a_file_that_cannot_be_used_is_named_and_exit_code_1(folder, tmp_path):
    for index in range(3):
        save(natural(index, 32, 32), tmp_path / f"{index}.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    done = tellsign("generators", "distance", folder / "real", tmp_path, "--max", "100", "--json")
    assert done.code == 1
    assert "bad.png" in done.messages
    assert [row["path"] for row in json.loads(done.text)["failed"]] == [str(tmp_path / "bad.png")]


def test_features_that_cannot_be_had_are_exit_code_1_and_the_rest_is_there(folder, tmp_path):
    done = tellsign(
        "generators", "distance", folder / "real", folder / "fake", "--features", tmp_path / "no.onnx"
    )
    assert done.code == 1
    assert "no.onnx cannot be read" in done.messages
    assert "not computed" in done.text
    assert "spectral distance" in done.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("real", "nothing"), "nothing"),
        (("real", "fake", "--size", "8"), "16 or more"),
        (("real", "fake", "--weights", "mine.safetensors"), "name it by --features"),
        (("real", "fake", "--size", "64"), "none of the real images"),
        (("real", "fake", "--split", "test"), "neither real nor fake has a split 'test'; give a manifest"),
        (("real", "fake", "--picture", "nowhere/a.png"), "cannot write"),
    ],
)
def test_wrong_usage_is_exit_code_2(folder, arguments, message):
    done = tellsign("generators", "distance", *arguments, cwd=folder)
    assert done.code == 2, done.text
    assert message in done.messages
    assert "Traceback" not in done.messages


def test_the_nearest_images_are_named_and_drawn(folder, tmp_path):
    for index in range(3):  # of the reals, so that it was copied
        save(natural(index, 32, 32)[:, :16, 4:20], tmp_path / "fakes" / f"{index}.png")
    arguments = ("generators", "nearest", folder / "real", tmp_path / "fakes")
    done = tellsign(*arguments, "--json", "--picture", tmp_path / "pairs.png")
    assert done.code == 0, done.messages
    found = json.loads(done.text)
    assert (found["n"], found["n_learnt"], found["size"]) == (3, 6, 16)
    assert found["generated"]["least"] <= found["generated"]["median"]
    assert found["real"] is None
    assert PIL.Image.open(tmp_path / "pairs.png").size == (54, 36)
    text = tellsign(*arguments, "-n", "1")
    assert "1 generated images of 16 pixels, 6 that were learnt from" in text.text


def test_nearest_needs_images_of_one_size_and_tells_what_it_left_out(folder, tmp_path):
    save(natural(0, 16, 16), tmp_path / "fakes" / "a.png")
    (tmp_path / "reals").mkdir()
    save(natural(0, 32, 32), tmp_path / "reals" / "a.png")
    save(natural(0, 8, 8), tmp_path / "reals" / "b.png")
    done = tellsign("generators", "nearest", tmp_path / "reals", tmp_path / "fakes", "--json")
    assert done.code == 1
    assert "b.png" in done.messages
    assert json.loads(done.text)["n"] == 1
    save(natural(0, 20, 20), tmp_path / "fakes" / "b.png")
    done = tellsign("generators", "nearest", tmp_path / "reals", tmp_path / "fakes")
    assert done.code != 0
    assert "all images of a generator have one size" in done.messages
    assert "Traceback" not in done.messages


def test_the_group_lists_its_commands():
    done = tellsign("generators", "--help")
    assert done.code == 0
    for name in ("distance", "nearest", "train", "sample"):
        assert name in done.text
