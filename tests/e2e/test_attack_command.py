"""`tellsign attack` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import SCRIPT, inside, tellsign

from detector import CROP, write_detector
from pictures import write_dataset

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the tellsign command is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Detectors that only give scores, and a manifest of 4 images a class."""
    folder = tmp_path_factory.mktemp("attack")
    write_detector(folder / "toy", name="toy")
    write_detector(folder / "other", kind="kernel", name="other")
    write_dataset(folder / "data", 4, size=CROP, seed=7, split="test")
    return folder


def attacked(folder: Path, *options: str, code: int, data: str = "data/manifest.csv", run=inside):
    done = run("attack", "toy", "--data", data, *options, cwd=folder)
    assert done.code == code, done.messages
    assert "Traceback" not in done.messages
    return done


def test_it_attacks_and_transfers(folder: Path) -> None:
    options = ("--attack", "square:0.05,queries=5", "--transfer", "other", "--limit", "2", "--split", "test")
    done = attacked(folder, *options, "--json", code=0)
    result = json.loads(done.text)
    assert (result["n"], result["coverage"]) == (4, 1)
    assert [row["target"].partition("@")[0] for row in result["rows"]] == ["toy", "other"]
    assert {row["source"] for row in result["rows"]} == {result["detector"]}
    assert attacked(folder, *options, "--json", code=0, run=tellsign).out == done.out
    text = attacked(folder, *options, code=0).text
    assert "Transfer: images made for toy@" in text
    assert "4 images: 4 with a score (100.0%), 0 failed" in text


def test_without_a_gradient_it_says_what_was_not_run(folder: Path) -> None:
    text = attacked(folder, "--limit", "1", code=0).text
    assert "Not run:\n  fgsm:0.01: no gradient" in text
    assert "Gradient masking: not checked: no gradient" in text
    assert "not checked: not asked for" in attacked(folder, "--limit", "1", "--no-masking", code=0).text


def test_an_image_that_fails_is_named(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "some.csv").write_text("path,label\nbroken.png,real\ndata/fake/0000.png,fake\n")
    done = attacked(folder, "--attack", "square:0.05,queries=2", code=1, data="some.csv")
    assert "broken.png" in done.messages
    assert "1 with a score (50.0%), 1 failed" in done.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--attack", "fgsm:0.01"), "square:0.03,queries=200 reads scores alone"),
        (("--attack", "smile"), "no attack 'smile'"),
        (("--transfer", "toy"), "name each one once"),
        (("--transfer", "nobody"), "no detector 'nobody'"),
        (("--split", "valid"), "has no split 'valid'"),
        (("--limit", "0"), "--limit"),
    ],
)
def test_wrong_usage(folder: Path, options: tuple[str, ...], said: str) -> None:
    done = attacked(folder, *options, code=2)
    assert said in done.messages
    assert done.out == b""
