"""The documentation says what the code does: generated pages, commands, links, numbers."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from functools import cache
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tellsign import hub
from tellsign.evaluate import reproduce

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("src/**/*.md"))]
COMMAND = re.compile(r"(?:^|[|;&] *|\$ |-m |/)tellsign\s")  # in a line that is typed
REDIRECTION = re.compile(r"\d?[<>]+&?\s*[^\s|;&]+")
OPERATORS = "|;&"
GROUPS = ("data", "generators")  # commands of commands
OWN_FILE = re.compile(r"`((?:benchmarks|configs|docs|examples|src|tests)/[\w./-]+)`")


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


@cache
def parsers() -> dict[str, Any]:
    """Command → what parses its words."""
    module = generator()
    from typer.main import get_command

    from tellsign.cli.commands import app

    return {" ".join(path[1:]): command for path, command in module._walk(get_command(app), ("tellsign",))}


def commands() -> dict[str, set[str]]:
    """Command → its option names."""
    return {
        name: {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        for name, command in parsers().items()
    }


def used_commands(text: str) -> list[tuple[str, list[str]]]:
    """Commands with their options, as they stand in code blocks and in code spans."""
    code = re.findall(r"```.*?```", text, flags=re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
    found = []
    for block in code:
        for line in re.findall(r"tellsign ([^\n`|#<]*)", block):
            words = line.split()
            name = " ".join(words[: 2 if words[:1] and words[0] in GROUPS else 1])
            found.append((name, [word for word in words if re.fullmatch(r"-{1,2}[a-z0-9][a-z0-9-]*", word)]))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_documentation_exist(page: Path) -> None:
    known = commands()
    for name, options in used_commands(page.read_text(encoding="utf-8")):
        if not name or not name.replace(" ", "").isalpha() or name.isupper() or name in GROUPS:
            continue
        assert name in known, f"{page.name}: there is no `tellsign {name}`"
        unknown = set(options) - known[name] - {"--help"}
        assert not unknown, f"{page.name}: `tellsign {name}` has no {unknown}"


def test_an_invented_option_is_found() -> None:
    (command,) = used_commands("```sh\ntellsign scan a.jpg --frobnicate\n```")
    assert command == ("scan", ["--frobnicate"])
    assert "--frobnicate" not in commands()["scan"]


def code_lines(text: str) -> list[str]:
    """The lines of fenced and of indented blocks; one that ends with a backslash goes on in the next."""
    lines, fenced = [], False
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line.strip())
    return lines


def typed_commands(text: str) -> list[list[str]]:
    """What stands behind `tellsign` in each command that a reader may type, as a shell would hand it over."""
    found = []
    for line in code_lines(text):
        if not COMMAND.search(line) or line.endswith("[OPTIONS]"):  # a usage line of the reference
            continue
        lexer = shlex.shlex(REDIRECTION.sub("", line), posix=True, punctuation_chars=OPERATORS)
        lexer.whitespace_split = True
        for is_operator, group in groupby(lexer, lambda word: bool(word) and set(word) <= {*OPERATORS}):
            words = list(group)
            places = [place for place, word in enumerate(words) if Path(word).name == "tellsign"]
            if places and not is_operator:
                found.append(words[places[0] + 1 :])
    return found


def refusal(words: list[str]) -> str:
    """Why the command line does not take these words; empty where it does. Nothing is run."""
    n_names = 2 if words[:1] and words[0] in GROUPS else 1
    name, rest = " ".join(words[:n_names]), words[n_names:]
    if name not in parsers():
        return f"there is no command {name}"
    try:
        parsers()[name].make_context(name, [word for word in rest if word != "--help"])
    except Exception as error:  # what it is called depends on the version of typer
        return error.format_message() if hasattr(error, "format_message") else repr(error)
    if name == "reproduce" and rest and not rest[0].startswith("-") and rest[0] not in reproduce.names():
        return f"nothing called {rest[0]} can be reproduced"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_documentation_are_taken_as_they_stand(page: Path) -> None:
    for words in typed_commands(page.read_text(encoding="utf-8")):
        line = shlex.join(["tellsign", *words])
        assert not refusal(words), f"{page.name}: `{line}`: {refusal(words)}"
        for word in words:
            if word.startswith("configs/"):
                assert (ROOT / word).is_file(), f"{page.name}: `{line}`: there is no {word}"


def test_the_readme_and_the_guides_show_commands() -> None:
    """A reader of code blocks that finds nothing would pass everything."""
    pages = ("guide", "training", "reproduce-cae-net", "reproduce-sfcl-hcmf", "reproduced")
    for name in ("README", *(f"docs/{page}" for page in pages)):
        assert len(typed_commands((ROOT / f"{name}.md").read_text(encoding="utf-8"))) >= 5, name


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tellsign scan a.jpg  # a verdict", ["scan", "a.jpg"]),
        ("$ tellsign scan a.jpg", ["scan", "a.jpg"]),
        ("find . -name '*.jpg' -print0 | tellsign scan -0 - -o r.csv", ["scan", "-0", "-", "-o", "r.csv"]),
        ("tellsign scan - < names 2> /dev/null; echo $?", ["scan", "-"]),
        ("torchrun --nproc-per-node 2 -m tellsign train a.toml", ["train", "a.toml"]),
        ("N=1 .venv/bin/tellsign models --json > models.json 2>&1", ["models", "--json"]),
        ("tellsign train a.toml \\\n  --resume", ["train", "a.toml", "--resume"]),
        ('tellsign data index "$DATA/a b.csv" -o a.csv', ["data", "index", "$DATA/a b.csv", "-o", "a.csv"]),
    ],
)
def test_typed_commands_are_read_as_a_shell_reads_them(line: str, words: list[str]) -> None:
    assert typed_commands(f"text\n\n```sh\n{line}\n```\n") == [words]


def test_what_is_not_typed_is_no_command() -> None:
    assert typed_commands("tellsign scan a.jpg") == []
    assert typed_commands("```python\nfrom tellsign import hub\n```") == []
    assert typed_commands("```\ntellsign scan PATHS... [OPTIONS]\n```") == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("frobnicate a.jpg", "frobnicate"),
        ("data frobnicate a.csv", "frobnicate"),
        ("scan a.jpg --frobnicate", "--frobnicate"),
        ("train a.toml -o d", "--data"),
        ("data split a.csv b.csv --part train=1 -o c.csv", "b.csv"),
        ("evaluate d --data a.csv --missing ignore", "ignore"),
        ("evaluate d --data a.csv --seed one", "--seed"),
        ("reproduce cae-net-nothing", "cae-net-nothing"),
    ],
)
def test_a_command_that_would_be_refused_is_found(line: str, reason: str) -> None:
    assert reason in refusal(shlex.split(line))


def anchors(page: Path) -> set[str]:
    """What a link may name behind its #: the headings, as they are made into anchors on the web."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Links of a page to files or headings that are not there."""
    found = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        place = page.parent / target if target else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            found.append(f"{target}#{anchor}" if anchor else target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    named = OWN_FILE.findall(page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text(
        "# What can't be\n[a](b.md) [b](#what-cant-be) [c](a.md#what-cant-be) [d](a.md#nothing) "
        "[e](#nowhere) [f](https://example.org/b.md#c)\n"
    )
    assert broken_links(page) == ["b.md", "a.md#nothing", "#nowhere"]
    assert OWN_FILE.findall("`tests/nothing.py` and `a tests/b.py`, `test/c.py`") == ["tests/nothing.py"]


def measured(card: str) -> dict[str, dict[str, dict[str, str]]]:
    """Heading of a card's section → source → column → cell."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for section in card.split("\n### ")[1:]:
        lines = [line for line in section.splitlines() if line.startswith("|")]
        header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        found[section.splitlines()[0]] = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    return found


def disagreements(readme: str, card: str, spec: dict[str, Any]) -> list[str]:
    """The statements of the README about the shipped detector that its card or its counts don't bear out."""
    tables = measured(card)
    test = tables["Test split of the training sources, harmonised"]
    unseen = tables["Sources that training and calibration never saw, harmonised"]
    photos, portraits = unseen["imagenet_samples"], unseen["sd3_portraits (stable_diffusion_3)"]
    small = tables["Small images"]["durall (gan_celeba128_unspecified)"]
    per_cent = [f"{100 * float(n):.3g}" for n in re.findall(r"[\d.]+", photos["FPR [95 % CI]"])]
    area = [float(n) for n in re.findall(r"[\d.]+", test["stylegan140k (stylegan_ffhq)"]["AUROC [95 % CI]"])]
    (share,) = re.findall(r"split test.*\n.*with a verdict \((\d+)", card)
    trained = spec["data"]["train"]["by_dataset"]
    n_real = sum(n for source, n in trained.items() if source.endswith("/real"))
    (n_frames,) = re.findall(r"game; (\d+) of them are among", card)

    recall, small_recall = (
        f"{100 * float(row['recall (TPR) [95 % CI]'].split()[0]):g} %" for row in (portraits, small)
    )
    part = {1: "a third", 2: "two thirds", 3: "all"}.get(round(3 * float(small["verdicts"])))
    statements = [
        f"AUROC {area[0]:.2f} [{area[1]:.2f}, {area[2]:.2f}] |",
        f"({photos['real']}, harmonised) | {per_cent[0]} % [{per_cent[1]}, {per_cent[2]}] |",
        f"images of the test split that get a verdict at all | {share} % |",
        f"Stable Diffusion 3 portraits found ({portraits['fake']}, generator never seen) | {recall} |",
        f"found ({small['fake']}, never seen); {part} of them is called *no sign found* | {small_recall} |",
        f"{n_frames} of the {n_real} real images, which are frames of a computer game",
    ]
    text = " ".join(readme.split())
    return [statement for statement in statements if statement not in text]


@pytest.fixture(scope="module")
def shipped() -> tuple[str, dict[str, Any]]:
    """The card and the description of the detector that ships."""
    folder = hub.detector_path("spectrum")
    card = (folder / "CARD.md").read_text(encoding="utf-8")
    return card, json.loads((folder / "detector.json").read_text(encoding="utf-8"))


def test_the_readme_quotes_the_card(shipped: tuple[str, dict[str, Any]]) -> None:
    assert disagreements((ROOT / "README.md").read_text(encoding="utf-8"), *shipped) == []


@pytest.mark.parametrize(
    ("stated", "instead"),
    [
        ("AUROC 0.69 ", "AUROC 0.96 "),
        ("| 1.7 % [0, 5] |", "| 0.7 % [0, 5] |"),
        ("| 13 % |", "| 31 % |"),
        ("(150, generator never seen)", "(1500, generator never seen)"),
        ("never seen); a third", "never seen); all"),
        ("22 of the 619", "20 of the 619"),
    ],
)
def test_a_number_of_the_readme_that_is_not_the_cards_is_found(
    shipped: tuple[str, dict[str, Any]], stated: str, instead: str
) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    # A number may stand at the end of a line.
    pattern = re.escape(stated).replace(r"\ ", r"\s+")
    assert re.search(pattern, readme)
    assert len(disagreements(re.sub(pattern, instead, readme), *shipped)) == 1


def test_what_is_said_of_size_alone_is_what_was_measured() -> None:
    """The two accuracies of the first rows of upconv-confound, as three pages round them."""
    page = (ROOT / "docs" / "reproduced.md").read_text(encoding="utf-8")
    pattern = r"^178 × 218 or 128 × 128, size {}: 1000 reals +SVM \(RBF\) +([\d.]+) %"
    alone, reduced = (
        float(re.findall(pattern.format(kind), page, flags=re.MULTILINE)[0])
        for kind in ("alone", "and reduction")
    )
    assert f"with an accuracy of {alone:.0f} % by the RBF SVM, and of {reduced:.0f} %" in page
    method = (ROOT / "src/tellsign/systems/spectrum/README.md").read_text(encoding="utf-8")
    assert f"(RBF SVM {alone:.0f} and {reduced:.0f} %," in method
    assert "nine times in ten" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert 87.5 <= alone < 92.5


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

    from tellsign.cli.commands import Commands, app

    full = get_command(app).commands  # type: ignore[attr-defined]
    assert list(full) == list(Commands.table)
    for name, command in Commands.table.items():
        assert " ".join(full[name].help.split()).startswith(command.summary.rstrip(".")), name
