"""Evidence pages in print and on a narrow screen: what is hidden, what reflows, which rules meet nothing."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tellsign.explain import Explanation, page
from tellsign.types import Evidence, Verdict

PRINT, NARROW = "print", "(max-width: 44rem)"
HEATMAP = Evidence("heatmap", "log spectrum", np.eye(8), "20 ln |F|", "c")
VERDICT = Verdict("fake", 0.62, 0.5, 1.5, 0.5, "spectrum@1a2b3c", "ab" * 32, (HEATMAP, HEATMAP), ())
DECIDED = Explanation(
    name="photo.jpg",
    kind="image",
    verdict=VERDICT,
    error=None,
    picture=np.full((30, 40, 3), 128, np.uint8),
    facts=(("Format", "JPEG"),),
    real_scores=np.linspace(-3, 1, 50),
    fake_scores=np.linspace(-1, 3, 40),
    low=0.0,
    high=1.0,
    card="faces only",
)
TIMELINE = tuple({"time": k / 2, "score": k - 9.5, "label": "fake"} for k in range(20))
FILM = replace(DECIDED, kind="video", timeline=TIMELINE)
FAILED = replace(DECIDED, verdict=None, error="the file is empty", picture=None)


@pytest.fixture(scope="module")
def text() -> str:
    """A page with everything that the rules speak of."""
    return "".join(page([DECIDED, FILM, FAILED], title="T", detector="spectrum@1a2b3c", notes=("n",)))


def rules(css: str) -> dict[str, dict[str, str]]:
    """Selector → property → value, the last one of each; blocks inside blocks are left out."""
    found: dict[str, dict[str, str]] = {}
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", css):
        declared = dict(re.findall(r"([\w-]+)\s*:\s*([^;]+?)\s*(?:;|$)", body.strip()))
        for selector in selectors.split(","):
            found.setdefault(" ".join(selector.split()), {}).update(declared)
    return found


def media(text: str, query: str) -> dict[str, dict[str, str]]:
    """The rules of one media block of a page's style; none where there is no such block."""
    (css,) = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    start = css.find(f"@media {query} {{")
    if start < 0:
        return {}
    opening = css.index("{", start)
    depth = 0
    for end in range(opening, len(css)):
        depth += {"{": 1, "}": -1}.get(css[end], 0)
        if not depth:
            break
    return rules(css[opening + 1 : end])


def test_the_reader_of_rules_reads_the_block_that_is_asked_for() -> None:
    css = "<style>.a, .b p { x: 1; y: 2 } @media print { .a { x: 3; } } @media screen { .a { x: 4 } }</style>"
    assert media(css, "print") == {".a": {"x": "3"}}
    assert media(css, "screen") == {".a": {"x": "4"}}
    assert media(css, "speech") == {}
    assert rules(".a, .b p { x: 1; y: 2 }") == {".a": {"x": "1", "y": "2"}, ".b p": {"x": "1", "y": "2"}}


@pytest.mark.parametrize("query", [PRINT, NARROW])
def test_every_class_that_a_rule_names_is_on_the_page(text: str, query: str) -> None:
    """A rule for a class that was renamed does nothing, and nobody sees it on a wide screen."""
    on_page = {name for names in re.findall(r'class="([^"]+)"', text) for name in names.split()}
    named = {name for selector in media(text, query) for name in re.findall(r"\.([a-z][\w-]*)", selector)}
    assert len(named) >= 5
    assert named - on_page == set()


def test_in_print_links_to_places_are_hidden_and_closed_parts_are_open(text: str) -> None:
    print_rules = media(text, PRINT)
    hidden = {selector for selector, rule in print_rules.items() if rule.get("display") == "none"}
    assert hidden == {".skip", ".back"}
    assert print_rules["details::details-content"]["content-visibility"] == "visible"
    assert "<details" in text


def test_in_print_each_input_begins_a_sheet_and_nothing_is_cut_in_two(text: str) -> None:
    print_rules = media(text, PRINT)
    assert print_rules[".input"]["break-before"] == "page"
    for selector in ("figure", "tr", ".verdict", "h3"):
        assert print_rules[selector]["break-inside"] == "avoid", selector
    assert print_rules["h3"]["break-after"] == "avoid"
    assert print_rules["body"]["max-width"] == "none"
    assert print_rules["body"]["background"] == "none"
    assert print_rules["svg"]["print-color-adjust"] == "exact"


def test_a_dark_screen_does_not_darken_the_paper(text: str) -> None:
    queries = re.findall(r"@media ([^{]+?) \{", text)
    assert [query for query in queries if "dark" in query] == ["screen and (prefers-color-scheme: dark)"]


def test_on_a_narrow_screen_columns_become_one(text: str) -> None:
    assert 'name="viewport" content="width=device-width' in text
    narrow = media(text, NARROW)
    wide = rules("".join(re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)).split("@media (max-")[0])
    assert "minmax(0, 5fr) minmax(0, 3fr)" in wide[".top"]["grid-template"]
    assert narrow[".top"]["grid-template"] == '"verdict" "picture" "meaning" / minmax(0, 1fr)'
    assert wide[".plots"]["grid-template-columns"].startswith("repeat(2")
    assert narrow[".plots"]["grid-template-columns"] == "minmax(0, 1fr)"


def test_on_a_narrow_screen_tables_stack_and_keep_their_headings_for_screen_readers(text: str) -> None:
    narrow = media(text, NARROW)
    assert narrow[".summary tbody tr"]["display"] == "grid"
    assert narrow[".summary tbody th"]["grid-column"] == "1 / -1"
    for selector in (".facts th", ".facts td", ".summary tbody td"):
        assert (narrow[selector]["display"], narrow[selector]["width"]) == ("block", "auto"), selector
    assert "display" not in narrow[".summary thead"]  # which would hide it from everyone
    assert narrow[".summary thead"]["clip-path"] == "inset(50%)"
    assert all(rule.get("display") != "none" for rule in narrow.values())


def test_nothing_is_wider_than_a_phone(text: str) -> None:
    (css,) = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    widths = re.findall(r"[{;\s](?:min-)?width:\s*([\d.]+)(rem|px)", css)
    assert widths
    assert max(float(number) * (16 if unit == "rem" else 1) for number, unit in widths) <= 320
    assert rules(css)[".picture img"]["max-width"] == "100%"
    assert rules(css)[".plot"]["width"] == "100%"
