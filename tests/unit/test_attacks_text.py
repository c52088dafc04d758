"""Attacks as texts and records, and what `run` refuses and promises whatever the attack."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tellsign.perturb.attacks import Attack, parse
from tellsign.perturb.attacks.attack import quantised
from tellsign.types import ConfigError


def mean_score(images):
    """A detector without gradients: bright images are fake."""
    return images.mean(axis=(1, 2, 3))


def levels(n=3, seed=0, size=8):
    return (np.random.default_rng(seed).integers(256, size=(n, 3, size, size)) / 255).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("none", "none"),
        ("fgsm:0.01", "fgsm:0.01"),
        (" fgsm:eps=0.010 ", "fgsm:0.01"),
        ("pgd:0.02", "pgd:0.02"),
        ("pgd:eps=0.02,steps=40", "pgd:0.02"),
        ("pgd:0.02,restarts=2,steps=10", "pgd:0.02,steps=10,restarts=2"),
        ("pgd:0.02, step=0.005", "pgd:0.02,step=0.005"),
        ("apgd:0.02", "apgd:0.02"),
        ("apgd:0.02,steps=20", "apgd:0.02,steps=20"),
        ("square:0.03,queries=1000", "square:0.03"),
        ("square:0.03,queries=50,quantise=no", "square:0.03,queries=50,quantise=false"),
        ("fgsm:1", "fgsm:1"),
        ("fgsm:2/255", "fgsm:0.00784313725490196"),
        ("fgsm:0", "fgsm:0"),
    ],
)
def test_texts_have_one_name_and_the_name_is_a_text(text, name):
    attack = parse(text)
    assert attack.name == name
    assert parse(name) == attack
    assert attack.needs_gradient == (attack.kind in ("fgsm", "pgd", "apgd"))


def test_files_hold_levels_so_rounding_is_the_default():
    assert parse("fgsm:0.01").quantise is True
    assert parse("fgsm:0.01,quantise=false").quantise is False
    assert parse("fgsm:2/255").eps == 2 / 255


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no attack"),
        ("dlr:0.1", "no attack 'dlr:0.1'; write"),
        ("fgsm", "needs an eps"),
        ("fgsm:", "eps is a number"),
        ("fgsm:a", "found 'a'"),
        ("fgsm:1/0", "found '1/0'"),
        ("fgsm:1.5", "eps is the largest change"),
        ("fgsm:-0.1", "eps is the largest change"),
        ("fgsm:nan", "eps is the largest change"),
        ("fgsm:0.1,steps=3", "options of fgsm are: eps, quantise"),
        ("none:0.1", "options of none are: none"),
        ("pgd:0.1,0.2", "has '0.2'"),
        ("pgd:0.1,steps=2.5", "steps is a whole number"),
        ("pgd:0.1,steps=0", "steps must be a whole number of at least 1"),
        ("pgd:0.1,step=0", "above 0"),
        ("pgd:0.1,eps=0.2", "says eps twice"),
        ("apgd:0.1,restarts=-1", "restarts must be"),
        ("square:0.1,queries=0", "queries must be"),
        ("square:0.1,quantise=maybe", "quantise is true or false"),
    ],
)
def test_bad_texts_say_what_is_wrong(text, words):
    with pytest.raises(ConfigError, match=words):
        parse(text)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "nothing"},
        {"kind": "pgd"},
        {"kind": "pgd", "eps": "0.1"},
        {"kind": "pgd", "eps": True},
        {"kind": "pgd", "eps": 0.1, "queries": 10},
        {"kind": "pgd", "eps": 0.1, "steps": True},
        {"kind": "pgd", "eps": 0.1, "step": 2.0},
        {"kind": "square", "eps": 0.1, "quantise": "yes"},
    ],
)
def test_bad_records_are_refused(options):
    with pytest.raises(ConfigError):
        Attack(**options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": np.zeros((3, 8, 8), np.float32)}, r"shape \(B, 3, H, W\), found \(3, 8, 8\)"),
        ({"images": np.zeros((3, 1, 8, 8), np.float32)}, r"found \(3, 1, 8, 8\)"),
        ({"images": np.zeros((0, 3, 8, 8), np.float32)}, r"found \(0, 3, 8, 8\)"),
        ({"images": [[0.5]]}, "found list"),
        ({"images": np.zeros((3, 3, 8, 8), np.uint8)}, "found uint8"),
        ({"images": np.full((3, 3, 8, 8), 255.0, np.float32)}, "divide levels by 255"),
        ({"images": np.full((3, 3, 8, 8), np.nan, np.float32)}, "found nan"),
        ({"labels": np.array([0, 1])}, "one label an image"),
        ({"labels": np.array([0, 1, 2])}, "one label an image"),
        ({"threshold": float("nan")}, "threshold must be a finite score"),
        ({"keys": ["a"]}, "1 keys and 3 images"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"target": lambda images: images.mean(axis=(2, 3))}, "one score an image"),
        ({"target": lambda images: np.full(len(images), np.nan)}, "score is NaN"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    given = {
        "target": mean_score,
        "images": levels(),
        "labels": np.array([0, 1, 1]),
        "threshold": 0.5,
    } | change
    target, images, labels = (given.pop(name) for name in ("target", "images", "labels"))
    with pytest.raises(ConfigError, match=words):
        parse("square:0.1,queries=3").run(target, images, labels, seed=0, **given)


@pytest.mark.parametrize("text", ["none", "square:0,queries=5", "fgsm:0"])
def test_nothing_may_change_at_eps_0(text):
    images = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)
    found = parse(text).run(mean_score, images, np.array([0, 1]), threshold=0.5, seed=0)
    np.testing.assert_array_equal(found, images)
    assert found is not images


def test_levels_within_eps_are_taken_and_no_others():
    images = levels()
    rng = np.random.default_rng(1)
    for eps, reach in ((0.01, 2), (0.02, 5), (0.03, 7), (2 / 255, 2)):
        adversarial = np.clip(images + rng.uniform(-eps, eps, images.shape), 0, 1).astype(np.float32)
        found = 255 * quantised(adversarial, images, eps).astype(np.float64)
        np.testing.assert_allclose(found, np.rint(found), atol=1e-4)
        difference = np.abs(found - 255 * images.astype(np.float64)).max()
        assert difference == pytest.approx(reach, abs=1e-3)
        # The nearest level, but where that is out of reach.
        assert np.abs(found - 255.0 * adversarial).max() < 1


def test_images_between_levels_keep_eps_or_are_refused():
    images = ((np.arange(192).reshape(1, 3, 8, 8) + 0.5) / 255).astype(np.float32)
    found = quantised(images, images, 0.01)
    assert np.abs(found - images).max() <= 0.01
    with pytest.raises(ConfigError, match="round the images first"):
        quantised(images, images, 0.001)


def test_square_results_are_on_levels_unless_asked_otherwise():
    images, labels = levels(), np.array([1, 1, 0])
    options = {"threshold": 0.5, "seed": 0}
    rounded = parse("square:0.01,queries=9").run(mean_score, images, labels, **options)
    exact = parse("square:0.01,queries=9,quantise=no").run(mean_score, images, labels, **options)
    assert rounded.dtype == exact.dtype == np.float32
    assert np.abs(255 * rounded - np.rint(255 * rounded)).max() < 1e-4
    assert np.abs(255 * exact - np.rint(255 * exact)).max() > 0.1
    assert np.abs(rounded - images).max() <= 2 / 255 + 1e-6


def test_texts_and_black_boxes_need_no_pytorch():
    code = (
        "import sys, numpy as np\n"
        "from tellsign.perturb.attacks import parse\n"
        "import tellsign.perturb.attacks.evaluation\n"
        "images = np.full((1, 3, 4, 4), 0.5, np.float32)\n"
        "parse('square:0.1,queries=3').run(lambda x: x.mean(axis=(1, 2, 3)), images, np.array([1]),\n"
        "                                  threshold=0.5, seed=0, keys=['a'])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.modules['torch'] = None\n"
        "try:\n"
        "    parse('pgd:0.1').run(None, images, np.array([1]), threshold=0.5, seed=0)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ConfigError")
    assert "tellsign[train]" in done.stdout
