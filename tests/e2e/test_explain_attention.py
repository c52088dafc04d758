"""`tellsign explain --attention`: where the branches of a network looked, and what it needs."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("captum")
pytest.importorskip("onnxscript")

from detector import write_detector
from e2e.command import Finished, inside, tellsign
from network import write_cae_net
from pictures import natural, save

QUIET = {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def cae_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cae_net(tmp_path_factory.mktemp("network") / "cae-net")


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(natural(3, 100, 140), tmp_path_factory.mktemp("picture") / "p.png")


def page_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_maps_and_curves_are_on_the_page(cae_net: Path, picture: Path, tmp_path: Path) -> None:
    page, plots = tmp_path / "page.html", tmp_path / "plots"
    done = tellsign(
        "explain", picture, "-d", cae_net, "--attention", "-o", page, "--pictures", plots, env=QUIET
    )
    assert done.code == 0, done.messages
    text = page_of(page)
    for name in ("pixels", "bands"):
        assert f"Attention of {name}" in text
        assert f"Faithfulness of attention of {name}" in text
        assert f"score of {name}" in text
    assert "of waves" in text
    assert "ttention of waves" not in text, "a spectrum has no places of the picture"
    assert text.count("the 64 × 64 pixels from column 38 and row 18 on of the image") == 2
    assert text.count("in random order (lower is better)") >= 2
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", text)
    names = {path.name.split("-", 2)[2] for path in plots.glob("*.png")}
    assert {"attention-of-pixels.png", "faithfulness-of-attention-of-bands.png"} <= names


def test_without_the_option_there_are_the_scores_of_the_branches(
    cae_net: Path, picture: Path, tmp_path: Path
) -> None:
    done = inside("explain", picture, "-d", cae_net, "-o", tmp_path / "page.html")
    assert done.code == 0, done.messages
    text = page_of(tmp_path / "page.html")
    assert all(f"score of {name}" in text for name in ("pixels", "bands", "waves"))
    assert "ttention of" not in text


def test_too_small_an_image_has_its_reason_alone(cae_net: Path, tmp_path: Path) -> None:
    small = save(natural(1, 40, 90), tmp_path / "small.png")
    done = inside("explain", small, "-d", cae_net, "--attention", "-o", tmp_path / "page.html", "--json")
    assert done.code == 0, done.messages
    assert done.rows[0]["label"] == "uncertain"
    assert "ttention of" not in page_of(tmp_path / "page.html")


def assert_names(missing: str, done: Finished, page: Path) -> None:
    assert done.code == 2
    assert missing in done.messages
    assert "pip install 'tellsign[train]'" in done.messages
    assert "Traceback" not in done.messages
    assert not page.exists()


def test_without_pytorch_it_is_named_and_the_rest_is_explained(
    cae_net: Path, picture: Path, tmp_path: Path
) -> None:
    folder, page = tmp_path / "blocked", tmp_path / "page.html"
    folder.mkdir()
    (folder / "torch.py").write_text("raise ModuleNotFoundError('blocked', name='torch')\n")
    env = {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]), **QUIET}
    arguments = ("explain", picture, "-d", cae_net, "-o", page)
    assert_names("torch", tellsign(*arguments, "--attention", env=env), page)
    done = tellsign(*arguments, env=env)
    assert done.code == 0, done.messages


def test_without_captum_it_is_named(
    cae_net: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("captum", "captum.attr"):
        monkeypatch.setitem(sys.modules, name, None)
    page = tmp_path / "page.html"
    assert_names("captum", inside("explain", picture, "-d", cae_net, "--attention", "-o", page), page)


def test_a_detector_without_a_network(picture: Path, tmp_path: Path) -> None:
    detector = write_detector(tmp_path / "stand-in")
    done = inside("explain", picture, "-d", detector, "--attention", "-o", tmp_path / "page.html")
    assert done.code == 2
    assert "is no network" in done.messages
