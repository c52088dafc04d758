"""The attacks against a slow loop from the papers' formulas, and against the Adversarial Robustness Toolbox.

The toolbox attacks two logits: [0, s] has the cross-entropy of our one score s at the threshold 0.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

from tellsign.perturb.attacks.gradient import apgd_ce, fgsm, pgd  # noqa: E402
from tellsign.perturb.attacks.score import module_score, streams  # noqa: E402
from tellsign.perturb.attacks.square import square  # noqa: E402
from victims import network, pictures, scores_of  # noqa: E402

EPS, STEPS, STEP, N = 0.05, 12, 0.003, 6
LABELS = np.arange(N) % 2


class TwoLogits(torch.nn.Module):
    """[0, s], in float32 as the toolbox gives its images."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, images):
        score = self.module(images.double())
        return torch.stack([torch.zeros_like(score), score], dim=1)


def tensors(images):
    return torch.from_numpy(images).double(), torch.from_numpy(LABELS)


def margin_of(module, images):
    return np.where(LABELS == 1, 1, -1) * scores_of(module, images)


def slow_pgd(module, images, steps, step):
    """Image by image, pixel by pixel: x ← clip to eps and to [0, 1] of x + step sign(∇ cross-entropy)."""
    out = []
    for image, label in zip(images.astype(np.float64), LABELS, strict=True):
        x = torch.from_numpy(image.copy())
        for _ in range(steps):
            x.requires_grad_()
            logit = module(x[None])[0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                logit, torch.tensor(float(label)).double()
            )
            loss.backward()
            moved = [
                max(0.0, o - EPS, min(1.0, o + EPS, p + step * math.copysign(1, g) * (g != 0)))
                for p, g, o in zip(
                    x.detach().flatten().tolist(), x.grad.flatten().tolist(), image.flat, strict=True
                )
            ]
            x = torch.tensor(moved, dtype=torch.float64).reshape(image.shape)
        out.append(x.numpy())
    return np.stack(out)


def test_pgd_is_the_slow_loop():
    module, images = network(1), pictures(N)
    x, y = tensors(images)
    found = pgd(module, x, y, eps=EPS, threshold=0.0, steps=STEPS, step=STEP)
    # The loop returns the last image and `pgd` the best: here the loss rises at every step.
    assert (np.diff(found.trace, axis=0) < 0).all()
    np.testing.assert_allclose(found.images.numpy(), slow_pgd(module, images, STEPS, STEP), atol=1e-12)


def test_fgsm_is_one_step_of_the_slow_loop():
    module, images = network(1), pictures(N)
    x, y = tensors(images)
    found = fgsm(module, x, y, eps=EPS, threshold=0.0).images.numpy()
    np.testing.assert_allclose(found, slow_pgd(module, images, 1, EPS), atol=1e-12)


@pytest.fixture(scope="module")
def toolbox():
    """(the toolbox's classifier, its attacks, our module)."""
    pytest.importorskip("art.estimators")
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    module = network(1)
    classifier = PyTorchClassifier(
        model=TwoLogits(module),
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=(3, 8, 8),
        nb_classes=2,
        clip_values=(0, 1),
        device_type="cpu",
    )
    return classifier, evasion, module


def test_fgsm_is_that_of_the_toolbox(toolbox):
    classifier, evasion, module = toolbox
    images = pictures(N)
    x, y = tensors(images)
    expected = evasion.FastGradientMethod(classifier, eps=EPS).generate(images, LABELS)
    found = fgsm(module, x, y, eps=EPS, threshold=0.0).images.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_pgd_is_that_of_the_toolbox(toolbox):
    classifier, evasion, module = toolbox
    images = pictures(N)
    x, y = tensors(images)
    reference = evasion.ProjectedGradientDescent(
        classifier, eps=EPS, eps_step=STEP, max_iter=STEPS, num_random_init=0, verbose=False
    )
    found = pgd(module, x, y, eps=EPS, threshold=0.0, steps=STEPS, step=STEP).images.numpy()
    np.testing.assert_allclose(found, reference.generate(images, LABELS), atol=1e-6)


def test_auto_pgd_is_as_strong_as_that_of_the_toolbox(toolbox):
    classifier, evasion, module = toolbox
    images = pictures(N)
    x, y = tensors(images)
    np.random.seed(0)  # noqa: NPY002, the toolbox draws its starts there
    reference = evasion.AutoProjectedGradientDescent(
        classifier,
        norm=np.inf,
        eps=EPS,
        eps_step=2 * EPS,
        max_iter=40,
        nb_random_init=1,
        loss_type="cross_entropy",
        verbose=False,
    ).generate(images, LABELS)
    found = apgd_ce(
        module, x, y, eps=EPS, threshold=0.0, steps=40, rngs=streams(0, [str(i) for i in range(N)])
    )
    clean, theirs = margin_of(module, images), margin_of(module, reference)
    ours = margin_of(module, found.images.numpy())
    assert (ours < clean).all()
    assert (ours <= theirs + 0.02 * (clean - theirs)).all()


def test_square_is_as_strong_as_that_of_the_toolbox(toolbox):
    """A random search: on average, with as many queries."""
    classifier, evasion, module = toolbox
    images = pictures(N)
    np.random.seed(0)  # noqa: NPY002, the toolbox draws its squares there
    reference = evasion.SquareAttack(
        classifier, norm=np.inf, eps=EPS, max_iter=150, p_init=0.8, verbose=False
    ).generate(images, LABELS)
    _, ours = square(
        module_score(module),
        images,
        LABELS,
        eps=EPS,
        threshold=0.0,
        queries=150,
        rngs=streams(0, [str(i) for i in range(N)]),
    )
    # The toolbox stops at images whose decision is wrong.
    assert (
        ours.mean() <= margin_of(module, reference).mean() + 0.05 * np.abs(margin_of(module, images)).mean()
    )
