"""The page of an audit: self-contained, escaped, and holds what was found."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pictures import natural, save
from tellsign.data import Manifest
from tellsign.data.audit import audit
from tellsign.explain.audit_page import CUES, audit_page, write_audit_page
from tellsign.types import FAKE, REAL, ConfigError, Sample

pytest.importorskip("sklearn")
EVIL = '<script>alert(1)</script>&"\u202e'


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Fakes with evil names, one copied from a real, one broken."""
    folder = tmp_path_factory.mktemp("page")
    samples = []
    for i in range(6):
        real = save(natural(i), folder / "real" / f"img{i}.png")
        fake = save(natural(50 + i), folder / "fake" / f"{EVIL.replace('/', '')}{i}.png")
        samples += [
            Sample(real, REAL, "a<b>", group=f"r{i}", split="train"),
            Sample(fake, FAKE, "a<b>", EVIL),
        ]
    copy = folder / "fake" / "copy.png"
    copy.write_bytes(samples[0].path.read_bytes())
    broken = folder / "fake" / f"{EVIL.replace('/', '')}.png"
    broken.write_bytes(b"no image")
    samples += [Sample(copy, FAKE, "a<b>", group="r1", split="test"), Sample(broken, FAKE, "a<b>")]
    return audit(Manifest(tuple(samples)), n_resamples=20), folder


class Balance(HTMLParser):
    """Complains of tags that are closed in another order than opened; collects them."""

    VOID = frozenset({"meta", "img", "br", "path", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_it_is_one_balanced_document_without_script_or_network(result):
    page = audit_page(result[0], title=EVIL)
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert "script" not in {tag for tag, _ in parser.tags}
    sources = [attrs["src"] for tag, attrs in parser.tags if tag == "img"]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"https?:|url\(|@import", page)
    assert "default-src 'none'" in page


def test_names_are_escaped_and_paths_stay_private(result):
    page = audit_page(result[0], title="t")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "\u202e" not in page
    assert "a<b>" not in page
    assert str(result[1]) not in page


def test_it_shows_what_was_found(result):
    page = audit_page(result[0], title="My set")
    assert "<h1>My set</h1>" in page
    assert all(title in page for title, _ in CUES.values())
    assert "Name alone tells" in page or "name alone tells" in page
    assert "<code>tellsign data harmonise" in page
    assert "Equal files, in both classes and several splits" in page
    assert "Across splits" in page
    body = page.partition("Classes and generators")[2]
    cells = [re.findall(r"<td[^>]*>(?:<bdi>)?(.*?)(?:</bdi>)?</td>", row) for row in body.split("<tr>")[2:]]
    shown = [(split, label, int(n)) for _, label, _, split, n in cells]
    assert shown == [
        ("–", "fake", 1), ("test", "fake", 1), ("–", "fake", 6), ("train", "real", 6)
    ]  # fmt: skip
    assert [row[2][:4] for row in cells] == ["–", "–", "&lt;", "–"]
    assert "begins with the bytes" in page or "a text file" in page


def test_the_same_audit_gives_the_same_bytes(result):
    assert audit_page(result[0], title="t") == audit_page(result[0], title="t")


def test_a_clean_result_and_one_class_have_pages(tmp_path):
    samples = tuple(Sample(save(natural(i), tmp_path / f"{i}.png"), REAL) for i in range(3))
    page = audit_page(audit(Manifest(samples)), title="t")
    assert "not estimated" in page
    assert "Culprits" not in page
    assert "No fake image" in page


def test_files_that_went_show_no_picture(tmp_path):
    samples = tuple(Sample(save(natural(9), tmp_path / f"{i}.png"), REAL) for i in range(2))
    found = audit(Manifest(samples))
    for sample in samples:
        sample.path.unlink()
    assert "No picture: the file is gone or damaged." in audit_page(found, title="t")


def test_it_is_written_whole_or_not_at_all(result, tmp_path):
    write_audit_page(result[0], tmp_path / "a.html", title="t")
    assert (tmp_path / "a.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    with pytest.raises(ConfigError, match=r"cannot write 'a\.html'"):
        write_audit_page(result[0], Path(tmp_path / "gone" / "a.html"), title="t")
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]
