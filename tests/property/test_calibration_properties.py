"""What holds for calibration whatever the scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tellsign.calibration import (
    Calibration,
    operating_point,
    shift_prior,
    threshold_at_fnr,
    threshold_at_fpr,
)

METHODS = st.sampled_from(["sigmoid", "isotonic"])
SCORES = st.integers(-5, 5).map(float) | st.floats(-1e3, 1e3, allow_subnormal=False)
PRIORS = st.floats(0.001, 0.999)


@st.composite
def tables(draw):
    n_real, n_fake = (draw(st.integers(1, 20)) for _ in range(2))
    scores = draw(st.lists(SCORES, min_size=n_real + n_fake, max_size=n_real + n_fake))
    # Scores that differ by less than any detector can mean have no spread to standardise.
    assume(np.ptp(scores) == 0 or np.ptp(scores) > 1e-6)
    return np.repeat([0, 1], [n_real, n_fake]), np.array(scores)


@given(tables(), METHODS, st.lists(SCORES | st.floats(allow_nan=False), min_size=2), PRIORS | st.none())
def test_probability_never_falls_when_the_score_rises(rows, method, scores, prior):
    calibration = Calibration.fit(*rows, method=method)
    asked = np.sort(
        np.concatenate([scores, rows[1], np.nextafter(rows[1], -np.inf), np.nextafter(rows[1], np.inf)])
    )
    found = calibration.probability(asked, prior=prior)
    assert (found > 0).all()
    assert (found < 1).all()
    assert (np.diff(found) >= -1e-15).all()


@given(tables(), METHODS)
def test_calibration_survives_json(rows, method):
    calibration = Calibration.fit(*rows, method=method)
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


@given(tables(), METHODS)
def test_calibrated_mean_is_the_share_of_fakes(rows, method):
    labels, scores = rows
    calibration = Calibration.fit(labels, scores, method=method)
    found = calibration.curve.probability(scores).mean()
    if method == "isotonic":
        assert found == pytest.approx(calibration.prior, abs=1e-9)
    else:
        n_real, n_fake = calibration.n_real, calibration.n_fake
        smoothed = (n_fake * (n_fake + 1) / (n_fake + 2) + n_real / (n_real + 2)) / len(labels)
        assert found == pytest.approx(smoothed, abs=1e-9)


@given(st.lists(st.floats(0.001, 0.999), min_size=1), PRIORS, PRIORS, PRIORS)
def test_prior_shifts_undo_and_compose(probabilities, first, second, third):
    there = shift_prior(probabilities, from_prior=first, to_prior=second)
    assert shift_prior(there, from_prior=second, to_prior=first) == pytest.approx(probabilities, rel=1e-6)
    at_once = shift_prior(probabilities, from_prior=first, to_prior=third)
    assert shift_prior(there, from_prior=second, to_prior=third) == pytest.approx(at_once, rel=1e-6)
    order = np.argsort(probabilities, kind="stable")
    assert (np.diff(there[order]) >= -1e-15).all()
    if first < second:
        assert (there >= np.array(probabilities) - 1e-15).all()


@given(st.lists(SCORES, min_size=30, max_size=80), st.floats(0.11, 0.9))
def test_thresholds_are_the_last_that_keep_their_rate(scores, rate):
    values = np.array(scores)
    high = threshold_at_fpr(values, rate)
    assert (values >= high).mean() <= rate < (values >= np.nextafter(high, -np.inf)).mean()
    low = threshold_at_fnr(values, rate)
    assert (values < low).mean() <= rate < (values < np.nextafter(low, np.inf)).mean()


@given(
    st.lists(SCORES, min_size=30, max_size=60),
    st.lists(SCORES, min_size=30, max_size=60),
    st.sampled_from([0, 1, 2000]),
    st.floats(0.11, 0.6),
    st.floats(0.11, 0.6),
)
def test_operating_point_keeps_both_rates(real, fake, distance, fpr, fnr):
    real, fake = np.array(real), np.array(fake) + distance
    point = operating_point(real, fake, fpr=fpr, fnr=fnr)
    assert point.low <= point.high
    assert np.mean([point.label(score) == "fake" for score in real]) <= fpr
    assert np.mean([point.label(score) == "real" for score in fake]) <= fnr
