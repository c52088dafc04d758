"""AUROC of a cue: high where it tells the label, a half where not, and a reason where nothing can be said."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tellsign.data.audit.classify import columns, cue_results, folds_of
from tellsign.data.audit.cues import Features
from tellsign.groups import group_numbers
from tellsign.types import ConfigError

pytest.importorskip("sklearn")


def numbers(values):
    return [Features((float(value),)) for value in values]


def result(features, labels, groups=None, **options):
    found = cue_results({"cue": features}, labels, groups or [""] * len(labels), n_resamples=100, **options)
    return found["cue"]


LABELS = [0, 1] * 60
RNG = np.random.default_rng(0)


def test_a_cue_that_never_varies_says_exactly_nothing():
    found = result(numbers([3.0] * 120), LABELS)
    assert (found.auroc.value, found.auroc.low, found.auroc.high) == (0.5, 0.5, 0.5)


def test_unequal_classes_and_folds_do_not_push_a_constant_below_a_half():
    labels = [0] * 50 + [1] * 13
    groups = [f"g{i // 7}" for i in range(63)]
    assert result([Features(tokens=("JPEG",))] * 63, labels, groups).auroc.value == 0.5


def test_a_shifted_number_is_found():
    found = result(numbers(RNG.normal(size=120) + 4 * np.array(LABELS)), LABELS)
    assert found.auroc.value > 0.97
    assert found.auroc.low > 0.9
    assert found.note == ""


def test_noise_is_not():
    found = result(numbers(RNG.normal(size=120)), LABELS)
    assert found.auroc.low < 0.5 < found.auroc.high


def test_a_band_in_the_middle_is_found_though_no_line_parts_it():
    outside = RNG.choice([-1, 1], 400) * RNG.uniform(0.6, 1.5, 400)
    labels = [0, 1] * 200
    values = np.where(np.array(labels) == 1, RNG.uniform(-0.5, 0.5, 400), outside)
    assert result(numbers(values), labels).auroc.value > 0.9


def test_tokens_are_found():
    tokens = [Features(tokens=("png",) if label else ("jpg",)) for label in LABELS]
    assert result(tokens, LABELS).auroc.value == 1


def test_what_only_names_the_group_tells_nothing_of_other_groups():
    """Each group has a number of its own; across groups it has nothing to do with the label."""
    groups = [f"g{i}" for i in range(40) for _ in range(6)]
    labels = [int(i % 2) for i in range(40) for _ in range(6)]
    per_group = np.random.default_rng(3).permutation(40).repeat(6)
    rows = [Features(tokens=(f"token {value}",)) for value in per_group]
    assert result(rows, labels, groups).auroc.value == pytest.approx(0.5, abs=0.12)
    assert result(rows, labels).auroc.value > 0.9, "without groups, the files of one recognise each other"


def test_below_a_half_is_reported_as_it_is():
    """In one source fakes have the larger number, in the other the smaller: each teaches the opposite."""
    labels = [0, 1] * 20
    groups = ["a"] * 20 + ["b"] * 20
    values = [label if group == "a" else 1 - label for label, group in zip(labels, groups, strict=True)]
    assert result(numbers(values), labels, groups).auroc.value == 0


def test_one_group_of_reals_gives_a_value_with_a_reason_and_no_interval():
    labels = [0] * 12 + [1] * 12
    groups = ["video"] * 12 + [f"v{i // 3}" for i in range(12)]
    found = result(numbers([*range(12), *range(20, 32)]), labels, groups)
    assert found.auroc.value > 0.9
    assert np.isnan(found.auroc.low)
    assert "one group only" in found.note


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([1] * 20, "no real image"),
        ([0] * 20, "no fake image"),
        ([0] * 20 + [1] * 4, "4 fake images are too few"),
        ([], "no real image"),
    ],
)
def test_too_little_to_say_anything(labels, reason):
    found = result(numbers(range(len(labels))), labels)
    assert found.auroc is None
    assert reason in found.note
    assert found.scores is None


def test_the_same_seed_gives_the_same_value():
    features = numbers(RNG.normal(size=120) + np.array(LABELS))
    values = {(result(features, LABELS, seed=seed).auroc.value) for seed in (1, 1, 2)}
    assert len(values) == 2


def test_one_fold_is_refused():
    with pytest.raises(ConfigError, match="folds is 1"):
        result(numbers(range(120)), LABELS, folds=1)


def test_the_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ConfigError, match=r"pip install 'tellsign\[train\]'"):
        result(numbers(range(120)), LABELS)


def test_columns_standardise_and_leave_out_what_is_constant():
    rows = [Features((float(i), 7.0), ("all", "odd" if i % 2 else "even")) for i in range(10)]
    found = columns(rows)
    assert found.shape == (10, 3), "one number, two tokens; a constant number and a common token say nothing"
    np.testing.assert_allclose(found[:, 0].mean(), 0, atol=1e-12)
    np.testing.assert_allclose(found[:, 0].std(), 1)
    assert columns([Features(tokens=(str(i),)) for i in range(10)]).shape == (10, 0), "each seen only once"


def test_numbers_get_tenths_when_there_are_rows_enough():
    assert columns(numbers(range(200))).shape == (200, 1 + 10)
    assert columns(numbers(range(30))).shape == (30, 1)


def test_rows_without_a_group_are_their_own():
    assert group_numbers(["a", "", "a", ""], 4).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_folds_keep_groups_whole_and_classes_even(seed, n_folds):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 40, 300)
    groups = np.unique(groups, return_inverse=True)[1]
    labels = ((groups + (rng.random(300) < 0.1)) % 2).astype(np.int64)  # a few groups hold both classes
    fold = folds_of(labels, groups, n_folds, seed)
    assert set(fold.tolist()) == set(range(n_folds))
    assert all(len(set(fold[groups == group].tolist())) == 1 for group in range(groups.max() + 1))
    assert abs(np.bincount(fold, weights=labels) / np.bincount(fold) - labels.mean()).max() < 0.25
    assert fold.tolist() == folds_of(labels, groups, n_folds, seed).tolist()


def test_two_groups_of_a_class_are_never_in_one_fold():
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    for groups in ([0, 0, 1, 1, 2, 3, 4, 5], [0, 0, 1, 2, 2, 3, 4, 4], [0, 1, 1, 0, 2, 2, 2, 2]):
        for seed in range(20):
            fold = folds_of(labels, np.array(groups), 2, seed)
            assert all(len(set(fold[labels == label].tolist())) == 2 for label in (0, 1))
