"""Any bytes under any name give one row; no row depends on its neighbours, their order or who scores it."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clips import clip
from corpus import good_files
from detector import write_detector
from pictures import natural, save, upsampled
from tellsign.scoring import inputs
from tellsign.scoring.names import unescape
from tellsign.scoring.scan import scan
from tellsign.scoring.scorer import Options, Scorer
from tellsign.scoring.store import csv_line, json_line
from tellsign.scoring.workers import Limits

KEPT = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
GOOD = [content for content, _ in good_files().values() if len(content) < 20_000]


@pytest.fixture(scope="module", params=["linear", "kernel"])
def scorer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer(write_detector(tmp_path_factory.mktemp("detector") / "d", kind=request.param))


@pytest.fixture(scope="module")
def scorer_of_faces(scorer: Scorer) -> Scorer:
    return Scorer(scorer.artifact.path, Options(faces=True))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of several sizes, a film, one that is too small, a bad one, one that is not there."""
    folder = tmp_path_factory.mktemp("files")
    paths = [save((natural, upsampled)[k % 2](k, 33 + 5 * k, 60), folder / f"{k}.png") for k in range(6)]
    (folder / "film.mp4").write_bytes(clip(3))
    (folder / "bad.jpg").write_bytes(b"text")
    return [
        *paths,
        folder / "film.mp4",
        save(natural(9, 9, 9), folder / "small.png"),
        folder / "bad.jpg",
        folder / "no",
    ]


@pytest.fixture(scope="module")
def alone(scorer: Scorer, files: list[Path]) -> dict[Path, Any]:
    return {path: scorer.rows([(path, None)])[0] for path in files}


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file, cut off, with bytes changed, moved and put in."""
    content = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        piece = draw(st.binary(max_size=8))
        content[at : at + draw(st.sampled_from([0, len(piece), 100]))] = piece
    return bytes(content[: draw(st.integers(0, len(content)))]) if draw(st.booleans()) else bytes(content)


@settings(KEPT, max_examples=120)
@given(content=st.one_of(damaged(), st.binary(max_size=200)), faces=st.booleans())
def test_any_content_gives_a_row(
    scorer: Scorer, scorer_of_faces: Scorer, tmp_path: Path, content: bytes, faces: bool
) -> None:
    path = tmp_path / "file.jpg"
    path.write_bytes(content)
    scored = scorer_of_faces if faces else scorer
    (row,) = scored.rows([(path, None)])
    assert row is not None
    assert (row["label"] is None) == (row["error"] is not None)
    assert row["label"] != "uncertain" or row["warnings"] or row["reason"]
    assert (row["score"] is None) == (row["probability"] is None)
    assert json.loads(json_line(row)) == row
    assert csv_line(row)
    # The same once more: nothing is kept from one file for the next.
    assert scored.rows([(path, None)]) == [row]


@settings(KEPT, max_examples=40)
@given(data=st.data())
def test_neighbours_and_order_change_no_bit(
    scorer: Scorer, files: list[Path], alone: dict[Path, Any], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=12))
    assert scorer.rows([(path, None) for path in chosen]) == [alone[path] for path in chosen]


@settings(KEPT, max_examples=5)
@given(data=st.data(), n_workers=st.integers(1, 3), batch=st.integers(1, 7))
def test_workers_and_batches_change_no_bit(
    scorer: Scorer, files: list[Path], alone: dict[Path, Any], data: st.DataObject, n_workers: int, batch: int
) -> None:
    order = data.draw(st.permutations(files * 2))
    rows: list[Any] = []
    summary = scan(order, scorer, limits=Limits(n_workers, batch, timeout=120, memory=0), on_row=rows.append)
    assert rows == [alone[path] for path in order]
    assert summary.n == len(order)
    assert summary.failed == 4
    assert summary.n == summary.real + summary.fake + summary.uncertain + summary.failed


NAMES = st.binary(min_size=1, max_size=60).filter(
    lambda name: not {0, 47} & set(name) and name not in {b".", b".."}
)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
@settings(KEPT, max_examples=60)
@given(names=st.sets(NAMES, max_size=8))
def test_any_names_are_found_once_and_named_back(
    scorer: Scorer, tmp_path_factory: pytest.TempPathFactory, names: set[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("names")
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    found = list(inputs.files([folder]))
    rows = scorer.rows([(path, None) for path in found])
    back = [os.fsencode(Path(unescape(json.loads(json_line(row or {}))["path"])).name) for row in rows]
    assert back == sorted(names)


class Pieces(io.RawIOBase):
    """Bytes that arrive in pieces of given sizes."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        self.content, self.sizes = content, sizes

    def read(self, _size: int = -1) -> bytes:
        size = self.sizes.pop() if self.sizes else len(self.content)
        piece, self.content = self.content[:size], self.content[size:]
        return piece


def separated(names: list[bytes], separator: bytes, sizes: list[int]) -> Iterator[bytes]:
    stream = Pieces(separator.join(names), sizes)
    return (os.fsencode(path) for path in inputs.listed(stream, nul=separator == b"\0"))  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform == "win32", reason="names of any bytes")
@given(
    names=st.lists(st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name), max_size=10),
    sizes=st.lists(st.integers(1, 30), max_size=20),
)
def test_a_list_gives_its_names_whatever_the_pieces(names: list[bytes], sizes: list[int]) -> None:
    # As a path, a name loses a slash at its end and dots in its middle.
    expected = [os.fsencode(Path(os.fsdecode(name))) for name in names]
    assert list(separated(names, b"\0", list(sizes))) == expected
    if not any(b"\n" in name for name in names):
        assert list(separated(names, b"\n", list(sizes))) == expected
