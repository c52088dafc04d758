"""One run at a time writes an output, and a lock that can't be had says why."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tellsign.lock import locked
from tellsign.types import OutputError

fcntl = pytest.importorskip("fcntl")


def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with locked(tmp_path / "out"):
        with pytest.raises(OutputError, match="another run is writing"), locked(tmp_path / "out"):
            pass
        assert (tmp_path / "out.lock").exists()
    with locked(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EAGAIN, "another run is writing"),
        (errno.EACCES, "another run is writing"),
        (errno.ENOLCK, "cannot lock .*out.lock .No locks available.; put the output on another file system"),
        (errno.ENOTSUP, "cannot lock .*out.lock .*; put the output on another file system"),
    ],
)
def test_a_file_system_without_locks_is_no_other_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    def failing(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", failing)
    with pytest.raises(OutputError, match=message), locked(tmp_path / "out"):
        pass
