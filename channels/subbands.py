"""Fading over frequency: sub-bands of a channel whose power-delay profile is exponential."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray

_WHITE_POWER = 1e-9
"""Share of the power that is independent between sub-bands: keeps nearly equal sub-bands numerically apart."""


def frequency_correlation(spacing_hz: ArrayLike, delay_spread_s: ArrayLike) -> NDArray[np.complex128]:
    """Correlation of the gain at two frequencies, E[h(f+Δf)·h*(f)] = 1/(1 + j2π·Δf·τ).

    Parameters
    ----------
    spacing_hz : array_like
        Distance Δf between the frequencies; negative is the complex conjugate.
    delay_spread_s : array_like
        Root-mean-square delay spread τ.

    Returns
    -------
    ndarray of complex128
        Correlation, of the broadcast shape. That of the power gains |h|² is its squared magnitude.

    Notes
    -----
    It is the Fourier transform of the exponential power-delay profile exp(-t/τ)/τ (Jakes 1974, section 1.5).
    """
    product = np.asarray(spacing_hz, dtype=np.float64) * np.asarray(delay_spread_s, dtype=np.float64)
    return np.asarray(1.0 / (1.0 + 2j * np.pi * product))


def correlate_subbands(
    independent: NDArray[np.complex128], *, subband_hz: float, delay_spread_s: float
) -> NDArray[np.complex128]:
    """Give independent gains the correlation of equally spaced sub-bands.

    Parameters
    ----------
    independent : ndarray of complex128 [..., K]
        Independent complex gains of unit mean power.
    subband_hz : float
        Distance between the centres of neighbouring sub-bands.
    delay_spread_s : float
        Root-mean-square delay spread.

    Returns
    -------
    ndarray of complex128 [..., K]
        Complex gains of unit mean power at the centres of the sub-bands.

    Notes
    -----
    The Cholesky factor of the K x K correlation matrix mixes the gains. Unlike a sum of taps it has the
    whole continuous profile, Gaussian gains stay Gaussian, and gains correlated in time keep their autocorrelation.
    Sub-band 0 is the first independent gain, and no sub-band depends on how many others there are.
    Sub-bands are taken as flat: they should be narrower than the coherence bandwidth, about 1/(5τ).
    """
    factor = _cholesky_factor(independent.shape[-1], subband_hz, delay_spread_s)
    gain = np.empty(independent.shape, dtype=np.complex128)
    # Not a matrix product: BLAS rounds by the shape of its arguments, so by which links are asked together.
    for k in range(len(factor)):
        gain[..., k] = (independent[..., : k + 1] * factor[k, : k + 1]).sum(axis=-1)
    return gain


@functools.lru_cache(maxsize=64)
def _cholesky_factor(num_subbands: int, subband_hz: float, delay_spread_s: float) -> NDArray[np.complex128]:
    k = np.arange(num_subbands)
    correlation = (1.0 - _WHITE_POWER) * frequency_correlation((k[:, None] - k) * subband_hz, delay_spread_s)
    np.fill_diagonal(correlation, 1.0)
    factor = np.asarray(np.linalg.cholesky(correlation))
    factor.setflags(write=False)
    return factor
