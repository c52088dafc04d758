"""+P and platforms: which operations, in which order, at which strengths, and that these are really used."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import PIL.Image
import pytest

from pictures import natural
from tellsign import image
from tellsign.image import jpeg as jpeg_module
from tellsign.perturb import parse

N = 4000


@pytest.fixture
def written(monkeypatch):
    """The JPEG files that are made on the way."""
    files = []
    make = jpeg_module.jpeg_bytes

    def recorded(*args, **options):
        files.append(make(*args, **options))
        return files[-1]

    monkeypatch.setattr(jpeg_module, "jpeg_bytes", recorded)
    return files


def tables(data):
    with PIL.Image.open(io.BytesIO(data)) as picture:
        return jpeg_module.quantisation_tables(picture), picture.layer


def draws(name, n=N):
    return [parse(name).steps(key=str(key)) for key in range(n)]


def strengths(chains, operation):
    return np.array(
        [float(step.split(":")[1]) for chain in chains for step in chain if step.startswith(operation + ":")]
    )


def test_each_operation_has_its_chance():
    chains = draws("combined")
    for operation in ("crop", "blur", "jpeg", "noise"):
        share = len(strengths(chains, operation)) / N
        assert share == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(N))
    untouched = sum(not chain for chain in chains) / N
    assert untouched == pytest.approx(1 / 16, abs=5 * np.sqrt(1 / 16 * 15 / 16 / N))
    lengths = Counter(map(len, chains))
    for length, ways in enumerate((1, 4, 6, 4, 1)):  # independent of each other
        share = ways / 16
        assert lengths[length] / N == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / N))


def test_an_image_that_draws_nothing_stays_as_it_is():
    picture = natural(0, 24, 24)
    one = parse("combined")
    same = [np.array_equal(one.apply(picture, key=str(key)), picture) for key in range(200)]
    assert same == [not one.steps(key=str(key)) for key in range(200)]
    assert 0 < sum(same) < 40


def test_strengths_cover_their_ranges_evenly():
    chains = draws("combined:p=1")
    for operation, low, high in (("crop", 0.05, 0.2), ("noise", 5, 20), ("jpeg", 10, 75)):
        found = strengths(chains, operation)
        assert low <= found.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < found.max() <= high
        assert found.mean() == pytest.approx((low + high) / 2, abs=5 * (high - low) / np.sqrt(12 * N))
    assert set(strengths(chains, "jpeg")) == set(range(10, 76))
    kernels = Counter(strengths(chains, "blur"))
    assert set(kernels) == {1, 3, 5, 7, 9}
    for count in kernels.values():
        assert count / N == pytest.approx(0.2, abs=5 * np.sqrt(0.16 / N))


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("combined:p=1", ["crop", "blur", "jpeg", "noise"]),
        ("combined:p=1:order=listed", ["jpeg", "blur", "crop", "noise"]),
    ],
)
def test_the_order(name, order):
    for chain in draws(name, 20):
        assert [step.partition(":")[0] for step in chain] == order
    halved = [[step.partition(":")[0] for step in chain] for chain in draws(name.replace("p=1", "p=0.5"), 50)]
    assert all(chain == [each for each in order if each in chain] for chain in halved)


def test_no_chance_and_a_random_position():
    assert set(draws("combined:p=0", 50)) == {()}
    crops = [step for chain in draws("combined:position=random", 50) for step in chain if "crop" in step]
    assert crops
    assert all(step.endswith(":random") for step in crops)


def test_a_chain_is_its_steps_one_after_the_other():
    """But for noise, which takes its numbers from the chain's own source; no rounding in between."""
    picture = natural(1, 48, 80)
    for key in map(str, range(12)):
        steps = parse("combined").steps(key=key)
        if steps and not any(step.startswith("noise") for step in steps):
            expected = picture
            for step in steps:
                expected = parse(step).operation.apply(expected, np.random.default_rng(0))
            found = parse("combined").apply(picture, key=key)
            assert np.array_equal(np.rint(found * 255), np.rint(expected * 255))


def test_the_drawn_quality_is_the_one_that_is_written(written):
    picture = natural(2, 40, 40)
    qualities = []
    for key in map(str, range(12)):
        (step,) = [step for step in parse("combined:p=1").steps(key=key) if step.startswith("jpeg")]
        parse("combined:p=1").apply(picture, key=key)
        qualities.append(int(step.removeprefix("jpeg:")))
    assert len(set(qualities)) > 6
    assert [tables(data)[0] for data in written] == [image.standard_tables(quality) for quality in qualities]


@pytest.mark.parametrize(
    ("name", "qualities"),
    [
        ("jpeg:75", [75]),
        ("jpeg:10", [10]),
        ("platform:32", [85]),
        ("platform:512:40", [40]),
        ("platform:32:85-60-40", [85, 60, 40]),
        ("screenshot", []),
        ("screenshot:jpeg=75", [75]),
    ],
)
def test_jpeg_tables_are_those_of_the_asked_quality(name, qualities, written):
    parse(name).apply(natural(3, 50, 70), key="k")
    assert [tables(data)[0] for data in written] == [image.standard_tables(quality) for quality in qualities]
    for data in written:
        layers = tables(data)[1]
        assert [layer[1:3] for layer in layers] == [(2, 2), (1, 1), (1, 1)], "not 4:2:0"


def test_an_upload_is_shrunk_before_it_is_saved(written):
    parse("platform:20").apply(natural(4, 60, 90), key="k")
    with PIL.Image.open(io.BytesIO(written[0])) as picture:
        assert picture.size == (20, 13)
