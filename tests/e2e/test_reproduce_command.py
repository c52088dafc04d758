"""`tellsign reproduce upconv-*` on a made feature file and made images."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from command import SCRIPT, inside, tellsign

from pictures import natural, save
from tellsign.data import Manifest, write
from tellsign.evaluate import reproduce as registry
from tellsign.types import FAKE, REAL, Sample

pytest.importorskip("sklearn")
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the tellsign command is not installed")

CLASSIFIERS = ["SVM (RBF)", "SVM (linear)", "logistic regression", "K-means"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 profiles of which every classifier can tell the classes apart, and 8 images with a manifest."""
    folder = tmp_path_factory.mktemp("reproduce")
    labels = np.arange(80) % 2
    profiles = np.random.default_rng(0).normal(size=(80, 80)) / 20 + labels[:, None]
    np.savez(folder / "made.npz", X=profiles, y=labels)
    samples = []
    for number in range(8):
        path = save(natural(number, 48, 48), folder / f"{number}.png")
        label = FAKE if number % 2 else REAL
        samples.append(Sample(path, label, "celeba", "gan" if label == FAKE else ""))
    write(Manifest(tuple(samples)), folder / "data.csv")
    return folder


def test_the_list() -> None:
    done = tellsign("reproduce", "--list", "--json")
    assert (done.code, done.messages) == (0, "")
    assert json.loads(done.text) == registry.names()
    text = inside("reproduce").text  # without a name there is nothing to do but to list
    assert re.search("^upconv-table4 +CelebA: accuracy by number of samples$", text, re.MULTILINE)
    assert len(text.splitlines()) == len(registry.names())


def test_a_table_from_a_feature_file(folder: Path) -> None:
    options = ("--features", "made.npz", "--samples", "40", "--samples", "20", "--repeats", "3")
    done = tellsign("reproduce", "upconv-table4", *options, "--json", cwd=folder)
    assert (done.code, done.messages) == (0, "")
    result = json.loads(done.text)
    assert result["name"] == "upconv-table4"
    assert "Features: 80 profiles of made.npz." in result["notes"]
    rows = result["rows"]
    assert [(row["row"], row["column"]) for row in rows] == [
        (f"{size} samples", column) for size in (40, 20) for column in CLASSIFIERS
    ]
    for row in rows:
        assert row["reproduced"] == 1.0  # clouds that far apart
        assert row["ci"] == [1.0, 1.0]
    # The paper has a sample of 20 and none of 40.
    published = {(row["row"], row["column"]): row["published"] for row in rows}
    assert published["20 samples", "logistic regression"] == 0.85
    assert published["40 samples", "logistic regression"] is None
    text = inside("reproduce", "upconv-table4", *options, cwd=folder).text
    assert text.startswith("upconv-table4: CelebA")
    (line,) = (line for line in text.splitlines() if line.startswith("20 samples  logistic"))
    assert line.split()[-8:] == ["85.0", "%", "100.0", "%", "100.0", "to", "100.0", "%"]


def test_a_figure_of_one_image(folder: Path, tmp_path: Path) -> None:
    done = tellsign("reproduce", "upconv-fig2", "--image", folder / "0.png", "-o", tmp_path, "--json")
    assert (done.code, done.messages) == (0, "")
    result = json.loads(done.text)
    assert result["picture"] == str(tmp_path / "upconv-fig2.png")
    with PIL.Image.open(result["picture"]) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200
    assert result["rows"]
    assert all(row["reproduced"] is not None for row in result["rows"])


def test_a_figure_from_images_of_a_manifest_into_a_new_file(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "bands.png"
    done = inside("reproduce", "upconv-fig17", "--data", folder / "data.csv", "--samples", "10", "-o", path)
    assert (done.code, done.messages) == (0, "")
    assert f"Picture: {path}" in done.text
    assert "8 images of celeba, by the recipe of CelebA" in done.text
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("upconv-table9",), "'upconv-table9' can be reproduced; there are upconv-table1,"),
        (("upconv-table4", "--features", "data.csv"), "data.csv is no feature file"),
        (("upconv-table4", "--features", "made.npz", "-o", "a.png"), "draws no picture"),
        (("upconv-fig2", "--image", "data.csv"), "data.csv cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_with_code_2(folder: Path, options: tuple[str, ...], reason: str) -> None:
    done = inside("reproduce", *options, cwd=folder)
    assert (done.code, done.out) == (2, b"")
    assert reason in " ".join(done.messages.split())
    assert "Traceback" not in done.messages
