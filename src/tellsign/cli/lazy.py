"""A group of commands that are imported when they are called: to list them takes a table alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
import typer.main
from typer.core import TyperGroup

# Every Typer's settings: what is printed is the same in a file and on any terminal.
PLAIN: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
}


class Command(NamedTuple):
    """Where a command is, and what it does."""

    module: str  # of tellsign.cli
    name: str  # a function, or a Typer of sub-commands
    summary: str  # the line in the list; its help begins with it


class LazyGroup(TyperGroup):
    """A group that knows its commands' summaries, and imports the command that is called."""

    table: Mapping[str, Command]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**(attributes | {"commands": None}))
        self.commands: Any = _Imported(self.table)  # read only, and nothing writes

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """The list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in self.table.items()])


class _Imported(Mapping[str, Any]):
    """Name → command, made on demand."""

    def __init__(self, table: Mapping[str, Command]) -> None:
        self.table = table

    def __getitem__(self, name: str) -> Any:
        command = self.table[name]
        found = getattr(import_module(f"tellsign.cli.{command.module}"), command.name)
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(**PLAIN)
            found.command(name)(function)
        return typer.main.get_command(found)

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)
