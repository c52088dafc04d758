"""FGSM, PGD and Auto-PGD where the answer is known, and what every attack along the gradient promises."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

from tellsign.perturb.attacks import parse  # noqa: E402
from tellsign.perturb.attacks.gradient import apgd_ce, checkpoints, fgsm, pgd  # noqa: E402
from tellsign.perturb.attacks.score import streams  # noqa: E402
from tellsign.types import ConfigError  # noqa: E402
from victims import Linear, Wrapped, network, pictures, scores_of  # noqa: E402

TEXTS = ("fgsm:0.03", "pgd:0.03,steps=10", "apgd:0.03,steps=20", "square:0.03,queries=50")
LABELS = np.array([0, 1, 1, 0, 1])
KEYS = ["a", "b", "c", "d", "e"]


def best_corner(module, images, labels, eps):
    """(B, 3, H, W) the optimum on a linear detector: against the weights for fakes, along them for reals."""
    direction = np.where(labels == 1, -1.0, 1.0)[:, None, None, None] * np.sign(module.weights.numpy())
    return np.clip(images.astype(np.float64) + eps * direction, 0, 1)


@pytest.mark.parametrize(
    "text", ["fgsm:0.03", "pgd:0.03", "pgd:0.03,steps=3,restarts=2", "apgd:0.03,steps=40"]
)
def test_the_corner_against_the_weights_is_found(text):
    module, images = Linear(), pictures(5)
    found = parse(f"{text},quantise=no").run(module, images, LABELS, threshold=0.0, seed=1, keys=KEYS)
    expected = best_corner(module, images, LABELS, 0.03)
    tolerance = 2e-7 if text != "apgd:0.03,steps=40" else 1e-3
    if text.startswith("apgd"):
        # Its momentum comes near the corner and may not touch it.
        scores = (scores_of(module, found) - scores_of(module, expected)) * np.where(LABELS == 1, 1, -1)
        assert (scores < tolerance * 0.03 * np.abs(module.weights.numpy()).sum()).all()
    else:
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_the_margin_falls_by_eps_times_the_weights():
    """Away from the limits of [0, 1] by eps |w|₁, at them by less."""
    module, eps = Linear(), 0.02
    images = 0.3 + 0.4 * pictures(5)
    found = parse("fgsm:0.02,quantise=no").run(module, images, LABELS, threshold=0.7, seed=0)
    change = (scores_of(module, found) - scores_of(module, images)) * np.where(LABELS == 1, -1, 1)
    np.testing.assert_allclose(change, eps * np.abs(module.weights.numpy()).sum(), rtol=1e-5)
    images = pictures(5)
    found = parse("fgsm:0.02,quantise=no").run(module, images, LABELS, threshold=0.7, seed=0)
    less = (scores_of(module, found) - scores_of(module, images)) * np.where(LABELS == 1, -1, 1)
    assert (less < change - 1e-3).all()


@pytest.mark.parametrize("text", TEXTS)
def test_changes_stay_within_eps_and_pixels_within_0_and_1(text):
    module, images = network(), pictures(5)
    kept = images.copy()
    for quantise in ("yes", "no"):
        attack = parse(f"{text},quantise={quantise}")
        found = attack.run(module, images, LABELS, threshold=0.0, seed=0, keys=KEYS)
        assert found.dtype == np.float32
        assert found.shape == images.shape
        assert np.abs(found.astype(np.float64) - images).max() <= 0.03 + 1e-6
        assert found.min() >= 0
        assert found.max() <= 1
        assert (found != images).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(images, kept)


@pytest.mark.parametrize("text", TEXTS)
def test_an_image_gets_the_same_alone_in_company_and_in_any_order(text):
    module, images, attack = network(), pictures(5), parse(f"{text},quantise=no")
    together = attack.run(module, images, LABELS, threshold=0.0, seed=0, keys=KEYS)
    order = [3, 0, 4, 2, 1]
    mixed = attack.run(
        module, images[order], LABELS[order], threshold=0.0, seed=0, keys=[KEYS[i] for i in order]
    )
    np.testing.assert_array_equal(mixed, together[order])
    alone = attack.run(module, images[2:3], LABELS[2:3], threshold=0.0, seed=0, keys=KEYS[2:3])
    np.testing.assert_array_equal(alone, together[2:3])
    batch = attack.run(module, images, LABELS, threshold=0.0, seed=0, keys=KEYS, batch_size=5)
    np.testing.assert_allclose(scores_of(module, batch), scores_of(module, together), rtol=1e-6)


@pytest.mark.parametrize("text", TEXTS[1:])
def test_chance_comes_from_seed_and_key(text):
    module, images, attack = network(), pictures(5), parse(f"{text},quantise=no")

    def found(seed, keys):
        return attack.run(module, images, LABELS, threshold=0.0, seed=seed, keys=keys)

    first = found(0, KEYS)
    np.testing.assert_array_equal(found(0, KEYS), first)
    assert (found(1, KEYS) != first).any()
    assert (found(0, KEYS[::-1]) != first).any()
    np.testing.assert_array_equal(found(0, None), found(0, None))  # keyed by the pixels


def test_the_module_keeps_its_weights_gradients_and_mode():
    module = network()
    before = [parameter.clone() for parameter in module.parameters()]
    for text in TEXTS:
        parse(text).run(module, pictures(2), LABELS[:2], threshold=0.0, seed=0)
    for parameter, old in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert parameter.grad is None


def test_auto_pgd_finds_at_least_what_pgd_finds():
    better = []
    for seed in range(3):
        module, images, labels = network(seed), pictures(4, seed), np.arange(4) % 2
        threshold = float(np.median(scores_of(module, images)))
        margins = {}
        for text in ("pgd:0.1,steps=30,quantise=no", "apgd:0.1,steps=30,quantise=no"):
            found = parse(text).run(module, images, labels, threshold=threshold, seed=0, batch_size=4)
            margins[text] = np.where(labels == 1, 1, -1) * (scores_of(module, found) - threshold)
        pgd_margin, apgd_margin = margins.values()
        better.append(apgd_margin - pgd_margin)
    spread = np.abs(np.concatenate(better)).max()
    assert np.mean(better) <= 0
    assert spread > 0  # they are not the same attack


def test_restarts_and_steps_only_help():
    module, images = network(3), pictures(5)
    x, y = torch.from_numpy(images).double(), torch.from_numpy(LABELS)

    def margin(function, **options):
        return function(module, x, y, eps=0.1, threshold=0.0, rngs=streams(0, KEYS), **options).margin

    for function in (pgd, apgd_ce):
        once = margin(function, steps=2)
        assert (margin(function, steps=2, restarts=4) <= once).all()
        assert margin(function, steps=40).mean() < once.mean()


def test_traces_start_at_the_image_and_report_each_step():
    module, images = network(), pictures(5)
    x, y = torch.from_numpy(images).double(), torch.from_numpy(LABELS)
    found = pgd(module, x, y, eps=0.02, threshold=0.1, steps=7)
    assert found.trace.shape == (8, 5)
    clean = np.where(LABELS == 1, 1, -1) * (scores_of(module, images) - 0.1)
    np.testing.assert_allclose(found.trace[0], clean, rtol=1e-12)
    np.testing.assert_allclose(found.trace.min(axis=0), found.margin.numpy(), rtol=1e-12)
    step = fgsm(module, x, y, eps=0.02, threshold=0.1)
    assert step.trace.shape == (2, 5)
    np.testing.assert_array_equal(step.trace[1], step.margin.numpy())
    auto = apgd_ce(module, x, y, eps=0.02, threshold=0.1, steps=7, rngs=streams(0, KEYS))
    assert auto.trace.shape == (8, 5)


def test_a_score_far_from_the_threshold_still_has_a_direction():
    """The gradient of cross-entropy is exp(-10,000) there, which is 0 in floating point."""
    module, images = Wrapped(lambda score: 10_000 + score), pictures(5)
    labels = np.ones(5, dtype=int)
    found = parse("fgsm:0.03,quantise=no").run(module, images, labels, threshold=0.0, seed=0)
    np.testing.assert_allclose(found, best_corner(module.inner, images, labels, 0.03), atol=2e-7)


@pytest.mark.parametrize("text", TEXTS[:3])
def test_a_gradient_that_is_nan_is_named(text):
    module = Wrapped(lambda score: torch.where(score < 1e9, 0 * torch.sqrt(score - score), score))
    with pytest.raises(
        ConfigError, match=r"gradient is NaN or infinite for 1 of 1 images, the first in row 0"
    ):
        parse(text).run(module, pictures(2), np.array([0, 1]), threshold=0.0, seed=0)


@pytest.mark.parametrize("text", TEXTS)
def test_a_score_that_is_nan_is_named(text):
    module = Wrapped(lambda score: score * torch.nan)
    with pytest.raises(ConfigError, match="score is NaN"):
        parse(text).run(module, pictures(2), np.array([0, 1]), threshold=0.0, seed=0)


@pytest.mark.parametrize("text", TEXTS[:3])
@pytest.mark.parametrize(
    "function",
    [lambda score: score.detach(), lambda score: torch.ones_like(score.detach(), requires_grad=True)],
)
def test_a_module_that_leaves_pytorch_is_named(text, function):
    with pytest.raises(ConfigError, match="no gradient"):
        parse(text).run(Wrapped(function), pictures(2), np.array([0, 1]), threshold=0.0, seed=0)


def test_the_black_box_takes_what_the_others_refuse():
    module = Wrapped(lambda score: score.detach())
    images = pictures(2)
    found = parse("square:0.03,queries=20").run(module, images, np.array([0, 1]), threshold=0.0, seed=0)
    assert (found != images).any(axis=(1, 2, 3)).all()


def test_wrong_targets_are_refused():
    images, labels = pictures(2), np.array([0, 1])
    with pytest.raises(ConfigError, match="the target is a function, no PyTorch module"):
        parse("pgd:0.1").run(lambda x: x.mean(axis=(1, 2, 3)), images, labels, threshold=0.0, seed=0)
    for text in ("pgd:0.1", "square:0.1"):
        with pytest.raises(ConfigError, match="training mode"):
            parse(text).run(network().train(), images, labels, threshold=0.0, seed=0)
    with pytest.raises(ConfigError, match="one score an image"):
        parse("fgsm:0.1").run(network(outputs=2), images, labels, threshold=0.0, seed=0)


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (fgsm, {"eps": 1.1}),
        (pgd, {"eps": -0.1}),
        (pgd, {"eps": 0.1, "steps": 0}),
        (pgd, {"eps": 0.1, "step": 0.0}),
        (pgd, {"eps": 0.1, "restarts": 0}),
        (apgd_ce, {"eps": float("nan"), "rngs": []}),
        (apgd_ce, {"eps": 0.1, "rngs": [], "steps": 0}),
    ],
)
def test_options_out_of_range_are_refused(function, options):
    x = torch.from_numpy(pictures(1)).double()
    with pytest.raises(ConfigError):
        function(Linear(), x, torch.tensor([1]), threshold=0.0, **options)


def test_checkpoints_come_closer_to_each_other():
    """By hand from the paper's recurrence: 0.22, + 0.19, + 0.16, + 0.13, + 0.10, + 0.07, then + 0.06."""
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(10) == [3, 5, 6, 7, 8, 9, 10]
    assert checkpoints(1) == [1]


def test_a_module_in_float32_is_attacked_in_float32():
    module, images = Linear(dtype=torch.float32), pictures(3)
    seen = []
    module.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].dtype))
    found = parse("pgd:0.03,quantise=no").run(module, images, LABELS[:3], threshold=0.0, seed=0)
    np.testing.assert_allclose(found, best_corner(module, images, LABELS[:3], 0.03), atol=2e-7)
    assert set(seen) == {torch.float32}
