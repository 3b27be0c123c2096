"""Small-scale fading as a power gain of unit mean, constant over a coherence block."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rayleigh_power_gain(uniform: ArrayLike) -> NDArray[np.float64]:
    """Power gain of Rayleigh fading by inversion: g = -ln(u), exponential with mean 1.

    Parameters
    ----------
    uniform : array_like
        Independent uniform draws on (0, 1].

    Returns
    -------
    ndarray of float64
        Power gain, of the same shape.

    Notes
    -----
    Rayleigh amplitudes are those of many paths of similar strength and no dominant one; |h|² is then
    exponential. Draws of one block are independent of the next (block fading): no Doppler correlation.
    """
    return np.asarray(-np.log(np.asarray(uniform, dtype=np.float64)))


def rayleigh_outage_probability(relative_threshold: ArrayLike) -> NDArray[np.float64]:
    """Probability that a Rayleigh-faded power is below a threshold: P = 1 - exp(-x).

    Parameters
    ----------
    relative_threshold : array_like
        Threshold over the mean power, x ≥ 0, linear.

    Returns
    -------
    ndarray of float64
        Outage probability, of the same shape.
    """
    return np.asarray(-np.expm1(-np.asarray(relative_threshold, dtype=np.float64)))
