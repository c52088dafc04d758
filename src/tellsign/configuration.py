"""TOML → a tree of options, with overrides from the command line and no unknown key."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Record = TypeVar("Record")

NONE = "none"  # says what TOML has no word for
WITHOUT_VALUE = {"None", "Optional"}  # in the type of a field that may be without a value


def toml_tree(path: Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The tables of a TOML file, with `key=value` overrides put in.

    Args:    path: of the file.
             overrides: e.g. `seed=1` or `config.crop=256`; values are TOML, or else plain text.
    Returns: key → value, tables as dictionaries.
    Raises:  ConfigError: the file can't be read, or an override is none.
    """
    try:
        with path.open("rb") as file:
            tree = tomllib.load(file)
    except (OSError, ValueError) as error:  # no TOML, or no UTF-8
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set takes key=value, found {override!r}")
        branch = tree
        *parents, leaf = key.strip().split(".")
        for parent in parents:
            branch = branch.setdefault(parent, {})
            if not isinstance(branch, dict):
                raise ConfigError(f"--set {key}: {parent!r} is {branch!r} and no table of options")
        branch[leaf] = _toml_value(text)
    return tree


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # an unquoted string, as a shell passes it


def only_known(given: Mapping[str, Any], record: Any, where: str) -> None:
    """Refuse a key that a record has no field for.

    Args:    given: the options.
             record: a dataclass, or one of its instances.
             where: the options stand, for the message.
    Raises:  ConfigError: there is an unknown key; the known ones are listed.
    """
    known = [f.name for f in fields(record)]
    if unknown := sorted(set(given) - set(known)):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; there are {', '.join(known)}")


def config_of(record: type[Record], given: Mapping[str, Any], where: str) -> Record:
    """A configuration from options that a person has written.

    Args:    record: its dataclass.
             given, where: as for `known_options`.
    Returns: the configuration.
    Raises:  ConfigError: there is an unknown key, or a value is not allowed.
    """
    return record(**known_options(given, record, where))


def known_options(given: Mapping[str, Any], record: Any, where: str) -> dict[str, Any]:
    """The options of a record, where "none" is no value for a field that may be without one.

    Args:    given, record, where: as for `only_known`.
    Returns: name → value. A field whose own values include the text "none" keeps it.
    Raises:  ConfigError: as for `only_known`.
    """
    only_known(given, record, where)
    optional = {f.name for f in fields(record) if WITHOUT_VALUE & {*re.findall(r"\w+", str(f.type))}}
    return {name: None if value == NONE and name in optional else value for name, value in given.items()}


def record_of(given: object, record: type[Record], where: str) -> Record:
    """A table of options as its record.

    Args:    given: the table, or the record already. record: its dataclass.
             where: the table stands, for messages.
    Returns: the record, checked.
    Raises:  ConfigError: it is no table, a key is unknown, or a value is not allowed.
    """
    if isinstance(given, record):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} is a table of options, found {given!r}")
    only_known(given, record, where)
    try:
        return record(**given)
    except ConfigError as error:
        raise ConfigError(f"{where} {error}") from error


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raises ConfigError for a value that is none of the choices.

    Args:    name: of the option, for the message. value: given. choices: that there are.
    """
    if value not in choices:
        raise ConfigError(f"{name} is one of {', '.join(choices)}, found {value!r}")


def check_flags(config: object, *names: str) -> None:
    """Raises ConfigError where an option is neither true nor false.

    Args:    config: a record. names: of the options.
    """
    for name in names:
        if not isinstance(value := getattr(config, name), bool):
            raise ConfigError(f"{name} is true or false, found {value!r}")


def is_number(value: object) -> TypeGuard[float]:
    """Whether an option is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def numbers(name: str, given: object) -> tuple[float, ...]:
    """A list of numbers of at least 0.

    Args:    name: of the option, for the message. given: its value.
    Returns: the numbers.
    Raises:  ConfigError: it is no such list.
    """
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigError(f"{name} is a list of numbers, found {given!r}")
    if not all(is_number(one) and 0 <= one < math.inf for one in given):
        raise ConfigError(f"{name} are numbers of at least 0, found {list(given)}")
    return tuple(float(one) for one in given)


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number of a range.

    Args:    name: of the option, for the message.
             value: given.
             least, most: the range, both included; None: no upper end.
    Raises:  ConfigError: the value is another one.
    """
    whole = int(value) if not isinstance(value, bool) and isinstance(value, Integral) else None
    if whole is None or whole < least or (most is not None and whole > most):
        limit = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{name} is a whole number {limit}, found {value!r}")
