"""The fusion of branches: the mean of probabilities or of log-odds, the vote, and fitted weights.

Shapes: B images, M crops, n branches.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tellsign.data import Manifest
from tellsign.metrics import auroc
from tellsign.types import ConfigError, ManifestError, Sample

torch = pytest.importorskip("torch")
from tellsign.engine.fusion import judged_fusion  # noqa: E402 - needs PyTorch
from tellsign.nn.fusion import (  # noqa: E402
    STEPS,
    CropScores,
    fitted_weights,
    fused,
    fused_scores,
    image_means,
    simplex,
)

WEIGHTS = (0.35, 0.34, 0.31)


def crops_of(parts):
    rows = np.arange(len(parts))
    return CropScores(np.asarray(parts, dtype=float), rows, rows)


def test_weights_give_the_logit_of_the_mean_probability():
    parts = np.random.default_rng(0).normal(0, 3, (200, 3))
    p = 1 / (1 + np.exp(-parts)) @ np.array(WEIGHTS)
    for fusion in ("weights", "fit"):
        assert np.allclose(fused_scores(parts, fusion, WEIGHTS), np.log(p / (1 - p)), atol=1e-9)


def test_logits_are_averaged_as_they_are():
    parts = np.random.default_rng(0).normal(0, 3, (200, 3))
    assert np.allclose(fused_scores(parts, "logits", WEIGHTS), parts @ np.array(WEIGHTS), atol=1e-12)


def test_single_precision_stays_near_where_probabilities_would_round_to_1():
    parts = torch.tensor([[12.0, 14.0, 17.0], [-30.0, -20.0, -25.0], [40.0, 30.0, 35.0]])
    weights = torch.tensor(WEIGHTS)
    found = fused(parts, "weights", weights)
    assert torch.allclose(found.double(), fused(parts.double(), "weights", weights.double()), atol=1e-5)
    assert (found.diff() != 0).all()


def test_however_sure_the_branches_are_the_score_is_finite_and_has_a_gradient():
    parts = torch.tensor([[80.0, 90.0, 85.0], [-200.0, -300.0, -250.0]], requires_grad=True)
    scores = fused(parts, "weights", torch.tensor(WEIGHTS))
    scores.sum().backward()
    assert torch.isfinite(scores).all()
    assert scores[0] > 75
    assert torch.allclose(parts.grad.sum(dim=1), torch.ones(2), atol=1e-4)


def test_a_branch_of_weight_0_does_not_count():
    parts = torch.tensor([[1.5, 60.0]], requires_grad=True)
    score = fused(parts, "weights", torch.tensor([1.0, 0.0]))
    score.backward()
    assert score.item() == pytest.approx(1.5, abs=1e-5)
    assert torch.isfinite(parts.grad).all()
    assert parts.grad[0, 1].abs() < 1e-6


@pytest.mark.parametrize("n", [1, 3, 5])
def test_a_vote_is_above_0_exactly_where_most_branches_are(n):
    parts = np.random.default_rng(n).normal(0, 2, (500, n))
    scores = fused_scores(parts, "vote", (1 / n,) * n)
    assert np.array_equal(scores > 0, (parts > 0).sum(axis=1) > n / 2)
    assert np.array_equal(scores, np.median(parts, axis=1))


def test_a_vote_moves_only_with_the_branch_in_the_middle():
    parts = torch.tensor([[3.0, -1.0, 0.5]], requires_grad=True)
    fused(parts, "vote", torch.tensor(WEIGHTS)).backward()
    assert parts.grad.tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize(("n", "steps"), [(1, 5), (2, 4), (3, 20), (4, 6)])
def test_the_simplex_holds_each_point_once(n, steps):
    points = simplex(n, steps)
    assert len(points) == len(set(points)) == math.comb(steps + n - 1, n - 1)
    assert np.allclose(np.sum(points, axis=1), 1)
    assert np.min(points) >= 0


def test_the_branch_that_knows_gets_the_weight():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 100)
    parts = rng.normal(0, 1, (200, 3))
    parts[:, 1] += 2 * (2 * labels - 1)
    found = fitted_weights(crops_of(parts), labels)
    assert found.weights[1] > 0.5
    assert sum(found.weights) == pytest.approx(1)
    assert all(weight * STEPS == pytest.approx(round(weight * STEPS)) for weight in found.weights)
    assert found.n == 200


def test_two_that_know_different_things_are_better_together():
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 400)
    parts = rng.normal(0, 1, (800, 2)) + (2 * labels - 1)[:, None]
    found = fitted_weights(crops_of(parts), labels)
    assert 0.2 < found.weights[0] < 0.8
    from tellsign.metrics import auroc

    assert found.auroc > max(auroc(labels, parts[:, i]) for i in range(2)) + 0.02


def test_of_weights_that_the_images_cannot_tell_apart_the_most_even_are_taken():
    rng = np.random.default_rng(8)
    labels = np.repeat([0, 1], 30)
    parts = rng.normal(0, 1, (60, 2)) + 0.5 * (2 * labels - 1)[:, None]
    found = fitted_weights(crops_of(parts), labels)
    assert found.weights == (0.5, 0.5)
    assert found.auroc < found.best
    same = np.stack([parts[:, 0], parts[:, 0]], axis=1)
    assert fitted_weights(crops_of(same), labels).weights == (0.5, 0.5)


def test_the_report_of_fitted_weights_names_what_was_chosen_and_what_was_best():
    rng = np.random.default_rng(8)
    labels = np.repeat([0, 1], 30)
    parts = rng.normal(0, 1, (60, 2)) + 0.5 * (2 * labels - 1)[:, None]
    manifest = Manifest(tuple(Sample(Path(f"{row}.png"), label) for row, label in enumerate(labels.tolist())))
    weights, report = judged_fusion(crops_of(parts), ("a", "b"), manifest, "fit", ())
    p = 1 / (1 + np.exp(-parts))
    areas = [auroc(labels, (1 - w) * p[:, 0] + w * p[:, 1]) for w in np.linspace(0, 1, STEPS + 1)]
    assert weights == (0.5, 0.5)
    assert report["fitted"] == {
        "n": 60,
        "auroc": pytest.approx(areas[STEPS // 2]),
        "best_auroc": pytest.approx(max(areas)),
    }
    assert report["fitted"]["auroc"] == report["auroc"]["fused"] < report["fitted"]["best_auroc"]
    given, report = judged_fusion(crops_of(parts), ("a", "b"), manifest, "weights", (0.25, 0.75))
    assert given == (0.25, 0.75)
    assert "fitted" not in report


def test_frames_of_a_video_do_not_make_the_standard_error_smaller():
    """Of sixty images and of ten copies of each the same weights can't be told from the best."""
    rng = np.random.default_rng(8)
    labels = np.repeat([0, 1], 30)
    parts = rng.normal(0, 1, (60, 2)) + np.outer(2 * labels - 1, [0.9, 0.3])
    single = fitted_weights(crops_of(parts), labels)
    frames, groups = np.repeat(parts, 10, axis=0), np.repeat([f"v{i}" for i in range(60)], 10).tolist()
    grouped = fitted_weights(crops_of(frames), np.repeat(labels, 10), groups)
    alone = fitted_weights(crops_of(frames), np.repeat(labels, 10))
    assert single.weights[0] == pytest.approx(grouped.weights[0], abs=0.101)
    assert alone.weights[0] > grouped.weights[0] + 0.1, "frames as if each were of its own"
    assert grouped.auroc == pytest.approx(single.auroc, abs=0.02)


def test_groups_of_one_image_change_nothing(monkeypatch):
    monkeypatch.setattr("tellsign.nn.fusion.differences", lambda *_, **__: pytest.fail("drawn"))
    rng = np.random.default_rng(8)
    labels = np.repeat([0, 1], 30)
    parts = rng.normal(0, 1, (60, 2)) + 0.5 * (2 * labels - 1)[:, None]
    own = [*(f"g{i}" for i in range(50)), *[""] * 10]
    assert fitted_weights(crops_of(parts), labels, own) == fitted_weights(crops_of(parts), labels)


def test_a_video_of_each_class_tells_no_weights_apart():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 20)
    parts = rng.normal(0, 1, (40, 2)) + np.outer(2 * labels - 1, [3, -3])
    assert fitted_weights(crops_of(parts), labels, ["a"] * 20 + ["b"] * 20).weights == (0.5, 0.5)


def test_a_branch_that_harms_beyond_chance_loses_its_weight():
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], 200)
    knows = rng.normal(0, 1, 400) + 1.5 * (2 * labels - 1)
    harms = -3 * (2 * labels - 1) + rng.normal(0, 1, 400)
    found = fitted_weights(crops_of(np.stack([knows, harms], axis=1)), labels)
    assert found.weights[0] >= 0.9


def test_crops_are_fused_before_they_are_averaged():
    crops = CropScores(np.array([[8.0, -8.0], [-8.0, 8.0], [1.0, 1.0]]), np.array([0, 0, 1]), np.arange(2))
    scores = image_means(fused_scores(crops.parts, "weights", (0.5, 0.5)), crops.image)
    assert np.allclose(scores, [0, 1])
    assert np.allclose(image_means(np.array([1.0, 2.0, 6.0]), np.array([1, 0, 1])), [2, 3.5])


@pytest.mark.parametrize("labels", [np.zeros(4, int), np.ones(4, int)])
def test_one_class_cannot_fit_weights(labels):
    with pytest.raises(ManifestError, match="fitted on both classes, found 4 images with labels"):
        fitted_weights(crops_of(np.zeros((4, 2))), labels)


def test_one_image_of_a_class_tells_no_weights_apart():
    parts = np.array([[0.0, 5.0], [1.0, -5.0], [2.0, -4.0]])
    assert fitted_weights(crops_of(parts), np.array([0, 1, 1])).weights == (0.5, 0.5)


def test_scores_that_are_not_finite_cannot_fit_weights():
    with pytest.raises(ManifestError, match="not finite"):
        fitted_weights(crops_of([[0.0, math.nan], *[[1.0, 1.0]] * 3]), np.array([0, 0, 1, 1]))


def test_too_many_branches_for_a_grid():
    with pytest.raises(ConfigError, match="8 branches can't be fitted by a grid, 7 at most"):
        fitted_weights(crops_of(np.zeros((4, 8))), np.array([0, 0, 1, 1]))
