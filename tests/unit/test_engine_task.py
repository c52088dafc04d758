"""The loop with what is no classifier: two networks with two optimisers, with a measure and without one."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tellsign.data.augment import augmented
from tellsign.engine import checkpoint
from tellsign.engine.classifier import new_loader
from tellsign.engine.distributed import Process, require_alone
from tellsign.engine.loop import train
from tellsign.engine.reals import image_order
from tellsign.engine.step import new_optimiser, training_step
from tellsign.engine.task import Measured, Step, Task
from tellsign.image import decode
from tellsign.nn.weights import read_tensors
from tellsign.types import ConfigError
from trainings import SIDE, VIEW, options, same, splits

pytestmark = pytest.mark.usefixtures("one_torch_thread", "no_curves")

D_STEPS = 2  # of the discriminator to one of the generator
N_STEPS = 3  # of 11 reals: 4, 4 and 3
OPTIONS = {"epochs": 3, "batch_size": 2, "schedule": "step", "checkpoint_seconds": 0.0}


@pytest.fixture(scope="module")
def reals(tmp_path_factory):
    training, valid = splits(tmp_path_factory.mktemp("data"))
    return training.filter(label=0), valid.filter(label=0)


def pair(seed: int = 0) -> nn.ModuleDict:
    """One that draws pictures of noise (B, 4), and one that tells them from real ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.ModuleDict(
            {
                "generator": nn.Sequential(
                    nn.Linear(4, 48), nn.Unflatten(1, (3, 4, 4)), nn.Upsample(size=SIDE), nn.Sigmoid()
                ),
                "discriminator": nn.Sequential(
                    nn.Conv2d(3, 4, 4, stride=4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 1)
                ),
            }
        )


def part(batch, first, stop):
    """Some images of a batch, as a batch."""
    rows = batch.rows[first:stop]
    images, labels = batch.images[first:stop], batch.labels[first:stop]
    return replace(batch, images=images, labels=labels, rows=rows, n_global=len(rows))


class Ended(BaseException):
    """Ends a run as a kill does: nobody expects it."""


class Adversaries:
    """A small GAN, whose step may be disturbed."""

    def __init__(self, model, training, config, at, *, seed, disturb=lambda losses, number, who: losses):
        self.generator, self.discriminator = model["generator"], model["discriminator"]
        self.training, self.placed, self.seed = training, {"config": config, "at": at}, seed
        self.disturb = disturb
        self.calls = 0
        self.optimisers = {
            "generator": torch.optim.Adam(
                self.generator.parameters(), lr=0.02, betas=(0.5, 0.999), fused=True
            ),
            "discriminator": new_optimiser(
                self.discriminator, replace(config, optimiser="sgd", learning_rate=0.05)
            ),
        }

    def task(self, **more):
        config = self.placed["config"]
        return Task(
            loader=new_loader(self.training, VIEW, config, cache=None, seed=self.seed),
            optimisers=self.optimisers,
            batch_size=D_STEPS * config.batch_size,
            order=lambda epoch: image_order(len(self.training), seed=self.seed, epoch=epoch),
            step=self.step,
            **more,
        )

    def drawn(self, n):
        return self.generator(torch.randn(n, 4))

    def d_losses(self, network, batch):
        with torch.no_grad():
            drawn = self.drawn(len(batch.images))
        found = functional.softplus(-network(batch.images)) + functional.softplus(network(drawn))
        return self.disturb(found[:, 0], self.calls, "d"), {}

    def g_losses(self, network, batch):
        found = functional.softplus(-self.discriminator(network(torch.randn(len(batch.images), 4))))
        return self.disturb(found[:, 0], self.calls, "g"), {}

    def step(self, batch):
        self.calls += 1
        d_loss = n = 0
        for first in range(0, len(batch.rows), self.placed["config"].batch_size):
            images = part(batch, first, first + self.placed["config"].batch_size)
            found = training_step(
                self.discriminator, self.d_losses, images, [self.optimisers["discriminator"]], **self.placed
            )
            if not found.is_finite:
                return found
            n, d_loss = n + found.n, d_loss + found.loss
        found = training_step(
            self.generator, self.g_losses, batch, [self.optimisers["generator"]], **self.placed
        )
        if not found.is_finite:
            return found
        return Step(n, found.loss + d_loss, {"d_loss": d_loss, "g_loss": found.loss})


def trained(run, training, config=None, *, model=None, disturb=None, seed=3, say=print, **more):
    """The result, the networks, and the last task's maker."""
    config = config or options(**OPTIONS)
    model = model or pair()
    makers = []

    def new_task(at):
        makers.append(
            Adversaries(model, training, config, at, seed=seed, **({"disturb": disturb} if disturb else {}))
        )
        return makers[-1].task(**{name: value(makers[-1]) for name, value in more.items()})

    result = train(
        model,
        new_task,
        config,
        run=run,
        seed=seed,
        identity={"gan": "tiny"},
        data={"train": training},
        say=say,
    )
    return result, model, makers


@pytest.fixture(scope="module")
def whole(reals, tmp_path_factory):
    """An uninterrupted run."""
    return trained(tmp_path_factory.mktemp("whole") / "run", reals[0])


def ending(number, who):
    """A disturbance that ends the run in a step, before the one or the other learns."""

    def disturb(losses, calls, at_work):
        if (calls, at_work) == (number, who):
            raise Ended
        return losses

    return disturb


@pytest.mark.parametrize(
    ("number", "who", "seconds"),
    [(1, "d", 0.0), (3, "g", 0.0), (4, "d", 0.0), (8, "g", 0.0), (8, "d", 1e6)],
)
def test_a_run_that_is_ended_anywhere_goes_on(reals, whole, tmp_path, number, who, seconds):
    """Also between the steps of the two, of which the one that was made is made again."""
    config = options(**OPTIONS | {"checkpoint_seconds": seconds})
    with pytest.raises(Ended):
        trained(tmp_path / "run", reals[0], config, disturb=ending(number, who))
    result, model, _ = trained(tmp_path / "run", reals[0], config, model=pair(seed=9))
    assert same(result) == same(whole[0])
    assert checkpoint.weights_digest(model) == checkpoint.weights_digest(whole[1])


def test_both_networks_learn_by_their_own_optimiser(whole):
    result, model, makers = whole
    assert [row["n"] for row in result.history] == [11, 11, 11]
    for name, weight in pair().state_dict().items():
        assert not torch.equal(weight, model.state_dict()[name]), name
    states = makers[0].optimisers["discriminator"].state_dict()["state"]
    assert all(state["momentum_buffer"].abs().max() > 0 for state in states.values())
    assert len(makers) == 1


def test_the_figures_of_the_steps_are_recorded(whole):
    result, *_ = whole
    for row in result.history:
        assert row["loss"] == pytest.approx(row["d_loss"] + row["g_loss"])
        assert not [name for name in row if name.startswith("valid_")]
    log = json.loads((result.run / "log.json").read_text())
    assert [point[0] for point in log["figures"]["d_loss"]] == list(range(1, 3 * N_STEPS + 1))
    sums = np.add(*([value for _, value in log["figures"][name]] for name in ("d_loss", "g_loss")))
    assert sums == pytest.approx([value for _, value in log["points"]])
    with (result.run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert "valid_auroc" not in rows[0]
    assert [float(row["g_loss"]) for row in rows] == [row["g_loss"] for row in result.history]


def test_each_optimiser_has_its_own_rate_along_the_schedule(whole):
    result, _, makers = whole
    # Three epochs: a tenth from the third on, the first that begins behind their half.
    rates = [(row["learning_rate_generator"], row["learning_rate_discriminator"]) for row in result.history]
    assert rates == [(0.02, 0.05), (0.02, 0.05), (0.002, 0.005)]
    assert [row["learning_rate"] for row in result.history] == [0.02, 0.02, 0.002]
    assert makers[0].optimisers["discriminator"].param_groups[0]["lr"] == 0.005


def test_a_step_reaches_no_other_network(reals, tmp_path):
    """The generator's gradient goes through the discriminator, and none of it stays there."""
    seen = []

    def disturb(losses, calls, who):
        seen.append([None if p.grad is None else 1 for p in makers_model["discriminator"].parameters()])
        return losses

    makers_model = pair()
    trained(
        tmp_path / "run", reals[0], options(**OPTIONS | {"epochs": 1}), model=makers_model, disturb=disturb
    )
    assert len(seen) == 6 + N_STEPS
    assert all(entry is None for entries in seen for entry in entries)


# which epoch is the result


def test_without_a_measure_the_last_epoch_is_the_result(whole):
    result, model, _ = whole
    assert result.best == {"epoch": 3}
    assert checkpoint.weights_digest(model) == result.history[-1]["weights"]
    assert len({row["weights"] for row in result.history}) == 3
    kept = read_tensors(result.run / "best.safetensors")
    assert all(torch.equal(kept[name], weight) for name, weight in model.state_dict().items())


def test_what_is_done_is_not_made_again(reals, whole):
    again, model, makers = trained(whole[0].run, reals[0], model=pair(seed=5))
    assert not makers
    assert (again.best, again.history) == (whole[0].best, whole[0].history)
    assert checkpoint.weights_digest(model) == checkpoint.weights_digest(whole[1])


ERRORS = {"error": [3.0, 1.0, 2.0], "noise": [7.0, 7.0, 7.0]}


def by_epoch(values):
    """A measure that comes to given values, one an epoch."""
    return lambda maker: (
        lambda where: Measured({name: given[(maker.calls - 1) // N_STEPS] for name, given in values.items()})
    )


@pytest.mark.parametrize(
    ("best", "epoch"),
    [
        ({"error": "lowest"}, 2),
        ({"error": "highest"}, 1),
        ({"noise": "lowest"}, 1),
        ({"noise": "lowest", "error": "lowest"}, 2),
        ({}, 3),
    ],
    ids=str,
)
def test_what_is_measured_chooses_the_epoch(reals, tmp_path, best, epoch):
    said = []
    result, model, _ = trained(
        tmp_path / "run", reals[0], measured=by_epoch(ERRORS), best=lambda maker: best, say=said.append
    )
    assert result.best == {"epoch": epoch, "error": ERRORS["error"][epoch - 1], "noise": 7.0}
    assert checkpoint.weights_digest(model) == result.history[epoch - 1]["weights"]
    assert [row["valid_error"] for row in result.history] == ERRORS["error"]
    lines = [line for line in said if "validation: error" in line]
    assert len(lines) == 3
    assert any(", the best so far" in line for line in lines) == bool(best)
    assert "validation: error 3.0000, noise 7.0000" in lines[0]


def test_patience_counts_epochs_that_are_not_lower(reals, tmp_path):
    config = options(**OPTIONS | {"epochs": 9, "patience": 2})
    given = {"error": [3.0, 1.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]}
    result, *_ = trained(
        tmp_path / "run", reals[0], config, measured=by_epoch(given), best=lambda maker: {"error": "lowest"}
    )
    assert (result.best["epoch"], len(result.history)) == (2, 4)


def test_patience_without_a_measure_is_refused(reals, tmp_path):
    with pytest.raises(ConfigError, match="patience is 2, and nothing is measured here"):
        trained(tmp_path / "run", reals[0], options(**OPTIONS, patience=2))


def test_random_numbers_of_a_measure_are_those_of_a_run_without_a_break(reals, tmp_path):
    """Also where the run was ended between the last step of an epoch and the measure."""

    def drawing(ends):
        def measured(maker):
            def draw(where):
                if ends and maker.calls == 2 * N_STEPS:
                    raise Ended
                return Measured({"mean": float(maker.drawn(2).detach().mean())})

            return draw

        return measured

    best = {"best": lambda maker: {"mean": "lowest"}}
    straight, *_ = trained(tmp_path / "straight", reals[0], measured=drawing(False), **best)
    with pytest.raises(Ended):
        trained(tmp_path / "run", reals[0], measured=drawing(True), **best)
    resumed, *_ = trained(tmp_path / "run", reals[0], measured=drawing(False), **best)
    assert same(resumed) == same(straight)
    assert len({row["valid_mean"] for row in straight.history}) == 3


# what stops it


@pytest.mark.parametrize("who", ["d", "g"])
def test_a_loss_that_is_not_finite_is_named_and_changes_no_weight(reals, whole, tmp_path, who):
    spoilt = [5]

    def disturb(losses, calls, at_work):
        if (calls, at_work) == (spoilt[0], who):
            return torch.cat([losses[:1] * math.nan, losses[1:]])
        return losses

    model = pair()
    with pytest.raises(ConfigError, match=r"the loss is nan at epoch 2, step 2 of 3, for the rows") as found:
        trained(tmp_path / "run", reals[0], model=model, disturb=disturb)
    rows = image_order(len(reals[0]), seed=3, epoch=1)[4:8].tolist()
    assert str(reals[0][rows[0]].path) in str(found.value)
    assert all(torch.isfinite(weight).all() for weight in model.state_dict().values())
    spoilt[0] = 0
    assert same(trained(tmp_path / "run", reals[0], disturb=disturb)[0]) == same(whole[0])


def test_a_gradient_that_is_not_finite_stops_it(reals, tmp_path):
    model = pair()

    def disturb(losses, calls, who):
        # Its value is 0, and its slope is not.
        return losses + (0 * model["generator"][0].bias[0]).sqrt() if (calls, who) == (2, "g") else losses

    before = {name: weight.clone() for name, weight in model["generator"].state_dict().items()}
    with pytest.raises(ConfigError, match=r"the gradient is (nan|inf) at epoch 1, step 2 of 3"):
        trained(tmp_path / "run", reals[0], model=model, disturb=disturb)
    assert all(torch.isfinite(weight).all() for weight in model.state_dict().values())
    assert not torch.equal(before["0.weight"], model["generator"][0].weight), "the first step was made"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_measure_that_is_not_finite_stops_it(reals, tmp_path, value):
    measured = by_epoch({"psnr": [20.0, value, 20.0]})
    with pytest.raises(ConfigError, match=rf"PSNR is {value} at the end of epoch 2: .* is from before"):
        trained(tmp_path / "run", reals[0], measured=measured, best=lambda maker: {"psnr": "highest"})
    (newest, *_) = sorted((tmp_path / "run" / "checkpoints").iterdir(), reverse=True)
    assert newest.name == "00001-00000006", "of the last step, before the measure"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), r"out of memory with batch_size = 2 .* is whole"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), r"No space left on device\): .* is whole"),
    ],
    ids=["memory", "disk"],
)
def test_what_the_machine_lacks_costs_a_step_and_no_more(reals, whole, tmp_path, monkeypatch, error, message):
    fails = [True]

    def disturb(losses, calls, who):
        if (calls, who) == (5, "g") and fails[0]:
            if isinstance(error, RuntimeError):
                raise error
            monkeypatch.setattr(checkpoint, "write_file", full)
        return losses

    def full(*args, **more):
        raise error

    with pytest.raises(ConfigError, match=message):
        trained(tmp_path / "run", reals[0], disturb=disturb)
    monkeypatch.undo()
    fails[0] = False
    assert same(trained(tmp_path / "run", reals[0], disturb=disturb)[0]) == same(whole[0])


def test_several_processes_are_refused_where_one_can_train():
    with pytest.raises(ConfigError, match="a GAN is trained by one process, found 2 of torchrun"):
        require_alone(Process(torch.device("cpu"), 0, 2), "a GAN")
    require_alone(Process(torch.device("cpu")), "a GAN")


# what it computes


def test_sgd_computes_what_a_bare_loop_does(reals, tmp_path):
    """With momentum, weight decay, and a tenth of the rate from half of the epochs on."""
    training, _ = reals
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 1))
    nn.init.zeros_(network[1].weight)
    bare = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 1))
    bare.load_state_dict(network.state_dict())
    config = options(
        epochs=2, batch_size=4, optimiser="sgd", learning_rate=1e-3, weight_decay=0.1, schedule="step"
    )

    def losses(network, batch):
        return (network(batch.images)[:, 0] - 1).square(), {}

    def new_task(at):
        optimiser = new_optimiser(network, config)
        return Task(
            loader=new_loader(training, VIEW, config, cache=None, seed=3),
            optimisers={"network": optimiser},
            batch_size=4,
            order=lambda epoch: image_order(len(training), seed=3, epoch=epoch),
            step=lambda batch: training_step(network, losses, batch, [optimiser], config=config, at=at),
        )

    data = {"train": training}
    train(network, new_task, config, run=tmp_path / "run", seed=3, identity={}, data=data)
    speed = {name: torch.zeros_like(weight) for name, weight in bare.named_parameters()}
    for epoch, rate in enumerate((1e-3, 1e-4)):
        order = image_order(len(training), seed=3, epoch=epoch).tolist()
        for first in range(0, len(order), 4):
            images = torch.stack(
                [
                    torch.from_numpy(
                        augmented(
                            decode(training[row].path).array, VIEW, np.random.default_rng([3, epoch, place])
                        )
                    )
                    for place, row in enumerate(order[first : first + 4], start=first)
                ]
            )
            bare.zero_grad()
            (bare(images)[:, 0] - 1).square().mean().backward()
            with torch.no_grad():
                for name, weight in bare.named_parameters():
                    speed[name] = 0.9 * speed[name] + weight.grad + 0.1 * weight
                    weight.sub_(rate * speed[name])
    for name, weight in bare.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], weight, atol=1e-6, rtol=1e-4)
    assert network[1].weight.abs().max() > 1e-4
