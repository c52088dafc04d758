"""The local stream: padding, coefficients, SBCM, CNN-F, and where its weights come from.

Shapes: B batch, S side of a crop, h blocks along a side.
"""

from __future__ import annotations

import numpy as np
import pytest

from tellsign.types import ConfigError, ManifestError

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
from sfcl_tiny import LOCAL, count, images  # noqa: E402 - need PyTorch
from tellsign.systems.sfcl_hcmf.config import LocalConfig  # noqa: E402
from tellsign.systems.sfcl_hcmf.local import (  # noqa: E402
    CHANNELS,
    CnnF,
    Coefficients,
    LocalStream,
    Sbcm,
    padded,
)
from tellsign.systems.sfcl_hcmf.standardisation import Standardisation, statistics  # noqa: E402


def test_the_published_shapes_and_parameters():
    with torch.device("meta"):
        sbcm, cnn_f = Sbcm().eval(), CnnF().eval()
        x = torch.zeros(2, 3, 64, 48, 48)
        assert sbcm(x).shape == (2, 64, 3, 48, 48)
        assert cnn_f(sbcm(x).flatten(1, 2)).shape == (2, 2048, 6, 6)
        spectral_lengths, y = [], x.flatten(3)
        for layer in sbcm.layers:
            y = layer(y)
            spectral_lengths.append(y.shape[2])
    assert spectral_lengths == [20, 6, 3]
    assert count(sbcm) == 9_376
    assert count(cnn_f) == 20_785_544


@pytest.mark.parametrize(
    ("height", "width", "borders"),
    [(380, 384, ((2, 2), (0, 0))), (92, 90, ((2, 2), (3, 3))), (41, 47, ((3, 4), (0, 1)))],
)
def test_sides_are_padded_by_reflection_evenly(height, width, borders):
    image = torch.rand(1, 1, height, width)
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), *borders), mode="reflect")
    assert np.array_equal(padded(image).numpy(), expected)


def test_a_side_that_is_whole_is_left_as_it_is():
    image = torch.rand(1, 3, 16, 24)
    assert padded(image) is image


def test_the_coefficients_of_training_crops_have_mean_0_and_deviation_1():
    crops = images(6)
    raw = Coefficients()
    found = statistics(raw(batch).flatten(1, 2) for batch in crops.split(2))
    entry = Coefficients(found)(crops).flatten(1, 2).double()
    assert np.allclose(entry.mean(dim=(0, 2, 3)), 0, atol=1e-3)
    assert np.allclose(entry.std(dim=(0, 2, 3), correction=0), 1, atol=1e-3)


def test_statistics_do_not_depend_on_batches_and_keep_the_scale_of_constants():
    values = torch.randn(7, 5, 3, 2) * torch.tensor([1.0, 10, 0, 3, 100]).view(1, 5, 1, 1) + 4
    one, two = (statistics(values.split(n)) for n in (1, 7))
    assert np.allclose(one["mean"], two["mean"])
    assert np.allclose(one["std"], two["std"])
    rows = values.permute(0, 2, 3, 1).reshape(-1, 5).double().numpy()
    assert np.allclose(one["mean"], rows.mean(axis=0))
    assert np.allclose(np.delete(one["std"], 2), np.delete(rows.std(axis=0), 2))
    assert one["std"][2] == 1
    flat = statistics([torch.from_numpy(rows)])
    assert np.allclose(flat["mean"], one["mean"])
    assert torch.equal(Standardisation(5, one)(values)[:, 2], torch.zeros(7, 3, 2))
    with pytest.raises(ManifestError, match="no image is left"):
        statistics(())


def test_coefficients_keep_their_precision_under_autocast():
    entry, crops = Coefficients(), images(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = entry(crops)
    assert found.dtype == torch.float32
    assert torch.equal(found, entry(crops))


def test_coefficients_can_stay_as_they_are():
    made = {"mean": (5.0,) * CHANNELS, "std": (2.0,) * CHANNELS}
    plain = LocalStream(LocalConfig(**LOCAL, coefficients="none"), statistics=made)
    scaled = LocalStream(LocalConfig(**LOCAL), statistics=made)
    crops = images(2)
    assert torch.equal(plain.coefficients(crops), Coefficients()(crops))
    assert torch.allclose(scaled.coefficients(crops), (Coefficients()(crops) - 5) / 2, atol=1e-4)


def test_each_position_of_sbcm_sees_its_own_block_alone():
    torch.manual_seed(0)
    sbcm, x = Sbcm().eval(), torch.randn(1, 3, 64, 4, 4)
    other = x.clone()
    other[..., 1, 2] += 1
    changed = (sbcm(other) - sbcm(x)).detach().abs().sum(dim=(1, 2))
    assert changed[0, 1, 2] > 1e-3
    changed[0, 1, 2] = 0
    assert changed.max() < 1e-6


def test_repeats_deepen_sbcm_and_keep_its_shape():
    deep = Sbcm(repeats=2)
    assert deep.eval()(torch.randn(1, 3, 64, 2, 2)).shape == (1, 64, 3, 2, 2)
    more = sum(c * c * k + 3 * c for c, k in ((16, 7), (32, 5), (64, 3)))
    assert count(deep) == 9_376 + more


def test_without_sbcm_cnn_f_sees_the_coefficients_channel_by_channel():
    stream = LocalStream(LocalConfig(**LOCAL), sbcm=False)
    assert stream.sbcm is None
    crops = images(2)
    found = stream.shallow(crops)
    assert found.shape == (2, 192, 12, 12)
    assert torch.equal(found[:, 64:128], stream.coefficients(crops)[:, 1])


def test_a_narrow_cnn_f_has_channels_in_eights_and_as_many_blocks_as_asked():
    small = CnnF(width=0.1, middle=2)
    assert [name for name, _ in small.named_children()][:5] == [
        "block2",
        "block3",
        "block4",
        "block5",
        "block12",
    ]
    found = small.eval()(torch.randn(1, 192, 16, 16))
    assert found.shape == (1, small.channels, 2, 2)
    assert small.channels == 208  # 204.8, to a multiple of 8


@pytest.mark.parametrize("weights", ["pretrained", "missing.safetensors"])
def test_weights_that_cannot_be_had_are_named_and_nothing_trains_from_scratch(weights, monkeypatch):
    import timm

    def offline(name, *, pretrained=False, **options):
        if pretrained:
            raise OSError("no network")
        return torch.nn.Identity()

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConfigError, match=r"legacy_xception.*give its path as weights|missing.safetensors"):
        CnnF(weights=weights)
