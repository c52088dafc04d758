"""Training on real images alone: what is shown and measured, what is refused, and that it goes on."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from pictures import natural, save
from tellsign.data import Manifest
from tellsign.engine.checkpoint import weights_digest
from tellsign.engine.losses import epoch_order
from tellsign.engine.reals import image_order, require_reals
from tellsign.image import decode
from tellsign.types import ConfigError, ManifestError
from trainings import SIDE, Restorer, options, restored, same, splits

pytestmark = pytest.mark.usefixtures("one_torch_thread", "no_curves")


@pytest.fixture(scope="module")
def reals(tmp_path_factory):
    training, valid = splits(tmp_path_factory.mktemp("data"))
    return training.filter(label=0), valid.filter(label=0)


def test_it_learns_to_restore_and_is_measured_on_the_middle_of_validation_images(reals, tmp_path):
    result, model = restored(tmp_path / "run", reals, options(epochs=6, learning_rate=0.02), times=3)
    assert result.history[-1]["valid_psnr"] > result.history[0]["valid_psnr"] + 3
    assert result.best["psnr"] == max(row["valid_psnr"] for row in result.history)
    assert [row["n"] for row in result.history] == [33] * 6
    assert result.history[0]["l1"] == pytest.approx(result.history[0]["loss"])
    errors = []
    for sample in reals[1]:
        image = torch.from_numpy(decode(sample.path).array)
        top, left = ((length - SIDE) // 2 for length in image.shape[1:])
        crop = image[None, :, top : top + SIDE, left : left + SIDE]
        with torch.no_grad():
            errors.append(float((model(crop) - crop).square().mean()))
    assert result.best["error"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert result.best["psnr"] == pytest.approx(np.mean([-10 * math.log10(e) for e in errors]), rel=1e-5)


def test_the_lowest_may_choose(reals, tmp_path):
    """Of what rises, so that it is not the last epoch."""
    config = options(epochs=3, learning_rate=0.02)
    result, model = restored(tmp_path / "run", reals, config, best={"psnr": "lowest"})
    assert result.best["epoch"] == 1
    assert result.best["psnr"] < result.history[-1]["valid_psnr"]
    assert weights_digest(model) == result.history[0]["weights"]


def test_a_run_that_is_ended_goes_on(reals, tmp_path):
    class Ended(BaseException):
        pass

    calls = 0

    def ends(network, batch):
        nonlocal calls
        calls += 1
        if calls == 5:
            raise Ended
        return (network(batch.images) - batch.images).square().mean(dim=(1, 2, 3)), {}

    config = options(checkpoint_seconds=0.0, optimiser="sgd", schedule="step", learning_rate=0.1)
    with pytest.raises(Ended):
        restored(tmp_path / "run", reals, config, losses=ends)
    resumed, _ = restored(tmp_path / "run", reals, config, losses=ends, model=Restorer(seed=7))
    straight, _ = restored(tmp_path / "straight", reals, config, losses=ends)
    assert same(resumed) == same(straight)
    assert calls == 1 + 2 * 6
    with pytest.raises(ConfigError, match=r"view\.times was 1 and is 2"):
        restored(tmp_path / "run", reals, config, losses=ends, times=2)


def test_each_image_is_shown_as_often_as_asked():
    orders = [image_order(5, times=3, seed=1, epoch=epoch) for epoch in range(4)]
    for order in orders:
        assert np.bincount(order).tolist() == [3] * 5
    assert all((one != other).any() for one, other in pairwise(orders))
    assert (orders[0] == image_order(5, times=3, seed=1, epoch=0)).all()
    assert (image_order(4, seed=1, epoch=0) == epoch_order([0, 1, 0, 1], "plain", seed=1, epoch=0)).all()
    with pytest.raises(ConfigError, match="not negative"):
        image_order(4, seed=-1, epoch=0)


def test_fakes_are_refused(reals, tmp_path):
    training, valid = reals
    fake = splits(training[0].path.parents[1])[0].filter(label=1)[0]
    with pytest.raises(ManifestError, match="training split is of real images alone, found 1 fakes among 12"):
        restored(tmp_path / "run", (Manifest((*training, fake)), valid), options())
    with pytest.raises(ManifestError, match="the validation split is of real images alone, found no image"):
        restored(tmp_path / "run", (training, valid[:0]), options())
    assert not (tmp_path / "run").exists()
    require_reals(training, "this")


@pytest.mark.parametrize(
    "wrong", [{"balance": "weighted"}, {"adversarial_eps": 0.1}, {"attention_weight": 1.0}], ids=str
)
def test_options_of_classifiers_are_refused(reals, tmp_path, wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is of classifiers alone"):
        restored(tmp_path / "run", reals, options(**wrong))


def test_bad_images_are_left_out_or_stop_it(tmp_path):
    training, valid = (part.filter(label=0) for part in splits(tmp_path))
    for sample in (training[2], valid[1]):
        sample.path.write_bytes(b"no image")
    with pytest.raises(ManifestError, match="can't be trained on"):
        restored(tmp_path / "run", (training, valid), options())
    config = options(on_bad="skip", max_bad=2)
    result, _ = restored(tmp_path / "run", (training, valid), config)
    assert [(row["split"], row["row"]) for row in result.skipped] == [("train", 2), ("valid", 1)]
    assert [row["n"] for row in result.history] == [10, 10]
    save(natural(3, 20, 20), training[2].path)
    with pytest.raises(ManifestError, match=r"1 validation images can't be used, the first is"):
        restored(tmp_path / "other", (training, valid), options())
    for sample in valid:
        sample.path.write_bytes(b"no image")
    with pytest.raises(
        ManifestError, match=r"none of \d validation images could be used at the end of epoch"
    ):
        restored(tmp_path / "none", (training, valid), options(on_bad="skip", max_bad=20))


def test_values_that_are_not_finite_are_named(reals, tmp_path):
    with pytest.raises(ConfigError, match=r"of 6 validation images are not finite at the end of epoch 1"):
        restored(
            tmp_path / "run", reals, options(), values=lambda crops: torch.full((len(crops), 2), math.nan)
        )
