"""The folder of a training: kept where there is something to go on with, and nothing else left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tellsign.run_folder import is_first, run_folder
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
    monkeypatch.setenv("WORLD_SIZE", "2")
    with run_folder(tmp_path / "out", resume=False) as folder:
        assert folder.name == "out.run"
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_alone_is_the_first_whatever_its_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some cluster sets RANK for each job; only torchrun says of how many."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert is_first()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert is_first()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not is_first()
    monkeypatch.setenv("RANK", "0")
    assert is_first()
    for text in ("two", "0", "-1", ""):
        monkeypatch.setenv("WORLD_SIZE", text)
        with pytest.raises(ConfigError, match="WORLD_SIZE is the number of processes"):
            is_first()


def content(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("also", ["nothing", "stopped", "done"])
def test_a_folder_of_somebody_s_own_stays(tmp_path: Path, resume: bool, also: str) -> None:
    out = tmp_path / "out"
    if also == "stopped":
        stopped(out)
    elif also == "done":
        trained(out, by=long_training)
    folder = tmp_path / "out.run"
    folder.mkdir(exist_ok=True)
    (folder / "mine.txt").write_text("mine")
    (folder / "mine.safetensors").write_text("mine")
    before = content(folder)
    with (
        pytest.raises(ConfigError, match=r"out\.run holds 'mine\.safetensors', which is of no training"),
        run_folder(out, resume=resume),
    ):
        pass
    assert content(folder) == before


def test_what_comes_into_it_meanwhile_stays(tmp_path: Path) -> None:
    trained(tmp_path / "out", by=lambda folder: (folder / "mine.txt").write_text("mine"))
    assert content(tmp_path / "out.run") == ["done", "mine.txt"]


def test_drafts_of_a_killed_run_go(tmp_path: Path) -> None:
    out = tmp_path / "out"
    stopped(out)
    drafts = [
        folder / f".{name}-abcd1234.draft{old}"
        for folder, name in (
            (tmp_path, "out"),
            (out.with_name("out.run"), "chosen"),
            (out.with_name("out.run"), "0"),
        )
        for old in ("", ".old")
    ]
    others = [tmp_path / ".out-photographs", tmp_path / ".outer-abcd1234.draft", tmp_path / "out"]
    for path in (*drafts, *others):
        path.mkdir()
        (path / "detector.json").touch()
    for path in ("chosen", "0"):
        (tmp_path / "out.run" / path).mkdir()
    with run_folder(out, resume=True):
        assert not any(path.exists() for path in drafts)
        assert all(path.exists() for path in others)
