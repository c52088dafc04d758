"""Names of perturbations: read, written back, refused where wrong; what is random hangs on them alone."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from pictures import natural
from tellsign.perturb import Perturbation, parse, suite
from tellsign.perturb.equalise import Equalisation
from tellsign.perturb.naming import OPERATIONS, usage, usages
from tellsign.types import FAKE, REAL, ConfigError

DOCS = Path(__file__).resolve().parents[2] / "docs" / "perturbations.md"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *((name, name) for name in suite()),
        ("both@jpeg:75", "jpeg:75"),
        ("fake@jpeg:quality=75", "fake@jpeg:75"),
        ("real@none", "real@none"),
        ("crop:.10:centre", "crop:0.1"),
        ("crop:position=random:fraction=1e-1", "crop:0.1:random"),
        ("noise:10.0", "noise:10"),
        ("noise:7.25", "noise:7.25"),
        ("blur:5", "blur:5"),
        ("blur:sigma=1.50", "blur:sigma=1.5"),
        ("blur:sigma=2:kernel=7", "blur:7:sigma=2"),
        ("resize:0.5:keep", "resize:0.5:keep"),
        ("platform:1080:85", "platform:1080"),
        ("platform:1080:85-40", "platform:1080:85-40"),
        ("screenshot:jpeg=085", "screenshot:jpeg=85"),
        ("combined:order=yu:p=0.5:position=centre", "combined"),
        ("combined:order=listed:p=1", "combined:p=1:order=listed"),
    ],
)
def test_canonical_names(text, name):
    found = parse(text)
    assert found.name == name
    assert parse(found.name) == found
    assert hash(parse(found.name)) == hash(found)
    assert pickle.loads(pickle.dumps(found)) == found
    assert found.identity == name


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "@", "foo", "JPEG:75", "jpeg", "jpeg:", "jpeg:high", "jpeg:75:80", "jpeg:75:", "jpeg:7.5"),
        *("jpeg:75:quality=75", "jpeg:q=75", "none:1", "x@jpeg:75", "@jpeg:75", "fake@", "fake@both@none"),
        *("crop", "crop:0.1:left", "resize:0.5:drop", "resize:0.5:keep:keep", "blur:5:sigma", "blur:5:1"),
        *("combined:1", "combined:p=", "combined:order=random", "platform:512:85-", "platform:512:85,40"),
        *("equalise", "equalise:", "equalise:no-such-file", "equalise:\0", " jpeg:75", "jpeg:75\n:"),
    ],
)
def test_bad_names(text):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    message = str(caught.value)
    assert any(listed in message for listed in (*usages(), "both, fake, real"))


def test_an_unknown_name_gets_the_list():
    with pytest.raises(ConfigError) as caught:
        parse("sharpen:3")
    for name in OPERATIONS:
        assert usage(name) in str(caught.value)


def test_two_perturbations_differ():
    assert parse("jpeg:75") != parse("jpeg:74")
    assert parse("jpeg:75") != parse("fake@jpeg:75")
    with pytest.raises((FrozenInstanceError, AttributeError)):
        parse("jpeg:75").name = "none"


def test_classes():
    both, fake, real = (parse(f"{prefix}noise:10") for prefix in ("", "fake@", "real@"))
    assert [both.touches(label) for label in (REAL, FAKE, None)] == [True, True, True]
    assert [fake.touches(label) for label in (REAL, FAKE)] == [False, True]
    assert [real.touches(label) for label in (REAL, FAKE)] == [True, False]
    for one in (fake, real):
        with pytest.raises(ConfigError, match="no label"):
            one.touches(None)
    image = natural(0)
    assert np.array_equal(fake.apply(image, key="k"), both.apply(image, key="k")), "the class moved the noise"


def test_the_suite():
    assert suite()[0] == "none"
    assert len(set(suite())) == len(suite())
    assert {name.partition(":")[0] for name in suite()} == set(OPERATIONS) - {"equalise"}
    assert all(isinstance(parse(name), Perturbation) for name in suite())


def test_the_page_explains_every_operation():
    page = DOCS.read_text(encoding="utf-8")
    for name in OPERATIONS:
        assert f"`{usage(name)}`".replace("|", "\\|") in page, name
    for name in suite():
        assert f"`{name}`" in page, name


# randomness

RANDOM = ("noise:10", "combined:p=1", "crop:0.2:random")


@pytest.mark.parametrize("name", RANDOM)
def test_an_image_gets_the_same_pixels_each_time_and_in_any_order(name):
    pictures = {str(number): natural(number, 40, 40) for number in range(6)}
    forward = {key: parse(name).apply(picture, key=key) for key, picture in pictures.items()}
    one = pickle.loads(pickle.dumps(parse(name)))  # as another process gets it
    np.random.seed(1)  # noqa: NPY002 - a state that must not matter
    for key in reversed(pictures):
        assert np.array_equal(one.apply(pictures[key], key=key), forward[key])


@pytest.mark.parametrize("name", RANDOM)
def test_another_key_seed_or_name_gives_other_pixels(name):
    image = natural(0)
    base = parse(name).apply(image, key="a")
    assert not np.array_equal(base, parse(name).apply(image, key="b"))
    assert not np.array_equal(base, parse(name).apply(image, key="a", seed=1))


def test_names_do_not_share_their_noise():
    image = np.full((3, 100, 100), 0.5, np.float32)
    one, two = (parse(name).apply(image, key="a") - image for name in ("noise:400", "noise:401"))
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 5 / np.sqrt(image.size)


def test_the_key_and_the_seed_are_kept_apart():
    first = parse("combined:p=1").steps(key="1", seed=11)
    assert first != parse("combined:p=1").steps(key="11", seed=1)


PINNED = ("crop:0.18190918615061497", "blur:5", "jpeg:37", "noise:14.689087162996827")


def test_draws_are_pinned():
    """Tables that were made with an earlier version stay comparable: these draws are part of the format."""
    assert parse("combined:p=1").steps(key="0" * 64) == PINNED
    assert parse("combined:p=1").steps(key="0" * 64) == parse("fake@combined:p=1").steps(key="0" * 64)


def test_nothing_random_does_not_need_a_key():
    image = natural(0)
    for name in ("jpeg:75", "blur:5", "resize:0.5", "webp:80", "platform:32", "screenshot", "crop:0.1"):
        assert np.array_equal(parse(name).apply(image, key="a"), parse(name).apply(image, key="b", seed=3))


def test_none_gives_the_pixels_back_unrounded():
    image = natural(0)
    assert not np.array_equal(image, np.rint(image * 255) / 255)
    assert np.array_equal(parse("none").apply(image, key="a"), image)
    assert parse("none").steps(key="a") == ()


def test_files_with_colons_and_equals_signs_in_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = natural(0)
    Equalisation.fit([image], [natural(1)]).save("a:b=c@d")
    plain, own = parse("fake@equalise:a:b=c@d"), parse("equalise:a:b=c@d:per-image")
    assert plain.name == "fake@equalise:a:b=c@d"
    assert own.name == "equalise:a:b=c@d:per-image"
    assert not plain.operation.per_image
    assert own.operation.per_image
    for one in (plain, own):
        assert parse(one.name) == one
        assert np.array_equal(
            pickle.loads(pickle.dumps(one)).apply(image, key="k"), one.apply(image, key="k")
        )


def test_another_file_under_the_same_name_is_another_perturbation(tmp_path):
    path = tmp_path / "gain.safetensors"
    Equalisation.fit([natural(0)], [natural(1)]).save(path)
    before = parse(f"equalise:{path}")
    Equalisation.fit([natural(0)], [natural(2)]).save(path)
    after = parse(f"equalise:{path}")
    assert before.name == after.name
    assert before != after
    assert before.identity != after.identity
    assert before.identity.startswith(before.name + "@")
