"""A file is the old one or the new one, wherever the writing of it ends."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tellsign.durable import write_file


def test_a_file_is_written_in_parts_and_its_digest_given(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    digest = write_file(file, iter([b"one", memoryview(b" two")]))
    assert file.read_bytes() == b"one two"
    assert digest == hashlib.sha256(b"one two").hexdigest()
    write_file(file, b"three", lasting=False)
    assert file.read_bytes() == b"three"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("lasting", [True, False])
def test_only_what_must_last_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasting: bool
) -> None:
    kinds, fsync = [], os.fsync

    def counted(number: int) -> None:
        kinds.append("folder" if os.path.isdir(f"/proc/self/fd/{number}") else "file")  # noqa: PTH112
        fsync(number)

    monkeypatch.setattr(os, "fsync", counted)
    write_file(tmp_path / "a", b"1", lasting=lasting)
    if Path("/proc/self/fd").is_dir():
        assert kinds == (["file", "folder"] if lasting else [])


def test_a_writing_that_ends_early_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    write_file(file, b"old")

    def parts() -> Iterator[bytes]:
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(file, parts())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(file, b"new")
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
