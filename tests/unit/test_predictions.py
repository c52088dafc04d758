"""The table of predictions: the manifest's order, failures kept, written and read back."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detector import write_detector
from pictures import natural, save, upsampled
from tellsign.data import Manifest
from tellsign.scoring.predictions import COLUMNS, Predictions, predict, read
from tellsign.scoring.scorer import Scorer
from tellsign.scoring.workers import Limits
from tellsign.types import ConfigError, ManifestError, Sample

LIMITS = Limits(workers=2, batch_size=3, memory=0)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer(write_detector(tmp_path_factory.mktemp("detector") / "stand-in"))


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    samples = [
        Sample(
            save((natural, upsampled)[k % 2](k), tmp_path / f"{k}.png"),
            label=k % 2,
            dataset=f"set {k % 3}",
            group=f"g{k}",
            frame=k / 25 if k < 3 else None,
            split="test",
        )
        for k in range(9)
    ]
    return Manifest(tuple(samples))


def same(a: Predictions, b: Predictions) -> bool:
    arrays = (*COLUMNS, "score", "probability", "verdict", "reason")
    return all(
        np.array_equal(getattr(a, n), getattr(b, n), equal_nan=getattr(a, n).dtype.kind == "f")
        for n in arrays
    )


def test_rows_stand_in_the_manifest_s_order(scorer: Scorer, manifest: Manifest) -> None:
    calls: list[None] = []
    table = predict(manifest, scorer, limits=LIMITS, on_row=lambda: calls.append(None))
    assert table.path.tolist() == [str(sample.path) for sample in manifest]
    assert table.label.tolist() == manifest.labels
    assert (table.score > 0).tolist() == [label == 1 for label in manifest.labels]
    assert table.verdict.tolist() == ["real", "fake"] * 4 + ["real"]
    assert np.isnan(table.frame).tolist() == [False] * 3 + [True] * 6
    assert len(calls) == len(table) == 9
    assert (table.detector, table.manifest) == (scorer.artifact.name, manifest.digest())
    assert table.threshold == scorer.decision.operating_point.high
    assert same(table, predict(manifest, scorer, limits=Limits(memory=0)))


def test_a_file_that_fails_keeps_its_row(scorer: Scorer, manifest: Manifest) -> None:
    manifest[2].path.unlink()
    manifest[5].path.write_bytes(b"text")
    save(natural(1, 9, 9), manifest[7].path)
    table = predict(manifest, scorer, limits=LIMITS)
    assert np.flatnonzero(np.isnan(table.score)).tolist() == [2, 5, 7]
    assert [table.verdict[k] for k in (2, 5, 7)] == ["", "", "uncertain"]
    assert "no such file" in table.reason[2]
    assert "text file" in table.reason[5]
    assert "needs at least" in table.reason[7]
    assert table.sha256[2] == ""


def test_a_file_that_differs_from_its_checksum_ends_it(scorer: Scorer, manifest: Manifest) -> None:
    changed = Manifest(tuple(replace(sample, sha256="0" * 64) for sample in manifest))
    with pytest.raises(ManifestError, match=r"has changed: its sha256 is .*index the data again"):
        predict(changed, scorer, limits=LIMITS)


def test_a_sample_without_label_is_refused_before_any_work(scorer: Scorer) -> None:
    with pytest.raises(ManifestError, match="has no label"):
        predict(Manifest((Sample(Path("never read.png")),)), scorer)


def test_written_and_read_back(scorer: Scorer, manifest: Manifest, tmp_path: Path) -> None:
    manifest[2].path.unlink()
    table = predict(manifest, scorer, limits=LIMITS)
    path = tmp_path / "new" / "predictions.parquet"
    table.write(path)
    back = read(path)
    assert same(back, table)
    assert (back.detector, back.manifest, back.threshold) == (table.detector, table.manifest, table.threshold)
    assert [p.name for p in path.parent.iterdir()] == ["predictions.parquet"]
    other = replace(table, score=table.score + 1)
    assert not same(other, table)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_bytes_that_are_no_utf_8_are_written_too(scorer: Scorer, tmp_path: Path) -> None:
    path = save(natural(1), tmp_path / "a.png").rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    odd = os.fsdecode(b"g\xe9")
    manifest = Manifest((Sample(path, label=0, dataset=odd, generator=odd, group=odd, video=odd),))
    table = predict(manifest, scorer, limits=LIMITS)
    table.write(tmp_path / "p.parquet")
    back = read(tmp_path / "p.parquet")
    assert same(back, table)
    assert back.path[0].endswith("caf\\xe9.png")
    assert back.group[0] == "g\\xe9"


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"text")
    for path in (tmp_path / "a.parquet", tmp_path / "gone.parquet"):
        with pytest.raises(ConfigError, match="is not a table of predictions"):
            read(path)


def test_a_place_that_cannot_be_written(scorer: Scorer, manifest: Manifest, tmp_path: Path) -> None:
    table = predict(manifest[:1], scorer, limits=LIMITS)
    (tmp_path / "out.parquet").mkdir()
    with pytest.raises(ConfigError, match="cannot write"):
        table.write(tmp_path / "out.parquet")
    assert not list(tmp_path.glob(".*draft")), "a draft is left behind"


def test_part_of_a_table(scorer: Scorer, manifest: Manifest) -> None:
    table = predict(manifest, scorer, limits=LIMITS)
    part = table.take(table.label == 1)
    assert part.path.tolist() == [str(sample.path) for sample in manifest if sample.label]
    assert (len(part), part.detector) == (4, table.detector)
