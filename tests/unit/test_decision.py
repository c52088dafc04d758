"""From a score to a label and a probability; the check that an input is of a known kind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import write_detector
from tellsign import artifacts
from tellsign.calibration import Calibration, OperatingPoint, shift_prior
from tellsign.calibration.curves import Sigmoid
from tellsign.scoring.decision import Decision, domain_distance, domain_level, domain_shape
from tellsign.types import ConfigError, NotFittedError

if TYPE_CHECKING:
    from tellsign.artifacts import Artifact

POINT = OperatingPoint(low=-1.0, high=1.0, fpr=0.05, fnr=0.05, n_real=100, n_fake=100)
DECISION = Decision(Calibration(Sigmoid(1.0, 0.0), 100, 100), POINT, prior=0.5, domain_limit=2.0)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return artifacts.load(write_detector(tmp_path_factory.mktemp("detector") / "stand-in"))


@pytest.mark.parametrize(
    ("score", "label"),
    [
        (-9.0, "real"),
        (np.nextafter(-1.0, -2), "real"),
        (-1.0, "uncertain"),
        (0.0, "uncertain"),
        (np.nextafter(1.0, 0), "uncertain"),
        (1.0, "fake"),
        (9.0, "fake"),
    ],
)
def test_labels_at_their_edges(score: float, label: str) -> None:
    assert DECISION.label(score) == label
    assert POINT.label(score) == label


def test_the_threshold_is_where_fake_begins() -> None:
    assert pytest.approx(1 / (1 + np.exp(-1.0))) == DECISION.threshold
    assert DECISION.probability(1.0) == DECISION.threshold


@given(st.floats(-50, 50), st.sampled_from([0.001, 0.1, 0.5, 0.9]))
def test_label_and_probability_agree_at_every_prior(score: float, prior: float) -> None:
    moved = replace(DECISION, prior=prior)
    assert moved.label(score) == DECISION.label(score), "a prior moves the probability, not the label"
    if moved.label(score) == "fake":
        assert moved.probability(score) >= moved.threshold
    else:
        assert moved.probability(score) <= moved.threshold
    assert 0 < moved.probability(score) < 1


def test_a_prior_moves_the_probability_by_bayes_rule(artifact: Artifact) -> None:
    stored, moved = Decision.of(artifact), Decision.of(artifact, prior=0.01)
    assert stored.prior == 0.5
    assert moved.prior == 0.01
    expected = shift_prior(stored.probability(0.3), from_prior=0.5, to_prior=0.01)
    assert moved.probability(0.3) == pytest.approx(float(expected))
    assert moved.probability(0.3) < stored.probability(0.3)


def test_a_rate_moves_the_threshold(artifact: Artifact) -> None:
    real = artifact.arrays["scores.real"]
    moved = Decision.of(artifact, fpr=0.1)
    assert moved.operating_point.fpr == 0.1
    assert np.mean(real >= moved.operating_point.high) <= 0.1
    assert np.mean(real >= np.nextafter(moved.operating_point.high, -np.inf)) > 0.1
    assert moved.operating_point.low <= moved.operating_point.high
    assert moved.threshold <= Decision.of(artifact).threshold


def test_a_strict_rate_leaves_the_lower_threshold_alone(artifact: Artifact) -> None:
    spec = artifact.spec | {"operating_point": artifact.spec["operating_point"] | {"low": -9.0}}
    moved = Decision.of(replace(artifact, spec=spec), fpr=0.06)
    assert moved.operating_point.low == -9.0


@pytest.mark.parametrize("fpr", [0.001, 0.0, 1.0, -0.1, float("nan")])
def test_a_rate_that_the_data_cannot_support_is_refused(artifact: Artifact, fpr: float) -> None:
    with pytest.raises(ConfigError, match="fpr"):
        Decision.of(artifact, fpr=fpr)


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.5, 5.0, float("nan")])
def test_a_prior_is_a_share(artifact: Artifact, prior: float) -> None:
    with pytest.raises(ConfigError, match="--prior is a share between 0 and 1"):
        Decision.of(artifact, prior=prior)


def test_a_detector_without_calibration_says_how_to_mend_it(artifact: Artifact) -> None:
    bare = replace(artifact, spec={k: v for k, v in artifact.spec.items() if k != "calibration"})
    with pytest.raises(NotFittedError, match="tellsign calibrate"):
        Decision.of(bare)


def test_settings_tell_two_decisions_apart(artifact: Artifact) -> None:
    base = Decision.of(artifact).as_settings()
    assert base == Decision.of(artifact).as_settings()
    for other in (Decision.of(artifact, fpr=0.2), Decision.of(artifact, prior=0.2)):
        assert other.as_settings() != base


def test_the_level_is_a_root_mean_square() -> None:
    assert domain_level(np.array([[3.0, 4.0], [0.0, 0.0], [-2.0, 2.0]])) == pytest.approx(
        [np.sqrt(12.5), 0.0, 2.0]
    )


def test_the_shape_is_a_mahalanobis_distance() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(5, 4))
    half = rng.normal(size=(4, 4))
    precision = half @ half.T
    expected = [np.sqrt(row @ precision @ row / 4) for row in z]
    assert domain_shape(z, precision) == pytest.approx(expected)


def test_the_distance_is_the_larger_of_the_two_in_units_of_the_training() -> None:
    arrays = {
        "domain.mean": np.array([1.0, 1.0]),
        "domain.std": np.array([2.0, 2.0]),
        "domain.precision": np.diag([1.0, 100.0]),
        "domain.scales": np.array([1.0, 2.0]),
    }
    level = np.array([[7.0, 1.0]])  # z = (3, 0): level 3 / √2, shape 3 / √2 / 2
    bent = np.array([[1.0, 2.0]])  # z = (0, ½): level ½ / √2, shape 5 / √2 / 2
    found = domain_distance(np.concatenate([level, bent, [[1.0, 1.0]]]), arrays)
    assert found == pytest.approx([3 / np.sqrt(2), 2.5 / np.sqrt(2), 0.0])


def test_a_distance_does_not_depend_on_its_neighbours(artifact: Artifact) -> None:
    rng = np.random.default_rng(1)
    profiles = rng.normal(size=(9, len(artifact.arrays["mean"])))
    together = domain_distance(profiles, artifact.arrays)
    alone = [domain_distance(profiles[k : k + 1], artifact.arrays)[0] for k in range(len(profiles))]
    assert together.tolist() == alone


def test_a_warning_from_the_limit_on() -> None:
    assert DECISION.domain_warning(2.0) is None
    warning = DECISION.domain_warning(2.51)
    assert warning
    assert "distance 2.51, limit 2.00" in warning
    assert "(distance 2.0004, limit 2.0000)" in (DECISION.domain_warning(2.0004) or ""), "they must differ"
    assert "(distance 2.0000000000000004, limit 2.0" in (DECISION.domain_warning(np.nextafter(2, 3)) or "")
    assert DECISION.domain_warning(float("nan")) is not None, "an unknown distance is no trusted one"
