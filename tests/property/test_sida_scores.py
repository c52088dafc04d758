"""Whatever an image shows, a detector of SIDA descriptors has a finite score and finite evidence.

Shapes: C channels, H W pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tellsign import detectors
from tellsign.artifacts import Artifact
from tellsign.detectors.preprocessing import DescriptorInput
from tellsign.features.sida import LENGTH

RNG = np.random.default_rng(0)
BANDS = {
    f"band.{name}": RNG.uniform(size=LENGTH) for name in ("real_mean", "real_std", "fake_mean", "fake_std")
}
STATISTICS = BANDS | {"mean": RNG.normal(size=LENGTH), "scale": RNG.uniform(1e-6, 10, LENGTH)}
ARRAYS = {
    "linear": {"weights": RNG.normal(size=LENGTH), "bias": np.array(-1.0)},
    "trees": {  # 100 trees of one question
        "tree.root": np.arange(0, 300, 3),
        "tree.feature": RNG.integers(LENGTH, size=300),
        "tree.threshold": RNG.normal(size=300),
        "tree.left": np.add.outer(np.arange(0, 300, 3), [1, 1, 2]).ravel(),
        "tree.right": np.add.outer(np.arange(0, 300, 3), [2, 1, 2]).ravel(),
        "tree.value": RNG.normal(size=300),
        "bias": np.array(0.5),
    },
}


def detector(kind):
    spec = {"name": "toy", "kind": kind, "preprocessing": DescriptorInput().to_spec()}
    return detectors.from_artifact(Artifact(Path("toy"), spec, STATISTICS | ARRAYS[kind], "0" * 64))


@st.composite
def pictures(draw):
    """From flat to noise, of one level, of two, or of all, grey or in colour."""
    height, width = draw(st.integers(16, 40)), draw(st.integers(16, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = sorted((draw(st.integers(0, 255)), draw(st.integers(0, 255))))
    levels = rng.integers(low, high + 1, size=(draw(st.sampled_from([1, 3])), height, width))
    if draw(st.booleans()):  # stripes of one to all pixels
        levels = np.repeat(levels[..., : draw(st.integers(1, width))], width, axis=-1)[..., :width]
    return np.broadcast_to((levels / 255).astype(np.float32), (3, height, width))


@pytest.mark.parametrize("kind", list(ARRAYS))
@given(picture=pictures())
def test_a_score_is_finite(kind, picture):
    found = detector(kind)
    inputs = found.preprocess(picture)
    assert all(np.isfinite(array).all() for array in inputs.values())
    score = found.score({name: array[None] for name, array in inputs.items()})
    assert np.isfinite(score).all()
    shown = {one.name: one.values for one in found.explain(picture)}
    assert all(np.isfinite(values).all() for values in shown.values())
    size = np.abs((inputs["descriptor"] - STATISTICS["mean"]) / STATISTICS["scale"]).max()
    start = shown["average training image"]
    assert start + shown["influence"].sum() == pytest.approx(score[0], rel=1e-9, abs=1e-11 * (1 + size))


def test_an_image_that_is_not_finite_has_no_score():
    picture = np.full((3, 16, 16), 0.5, np.float32)
    picture[0, 3, 3] = np.nan
    for kind in ARRAYS:
        found = detector(kind)
        assert np.isnan(found.score({"descriptor": found.preprocess(picture)["descriptor"][None]})).all()
