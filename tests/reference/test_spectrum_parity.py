"""The spectral features against slow references, against SciPy, and against the published feature file."""

from __future__ import annotations

import numpy as np
import pytest
from official_profile import official_profile, paper_profile, resampled
from PIL import Image

from tellsign.features.spectrum import grey, interpolate, profile
from tellsign.image import decode

REFERENCE = {"official": official_profile, "paper": paper_profile}
TOLERANCE = {np.float64: 3e-9, np.float32: 5e-4}
SIZES = [(4, 4), (5, 5), (8, 8), (9, 9), (8, 9), (9, 8), (12, 30), (30, 13), (13, 30), (31, 7), (64, 64)]
SIZES += [(101, 101), (128, 128), (178, 218), (218, 178), (256, 256)]


def photograph(height, width, seed=0):
    """Noise with the spectrum of natural images, as grey levels 0 to 255."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    image = np.fft.ifft2(np.fft.fft2(rng.normal(size=(height, width))) / (radius + 1 / height)).real
    return np.rint(np.interp(image, (image.min(), image.max()), (0, 255)))


def largest_deviation(found, expected):
    """Of any value, relative to what is expected there."""
    return float((np.abs(found - expected) / np.abs(expected)).max())


def as_backend(images, backend):
    if backend == "numpy":
        return images
    return pytest.importorskip("torch").from_numpy(images)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("preset", ["official", "paper"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_parity_with_the_slow_reference(height, width, preset, dtype, backend):
    images = np.stack([photograph(height, width, seed) for seed in range(3)])
    expected = np.stack([REFERENCE[preset](image) for image in images])
    batch = as_backend(images.astype(dtype), backend)
    found = np.asarray(profile(batch, preset=preset, normalise="none", square=False))
    assert found.shape == expected.shape
    assert largest_deviation(found, expected) <= TOLERANCE[dtype]


def test_the_comparison_tells_the_presets_apart():
    images = photograph(64, 64)[None]
    right = official_profile(images[0])[None]
    for wrong in (
        np.stack([official_profile(images[0] * 1.001)]),  # another scale
        np.stack([official_profile(np.pad(images[0], ((0, 1), (0, 1)))[1:, 1:])]),  # other pixels
        np.roll(right, 1, axis=1),  # another ring
    ):
        assert largest_deviation(profile(images, normalise="none"), wrong) > TOLERANCE[np.float64]
    assert largest_deviation(profile(images, normalise="none"), right) <= TOLERANCE[np.float64]


@pytest.mark.parametrize("size", [8, 9])
def test_the_official_reference_is_a_plain_mean_over_rings(size):
    # The sorted cumulative sums of the reference, against one sum per ring written from the definition.
    image = photograph(size, size)
    values = 20 * np.log(np.abs(np.fft.fftshift(np.fft.fft2(image)) + 1e-8))
    rings: dict[int, list[float]] = {}
    for y in range(size):
        for x in range(size):
            distance = ((x - (size - 1) / 2) ** 2 + (y - (size - 1) / 2) ** 2) ** 0.5
            rings.setdefault(int(distance), []).append(values[y, x])
    means = [np.mean(rings[k]) for k in sorted(rings)]
    np.testing.assert_allclose(official_profile(image), means[1:-1], rtol=1e-12)


@pytest.mark.parametrize(
    ("n_values", "length"), [(88, 80), (139, 80), (43, 300), (722, 300), (4, 7), (5, 5), (9, 2), (4, 2)]
)
def test_interpolation_is_the_cubic_spline_of_scipy(n_values, length):
    from scipy.interpolate import CubicSpline

    values = np.random.default_rng(n_values).uniform(100, 200, (3, n_values))
    found = interpolate(values, length)
    knots, points = np.linspace(0, length, n_values), np.linspace(0, length, length)
    assert largest_deviation(found, CubicSpline(knots, values, axis=1)(points)) <= 1e-12
    np.testing.assert_allclose(found[:, [0, -1]], values[:, [0, -1]], rtol=1e-12)
    assert largest_deviation(found, np.stack([resampled(row, length) for row in values])) <= 1e-9


def test_interpolation_is_not_linear():
    values = np.random.default_rng(0).uniform(size=(1, 88))
    linear = np.interp(np.linspace(0, 80, 80), np.linspace(0, 80, 88), values[0])[None]
    assert largest_deviation(interpolate(values, 80), linear) > 0.05


@pytest.mark.data
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize(
    "folder", ["durall/fake_gan128", "stylegan140k/real", "ffhq1024/real", "bsds500/real", "sr_sets/real"]
)
def test_parity_on_real_images(data_root, folder, backend):
    for path in sorted((data_root / folder).iterdir())[:3]:
        image = np.asarray(Image.open(path).convert("L"), dtype=np.float64)[None]
        expected = official_profile(image[0])[None]
        for dtype, tolerance in TOLERANCE.items():
            batch = as_backend(image.astype(dtype), backend)
            found = np.asarray(profile(batch, normalise="none", square=False))
            assert largest_deviation(found, expected) <= tolerance


@pytest.mark.data
def test_the_published_features_are_recomputed_from_their_images(data_root):
    """1000 generated CelebA faces and their rows in the published file, which have another order."""

    def luma(path):
        # The authors' grey read took the luma of the JPEG itself. Grey from decoded RGB differs by up to 20
        # levels on these images and moves these features by up to 0.04.
        image = Image.open(path)
        image.draft("L", image.size)
        return np.asarray(image.convert("L"), dtype=np.float64)

    def in_order(rows):
        return rows[np.argsort(rows[:, 1])]

    with np.load(data_root / "durall" / "celeba_low_1000.npz") as stored:
        published = stored["X"][stored["y"] == 1]
    paths = sorted((data_root / "durall" / "fake_gan128").glob("*.jpg"))
    images = np.stack([luma(path) for path in paths])
    assert len(images) == len(published) == 1000
    found = profile(images, preset="official", length=80, normalise="first")
    np.testing.assert_allclose(in_order(found), in_order(published), rtol=0, atol=1e-6)
    grey_levels = 255 * grey(np.stack([decode(path).array for path in paths]).astype(np.float64))
    assert 19 < np.abs(grey_levels - images).max() < 21
    deviations = profile(grey_levels, preset="official", length=80, normalise="first") - found
    assert 0.035 < np.abs(deviations).max() < 0.045
