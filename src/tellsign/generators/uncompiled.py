"""Functions that `torch.compile` leaves as they are, without its import where nothing is compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

Given = ParamSpec("Given")
Found = TypeVar("Found")


def uncompiled(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """A function that runs as it is between the compiled parts of a network.

    As `torch.compiler.disable`, which imports the compiler when a module is read: that takes seconds.

    Args:    function: with values that decide what it does, such as checks of its input.
    Returns: the same.
    """
    disabled: Any = None

    @wraps(function)
    def run(*args: Given.args, **options: Given.kwargs) -> Found:
        nonlocal disabled
        if not torch.compiler.is_compiling():
            return function(*args, **options)
        if disabled is None:
            disable: Any = torch.compiler.disable
            disabled = disable(function)
        found: Found = disabled(*args, **options)
        return found

    return run
