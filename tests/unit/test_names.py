"""Names of files as text: reversible, and without effect on a terminal."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tellsign.scoring.names import escape, printable, unescape

posix = pytest.mark.skipif(sys.platform == "win32", reason="names are bytes on POSIX only")
NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)


@posix
@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"a b.png", "a b.png"),
        ("Grüße 写真.jpg".encode(), "Grüße 写真.jpg"),
        (b"caf\xe9.jpg", "caf\\xe9.jpg"),
        (b"caf\\xe9.jpg", "caf\\\\xe9.jpg"),
        (b"a\\b", "a\\\\b"),
        (b"new\nline", "new\nline"),
        (b"\xff\\\xff", "\\xff\\\\\\xff"),
    ],
)
def test_known_names(name: bytes, text: str) -> None:
    assert escape(os.fsdecode(name)) == text
    assert os.fsencode(unescape(text)) == name


@posix
@given(NAMES)
@example(b"\\xe9")
@example(b"\\\\xe9")
@example(b"\xe9\\x")
def test_escape_is_reversible(name: bytes) -> None:
    text = escape(os.fsdecode(name))
    text.encode("utf-8")  # no lone surrogates: valid in JSON, CSV and Parquet
    assert os.fsencode(unescape(text)) == name


@posix
@given(NAMES, NAMES)
def test_two_names_never_look_the_same(first: bytes, second: bytes) -> None:
    same = escape(os.fsdecode(first)) == escape(os.fsdecode(second))
    assert same == (first == second)


@given(st.text())
@example("\x1b]0;title\x07")
@example("\x9b2J")
@example("\u202egnp.exe")
@example("\u2028\u2029\ufeff\udcff")
def test_printable_is_one_line_without_control(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1


def test_printable_leaves_ordinary_text_alone() -> None:
    assert printable("Grüße, 写真 (1).jpg – 100 %") == "Grüße, 写真 (1).jpg – 100 %"
    assert printable("a\x1b[2J\n") == "a\\x1b[2J\\n"
