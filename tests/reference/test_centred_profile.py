"""The profile of the spectral discriminator against a slow loop written from its description."""

from __future__ import annotations

import numpy as np
import pytest

from pictures import natural
from tellsign.features.spectrum import grey
from tellsign.generators.centred_profile import centred_profile, n_centred_rings
from tellsign.types import ImageError, TooSmallError


def ring_means(values, distance):
    rings = distance.astype(int)
    means = np.array([values[rings == ring].mean() for ring in range(rings.max() + 1)])
    return (means - means.min()) / (means.max() - means.min())


def whole(image):
    """(S, S) → (K,) over the whole spectrum."""
    side = len(image)
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    values = 20 * np.log(np.abs(spectrum) ** 2 + 1e-8)
    place = np.arange(side) - side // 2
    return ring_means(values, np.sqrt(place[:, None] ** 2 + place**2))


def half(image):
    """(S, S) → (K,) over the half of the spectrum that a real transform gives, as it was published."""
    values = 20 * np.log(np.abs(np.fft.rfft2(image)) ** 2 + 1e-8)
    rows, columns = np.fft.fftfreq(len(image), 1 / len(image)), np.arange(values.shape[1])
    return ring_means(values, np.sqrt(np.rint(rows)[:, None] ** 2 + columns**2))


@pytest.mark.parametrize(("side", "length"), [(64, 46), (128, 91), (256, 182), (1024, 725)])
def test_the_published_lengths(side, length):
    assert n_centred_rings(side) == length


@pytest.mark.parametrize("side", [4, 5, 31, 64, 128])
def test_the_loop_agrees(side):
    images = np.stack([grey(natural(seed, side, side).astype(np.float64)) for seed in range(2)])
    found = centred_profile(images)
    assert found.shape == (2, n_centred_rings(side))
    for row, image in zip(found, images, strict=True):
        np.testing.assert_allclose(row, whole(image), atol=1e-10)


def test_the_half_spectrum_moves_a_profile_by_little():
    images = np.stack([grey(natural(seed).astype(np.float64)) for seed in range(8)])
    ours, published = centred_profile(images), np.stack([half(image) for image in images])
    assert ours.shape == published.shape
    difference = np.abs(ours - published)
    assert difference.max() > 1e-4  # they are two things
    # Where a ring has few coefficients, those that count twice matter; elsewhere the images differ by more.
    assert np.median(difference) < 0.2 * ours.std(axis=0).mean()


def test_tensors_and_arrays_agree():
    torch = pytest.importorskip("torch")
    images = np.stack([grey(natural(seed, 33, 33).astype(np.float64)) for seed in range(3)])
    np.testing.assert_allclose(centred_profile(torch.from_numpy(images)).numpy(), centred_profile(images))
    tensor = torch.from_numpy(images[:1, :6, :6]).clone().requires_grad_()
    assert torch.autograd.gradcheck(centred_profile, (tensor,))


def test_a_constant_image_is_its_mean_alone():
    (row,) = centred_profile(np.full((1, 16, 16), 0.5))
    np.testing.assert_allclose(row, np.eye(1, len(row))[0], atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 8, 9), (8, 8), (1, 1, 8, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ImageError, match="square"):
        centred_profile(np.zeros(shape))


def test_tiny_images_are_refused():
    with pytest.raises(TooSmallError, match="4 x 4"):
        centred_profile(np.zeros((1, 3, 3)))
