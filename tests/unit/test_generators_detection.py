"""Detectors that learnt plain fakes are tested on corrected ones: what is made of what, and the table."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from generator_tiny import N_TRAIN, N_VALID, SIZE, options, write_reals  # noqa: E402
from tellsign.data import read  # noqa: E402
from tellsign.evaluate.reproduce import Inputs  # noqa: E402
from tellsign.evaluate.upconv import detection  # noqa: E402
from tellsign.evaluate.upconv.cells import Finished, Study  # noqa: E402
from tellsign.evaluate.upconv.detection import Sets, all_reals, real_crops  # noqa: E402
from tellsign.generators.config import config_from  # noqa: E402
from tellsign.image import decode  # noqa: E402
from tellsign.metrics import Estimate  # noqa: E402
from tellsign.types import ConfigError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def reals(tmp_path_factory):
    return read(write_reals(tmp_path_factory.mktemp("reals"), size=20))


@pytest.fixture
def few(monkeypatch):
    """Tests of tiny data."""
    monkeypatch.setattr(detection, "FEWEST", 4)


def new_study(kind, reals, folder):
    config = config_from(options(kind, training={"epochs": 1}), where="x")
    return Study(reals, config, folder, lambda text: None)


def test_reals_become_files_of_the_generators_size(reals, tmp_path, few):
    given = new_study("gan", reals, tmp_path)
    inputs = Inputs(manifest=reals)
    assert {
        part: len(all_reals(given, inputs).filter(split=part)) for part in ("train", "valid", "test")
    } == {
        "train": N_TRAIN,
        "valid": N_VALID // 2,
        "test": N_VALID // 2,
    }
    found = real_crops(given, inputs)
    assert decode(found[0].path).array.shape == (3, SIZE, SIZE)
    assert (decode(found[0].path).array == decode(reals[0].path).array[:, 2:18, 2:18]).all()
    before = found[0].path.stat().st_mtime_ns
    assert real_crops(given, inputs).digest() == found.digest()
    assert found[0].path.stat().st_mtime_ns == before


def test_too_few_reals_are_refused(reals, tmp_path):
    with pytest.raises(
        ConfigError, match=r"10 real images or more, found 8 of the split valid and 8 of test"
    ):
        all_reals(new_study("gan", reals, tmp_path), Inputs(manifest=reals))


def checked(sets: Sets, kinds: list[str]) -> None:
    """Both classes in equal numbers, nothing learnt and tested, and only plain fakes learnt."""
    assert list(sets.tests) == kinds
    plain = {s.generator for s in sets.train if s.label == 1}
    assert len(plain) == 1
    for part in (sets.train, sets.valid, *sets.tests.values()):
        assert [s.label for s in part].count(1) == [s.label for s in part].count(0) == len(part) // 2
    learnt = {s.sha256 for s in (*sets.train, *sets.valid)}
    for kind, test in sets.tests.items():
        assert not learnt & {s.sha256 for s in test}
        assert ({s.generator for s in test if s.label == 1} == plain) == (kind == kinds[0])
    of_reals = [[s.sha256 for s in test if s.label == 0] for test in sets.tests.values()]
    assert all(rows == of_reals[0] for rows in of_reals)


@pytest.mark.parametrize(
    ("function", "kind", "kinds"),
    [
        ("gans", "gan", ["plain", "three layers", "+R", "+A"]),
        ("auto_encoders", "autoencoder", list(detection.RESTORED)),
    ],
)
def test_detectors_are_tested_on_what_they_did_not_learn(
    function, kind, kinds, reals, tmp_path, few, monkeypatch
):
    configurations, measured, sets = detection.configurations, detection._measured, []

    def kept_sets(title, system, config, given_sets, given):
        sets.append(given_sets)
        return measured(title, system, config, given_sets, given)

    monkeypatch.setattr(detection, "configurations", lambda size: {"dct2d": configurations(size)["dct2d"]})
    monkeypatch.setattr(detection, "_measured", kept_sets)
    monkeypatch.setattr(detection, "LOSSES", ("lsgan",))
    given = new_study(kind, reals, tmp_path)
    monkeypatch.setattr(detection, "study", lambda inputs, wanted: given if wanted == kind else None)
    found = getattr(detection, function)("upconv-detectors", Inputs(manifest=reals))
    checked(sets[0], kinds)
    accuracies = {row.row: row for row in found.rows if row.column == "dct2d, ridge: accuracy"}
    assert len(accuracies) == len(kinds)
    plain = next(iter(accuracies.values()))
    assert 0.5 < plain.reproduced <= 1  # one epoch has made fakes that are easily told
    assert all(row.ci is not None for row in accuracies.values())

    # Nothing is trained or looked at again.
    monkeypatch.setattr(detection, "_trained", None)
    again = getattr(detection, function)("upconv-detectors", Inputs(manifest=reals))
    assert again.rows == found.rows


@pytest.mark.parametrize(
    ("value", "note"), [(0.98, ""), (0.99, detection.AT_CEILING), (1.0, detection.AT_CEILING)]
)
def test_a_cell_at_the_ceiling_says_so(value, note, monkeypatch, tmp_path):
    estimate = Estimate(value, value, value)
    monkeypatch.setattr(
        detection, "_measured", lambda *args: {"plain": {"accuracy": estimate, "auroc": estimate}}
    )
    monkeypatch.setattr(detection, "rows_of", lambda *args: [])
    cell = Finished("c", tmp_path, {"identity": {"config": {"network": {"size": 16}}}})
    rows = detection._rows("x", {"plain": cell}, None, None)
    assert [row.note for row in rows] == [note] * 6


@pytest.mark.parametrize("size", [16, 64])
def test_the_detectors_are_of_the_generators_size(size):
    found = detection.configurations(size)
    assert found.keys() == detection.DETECTORS.keys()
    assert [getattr(config, "size", None) or config.crop for config in found.values()] == [size] * 3
