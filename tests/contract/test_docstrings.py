"""Public docstrings name the parameters that the function has, and no others."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest

import tellsign

# The command line's functions are documented option by option, by Typer.
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(tellsign.__path__, "tellsign.")
    if not module.name.startswith(("tellsign.cli", "tellsign.__main__"))
)


def functions(module: Any) -> Iterator[tuple[str, Any]]:
    """Public functions and methods that a module defines."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing):
            for method_name, method in vars(thing).items():
                plain = method.__func__ if isinstance(method, classmethod | staticmethod) else method
                if inspect.isfunction(plain) and not method_name.startswith("_"):
                    yield f"{name}.{method_name}", plain


def complaint(function: Any) -> str | None:
    """What is wrong with a docstring, or None."""
    text = inspect.getdoc(function)
    if not text:
        return "has no docstring"
    parameters = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    section = re.search(r"^Args:(.*?)(?=^\w+:|\Z)", text, flags=re.DOTALL | re.MULTILINE)
    if section is None:
        return None  # a one-liner that says it all
    missing = [name for name in parameters if not re.search(rf"\b{name}\b", section.group(1))]
    # A parameter is named at the start of a line: "name: ..." or "first, second: ...".
    named = re.findall(
        r"^(?:\s*)([a-z_]\w*(?:, [a-z_]\w*)*): ", "\n" + section.group(1).lstrip(), re.MULTILINE
    )
    unknown = [name for group in named for name in group.split(", ") if name not in parameters]
    if missing or unknown:
        return f"lacks {missing}, invents {unknown}"
    return None


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_name_the_parameters(name: str) -> None:
    found = {function: complaint(value) for function, value in functions(importlib.import_module(name))}
    assert not {function: text for function, text in found.items() if text}


def test_a_wrong_docstring_is_found() -> None:
    def shifted(image: int, size: int) -> int:
        """Moves.

        Args:    image: a number.
                 length: which is not there.
        Returns: a number.
        """
        return image + size

    assert complaint(shifted) == "lacks ['size'], invents ['length']"
