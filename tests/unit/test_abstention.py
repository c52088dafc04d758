"""Rules of operating points, cross-fitted coverage and risk, and what they refuse."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from detector import write_detector
from tellsign import artifacts, hub
from tellsign.calibration import (
    Calibration,
    CalibrationConfig,
    OperatingPoint,
    Temperature,
    check_support,
    chosen_point,
    conformal_point,
    cross_fitted,
    equal_error_point,
    operating_point,
    points_by_rule,
    reliability,
    risk_coverage,
    temperature_curve,
    threshold_at_fpr,
    wilson,
)
from tellsign.scoring.decision import Decision
from tellsign.types import ConfigError

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(size=120), RNG.normal(size=100) + 2


# --- temperature ---


def test_a_temperature_keeps_zero_at_one_half():
    curve = Temperature(2.0)
    assert curve.probability(np.array([-math.inf, 0.0, 2.0, math.inf])) == pytest.approx(
        [0, 0.5, 1 / (1 + math.exp(-1)), 1]
    )


def test_scores_that_say_nothing_have_no_finite_temperature():
    curve = temperature_curve([1, 1, 0, 0], [-1.0, -2.0, 1.0, 2.0])
    assert curve.temperature == math.inf
    assert curve.probability(np.array([-math.inf, 3.0, math.inf])).tolist() == [0.5] * 3


def test_separated_classes_have_a_finite_temperature():
    assert 0 < temperature_curve([0] * 50 + [1] * 50, np.repeat([-3.0, 3.0], 50)).temperature < 3


@pytest.mark.parametrize("scores", [[0.1, 0.9], [-0.1, -0.9], [0.0, 0.5], [0.0, 0.0]])
def test_scores_on_one_side_of_zero_have_no_temperature(scores):
    with pytest.raises(ConfigError, match="use the sigmoid method"):
        temperature_curve([0, 1], scores)


@pytest.mark.parametrize("scores", [[-1e300, 1e300], [-1e-300, 1e-300]])
def test_scores_beyond_scaling_have_no_temperature(scores):
    with pytest.raises(ConfigError, match="rescale them"):
        temperature_curve([0, 1], scores)


@pytest.mark.parametrize("scores", [[-1.0, -2.0, 1.0, 2.0], [1.0, 2.0, -1.0, -2.0]])
def test_a_temperature_survives_json(scores):
    calibration = Calibration.fit([0, 0, 1, 1], scores, method="temperature")
    stored = json.loads(json.dumps(calibration.to_dict(), allow_nan=False))
    assert stored["method"] == calibration.method == "temperature"
    assert Calibration.from_dict(stored) == calibration
    assert calibration.probability([0.0]) == 0.5


@pytest.mark.parametrize(
    "broken", [{"temperature": 0.0}, {"temperature": "1"}, {"slope": 1.0}, {"temperature": -1}]
)
def test_a_broken_stored_temperature_is_refused(broken):
    stored = Calibration(Temperature(1.0), 3, 4).to_dict()
    with pytest.raises(ConfigError):
        Calibration.from_dict(stored | broken)


# --- rules ---


@pytest.mark.parametrize(
    ("config", "point"),
    [
        (CalibrationConfig(), operating_point(REAL, FAKE, fpr=0.05, fnr=0.05)),
        (CalibrationConfig(fpr=0.1, fnr=0.2), operating_point(REAL, FAKE, fpr=0.1, fnr=0.2)),
        (CalibrationConfig(fpr="eer"), equal_error_point(REAL, FAKE)),
        (CalibrationConfig(conformal=0.2), conformal_point(REAL, FAKE, alpha=0.2)),
    ],
    ids=["default", "rates", "eer", "conformal"],
)
def test_a_configuration_names_a_rule(config, point):
    assert chosen_point(REAL, FAKE, config) == point
    assert OperatingPoint.from_dict(json.loads(json.dumps(point.to_dict()))) == point
    again = CalibrationConfig.of(point)
    assert chosen_point(REAL, FAKE, again) == point
    assert again.rule == config.rule
    found = points_by_rule(REAL, FAKE, config)
    assert found[config.rule] == point.to_dict()
    assert found["eer"] == equal_error_point(REAL, FAKE).to_dict()
    assert {"fpr_0.01", "fpr_0.05"} <= found.keys()
    assert "120 real scores cannot support fpr = 0.01: found 120, needed 300" in found["fpr_0.01"]["refused"]


def test_few_scores_are_refused_rule_by_rule():
    found = points_by_rule(REAL[:29], FAKE, CalibrationConfig(conformal=0.1))
    assert "found 29, needed 60" in found["fpr_0.05"]["refused"]
    assert "found 29 of reals and 100 of fakes, needed 30 of each" in found["eer"]["refused"]
    assert found["conformal_0.1"]["n_real"] == 29


def test_platt_is_the_other_name_of_the_sigmoid():
    assert CalibrationConfig(method="platt") == CalibrationConfig()
    assert CalibrationConfig(method="temperature").method == "temperature"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fpr": "best"}, "fpr is a share .* found 'best'; or \"eer\""),
        ({"fnr": "eer"}, "fnr is a share"),
        ({"fpr": None}, "fpr is a share"),
        ({"conformal": 0}, "conformal is a share"),
        ({"conformal": "eer"}, "conformal is a share"),
        ({"conformal": [0.1]}, "conformal is a share"),
        ({"fpr": "eer", "conformal": 0.1}, "two rules for one pair of thresholds"),
        ({"method": ["platt"]}, "method is one of"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        CalibrationConfig(**options)


def test_an_unknown_rule_is_refused():
    stored = operating_point(REAL, FAKE, fpr=0.1, fnr=0.1).to_dict()
    for rule in ("magic", None, []):
        with pytest.raises(ConfigError, match="unknown rule"):
            OperatingPoint.from_dict(stored | {"rule": rule})


# --- artifacts ---


def test_a_point_of_an_older_detector_is_of_two_rates():
    stored = operating_point(REAL, FAKE, fpr=0.1, fnr=0.1).to_dict()
    del stored["rule"]
    assert OperatingPoint.from_dict(stored) == operating_point(REAL, FAKE, fpr=0.1, fnr=0.1)


def test_the_shipped_detectors_decide_as_before():
    for folder in hub.shipped_detectors().values():
        artifact = artifacts.load(folder)
        decision, stored = Decision.of(artifact), artifact.spec["operating_point"]
        assert (decision.operating_point.low, decision.operating_point.high) == (
            stored["low"],
            stored["high"],
        )
        assert (
            Calibration.from_dict(artifact.spec["calibration"]).method
            == artifact.spec["calibration"]["method"]
        )


@pytest.fixture(scope="module")
def conformal_detector(tmp_path_factory):
    folder = write_detector(tmp_path_factory.mktemp("conformal") / "d")
    artifact = artifacts.load(folder)
    real, fake = artifact.arrays["scores.real"], artifact.arrays["scores.fake"]
    config = CalibrationConfig(conformal=0.1)
    spec = artifact.spec | {
        "operating_point": chosen_point(real, fake, config).to_dict(),
        "operating_points": points_by_rule(real, fake, config),
    }
    return artifacts.save(folder, spec=spec, arrays=artifact.arrays)


def test_a_verdict_follows_the_stored_rule(conformal_detector):
    real, fake = conformal_detector.arrays["scores.real"], conformal_detector.arrays["scores.fake"]
    decision = Decision.of(conformal_detector)
    point = conformal_point(real, fake, alpha=0.1)
    assert decision.operating_point == point
    asked = np.linspace(min(real) - 1, max(fake) + 1, 300)
    assert [decision.label(s) for s in asked] == [point.label(s) for s in asked]
    assert {decision.label(s) for s in asked} == {"real", "fake", "uncertain"}


def test_a_rate_takes_the_place_of_the_stored_rule(conformal_detector):
    moved = Decision.of(conformal_detector, fpr=0.05).operating_point
    assert moved.rule == "rates"
    assert moved.high == threshold_at_fpr(conformal_detector.arrays["scores.real"], 0.05)
    refused = conformal_detector.spec["operating_points"]["fpr_0.01"]["refused"]
    with pytest.raises(ConfigError) as error:
        Decision.of(conformal_detector, fpr=0.01)
    assert str(error.value) == refused, "the stored reason is the one that a scan gives"


# --- coverage and risk ---


def by_conformal(alpha):
    return lambda real, fake: conformal_point(real, fake, alpha=alpha)


def test_cross_fitting_by_hand():
    # Two folds hold one of each pair of equal scores, and so each sets the other's thresholds.
    labels = np.array([0, 0, 1, 1])
    scores = np.array([1.0, 1.0, 5.0, 5.0])

    def point(real, fake):
        assert real.tolist() == [1.0]
        assert fake.tolist() == [5.0]
        return OperatingPoint(1.0, 5.0, 0.5, 0.5, 1, 1)

    found = cross_fitted(labels, scores, point)
    assert found.n_folds == 2
    assert (found.coverage.value, found.risk.value, found.fpr.value, found.fnr.value) == (0.5, 0, 0, 0)
    assert found.coverage.n == 4


def test_no_score_sets_its_own_threshold():
    labels, scores = np.repeat([0, 1], [30, 30]), np.arange(60.0)
    seen = []

    def point(real, fake):
        seen.append(set(real) | set(fake))
        return conformal_point(real, fake, alpha=0.2)

    found = cross_fitted(labels, scores, point)
    assert found.n_folds == len(seen) == 10
    left_out = [set(scores) - part for part in seen]
    assert sorted(s for part in left_out for s in part) == scores.tolist(), "each is left out once"
    assert all(len(part) == 6 for part in left_out)


def test_a_group_is_left_out_as_a_whole():
    groups = [f"{i // 4}" for i in range(40)] + [""] * 20
    labels, scores = np.repeat([0, 1], [40, 20]), np.arange(60.0)

    def point(real, fake):
        inside = {groups[int(s)] for s in real}
        outside = {groups[int(s)] for s in set(scores[:40]) - set(real)}
        assert not inside & outside
        return OperatingPoint(10.0, 50.0, 0.1, 0.1, 1, 1)

    found = cross_fitted(labels, scores, point, groups=groups)
    # Ten groups of four and twenty rows of their own: 60^2 / (10 * 4^2 + 20).
    assert found.coverage.n == 20
    assert found.fpr.n == 10


def test_cross_fitted_errors_keep_the_level():
    """Over many draws; on the scores that set the thresholds the error would be too small."""
    alpha, fpr, fnr = 0.2, [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        scores = np.concatenate([rng.normal(size=30), rng.normal(size=30) + 1.5])
        found = cross_fitted(np.repeat([0, 1], 30), scores, by_conformal(alpha), seed=seed)
        fpr.append(found.fpr.value)
        fnr.append(found.fnr.value)
        wrong = (fpr[-1] + fnr[-1]) / 2
        assert found.risk.value * found.coverage.value == pytest.approx(wrong)
    slack = 4 * math.sqrt(alpha * (1 - alpha) / 30 / 150)
    assert np.mean(fpr) <= alpha + slack
    assert np.mean(fnr) <= alpha + slack
    assert np.mean(fpr) >= alpha - 1 / 28 - slack


def test_one_class_alone_has_a_rate_of_its_own():
    found = cross_fitted(
        np.zeros(40), np.arange(40.0), lambda real, _: OperatingPoint(-9, 20, 0.5, 0.5, 1, 1)
    )
    assert found.fpr.value == 0.5
    assert found.fnr is None
    nothing = cross_fitted(
        np.zeros(40), np.arange(40.0), lambda real, _: OperatingPoint(-9, 99, 0.5, 0.5, 1, 1)
    )
    assert nothing.risk is None
    assert json.loads(json.dumps(nothing.to_dict()))["coverage"]["value"] == 0


@pytest.mark.parametrize(
    ("labels", "scores", "groups", "message"),
    [
        ([0, 0, 1], [1.0, 2.0, 3.0], None, "two groups of each class"),
        ([0, 0, 1, 1], [1.0, 2.0, 3.0, 4.0], ["a", "a", "", ""], "two groups of each class"),
        ([0, 0, 1, 1], [1.0, 2.0, 3.0, 4.0], ["a"], "found 1 groups and 4 rows"),
        ([], [], None, "needs a label"),
        ([0, 2], [1.0, 2.0], None, "needs a label"),
        ([0, 1], [1.0], None, "needs a label"),
        ([0, 1], [1.0, math.nan], None, "nan in row 1"),
        ([0, 0, 1, 1], [1.0, 2.0, 3.0, 4.0], None, "1 real scores cannot support conformal"),
    ],
)
def test_what_cannot_be_cross_fitted(labels, scores, groups, message):
    with pytest.raises(ConfigError, match=message):
        cross_fitted(labels, scores, by_conformal(0.1), groups=groups)


@pytest.mark.parametrize("supported", [True, False])
@pytest.mark.parametrize("rule", [CalibrationConfig(), CalibrationConfig(fpr="eer")])
def test_only_cross_fitting_takes_fewer_scores_than_a_rule_needs(rule, supported):
    if supported:
        with pytest.raises(ConfigError, match="needed"):
            chosen_point(REAL[:20], FAKE[:20], rule)
    else:
        point = chosen_point(REAL[:20], FAKE[:20], rule, supported=False)
        assert np.mean(REAL[:20] >= point.high) <= max(0.05, point.fpr)


# --- curves of what is refused ---


def test_a_detector_that_knows_when_it_errs_has_a_small_area():
    labels, certainty = np.array([1, 1, 1, 0]), np.array([4.0, 3.0, 2.0, 1.0])
    good = risk_coverage(labels, np.ones(4), certainty=certainty)
    assert good.risk.tolist() == [0, 0, 0, 0.25]
    assert good.aurc == 0.0625
    bad = risk_coverage(labels, np.ones(4), certainty=-certainty)
    assert bad.risk.tolist() == [1, 1 / 2, 1 / 3, 1 / 4]
    assert bad.aurc == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: risk_coverage([], []),
        lambda: risk_coverage([0, 2], [0.1, 0.2]),
        lambda: risk_coverage([0, 1], [0.1]),
        lambda: risk_coverage([0, 1], [0.1, 0.2], certainty=[1.0]),
        lambda: risk_coverage([0, 1], [0.1, 0.2], threshold=math.nan),
        lambda: risk_coverage([0, 1], [0.1, math.nan]),
        lambda: reliability([], []),
        lambda: reliability([0, 1], [0.1, 1.1]),
        lambda: reliability([0, 1], [0.1, math.nan]),
        lambda: reliability([0, None], [0.1, 0.2]),
        lambda: reliability([0, 1], [0.1, 0.2], n_bins=0),
        lambda: reliability([0, 1], [0.1, 0.2], groups=["a"]),
        lambda: wilson(0.5, 0),
        lambda: wilson(1.1, 3),
        lambda: wilson(math.nan, 3),
        lambda: conformal_point([1.0] * 9, [1.0] * 9, alpha=1.0),
        lambda: conformal_point([1.0] * 8 + [math.inf], [1.0] * 9, alpha=0.1),
        lambda: equal_error_point(np.ones(29), np.ones(30)),
        lambda: equal_error_point(np.ones((30, 1)), np.ones(30)),
        lambda: Temperature(0.0),
        lambda: Temperature(math.nan),
        lambda: replace(operating_point(REAL, FAKE, fpr=0.1, fnr=0.1), rule="magic"),
    ],
)
def test_impossible_values_are_refused(call):
    with pytest.raises(ConfigError):
        call()


def test_equal_probabilities_stay_in_one_bin():
    found = reliability([0, 1] * 50 + [1] * 10, [0.5] * 100 + [0.9] * 10)
    assert [(b.n, b.probability, b.fakes.value) for b in found.bins] == [
        (100, 0.5, 0.5),
        (10, pytest.approx(0.9), 1),
    ]
    assert found.share == pytest.approx(60 / 110)
    assert json.loads(json.dumps(found.to_dict()))["bins"][0]["n"] == 100


def test_a_group_is_one_trial_of_a_bin():
    pairs = [f"{row // 2}" for row in range(100)]
    assert reliability([0, 1] * 50, [0.5] * 100, groups=pairs).bins[0].fakes == wilson(0.5, 50)
    # A large group weighs: 100^2 / (50^2 + 50) = 3.9.
    found = reliability([0, 1] * 50, [0.5] * 100, groups=["a"] * 50 + [""] * 50)
    assert found.bins[0].fakes == wilson(0.5, 3)


# --- groups ---


@pytest.mark.parametrize(
    ("config", "needed"),
    [
        (CalibrationConfig(), "found 20, needed 60"),
        (CalibrationConfig(fpr="eer"), "found 20 of reals and 40 of fakes, needed 30 of each"),
        (CalibrationConfig(conformal=0.04), "found 20, needed 24"),
    ],
)
def test_a_rule_counts_groups_and_not_frames(config, needed):
    alone = chosen_point(REAL, FAKE, config)
    assert chosen_point(REAL, FAKE, config, groups=(60, 60)) == alone, "groups don't move a threshold"
    with pytest.raises(ConfigError, match=needed):
        chosen_point(REAL, FAKE, config, groups=(20, 40))
    assert needed in points_by_rule(REAL, FAKE, config, groups=(20, 40))[config.rule]["refused"]
    with pytest.raises(ConfigError, match=needed):
        check_support((len(REAL), len(FAKE)), (20, 40), config)
    with pytest.raises(
        ConfigError, match="100 fake scores of 9 groups" if config.fpr != "eer" else "9 of fakes"
    ):
        chosen_point(REAL, FAKE, config, groups=(100, 9))


def test_a_scan_refuses_what_the_groups_cannot_support(conformal_detector):
    spec = conformal_detector.spec | {"calibration_groups": {"real": 20, "fake": 60}}
    grouped = replace(conformal_detector, spec=spec)
    assert Decision.of(grouped, fpr=0.15).operating_point.rule == "rates"
    assert Decision.of(conformal_detector, fpr=0.1).operating_point.rule == "rates"
    with pytest.raises(ConfigError, match=r"of 20 groups, .* found 20, needed 30"):
        Decision.of(grouped, fpr=0.1)


def test_a_scan_at_equal_error_takes_the_stored_point(conformal_detector):
    stored = conformal_detector.spec["operating_points"]
    point = Decision.of(conformal_detector, fpr="eer").operating_point
    assert point.to_dict() == stored["eer"]
    refused = conformal_detector.spec | {"operating_points": stored | {"eer": {"refused": "too few"}}}
    with pytest.raises(ConfigError, match="too few"):
        Decision.of(replace(conformal_detector, spec=refused), fpr="eer")
    bare = {k: v for k, v in conformal_detector.spec.items() if k != "operating_points"}
    with pytest.raises(ConfigError, match="no thresholds of equal error"):
        Decision.of(replace(conformal_detector, spec=bare), fpr="eer")


def test_the_shipped_detector_still_decides():
    artifact = artifacts.load(hub.detector_path("spectrum"))
    assert Decision.of(artifact).operating_point.to_dict() == artifact.spec["operating_point"]
    assert Decision.of(artifact, fpr="eer").operating_point.rule == "eer"


def test_groups_of_both_classes_leave_each_fold_some_of_each():
    # Of each class one group of its own and one that is shared: the other fold must hold one of the two.
    labels, groups = [0, 0, 1, 1], ["real", "both", "both", "fake"]

    def point(real, fake):
        assert len(real) == len(fake) == 1
        return OperatingPoint(0.0, 0.0, 0.5, 0.5, 1, 1)

    for seed in range(5):
        found = cross_fitted(labels, [1.0, 2.0, 3.0, 4.0], point, groups=groups, seed=seed)
        assert (found.n_folds, found.fpr.value) == (2, 1)
