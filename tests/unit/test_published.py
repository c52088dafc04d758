"""The printed values of the papers: all are there, all can be asked for, and what is ours is marked."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from tellsign.evaluate import published
from tellsign.evaluate.published import Published, papers, printed, records, share
from tellsign.types import ConfigError

CONTENT = json.loads(Path(published.__file__).with_suffix(".json").read_text(encoding="utf-8"))


def test_every_paper_has_as_many_values_as_were_counted():
    counts = Counter(record.paper for record in records())
    assert counts == {"resynthesis": 495, "sfcl-hcmf": 93, "upconv-spectrum": 75, "cae-net": 35}
    assert counts.total() == CONTENT["meta"]["count"] == len(CONTENT["records"])
    assert set(papers()) == set(counts)
    assert {name: len(records(name)) for name in papers()} == counts


def test_columns_are_those_of_the_file():
    names = set(Published.__dataclass_fields__)
    used = {name for row in CONTENT["records"] for name in row}
    assert used == names
    for row, record in zip(CONTENT["records"], records(), strict=True):
        for name in names:
            stored = row.get(name)
            assert getattr(record, name) == (tuple(stored) if isinstance(stored, list) else stored)
    assert len({json.dumps(row, sort_keys=True) for row in CONTENT["records"]}) == len(CONTENT["records"])


def test_values_have_the_types_that_they_promise():
    for record in records():
        assert record.paper
        assert record.table
        assert record.method
        assert record.metric
        assert isinstance(record.value, (int, float, tuple)) or record.value is None
        if record.unit == "%" and isinstance(record.value, (int, float)):
            assert 0 <= record.value <= 100, record
        assert record.variant in {None, "Raw", "+R", "+E", "+A", "+P"}
        assert record.label in {None, 0, 1}


def test_what_we_worked_out_is_marked_and_replaces_nothing():
    ours = [record for record in records() if record.recomputed is not None]
    assert len(ours) == 55
    averages = [r for r in ours if r.metric == "accuracy_avg_printed"]
    for record in averages:
        assert record.matches_to_0_1 == (abs(record.value - record.recomputed) < 0.1), record
    assert {r.table for r in averages if not r.matches_to_0_1} == {"Table 1", "Table 2", "Table 3"}
    (prnu,) = records("resynthesis", "Table 2", method="PRNU", metric="accuracy_avg_printed")
    assert (prnu.value, prnu.recomputed, prnu.matches_to_0_1) == (45.4, 49.55, False)


def test_printed_averages_are_recomputed_from_their_own_rows():
    for table in ("Table 1", "Table 2", "Table 3"):
        for average in records("resynthesis", table, metric="accuracy_avg_printed"):
            cells = [
                r.value
                for r in records(
                    "resynthesis", table, metric="accuracy", method=average.method,
                    resynthesizer=average.resynthesizer,
                )
            ]  # fmt: skip
            assert sum(cells) / len(cells) == pytest.approx(average.recomputed, abs=1e-3), average


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        ({"paper": "upconv-spectrum", "table": "Table 4", "method": "K-means", "n_samples": 2000}, 96),
        ({"paper": "upconv-spectrum", "table": "Table 1", "method": "Yu et al. 2019 [57] (SVM)"}, 99.43),
        (
            {
                "paper": "resynthesis", "table": "Table 1", "method": "PRNU", "variant": "+R",
                "train_set": "CelebA-HQ / ProGAN", "test_set": "CelebA-HQ / StyleGAN",
            },
            44.8,
        ),
    ],
)  # fmt: skip
def test_one_value_by_its_columns(wanted, value):
    (record,) = records(**wanted)
    assert record.value == value


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (("upconv-spectrum", "Table 4", "K-means", {"n_samples": 2000}), 0.96),
        (("upconv-spectrum", "Table 1", "ours, single frames (K-means)", {}), None),  # a dash
        (("cae-net", "abstract", "ensemble", {"metric": "eer", "version": "v2"}), 0.0472),
        (("cae-net", "FGSM", "weighted ensemble", {"metric": "accuracy_range"}), None),
        (("cae-net", "FGSM", "DeiT-B", {}), None),
    ],
    ids=str,
)
def test_a_share_of_what_is_printed_in_per_cent(wanted, value):
    paper, table, method, facts = wanted
    assert share(paper, table, method, **facts) == (None if value is None else pytest.approx(value))


def test_a_range_is_printed_and_a_dash_is_not():
    assert printed("cae-net", "FGSM", "weighted ensemble", "accuracy_range").value == (13, 20)
    assert printed("upconv-spectrum", "Table 1", "ours, single frames (K-means)") is None
    with pytest.raises(AssertionError, match="names 2 records"):
        printed("cae-net", "abstract", "ensemble")


def test_tables_of_cae_net_without_a_version_are_from_the_summary_of_the_third():
    records_without = [record for record in records("cae-net") if record.version is None]
    sources = {record.source for record in records_without if record.table != "dataset"}
    assert sources == {"seed summary (v3)"}


def test_a_column_can_be_asked_to_be_empty():
    found = records("resynthesis", "Table 1", resynthesizer=None, metric="accuracy_avg_printed")
    assert {record.method for record in found} == {
        "PRNU", "Image", "1D Spectrum", "FFT-2d", "DCT-2d", "GramNet",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"paper": "upconv"}, "paper 'upconv'; there are 'resynthesis', 'sfcl-hcmf', 'upconv-spectrum'"),
        (
            {"paper": "cae-net", "table": "Table 9"},
            "'Table 9' where paper is 'cae-net'; there are .main results.",
        ),
        ({"metric": "AUC"}, "metric 'AUC'; there are 'accuracy'"),
        ({"colour": 1}, "no column 'colour'; there are paper, table, method"),
        ({"method": "nothing"}, r"and \d+ more"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(wanted, message):
    with pytest.raises(ConfigError, match=message):
        records(**wanted)


def test_records_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        records()[0].value = 1
    records().clear()
    assert len(records()) == 698
