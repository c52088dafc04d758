"""The documentation says what the code does: generated pages, commands, links, numbers."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from tellsign import hub

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("src/**/*.md"))]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["commands.md", "configuration.md"])
def test_generated_pages_are_fresh(name: str) -> None:
    page = generator().PAGES[name]()
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == page, "run `make docs`"


def test_every_option_of_a_configuration_is_explained() -> None:
    for line in generator().configuration().splitlines():
        if line.startswith("| `"):
            assert line.split("|")[3].strip(), f"no comment behind the field in {line}"


def commands() -> dict[str, set[str]]:
    """Command → its option names."""
    module = generator()
    from typer.main import get_command

    from tellsign.cli import app

    found = {}
    for path, command in module._walk(get_command(app), ("tellsign",)):
        found[" ".join(path[1:])] = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return found


def used_commands(text: str) -> list[tuple[str, list[str]]]:
    """Commands with their options, as they stand in code blocks and in code spans."""
    code = re.findall(r"```.*?```", text, flags=re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
    found = []
    for block in code:
        for line in re.findall(r"tellsign ([^\n`|#<]*)", block):
            words = line.split()
            name = " ".join(words[: 2 if words[:1] == ["data"] else 1])
            found.append((name, [word for word in words if re.fullmatch(r"-{1,2}[a-z0-9][a-z0-9-]*", word)]))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_documentation_exist(page: Path) -> None:
    known = commands()
    for name, options in used_commands(page.read_text(encoding="utf-8")):
        if not name or not name.replace(" ", "").isalpha() or name.isupper() or name == "data":
            continue
        assert name in known, f"{page.name}: there is no `tellsign {name}`"
        unknown = set(options) - known[name] - {"--help"}
        assert not unknown, f"{page.name}: `tellsign {name}` has no {unknown}"


def test_an_invented_option_is_found() -> None:
    (command,) = used_commands("```sh\ntellsign scan a.jpg --frobnicate\n```")
    assert command == ("scan", ["--frobnicate"])
    assert "--frobnicate" not in commands()["scan"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_quotes_the_card() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    card = (hub.detector_path("spectrum") / "CARD.md").read_text(encoding="utf-8")
    (area, low, high) = re.search(r"AUROC (0\.\d\d) \[(0\.\d\d), (0\.\d\d)\]", readme).groups()
    assert f"{area} [{low}, {high}]" in card


def test_the_card_is_about_the_detector_beside_it() -> None:
    for name, folder in hub.shipped_detectors().items():
        from tellsign import artifacts

        card = (folder / "CARD.md").read_text(encoding="utf-8")
        assert artifacts.load(folder).name in card, f"{name}: the card measures another detector"
        assert (folder / "LICENSE").is_file()
        spec = json.loads((folder / "detector.json").read_text(encoding="utf-8"))
        assert spec["summary"]


def test_the_list_of_commands_says_what_each_of_them_does() -> None:
    from typer.main import get_command

    from tellsign.cli import Commands, app

    full = get_command(app).commands  # type: ignore[attr-defined]
    assert list(full) == list(Commands.table)
    for name, command in Commands.table.items():
        assert " ".join(full[name].help.split()).startswith(command.summary.rstrip(".")), name
