"""What doubling a signal does to its spectrum: the theory of Durall et al. (CVPR 2020), eqs. 3 to 7.

A signal a of N values is doubled to 2N: the even ones are those of a, the odd ones are new. Both identities
are exact for signals that go round, as the DFT takes them:

    new values                 spectrum at k = 0 ... 2N - 1, where A is the DFT of a
    zeros                      A(k mod N)
    mean of both neighbours    A(k mod N) (1 + cos(pi k / N))

Zeros are what a transposed convolution puts in before its filter: the upper half of the spectrum is a copy of
the lower one, which the filter would have to remove. Interpolation damps the copy; nothing removes it.
The paper's eq. 4 has (j + 1) where (2j + 1) is meant, and its means begin at another neighbour: with the
printed indices the second identity does not hold.

Shapes: N values of a signal; ... any axes in front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tellsign.types import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tellsign.types import FloatArray


def zeros_inserted(signal: FloatArray) -> FloatArray:
    """A signal with a zero behind each value.

    Args:    signal: (..., N).
    Returns: (..., 2N).
    Raises:  ConfigError: it has no values.

    Example:
        >>> zeros_inserted(np.array([1.0, 2.0]))
        array([1., 0., 2., 0.])
    """
    return _doubled(signal, np.zeros_like(signal))


def linearly_interpolated(signal: FloatArray) -> FloatArray:
    """A signal with the mean of both neighbours behind each value; behind the last comes the first.

    Args:    signal: (..., N).
    Returns: (..., 2N).
    Raises:  ConfigError: it has no values.

    Example:
        >>> linearly_interpolated(np.array([1.0, 2.0]))
        array([1. , 1.5, 2. , 1.5])
    """
    return _doubled(signal, (signal + np.roll(signal, -1, axis=-1)) / 2)


def spectrum_with_zeros(signal: FloatArray) -> NDArray[np.complex128]:
    """The DFT of `zeros_inserted`, from that of the signal: two copies.

    Args:    signal: (..., N).
    Returns: (..., 2N).
    """
    spectrum = np.fft.fft(signal, axis=-1)
    return np.concatenate([spectrum, spectrum], axis=-1)


def spectrum_interpolated(signal: FloatArray) -> NDArray[np.complex128]:
    """The DFT of `linearly_interpolated`, from that of the signal: two copies under a raised cosine.

    Args:    signal: (..., N).
    Returns: (..., 2N).
    """
    n = np.shape(signal)[-1]
    found: NDArray[np.complex128] = spectrum_with_zeros(signal) * (1 + np.cos(np.pi * np.arange(2 * n) / n))
    return found


def _doubled(signal: FloatArray, between: FloatArray) -> FloatArray:
    shape = np.shape(signal)
    if not shape or not shape[-1]:
        raise ConfigError(f"a signal has one value or more in its last axis, found the shape {shape}")
    return np.stack([signal, between], axis=-1).reshape(*shape[:-1], 2 * shape[-1])
