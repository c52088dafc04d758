"""Re-synthesis as a system: its three phases, what `fit` writes, what runs it, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnxscript")
from safetensors.torch import save_file  # noqa: E402

from pictures import write_split_dataset  # noqa: E402
from resynthesis_tiny import TRAINING, images, network, residuals, vgg  # noqa: E402
from resynthesis_tiny import config as tiny  # noqa: E402
from tellsign import artifacts, detectors  # noqa: E402
from tellsign.card import trained_card  # noqa: E402
from tellsign.data import read  # noqa: E402
from tellsign.data.left_out import LeftOut  # noqa: E402
from tellsign.engine import loop  # noqa: E402
from tellsign.features.residual import downsampled  # noqa: E402
from tellsign.image import decode  # noqa: E402
from tellsign.nn.fusion import fused_scores  # noqa: E402
from tellsign.systems.resynthesis import training  # noqa: E402
from tellsign.systems.resynthesis.config import ResynthesisConfig  # noqa: E402
from tellsign.systems.resynthesis.joint import Joint, joint_loss, trained_together  # noqa: E402
from tellsign.systems.resynthesis.model import Resynthesis  # noqa: E402
from tellsign.systems.resynthesis.reconstruction import (  # noqa: E402
    QUALITY,
    real_quality,
    reconstruction_losses,
    restored_quality,
    trained_resynthesiser,
    turned,
)
from tellsign.systems.resynthesis.system import ResynthesisSystem, trained  # noqa: E402
from tellsign.types import ConfigError, ManifestError, TooSmallError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_split_dataset(folder, train=6, valid=4, size=60)
    return read(folder / "manifest.csv")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with the first stage of a VGG-19 that nobody has trained."""
    file = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    save_file(vgg(1).stages.state_dict(), file)
    return str(file)


def with_stage(weights, **options):
    """Pixels and the first stage, both in the loss and in the score."""
    own = {
        "stages": (0, 1),
        "perceptual": {"network": "vgg19", "weights": weights},
        "reconstruction": {"loss_weights": [1, 0.1, 0, 0, 0, 0]},
    }
    return tiny(**(own | options))


def parts(manifest):
    return manifest.filter(split="train"), manifest.filter(split="valid")


def reals(manifest):
    return tuple(part.filter(label=0) for part in parts(manifest))


@pytest.fixture(scope="module")
def folder(manifest, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("detectors") / "d"
    options = {"joint": {"epochs": 1}, "degradation": "noise"}
    return ResynthesisSystem(with_stage(weights, **options)).fit(*parts(manifest), out=out, seed=0)


# the whole


def test_the_detector_scores_as_its_network_does(folder, manifest):
    system, artifact = ResynthesisSystem(), artifacts.load(folder)
    detector, module, made = detectors.from_artifact(artifact), system.module(folder), system.network(folder)
    for sample in parts(manifest)[1][:2]:
        image = decode(sample.path).array
        inputs = {name: array[None] for name, array in detector.preprocess(image).items()}
        scores, own = detector.scores_and_parts(inputs)
        with torch.inference_mode():
            found = made(torch.from_numpy(inputs["crops"][0]))
            whole = float(module(torch.from_numpy(image)[None]))
        assert scores[0] == pytest.approx(float(found["score"]), abs=1e-4)
        assert scores[0] == pytest.approx(whole, abs=1e-4)
        assert list(own) == ["pixel", "stage1"]
        np.testing.assert_allclose([own[name][0] for name in own], found["parts"][0], atol=1e-4)


def test_the_artifact_says_which_perceptual_network_was_used(folder):
    spec = artifacts.load(folder).spec
    assert spec["perceptual"].startswith("VGG-19, sha256:")
    assert set(spec["phases"]) == {"reconstruction", "classifiers", "joint"}
    assert {*QUALITY} < {*spec["phases"]["reconstruction"]}
    assert set(spec["phases"]["classifiers"]) == {"pixel", "stage1"}
    assert set(spec["fusion"]["auroc"]) == {"pixel", "stage1", "fused"}
    counted = {"n": 2, "by_dataset": {}}
    told = spec | {
        "data": {"manifest": "0" * 64, "train": counted, "select": counted, "calibrate": counted},
        "metrics": {"n_candidates": 1, "auroc_select": 0.5},
    }
    card = trained_card(told, dict.fromkeys(("train", "select", "calibrate"), (1, 1)))
    assert "Its perceptual network: VGG-19, sha256:" in " ".join(card.split())


def test_the_residuals_of_a_detector_can_be_had_without_its_file_of_weights(folder):
    made = ResynthesisSystem().residuals(folder)
    found = made(images(1), (0, 1))
    assert found[0].shape == (1, 3, 48, 48)
    assert found[1].shape == (1, 64, 48, 48)


def test_gradients_reach_the_pixels(folder):
    image = images(1, 60).requires_grad_()
    ResynthesisSystem().module(folder)(image).sum().backward()
    assert torch.isfinite(image.grad).all()
    assert image.grad[..., 6:54, 6:54].abs().sum() > 0


@pytest.mark.parametrize("fusion", ["weights", "logits", "fit"])
def test_stages_are_fused_as_configured(fusion):
    made = network((0, 1), fusion=fusion)
    found = made(images())
    expected = fused_scores(found["parts"].detach().numpy(), fusion, (0.5, 0.5))
    np.testing.assert_allclose(found["score"].detach(), expected, atol=1e-5)


def test_crops_of_any_size_are_cut_to_whole_positions():
    made = network((0, 1))
    picture = images(2, 60)
    torch.testing.assert_close(made(picture)["parts"], made(picture[..., 6:54, 6:54])["parts"])


# the first phase


def test_a_fake_among_the_reals_is_refused(manifest, tmp_path):
    config, (train, valid) = tiny(), parts(manifest)
    made = residuals().resynthesiser
    with pytest.raises(ManifestError, match="real images alone, found 6 fakes among 12 images"):
        trained_resynthesiser(made, train, valid.filter(label=0), config, run=tmp_path, seed=0)
    with pytest.raises(ManifestError, match="real images alone, found 4 fakes among 8 images"):
        trained_resynthesiser(made, train.filter(label=0), valid, config, run=tmp_path, seed=0)
    with pytest.raises(ManifestError, match="real images alone"):
        real_quality(made, valid, config)
    assert not (tmp_path / "reconstruction").exists()


@pytest.mark.parametrize("degradation", ["none", "colour"])
def test_it_learns_to_restore_reals(manifest, tmp_path, degradation):
    own = {"patch": 48, "views": 4, "training": TRAINING | {"epochs": 6, "learning_rate": 5e-3}}
    config = tiny(reconstruction=own, degradation=degradation)
    made = training.begun(config, seed=0).resynthesiser
    train, valid = reals(manifest)
    before = real_quality(made, valid, config)
    result = trained_resynthesiser(made, train, valid, config, run=tmp_path, seed=0)
    after = real_quality(made, valid, config)
    assert after["psnr"] > before["psnr"] + 3
    assert after["psnr"] == pytest.approx(result.best["psnr"], abs=1e-4)
    for rival in ("bicubic", "bilinear"):
        assert after[f"psnr_{rival}"] == pytest.approx(before[f"psnr_{rival}"], abs=1e-6)
    assert result.best["psnr"] == max(row["valid_psnr"] for row in result.history)


def test_a_killed_training_goes_on(manifest, tmp_path, monkeypatch):
    """Ended in its second epoch, it comes to the weights of one that was not."""
    own = {"training": TRAINING | {"epochs": 2, "batch_size": 3, "checkpoint_seconds": 0.0}}
    config = tiny(reconstruction=own, degradation="noise")

    def weights(name):
        made = training.begun(config, seed=1).resynthesiser
        trained_resynthesiser(made, *reals(manifest), config, run=tmp_path / name, seed=1)
        return made.state_dict()

    whole, steps, learn = weights("whole"), [], loop.set_learning_rates

    def ends(*arguments, **options):
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return learn(*arguments, **options)

    monkeypatch.setattr(loop, "set_learning_rates", ends)
    with pytest.raises(KeyboardInterrupt):
        weights("ended")
    again = weights("ended")
    assert len(steps) == 5
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


def test_the_loss_is_that_of_the_paper():
    perceptual, picture = vgg(2), images(2, 32)
    restored = picture + 0.1 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))
    weights = (1.0, 0.5, 0.25)
    found, figures = reconstruction_losses(restored, picture, perceptual, weights)
    pixels = (restored - picture).abs().mean(dim=(1, 2, 3))
    stages = [
        (ours - theirs).abs().mean(dim=(1, 2, 3))
        for ours, theirs in zip(perceptual(restored), perceptual(picture), strict=True)
    ]
    torch.testing.assert_close(found, pixels + 0.5 * stages[0] + 0.25 * stages[1])
    assert figures["pixels"] == pytest.approx(float(pixels.mean()))
    assert float(found.mean()) == pytest.approx(figures["pixels"] + figures["stages"])
    alone, _ = reconstruction_losses(restored, picture, None, weights)
    torch.testing.assert_close(alone, pixels)


def test_the_quality_of_a_network_stands_beside_that_of_interpolation():
    class Nearest(torch.nn.Module):
        def forward(self, small):
            return small.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)

    picture = images(2, 48)
    found = dict(
        zip(QUALITY, restored_quality(Nearest(), picture, "avgpool").mean(dim=0).tolist(), strict=True)
    )
    assert found["psnr"] < found["psnr_bilinear"]
    assert found["ssim"] < found["ssim_bicubic"]
    # Rows of PSNR and SSIM, in this order.
    assert all(value > 10 for name, value in found.items() if name.startswith("psnr"))
    assert all(value <= 1 for name, value in found.items() if name.startswith("ssim"))


def test_patches_are_turned_and_nothing_is_lost():
    torch.manual_seed(0)
    picture = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(64, 1, 1, 1)
    found = turned(picture)
    kinds = {tuple(one.flatten().tolist()) for one in found}
    assert len(kinds) == 4
    assert all(sorted(one) == list(range(16)) for one in kinds)


# the third phase


def together(manifest, tmp_path, **joint):
    config = tiny(joint={"epochs": 1} | joint, degradation="colour")
    made = residuals(seed=3)
    with torch.no_grad():
        made.resynthesiser.enlarge[-1].bias.fill_(
            0.3
        )  # in the range of pixels, outside of which PSNR is blind
    classifiers, _ = training.trained_classifiers(
        made, *parts(manifest), config, run=tmp_path, seed=0, say=lambda text: None
    )
    whole = Resynthesis(made, classifiers, stages=(0,), fusion="weights", weights=[1.0])
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    report = trained_together(whole, *parts(manifest), config, run=tmp_path, seed=0, say=lambda text: None)
    moved = {name for name, tensor in whole.state_dict().items() if not torch.equal(tensor, before[name])}
    return report, moved


def test_both_networks_learn_together_and_reals_are_restored_no_worse(manifest, tmp_path):
    own = {"resynthesiser_rate": 1e-2, "reconstruction_weight": 1000.0}
    report, moved = together(manifest, tmp_path, **own)
    assert "resynthesiser.first.weight" in moved
    assert any(name.startswith("classifiers.") for name in moved)
    assert report["reals_after"]["psnr"] >= report["reals_before"]["psnr"]
    assert set(report["best"]) >= {"epoch", "auroc"}


def test_a_frozen_re_synthesiser_stays_as_it_is(manifest, tmp_path):
    report, moved = together(manifest, tmp_path, frozen=True)
    assert moved
    assert all(name.startswith("classifiers.") for name in moved)
    assert report["reals_after"] == report["reals_before"]


def test_the_joint_loss_asks_reals_alone_to_be_restored():
    config, made = tiny(joint={"epochs": 1, "reconstruction_weight": 2.0}), network((0,))
    picture, labels = images(4), torch.tensor([0, 1, 0, 1])
    losses, figures = joint_loss(config, None)(Joint(made), picture, labels)
    (logits,) = made.logits(picture)
    classes = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    apart = (made.resynthesiser(downsampled(picture)) - picture).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(losses, classes + 2 * torch.where(labels == 0, apart, 0))
    assert figures["reconstruction"] == pytest.approx(float(apart[::2].detach().sum() / 4), rel=1e-5)
    scores = made(picture)["score"]
    torch.testing.assert_close(Joint(made)(picture)[:, 1], scores)


# weights, fusion, and what is refused


def test_a_re_synthesiser_that_is_there_already_is_not_trained(manifest, tmp_path):
    given = residuals(seed=5).resynthesiser
    save_file(given.state_dict(), tmp_path / "given.safetensors")
    config = tiny(network={"weights": str(tmp_path / "given.safetensors")})
    train, valid = parts(manifest)
    made, report = trained(
        config, train, {"checkpoints": valid}, run=tmp_path / "run", seed=0, say=lambda text: None
    )
    assert not (tmp_path / "run" / "reconstruction").exists()
    assert set(report["reconstruction"]) == set(QUALITY)
    for name, tensor in given.state_dict().items():
        assert torch.equal(made.resynthesiser.state_dict()[name], tensor)
    with pytest.raises(ConfigError, match="cannot be read"):
        training.begun(tiny(network={"weights": str(tmp_path / "none.safetensors")}), seed=0)


def test_weights_of_the_fusion_are_fitted_on_images_that_chose_no_epoch(manifest):
    config = tiny(fusion="fit")
    halves = training.validation_parts(parts(manifest)[1], config, seed=0)
    assert len(halves["checkpoints"]) + len(halves["weights"]) == 8
    assert not {s.path for s in halves["checkpoints"]} & {s.path for s in halves["weights"]}
    assert training.validation_parts(parts(manifest)[1], tiny(), seed=0)["weights"] == parts(manifest)[1]


def test_fitted_weights_and_what_is_said_of_them(manifest, tmp_path):
    made = network((0, 1), fusion="fit")
    config = tiny(stages=(0, 1), perceptual={"network": "vgg19"}, fusion="fit")
    found, report = training.chosen_fusion(made, parts(manifest)[1], config, left_out=LeftOut(), run=tmp_path)
    assert sum(found) == pytest.approx(1)
    assert report["weights"] == dict(zip(("pixel", "stage1"), found, strict=True))
    assert report["fitted_here"] is True
    assert report["fitted"]["n"] == report["n"] == 8
    assert report["fitted"]["auroc"] <= report["fitted"]["best_auroc"]


def test_residuals_that_are_no_numbers_are_told_before_anything_learns_from_them():
    made = residuals()
    training.require_finite_residuals(made, images().numpy(), (0,))
    with torch.no_grad():
        made.resynthesiser.first.bias[0] = torch.inf
    with pytest.raises(ConfigError, match="residual of pixel is no finite number"):
        training.require_finite_residuals(made, images().numpy(), (0,))


def test_what_it_refuses(manifest, tmp_path):
    train, valid = parts(manifest)

    def fit(config, part=train, name="d"):
        return ResynthesisSystem(config).fit(part, valid, out=tmp_path / name, seed=0)

    with pytest.raises(ConfigError, match='region = "face"'):
        fit(tiny(region="face"))
    with pytest.raises(ManifestError, match="training needs reals and fakes"):
        fit(tiny(), train.filter(label=1))
    with pytest.raises(ManifestError, match=r"60 × 60.*64 × 64"):
        fit(tiny(reconstruction={"patch": 64}), name="patch")
    with pytest.raises(ConfigError, match="no detector in"):
        fit(tiny(perceptual={"network": "detector", "detector": str(tmp_path / "none")}))
    with pytest.raises(ConfigError, match=r"cannot be read|cannot be had"):
        fit(with_stage(str(tmp_path / "none.safetensors")))
    with pytest.raises(TooSmallError):
        network((0,))(images()[..., :12])
    assert ResynthesisSystem().config == ResynthesisConfig()
