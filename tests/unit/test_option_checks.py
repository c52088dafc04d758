"""What the configurations of all systems ask of their options, and what they say of others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from tellsign.configuration import check_choice, check_flags, is_number, numbers, record_of
from tellsign.types import ConfigError


@dataclass(frozen=True)
class Record:
    """Two options."""

    size: int = 1
    flip: bool = True


def test_a_table_and_its_record_are_the_same():
    record = record_of({"size": 3}, Record, "[config.crop]")
    assert record == Record(size=3)
    assert record_of(record, Record, "[config.crop]") is record


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, r"^\[config.crop\] is a table of options, found 3$"),
        ([("size", 3)], "is a table of options"),
        ({"side": 3}, r"^\[config.crop\]: unknown key 'side'; there are size, flip$"),
    ],
)
def test_what_is_no_table_of_a_record(given, message):
    with pytest.raises(ConfigError, match=message):
        record_of(given, Record, "[config.crop]")


def test_flags_are_true_or_false():
    check_flags(Record(flip=False), "flip")
    with pytest.raises(ConfigError, match=r"^flip is true or false, found 1$"):
        check_flags(Record(flip=1), "flip")
    with pytest.raises(ConfigError, match=r"^size is true or false, found 1$"):
        check_flags(Record(), "flip", "size")


@pytest.mark.parametrize("value", ["c", None, ["a"], 1])
def test_a_choice_is_one_of_those_that_there_are(value):
    check_choice("kind", "a", ("a", "b"))
    with pytest.raises(ConfigError, match="kind is one of a, b, found"):
        check_choice("kind", value, ("a", "b"))


def test_true_is_no_number():
    assert [is_number(value) for value in (1, 0.5, math.nan, True, "1", None)] == [True] * 3 + [False] * 3


def test_a_list_of_numbers():
    assert numbers("weights", [1, 0.5, 0]) == (1.0, 0.5, 0.0)
    assert numbers("weights", ()) == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("12", "weights is a list of numbers, found '12'"),
        (1.0, "weights is a list of numbers, found 1.0"),
        ([1, True], r"weights are numbers of at least 0, found \[1, True\]"),
        ([-1.0], "weights are numbers of at least 0"),
        ([math.nan], "weights are numbers of at least 0"),
        ([math.inf], "weights are numbers of at least 0"),
    ],
)
def test_what_is_no_list_of_numbers(given, message):
    with pytest.raises(ConfigError, match=message):
        numbers("weights", given)
