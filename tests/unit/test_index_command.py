"""`tellsign data index` in this process: what it leaves out is counted, and no option goes unheard."""

from __future__ import annotations

import pytest

from tellsign.cli import data
from tellsign.data import read
from tellsign.types import ConfigError, ManifestError


@pytest.fixture
def folder(tmp_path):
    """A table of four files, and the same files below real/ and fake/."""
    rows = ("real/a.jpg,real", "fake/b.jpg,fake", "fake/c.mp4,fake", "fake/d.jpg,unclear")
    for row in rows:
        path = tmp_path / row.partition(",")[0]
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "t.csv").write_text("\n".join(("path,label", *rows)) + "\n")
    return tmp_path


@pytest.fixture
def index(folder, capsys):
    """Runs the command, and gives the names of the rows that it wrote and what it said."""

    def run(source, **options):
        given = dict.fromkeys(("columns", "skip_labels", "label_of", "datasets")) | {"videos": True}
        data.index(folder / source, folder / "m.csv", checksums=False, **given | options)
        return [sample.path.name for sample in read(folder / "m.csv")], capsys.readouterr().err

    return run


def test_rows_that_are_left_out_are_counted(index):
    names, said = index("t.csv", skip_labels=["unclear"])
    assert names == ["a.jpg", "b.jpg", "c.mp4"]
    assert "1 rows left out for their labels (--skip-label)" in said
    assert "videos" not in said
    names, said = index("t.csv", skip_labels=["unclear", "fake"], videos=False)
    assert names == ["a.jpg"]
    assert "3 rows left out for their labels" in said
    assert "videos" not in said, "what was left out for its label is counted once"
    names, said = index("t.csv", skip_labels=["unclear"], videos=False)
    assert names == ["a.jpg", "b.jpg"]
    assert "1 rows left out that are videos (--no-videos)" in said
    with pytest.raises(ManifestError, match="unknown label 'unclear'"):
        index("t.csv")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"columns": ["path=file"]}, "--column"),
        ({"skip_labels": ["unclear"]}, "--skip-label"),
        ({"label_of": ["0=fake", "1=real"]}, "--label-of"),
    ],
)
def test_options_of_a_table_are_refused_with_a_folder(index, folder, options, name):
    with pytest.raises(ConfigError, match=f"{name} says how a CSV is read, and .* is a folder"):
        index(".", **options)
    assert not (folder / "m.csv").exists()
    names, said = index(".", videos=False)
    assert names == ["b.jpg", "d.jpg", "a.jpg"]
    assert "files passed over" in said
