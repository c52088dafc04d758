"""Outcomes from scores whose answer is known, and models that hide their gradient."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

from tellsign.perturb.attacks import evaluation, parse  # noqa: E402
from tellsign.perturb.attacks.evaluation import masking_report, outcome  # noqa: E402
from tellsign.types import ConfigError  # noqa: E402
from victims import Linear, Wrapped, network, pictures, scores_of  # noqa: E402

LABELS = np.arange(8) % 2


def task(module, seed=0):
    """Eight images, labelled as the module decides, and its threshold in the middle."""
    images = pictures(8, seed)
    scores = scores_of(module, images)
    order = np.argsort(scores)
    threshold = float(scores[order[3]] + scores[order[4]]) / 2
    return images, (scores >= threshold).astype(int), threshold


def test_an_outcome_counts_what_flipped_among_what_was_right():
    labels = np.array([0, 0, 0, 1, 1, 1])
    clean = np.array([0.1, 0.2, 0.9, 0.8, 0.7, 0.4])  # rows 2 and 5 are wrong already
    attacked = np.array([0.6, 0.3, 0.9, 0.5, 0.2, 0.6])  # rows 0 and 4 flip, and 5 comes right
    found = outcome(labels, clean, attacked, threshold=0.5, attack="toy")
    assert found.n == 6
    assert found.clean_accuracy == pytest.approx(4 / 6)
    assert found.attacked_accuracy == pytest.approx(3 / 6)
    assert found.success == pytest.approx(2 / 4)
    assert found.clean_auroc == pytest.approx(7 / 9 - 1 / 9)  # fakes won over 0.1 and 0.2 each: 6 of 9
    # Fakes 0.5, 0.2, 0.6 against reals 0.6, 0.3, 0.9: 0.5 and 0.6 over 0.3, and a tie at 0.6.
    assert found.attacked_auroc == pytest.approx(2.5 / 9)


def test_an_outcome_of_one_class_or_of_nothing_right():
    found = outcome(np.ones(2), np.array([0.1, 0.2]), np.array([0.1, 0.2]), threshold=0.5, attack="none")
    assert found.clean_auroc is None
    assert found.success is None
    assert found.attacked_accuracy == 0
    with pytest.raises(ConfigError):
        outcome(np.ones(2), np.array([0.1, np.nan]), np.ones(2), threshold=0.5, attack="none")
    with pytest.raises(ConfigError):
        outcome(np.ones(2), np.ones(2), np.ones(3), threshold=0.5, attack="none")


def test_larger_eps_flips_more_and_nothing_flips_nothing():
    module = network()
    images, labels, threshold = task(module)
    clean, rows = scores_of(module, images), []
    for text in ("none", "pgd:1/255", "pgd:8/255", "pgd:0.2"):
        found = parse(text).run(module, images, labels, threshold=threshold, seed=0)
        attacked = scores_of(module, found)
        rows.append(outcome(labels, clean, attacked, threshold=threshold, attack=text))
    assert rows[0].clean_accuracy == rows[0].attacked_accuracy == 1
    assert rows[0].success == 0
    success = [row.success for row in rows]
    assert success == sorted(success)
    assert success[-1] == 1
    assert rows[-1].attacked_auroc == 0


def failed(module, eps=0.05):
    images, labels, threshold = task(module)
    report = masking_report(module, images, labels, threshold=threshold, eps=eps, seed=0, queries=100)
    assert report.n == 8
    assert report.eps == eps
    assert [check.name for check in report.checks] == [
        "more steps",
        "larger eps",
        "rising loss",
        "random noise",
        "black box",
    ]
    assert all(np.isfinite(list(check.numbers.values())).all() for check in report.checks)
    assert report.passed == all(check.passed for check in report.checks)
    return {check.name for check in report.checks if not check.passed}


@pytest.mark.parametrize("seed", range(2))
def test_honest_models_pass(seed):
    assert failed(network(seed)) == set()
    assert failed(Linear(seed)) == set()


class Backwards(torch.autograd.Function):
    """The score as it is, with its gradient turned round."""

    @staticmethod
    def forward(ctx, score):
        return score.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda score: torch.round(score * 4) / 4, {"rising loss", "random noise", "black box"}),
        # Steps of tanh so steep that its gradient is 0 in floating point.
        (lambda score: torch.tanh(1e4 * score), {"rising loss"}),
        (Backwards.apply, {"rising loss", "random noise", "black box"}),
        # Ripples that hardly change the score and turn its gradient every other step.
        (lambda score: score + 1e-3 * torch.sin(1e6 * score), {"black box"}),
    ],
    ids=["rounded", "saturated", "backwards", "rippled"],
)
def test_models_that_hide_their_gradient_are_found(function, expected):
    module = Wrapped(function)
    assert expected <= failed(module)


def test_masking_is_looked_for_in_modules_only():
    images = pictures(2)
    options = {"threshold": 0.0, "seed": 0}
    with pytest.raises(ConfigError, match="function"):
        masking_report(lambda x: x.mean(axis=(1, 2, 3)), images, np.array([0, 1]), eps=0.1, **options)
    with pytest.raises(ConfigError, match="eps above 0"):
        masking_report(network(), images, np.array([0, 1]), eps=0.0, **options)
    with pytest.raises(ConfigError):
        masking_report(network(), images, np.array([0, 1]), eps=2.0, **options)


def test_an_accuracy_that_rises_is_seen():
    labels = np.ones(20, dtype=int)
    right, wrong = np.ones(20), -np.ones(20)
    falling = evaluation._no_rise("x", "", {1: right, 2: np.where(np.arange(20) < 3, right, wrong)}, labels)
    assert falling.passed
    assert falling.numbers["accuracy at 2"] == pytest.approx(0.15)
    rising = evaluation._no_rise("x", "", {1: wrong, 2: np.where(np.arange(20) < 3, right, wrong)}, labels)
    assert not rising.passed
    assert rising.numbers["largest rise"] == pytest.approx(0.15)
    one = evaluation._no_rise("x", "", {1: wrong, 2: np.where(np.arange(20) < 1, right, wrong)}, labels)
    assert one.passed  # one image is chance
