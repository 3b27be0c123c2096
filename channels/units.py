"""Decibels, powers and thermal noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BOLTZMANN_J_PER_K = 1.380649e-23
"""Boltzmann constant, exact in the SI of 2019."""
SPEED_OF_LIGHT_M_PER_S = 299_792_458.0
"""Speed of light in vacuum, exact in the SI."""


def db_to_linear(value_db: ArrayLike) -> NDArray[np.float64]:
    """Power ratio of a value in dB: 10^(x/10)."""
    return np.asarray(np.power(10.0, np.asarray(value_db, dtype=np.float64) / 10.0))


def linear_to_db(ratio: ArrayLike) -> NDArray[np.float64]:
    """Decibels of a power ratio: 10·log10(r); -inf where the ratio is 0, nan where it is negative."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(10.0 * np.log10(np.asarray(ratio, dtype=np.float64)))


def dbm_to_watt(power_dbm: ArrayLike) -> NDArray[np.float64]:
    """Watts of a power in dBm (0 dBm is 1 mW)."""
    return np.asarray(1e-3 * db_to_linear(power_dbm))


def watt_to_dbm(power_w: ArrayLike) -> NDArray[np.float64]:
    """Decibels above 1 mW of a power in watts; -inf at 0 W, nan below."""
    return np.asarray(linear_to_db(power_w) + 30.0)


def thermal_noise_w(
    bandwidth_hz: ArrayLike, noise_figure_db: ArrayLike, temperature_k: ArrayLike = 290.0
) -> NDArray[np.float64]:
    """Noise power at a receiver, referred to its antenna: N = k·T·B·F.

    Parameters
    ----------
    bandwidth_hz : array_like
        Noise bandwidth.
    noise_figure_db : array_like
        Noise figure of the receiver.
    temperature_k : array_like, optional
        Noise temperature of the antenna; noise figures are defined at 290 K.

    Returns
    -------
    ndarray of float64
        Noise power in watts, of the broadcast shape.

    Notes
    -----
    The exact constants give -173.975 dBm/Hz; the common round figure of -174 is 0.025 dB lower.
    Interference and man-made noise are not in it.
    """
    noise_density_w_per_hz = BOLTZMANN_J_PER_K * np.asarray(temperature_k, dtype=np.float64)
    return np.asarray(
        noise_density_w_per_hz * np.asarray(bandwidth_hz, dtype=np.float64) * db_to_linear(noise_figure_db)
    )
