"""Training views against their definition: where crops lie, what a turn does, what jitter does to colours."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from pictures import natural
from tellsign.data import augment
from tellsign.data.augment import Placement, View, augmented, placed_box, placement, unit
from tellsign.types import ConfigError, ImageError, TooSmallError

PLAIN = {"flip": False, "rotation": 0.0, "jitter": 0.0}


def levels(seed, height=40, width=52):
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)


def draws(seed, shape, size):
    """What `augmented` draws, in the order that its docstring names."""
    rng = np.random.default_rng(seed)
    top, left = (int(rng.integers(length - size + 1)) for length in shape[1:])
    return top, left, rng.random() < 0.5, rng.uniform(-1, 1), rng.uniform(-1, 1, 3)


def place(crop, image):
    """Where a crop lies in an image, found by looking everywhere; and whether it is flipped."""
    size = crop.shape[1]
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(1, 2))
    for flipped in (False, True):
        seen = crop[:, :, ::-1] if flipped else crop
        same = (windows == seen[:, None, None]).all(axis=(0, 3, 4))
        if same.any():
            ((top, left),) = np.argwhere(same)
            return int(top), int(left), flipped
    return None


def test_without_rotation_and_jitter_every_pixel_is_native():
    image = natural(1, 24, 29)
    found = [
        place(augmented(image, View(size=20), np.random.default_rng(seed)), image) for seed in range(400)
    ]
    assert None not in found
    tops, lefts, flips = zip(*found, strict=True)
    assert set(tops) == set(range(5))
    assert set(lefts) == set(range(10))
    assert 150 < sum(flips) < 250
    # Each of 50 places 8 times on average; one that is never drawn would have a chance of 3e-4.
    assert len({(top, left) for top, left, _ in found}) > 45


def test_without_flip_nothing_is_flipped():
    image = natural(1, 24, 29)
    view = View(size=20, flip=False)
    found = [place(augmented(image, view, np.random.default_rng(seed)), image) for seed in range(30)]
    assert not any(flipped for _, _, flipped in found)


def test_a_changed_pixel_is_not_taken_for_native():
    image = natural(1, 24, 29)
    crop = augmented(image, View(size=20), np.random.default_rng(0))
    crop[1, 3, 4] += 1e-6
    assert place(crop, image) is None


@pytest.mark.parametrize("view", [View(size=32), View(32, rotation=30, jitter=0.2), View(40, rotation=180)])
def test_the_seed_decides_alone_and_the_image_stays(view):
    image = natural(0, 40, 52)
    image.flags.writeable = False
    first, again, other = (augmented(image, view, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.flags.c_contiguous
    assert first.flags.owndata


def test_a_crop_of_the_whole_image_is_a_copy():
    for image in (natural(0, 16, 16), levels(0, 16, 16)):
        before = image.copy()
        augmented(image, View(size=16, **PLAIN), np.random.default_rng(0))[...] = 0
        np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "options", [{}, {"rotation": 10}, {"rotation": 180}, {"jitter": 0.2}, {"rotation": 5, "jitter": 1}]
)
@pytest.mark.parametrize("size", [1, 17, 40])
def test_levels_and_floats_give_the_same(options, size):
    image, view = levels(3), View(size=size, **options)
    for seed in range(10):
        a = augmented(image, view, np.random.default_rng(seed))
        b = augmented(unit(image), view, np.random.default_rng(seed))
        assert a.dtype == (np.float32 if options else np.uint8)
        assert a.shape == (3, size, size)
        assert b.dtype == np.float32
        np.testing.assert_array_equal(unit(a), b)
        assert b.min() >= 0
        assert b.max() <= 1


def test_levels_become_what_a_decoder_gives():
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(unit(every), (every / np.float64(255)).astype(np.float32))
    assert unit(np.float64([0.5])).dtype == np.float32


@pytest.mark.parametrize("size", [20, 21, 40])
@pytest.mark.parametrize("rotation", [3, 90, 180])
def test_a_turn_is_that_of_scipy(size, rotation):
    """Bilinear on the whole image with mirrored borders, by SciPy, at coordinates turned about the centre."""
    image = natural(2, 40, 52)
    for seed in range(8):
        top, left, _, share, _ = draws(seed, image.shape, size)
        angle = np.deg2rad(rotation * share)
        y, x = np.mgrid[:size, :size] - (size - 1) / 2
        rows = np.cos(angle) * y - np.sin(angle) * x + top + (size - 1) / 2
        columns = np.sin(angle) * y + np.cos(angle) * x + left + (size - 1) / 2
        expected = [map_coordinates(plane, (rows, columns), order=1, mode="mirror") for plane in image]
        view = View(size=size, flip=False, rotation=rotation)
        found = augmented(image, view, np.random.default_rng(seed))
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_turned_even_image_stays_even():
    image = np.full((3, 30, 30), 0.4, np.float32)
    found = augmented(image, View(size=30, rotation=180), np.random.default_rng(1))
    np.testing.assert_allclose(found, 0.4, rtol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_tiny_images_are_turned_too(side):
    image = natural(0, 16, 16)[:, :side, :side]
    for seed in range(20):
        found = augmented(image, View(size=side, rotation=180), np.random.default_rng(seed))
        assert found.min() >= image.min() - 1e-6
        assert found.max() <= image.max() + 1e-6


@pytest.mark.parametrize("jitter", [0.2, 1.0])
def test_colours_change_as_in_torchvision(jitter):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchvision.transforms.functional")
    image, view = natural(4, 40, 52), View(size=32, flip=False, jitter=jitter)
    for seed in range(8):
        top, left, _, _, shares = draws(seed, image.shape, 32)
        brightness, contrast, saturation = (1 + jitter * share for share in shares)
        expected = torch.from_numpy(image[:, top : top + 32, left : left + 32].copy())
        expected = functional.adjust_brightness(expected, brightness)
        expected = functional.adjust_contrast(expected, contrast)
        expected = functional.adjust_saturation(expected, saturation)
        found = augmented(image, view, np.random.default_rng(seed))
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
        assert np.abs(found - image[:, top : top + 32, left : left + 32]).max() > 1e-3


def test_an_option_leaves_the_others_as_they_were():
    image = natural(4, 40, 52)
    for seed in range(20):
        plain = augmented(image, View(size=32), np.random.default_rng(seed))
        hardly = View(size=32, rotation=1e-6, jitter=1e-7)
        np.testing.assert_allclose(augmented(image, hardly, np.random.default_rng(seed)), plain, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 31, 64), (3, 64, 31)])
def test_too_small_an_image(shape):
    with pytest.raises(TooSmallError, match="smaller than the 32 × 32 needed"):
        augmented(np.zeros(shape, np.float32), View(size=32), np.random.default_rng(0))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 40, 40), np.float32),
        np.zeros((40, 40, 3), np.float32),
        np.zeros((40, 40), np.uint8),
        np.zeros((3, 40, 40), np.int64),
    ],
)
def test_what_is_no_image(image):
    with pytest.raises(ImageError, match=r"shape \(3, H, W\)"):
        augmented(image, View(size=32), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("size", value) for value in (0, -1, 2.0, True, "224")),
        *(("flip", value) for value in (0, 1, "yes", None)),
        *(("rotation", value) for value in (-1, 181, float("nan"), "10", True)),
        *(("jitter", value) for value in (-0.1, 1.1, float("inf"), None)),
    ],
)
def test_an_option_out_of_its_range(option, value):
    with pytest.raises(ConfigError, match=f"^{option} is "):
        View(**{option: value})


# boxes


def drawn_box(view, box, seed, height=90, width=110):
    """The box of what a rectangle of an image became in a view, by its pixels; and what `placed_box` says."""
    left, top, right, bottom = box
    image = np.zeros((3, height, width), np.float32)
    image[:, top:bottom, left:right] = 1
    crop = augmented(image, view, np.random.default_rng(seed))[0] > 0.5
    where = placement(height, width, view, np.random.default_rng(seed))
    found = placed_box(box, view.size, where)
    if not crop.any():
        return None, found
    rows, columns = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), found


@pytest.mark.parametrize("seed", range(20))
def test_a_box_follows_crop_and_flip(seed):
    expected, found = drawn_box(View(size=64), (30, 20, 70, 75), seed)
    assert found == expected


@pytest.mark.parametrize("seed", range(20))
def test_a_box_follows_a_turn(seed):
    """The upright box around the turned one, to the pixel that interpolation blurs."""
    expected, found = drawn_box(View(size=80, rotation=30), (40, 30, 75, 66), seed, 90, 110)
    np.testing.assert_allclose(found, expected, atol=1)


def test_a_quarter_turn_by_hand():
    """To the left: what was right of the centre is above it."""
    turned = Placement(0, 0, False, -np.pi / 2, np.ones(3))
    np.testing.assert_allclose(placed_box((12, 6, 18, 10), 20, turned), (6, 2, 10, 8), atol=1e-9)
    image = np.zeros((3, 20, 20), np.float32)
    image[:, 6:10, 12:18] = 1
    rows, columns = np.nonzero(augment._turned(image, 0, 0, 20, -np.pi / 2)[0] > 0.5)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (6, 2, 10, 8)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 0, 0), (0, 0, 0, 0)),  # no face
        ((50, 40, 40, 50), (0, 0, 0, 0)),  # no area
        ((0, 0, 10, 10), (0, 0, 0, 0)),  # beside the crop
        ((0, 0, 24, 24), (0, 0, 0, 0)),  # 4 × 4 of 24 × 24 pixels in the crop
        ((10, 20, 30, 40), (0, 0, 10, 20)),  # half of it
        ((-50, -50, 200, 200), (0, 0, 40, 40)),  # larger than the crop, which shows nothing else
    ],
)
def test_what_a_crop_shows_of_a_box(box, expected):
    where = Placement(20, 20, False, 0.0, np.ones(3))
    assert placed_box(box, 40, where) == expected
