"""The detectors' arithmetic against scikit-learn's own, on features that look like spectrum profiles.

Each estimator is fitted here anew from the paper's settings, not taken from `tellsign.systems`.

Shapes: B samples, K features.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tellsign import detectors
from tellsign.artifacts import Artifact
from tellsign.detectors.vector import class_bands
from tellsign.systems.spectrum.config import CLASSIFIERS, SpectrumConfig
from tellsign.systems.spectrum.model import fit
from tellsign.types import ConfigError

pytest.importorskip("sklearn")

K, TOLERANCE = 30, 1e-9


def features(n, seed=0):
    """(n, K) profiles that fall from 1 as those of images do, and (n,) labels; the fakes fall slower."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    labels[:2] = 0, 1
    frequency = np.linspace(0, 1, K)
    slope = 0.5 - 0.1 * labels + 0.05 * rng.normal(size=n)
    rows = 1 - slope[:, None] * frequency + 0.03 * rng.normal(size=(n, K)) * frequency
    rows[:, 0] = 1  # divided by itself: a feature without any deviation
    return rows, labels


def detector_of(fitted, rows, labels, options):
    """The detector that an artifact of these arrays describes."""
    spec = {"name": "toy", "kind": fitted.kind, "preprocessing": options.to_spec()}
    artifact = Artifact(Path("toy"), spec, {**fitted.arrays, **class_bands(rows, labels)}, "0" * 64)
    return detectors.from_artifact(artifact)


def sklearn_scores(classifier, c, gamma, standardise, train, labels, test, seed=0):
    """Higher = more fake, by scikit-learn alone."""
    from sklearn.cluster import KMeans
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    estimator = {
        "linear_svm": lambda: SVC(kernel="linear", C=c),
        "rbf_svm": lambda: SVC(kernel="rbf", C=c, gamma=gamma),
        "logistic_regression": lambda: LogisticRegression(
            solver="liblinear", C=c, max_iter=1000, random_state=seed
        ),
        "kmeans": lambda: KMeans(n_clusters=2, n_init=10, random_state=seed),
    }[classifier]()
    model = make_pipeline(StandardScaler(), estimator) if standardise else estimator
    if classifier != "kmeans":
        return model.fit(train, labels).decision_function(test)
    fake = round(np.mean(model.fit_predict(train) == labels))  # the cluster that more fakes are in
    distances = model.transform(test) ** 2
    return distances[:, 1 - fake] - distances[:, fake]


def difference(found, expected):
    """Largest difference, in units of the scores' own size where that is above 1."""
    return np.max(np.abs(found - expected)) / max(1, np.abs(expected).max())


def config_of(classifier, *, standardise=False, **options):
    return SpectrumConfig(
        **{"classifier": classifier, "standardise": standardise, "crop": None, "length": K} | options
    )


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize("c", [1.0, 6.37])
def test_scores_are_those_of_scikit_learn(classifier, standardise, c):
    train, labels = features(120)
    test, _ = features(60, seed=1)
    config = config_of(classifier, standardise=standardise, c=c)
    fitted = fit(train, labels, config)
    found = detector_of(fitted, train, labels, config.input).score({"profile": test})
    expected = sklearn_scores(classifier, c, 0.86, standardise, train, labels, test)
    assert difference(found, expected) < TOLERANCE
    assert found[features(60, seed=1)[1] == 1].mean() > found[features(60, seed=1)[1] == 0].mean()


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_profiles_that_are_not_normalised_give_those_scores_too(classifier):
    """Log magnitudes of some hundreds: where squared distances lose digits."""
    train, labels = features(80)
    test, _ = features(40, seed=1)
    config = config_of(classifier, standardise=True, gamma=0.01)
    fitted = fit(300 * train, labels, config)
    found = detector_of(fitted, 300 * train, labels, config.input).score({"profile": 300 * test})
    expected = sklearn_scores(classifier, 6.37, 0.01, True, 300 * train, labels, 300 * test)
    assert difference(found, expected) < TOLERANCE


def test_a_feature_that_never_varies_is_left_alone():
    """The deviation of many 0.1 is 1e-17 and not 0; divided by it, the next 0.1 + 1e-12 would be 1e5."""
    train, labels = features(80)
    test, _ = features(40, seed=1)
    train[:, 3] = test[:, 3] = 0.1
    config = config_of("rbf_svm", standardise=True)
    fitted = fit(train, labels, config)
    assert fitted.arrays["scale"][3] == 1
    detector = detector_of(fitted, train, labels, config.input)
    before = detector.score({"profile": test})
    test[:, 3] += 1e-12
    assert difference(detector.score({"profile": test}), before) < TOLERANCE


def test_the_comparison_can_fail():
    train, labels = features(80)
    test, _ = features(40, seed=1)
    for classifier in CLASSIFIERS:
        expected = sklearn_scores(classifier, 1.0, 0.86, False, train, labels, test)
        others = [sklearn_scores(classifier, 1.0, 0.86, True, train, labels, test), -expected]
        if classifier != "kmeans":
            others.append(sklearn_scores(classifier, 1.01, 0.86, False, train, labels, test))
        if classifier == "rbf_svm":
            others.append(sklearn_scores(classifier, 1.0, 0.8601, False, train, labels, test))
        for other in others:
            assert difference(other, expected) > 100 * TOLERANCE


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_a_larger_score_is_more_fake_whichever_class_the_fakes_are(classifier):
    """With the labels exchanged, the scores change sign: no orientation is built in."""
    train, labels = features(100)
    config = config_of(classifier)
    scores = [
        detector_of(fit(train, these, config), train, these, config.input).score({"profile": train})
        for these in (labels, 1 - labels)
    ]
    for these, found in zip((labels, 1 - labels), scores, strict=True):
        assert found[these == 1].mean() > found[these == 0].mean()
    # K-means has one exact answer, the others are minimised to a tolerance.
    assert difference(scores[0], -scores[1]) < (TOLERANCE if classifier == "kmeans" else 1e-2)


def test_the_default_settings_are_those_published():
    config = SpectrumConfig()
    assert (config.classifier, config.c, config.gamma, config.standardise) == ("rbf_svm", 6.37, 0.86, False)
    assert (config.preset, config.normalise, config.region) == ("official", "first", "image")


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_the_same_seed_fits_the_same_arrays(classifier):
    train, labels = features(100)
    one, two = (fit(train, labels, config_of(classifier), seed=5).arrays for _ in range(2))
    assert one.keys() == two.keys()
    for name in one:
        assert np.array_equal(one[name], two[name]), name


def test_bands_are_mean_and_deviation_of_each_class():
    rows, labels = np.array([[1.0, 2.0], [3.0, 2.0], [10.0, 0.0]]), np.array([0, 0, 1])
    bands = class_bands(rows, labels)
    assert bands["band.real_mean"].tolist() == [2, 2]
    assert bands["band.real_std"].tolist() == [1, 0]
    assert bands["band.fake_mean"].tolist() == [10, 0]
    assert bands["band.fake_std"].tolist() == [0, 0]


def test_features_are_not_changed():
    train, labels = features(50)
    before = train.copy()
    train.flags.writeable = labels.flags.writeable = False
    for classifier in CLASSIFIERS:
        fit(train, labels, config_of(classifier, standardise=True))
    assert np.array_equal(train, before)


def test_what_cannot_be_fitted():
    train, labels = features(20)
    config = config_of("linear_svm")
    for rows, these, message in (
        (train, np.zeros(20, int), "need both labels"),
        (train, np.full(20, 2), "need both labels"),
        (train[:10], labels, "one per row"),
        (np.where(train > 0.9, np.nan, train), labels, "not finite"),
    ):
        with pytest.raises(ConfigError, match=message):
            fit(rows, these, config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classifier": "forest"}, "classifier is one of linear_svm, rbf_svm"),
        ({"c": 0}, "c must be a positive number, found 0"),
        ({"c": float("nan")}, "c must be a positive number"),
        ({"c": float("inf")}, "c must be a positive number"),
        ({"c": "1"}, "c must be a positive number, found '1'"),
        ({"gamma": -1.0}, "gamma must be a positive number"),
        ({"standardise": "no"}, "standardise is true or false, found 'no'"),
        ({"crop": 8}, "crop must be a whole number of at least 16, found 8"),
        ({"crop": "128"}, "crop must be"),
        ({"crop": 128.0}, "crop must be"),
        ({"crop": None}, "profile of fixed length"),
        ({"max_crops": 0}, "max_crops must be a whole number of at least 1"),
        ({"max_crops": None}, "max_crops must be"),
        ({"length": 1}, "length is a whole number"),
        ({"preset": "mine"}, "preset is one of official, paper"),
        ({"normalise": "dc"}, "normalise is one of"),
        ({"region": "eye"}, "region is image or face"),
    ],
    ids=str,
)
def test_options_that_cannot_be_carried_out(options, message):
    with pytest.raises(ConfigError, match=message):
        SpectrumConfig(**options)
