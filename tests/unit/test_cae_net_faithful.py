"""Faithfulness of maps as numbers: a network that looks at one quadrant, and maps that know it or don't.

Shapes: B images, H W pixels.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pictures import natural, save
from tellsign.data import Manifest
from tellsign.image import decode
from tellsign.types import FAKE, REAL, Sample

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
from tellsign.evaluate import comparisons  # noqa: E402 - need PyTorch
from tellsign.evaluate.cae_net import faithful  # noqa: E402

SIDE = 24


class Quadrant(torch.nn.Module):
    """(B, 3, H, W) → (B,) how much the upper right quadrant varies, which blurring takes away."""

    def forward(self, images):
        half = images.shape[-1] // 2
        return 100 * images[:, :, :half, half:].var(dim=(1, 2, 3))


def knowing(images, sign=1.0):
    """(B, H, W) above 0 in that quadrant, or in all others."""
    inside = np.zeros(images.shape[2:])
    inside[: SIDE // 2, SIDE // 2 :] = 1.0
    return np.broadcast_to(inside if sign > 0 else 1 - inside, (len(images), SIDE, SIDE))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Six images with checksums, of which the last is too small."""
    folder, samples = tmp_path_factory.mktemp("data"), []
    for row, side in enumerate([SIDE] * 5 + [SIDE - 2]):
        path = save(natural(row, side, side), folder / f"{row}.png")
        one = Sample(path, FAKE if row % 2 else REAL, group=f"g{row}")
        samples.append(replace(one, sha256=decode(path).meta.sha256))
    return Manifest(tuple(samples))


@pytest.fixture
def look(monkeypatch):
    monkeypatch.setattr(faithful, "grad_cam", lambda network, images: knowing(images))
    monkeypatch.setattr(faithful, "map_cells", lambda network, size: 4)
    monkeypatch.setattr(faithful, "no_map", lambda look, branch: "no layer" if branch == "other" else "")
    network = Quadrant()
    return SimpleNamespace(
        network=SimpleNamespace(branches={"a": network, "other": network}),
        branches=("a", "other"),
        targets=lambda: {"a": network},
        size=SIDE,
    )


def test_a_map_that_knows_gains_and_its_opposite_loses(look, sample, monkeypatch):
    good = faithful.gains(look, "a", sample)
    assert list(good) == ["0", "1", "2", "3", "4"], "the last is too small"
    assert np.array(list(good.values())).min() > 0
    monkeypatch.setattr(faithful, "grad_cam", lambda network, images: knowing(images, -1.0))
    bad = faithful.gains(look, "a", sample)
    assert np.array(list(bad.values())).max() < 0


def test_maps_that_are_zero_are_counted_apart(look, sample, monkeypatch, tmp_path):
    bright = float(np.median([decode(one.path).array.mean() for one in sample[:5]]))
    monkeypatch.setattr(
        faithful, "grad_cam", lambda network, images: knowing(images) * (images.mean() > bright)
    )
    given = SimpleNamespace(say=lambda text: None)
    cell = SimpleNamespace(folder=tmp_path, record={"detector": "d" * 64})
    found = faithful.branch_gains(given, cell, look, sample)
    assert found["other"] == "no layer"
    assert (found["a"].values.shape, found["a"].n_blank) == ((2, 2), 3)
    rows = faithful.gain_rows("it", "a", found["a"], sample)
    assert "2 images, and 3 whose map is zero everywhere" in rows[0].note


def test_gains_are_kept(look, sample, monkeypatch, tmp_path):
    given = SimpleNamespace(say=lambda text: None)
    cell = SimpleNamespace(folder=tmp_path, record={"detector": "d" * 64})
    first = faithful.branch_gains(given, cell, look, sample)
    monkeypatch.setattr(faithful, "gains", lambda *_: pytest.fail("measured again"))
    again = faithful.branch_gains(given, cell, look, sample)
    assert first["a"].rows == again["a"].rows == (0, 1, 2, 3, 4)
    np.testing.assert_array_equal(first["a"].values, again["a"].values)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((1.0, 1.2, 1.1, 1.0, 1.3), "faithful"),
        ((-1.0, -1.1, -1.2, -1.0, -1.3), "unfaithful"),
        ((-1.0, -1.0, 1.0, 1.0, -1.0), "undecided"),
    ],
)
def test_rows_are_means_with_a_verdict(sample, monkeypatch, values, verdict):
    monkeypatch.setattr(comparisons, "RESAMPLES", 100)
    table = np.array([[value, 2 * value] for value in values])
    rows = faithful.gain_rows("it", "a", faithful.Gains((0, 1, 2, 3, 4), table, 0), sample)
    assert [row.column for row in rows] == ["deletion gain, a", "insertion gain, a"]
    for place, row in enumerate(rows):
        assert row.reproduced == pytest.approx(table[:, place].mean())
        assert row.ci[0] <= row.reproduced <= row.ci[1]
        assert row.note == f"not in the paper; {verdict}; 5 images"
        assert row.unit == "log-odds"


def test_without_maps_there_are_no_means(sample):
    for found, note in (
        ("no captum", "no captum"),
        (faithful.Gains((), np.zeros((0,)), 3), "0 images, and 3"),
    ):
        rows = faithful.gain_rows("it", "a", found, sample)
        assert [row.reproduced for row in rows] == [None, None]
        assert all(note in row.note for row in rows)
