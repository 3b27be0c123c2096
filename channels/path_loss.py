"""Path loss in dB: free space, log-distance and the environments of 3GPP TR 38.901.

All functions broadcast their arguments and return values for any positive carrier without a warning;
``in_validity_range`` says where a value is an extrapolation.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.environments import ENVIRONMENTS, Environment
from channels.units import SPEED_OF_LIGHT_M_PER_S

_OFFICES = ("mixed", "open")


def free_space(distance_m: ArrayLike, carrier_hz: ArrayLike) -> NDArray[np.float64]:
    """Free-space path loss between isotropic antennas (Friis 1946): 20·log10(4πd/λ).

    Parameters
    ----------
    distance_m : array_like
        Distance between the antennas.
    carrier_hz : array_like
        Carrier frequency.

    Returns
    -------
    ndarray of float64
        Path loss in dB, of the broadcast shape, never below 0 dB.

    Notes
    -----
    Distances below λ/(4π), where the far-field formula would amplify, count as λ/(4π): 0 dB.
    """
    wavelength_m = SPEED_OF_LIGHT_M_PER_S / _floats(carrier_hz)
    return np.asarray(20.0 * np.log10(np.maximum(4.0 * np.pi * _floats(distance_m) / wavelength_m, 1.0)))


def log_distance(
    distance_m: ArrayLike, carrier_hz: ArrayLike, *, exponent: ArrayLike, reference_distance_m: ArrayLike = 1.0
) -> NDArray[np.float64]:
    """Log-distance path loss: free space up to d0, then 10·n·log10(d/d0) on top (Rappaport 2002, section 4.9).

    Parameters
    ----------
    distance_m : array_like
        Distance between the antennas; below ``reference_distance_m`` the loss is that of free space.
    carrier_hz : array_like
        Carrier frequency.
    exponent : array_like
        Path-loss exponent n; 2 is free space.
    reference_distance_m : array_like, optional
        Distance d0 from which the exponent holds.

    Returns
    -------
    ndarray of float64
        Path loss in dB, of the broadcast shape.
    """
    distance, reference = _floats(distance_m), _floats(reference_distance_m)
    beyond = np.maximum(distance / reference, 1.0)
    return np.asarray(
        free_space(np.minimum(distance, reference), carrier_hz) + 10.0 * _floats(exponent) * np.log10(beyond)
    )


def tr38901(
    environment: str,
    *,
    distance_2d_m: ArrayLike,
    carrier_hz: ArrayLike,
    height_bs_m: ArrayLike,
    height_ut_m: ArrayLike,
    los: ArrayLike,
) -> NDArray[np.float64]:
    """Outdoor path loss of 3GPP TR 38.901 V16.1, Table 7.4.1-1.

    Parameters
    ----------
    environment : str
        A key of ``channels.environments.ENVIRONMENTS``: ``"umi"``.
    distance_2d_m : array_like
        Horizontal distance.
    carrier_hz : array_like
        Carrier frequency.
    height_bs_m, height_ut_m : array_like
        Antenna heights of the base station and of the user terminal.
    los : array_like of bool
        Whether the link has line of sight.

    Returns
    -------
    ndarray of float64
        Path loss in dB, of the broadcast shape.

    Raises
    ------
    ValueError
        The environment is unknown.

    Notes
    -----
    3D distances and break-point distances below 1 m count as 1 m. Left out: building penetration
    (section 7.4.3), the optional NLOS formulas, shadow fading (see ``shadow_fading_std_db``).
    """
    return _environment(environment).path_loss_db(
        distance_2d_m=_floats(distance_2d_m),
        carrier_hz=_floats(carrier_hz),
        height_bs_m=_floats(height_bs_m),
        height_ut_m=_floats(height_ut_m),
        los=np.asarray(los, dtype=np.bool_),
    )


def los_probability(
    environment: str, *, distance_2d_m: ArrayLike, height_ut_m: ArrayLike = 1.5, office: str = "mixed"
) -> NDArray[np.float64]:
    """Probability of line of sight, 3GPP TR 38.901 V16.1, Table 7.4.2-1.

    Parameters
    ----------
    environment : str
        A key of ``channels.environments.ENVIRONMENTS``: ``"umi"``.
    distance_2d_m : array_like
        Horizontal distance outdoors.
    height_ut_m : array_like, optional
        Antenna height of the user terminal, where the environment depends on it.
    office : {"mixed", "open"}, optional
        Kind of office; indoor offices only.

    Returns
    -------
    ndarray of float64
        Probability, of the broadcast shape.

    Raises
    ------
    ValueError
        The environment or the kind of office is unknown.
    """
    if office not in _OFFICES:
        raise ValueError(f"unknown office {office!r}; known: {', '.join(map(repr, _OFFICES))}")
    return _environment(environment).los_probability(
        distance_2d_m=_floats(distance_2d_m), height_ut_m=_floats(height_ut_m), office=office
    )


def shadow_fading_std_db(
    environment: str,
    *,
    distance_2d_m: ArrayLike,
    carrier_hz: ArrayLike,
    height_bs_m: ArrayLike,
    height_ut_m: ArrayLike,
    los: ArrayLike,
) -> NDArray[np.float64]:
    """Return the standard deviation of log-normal shadow fading in dB; arguments as in ``tr38901``."""
    return _environment(environment).shadow_fading_std_db(
        distance_2d_m=_floats(distance_2d_m),
        carrier_hz=_floats(carrier_hz),
        height_bs_m=_floats(height_bs_m),
        height_ut_m=_floats(height_ut_m),
        los=np.asarray(los, dtype=np.bool_),
    )


def in_validity_range(
    environment: str,
    *,
    distance_2d_m: ArrayLike,
    carrier_hz: ArrayLike,
    height_bs_m: ArrayLike,
    height_ut_m: ArrayLike,
) -> NDArray[np.bool_]:
    """Whether Table 7.4.1-1 covers the arguments (bounds included); arguments as in ``tr38901``.

    A base-station height that the table gives as one value counts as in range only at that value.
    """
    return _environment(environment).in_validity_range(
        distance_2d_m=_floats(distance_2d_m),
        carrier_hz=_floats(carrier_hz),
        height_bs_m=_floats(height_bs_m),
        height_ut_m=_floats(height_ut_m),
    )


def _floats(value: ArrayLike) -> NDArray[np.float64]:
    return cast("NDArray[np.float64]", np.asarray(value, dtype=np.float64))


def _environment(name: str) -> Environment:
    try:
        return ENVIRONMENTS[name]
    except KeyError:
        known = ", ".join(map(repr, sorted(ENVIRONMENTS)))
        raise ValueError(f"unknown environment {name!r}; known: {known}") from None
