"""What is walked, in which order, and that nothing is lost, waited for or walked in circles."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from clips import clip
from corpus import good_files
from tellsign.scoring import inputs
from tellsign.types import ConfigError

JPEG = good_files()["plain.jpg"][0]
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


def put(folder: Path, *names: str, content: bytes = JPEG) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def found(*paths: Path) -> tuple[list[Path], list[Path]]:
    skipped: list[Path] = []
    return list(inputs.files(paths, on_skip=skipped.append)), skipped


def test_a_folder_is_walked_in_the_order_of_names(tmp_path: Path) -> None:
    put(tmp_path, "b/2.jpg", "b/10.jpg", "a.jpg", "c.png", "b/deep/x.jpg", ".hidden/y.jpg", "d.mp4")
    expected = [".hidden/y.jpg", "a.jpg", "b/10.jpg", "b/2.jpg", "b/deep/x.jpg", "c.png", "d.mp4"]
    assert found(tmp_path) == ([tmp_path / name for name in expected], [])


def test_suffix_or_content_decides_and_the_rest_is_counted(tmp_path: Path) -> None:
    put(tmp_path, "photo", "photo.bin")
    put(tmp_path, "film", content=clip(3))
    put(tmp_path, "notes.txt", "Makefile", content=b"all:\n")
    put(tmp_path, "upper.JPG", "text.jpg", content=b"no image")
    files, skipped = found(tmp_path)
    assert {path.name for path in files} == {"photo", "photo.bin", "film", "upper.JPG", "text.jpg"}
    assert {path.name for path in skipped} == {"notes.txt", "Makefile"}


def test_a_folder_with_an_image_s_name_is_walked(tmp_path: Path) -> None:
    put(tmp_path, "album.jpg/inside.png")
    assert found(tmp_path)[0] == [tmp_path / "album.jpg" / "inside.png"]


def test_files_named_are_taken_whatever_they_are(tmp_path: Path) -> None:
    put(tmp_path, "notes.txt")
    named = [tmp_path / "notes.txt", tmp_path / "missing.jpg", tmp_path / "notes.txt"]
    assert found(*named) == (named, [])


@posix
def test_loops_of_links_end(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "here").symlink_to(".")
    (tmp_path / "b" / "a").symlink_to(tmp_path / "a")
    files, _ = found(tmp_path)
    assert sorted(path.name for path in files) == ["1.jpg", "2.jpg"]


@posix
def test_a_link_to_itself_hides_no_neighbour(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg", "3.jpg")
    (tmp_path / "2").symlink_to("2")
    (tmp_path / "2.jpg").symlink_to("2.jpg")
    files, skipped = found(tmp_path)
    assert [path.name for path in files] == ["1.jpg", "2.jpg", "3.jpg"]  # 2.jpg gets a row that says why
    assert [path.name for path in skipped] == ["2"]


@posix
def test_linked_files_and_folders_are_followed(tmp_path: Path) -> None:
    put(tmp_path, "store/1.jpg", "elsewhere/2.jpg")
    scanned = tmp_path / "scanned"
    scanned.mkdir()
    (scanned / "one.jpg").symlink_to(tmp_path / "store" / "1.jpg")
    (scanned / "more").symlink_to(tmp_path / "elsewhere")
    assert [path.name for path in found(scanned)[0]] == ["2.jpg", "one.jpg"]


@posix
def test_pipes_and_sockets_are_not_waited_for(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        files, skipped = found(tmp_path)
    assert [path.name for path in files] == ["1.jpg", "pipe.jpg"]
    assert [path.name for path in skipped] == ["pipe", "s"]


@posix
def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    (tmp_path / ".#lock").symlink_to("user@host.123")
    files, skipped = found(tmp_path)
    assert [path.name for path in files] == ["gone.jpg"]
    assert [path.name for path in skipped] == [".#lock"]


def test_an_unreadable_folder_is_an_input_and_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    scandir = os.scandir

    def closed(path: Path) -> object:
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert found(tmp_path)[0] == [tmp_path / "a", tmp_path / "b" / "2.jpg"]


def test_an_unreadable_file_without_suffix_is_an_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "locked", "text", content=b"text")
    open_ = Path.open

    def closed(self: Path, *arguments: object, **options: object) -> object:
        if self.name == "locked":
            raise PermissionError(13, "Permission denied")
        return open_(self, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", closed)
    assert found(tmp_path) == ([tmp_path / "locked"], [tmp_path / "text"])


@posix
def test_folders_nested_deeper_than_python_calls(tmp_path: Path) -> None:
    depth = 1200
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):  # step by step: the whole path would be too long for one call on some systems
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("1.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        files, _ = found(tmp_path)
    finally:  # pytest's own cleaning would not get down there
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)
    assert len(files) == 1
    assert files[0].name in {"1.jpg", "d"}  # where the path is too long, the folder stands for what is in it
    assert len(files[0].parts) > 1000


def test_a_folder_named_twice_is_walked_once(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "a/b/2.jpg")
    assert [path.name for path in found(tmp_path / "a" / "b", tmp_path / "a")[0]] == ["2.jpg", "1.jpg"]


@posix
@pytest.mark.parametrize("limit", [2, 3, 4, 5, 100])
def test_a_large_folder_is_sorted_alike_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    names = [b"a.jpg", "ä.jpg".encode(), b"\xff.jpg", b"B.jpg", "写.jpg".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(JPEG)
    (tmp_path / "m").mkdir()
    put(tmp_path / "m", "1.jpg")
    monkeypatch.setattr(inputs, "SORTED_IN_MEMORY", limit)
    files = [os.fsencode(path.relative_to(tmp_path)) for path in found(tmp_path)[0]]
    assert files == sorted([*names, b"m/1.jpg"])


@pytest.mark.parametrize("last", [b"", b"\n"])
def test_a_list_of_names(last: bytes) -> None:
    stream = io.BytesIO(b"a.jpg\n\nb c.jpg\n\xff\xe9.jpg" + last)
    names = [os.fsencode(path) for path in inputs.listed(stream, nul=False)]
    assert names == [b"a.jpg", b"b c.jpg", b"\xff\xe9.jpg"]


def test_a_list_of_names_with_line_feeds() -> None:
    stream = io.BytesIO(b"a\nb.jpg\0c.jpg\0d.jpg")
    assert list(map(str, inputs.listed(stream, nul=True))) == ["a\nb.jpg", "c.jpg", "d.jpg"]


class Trickle(io.RawIOBase):
    """A pipe that gives its bytes one at a time."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self, _size: int = -1) -> bytes:
        first, self.content = self.content[:1], self.content[1:]
        return first


def test_names_that_come_in_pieces() -> None:
    assert list(map(str, inputs.listed(Trickle(b"ab\ncd\ne"), nul=False))) == ["ab", "cd", "e"]  # type: ignore[arg-type]


def test_names_are_taken_as_they_come() -> None:
    stream = Trickle(b"ab\ncd\n")
    assert str(next(inputs.listed(stream, nul=False))) == "ab"  # type: ignore[arg-type]
    assert stream.content == b"cd\n"


def test_a_wrong_separator_is_said() -> None:
    stream = io.BytesIO(b"a.jpg\n" * 30_000)
    with pytest.raises(ConfigError, match="-0"):
        list(inputs.listed(stream, nul=True))
