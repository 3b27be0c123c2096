"""Fading over time: a moving terminal among isotropic scatterers, as a stateless sum of sinusoids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.units import SPEED_OF_LIGHT_M_PER_S

if TYPE_CHECKING:
    from channels.laws import UniformDraws

NUM_SINUSOIDS = 32
"""Plane waves that make up a diffuse field. With N of them E|h|⁴ is 2 - 1/N; the Gaussian limit is 2."""
_CHUNK = 1 << 18
"""Sinusoids evaluated at a time: 2 MiB an array."""


def doppler_frequency_hz(speed_m_per_s: ArrayLike, carrier_hz: ArrayLike) -> NDArray[np.float64]:
    """Largest Doppler shift at a speed: f_d = v·f_c/c."""
    speed = np.asarray(speed_m_per_s, dtype=np.float64)
    return np.asarray(speed * np.asarray(carrier_hz, dtype=np.float64) / SPEED_OF_LIGHT_M_PER_S)


def doppler_autocorrelation(doppler_hz: ArrayLike, lag_s: ArrayLike) -> NDArray[np.float64]:
    """Autocorrelation of a diffuse gain, E[h(t+τ)·h*(t)] = J₀(2π·f_d·τ).

    Source: Clarke 1968; the spectrum is the one of Jakes 1974. Isotropic scattering in the plane,
    omnidirectional antenna. The autocovariance of the power gain |h|² is its square.
    """
    from scipy.special import j0

    turns = np.asarray(doppler_hz, dtype=np.float64) * np.asarray(lag_s, dtype=np.float64)
    return np.asarray(j0(2.0 * np.pi * turns))


def diffuse_gain(
    uniform: UniformDraws, link_ids: ArrayLike, t_s: ArrayLike, *, doppler_hz: float, num_fields: int = 1
) -> NDArray[np.complex128]:
    """Complex gains of unit mean power whose autocorrelation is J₀(2π·f_d·τ).

    Parameters
    ----------
    uniform : UniformDraws
        Source of all draws.
    link_ids : array_like of int [M]
        Identities of links.
    t_s : array_like [T]
        Times.
    doppler_hz : float
        Largest Doppler shift f_d; 0 freezes the gains.
    num_fields : int
        Independent gains K of each link.

    Returns
    -------
    ndarray of complex128 [T, M, K]
        Gains; a function of link, time and number of the field alone.

    Notes
    -----
    h(t) = N^(-1/2)·Σ exp(j(2π·f_d·cos(α_n)·t + φ_n)), n = 0 … N-1, with N = ``NUM_SINUSOIDS`` plane waves of
    uniform phases φ_n and angles α_n, each uniform in a sector of width 2π/N of its own. Over links the
    autocorrelation is exact for every N; the sectors keep each single link close to it as well (the idea
    of Xiao, Zheng and Beaulieu 2006). |h|² is exponential but for terms of order 1/N. On average over time,
    every link has unit power.
    """
    links, times = np.atleast_1d(link_ids), np.atleast_1d(np.asarray(t_s, dtype=np.float64))
    gain = np.empty((len(times), len(links), num_fields), dtype=np.complex128)
    step = max(1, _CHUNK // max(1, len(times) * num_fields * NUM_SINUSOIDS))
    for first in range(0, len(links), step):
        some = slice(first, first + step)
        waves = (links[some, None, None], np.arange(num_fields)[:, None], np.arange(NUM_SINUSOIDS))
        angle_mkn = 2.0 * np.pi / NUM_SINUSOIDS * (waves[2] + uniform("fading/angle", *waves))
        turns = doppler_hz * np.cos(angle_mkn) * times[:, None, None, None] + uniform("fading/wave", *waves)
        # The sum runs over the last, contiguous axis, so its order never depends on which links are asked together.
        gain[:, some] = phasor(turns).sum(axis=-1) / np.sqrt(NUM_SINUSOIDS)
    return gain


def direct_phasor(
    uniform: UniformDraws, link_ids: ArrayLike, t_s: ArrayLike, *, doppler_hz: float
) -> NDArray[np.complex128]:
    """Phasors exp(j(2π·f_d·cos(α)·t + φ)) of the direct paths of links [M] at times [T], [T, M].

    Each link has one angle α between motion and path and one phase φ, both uniform.
    """
    links, times = np.atleast_1d(link_ids), np.atleast_1d(np.asarray(t_s, dtype=np.float64))
    shift_hz = doppler_hz * np.cos(2.0 * np.pi * uniform("fading/direct_angle", links))
    return phasor(shift_hz * times[:, None] + uniform("fading/direct", links))


def phasor(turns: NDArray[np.float64]) -> NDArray[np.complex128]:
    """exp(j2πx) of the same shape; whole turns are taken off first, so that long runs stay fast."""
    angle = 2.0 * np.pi * (turns - np.floor(turns))
    unit = np.empty(turns.shape, dtype=np.complex128)
    unit.real = np.cos(angle)
    unit.imag = np.sin(angle)
    return unit
