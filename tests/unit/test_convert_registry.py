"""The registry of converters, what all of them keep to, and the page that explains them."""

from __future__ import annotations

import importlib
import os
import re
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import published
from tellsign.data import Manifest, read, write
from tellsign.data import convert as converters
from tellsign.data.convert import CONVERTERS, convert, converter, trees
from tellsign.types import REAL, ConfigError, ManifestError, Sample

PAGE = Path(__file__).resolve().parents[2] / "docs" / "datasets.md"


def tree_of(name):
    """What a converter's module says that it expects."""
    module = importlib.import_module(CONVERTERS[name].partition(":")[0])
    special = {"dfdc-preview": "PREVIEW_TREE", "celeba-hq": "HQ_TREE", "csv": "CSV_TREE"}
    special |= {key: f"{key.upper().replace('-', '_')}_TREE" for key in ("faces-hq", "ffhq", "lsun")}
    return getattr(module, special.get(name, "TREE")).strip()


def section(name):
    """The part of the page that is about a data set."""
    found = re.findall(
        rf"^## [^\n]*`{name}`.*?(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(found) == 1, f"docs/datasets.md has {len(found)} sections with `{name}` in their title"
    return found[0]


@pytest.mark.parametrize("name", list(CONVERTERS))
def test_every_converter_is_documented_with_its_tree_its_options_and_a_command(name):
    import inspect

    text = section(name)
    assert tree_of(name) in text
    assert re.search(rf"tellsign data convert {name} \S", text)
    for parameter in inspect.signature(converter(name)).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "warn":
            assert f"`{parameter.name}" in text, f"{name}: the option {parameter.name} is not explained"


def test_every_section_is_about_a_converter():
    titles = re.findall(r"^## .*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = {name for title in titles for name in re.findall(r"`([a-z0-9-]+)`", title)}
    assert named == set(CONVERTERS)


def test_there_is_a_small_tree_for_every_converter():
    assert set(published.TREES) == set(CONVERTERS)


@pytest.mark.parametrize("name", list(CONVERTERS))
def test_a_manifest_is_written_and_read_again(name, tmp_path):
    """Read checks every rule of a manifest, among them that no group is in two splits."""
    root = published.TREES[name](tmp_path / "set")
    manifest = convert(name, root)
    write(manifest, tmp_path / "m.csv")
    again = read(tmp_path / "m.csv")
    assert [(s.label, s.dataset, s.generator, s.group, s.split) for s in again] == [
        (s.label, s.dataset, s.generator, s.group, s.split) for s in manifest
    ]
    assert again.digest() == manifest.digest()
    for sample in manifest:
        # What a table does not say is not invented.
        assert name == "csv" or (sample.dataset and bool(sample.generator) == (sample.label == 1))


@pytest.mark.parametrize("name", list(CONVERTERS))
@pytest.mark.parametrize("kind", ["other", "empty", "missing", "file"])
def test_another_tree_is_one_error(name, kind, tmp_path):
    root = tmp_path / "set"
    if kind == "other":
        published.touch(root, "holiday/beach.png", "holiday/notes.txt", "film.mp4")
    elif kind == "empty":
        root.mkdir()
    elif kind == "file":
        root.write_text("x")
    with pytest.raises(ManifestError) as caught:
        convert(name, root)
    text = str(caught.value)
    assert "set" in text
    if name != "csv":
        assert "expected below it:\n  " + tree_of(name).split("\n", maxsplit=1)[0] in text
        found = text.partition("found:\n  ")[2]
        shown = {
            "other": ["film.mp4", "holiday/ (beach.png, notes.txt …)"],
            "empty": ["an empty folder"],
            "missing": ["no such folder"],
            "file": ["a file"],
        }[kind]
        assert found.split("\n  ") == shown


def test_unknown_names_and_options_are_errors(tmp_path):
    with pytest.raises(ConfigError, match=f"no converter 'nonsense'; there are {', '.join(CONVERTERS)}"):
        convert("nonsense", tmp_path)
    with pytest.raises(ConfigError, match="'ffhq' has no option 'size'; it has images"):
        convert("ffhq", tmp_path, size="1024")
    with pytest.raises(ConfigError, match="'faces-hq' has no option 'root'; it has none"):
        convert("faces-hq", tmp_path, root="elsewhere")
    with pytest.raises(ConfigError, match="'csv' has no option 'root'"):
        convert("csv", tmp_path, root="elsewhere")


def theirs(root, *, warn, label="0"):
    """Their set."""
    return Manifest(tuple(Sample(path, int(label), "theirs", group="a") for path in sorted(root.iterdir())))


def leaking(root, *, warn):
    return Manifest((Sample(root / "a", REAL, group="g", split="train"), Sample(root / "b", REAL, group="g")))


def empty(root, *, warn):
    return Manifest(())


def test_converters_of_others_are_entry_points_and_are_checked(tmp_path, monkeypatch):
    module = types.ModuleType("their_package")
    module.theirs, module.leaking, module.empty = theirs, leaking, empty
    monkeypatch.setitem(sys.modules, "their_package", module)
    entries = [
        EntryPoint(n, f"their_package:{n}", converters.ENTRY_POINTS) for n in ("theirs", "leaking", "empty")
    ]
    entries.append(EntryPoint("broken", "no_such_package:x", converters.ENTRY_POINTS))
    entries.append(EntryPoint("lost", "their_package:no_such_name", converters.ENTRY_POINTS))
    entries.append(EntryPoint("spoilt", "their_spoilt_package:x", converters.ENTRY_POINTS))
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "their_spoilt_package.py").write_text("def x(:\n")
    monkeypatch.syspath_prepend(tmp_path / "path")
    tmp_path = tmp_path / "set"
    monkeypatch.setattr(converters, "entry_points", lambda group: entries)
    published.touch(tmp_path, "a.png", "b.png")
    assert convert("theirs", tmp_path, label="1").labels == [1, 1]
    with pytest.raises(ManifestError, match="the group 'g' is in two splits"):
        convert("leaking", tmp_path)
    with pytest.raises(ManifestError, match="'empty' found nothing"):
        convert("empty", tmp_path)
    with pytest.raises(ConfigError, match="needs no_such_package, which is not installed"):
        convert("broken", tmp_path)
    with pytest.raises(ConfigError, match=r"'lost' can't be loaded: AttributeError: .*no_such_name"):
        convert("lost", tmp_path)
    with pytest.raises(ConfigError, match="'spoilt' can't be loaded: SyntaxError: invalid syntax"):
        convert("spoilt", tmp_path)
    # One that is broken doesn't hide the others.
    listed = converters.names()
    assert set(listed) == {*CONVERTERS, "theirs", "leaking", "empty", "broken", "lost", "spoilt"}
    assert listed["theirs"] == "Their set."
    assert listed["broken"] == "the converter 'broken' needs no_such_package, which is not installed"
    assert listed["lost"].startswith("the converter 'lost' can't be loaded: AttributeError")
    assert "SyntaxError" in listed["spoilt"]
    assert "\n" not in "".join(listed.values())


def test_the_ten_lines_of_the_page_are_a_converter(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if "def my_set" in block]
    module = types.ModuleType("my_package")
    exec(compile(block, "page", "exec"), vars(module))
    monkeypatch.setitem(sys.modules, "my_package", module)
    entry = EntryPoint("my-set", "my_package:my_set", converters.ENTRY_POINTS)
    monkeypatch.setattr(converters, "entry_points", lambda group: [entry])
    published.touch(tmp_path, "originals/1.jpg", "originals/2.jpg", "edited/1.jpg")
    manifest = convert("my-set", tmp_path)
    assert [(s.label, s.generator, s.group) for s in manifest] == [
        (0, "", "my-set-1"),
        (0, "", "my-set-2"),
        (1, "my-editor", "my-set-1"),
    ]
    assert converters.names()["my-set"].startswith("My set")
    assert len(block[block.index("def ") :].strip().split("\n")) <= 10


def test_names_have_a_line_each():
    found = converters.names()
    assert set(found) >= set(CONVERTERS)
    assert all(title.endswith(".") for title in found.values())


# what they share


def test_components_are_those_of_a_slow_search():
    import numpy as np

    rng = np.random.default_rng(0)
    links = [tuple(f"{n}" for n in rng.integers(60, size=rng.integers(1, 3))) for _ in range(45)]
    found = trees.components(links)
    for name in found:
        reached = {name}
        while True:
            more = {other for link in links if reached & set(link) for other in link} - reached
            if not more:
                break
            reached |= more
        assert set(found[name]) == reached
        assert list(found[name]) == sorted(reached)
    assert len(set(found.values())) > 1


@pytest.mark.skipif(os.name == "nt", reason="links need privileges on Windows")
def test_links_are_followed_and_loops_are_not(tmp_path):
    root = published.touch(tmp_path / "set", "a/x.png", "a/.hidden/y.png", "a/._x.png")
    (root / "a" / "loop").symlink_to(root)
    published.touch(tmp_path / "far", "z.PNG")
    (root / "b").symlink_to(tmp_path / "far")
    assert [p.relative_to(root).as_posix() for p in trees.files(root, {".png"})] == ["a/x.png", "b/z.PNG"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    root = published.cnndetection(tmp_path)
    (root / "biggan" / "0_real").chmod(0)
    with pytest.raises(ManifestError, match="cannot read the folder"):
        convert("cnndetection", root)
    (root / "biggan" / "0_real").chmod(0o755)


def test_a_file_that_is_named_twice_is_an_error():
    twice = Sample(Path("a/../b.png"), REAL), Sample(Path("b.png"), REAL)
    with pytest.raises(ManifestError, match=r"b\.png' is in the data set twice"):
        trees.check_groups(twice)
