"""The networks of CAE-Net: sub-bands against PyWavelets, ensemble, crops, and the counts of the spec.

Shapes: B batch, H W pixels, S side of a crop.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import pywt

from pictures import natural
from tellsign.image import square_crops
from tellsign.image.network_input import NetworkInput
from tellsign.systems.cae_net.config import CaeNetConfig
from tellsign.train_config import read_config
from tellsign.types import ConfigError, ImageError, ManifestError, TooSmallError

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
from tellsign.nn.region import RegionScore  # noqa: E402 - need PyTorch
from tellsign.systems.cae_net.counts import count, counts  # noqa: E402
from tellsign.systems.cae_net.model import (  # noqa: E402
    Branch,
    CaeNet,
    band_statistics,
    empty_ensemble,
    entry_side,
    new_branch,
    sub_bands,
)

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "pixels": {"backbone": "test_efficientnet"},
    "bands": {"backbone": "test_convnext", "input": "dwt"},
}


def config(**options):
    return CaeNetConfig(
        **{"branches": TINY, "fusion_weights": (0.5, 0.5), "size": 32, "weights": "scratch", **options}
    )


def pictures(n=2, height=32, width=32):
    return torch.from_numpy(np.stack([natural(i, height, width) for i in range(n)]))


class Levels(torch.nn.Module):
    """The mean level of a crop as the logit of fake, twice it as that of real."""

    def forward(self, images):
        level = images.mean(dim=(1, 2, 3))
        return torch.stack([2 * level, level], dim=1)


@pytest.mark.parametrize("size", [(32, 32), (17, 23)])
def test_native_sub_bands_are_those_of_pywavelets_band_by_band(size):
    images = pictures(2, *size)
    found = sub_bands(images, "native")
    assert found.shape == (2, 12, -(-size[0] // 2), -(-size[1] // 2))
    approximation, details = pywt.dwt2(images.numpy().astype(np.float64), "haar", mode="symmetric")
    expected = np.concatenate([approximation / 2, *details], axis=1)
    assert np.allclose(found.numpy(), expected, atol=1e-6)


def test_the_halved_approximation_has_the_range_of_the_image():
    white = torch.ones(1, 3, 8, 8)
    found = sub_bands(white, "native")
    assert torch.equal(found[:, :3], torch.ones(1, 3, 4, 4))
    assert torch.equal(found[:, 3:], torch.zeros(1, 9, 4, 4))


def test_enlarged_sub_bands_have_the_size_of_the_image_and_the_same_mean():
    images = pictures(2)
    found = sub_bands(images, "dwt_resize")
    assert found.shape == (2, 12, 32, 32)
    means = sub_bands(images, "native").mean(dim=(2, 3))
    assert torch.allclose(found.mean(dim=(2, 3)), means, atol=0.02)


@pytest.mark.parametrize("dwt", ["native", "dwt_resize"])
def test_a_branch_sees_its_training_crops_with_mean_0_and_deviation_1(dwt):
    crops = pictures(6)
    statistics = band_statistics(iter(crops.split(2)), dwt)
    branch = Branch(torch.nn.Identity(), dwt=dwt, statistics=statistics)
    entry = branch.entry(crops).numpy().astype(np.float64)
    assert np.allclose(entry.mean(axis=(0, 2, 3)), 0, atol=1e-4)
    assert np.allclose(entry.std(axis=(0, 2, 3)), 1, atol=1e-4)


def test_statistics_do_not_depend_on_the_batches_and_survive_flat_images():
    crops = pictures(6)
    one, two = (band_statistics(iter(crops.split(n)), "native") for n in (1, 6))
    assert np.allclose(one["mean"], two["mean"], atol=1e-9)
    assert np.allclose(one["std"], two["std"], atol=1e-9)
    flat = band_statistics(iter([torch.full((2, 3, 8, 8), 0.5)]), "native")
    assert flat["std"] == (1.0,) * 12
    assert flat["mean"] == pytest.approx([0.5] * 3 + [0.0] * 9)
    with pytest.raises(ManifestError, match="no image is left"):
        band_statistics(iter(()), "native")


def test_pixels_are_standardised_as_timm_says():
    branch = new_branch(config(), "pixels")
    assert branch.mean.flatten().tolist() == pytest.approx(branch.network.pretrained_cfg["mean"])
    images = pictures()
    expected = (images - branch.mean) / branch.std
    assert torch.equal(branch.entry(images), expected)


def test_the_ensemble_gives_each_branch_and_the_fused_score():
    torch.manual_seed(0)
    network = empty_ensemble(config(fusion_weights=(0.25, 0.75))).eval()
    images = pictures(3)
    with torch.no_grad():
        found = network(images)
        logits = [branch(images).double() for branch in network.branches.values()]
    assert found["parts"].shape == (3, 2)
    p = [one.softmax(dim=1)[:, 1] for one in logits]
    mixed = 0.25 * p[0] + 0.75 * p[1]
    assert torch.allclose(found["score"].double(), torch.log(mixed / (1 - mixed)), atol=1e-5)
    for column, one in enumerate(logits):
        assert torch.allclose(found["parts"][:, column].double(), one[:, 1] - one[:, 0], atol=1e-6)


def test_the_gradient_reaches_the_pixels_through_the_sub_bands():
    torch.manual_seed(0)
    network = empty_ensemble(config()).eval()
    images = pictures(2).requires_grad_()
    network(images)["parts"][:, 1].sum().backward()
    assert (images.grad.abs().amax(dim=(1, 2, 3)) > 0).all()


def test_a_whole_image_is_scored_at_the_detectors_crops():
    image = natural(3, 50, 90)
    for max_crops in (1, 2, 4):
        found = RegionScore(Levels(), NetworkInput(32, max_crops))(torch.from_numpy(image[None]))
        expected = -square_crops(image, 32, max_crops).mean()
        assert found.shape == (1,)
        assert found.item() == pytest.approx(expected, abs=1e-6)


def test_crops_of_several_images_are_not_mixed():
    images = pictures(4, 40, 70)
    score = RegionScore(Levels(), NetworkInput(32, 2))
    alone = torch.cat([score(image[None]) for image in images])
    assert torch.allclose(score(images), alone, atol=1e-6)


def test_images_of_another_shape_or_too_small_are_refused():
    score = RegionScore(Levels(), NetworkInput(32, 1))
    with pytest.raises(ImageError, match="expected images of shape"):
        score(torch.zeros(3, 40, 40))
    with pytest.raises(TooSmallError):
        score(torch.zeros(1, 3, 31, 40))


def test_a_branch_that_has_the_name_of_a_method_is_refused():
    with pytest.raises(ConfigError, match="choose another"):
        CaeNet({"forward": Levels()}, fusion="vote", weights=[1.0])


class Largest(torch.nn.Module):
    """(B, C, H, W) → (B, C); of PyTorch 2.9 adaptive max-pooling has no ONNX form."""

    def forward(self, features):
        return features.amax(dim=(2, 3))


def test_a_vote_and_enlarged_sub_bands_have_an_equal_graph():
    """The other fusion and the native bands are in the end-to-end test of the system."""
    pytest.importorskip("onnxscript")
    from tellsign.engine.export import LIMIT, ScoredNetwork, graph_bytes, parity

    torch.manual_seed(0)
    statistics = {"mean": (0.0,) * 12, "std": (0.01,) * 12}
    branches = {
        name: Branch(
            torch.nn.Sequential(torch.nn.Conv2d(12, 2, 3, 2), Largest()),
            dwt=dwt,
            statistics=statistics,
        )
        for name, dwt in (("a", "native"), ("b", "dwt_resize"), ("c", "native"))
    }
    network = CaeNet(branches, fusion="vote", weights=(0.5, 0.3, 0.2))
    scored = ScoredNetwork(network, 3).eval().requires_grad_(False)
    examples = pictures(6).numpy()
    assert parity(graph_bytes(scored, 32), scored, examples)[0] <= LIMIT
    with torch.no_grad():
        assert network(torch.from_numpy(examples))["parts"].std() > 0.1


def test_native_sub_bands_halve_the_side_of_a_branch():
    native = config(dwt="native", size=33)
    assert [entry_side(native, name) for name in native.branches] == [33, 17]
    assert [entry_side(config(), name) for name in TINY] == [32, 32]


# counts


@pytest.fixture(scope="module")
def full_size():
    with torch.device("meta"):
        return counts(empty_ensemble(CaeNetConfig(weights="scratch")).branches, 224)


def test_the_parameters_are_those_of_the_published_networks(full_size):
    """All, and convolutions and linear layers alone, in millions: the table of the specification."""
    expected = {
        "efficientnet": (4.010, 3.968),
        "deit": (85.800, 85.610),
        "convnext": (27.835, 27.813),
        "total": (117.65, 117.39),
    }
    found = {name: (one.parameters / 1e6, one.conv_linear / 1e6) for name, one in full_size.items()}
    for name, pair in expected.items():
        assert found[name] == pytest.approx(pair, abs=6e-3 if name == "total" else 6e-4), name


def test_the_multiply_accumulates_are_those_of_the_specification(full_size):
    expected = {"efficientnet": 0.385, "deit": 17.563, "convnext": 4.498, "total": 22.446}
    found = {name: one.macs / 1e9 for name, one in full_size.items()}
    assert found == pytest.approx(expected, abs=6e-4)


def test_native_sub_bands_cost_a_quarter():
    with torch.device("meta"):
        branch = new_branch(CaeNetConfig(weights="scratch", dwt="native"), "convnext")
    assert count(branch, 224).macs / 1e9 == pytest.approx(1.07, abs=0.06)


def test_counts_of_a_layer_by_hand_and_the_mode_stays():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    )
    found = count(network, 10)
    assert (found.parameters, found.conv_linear) == (112 + 8 + 10, 112 + 10)
    assert found.macs == 10 * 10 * 3 * 9 * 4 + 4 * 2
    assert network.training


def test_the_small_preset_is_small():
    small = CaeNetConfig(**read_config(ROOT / "configs" / "cae-net-small.toml").config)
    with torch.device("meta"):
        found = counts(empty_ensemble(small).branches, small.size)
    assert found["total"].parameters <= 6e6
    readme = (ROOT / "src" / "tellsign" / "systems" / "cae_net" / "README.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"backbones of ([\d.]+) M parameters in total", readme)
    assert said == f"{found['total'].parameters / 1e6:.1f}"
