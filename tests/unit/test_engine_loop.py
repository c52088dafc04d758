"""The training loop: what it computes, what stops it, and that it goes on where it was ended."""

from __future__ import annotations

import csv
import json
import math
import shutil
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from pictures import natural, save
from tellsign.data import Manifest
from tellsign.data.augment import augmented
from tellsign.engine import classifier, loop
from tellsign.engine.checkpoint import weights_digest
from tellsign.engine.config import TrainingConfig
from tellsign.engine.losses import balanced_loss, cross_entropy, epoch_order
from tellsign.engine.schedule import learning_rate
from tellsign.engine.scores import network_scores
from tellsign.engine.step import new_optimiser
from tellsign.image import decode
from tellsign.types import ConfigError, ManifestError
from trainings import VIEW, Tiny, options, same, splits, trained

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(autouse=True)
def one_picture(monkeypatch):
    """That of the module's own run is enough."""
    monkeypatch.setattr("tellsign.engine.recorder.write_curves", lambda run, journal: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    splits(folder)
    return folder


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """An uninterrupted run of three epochs."""
    return trained(data, tmp_path_factory.mktemp("whole") / "run", options(epochs=3))


def test_it_computes_what_a_bare_loop_does(data, tmp_path):
    training, _ = splits(data)
    _, model = trained(data, tmp_path / "run", options(epochs=1, clip_norm=0.05), model=Tiny(dropout=0))
    bare = Tiny(dropout=0)
    optimiser = torch.optim.Adam(bare.parameters(), lr=0.01, foreach=False)
    order = epoch_order(training.labels, "plain", seed=3, epoch=0)
    for first in range(0, len(order), 4):
        images, labels = [], []
        for place in range(first, min(first + 4, len(order))):
            sample = training[int(order[place])]
            rng = np.random.default_rng([3, 0, place])
            images.append(torch.from_numpy(augmented(decode(sample.path).array, VIEW, rng)))
            labels.append(sample.label)
        loss = torch.nn.functional.cross_entropy(bare(torch.stack(images)), torch.tensor(labels))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(bare.parameters(), 0.05)
        optimiser.step()
    for name, weight in bare.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, atol=1e-5, rtol=1e-4)
        assert not torch.equal(weight, Tiny(dropout=0).state_dict()[name])


def test_the_best_epoch_is_given_back_and_measured_on_validation(data, whole):
    result, model = whole
    _, valid = splits(data)
    best = max(result.history, key=lambda row: (row["valid_auroc"], -row["valid_loss"]))
    assert result.best["epoch"] == best["epoch"]
    assert weights_digest(model) == best["weights"]
    scores, _ = network_scores(model, valid, VIEW.network_input())
    losses = [math.log1p(math.exp(-s if label else s)) for s, label in zip(scores, valid.labels, strict=True)]
    assert result.best["loss"] == pytest.approx(np.mean(losses), abs=1e-6)
    right = [(s >= 0) == label for s, label in zip(scores, valid.labels, strict=True)]
    assert result.best["accuracy"] == pytest.approx(np.mean(right))


def test_it_learns(data, tmp_path):
    result, _ = trained(data, tmp_path / "run", options(epochs=15, learning_rate=0.03))
    assert result.history[-1]["loss"] < 0.5 * result.history[0]["loss"]
    assert result.best["auroc"] > 0.9


def test_the_seed_decides(data, whole, tmp_path):
    again, _ = trained(data, tmp_path / "again", options(epochs=3))
    assert same(again) == same(whole[0])
    other, _ = trained(data, tmp_path / "other", options(epochs=3), seed=4)
    assert same(other) != same(whole[0])


@pytest.fixture(scope="module")
def unequal(data):
    """Splits of which the training has 11 reals and 3 fakes."""
    training, valid = splits(data)
    fakes = [sample for sample in training if sample.label][:3]
    return Manifest((*training.filter(label=0), *fakes)), valid


class Killed(BaseException):
    """Ends a run as a kill does: nobody expects it."""


@pytest.mark.parametrize("step", [0, 1, 6, 13])
@pytest.mark.parametrize("seconds", [0.0, 1e6])
def test_a_run_that_is_ended_anywhere_goes_on(data, whole, tmp_path, step, seconds):
    """With a checkpoint after every step, and with that before the first alone."""
    calls = 0

    def loss(model, images, labels):
        nonlocal calls
        calls += 1
        if calls == step + 1:
            raise Killed
        return cross_entropy(model, images, labels)

    config = options(epochs=3, checkpoint_seconds=seconds)
    with pytest.raises(Killed):
        trained(data, tmp_path / "run", config, loss=loss)
    calls = -1000
    said = []
    result, model = trained(data, tmp_path / "run", config, loss=loss, say=said.append, model=Tiny(seed=99))
    assert same(result) == same(whole[0])
    assert weights_digest(model) == weights_digest(whole[1])
    assert any(f"after step {step % 6 if seconds == 0 else 0} of 6" in line for line in said)
    assert calls + 1000 == 18 - (step if seconds == 0 else 0)


@pytest.mark.parametrize(
    "more",
    [
        {"precision": "bf16"},
        {"channels_last": True},
        {"optimiser": "adamw", "weight_decay": 0.1, "schedule": "cosine", "clip_norm": 1.0},
        {"balance": "focal"},
        {"balance": "weighted"},
        {"balance": "over"},
        {"balance": "under"},
    ],
    ids=str,
)
def test_every_option_changes_and_resumes(unequal, tmp_path, more):
    """On 11 reals and 3 fakes."""
    config = options(epochs=2, checkpoint_seconds=0.0, **more)

    def run(name, config, **others):
        known = {"run": tmp_path / name, "seed": 3, "identity": {"detector": "tiny"}}
        return classifier.train_network(Tiny(norm=True), *unequal, VIEW, config, **known, **others)

    straight = run("straight", config)
    calls = 0

    def seen(model, images, labels):
        nonlocal calls
        calls += 1
        if calls == n_steps + 1:
            raise Killed
        return balanced(model, images, labels)

    balanced = balanced_loss(config.balance, unequal[0].labels)
    n_images = {"over": 22, "under": 6}.get(config.balance, 14)
    n_steps = -(-n_images // 4)
    with pytest.raises(Killed):
        run("run", config, loss=seen)
    resumed = run("run", config, loss=seen)
    assert calls == 2 * n_steps + 1
    assert same(resumed) == same(straight)
    assert [row["n"] for row in straight.history] == [n_images] * 2
    plain = run("plain", options(epochs=2))
    # Of the layout alone, which changes no number beyond its last digits, nothing need be seen.
    assert "channels_last" in more or same(plain) != same(straight)


def test_mixed_precision_keeps_weights_in_float32(data, tmp_path):
    seen = []

    def loss(model, images, labels):
        seen.append(model(images).dtype)
        return cross_entropy(model, images, labels)

    _, model = trained(data, tmp_path / "run", options(epochs=1, precision="bf16"), loss=loss)
    assert set(seen) == {torch.bfloat16}
    assert {weight.dtype for weight in model.state_dict().values()} == {torch.float32}


def test_a_finished_run_is_not_trained_again(data, whole):
    result, model = whole

    def never(model, images, labels):
        raise AssertionError

    fresh = Tiny(seed=5)
    again, _ = trained(data, result.run, options(epochs=3), loss=never, model=fresh)
    assert (again.best, again.history) == (result.best, result.history)
    assert weights_digest(fresh) == weights_digest(model)
    assert not (result.run / "checkpoints").exists()


def test_it_stops_early(data, tmp_path):
    said = []
    config = options(epochs=50, learning_rate=1e-12, patience=2)
    result, _ = trained(data, tmp_path / "run", config, say=said.append)
    # Weights of almost the same loss: whatever is best at first, two epochs without better ones end it.
    assert len(result.history) == result.best["epoch"] + 2 < 50
    assert said[-1].startswith("stopped: 2 epochs brought nothing better")


def test_the_record(data, whole):
    result, _ = whole
    run = result.run
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows if row["event"] == "epoch"] == ["1", "2", "3"]
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in result.history]
    log = json.loads((run / "log.json").read_text())
    assert log["epochs"] == list(result.history)
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    begun = json.loads((run / "run.json").read_text())
    assert begun["identity"]["training"]["learning_rate"] == 0.01
    assert begun["identity"]["data"]["train"] == splits(data)[0].digest()
    assert begun["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    # Those on which the weights don't depend too.
    assert begun["options"] == asdict(options(epochs=3))
    assert {"workers", "checkpoint_seconds"} <= begun["options"].keys() - begun["identity"]["training"].keys()
    assert 0 <= result.waiting <= 1


def test_progress_is_told(data, tmp_path, monkeypatch):
    monkeypatch.setattr("tellsign.engine.recorder.SAY_SECONDS", 0.0)
    said = []
    trained(data, tmp_path / "run", options(epochs=1), say=said.append)
    first = said[0]
    for part in ("epoch 1 of 1, step 1 of 6", "loss ", "images/s", " left", "% waiting for images"):
        assert part in first
    assert "validation: AUROC" in said[-1]


def test_the_callers_random_state_is_left_alone(data, tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    trained(data, tmp_path / "run", options(epochs=1))
    assert torch.equal(torch.rand(1), expected)


def test_a_loss_that_is_not_finite_is_named(data, tmp_path):
    training, _ = splits(data)
    order = epoch_order(training.labels, "plain", seed=3, epoch=1)
    calls = 0

    def loss(model, images, labels):
        nonlocal calls
        calls += 1
        losses, figures = cross_entropy(model, images, labels)
        bad = torch.tensor([False, calls == 8, False, False][: len(labels)])
        return torch.where(bad, math.nan, losses), figures

    config = options(epochs=2, checkpoint_seconds=0.0)
    with pytest.raises(ConfigError, match=r"the loss is nan at epoch 2, step 2 of 6, for the rows") as found:
        trained(data, tmp_path / "run", config, loss=loss)
    row = int(order[5])
    assert f"{row} ('{training[row].path}')" in str(found.value)
    result, _ = trained(data, tmp_path / "run", config, loss=loss)  # the last checkpoint is usable
    assert len(result.history) == 2


def test_where_no_image_has_a_finite_loss_none_is_blamed(data, tmp_path):
    def loss(model, images, labels):
        losses, figures = cross_entropy(model, images, labels)
        return losses * math.nan, figures

    with pytest.raises(
        ConfigError, match=r"is nan at epoch 1, step 1 of 6, for each of its 4 images"
    ) as found:
        trained(data, tmp_path / "run", options(), loss=loss)
    assert ".png" not in str(found.value)


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_touches_no_weight(data, tmp_path, clip_norm):
    model, calls = Tiny(dropout=0), 0

    def loss(model, images, labels):
        nonlocal calls
        calls += 1
        losses, figures = cross_entropy(model, images, labels)
        if calls == 3:
            losses = losses + (model.last.bias[0] * 0).sqrt()
        return losses, figures

    config = options(epochs=1, checkpoint_seconds=0.0, clip_norm=clip_norm)
    with pytest.raises(
        ConfigError, match=r"the gradient is (nan|inf) at epoch 1, step 3 of 6, where"
    ) as found:
        trained(data, tmp_path / "run", config, loss=loss, model=model)
    assert ".png" not in str(found.value)
    assert all(torch.isfinite(weight).all() for weight in model.state_dict().values())
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["00000-00000001", "00000-00000002"]
    assert trained(data, tmp_path / "run", config, loss=loss)[0].history, "it goes on from there"


def test_weights_that_are_not_finite_are_never_kept(data, tmp_path):
    model, steps = Tiny(dropout=0), 0

    def loss(model, images, labels):
        nonlocal steps
        steps += 1
        found = cross_entropy(model, images, labels)
        if steps == 3:
            model.norm.weight = torch.nn.Parameter(torch.tensor(math.nan))  # which nothing is computed from
        return found

    config = options(epochs=1, checkpoint_seconds=0.0)
    with pytest.raises(ConfigError, match=r"norm\.weight is not finite after epoch 1, step 3"):
        trained(data, tmp_path / "run", config, loss=loss, model=model)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["00000-00000001", "00000-00000002"]


def test_scores_that_are_not_finite_are_named_with_the_epoch(data, tmp_path):
    class Broken(Tiny):
        def forward(self, images):
            return super().forward(images) * (1 if self.training else math.nan)

    _, valid = splits(data)
    with pytest.raises(
        ConfigError, match=r"11 validation images are not finite at the end of epoch 1, the"
    ) as e:
        trained(data, tmp_path / "run", options(), model=Broken())
    assert f"row 0 ('{valid[0].path}')" in str(e.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_out_of_memory(data, whole, tmp_path, error):
    calls = 0

    def loss(model, images, labels):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise error
        return cross_entropy(model, images, labels)

    config = options(epochs=3, checkpoint_seconds=0.0)
    with pytest.raises(ConfigError, match=r"out of memory with batch_size = 4.* is whole"):
        trained(data, tmp_path / "run", config, loss=loss)
    assert same(trained(data, tmp_path / "run", config)[0]) == same(whole[0])


def test_out_of_memory_before_there_is_a_checkpoint(data, tmp_path):
    class Large(Tiny):
        def to(self, *args, **kwargs):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(
        ConfigError, match=r"out of memory with batch_size = 4 .*: there is no checkpoint yet\."
    ):
        trained(data, tmp_path / "run", options(), model=Large())


def test_another_error_stays_what_it_is(data, tmp_path):
    def loss(model, images, labels):
        raise RuntimeError("a mistake of the loss")

    with pytest.raises(RuntimeError, match="a mistake of the loss"):
        trained(data, tmp_path / "run", options(), loss=loss)


def test_another_training_is_refused(data, tmp_path):
    run = tmp_path / "run"
    trained(data, run, options(epochs=1))
    with pytest.raises(ConfigError, match=r"detector was 'tiny' and is 'other'"):
        trained(data, run, options(epochs=1), identity={"detector": "other"})
    with pytest.raises(ConfigError, match=r"training\.batch_size was 4 and is 8; training\.epochs was 1"):
        trained(data, run, options(epochs=2, batch_size=8))
    with pytest.raises(ConfigError, match=r"seed was 3 and is 4"):
        trained(data, run, options(epochs=1), seed=4)
    training, valid = splits(data)
    turned = Manifest(training.samples[::-1])
    with pytest.raises(ConfigError, match=r"data\.rows was"):
        classifier.train_network(
            Tiny(), turned, valid, VIEW, options(epochs=1), run=run, seed=3, identity={"detector": "tiny"}
        )
    # What the weights do not depend on may change.
    trained(data, run, options(epochs=1, workers=1, checkpoint_seconds=5, on_bad="skip", max_bad=3))


def test_another_version_is_refused(data, tmp_path, monkeypatch):
    trained(data, tmp_path / "run", options(epochs=1))
    monkeypatch.setattr("tellsign.engine.folder.__version__", "99.0")
    with pytest.raises(ConfigError, match=r"tellsign was '.*' and is '99.0'"):
        trained(data, tmp_path / "run", options(epochs=1))


@pytest.mark.parametrize("finished", [True, False])
def test_another_class_count_is_refused(data, tmp_path, finished):
    def loss(model, images, labels):
        raise Killed

    if finished:
        trained(data, tmp_path / "run", options(epochs=1))
    else:
        with pytest.raises(Killed):
            trained(data, tmp_path / "run", options(epochs=1), loss=loss)
    with pytest.raises(ConfigError, match=r"last\.weight is \(2, 8\) there and \(3, 8\) in this one"):
        trained(data, tmp_path / "run", options(epochs=1), model=Tiny(classes=3))


def test_what_another_training_has_left_is_refused_and_stays(data, tmp_path):
    """Also where its run.json did not come along, and only the shapes of the weights are the same."""

    def loss(model, images, labels):
        raise Killed

    for name, seed in (("one", 3), ("other", 4)):
        with pytest.raises(Killed):
            trained(data, tmp_path / name, options(epochs=1), loss=loss, seed=seed)
    shutil.rmtree(tmp_path / "other" / "checkpoints")
    (tmp_path / "one" / "checkpoints").rename(tmp_path / "other" / "checkpoints")
    with pytest.raises(ConfigError, match=r"checkpoints/00000-00000000 is of another training"):
        trained(data, tmp_path / "other", options(epochs=1), seed=4)
    (tmp_path / "other" / "checkpoints").rename(tmp_path / "one" / "checkpoints")
    result, _ = trained(data, tmp_path / "one", options(epochs=1))
    (result.run / "run.json").unlink()
    with pytest.raises(ConfigError, match=r"a training that is done, and run\.json is missing"):
        trained(data, result.run, options(epochs=1), seed=5)


def test_a_damaged_run_file(data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(ConfigError, match=r"run\.json is damaged"):
        trained(data, tmp_path / "run", options(epochs=1))


def test_a_class_is_missing(data, tmp_path):
    training, valid = splits(data)
    for one, other, name in (
        (training.filter(label=0), valid, "training"),
        (training, valid[:0], "validation"),
    ):
        with pytest.raises(ManifestError, match=f"the {name} split needs reals and fakes"):
            classifier.train_network(
                Tiny(), one, other, VIEW, options(), run=tmp_path / "r", seed=0, identity={}
            )
    assert not (tmp_path / "r").exists()


def test_an_identity_is_plain(data, tmp_path):
    with pytest.raises(ConfigError, match="plain values"):
        trained(data, tmp_path / "run", options(), identity={"detector": object()})


@pytest.fixture
def with_bad(tmp_path):
    """A data set with a corrupt training image and a corrupt validation image."""
    folder = tmp_path / "bad"
    for part in splits(folder):
        part[3].path.write_bytes(b"no image")
    return folder


def test_bad_images_stop_a_run(with_bad, tmp_path):
    training, valid = splits(with_bad)
    with pytest.raises(ManifestError, match=r"0003\.png"):
        trained(with_bad, tmp_path / "run", options())
    save(natural(3, 20, 20), training[3].path)
    with pytest.raises(ManifestError, match=r"1 validation images can't be used, the first is .*0003\.png"):
        trained(with_bad, tmp_path / "run", options())
    save(natural(4, 20, 20), valid[3].path)
    assert len(trained(with_bad, tmp_path / "run", options())[0].history) == 2


def test_bad_images_are_left_out_and_logged(with_bad, tmp_path):
    said = []
    config = options(on_bad="skip", max_bad=2)
    result, _ = trained(with_bad, tmp_path / "run", config, say=said.append)
    assert [(row["split"], row["row"]) for row in result.skipped] == [("train", 3), ("valid", 3)]
    assert [row["n"] for row in result.history] == [21, 21]
    assert sum(line.startswith("left out at epoch 1, step") for line in said) == 1
    assert sum(line.startswith("left out at the end of epoch 1") for line in said) == 1
    with (tmp_path / "run" / "log.csv").open() as file:
        notes = [row["note"] for row in csv.DictReader(file) if row["event"] == "skipped"]
    assert len(notes) == 2
    assert all("0003.png" in note for note in notes)


def test_the_learning_rate_of_an_epoch_is_that_of_its_last_step(data, tmp_path, monkeypatch):
    """Also where a run was ended between that step and the validation."""
    config = options(epochs=2, schedule="cosine", checkpoint_seconds=0.0)
    straight, _ = trained(data, tmp_path / "straight", config)
    expected = [learning_rate(config, steps, 6) for steps in (5, 11)]
    assert [row["learning_rate"] for row in straight.history] == expected

    def killed(*args, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(classifier, "validated", killed)
        with pytest.raises(Killed):
            trained(data, tmp_path / "run", config)
    resumed, _ = trained(data, tmp_path / "run", config)
    assert same(resumed) == same(straight)


@pytest.mark.parametrize("cache", [None, "shared"])
def test_decoded_images_are_kept_where_it_is_asked_for(data, tmp_path, cache):
    where = cache and tmp_path / cache
    trained(data, tmp_path / "a" / "run", options(epochs=1, cache=True), cache=where)
    found = where or tmp_path / "a" / "cache"
    n_files = sum(path.is_file() for path in found.rglob("*"))
    assert n_files == sum(map(len, splits(data)))
    trained(data, tmp_path / "b" / "run", options(epochs=1, cache=True), cache=where)
    assert sum(path.is_file() for path in found.rglob("*")) == n_files
    assert (tmp_path / "b" / "cache").exists() == (cache is None)
    trained(data, tmp_path / "c" / "run", options(epochs=1), cache=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_validation_is_none_of_the_time_in_which_images_are_learnt_from(data, tmp_path, monkeypatch):
    original = classifier.validated

    def slow(*args, **options):
        time.sleep(0.3)
        return original(*args, **options)

    monkeypatch.setattr(classifier, "validated", slow)
    (row,) = trained(data, tmp_path / "run", options(epochs=1, checkpoint_seconds=0.0))[0].history
    assert row["seconds"] - row["training_seconds"] >= 0.3
    assert row["images_per_second"] == pytest.approx(row["n"] / row["training_seconds"])


def test_a_result_that_is_damaged(data, tmp_path):
    result, _ = trained(data, tmp_path / "run", options(epochs=1))
    (result.run / "result.json").write_text("{")
    with pytest.raises(ConfigError, match=r"result.json is damaged .*another folder, or remove this one"):
        trained(data, tmp_path / "run", options(epochs=1))


def test_checkpoints_stay_until_the_result_can_be_read(data, tmp_path, monkeypatch):
    """As where the disk loses the file between its writing and the next command."""
    run = tmp_path / "run"

    def damaged(result):
        (result.run / "result.json").write_text("{")

    with monkeypatch.context() as patch:
        patch.setattr("tellsign.engine.recorder.write_result", damaged)
        for _ in range(2):
            with pytest.raises(
                ConfigError, match=r"damaged .*Remove it, and .* goes on from the last checkpoint"
            ):
                trained(data, run, options(epochs=1, checkpoint_seconds=0.0))
    (run / "result.json").unlink()
    result, _ = trained(data, run, options(epochs=1, checkpoint_seconds=0.0))
    assert len(result.history) == 1
    assert not (run / "checkpoints").exists()


def test_too_many_bad_images(with_bad, tmp_path):
    with pytest.raises(ManifestError, match=r"2 images can't be used, and max_bad is 1"):
        trained(with_bad, tmp_path / "run", options(on_bad="skip", max_bad=1))
    # One more is allowed: the run goes on.
    assert trained(with_bad, tmp_path / "run", options(on_bad="skip", max_bad=2))[0].history


def test_nothing_to_train(data, tmp_path):
    with pytest.raises(ConfigError, match="no parameter that is trained"):
        trained(data, tmp_path / "run", options(), model=Tiny().requires_grad_(False))


def test_no_gpu(data, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="PyTorch finds no GPU"):
        trained(data, tmp_path / "run", options(device="cuda"))


def test_learning_rates():
    config = TrainingConfig(epochs=4, schedule="cosine", learning_rate=2.0)
    rates = [learning_rate(config, step, 10) for step in range(40)]
    assert rates[:3] == [1.0, 2.0, 2.0]  # 5 % of 40 steps rise
    assert rates[2 + 19] == pytest.approx(1.0)  # half way down
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.01
    assert learning_rate(TrainingConfig(learning_rate=0.5), 7, 10) == 0.5


@pytest.mark.parametrize(("epochs", "first"), [(1, None), (2, 1), (4, 2), (5, 3)])
def test_a_rate_that_falls_to_a_tenth(epochs, first):
    """From the first epoch on that begins at half of them or later."""
    config = TrainingConfig(epochs=epochs, schedule="step", learning_rate=0.5)
    rates = [learning_rate(config, step, 7) for step in range(7 * epochs)]
    n_whole = 7 * (epochs if first is None else first)
    assert rates == [0.5] * n_whole + [0.05] * (7 * epochs - n_whole)
    assert learning_rate(config, 7 * epochs - 1, 7, highest=2.0) == (2.0 if first is None else 0.2)


def test_two_optimisers_train_one_classifier(data, tmp_path):
    """Each its part, at its own rate; a part without any stays as it was."""
    config = options(epochs=1, learning_rate=0.02)

    def run(name, parts):
        model = Tiny()

        def optimisers():
            return {
                part: new_optimiser(getattr(model, part), replace(config, **more))
                for part, more in parts.items()
            }

        result, _ = trained(data, tmp_path / name, config, model=model, optimisers=optimisers)
        return result, {name for name, at_first in Tiny().state_dict().items()
                        if not torch.equal(at_first, model.state_dict()[name])}  # fmt: skip

    result, moved = run("two", {"first": {}, "last": {"optimiser": "sgd", "learning_rate": 0.1}})
    assert moved == {"first.weight", "first.bias", "last.weight", "last.bias"}
    assert (result.history[0]["learning_rate_first"], result.history[0]["learning_rate_last"]) == (0.02, 0.1)
    assert run("one", {"last": {}})[1] == {"last.weight", "last.bias"}


def test_step_seeds_differ():
    seeds = {
        loop.step_seed(seed, epoch, step, rank)
        for seed in range(3)
        for epoch in range(3)
        for step in range(3)
        for rank in range(3)
    }
    assert len(seeds) == 81
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(("precision", "n"), [("bf16", 1), ("float32", 0)])
def test_a_precision_that_the_processor_emulates_is_said_once(data, tmp_path, monkeypatch, precision, n):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    said = []
    trained(data, tmp_path / "run", options(epochs=2, precision=precision), say=said.append)
    assert sum("no instructions for bf16" in text for text in said) == n
