"""Adversarial training: what is attacked and how much, what it leaves alone, and that it helps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tellsign.engine.config import TrainingConfig
from tellsign.engine.losses import adversarial, cross_entropy, focal, training_loss
from tellsign.engine.scores import arithmetic
from tellsign.types import FAKE
from trainings import Tiny, options, same, splits, trained

pytestmark = pytest.mark.usefixtures("one_torch_thread")

EPS = 0.03
SIDE = 8


class Linear(nn.Module):
    """The logit of fake is w · x, that of real 0, so that the sign of the gradient is known."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, SIDE, SIDE, generator=generator))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        fake = (images * self.weight).sum(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(fake), fake], dim=1)


class Noted(nn.Module):
    """A network that keeps what it was shown in training mode."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seen = network, []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append((self.training, images.detach().clone()))
        return self.network(images)


def batch(n=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, SIDE, SIDE, generator=generator), torch.arange(n) % 2


def shown(n=8, seed=0, eps=EPS):
    """A batch, and what the loss made the network learn from."""
    network = Noted(Linear())
    images, labels = batch(n)
    torch.manual_seed(seed)
    adversarial(cross_entropy, eps)(network, images, labels)
    (learnt,) = [images for training, images in network.seen if training]
    return network, images, labels, learnt


def test_half_of_the_batch_goes_along_the_sign_of_the_gradient():
    network, images, labels, learnt = shown()
    moved = (learnt != images).flatten(1).any(dim=1)
    assert moved.sum() == 4
    assert torch.equal(learnt[~moved], images[~moved])
    # The cross-entropy of a fake falls with w · x, that of a real rises.
    sign = network.network.weight.detach().sign()
    for before, after, label in zip(images[moved], learnt[moved], labels[moved], strict=True):
        step = (after - before) * (-sign if label == FAKE else sign)
        free = (after > 0) & (after < 1)
        assert float(step[free].min()) == pytest.approx(float(step[free].max()), abs=1e-6)
        assert 0 < step[free].max() <= EPS
        assert step.min() >= 0


def test_sizes_differ_and_fill_the_range():
    sizes = []
    for seed in range(60):
        _, images, _, learnt = shown(seed=seed)
        change = (learnt - images).abs().flatten(1).amax(dim=1)
        sizes += change[change > 0].tolist()
    found = torch.tensor(sizes) / EPS
    assert 0.95 < found.max() <= 1 + 1e-5
    # The mean of |N(0, 1/2)| up to 1 is 0.5 √(2/π) (1 - e^-2) / erf(√2).
    assert float(found.mean()) == pytest.approx(0.3614, abs=0.04)


def test_an_odd_batch_is_attacked_by_half_on_average():
    counts = []
    for seed in range(200):
        _, images, _, learnt = shown(n=3, seed=seed)
        counts.append(int((learnt != images).flatten(1).any(dim=1).sum()))
    assert set(counts) == {1, 2}
    assert 60 < counts.count(1) < 140


def test_a_single_image_is_attacked_now_and_then():
    moved = [bool((shown(n=1, seed=seed)[3] != batch(1)[0]).any()) for seed in range(40)]
    assert 5 < sum(moved) < 35


def test_pixels_stay_in_their_range():
    _, images, _, learnt = shown(eps=1.0)
    assert (learnt != images).any()
    assert learnt.min() >= 0
    assert learnt.max() <= 1


def test_the_state_of_pytorch_decides():
    first, again, other = (shown(seed=seed)[3] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_attack_leaves_network_and_images_as_they_were():
    network, (images, labels) = Tiny(norm=True), batch()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    kept, modes = images.clone(), [part.training for part in network.modules()]
    loss = adversarial(lambda model, images, labels: (images.sum(dim=(1, 2, 3)), {}), EPS)
    losses, _ = loss(network, images, labels)
    assert torch.equal(images, kept)
    assert not images.requires_grad
    assert not losses.requires_grad, "the attack's graph reaches what is learnt from"
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert [part.training for part in network.modules()] == modes


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_gradients_are_those_of_the_images_that_were_shown(precision):
    network = Noted(Tiny(dropout=0))
    images, labels = batch()
    with arithmetic(torch.device("cpu"), precision):
        losses, _ = adversarial(focal, EPS)(network, images, labels)
    losses.sum().backward()
    found = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    (learnt,) = [images for training, images in network.seen if training]
    network.zero_grad()
    with arithmetic(torch.device("cpu"), precision):
        focal(network, learnt, labels)[0].sum().backward()
    assert losses.dtype == torch.float32
    for name, parameter in network.named_parameters():
        assert torch.equal(found[name], parameter.grad), name


def test_off_is_off():
    config = TrainingConfig()
    assert training_loss(focal, Tiny(), config) is focal
    assert "adversarial_eps" not in config.decisive()
    assert TrainingConfig(adversarial_eps=0.01).decisive()["adversarial_eps"] == 0.01


# what it is for


def subtle(n, seed):
    """Fakes have a checkerboard of ± 0.002, which tells all of them; and are brighter, which tells most."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    sign = (2.0 * labels - 1)[:, None, None, None]
    board = (-1.0) ** (torch.arange(SIDE)[:, None] + torch.arange(SIDE))
    light = 0.5 + 0.06 * sign + 0.04 * torch.randn(n, 1, 1, 1, generator=generator)
    noise = 0.002 * torch.randn(n, 3, SIDE, SIDE, generator=generator)
    return (light + 0.002 * sign * board + noise).clamp(0, 1), labels


class Board(nn.Module):
    """Logits of an affine function of the image, whose checkerboard it sees two hundred times as well."""

    def __init__(self) -> None:
        super().__init__()
        board = (-1.0) ** (torch.arange(SIDE)[:, None] + torch.arange(SIDE))
        self.register_buffer("filters", torch.stack([200 * board, torch.ones(SIDE, SIDE)]) / SIDE**2)
        self.last = nn.Linear(2, 2)
        nn.init.zeros_(self.last.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(torch.einsum("bhw,khw->bk", images.mean(dim=1) - 0.5, self.filters))


def accuracies(loss):
    """Of a network trained by a loss: on images as they are, and under FGSM."""
    torch.manual_seed(0)
    network = Board()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
    for step in range(150):
        images, labels = subtle(64, seed=step)
        optimiser.zero_grad()
        loss(network, images, labels)[0].mean().backward()
        optimiser.step()
    images, labels = subtle(400, seed=10_000)
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(network, images, labels)[0].sum(), images)
    attacked = (images + EPS * gradient.sign()).clamp(0, 1)
    return tuple(
        float((network(shown).argmax(dim=1) == labels).float().mean()) for shown in (images, attacked)
    )


def test_it_holds_under_the_attack():
    plain, hardened = accuracies(cross_entropy), accuracies(adversarial(cross_entropy, EPS))
    assert plain[0] > 0.9
    assert hardened[0] > 0.85
    assert hardened[1] > plain[1] + 0.3


def test_a_run_that_is_ended_goes_on_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr("tellsign.engine.recorder.write_curves", lambda run, journal: None)
    splits(tmp_path)
    config = options(adversarial_eps=0.05, checkpoint_seconds=0.0)
    whole, _ = trained(tmp_path, tmp_path / "whole", config)

    class Ended(BaseException):
        pass

    calls = 0

    def ends(model, images, labels):
        nonlocal calls
        calls += 1
        if calls == 8:
            raise Ended
        return cross_entropy(model, images, labels)

    with pytest.raises(Ended):
        trained(tmp_path, tmp_path / "ended", config, loss=ends)
    resumed, _ = trained(tmp_path, tmp_path / "ended", config, model=Tiny(seed=5))
    plain, _ = trained(tmp_path, tmp_path / "plain", options())
    assert same(resumed) == same(whole)
    assert same(plain) != same(whole)
