"""The corpus is what it says: its good files decode, its bad ones are refused, and it is quick and small."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus import bit_flips, bombs, truncations, write_corpus
from tellsign.image import decode
from tellsign.types import ImageError


def test_good_files_decode_and_bad_ones_are_refused(tmp_path: Path) -> None:
    files = write_corpus(tmp_path)
    wrong = {}
    for file in files:
        try:
            decode(file.path)
        except ImageError as error:
            if file.ok:
                wrong[file.path.name] = str(error)
        else:
            if not file.ok:
                wrong[file.path.name] = f"decoded, but: {file.why}"
    assert not wrong
    assert sum(file.ok for file in files) >= 25
    assert sum(not file.ok for file in files) >= 25


def test_every_file_in_the_folder_is_listed_once(tmp_path: Path) -> None:
    files = write_corpus(tmp_path)
    assert sorted(file.path.name for file in files) == sorted(path.name for path in tmp_path.iterdir())
    assert all(file.why for file in files)
    assert sum(file.path.lstat().st_size for file in files) < 2_000_000


def test_the_corpus_is_the_same_each_time(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first, second = (write_corpus(folder) for folder in folders)
    for a, b in zip(first, second, strict=True):
        assert a.path.name == b.path.name
        if a.path.exists() and a.why != "no permission":
            assert a.path.read_bytes() == b.path.read_bytes()


def test_truncations_stop_short_of_the_whole() -> None:
    parts = truncations(bytes(range(200)))
    assert [len(part) for part in parts] == list(range(0, 200, 2))


def test_bit_flips_change_every_copy_and_not_the_original() -> None:
    data = bytes(100)
    copies = bit_flips(data, count=50, seed=1)
    assert len(copies) == 50
    assert all(len(copy) == 100 for copy in copies)
    assert sum(copy != data for copy in copies) >= 45  # a bit may be flipped twice
    assert copies == bit_flips(data, count=50, seed=1)


@pytest.mark.parametrize("name", list(bombs()))
def test_a_bomb_is_small(name: str) -> None:
    assert len(bombs()[name]) < 10_000
