"""The images that tests are made of: shape, range, and a spectrum that tells the classes apart."""

from __future__ import annotations

import numpy as np
import pytest

from pictures import natural, upsampled, write_dataset, write_split_dataset
from tellsign.data import read
from tellsign.features import spectrum


def test_pictures_are_what_they_say(tmp_path):
    for make in (natural, upsampled):
        assert make(1, 33, 47).shape == (3, 33, 47)
        assert make(1).dtype == np.float32
        assert make(1).min() >= 0
        assert make(1).max() <= 1
        assert np.array_equal(make(1), make(1))
        assert not np.array_equal(make(1), make(2))
    # A 1/f spectrum: ten times the frequency, a tenth of the magnitude, i.e. 20 ln 10 less.
    rows = spectrum.log_spectrum(255 * spectrum.grey(np.stack([natural(i, 128, 128) for i in range(20)])))
    low, high = rows[:, 64, 68].mean(), rows[:, 64, 104].mean()
    assert low - high == pytest.approx(20 * np.log(10), rel=0.2)
    # Nearest-neighbour up-sampling has a zero at the highest frequency.
    flat = spectrum.power_spectrum(spectrum.grey(upsampled(3)[None]).astype(np.float64))[0]
    assert flat[0].max() < 1e-6 * flat[16].max()
    manifest = read(write_dataset(tmp_path / "d", 4, size=20, group_size=2, split="valid", suffix=".jpg"))
    assert [s.label for s in manifest] == [0] * 4 + [1] * 4
    assert len({s.group for s in manifest}) == 4
    parts = read(write_split_dataset(tmp_path / "s", train=2, valid=3, test=1, size=20))
    assert [len(parts.filter(split=name)) for name in ("train", "valid", "test")] == [4, 6, 2]
    contents = [s.path.read_bytes() for s in parts]
    assert len(set(contents)) == 12
