"""Each benign operation against what it must do by its definition: geometry, statistics, sizes, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from pictures import natural
from tellsign.perturb import parse, suite
from tellsign.types import ConfigError, ImageError

ALL = (
    *suite(),
    *("combined:p=1", "combined:p=1:order=listed", "combined:position=random", "crop:0.3:random"),
    *("blur:sigma=1.5", "blur:7:sigma=3", "resize:0.5:keep", "resize:1.5", "platform:16:85-40"),
)


def ramp(height, width):
    """Red rises by rows, green by columns, blue is even; in the middle half of the range."""
    rows, columns = np.linspace(0.25, 0.75, height), np.linspace(0.25, 0.75, width)
    return np.stack(
        [
            np.broadcast_to(rows[:, None], (height, width)),
            np.broadcast_to(columns, (height, width)),
            np.full((height, width), 0.5),
        ]
    ).astype(np.float32)


def levels(image):
    return np.rint(image.astype(np.float64) * 255)


@pytest.mark.parametrize("name", ALL)
def test_an_image_stays_an_image(name):
    image = natural(3, 37, 50)
    before = image.copy()
    result = parse(name).apply(image, key="k")
    assert np.array_equal(image, before), "the input was written to"
    assert result.dtype == np.float32
    assert result.shape[0] == 3
    assert result.min() >= 0
    assert result.max() <= 1
    if parse(name).steps(key="k"):
        assert np.array_equal(result, (levels(result) / 255).astype(np.float32)), "not at 8-bit levels"
    read_only = image.copy()
    read_only.flags.writeable = False
    assert np.array_equal(parse(name).apply(read_only, key="k"), result)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 2), (3, 3)])
def test_tiny_images(name, size):
    image = natural(1, 9, 9)[:, : size[0], : size[1]]
    result = parse(name).apply(image, key="k")
    assert result.shape[0] == 3
    assert min(result.shape) >= 1
    assert np.isfinite(result).all()


@pytest.mark.parametrize("name", ALL)
def test_an_even_image_stays_even_but_for_noise(name):
    result = parse(name).apply(np.full((3, 24, 40), 102 / 255, np.float32), key="k")
    if not any(step.startswith("noise") for step in parse(name).steps(key="k")):
        # JPEG and WebP quantise the mean of a block too: at quality 10 in steps of 10 levels.
        assert np.abs(levels(result) - 102).max() <= 5


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 8, 8), np.float32), "shape"),
        (np.zeros((8, 8), np.float32), "shape"),
        (np.zeros((3, 8, 8), np.uint8), "uint8"),
        (np.full((3, 8, 8), np.nan, np.float32), "values in"),
        (np.full((3, 8, 8), 1.5, np.float32), "from 1.5 to 1.5"),
        (np.zeros((3, 0, 8), np.float32), "shape"),
    ],
)
@pytest.mark.parametrize("name", ["none", "blur:3", "jpeg:75", "combined"])
def test_what_is_no_image_is_refused(image, message, name):
    with pytest.raises(ImageError, match=message):
        parse(name).apply(image, key="k")


def test_float64_gives_the_same_as_float32():
    image = natural(0)
    assert np.array_equal(
        parse("blur:5").apply(image.astype(np.float64), key="k"), parse("blur:5").apply(image, key="k")
    )


# crop


@pytest.mark.parametrize(("height", "width"), [(200, 100), (100, 200), (120, 120)])
def test_a_crop_enlarges_the_centre(height, width):
    """A ramp stays a ramp; from end to end it then spans what was left of the sides."""
    image = ramp(height, width)
    result = parse("crop:0.2").apply(image, key="k")
    assert result.shape == image.shape
    for channel, axis, length in ((0, 1, height), (1, 2, width)):
        profile = result[channel].mean(axis=2 - axis)
        step = 0.5 / (length - 1)
        first = 0.25 + 0.1 * length * step
        # Pixel i of the result shows the place 0.1 L + 0.8 (i + 1/2) - 1/2 of the original.
        expected = first + (0.8 * (np.arange(length) + 0.5) - 0.5) * step
        inner = slice(4, -4)
        assert np.abs(profile - expected)[inner].max() < 1 / 255
        assert profile[-1] - profile[0] == pytest.approx(0.4, abs=0.01)
    assert np.abs(levels(result[2]) - levels(image[2])).max() == 0


def test_a_crop_removes_the_fraction_of_both_ends_together():
    """A white frame of 10 % at each end is gone after a crop of 20 %, and not after one of 18 %."""
    image = np.ones((3, 100, 60), np.float32)
    image[:, 10:90, 6:54] = 0
    assert parse("crop:0.2").apply(image, key="k").max() == 0
    assert parse("crop:0.16").apply(image, key="k").max() == 1


def test_a_random_crop_lies_somewhere_else_for_each_key():
    image = ramp(100, 100)
    crops = [parse("crop:0.3:random").apply(image, key=str(key)) for key in range(20)]
    tops = [levels(crop[0]).min() for crop in crops]
    assert len(set(tops)) > 5
    centred = levels(parse("crop:0.3").apply(image, key="k")[0]).min()
    assert min(tops) < centred < max(tops)


# blur


def test_a_blurred_point_is_the_kernel():
    image = np.zeros((3, 31, 31), np.float32)
    image[:, 15, 15] = 1
    blurred = parse("blur:5:sigma=1").apply(image, key="k")
    bell = np.exp(-0.5 * np.arange(-2, 3) ** 2)
    bell /= bell.sum()
    expected = np.zeros((31, 31))
    expected[13:18, 13:18] = np.outer(bell, bell)
    assert np.array_equal(levels(blurred[1]), np.rint(expected * 255))


def test_a_blur_of_a_sigma_has_its_variance():
    weights = parse("blur:sigma=2.5").operation.weights()
    offsets = np.arange(len(weights)) - len(weights) // 2
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert (weights * offsets**2).sum() == pytest.approx(2.5**2, rel=0.01)


def test_a_kernel_of_one_pixel_changes_nothing_but_rounds():
    image = natural(2)
    assert np.array_equal(levels(parse("blur:1").apply(image, key="k")), levels(image))


# noise


@pytest.mark.parametrize("variance", [5, 10, 20])
def test_noise_has_the_variance_that_its_name_says(variance):
    """On levels far from the ends, so that nothing is clipped; rounding adds 1/12 of a level squared."""
    image = np.full((3, 200, 300), 128 / 255, np.float32)
    noise = levels(parse(f"noise:{variance}").apply(image, key="k")) - 128
    expected = variance + 1 / 12
    n = noise.size
    assert noise.var() == pytest.approx(expected, abs=5 * expected * np.sqrt(2 / n))
    assert noise.mean() == pytest.approx(0, abs=5 * np.sqrt(expected / n))
    for channel in noise:
        assert channel.var() == pytest.approx(expected, abs=5 * expected * np.sqrt(6 / n))


def test_noise_is_independent_between_pixels_and_channels_and_keys():
    image = np.full((3, 200, 300), 128 / 255, np.float32)
    one, two = (parse("noise:400").apply(image, key=key) - image for key in "ab")
    pairs = [
        (one[0], one[1]),
        (one[1], one[2]),
        (one[:, 1:], one[:, :-1]),
        (one[..., 1:], one[..., :-1]),
        (one, two),
    ]
    for a, b in pairs:
        correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(a.size)
    for width, share in ((10.5, 0.4004), (20.5, 0.6946), (40.5, 0.9571)):  # of a Gaussian with sigma 20
        found = (np.abs(one * 255) < width).mean()
        assert found == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / one.size))


def test_noise_is_clipped():
    noisy = parse("noise:400").apply(np.ones((3, 50, 50), np.float32), key="k")
    assert noisy.max() == 1
    assert 0.4 < (noisy == 1).mean() < 0.6


# sizes


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("resize:0.5", (40, 61), (40, 61)),
        ("resize:0.5:keep", (40, 61), (20, 30)),
        ("resize:1.5:keep", (40, 60), (60, 90)),
        ("resize:0.01:keep", (40, 61), (1, 1)),
        ("platform:50", (100, 200), (25, 50)),
        ("platform:50", (200, 100), (50, 25)),
        ("platform:50", (50, 30), (50, 30)),
        ("platform:512", (64, 64), (64, 64)),
        ("screenshot", (40, 60), (50, 75)),
        ("screenshot", (1500, 20), (1080, 14)),
        ("screenshot", (20, 2400), (16, 1920)),
        ("screenshot", (1080, 30), (1080, 30)),
    ],
)
def test_sizes(name, before, after):
    image = np.full((3, *before), 0.5, np.float32)
    assert parse(name).apply(image, key="k").shape[1:] == after


def test_resizing_removes_what_the_smaller_image_cannot_hold():
    """Columns that change at each pixel turn grey at half the size; slow waves survive."""
    fast = np.broadcast_to(np.arange(64) % 2, (3, 64, 64)).astype(np.float32)
    slow = (0.5 + 0.4 * np.sin(2 * np.pi * np.arange(64) / 32)) * np.ones((3, 64, 1))
    resized = parse("resize:0.5").apply(fast, key="k")
    assert np.abs(resized[:, :, 8:-8] - 0.5).max() < 0.05
    resized = parse("resize:0.5").apply(slow.astype(np.float32), key="k")
    assert np.abs(resized - slow)[:, :, 4:-4].max() < 0.02


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ("jpeg:10", "jpeg:90"),
        ("webp:20", "webp:95"),
        ("platform:64:40", "platform:64:85"),
        ("blur:9", "blur:3"),
        ("crop:0.2", "crop:0.05"),
        ("resize:0.25", "resize:0.75"),
        ("noise:20", "noise:5"),
        ("platform:64:90-20", "platform:64:90"),
    ],
)
def test_strengths_are_graded(worse, better):
    image = natural(5)
    far, near = (np.square(parse(name).apply(image, key="k") - image).mean() for name in (worse, better))
    assert far > 1.2 * near > 0


def test_webp_has_no_room_for_a_longer_side():
    with pytest.raises(ImageError, match="16384 × 2 pixels do not fit a WebP"):
        parse("webp:80").apply(np.zeros((3, 2, 16384), np.float32), key="k")


@pytest.mark.parametrize(
    "name",
    [
        *("jpeg:0", "jpeg:101", "webp:0", "noise:-1", "noise:nan", "noise:inf", "crop:-0.1", "crop:1"),
        *("blur:4", "blur:0", "blur:sigma=0", "resize:0", "resize:-1", "resize:nan", "resize:9"),
        *("platform:0", "platform:512:0", "screenshot:jpeg=0", "combined:p=-1", "combined:p=1.1", "blur"),
    ],
)
def test_strengths_that_do_not_exist(name):
    with pytest.raises(ConfigError, match="it is written"):
        parse(name)
