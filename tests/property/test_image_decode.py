"""Whatever the bytes: an image in [0, 1] or an ImageError, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import bad_files, good_files
from tellsign.image import Image, decode
from tellsign.types import ImageError

GOOD = {name: content for name, (content, _) in good_files().items() if len(content) < 120_000}
BAD = [content for content, _ in bad_files().values()]
STARTS = [
    b"\xff\xd8\xff",
    b"\xff\xd8\xff\xe1\0\x20Exif\0\0II*\0",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"RIFF\x40\0\0\0WEBPVP8L",
    b"BM\x40\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
    b"II\x2a\0\x08\0\0\0",
    b"MM\0\x2a\0\0\0\x08",
    b"II\x2b\0\x08\0\0\0",
    b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    b"<svg",
    b"",
]


def check(data: bytes) -> bool:
    """Whether the bytes decode; fails on anything but a sound image or an ImageError."""
    try:
        image = decode(data, max_pixels=2_000_000)
    except ImageError as error:
        message = str(error)
    else:
        return sound(image)
    assert message
    assert message.isprintable()
    return False


def sound(image: Image) -> bool:
    array = image.array
    assert array.dtype == np.float32
    assert array.shape == (3, image.meta.height, image.meta.width)
    assert array.size
    assert array.flags.c_contiguous
    assert array.min() >= 0
    assert array.max() <= 1
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in image.meta.exif.items())
    assert all(warning.isprintable() for warning in image.meta.warnings)
    return True


@pytest.mark.parametrize("name", list(GOOD))
def test_the_seeds_decode(name: str) -> None:
    assert check(GOOD[name])


@settings(max_examples=300, deadline=None)
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=400))
def test_random_bytes(start: bytes, rest: bytes) -> None:
    check(start + rest)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good file with some bytes changed, put in, cut out or cut off; headers more often than pixels."""
    data = bytearray(GOOD[draw(st.sampled_from(sorted(GOOD)))])
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        reach = draw(st.sampled_from([40, 400, len(data)]))
        at = draw(st.integers(0, min(reach, len(data)) - 1))
        how = draw(st.sampled_from(["set", "flip", "insert", "delete", "cut", "repeat"]))
        if how == "set":
            data[at] = draw(st.integers(0, 255))
        elif how == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "insert":
            data[at:at] = draw(st.binary(max_size=12))
        elif how == "delete":
            del data[at : at + draw(st.integers(1, 64))]
        elif how == "cut":
            del data[at:]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
    return bytes(data)


@settings(max_examples=500, deadline=None)
@given(data=mutated())
def test_mutated_files(data: bytes) -> None:
    check(data)


@settings(max_examples=100, deadline=None)
@given(
    first=st.sampled_from(sorted(GOOD)), second=st.sampled_from(sorted(GOOD)), where=st.floats(0, 1, width=16)
)
def test_files_spliced_together(first: str, second: str, where: float) -> None:
    head = GOOD[first][: int(len(GOOD[first]) * where)]
    check(head + GOOD[second])


@settings(max_examples=60, deadline=None)
@given(data=st.sampled_from(BAD), rest=st.binary(max_size=64))
def test_bad_files_with_a_tail(data: bytes, rest: bytes) -> None:
    check(data + rest)


def test_the_check_itself_fails_on_another_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object, **__: object) -> None:
        raise ValueError("escaped")

    monkeypatch.setitem(globals(), "decode", explode)
    with pytest.raises(ValueError, match="escaped"):
        check(b"")
