"""The page of a benchmark: one file, escaped, complete."""

import re
from dataclasses import replace

import pytest

from tellsign.evaluate.benchmark.page import WRITTEN, Section, html, markdown, write
from tellsign.evaluate.benchmark.plots import matrix_plot
from tellsign.evaluate.benchmark.tables import Table, Value
from tellsign.types import ConfigError

NAME = "<script>alert(1)</script>"
TABLE = Table(
    "main",
    f"AUROC {NAME}",
    "detector",
    (NAME, "y"),
    ((NAME, (Value(0.5, (0.4, 0.6)), Value(note="n/a: <b>"))),),
)
SECTIONS = (
    Section("First", f"Text {NAME}", tables=(TABLE,), plots=(matrix_plot(TABLE),)),
    Section("First", facts=(("digest", NAME),)),
)


def test_nothing_in_the_page_is_markup_that_came_from_names():
    page = html(NAME, SECTIONS)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5


def test_the_page_needs_no_network_and_has_no_double_ids():
    page = html("T", SECTIONS)
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    ids = re.findall(r"\bid=\"([^\"]+)\"", page)
    assert len(ids) == len(set(ids)) > 3


def test_the_page_shows_values_intervals_and_reasons():
    page = html("T", SECTIONS)
    assert "0.500<small>[0.400, 0.600]</small>" in page
    assert "n/a: &lt;b&gt;" in page


def test_a_section_leads_to_the_one_beside_it():
    sections = (replace(SECTIONS[0], see="Other & more"), Section("Other & more", facts=(("a", "b"),)))
    page = html("T", sections)
    (anchor,) = re.findall(r'<p>Beside it: <a href="#([^"]+)">Other &amp; more</a></p>', page)
    assert f'<section class="block" id="{anchor}"' in page
    assert "\nBeside it: [Other &amp; more](#other-more)\n" in markdown("T", sections)
    assert "Beside it" not in html("T", SECTIONS) + markdown("T", SECTIONS)


def test_write_leaves_page_tables_and_plots(tmp_path):
    names = {str(path.relative_to(tmp_path)) for path in write("T", SECTIONS, tmp_path)}
    assert names == {"index.html", "tables.md", "tables/main.csv", "tables/main.tex", "plots/main.png"}
    assert (tmp_path / "tables.md").read_text() == markdown("T", SECTIONS)
    first = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    write("T", SECTIONS, tmp_path)
    assert first == {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}


def test_what_an_earlier_call_wrote_is_gone_and_nothing_else(tmp_path):
    write("T", SECTIONS, tmp_path)
    (tmp_path / "tables" / "mine.csv").write_text("my own")
    (tmp_path / "plots" / "mine.png").write_text("my own")
    other = Section("First", tables=(replace(TABLE, name="other"),))
    write("T", (other,), tmp_path)
    kept = {
        str(path.relative_to(tmp_path))
        for folder in ("tables", "plots")
        for path in tmp_path.glob(f"{folder}/*")
    }
    assert kept == {"tables/other.csv", "tables/other.tex", "tables/mine.csv", "plots/mine.png"}
    # A list that says otherwise removes nothing beyond tables and plots.
    (tmp_path / WRITTEN).write_text('["benchmark.json", "tables/../benchmark.json", "plots/../x.png", 7]')
    for name in ("benchmark.json", "x.png"):
        (tmp_path / name).touch()
    write("T", (other,), tmp_path)
    assert (tmp_path / "benchmark.json").exists()
    assert (tmp_path / "x.png").exists()
    (tmp_path / WRITTEN).write_text("no list")
    write("T", SECTIONS, tmp_path)
    assert (tmp_path / "tables" / "other.csv").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="give another folder"):
        write("T", SECTIONS, tmp_path / "file")
