"""Figures of SFCL-HCMF: cosine spectra against slow sums, curves against descriptors one by one."""

from __future__ import annotations

import numpy as np
import pytest

from pictures import natural, save, upsampled, write_dataset
from tellsign.data import Manifest, read
from tellsign.detectors.preprocessing import DescriptorInput, descriptor
from tellsign.evaluate.reproduce import reproduce
from tellsign.evaluate.sfcl_hcmf import figures
from tellsign.features.sida import entries
from tellsign.image import decode
from tellsign.types import FAKE, ConfigError, ManifestError, Sample


def slow_dct(plane):
    """(n, m) → (n, m) orthonormal DCT-II, sum by sum."""
    n, m = plane.shape
    found = np.zeros((n, m))
    for u in range(n):
        for v in range(m):
            wave = np.outer(
                np.cos(np.pi * u * (np.arange(n) + 0.5) / n), np.cos(np.pi * v * (np.arange(m) + 0.5) / m)
            )
            scale = np.sqrt((1 if u == 0 else 2) / n * (1 if v == 0 else 2) / m)
            found[u, v] = scale * (plane * wave).sum()
    return found


def test_both_transforms_are_what_their_names_say():
    luma = np.random.default_rng(0).uniform(size=(16, 24))
    shifted = luma - 128 / 255
    np.testing.assert_allclose(figures.full_dct(luma), slow_dct(shifted), atol=1e-10)
    blocks = figures.regional_dct(luma[None, None])
    for top in range(0, 16, 8):
        for left in range(0, 24, 8):
            place = slice(top, top + 8), slice(left, left + 8)
            np.testing.assert_allclose(blocks[place], slow_dct(shifted[place]), atol=1e-10)


def test_energy_is_counted_without_the_mean():
    coefficients, frequencies = np.array([[5.0, 1.0], [2.0, 0.0]]), np.array([[0.0, 0.3], [0.6, 1.0]])
    assert figures.energy_shares(coefficients, frequencies) == pytest.approx([0, 0.2, 1])
    assert figures.energy_shares(np.zeros((2, 2)), frequencies) == [0.0, 0.0, 0.0]


def test_the_heat_maps_of_an_image(tmp_path):
    path = save(natural(3, 70, 83), tmp_path / "it.png")
    result = reproduce("sfcl-dct-heatmap", image=path, out=tmp_path / "map.png")
    assert result.picture == tmp_path / "map.png"
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    assert "80 × 64 pixels" in result.notes[0]
    shapes = [axes.images[0].get_array().shape for axes in result.figure.axes[:3]]
    assert shapes == [(64, 80)] * 3
    shares = {(row.row, row.column): row.reproduced for row in result.rows}
    assert len(shares) == 6
    for title in (figures.FULL, figures.BLOCKS):
        own = [shares[title, f"energy below {edge:g} of the highest frequency"] for edge in figures.EDGES]
        assert own == sorted(own)
        assert 0 < own[0] < own[-1] <= 1
    with pytest.raises(ConfigError, match="--image FILE"):
        reproduce("sfcl-dct-heatmap")


def test_the_curves_of_both_classes(tmp_path):
    manifest = read(write_dataset(tmp_path / "data", 6, size=40))
    result = reproduce("sfcl-sida-plot", manifest=manifest, out=tmp_path)
    assert result.picture == tmp_path / "sfcl-sida-plot.png"
    assert result.picture.is_file()
    rows = np.array([descriptor(decode(one.path).array, DescriptorInput()) for one in manifest])
    places = [row for row, one in enumerate(entries()) if one.statistic == "mean" and one.channel == "Y"]
    assert [entries()[row].derivative for row in places] == ["row"] * 64 + ["column"] * 64 + ["intra"] * 64
    fakes = np.array(manifest.labels) == FAKE
    real, fake = rows[~fakes][:, places].mean(axis=0), rows[fakes][:, places].mean(axis=0)
    levels, differences = result.figure.axes
    drawn = {line.get_label(): line for line in levels.lines}
    np.testing.assert_allclose(drawn["real (6)"].get_ydata(), real)
    np.testing.assert_allclose(drawn["fake (6)"].get_ydata(), fake)
    assert (drawn["real (6)"].get_color(), drawn["fake (6)"].get_color()) == ("red", "blue")
    line = differences.lines[0]
    assert line.get_color() == "green"
    np.testing.assert_allclose(line.get_ydata()[:-1], (fake - real)[:-1] / real[:-1])
    assert np.isnan(line.get_ydata()[-1]), "padded: neither class has anything there"
    values = {(row.row, row.column): row.reproduced for row in result.rows}
    column = "column differences, mean of 64 frequencies"
    assert values["difference", column] == pytest.approx((fake - real)[64:128].mean())
    assert values["real", column] == pytest.approx(real[64:128].mean())
    assert "6 reals and 6 fakes" in result.notes[0]


def test_curves_that_cannot_be_drawn(tmp_path):
    with pytest.raises(ConfigError, match="--data MANIFEST"):
        reproduce("sfcl-sida-plot")
    fakes = Manifest((Sample(save(upsampled(0), tmp_path / "a.png"), FAKE),))
    with pytest.raises(ManifestError, match="both classes"):
        reproduce("sfcl-sida-plot", manifest=fakes)
    with pytest.raises(ConfigError, match="trains no network"):
        reproduce("sfcl-sida-plot", manifest=fakes, others=fakes)
    with pytest.raises(ConfigError, match="sfcl-sida-plot has no use for image, repeats"):
        reproduce("sfcl-sida-plot", manifest=fakes, image=tmp_path / "a.png", repeats=3)
    with pytest.raises(ConfigError, match="sfcl-dct-heatmap has no use for manifest; leave out"):
        reproduce("sfcl-dct-heatmap", manifest=fakes, image=tmp_path / "a.png")
