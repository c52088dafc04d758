"""Tables of detection by re-synthesis: what is printed, averages worked out anew, and cells measured.

Shapes: B images.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detector import write_detector
from pictures import save, write_dataset
from tellsign import artifacts, detectors, image
from tellsign.data import Manifest, read
from tellsign.evaluate.published import records
from tellsign.evaluate.reproduce import reproduce
from tellsign.evaluate.resynthesis.layout import method, methods, printed, printed_averages, slug
from tellsign.perturb import parse
from tellsign.types import ConfigError

PROGAN, STYLEGAN = "CelebA-HQ / ProGAN", "CelebA-HQ / StyleGAN"
# Of the specification: row → mean of its columns and printed average, where these differ.
MARKED = {
    "Table 1": {"PRNU": "57.3", "1D Spectrum": "67.9", "FFT-2d": "78.1", "DCT-2d": "89.2", "GramNet": "74.6"}
    | {"Ours (Pix) SR": "87.0", "Ours (Stage5) SR": "92.5", "Ours (Avg) SR": "92.2"},
    "Table 2": {"PRNU": "45.4"},
    "Table 3": {"Ours (Stage5) SR+D": "92.2"},
}


def cell(result, row, column):
    (found,) = [r for r in result.rows if (r.row, r.column) == (row, column)]
    return found


def title(train, test, variant):
    return f"{train} → {test}, {variant}"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Reals and two generators to test on, of 48 pixels, and some to fit an equalisation on."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number, split in enumerate(("train", "test")):
        for generator in ("ProGAN", "StyleGAN"):
            part = read(write_dataset(folder / split / generator, 4, size=48, seed=number, split=split))
            fakes = (
                replace(s, generator=generator.lower(), group=f"{generator}{s.path}")
                for s in part.filter(label=1)
            )
            rows += [*fakes, *(part.filter(label=0) if generator == "ProGAN" else ())]
    return Manifest(tuple(rows))


@pytest.fixture
def folder(tmp_path):
    write_detector(tmp_path / "cells" / "celeba-hq-progan" / "spectrum")
    return tmp_path / "cells"


@pytest.mark.parametrize(("number", "n_rows"), [(1, 15 * 21), (2, 15 * 7), (3, 13 * 5)])
def test_a_table_without_data_is_what_is_printed_and_says_what_it_needs(number, n_rows):
    result = reproduce(f"resynthesis-table{number}")
    assert len(result.rows) == n_rows
    cells = [row for row in result.rows if row.column != "average"]
    assert all(row.published is not None and row.reproduced is None for row in cells)
    assert all("--data MANIFEST -o FOLDER" in row.note for row in cells)
    assert {row.row for row in result.rows} <= {m.title for m in methods()}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_printed_averages_that_are_not_those_of_their_columns_are_marked(number):
    result = reproduce(f"resynthesis-table{number}")
    marked = {row.row: row.note for row in result.rows if row.column == "average" and row.note}
    expected = MARKED[f"Table {number}"]
    assert set(marked) == set(expected)
    for row, printed_value in expected.items():
        columns = [r.published for r in result.rows if r.row == row and r.column != "average"]
        mean = 100 * sum(columns) / len(columns)
        assert marked[row] == f"printed {printed_value}, the mean of its columns is {mean:.2f}"
        assert abs(mean - float(printed_value)) > 0.05


def test_averages_agree_where_the_records_say_so():
    for table in MARKED:
        notes = {r.row: r.note for r in reproduce(f"resynthesis-{slug(table).replace('-', '')}").rows}
        for record in records("resynthesis", table, metric="accuracy_avg_printed"):
            row = method(record.method, record.resynthesizer).title
            assert (notes[row] == "") == record.matches_to_0_1, (table, row)


def test_a_printed_value_is_the_papers():
    result = reproduce("resynthesis-table1")
    assert cell(result, "PRNU", title(PROGAN, PROGAN, "Raw")).published == pytest.approx(0.783)
    assert cell(result, "Image", title(PROGAN, STYLEGAN, "+P")).published == pytest.approx(0.511)
    assert len(printed("Table 1")) == 15 * 20
    assert len(printed_averages("Table 3")) == 13


def test_figure_6_prints_no_numbers():
    result = reproduce("resynthesis-fig6")
    assert len(result.rows) == 2 * 15
    assert all(row.published is None for row in result.rows)
    assert sum("85 %" in row.note for row in result.rows) == 2 * 9


def test_cells_are_measured_where_there_are_detector_and_images(data, folder):
    result = reproduce("resynthesis-table1", manifest=data, out=folder)
    detector = detectors.from_artifact(artifacts.load(folder / "celeba-hq-progan" / "spectrum"))
    test = data.filter(split="test")
    for generator, test_set in (("progan", PROGAN), ("stylegan", STYLEGAN)):
        sample = test.filter(lambda s, g=generator: s.label == 0 or s.generator == g)
        for variant, change in (("Raw", None), ("+P", parse("combined"))):
            right = []
            for one in sample:
                found = image.decode(one.path)
                array = (
                    found.array
                    if change is None
                    else change.apply(found.array, key=found.meta.sha256, seed=0)
                )
                inputs = {name: a[None] for name, a in detector.preprocess(array).items()}
                right.append((detector.score(inputs)[0] > 0) == bool(one.label))
            row = cell(result, "1D Spectrum", title(PROGAN, test_set, variant))
            assert row.reproduced == pytest.approx(np.mean(right))
            assert row.published is not None
        equalised = cell(result, "1D Spectrum", title(PROGAN, test_set, "+E"))
        assert 0 <= equalised.reproduced <= 1
    assert cell(result, "1D Spectrum", "average").reproduced is None


def test_a_cell_without_detector_or_data_says_so(data, folder):
    result = reproduce("resynthesis-table1", manifest=data, out=folder)
    note = cell(result, "1D Spectrum", title(PROGAN, PROGAN, "+R")).note
    assert note == "no data: needs fakes of a generator 'ProGAN+R', in the split test or by --others"
    note = cell(result, "PRNU", title(STYLEGAN, PROGAN, "Raw")).note
    assert note == "needs a detector in celeba-hq-stylegan/prnu of the folder -o"
    both = cell(result, "Ours (Pix) SR+C", title(PROGAN, PROGAN, "+A")).note
    assert "celeba-hq-progan/resynthesis-sr-c" in both
    assert "'ProGAN+A'" in both


@pytest.mark.parametrize("name", ["progan+r", "ProGAN+R@0123456789ab"])  # the latter as `sample` writes it
def test_images_of_regularised_generators_are_given_beside(data, folder, tmp_path, name):
    others = read(write_dataset(tmp_path / "more", 3, size=48, seed=7)).filter(label=1)
    named = Manifest(tuple(replace(s, generator=name) for s in others))
    result = reproduce("resynthesis-table1", manifest=data, out=folder, others=named)
    row = cell(result, "1D Spectrum", title(PROGAN, PROGAN, "+R"))
    assert row.reproduced is not None
    assert row.note == ""


def test_a_part_that_a_detector_lacks_is_named(data, folder):
    write_detector(folder / "celeba-hq-progan" / "resynthesis-sr")
    result = reproduce("resynthesis-table1", manifest=data, out=folder)
    assert cell(result, "Ours (Avg) SR", title(PROGAN, PROGAN, "Raw")).reproduced is not None
    assert (
        "has no part 'pixel'; it has score"
        in cell(result, "Ours (Pix) SR", title(PROGAN, PROGAN, "Raw")).note
    )


def test_what_detectors_said_is_kept(data, folder):
    said = []
    first = reproduce("resynthesis-table1", manifest=data, out=folder, say=said.append)
    assert any("on CelebA-HQ / ProGAN Raw: 8 images" in text for text in said)
    again = []
    second = reproduce("resynthesis-table1", manifest=data, out=folder, say=again.append)
    assert not [text for text in again if "images" in text]
    assert [row.reproduced for row in first.rows] == [row.reproduced for row in second.rows]


def test_detectors_on_ffhq_need_images_of_that_name(data, folder, tmp_path):
    result = reproduce("resynthesis-table2", manifest=data, out=folder)
    notes = {row.note for row in result.rows if row.row == "1D Spectrum" and PROGAN in row.column}
    assert any("'StyleGAN' in a data set 'FFHQ'" in note for note in notes)
    others = read(write_dataset(tmp_path / "ffhq", 3, size=48, seed=8, dataset="ffhq"))
    others = Manifest(tuple(replace(s, generator="StyleGAN" if s.label else "") for s in others))
    result = reproduce("resynthesis-table2", manifest=data, out=folder, others=others)
    assert cell(result, "1D Spectrum", title(PROGAN, "FFHQ / StyleGAN", "Raw")).reproduced is not None


def test_bad_images_detectors_and_inputs(data, folder, tmp_path):
    small = save(np.full((3, 20, 20), 0.5, np.float32), tmp_path / "small.png")
    few = Manifest((*data, replace(data.filter(split="test")[0], path=small, sha256="", group="s")))
    result = reproduce("resynthesis-table1", manifest=few, out=folder)
    assert cell(result, "1D Spectrum", title(PROGAN, PROGAN, "Raw")).reproduced is not None
    write_detector(folder / "celeba-hq-stylegan" / "spectrum", region="face")
    (folder / "celeba-hq-progan" / "spectrum" / "weights.safetensors").write_bytes(b"broken")
    result = reproduce("resynthesis-table1", manifest=data, out=folder)
    assert "looks at faces" in cell(result, "1D Spectrum", title(STYLEGAN, PROGAN, "Raw")).note
    assert "cannot be read" in cell(result, "1D Spectrum", title(PROGAN, PROGAN, "Raw")).note
    with pytest.raises(ConfigError, match="-o FOLDER"):
        reproduce("resynthesis-table1", manifest=data)
    with pytest.raises(ConfigError, match="no use for config"):
        reproduce("resynthesis-table1", manifest=data, out=folder, config=tmp_path / "c.toml")
    with pytest.raises(ConfigError, match="no use for samples"):
        reproduce("resynthesis-table1", manifest=data, out=folder, samples=(20,))
    assert slug("LSUN church_outdoor / StyleGAN2") == "lsun-church-outdoor-stylegan2"
