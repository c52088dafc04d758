"""A benchmark's sections as one self-contained HTML page, as Markdown, and as files of tables and pictures.

No script, no network, no path of this machine. The same sections give the same bytes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tellsign import __version__
from tellsign.evaluate.benchmark.plots import slug
from tellsign.evaluate.benchmark.tables import markdown_text
from tellsign.explain import figures
from tellsign.explain.templates import template
from tellsign.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tellsign.evaluate.benchmark.tables import Table
    from tellsign.explain.figures import Plot

WRITTEN = "cache/report.json"  # names of the files of the last call
OWN = re.compile(r"tables/[^/\\]+\.(csv|tex)|plots/[^/\\]+\.png")


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A heading with what stands below it."""

    title: str
    text: str = ""
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()  # name and value, as a list
    see: str = ""  # title of another section, which stands beside this one


def html(title: str, sections: Sequence[Section]) -> str:
    """The page.

    Args:    title: of the page.
             sections: in order.
    Returns: one HTML document.
    """
    shown = [
        {
            "anchor": f"s{number}-{slug(section.title)}",
            "section": section,
            "plots": [
                (plot, figures.svg(plot, prefix=f"s{number}p{position}"))
                for position, plot in enumerate(section.plots)
            ],
        }
        for number, section in enumerate(sections, start=1)
    ]
    anchors = {section.title: entry["anchor"] for section, entry in zip(sections, shown, strict=True)}
    text: str = template("benchmark.html", Path(__file__).parent).render(
        title=title,
        sections=shown,
        anchors=anchors,
        light=figures.LIGHT,
        dark=figures.DARK,
        version=__version__,
    )
    return text


def markdown(title: str, sections: Sequence[Section]) -> str:
    """Everything but the pictures, as Markdown."""
    parts = [f"# {markdown_text(title)}\n"]
    for section in sections:
        parts.append(f"## {markdown_text(section.title)}\n")
        if section.text:
            parts.append(markdown_text(section.text) + "\n")
        if section.see:
            parts.append(f"Beside it: [{markdown_text(section.see)}](#{slug(section.see)})\n")
        if section.facts:
            lines = (f"- {markdown_text(name)}: {markdown_text(value)}" for name, value in section.facts)
            parts.append("\n".join(lines) + "\n")
        parts += [table.markdown() for table in section.tables]
    return "\n".join(parts)


def write(title: str, sections: Sequence[Section], out: Path) -> list[Path]:
    """Write the page, the Markdown, every table as CSV and LaTeX, every plot as PNG.

    Args:    title, sections: of the page.
             out: folder; made if need be, files of the same names are replaced, and what an earlier call
             wrote there and this one does not is removed.
    Returns: the files.
    Raises:  ConfigError: a file can't be written.
    """
    contents: dict[str, bytes] = {
        "index.html": html(title, sections).encode("utf-8"),
        "tables.md": markdown(title, sections).encode("utf-8"),
    }
    for section in sections:
        for table in section.tables:
            name = _free(f"tables/{table.name}", ".csv", contents)
            contents[f"{name}.csv"] = table.csv().encode("utf-8")
            contents[f"{name}.tex"] = table.latex().encode("utf-8")
        for plot in section.plots:
            contents[_free(f"plots/{plot.name}", ".png", contents) + ".png"] = figures.png(plot)
    try:
        for name in _written(out) - set(contents):
            (out / name).unlink(missing_ok=True)
        # First the list: after a kill it may name what isn't there, and never misses what is.
        _replace(out / WRITTEN, (json.dumps(sorted(contents), indent=1) + "\n").encode("ascii"))
        for name, content in contents.items():
            _replace(out / name, content)
    except OSError as error:
        raise ConfigError(
            f"cannot write into {str(out)!a}: {error.strerror or error}; give another folder or make room"
        ) from error
    return [out / name for name in contents]


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content)
    draft.replace(path)


def _written(out: Path) -> set[str]:
    """Tables and plots of an earlier call; other files in their folders are none of ours."""
    try:
        names = json.loads((out / WRITTEN).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return set()
    return set(filter(OWN.fullmatch, map(str, names))) if isinstance(names, list) else set()


def _free(name: str, suffix: str, taken: Mapping[str, bytes]) -> str:
    """A name that no file has yet: test sets may differ in signs that a file's name leaves out."""
    number = 1
    while (found := name if number == 1 else f"{name}-{number}") + suffix in taken:
        number += 1
    return found
