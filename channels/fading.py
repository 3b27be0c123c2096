"""Small-scale fading as a power gain of unit mean: laws of the gain and their distributions in closed form.

Every law is a function of a Rayleigh gain, the power of diffuse multipath alone; ``channels.rayleigh_field``
supplies it over links, time and frequency. On one field, laws differ in nothing but their distribution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def rayleigh_power_gain(uniform: ArrayLike) -> FloatArray:
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
    Rayleigh amplitudes are those of many paths of similar strength and no dominant one; |h|² is then exponential.
    """
    return np.asarray(-np.log(np.asarray(uniform, dtype=np.float64)))


def rician_power_gain(diffuse: ArrayLike, direct: ArrayLike, k: ArrayLike) -> FloatArray:
    """Power gain of Rician fading: g = |√(K/(K+1))·d + √(1/(K+1))·h|².

    Parameters
    ----------
    diffuse : array_like of complex
        Complex gain h of the diffuse paths: circular Gaussian, E|h|² = 1.
    direct : array_like of complex
        Phasor d of the direct path, |d| = 1.
    k : array_like
        Power of the direct path over that of all others, K ≥ 0, linear; 0 is Rayleigh fading.

    Returns
    -------
    ndarray of float64
        Power gain of mean 1, of the broadcast shape.
    """
    k_ratio = np.asarray(k, dtype=np.float64)
    gain = np.sqrt(k_ratio / (k_ratio + 1.0)) * np.asarray(direct) + np.asarray(diffuse) / np.sqrt(k_ratio + 1.0)
    return np.asarray(gain.real**2 + gain.imag**2)


def nakagami_power_gain(rayleigh_gain: ArrayLike, m: float) -> FloatArray:
    """Power gain of Nakagami-m fading: the gamma-distributed gain as likely as a Rayleigh gain.

    Parameters
    ----------
    rayleigh_gain : array_like
        Power gain of Rayleigh fading, exponential with mean 1.
    m : float
        Shape m ≥ 0.5; 1 is Rayleigh fading, 0.5 one-sided Gaussian, and larger fades less.

    Returns
    -------
    ndarray of float64
        Power gain of mean 1 and variance 1/m, of the same shape.

    Notes
    -----
    Both have the same rank, g = F⁻¹(1 - exp(-|h|²)) with F(g) = P(m, m·g), the regularised incomplete gamma
    function (Nakagami 1960). So gains that are correlated as Rayleigh gains stay so in rank (a Gaussian
    copula in all but name); their linear correlation is no longer |ρ|², though close to it.
    """
    from scipy.special import gammainccinv, gammaincinv

    rayleigh = np.asarray(rayleigh_gain, dtype=np.float64)
    fades = rayleigh < np.log(2.0)
    gain = np.empty_like(rayleigh)
    # Each tail by its own inverse: 1 - exp(-|h|²) loses the digits of large gains, exp(-|h|²) those of small ones.
    gain[fades] = gammaincinv(m, -np.expm1(-rayleigh[fades]))
    gain[~fades] = gammainccinv(m, np.exp(-rayleigh[~fades]))
    return np.asarray(gain / m)


def rayleigh_outage_probability(relative_threshold: ArrayLike) -> FloatArray:
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


def rician_outage_probability(relative_threshold: ArrayLike, k: ArrayLike) -> FloatArray:
    """Probability that a Rician-faded power is below a threshold: P = 1 - Q₁(√(2K), √(2(1+K)x)).

    Parameters
    ----------
    relative_threshold : array_like
        Threshold over the mean power, x ≥ 0, linear.
    k : array_like
        Power of the direct path over that of all others, K ≥ 0, linear.

    Returns
    -------
    ndarray of float64
        Outage probability, of the broadcast shape.

    Notes
    -----
    Q₁ is Marcum's function: 2(1+K) times the gain is chi-squared with 2 degrees of freedom and non-centrality 2K
    (Simon and Alouini 2005, section 2.2.1.2).
    """
    from scipy.special import chndtr

    k_ratio = np.asarray(k, dtype=np.float64)
    scaled = 2.0 * (1.0 + k_ratio) * np.asarray(relative_threshold, dtype=np.float64)
    return np.asarray(chndtr(scaled, 2.0, 2.0 * k_ratio))


def nakagami_outage_probability(relative_threshold: ArrayLike, m: ArrayLike) -> FloatArray:
    """Probability that a Nakagami-faded power is below a threshold: P(m, m·x).

    Parameters
    ----------
    relative_threshold : array_like
        Threshold over the mean power, x ≥ 0, linear.
    m : array_like
        Shape, m ≥ 0.5.

    Returns
    -------
    ndarray of float64
        Outage probability, the regularised lower incomplete gamma function, of the broadcast shape.
    """
    from scipy.special import gammainc

    shape = np.asarray(m, dtype=np.float64)
    return np.asarray(gammainc(shape, shape * np.asarray(relative_threshold, dtype=np.float64)))
