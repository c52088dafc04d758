"""Losses and orders: the five answers to unequal classes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tellsign.engine import losses
from tellsign.types import ConfigError, ManifestError

LABELS = [1] * 17 + [0] * 5


class Fixed(torch.nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, images):
        return self.logits


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 2, generator=generator)
    return Fixed(logits), torch.zeros(6, 3, 4, 4), torch.tensor([0, 1, 1, 0, 1, 0])


def test_cross_entropy(batch):
    found, figures = losses.cross_entropy(*batch)
    torch.testing.assert_close(found.mean(), cross_entropy(batch[0].logits, batch[2]))
    assert figures == {}


def test_cross_entropy_of_half_precision_is_float32(batch):
    model, images, labels = batch
    found, _ = losses.cross_entropy(Fixed(model.logits.bfloat16()), images, labels)
    assert found.dtype == torch.float32


def test_focal_by_the_equation(batch):
    model, images, labels = batch
    found, _ = losses.focal(model, images, labels)
    p = torch.softmax(model.logits.double(), dim=1)[torch.arange(6), labels]
    torch.testing.assert_close(found.double(), -((1 - p) ** 2) * p.log(), atol=1e-6, rtol=1e-5)


def test_focal_where_the_network_is_sure():
    logits = torch.tensor([[0.0, 12.0]], requires_grad=True)
    found, _ = losses.focal(Fixed(logits), torch.zeros(1), torch.tensor([1]))
    q = 1 / (1 + np.exp(12.0))
    assert found.item() == pytest.approx(q**2 * -np.log1p(-q), rel=1e-3)
    found.sum().backward()
    assert logits.grad.isfinite().all()


def test_weights_make_the_classes_equal(batch):
    model, images, labels = batch
    loss = losses.weighted(LABELS)
    found, _ = loss(model, images, labels)
    weight = torch.tensor([22 / 10, 22 / 34])
    torch.testing.assert_close(found, cross_entropy(model.logits, labels, weight=weight, reduction="none"))
    assert float(weight[torch.tensor(LABELS)].mean()) == pytest.approx(1)


def test_the_loss_of_a_strategy():
    assert losses.balanced_loss("focal", LABELS) is losses.focal
    assert {losses.balanced_loss(name, LABELS) for name in ("plain", "over", "under")} == {
        losses.cross_entropy
    }


@pytest.mark.parametrize("balance", ["plain", "weighted", "focal"])
def test_each_sample_is_seen_once(balance):
    order = losses.epoch_order(LABELS, balance, seed=1, epoch=2)
    assert sorted(order.tolist()) == list(range(22))
    assert order.tolist() != list(range(22))


@pytest.mark.parametrize("labels", [LABELS, [1 - label for label in LABELS], [0, 1], [0] * 4 + [1] * 8])
def test_over_sampling(labels):
    counts = Counter(losses.epoch_order(labels, "over", seed=1, epoch=0).tolist())
    smaller = int(2 * sum(labels) < len(labels))
    larger = [counts[row] for row, label in enumerate(labels) if label != smaller]
    fewer = [counts[row] for row, label in enumerate(labels) if label == smaller]
    assert set(larger) == {1}
    assert sum(fewer) == sum(larger)
    assert max(fewer) - min(fewer) <= 1


def test_under_sampling():
    orders = [losses.epoch_order(LABELS, "under", seed=1, epoch=epoch).tolist() for epoch in range(30)]
    for order in orders:
        assert len(set(order)) == 10
        assert {17, 18, 19, 20, 21} < set(order)
    assert set().union(*orders) == set(range(22)), "every fake has its turn"


@pytest.mark.parametrize("balance", ["plain", "over", "under"])
def test_the_order_follows_from_seed_and_epoch(balance):
    def order(seed, epoch):
        return losses.epoch_order(LABELS, balance, seed=seed, epoch=epoch).tolist()

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in range(4) for epoch in range(4)}) == 16
    assert len(order(1, 2)) == losses.epoch_length(LABELS, balance)


def test_the_stream_is_apart_from_that_of_the_samples():
    """default_rng([seed, epoch]) begins as default_rng([seed, epoch, 0]), which is a sample's."""
    order = losses.epoch_order(LABELS, "plain", seed=1, epoch=2)
    assert order.tolist() != np.random.default_rng([1, 2, 0]).permutation(22).tolist()


def test_what_is_refused():
    with pytest.raises(ManifestError, match="both classes, found 3 samples of one"):
        losses.epoch_order([1, 1, 1], "plain", seed=0, epoch=0)
    with pytest.raises(ConfigError, match="not negative"):
        losses.epoch_order(LABELS, "plain", seed=-1, epoch=0)
