"""+E: the spectrum after it is measured again; gains, limits, files, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from pictures import natural
from tellsign.features.spectrum import n_rings, profile
from tellsign.perturb import parse
from tellsign.perturb.equalise import Equalisation
from tellsign.types import ConfigError, ImageError


def soft(seed, height=64, width=64):
    """A natural image of low contrast, so that nothing is clipped."""
    return (0.5 + 0.6 * (natural(seed, height, width) - 0.5)).astype(np.float32)


def damped(seed, height=64, width=64):
    """A soft image whose high frequencies are too weak, in each channel another way."""
    image = soft(seed, height, width)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    gains = [1 / (1 + strength * frequency**2) for strength in (2, 4, 6)]
    planes = [
        np.fft.irfft2(np.fft.rfft2(plane) * gain, s=(height, width))
        for plane, gain in zip(image, gains, strict=True)
    ]
    return np.clip(planes, 0, 1).astype(np.float32)


def amplitudes(pictures, logarithm=False):
    """(3, K) mean amplitude of each ring, by a loop over rings of the whole shifted spectrum."""
    sums = 0
    for picture in pictures:
        values = np.abs(np.fft.fftshift(np.fft.fft2(picture.astype(np.float64)), axes=(1, 2)))
        values = np.log(values) if logarithm else values
        height, width = picture.shape[1:]
        y, x = np.indices((height, width))
        squared = (x - width // 2) ** 2 + (y - height // 2) ** 2
        rings = range(int(np.sqrt(squared.max())) + 1)
        masks = [(k**2 <= squared) & (squared < (k + 1) ** 2) for k in rings]
        sums = sums + np.stack([values[:, mask].mean(axis=1) for mask in masks], axis=1)
    means = sums / len(pictures)
    return np.exp(means) if logarithm else means


@pytest.fixture(scope="module")
def fakes():
    return [damped(seed) for seed in range(40)]


@pytest.fixture(scope="module")
def reals():
    return [soft(seed) for seed in range(100, 140)]


@pytest.mark.parametrize("means", ["amplitude", "log"])
def test_amplitudes_are_those_of_a_slow_loop(fakes, reals, means):
    found = Equalisation.fit(iter(fakes[:3]), iter(reals[:2]), means=means)
    assert found.counts == (3, 2)
    np.testing.assert_allclose(found.fake, amplitudes(fakes[:3], means == "log"), rtol=1e-9)
    np.testing.assert_allclose(found.real, amplitudes(reals[:2], means == "log"), rtol=1e-9)


@pytest.mark.parametrize("size", [16, 31, 64])
def test_rings_are_those_of_the_profile(size):
    """A point has the amplitude 1 everywhere and cosines pick out rings: the same ring for the same wave."""
    x = np.arange(size)
    for row, column in ((0, 3), (2, 5), (4, 0), (3, 4), (7, 1)):
        wave = 0.5 + 0.25 * np.cos(2 * np.pi * (row * x[:, None] + column * x) / size)
        image = np.stack([wave] * 3).astype(np.float32)
        rings = Equalisation.fit([image], [image]).fake[0]
        power = profile(wave[None], preset="paper", normalise="none")[0]
        kept = n_rings(size, size, "paper")
        assert np.argmax(rings[1:]) == np.argmax(power[1:])
        assert np.count_nonzero(rings[1:kept] > 1e-3 * rings[0]) == 1


@pytest.mark.parametrize("means", ["amplitude", "log"])
def test_fakes_have_the_mean_spectrum_of_reals_afterwards(fakes, reals, means):
    """On every ring within 8 %, in the mean within 2 %, where up to three quarters were missing before."""
    fitted = Equalisation.fit(fakes, reals, means=means)
    wanted = amplitudes(reals, means == "log")[:, 1:]
    before = amplitudes(fakes, means == "log")[:, 1:] / wanted
    assert before.min() < 0.5
    equalised = [fitted.apply(fake) for fake in fakes]
    after = amplitudes(equalised, means == "log")[:, 1:] / wanted
    assert np.abs(after - 1).max() < 0.08
    assert np.abs(after - 1).mean() < 0.02
    for fake, result in zip(fakes, equalised, strict=True):
        assert np.abs(fake.mean(axis=(1, 2)) - result.mean(axis=(1, 2))).max() < 1 / 255, "brightness moved"
        assert np.array_equal(result, (np.rint(result * 255) / 255).astype(np.float32))


def test_the_papers_profile_is_that_of_reals_afterwards(fakes, reals):
    """The power profile, which was not what was fitted, of grey images: within 25 % on every ring."""
    fitted = Equalisation.fit(fakes, reals)

    def power(pictures):
        greys = np.stack([picture.mean(axis=0) for picture in pictures]).astype(np.float64)
        return profile(greys, preset="paper", normalise="none").mean(axis=0)[3:]

    before, after = (power(set_) / power(reals) for set_ in (fakes, [fitted.apply(f) for f in fakes]))
    assert before.min() < 0.3
    assert np.abs(after - 1).max() < 0.25
    assert np.abs(after - 1).mean() < 0.08


def test_each_image_by_itself(fakes, reals):
    """One fake of half the contrast: the set's gain leaves it weak, its own brings it up."""
    fitted = Equalisation.fit(fakes, reals)
    weak = (0.5 + 0.5 * (fakes[0] - 0.5)).astype(np.float32)
    wanted = amplitudes(reals)[:, 3:]
    by_set, by_image = (
        amplitudes([fitted.apply(weak, per_image=per_image)])[:, 3:] / wanted for per_image in (False, True)
    )
    assert by_set.mean() == pytest.approx(0.5, abs=0.1)
    assert by_image.mean() == pytest.approx(1, abs=0.05)


def test_half_the_contrast_is_doubled_exactly():
    """All gains are 2 but that of DC, so the pixels are known."""
    image = soft(3)
    fake = (0.5 + 0.5 * (image.astype(np.float64) - 0.5)).astype(np.float64)
    fitted = Equalisation.fit([fake], [image.astype(np.float64)])
    np.testing.assert_allclose(fitted.gain()[:, 1:], 2, rtol=1e-9)
    assert np.array_equal(fitted.gain()[:, 0], [1, 1, 1])
    mean = fake.mean(axis=(1, 2), keepdims=True)
    expected = np.clip(mean + 2 * (fake - mean), 0, 1)
    assert np.abs(fitted.apply(fake) - expected).max() < 0.501 / 255


def test_equal_sets_change_nothing():
    image = soft(4)
    fitted = Equalisation.fit([image], [image])
    assert np.abs(fitted.apply(image) - image).max() <= 0.501 / 255


def test_gains_stay_within_their_limits():
    even, rich = np.full((3, 32, 32), 0.5, np.float32), soft(0, 32, 32)
    up, down, none = (
        Equalisation.fit([a], [b]).gain() for a, b in ((even, rich), (rich, even), (even, even))
    )
    assert up[:, 1:].max() == 10
    assert down[:, 1:].min() == 0.1
    assert (up[:, 0] == 1).all()
    narrow = Equalisation.fit([rich], [even], limits=(0.5, 2)).gain()
    assert narrow[:, 1:].min() == 0.5
    assert np.isfinite(none).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (2, 2), (3, 3), (5, 4), (16, 48), (47, 16)])
def test_tiny_and_oblong_images(size):
    pictures = [natural(seed, 48, 48)[:, : size[0], : size[1]] for seed in range(4)]
    fitted = Equalisation.fit(pictures[:2], pictures[2:])
    result = fitted.apply(pictures[0])
    assert result.shape == pictures[0].shape
    assert 0 <= result.min() <= result.max() <= 1


def test_an_oblong_image_joins_equal_frequencies():
    """One wave of 8 pixels along either axis is in the same ring, whatever the sides."""
    rows, columns = np.arange(32)[:, None], np.arange(64)
    upright, lying = (0.5 + 0.2 * np.cos(2 * np.pi * place / 8) for place in (rows, columns))
    for wave in (upright, lying):
        image = np.broadcast_to(wave, (3, 32, 64)).astype(np.float32)
        assert np.argmax(Equalisation.fit([image], [image]).fake[0, 1:]) == 3  # 32 pixels / 8, less DC


def test_another_size_is_refused(fakes, reals):
    with pytest.raises(ImageError, match="number 2 of the reals has 48 × 32 pixels, those before it have 64"):
        Equalisation.fit(fakes[:2], [reals[0], soft(0, 32, 48)])
    with pytest.raises(ImageError, match="number 2 of the fakes"):
        Equalisation.fit([fakes[0], soft(0, 32, 48)], reals)
    with pytest.raises(ImageError, match="48 × 32 pixels, the equalisation was fitted to 64 × 64"):
        Equalisation.fit(fakes[:1], reals[:1]).apply(soft(0, 32, 48))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"means": "power"}, "amplitude, log"),
        ({"limits": (0, 10)}, "limits"),
        ({"limits": (2, 10)}, "limits"),
        ({"limits": (0.1, np.inf)}, "limits"),
        ({"limits": (np.nan, 10)}, "limits"),
    ],
)
def test_options_that_do_not_exist(options, message):
    def never():
        raise AssertionError("options are looked at first")
        yield

    with pytest.raises(ConfigError, match=message):
        Equalisation.fit(never(), never(), **options)


def test_empty_sets_and_no_images(fakes):
    with pytest.raises(ConfigError, match="no fakes"):
        Equalisation.fit([], fakes)
    with pytest.raises(ConfigError, match="no reals"):
        Equalisation.fit(fakes[:1], [])
    with pytest.raises(ImageError):
        Equalisation.fit([np.full((3, 8, 8), np.nan, np.float32)], fakes)


# files


@pytest.mark.parametrize("means", ["amplitude", "log"])
def test_saved_and_loaded(fakes, reals, means, tmp_path):
    fitted = Equalisation.fit(fakes[:2], reals[:3], limits=(0.25, 4), means=means)
    fitted.save(tmp_path / "gain")
    loaded = Equalisation.load(tmp_path / "gain")
    assert (loaded.size, loaded.counts) == ((64, 64), (2, 3))
    assert (loaded.limits, loaded.means) == ((0.25, 4), means)
    for per_image in (False, True):
        assert np.array_equal(
            loaded.apply(fakes[5], per_image=per_image), fitted.apply(fakes[5], per_image=per_image)
        )
    for name, per_image in (("equalise:{}", False), ("fake@equalise:{}:per-image", True)):
        perturbed = parse(name.format(tmp_path / "gain")).apply(fakes[5], key="k")
        assert np.array_equal(perturbed, fitted.apply(fakes[5], per_image=per_image))
    fitted.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "gain").read_bytes()


DAMAGES = {
    "cut": lambda arrays, data: data[: len(data) // 2],
    "text": lambda arrays, data: b"no arrays at all",
    "empty": lambda arrays, data: b"",
    "missing": lambda arrays, data: {key: value for key, value in arrays.items() if key != "real"},
    "more": lambda arrays, data: arrays | {"code": np.zeros(3)},
    "rings": lambda arrays, data: arrays | {"real": arrays["real"][:, :-1].copy()},
    "size": lambda arrays, data: arrays | {"size": np.array([0, 64])},
    "huge": lambda arrays, data: arrays | {"size": np.array([1 << 40, 64])},
    "three sides": lambda arrays, data: arrays | {"size": np.array([64, 64, 3])},
    "nan": lambda arrays, data: arrays | {"fake": arrays["fake"] * np.nan},
    "negative": lambda arrays, data: arrays | {"fake": -arrays["fake"]},
    "limits": lambda arrays, data: arrays | {"limits": np.array([3.0, 1.0])},
    "one channel": lambda arrays, data: arrays | {"fake": arrays["fake"][0].copy()},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_files_that_are_none(fakes, reals, damage, tmp_path):
    from safetensors.numpy import load, save

    path = tmp_path / "gain"
    Equalisation.fit(fakes[:1], reals[:1]).save(path)
    data = path.read_bytes()
    damaged = DAMAGES[damage](load(data), data)
    path.write_bytes(damaged if isinstance(damaged, bytes) else save(damaged))
    with pytest.raises(ConfigError, match="is no equalisation"):
        Equalisation.load(path)
    with pytest.raises(ConfigError):
        parse(f"equalise:{path}")


def test_paths_that_do_not_work(fakes, tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Equalisation.load(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="cannot write"):
        Equalisation.fit(fakes[:1], fakes[:1]).save(tmp_path / "no" / "folder")
