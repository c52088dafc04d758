"""Perturbations against independent implementations, written from their definitions."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from pictures import natural
from tellsign.perturb import parse


def levels(image):
    return np.rint(image.astype(np.float64) * 255).astype(int)


def interleaved(image):
    return np.ascontiguousarray(levels(image).astype(np.uint8).transpose(1, 2, 0))


def reopened(picture, form, **options):
    """(3, H, W) levels after a file in memory, by Pillow alone."""
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    with PIL.Image.open(stream) as read:
        return np.asarray(read.convert("RGB")).transpose(2, 0, 1).astype(int)


def reflected_101(place, length):
    """… 2 1 | 0 1 2 … n-2 n-1 | n-2 …: the pixel on the border is not repeated."""
    if length == 1:
        return 0
    while not 0 <= place < length:
        place = -place if place < 0 else 2 * (length - 1) - place
    return place


def blurred(image, kernel, sigma):
    """A loop over the taps of a 2-D Gaussian, pixel by pixel."""
    radius = kernel // 2
    taps = [np.exp(-(offset**2) / (2 * sigma**2)) for offset in range(-radius, radius + 1)]
    total = sum(taps)
    height, width = image.shape[1:]
    result = np.zeros(image.shape)
    for dy, vertical in zip(range(-radius, radius + 1), taps, strict=True):
        rows = [reflected_101(y + dy, height) for y in range(height)]
        for dx, horizontal in zip(range(-radius, radius + 1), taps, strict=True):
            columns = [reflected_101(x + dx, width) for x in range(width)]
            result += vertical * horizontal / total**2 * image[:, rows][:, :, columns]
    return result


@pytest.mark.parametrize(("height", "width"), [(20, 31), (3, 12), (1, 5)])
@pytest.mark.parametrize(
    ("kernel", "sigma"),
    [(3, 0.8), (5, 1.1), (7, 1.4), (9, 1.7), (15, 2.6)],  # 0.3 ((k - 1) / 2 - 1) + 0.8
)
def test_blur(kernel, sigma, height, width):
    image = natural(kernel, 32, 32)[:, :height, :width]
    expected = 255 * blurred(image.astype(np.float64), kernel, sigma)
    found = levels(parse(f"blur:{kernel}").apply(image, key="k"))
    assert np.abs(found - expected).max() <= 0.5 + 1e-4
    wrong = 255 * blurred(
        image.astype(np.float64), kernel, 4.0
    )  # a published defect: sigma 4 for all kernels
    if min(height, width) > 3:
        assert np.abs(found - wrong).max() > 1


def test_the_centre_of_a_kernel_of_three():
    """0.52 with sigma 0.8; with sigma 4, as the defect has it, it would be 0.34."""
    assert parse("blur:3").operation.weights()[1] == pytest.approx(1 / (1 + 2 * np.exp(-1 / 1.28)))
    assert parse("blur:3:sigma=4").operation.weights()[1] == pytest.approx(0.34, abs=0.005)


@pytest.mark.parametrize("quality", [10, 40, 75, 95])
def test_jpeg(quality):
    image = natural(quality, 45, 70)
    expected = reopened(PIL.Image.fromarray(interleaved(image)), "JPEG", quality=quality, subsampling=2)
    assert np.array_equal(levels(parse(f"jpeg:{quality}").apply(image, key="k")), expected)


@pytest.mark.parametrize("quality", [1, 50, 80])
def test_webp(quality):
    image = natural(quality, 45, 70)
    expected = reopened(PIL.Image.fromarray(interleaved(image)), "WEBP", quality=quality)
    assert np.array_equal(levels(parse(f"webp:{quality}").apply(image, key="k")), expected)


def cubic(distance):
    """Keys' kernel with a = -1/2."""
    x = abs(distance)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def enlarged(lines, length):
    """(…, n) → (…, length) by a bicubic filter, pixel by pixel; weights beyond the border are dropped."""
    n = lines.shape[-1]
    result = np.zeros((*lines.shape[:-1], length))
    for place in range(length):
        centre = (place + 0.5) * n / length - 0.5
        near = [x for x in range(int(np.floor(centre)) - 2, int(np.floor(centre)) + 4) if 0 <= x < n]
        weights = np.array([cubic(x - centre) for x in near])
        result[..., place] = lines[..., near] @ (weights / weights.sum())
    return result


@pytest.mark.parametrize(("height", "width"), [(40, 60), (61, 30)])
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.2])
def test_crop(fraction, height, width):
    """A slow bicubic of the centre; of oblong images too, where a published defect exchanges the sides."""
    image = natural(7, height, width).astype(np.float64)
    kept = [round(length * (1 - fraction)) for length in (height, width)]
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    part = image[:, top : top + kept[0], left : left + kept[1]]
    expected = enlarged(np.swapaxes(enlarged(np.swapaxes(part, 1, 2), height), 1, 2), width)
    found = parse(f"crop:{fraction}").apply(image.astype(np.float32), key="k")
    assert np.abs(found - np.clip(expected, 0, 1)).max() <= 0.501 / 255
