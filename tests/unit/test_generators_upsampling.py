"""Zero insertion copies a spectrum, linear interpolation damps the copy: both identities are exact."""

from __future__ import annotations

import numpy as np
import pytest

from tellsign.generators.upsampling import (
    linearly_interpolated,
    spectrum_interpolated,
    spectrum_with_zeros,
    zeros_inserted,
)
from tellsign.types import ConfigError


@pytest.mark.parametrize("n", [1, 2, 5, 16])
def test_zeros_make_two_copies_of_the_spectrum(n: int) -> None:
    signal = np.random.default_rng(n).normal(size=(3, n))
    found = np.fft.fft(zeros_inserted(signal), axis=-1)
    np.testing.assert_allclose(found, spectrum_with_zeros(signal), atol=1e-12)
    np.testing.assert_allclose(found[:, :n], found[:, n:], atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 16])
def test_interpolation_damps_the_copy_by_a_raised_cosine(n: int) -> None:
    signal = np.random.default_rng(n).normal(size=(3, n))
    found = np.fft.fft(linearly_interpolated(signal), axis=-1)
    np.testing.assert_allclose(found, spectrum_interpolated(signal), atol=1e-12)


def test_interpolation_leaves_nothing_at_the_highest_frequency_but_zeros_leave_all() -> None:
    signal = np.random.default_rng(0).normal(size=8)
    assert abs(np.fft.fft(linearly_interpolated(signal))[8]) < 1e-12
    assert np.fft.fft(zeros_inserted(signal))[8] == pytest.approx(signal.sum())


def test_the_printed_neighbours_do_not_give_the_identity() -> None:
    """With the mean of a value and the one before it, as printed, the spectrum is another."""
    signal = np.random.default_rng(1).normal(size=8)
    printed = np.stack([signal, (signal + np.roll(signal, 1)) / 2], axis=-1).reshape(-1)
    assert np.abs(np.fft.fft(printed) - spectrum_interpolated(signal)).max() > 0.1


def test_a_signal_without_values_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"one value or more.*\(2, 0\)"):
        zeros_inserted(np.zeros((2, 0)))
