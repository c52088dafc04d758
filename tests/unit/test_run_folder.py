"""The folder of a training: kept where there is something to go on with, and nothing else left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tellsign.run_folder import run_folder
from tellsign.types import ConfigError


def long_training(folder: Path) -> None:
    (folder / "0.run").mkdir(exist_ok=True)
    (folder / "0.run" / "log.csv").write_text("epoch", encoding="utf-8")
    (folder / "0.run" / "best.safetensors").write_bytes(b"heavy")


def trained(out: Path, *, by: Callable[[Path], None], ends: type[BaseException] | None = None) -> None:
    with run_folder(out, resume=False) as folder:
        by(folder)
        if ends:
            raise ends


def quick_training(folder: Path) -> None:
    (folder / "0").mkdir()


def stopped(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(out, by=long_training, ends=KeyboardInterrupt)


def test_a_quick_training_leaves_nothing(tmp_path: Path) -> None:
    trained(tmp_path / "out", by=quick_training)
    assert list(tmp_path.iterdir()) == []


def test_a_quick_training_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        trained(tmp_path / "out", by=quick_training, ends=ZeroDivisionError)
    assert list(tmp_path.iterdir()) == []


def test_a_long_training_that_is_stopped_is_resumed_only_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    stopped(out)
    with pytest.raises(ConfigError, match="--resume"), run_folder(out, resume=False):
        pass
    with run_folder(out, resume=True) as folder:
        assert (folder / "0.run" / "best.safetensors").read_bytes() == b"heavy"


def test_of_a_long_training_the_records_stay_and_the_weights_go(tmp_path: Path) -> None:
    out = tmp_path / "out"
    trained(out, by=long_training)
    assert sorted(path.name for path in (tmp_path / "out.run").rglob("*") if path.is_file()) == [
        "done",
        "log.csv",
    ]
    with run_folder(out, resume=False) as folder:  # one that is done is in nobody's way
        assert list(folder.iterdir()) == []


def test_it_is_done_before_the_weights_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a run that is killed in between would go on with what lacks them."""

    def killed(path: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "out", by=long_training)
    with run_folder(tmp_path / "out", resume=True) as folder:
        assert list(folder.iterdir()) == []


def test_one_training_at_a_time(tmp_path: Path) -> None:
    with (
        run_folder(tmp_path / "out", resume=False),
        pytest.raises(ConfigError, match="another run"),
        run_folder(tmp_path / "out", resume=True),
    ):
        pass


def test_a_process_that_is_not_the_first_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with run_folder(tmp_path / "out", resume=False) as folder:
        assert folder.name == "out.run"
    assert list(tmp_path.iterdir()) == []
