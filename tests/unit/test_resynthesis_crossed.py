"""All methods on one data set: what is asked of which fold, differences, and detectors that are none of it.

Shapes: N images.
"""

from __future__ import annotations

import numpy as np
import pytest

from detector import write_detector
from pictures import save, write_dataset
from tellsign import artifacts, detectors, image
from tellsign.data import Manifest, read
from tellsign.evaluate.folds import folds
from tellsign.evaluate.reproduce import reproduce
from tellsign.evaluate.resynthesis.crossed import OURS, fold_manifest, fold_name
from tellsign.evaluate.samples import known
from tellsign.metrics import auroc
from tellsign.types import ConfigError, Sample

K = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return known(read(write_dataset(tmp_path_factory.mktemp("data"), 12, size=48)))


@pytest.fixture(scope="module")
def cells(data, tmp_path_factory):
    """Two methods in both folds, one in the first, and one of other images."""
    root = tmp_path_factory.mktemp("cells")
    for fold in folds(data, K, seed=0):
        place = root / fold_name(fold.number, K)
        own = {"data": {"manifest": fold_manifest(fold).digest()}}
        write_detector(place / "resynthesis-sr", kind="kernel", **own)
        write_detector(place / "dct2d", **own)
        if fold.number == 1:
            write_detector(place / "image", **own)
        write_detector(place / "gramnet", data={"manifest": "0" * 64})
    return root


@pytest.fixture(scope="module")
def result(data, cells):
    return reproduce("resynthesis-folds", manifest=data, out=cells, folds=K)


def row_of(result, row, column):
    (found,) = [one for one in result.rows if (one.row, one.column) == (row, column)]
    return found


def scores(folder, sample):
    detector = detectors.from_artifact(artifacts.load(folder))
    inputs = [detector.preprocess(image.decode(one.path).array) for one in sample]
    return np.array([detector.score({k: v[None] for k, v in one.items()})[0] for one in inputs])


def test_one_split_is_that_of_the_first_fold(data, cells, result):
    (first, _) = folds(data, K, seed=0)
    for title, name in (("DCT-2d", "dct2d"), ("Image", "image"), (OURS, "resynthesis-sr")):
        found = scores(cells / fold_name(1, K) / name, first.test)
        row = row_of(result, title, "Raw, AUROC")
        assert row.reproduced == pytest.approx(auroc(np.array(first.test.labels), found))
        assert row.ci[0] <= row.reproduced <= row.ci[1]
        right = np.mean((found >= 0) == np.array(first.test.labels))
        assert row_of(result, title, "Raw, accuracy").reproduced == pytest.approx(right)


def test_all_folds_are_of_methods_that_are_in_each(data, cells, result):
    parts = folds(data, K, seed=0)
    labels = np.concatenate([fold.test.labels for fold in parts])
    found = [scores(cells / fold_name(fold.number, K) / "dct2d", fold.test) for fold in parts]
    assert len(labels) == len(data)
    row = row_of(result, "DCT-2d", "Raw, all folds, AUROC")
    assert row.reproduced == pytest.approx(auroc(labels, np.concatenate(found)))
    each = [auroc(np.array(fold.test.labels), own) for fold, own in zip(parts, found, strict=True)]
    assert row_of(result, "DCT-2d", "Raw, all folds, AUROC, mean of folds").reproduced == pytest.approx(
        np.mean(each)
    )
    assert not [row for row in result.rows if row.row == "Image" and "all folds" in row.column]


def test_differences_are_paired(data, cells, result):
    (first, _) = folds(data, K, seed=0)
    labels = np.array(first.test.labels)
    ours, other = (
        auroc(labels, scores(cells / fold_name(1, K) / n, first.test)) for n in ("resynthesis-sr", "dct2d")
    )
    row = row_of(result, f"{OURS} - DCT-2d", "Raw, AUROC, difference")
    assert row.reproduced == pytest.approx(ours - other)
    assert row.note
    assert row_of(result, f"{OURS} - DCT-2d", "+P, all folds, AUROC, difference").ci is not None


def test_every_variant_is_measured_and_changes_something(result):
    for variant in ("Raw", "+P", "+E"):
        assert 0 <= row_of(result, "Image", f"{variant}, AUROC").reproduced <= 1
    raw, perturbed = (row_of(result, OURS, f"{v}, AUROC").reproduced for v in ("Raw", "+P"))
    assert raw > perturbed


def test_a_detector_of_other_images_is_not_asked(result):
    note = row_of(result, "GramNet", "Raw, AUROC").note
    assert "was trained on other images than those of fold-1-of-2" in note
    assert row_of(result, "PRNU", "+E, AUROC").note == "needs a detector in fold-1-of-2/prnu of the folder -o"
    assert "has no part 'pixel'" in row_of(result, "Ours (Pix) SR", "Raw, AUROC").note


def test_images_that_cannot_be_used_are_counted_and_not_compared(data, tmp_path):
    small = save(np.full((3, 20, 20), 0.5, np.float32), tmp_path / "small.png")
    more = known(Manifest((*data, *(Sample(small, 0, "toy", group=f"s{n}") for n in range(6)))))
    for fold in folds(more, K, seed=0):
        place = tmp_path / "cells" / fold_name(fold.number, K)
        for name in ("dct2d", "resynthesis-sr"):
            write_detector(place / name, data={"manifest": fold_manifest(fold).digest()})
    result = reproduce("resynthesis-folds", manifest=more, out=tmp_path / "cells", folds=K)
    assert "of 30 images can be used" in row_of(result, "DCT-2d", "Raw, all folds, AUROC").note
    assert "24 of 30" in row_of(result, "DCT-2d", "Raw, all folds, AUROC").note
    assert "no equalisation" in row_of(result, "DCT-2d", "+E, AUROC").note


def test_without_data_and_with_what_it_has_no_use_for(data, tmp_path):
    assert all(row.reproduced is None for row in reproduce("resynthesis-folds").rows)
    with pytest.raises(ConfigError, match="no use for others"):
        reproduce("resynthesis-folds", manifest=data, out=tmp_path, others=data)
    with pytest.raises(ConfigError, match="-o FOLDER"):
        reproduce("resynthesis-folds", manifest=data)
