"""`tellsign explain` as users run it: one page, without a network, that gives away nothing private."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from clips import clip
from detector import CROP, write_detector
from e2e.command import inside, tellsign
from pictures import natural, save, upsampled

GPS, SERIAL, MAKE = 0x8825, 0xA431, 0x010F


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("detector") / "stand-in")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture whose EXIF names a place, a camera's number and its maker."""
    path = tmp_path_factory.mktemp("photo") / "holiday.jpg"
    save(natural(1, 128, 128), path.with_suffix(".png"))
    exif = Image.Exif()
    exif[MAKE] = "Maker & Sons"
    exif.get_ifd(GPS)[1] = "N"
    exif.get_ifd(GPS)[2] = (52.0, 31.0, 17.0)
    exif.get_ifd(0x8769)[SERIAL] = "SN-4711-0815"
    Image.open(path.with_suffix(".png")).convert("RGB").save(path, quality=90, exif=exif)
    path.with_suffix(".png").unlink()
    return path


def page_of(*arguments: str | Path, detector: Path, out: Path) -> str:
    done = inside("explain", *arguments, "--detector", detector, "-o", out)
    assert done.code == 0, done.messages
    return out.read_text(encoding="utf-8")


def test_one_page_for_pictures_and_clips(detector: Path, photo: Path, tmp_path: Path) -> None:
    save(upsampled(2, 128, 128), tmp_path / "in" / "made.png")
    (tmp_path / "in" / "film.mp4").write_bytes(clip(4))
    done = tellsign("explain", photo, tmp_path / "in", "-d", detector, "-o", tmp_path / "page.html", "--json")
    assert done.code == 0, done.messages
    assert [row["kind"] for row in done.rows] == ["image", "video", "image"]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for row in done.rows:
        assert row["sha256"] in page
        assert row["detector"] in page
    assert all(name in page for name in ("holiday.jpg", "made.png", "film.mp4"))
    # Nothing is loaded from anywhere, and no path of this machine is told.
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", page)
    assert str(tmp_path) not in page
    assert str(detector) not in page
    # Every picture has words for those who can't see it.
    alternatives = re.findall(r"""<img\b[^>]*\balt="([^"]*)""", page)
    assert len(re.findall(r"<img\b", page)) == len(alternatives)
    # Only the thumbnails beside a name in the summary say nothing of their own.
    assert sum(text != "" for text in alternatives) == 3
    plots = re.findall(r"<svg\b[^>]*>", page)
    assert all('role="img"' in tag or 'aria-hidden="true"' in tag for tag in plots)
    assert any('role="img"' in tag for tag in plots)
    assert re.search(r"<html[^>]*\blang=", page)


def test_what_is_private_stays_out_unless_asked_for(detector: Path, photo: Path, tmp_path: Path) -> None:
    page = page_of(photo, detector=detector, out=tmp_path / "page.html")
    assert "Maker &amp; Sons" in page
    assert "SN-4711-0815" not in page
    assert "GPSLatitude" not in page
    full = page_of(photo, "--full-metadata", detector=detector, out=tmp_path / "full.html")
    assert "SN-4711-0815" in full
    assert "GPSLatitude" in full


def test_names_are_text_and_not_markup(detector: Path, tmp_path: Path) -> None:
    name = "<script>alert(1)</script>\u202egpj.png"
    save(natural(1, 64, 64), tmp_path / "in" / "a.png")
    (tmp_path / "in" / "a.png").rename(tmp_path / "in" / name.replace("/", "∕"))
    page = page_of(tmp_path / "in", detector=detector, out=tmp_path / "page.html")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\u202e" not in page


def test_a_verdict_never_reads_real(detector: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.png" for seed in range(6)]
    for seed, path in enumerate(paths):
        save(natural(500 + seed, 64, 64), path)
    done = inside("explain", *paths, "-d", detector, "-o", tmp_path / "page.html", "--json")
    assert "real" in {row["label"] for row in done.rows}
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "No sign found" in page
    without_plots = re.sub(r"<svg\b.*?</svg>", "", page, flags=re.DOTALL)
    assert not re.search(r">\s*real\s*<", without_plots)


def test_a_bad_file_gets_its_section_and_exit_code_1(detector: Path, photo: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("<html>not found</html>")
    done = inside("explain", bad, photo, "-d", detector, "-o", tmp_path / "page.html")
    assert done.code == 1
    assert "bad.jpg" in done.messages
    assert "Traceback" not in done.messages
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "bad.jpg" in page
    assert "holiday.jpg" in page
    assert "HTML page" in page


def test_too_small_is_a_reason_and_not_an_error(detector: Path, tmp_path: Path) -> None:
    save(natural(1, CROP // 2, CROP // 2), tmp_path / "small.png")
    done = inside("explain", tmp_path / "small.png", "-d", detector, "-o", tmp_path / "page.html", "--json")
    assert done.code == 0
    assert done.rows[0]["label"] == "uncertain"
    assert "needs at least" in done.rows[0]["reason"]
    assert "needs at least" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_pictures_are_written_beside_the_page(detector: Path, photo: Path, tmp_path: Path) -> None:
    page_of(photo, "--pictures", tmp_path / "plots", detector=detector, out=tmp_path / "page.html")
    plots = sorted((tmp_path / "plots").glob("*.png"))
    assert len(plots) >= 4
    for path in plots:
        Image.open(path).verify()


def test_a_page_that_cannot_be_written(detector: Path, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = inside("explain", photo, "-d", detector, "-o", tmp_path / "file" / "page.html")
    assert done.code == 2
    assert "Traceback" not in done.messages


def test_nothing_to_explain(detector: Path, tmp_path: Path) -> None:
    done = inside("explain", tmp_path, "-d", detector, "-o", tmp_path / "page.html")
    assert done.code == 2
    assert not (tmp_path / "page.html").exists()


def test_the_row_is_that_of_a_scan(detector: Path, photo: Path, tmp_path: Path) -> None:
    explained = inside("explain", photo, "-d", detector, "-o", tmp_path / "page.html", "--json")
    scanned = inside("scan", photo, "-d", detector, "--json")
    assert json.loads(explained.text) == json.loads(scanned.text)
