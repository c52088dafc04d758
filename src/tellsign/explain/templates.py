"""The templates of the pages, in which every value is escaped."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache(maxsize=8)
def template(name: str, folder: Path | None = None) -> Any:
    """A page's template.

    Args:    name: of the file.
             folder: where it lies; None: beside this module, where the head and the style of every page are.
    Returns: a Jinja template; an undefined name in it is an error.
    """
    import jinja2

    own = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder or own, own]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
