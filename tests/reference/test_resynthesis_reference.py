"""Down-sampling against Pillow, and the quality of restored images against loops written from the paper."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from pictures import natural
from tellsign.features.residual import downsampled

torch = pytest.importorskip("torch")
from tellsign.systems.resynthesis.quality import enlarged, luma, psnr, quality, ssim  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def resized(image, height, width, kind):
    planes = [PIL.Image.fromarray(plane.astype(np.float32)) for plane in image]
    return np.stack([np.asarray(plane.resize((width, height), kind)) for plane in planes])


@pytest.mark.parametrize(("height", "width"), [(4, 8), (32, 48), (64, 20)])
@pytest.mark.parametrize(("name", "kind"), [("bicubic", "BICUBIC"), ("avgpool", "BOX")])
def test_downsampling_is_pillows(height, width, name, kind):
    image = natural(0, height, width)
    expected = resized(image, height // 4, width // 4, PIL.Image.Resampling[kind])
    np.testing.assert_allclose(downsampled(image, name), expected, atol=2e-6)


@pytest.mark.parametrize("name", ["bicubic", "bilinear"])
def test_enlarging_is_pillows(name):
    small = natural(1, 9, 12)
    expected = resized(small, 36, 48, PIL.Image.Resampling[name.upper()])
    found = enlarged(torch.from_numpy(small)[None], name)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6)


def slow_ssim(x, y):
    """Wang et al. (2004), eqs. 13 to 16, window by window."""
    steps = np.arange(11) - 5
    weights = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = (one[row : row + 11, column : column + 11] for one in (x, y))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            variance_a, variance_b = (
                (weights * (one - mean) ** 2).sum() for one, mean in ((a, mean_a), (b, mean_b))
            )
            covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
            c1, c2 = 0.01**2, 0.03**2
            numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
            found.append(numerator / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)))
    return np.mean(found)


def test_ssim_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    images = np.stack([natural(seed, 30, 26)[0] for seed in range(3)]).astype(np.float64)
    restored = np.clip(images + rng.normal(0, [[[0.02]], [[0.1]], [[0.3]]], images.shape), 0, 1)
    found = ssim(torch.from_numpy(restored), torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, [slow_ssim(*pair) for pair in zip(restored, images, strict=True)])
    assert (np.diff(found) < 0).all()


def test_psnr_is_that_of_the_mean_square_error():
    planes = torch.rand(2, 20, 20, dtype=torch.float64)
    restored = planes + torch.tensor([0.1, 0.01], dtype=torch.float64)[:, None, None]
    np.testing.assert_allclose(psnr(restored, planes), [20, 40], rtol=1e-9)


def test_luma_is_that_of_bt601():
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1]])[:, :, None, None]
    np.testing.assert_allclose(255 * luma(colours).flatten(), [16, 235, 81.481, 40.966], atol=2e-3)


def test_quality_is_of_the_inside_clipped():
    images = torch.from_numpy(np.stack([natural(seed, 40, 36) for seed in range(2)]))
    equal = quality(images, images)
    assert equal.psnr.tolist() == [100, 100]
    np.testing.assert_allclose(equal.ssim, 1)
    border = images.clone()
    border[..., :4, :] = border[..., -4:] = 0
    np.testing.assert_array_equal(quality(border, images).psnr, equal.psnr)
    white = torch.ones_like(images)
    np.testing.assert_array_equal(quality(white + 3, white).psnr, [100, 100])
