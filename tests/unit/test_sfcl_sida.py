"""SIDA beside the spectrum detector: by hand from files, at other sizes, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pictures import save, write_dataset, write_split_dataset
from tellsign import artifacts, detectors, hub
from tellsign.data import Manifest, read
from tellsign.evaluate import comparisons
from tellsign.evaluate.reproduce import reproduce
from tellsign.evaluate.samples import known
from tellsign.image import decode, resize
from tellsign.image.network_input import resized
from tellsign.metrics import auroc
from tellsign.types import FAKE, REAL, ConfigError, ManifestError

pytest.importorskip("sklearn")
from tellsign.evaluate.sfcl_hcmf import judges, sida
from tellsign.evaluate.sfcl_hcmf.judges import BOOSTING, LOGISTIC
from tellsign.evaluate.study import SPECTRUM
from tellsign.systems.sfcl_hcmf.sida_config import SidaConfig
from tellsign.systems.spectrum.config import SpectrumConfig

SIZE = 48
CONFIGS = {
    LOGISTIC: SidaConfig(c=0.1),
    BOOSTING: SidaConfig(c=1e-4),  # in place of trees, whose every fit takes a second
    SPECTRUM: SpectrumConfig(classifier="linear_svm", c=1.0, crop=40, max_crops=1),
}
REAL_CONFIGURATIONS = judges.configurations  # whose place is taken below
SYSTEMS = {LOGISTIC: "sida", BOOSTING: "sida", SPECTRUM: "spectrum"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(judges, "configurations", lambda: CONFIGS)
    monkeypatch.setattr(comparisons, "RESAMPLES", 8)
    monkeypatch.setattr(sida, "suite", lambda: ("none", "jpeg:30"))


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    return read(write_split_dataset(folder, train=12, valid=2, test=10, size=SIZE))


@pytest.fixture(scope="module")
def unsplit(tmp_path_factory):
    return read(write_dataset(tmp_path_factory.mktemp("unsplit"), 16, size=SIZE, group_size=2))


def table(manifest, out, **options):
    said = []
    result = reproduce("sfcl-sida", manifest=manifest, out=out, say=said.append, **options)
    return {(row.row, row.column): row for row in result.rows}, said, result


def by_hand(train, arrays, out, *, side=None):
    """Name → (B,) scores of detectors that their systems fit, of arrays one after the other."""
    found = {}
    for name, system in SYSTEMS.items():
        path = hub.system(system)(CONFIGS[name]).fit(train, train, out=out / system, seed=0)
        detector = detectors.from_artifact(artifacts.load(path))
        inputs = [detector.preprocess(array if side is None else resized(array, side)) for array in arrays]
        found[name] = np.array(
            [detector.score({key: value[None] for key, value in one.items()})[0] for one in inputs]
        )
    return found


def areas(rows, title, suffix=""):
    return {name: rows[name + suffix, f"AUROC, {title}"].reproduced for name in SYSTEMS}


def test_a_manifest_with_splits_is_judged_on_its_test_part(split, tmp_path):
    rows, said, result = table(split, tmp_path / "cells", samples=(16,))
    train, test = split.filter(split="train"), split.filter(split="test")
    scores = by_hand(train, [decode(one.path).array for one in test], tmp_path)
    for name, values in scores.items():
        row = rows[name, "AUROC, test images"]
        assert row.reproduced == pytest.approx(auroc(test.labels, values)), name
        assert row.ci[0] <= row.reproduced <= row.ci[1]
        real = values[np.array(test.labels) == REAL] < 0
        assert rows[name, "real accuracy, test images"].reproduced == pytest.approx(real.mean())
    pair = rows[f"{LOGISTIC} - {SPECTRUM}", "AUROC, test images, difference"]
    expected = auroc(test.labels, scores[LOGISTIC]) - auroc(test.labels, scores[SPECTRUM])
    assert pair.reproduced == pytest.approx(expected)
    assert pair.unit == "difference"
    assert "fitted on 24 images of train, judged on 20 of test" in result.notes[0]
    assert "16 of the test images" in " ".join(result.notes)
    assert "C = 0.0001" in " ".join(result.notes)
    assert sum("fitted on 24 images" in line for line in said) == 3, "each once, whatever is looked at"
    assert sum("statistics of 24 images" in line for line in said) == 1, "all have one size already"


def test_images_are_shown_at_other_sizes_as_they_are_and_resized(split, tmp_path):
    rows, _, _ = table(split, tmp_path / "cells", samples=(20,))
    train, test = split.filter(split="train"), split.filter(split="test")
    arrays = [decode(one.path).array for one in test]
    for factor, title in ((1, "× 1"), (1.5, "× 1.5")):
        side = round(SIZE * factor)
        shown = [np.rint(255 * resize(one, side, side, filter="bicubic")) / 255 for one in arrays]
        native = by_hand(train, shown if factor != 1 else arrays, tmp_path)
        fixed = by_hand(train, shown if factor != 1 else arrays, tmp_path, side=SIZE)
        for arm, scores in (("native", native), ("resized", fixed)):
            expected = {name: auroc(test.labels, values) for name, values in scores.items()}
            assert areas(rows, title, f", {arm}") == pytest.approx(expected), (factor, arm)
    for arm in ("native", "resized"):
        name = f"{LOGISTIC}, {arm}"
        change = rows[f"{name} × 1.5 - {name} × 1", "AUROC, × 1.5 against × 1, difference"]
        both = [rows[name, f"AUROC, {title}"].reproduced for title in ("× 1.5", "× 1")]
        assert change.reproduced == pytest.approx(both[0] - both[1])
    pair = rows[f"{BOOSTING}, native - {BOOSTING}, resized", "AUROC, × 1.5, difference"]
    assert pair.ci[0] <= pair.reproduced <= pair.ci[1]


def test_what_has_become_too_small_is_left_out_of_its_own_rows(split, tmp_path):
    """Half of 48 pixels is no crop of 40; SIDA can do with it, and so can who resizes."""
    rows, _, _ = table(split, tmp_path, samples=(20,))
    small = rows[f"{SPECTRUM}, native", "AUROC, × 0.5"]
    assert small.reproduced is None
    assert "20 of 20 images can't be used" in small.note
    assert rows[f"{LOGISTIC}, native", "AUROC, × 0.5"].reproduced is not None
    assert rows[f"{SPECTRUM}, resized", "AUROC, × 0.5"].reproduced is not None
    pair = rows[f"{LOGISTIC}, native - {SPECTRUM}, native", "AUROC, × 0.5, difference"]
    assert pair.reproduced is None
    assert "no images of both classes that both can use" in pair.note


def test_images_of_several_sizes_are_fitted_anew_where_they_are_resized(tmp_path):
    samples = []
    for split, seed, size in (("train", 0, 48), ("train", 1, 56), ("test", 2, 48)):
        path = write_dataset(tmp_path / str(seed), 8, seed=seed, size=size, split=split)
        samples += read(path)
    manifest = Manifest(tuple(samples))
    rows, said, result = table(manifest, tmp_path / "cells", samples=(16,))
    assert "to 48 × 48 pixels" in " ".join(result.notes)
    assert sum("fitted on 32 images" in line for line in said) == 6
    assert "statistics of 32 images, resized to 48 pixels" in said
    train, test = manifest.filter(split="train"), manifest.filter(split="test")
    written = Manifest(
        tuple(
            replace(
                one, path=save(resized(decode(one.path).array, 48), tmp_path / "r" / f"{row}.png"), sha256=""
            )
            for row, one in enumerate(train)
        )
    )
    scores = by_hand(written, [decode(one.path).array for one in test], tmp_path)[LOGISTIC]
    found = rows[f"{LOGISTIC}, resized", "AUROC, × 1"].reproduced
    assert found == pytest.approx(auroc(test.labels, scores), abs=0.05), "but for the rounding of files"


def test_without_splits_every_image_is_judged_by_a_fold_that_has_not_seen_it(unsplit, tmp_path):
    rows, said, result = table(unsplit, tmp_path / "cells", folds=2, samples=(12,))
    assert "2 folds, seed 0" in result.notes[0]
    assert "judged on all 32 in turn" in result.notes[0]
    assert "pooled as they are" in result.notes[0]
    parts = sida.judged_parts(known(unsplit), 2, seed=0)
    scores, labels = [], []
    for number, (train, test) in enumerate(parts):
        arrays = [decode(one.path).array for one in test]
        scores.append(by_hand(train, arrays, tmp_path / str(number))[BOOSTING])
        labels += test.labels
    expected = auroc(labels, np.concatenate(scores))
    assert rows[BOOSTING, "AUROC, test images"].reproduced == pytest.approx(expected)
    means = [auroc(test.labels, own) for (_, test), own in zip(parts, scores, strict=True)]
    assert rows[BOOSTING, "AUROC, mean of folds"].reproduced == pytest.approx(np.mean(means))
    assert rows[LOGISTIC, "AUROC, jpeg:30"].ci is not None
    assert "12 of the test images" in " ".join(result.notes)
    assert sum("fitted on" in line for line in said) == 6


def test_the_same_command_again_fits_nothing_and_another_seed_does(unsplit, tmp_path):
    first, _, _ = table(unsplit, tmp_path, folds=2, samples=(12,))
    again, said, _ = table(unsplit, tmp_path, folds=2, samples=(12,))
    assert again == first
    assert said == []
    _, said, _ = table(unsplit, tmp_path, folds=2, samples=(12,), seed=1)
    assert any("fitted on" in line for line in said)


def test_other_sources_are_judged_by_the_detectors_of_the_first_part(split, tmp_path):
    own = read(write_dataset(tmp_path / "a", 5, seed=7, size=SIZE, dataset="a"))
    fakes = read(write_dataset(tmp_path / "b", 4, seed=8, size=SIZE, dataset="b")).filter(label=FAKE)
    reals = read(write_dataset(tmp_path / "c", 2, seed=9, size=SIZE, dataset="c")).filter(label=REAL)
    others = Manifest((*own, *fakes, *reals))
    rows, _, result = table(split, tmp_path / "cells", others=others, samples=(16,))
    (note,) = [
        note for note in result.notes if note.startswith("Other sources are judged by these detectors")
    ]
    assert "There are 8 of these reals." in note
    train = split.filter(split="train")
    scores = by_hand(train, [decode(one.path).array for one in own], tmp_path)
    expected = {name: auroc(own.labels, values) for name, values in scores.items()}
    assert areas(rows, "a") == pytest.approx(expected)
    assert rows[LOGISTIC, "AUROC, b and reals of the test part"].reproduced is not None
    assert "reals alone" in rows[SPECTRUM, "AUROC, c"].note
    without, _, _ = table(split, tmp_path / "cells", samples=(16,))
    assert "--others" in without[LOGISTIC, "AUROC, other sources"].note


def test_training_images_that_are_too_small_leave_sida_alone(tmp_path):
    manifest = read(write_split_dataset(tmp_path / "data", train=8, valid=1, test=8, size=36))
    rows, _, _ = table(manifest, tmp_path / "cells", samples=(16,))
    assert rows[SPECTRUM, "AUROC, test images"].reproduced is None
    assert "16 of 16 images can't be used" in rows[SPECTRUM, "AUROC, test images"].note
    assert rows[LOGISTIC, "AUROC, test images"].reproduced is not None


def test_inputs_that_do_not_do(split, tmp_path):
    rows, _, _ = table(None, None)
    assert all("--data MANIFEST -o FOLDER" in row.note for row in rows.values())
    with pytest.raises(ConfigError, match="-o FOLDER"):
        table(split, None)
    with pytest.raises(ConfigError, match="sfcl-sida has no use for config"):
        table(split, tmp_path, config=Path("c.toml"))
    shared = Manifest(tuple(replace(one, group="all") for one in split))
    with pytest.raises(ManifestError, match=r"1 groups are in train and in test, e\.g\. 'all'"):
        table(shared, tmp_path)
    one_class = Manifest(tuple(one for one in split if one.split != "test" or one.label == FAKE))
    with pytest.raises(ManifestError, match="the split test needs both classes"):
        table(one_class, tmp_path)
    gone = replace(split[0], path=save(decode(split[0].path).array, tmp_path / "gone.png"), sha256="0" * 64)
    with pytest.raises(ManifestError, match=r"gone\.png.*cannot be used"):
        table(Manifest((gone, *split[1:])), tmp_path)


def test_the_spectrum_detector_has_the_options_of_the_one_that_ships():
    shipped = artifacts.load(hub.detector_path("spectrum")).spec["config"]
    found = REAL_CONFIGURATIONS()
    assert found[SPECTRUM] == SpectrumConfig(**shipped)
    assert (found[LOGISTIC].classifier, found[BOOSTING].classifier) == (
        "logistic_regression",
        "gradient_boosting",
    )
    assert list(found) == list(SYSTEMS)


def test_detectors_fitted_here_are_those_that_the_systems_write(split, tmp_path):
    """Trees too, which other tests leave out."""
    own = {**CONFIGS, BOOSTING: SidaConfig(classifier="gradient_boosting", trees=4, leaves=3, leaf_images=4)}
    train, test = split.filter(split="train"), split.filter(split="test")
    examples = judges.Examples(train, None, lambda text: None)
    for name, config in own.items():
        path = hub.system(SYSTEMS[name])(config).fit(train, train, out=tmp_path / SYSTEMS[name], seed=3)
        written = detectors.from_artifact(artifacts.load(path))
        values = np.stack([judges.vector(decode(one.path).array, config.input, None) for one in train])
        fitted = judges.detector(name, config, values, np.array(train.labels), seed=3)
        for sample in test:
            inputs = {key: one[None] for key, one in written.preprocess(decode(sample.path).array).items()}
            assert fitted.score(inputs) == written.score(inputs), name
    assert len(examples.vectors) == 2, "both of SIDA's look at the same"
