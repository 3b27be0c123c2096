"""Path loss in dB: free space, log-distance, 3GPP's macro cell and the environments of 3GPP TR 38.901.

All functions broadcast their arguments and return values for any positive carrier without a warning;
``in_validity_range`` says where a value is an extrapolation.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.environments import ENVIRONMENTS, OFFICES, Environment, Links
from channels.units import SPEED_OF_LIGHT_M_PER_S

_Scalar = TypeVar("_Scalar", bound=np.generic)


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


def tr36942_macro(
    distance_m: ArrayLike, carrier_hz: ArrayLike, *, antenna_above_rooftop_m: ArrayLike = 15.0
) -> NDArray[np.float64]:
    """Path loss of 3GPP's urban macro cell without line of sight: 128.1 + 37.6·log10(d/km) at 2 GHz.

    L = 128.1 + 40·(1 - 0.004·Δh)·log10(d/km) - 18·log10(Δh/15 m) + 21·log10(f/2 GHz), never less than free space
    (3GPP TR 36.942, section 4.5.2; TR 25.814, Table A.2.1.1-3 at 2 GHz and Δh = 15 m).

    Parameters
    ----------
    distance_m : array_like
        Distance between the antennas.
    carrier_hz : array_like
        Carrier frequency f.
    antenna_above_rooftop_m : array_like, optional
        Height Δh of the base station's antenna above the mean rooftop, above 0 and up to 50 m.

    Returns
    -------
    ndarray of float64
        Path loss in dB, of the broadcast shape.

    Notes
    -----
    TR 36.942 writes the formula with a constant of 80 dB, which makes 128.152 dB at 2 GHz, and calls that
    128.1: its general form is 0.05 dB above this one. Distances below 1 m count as 1 m. Left out: the least
    coupling loss of 70 dB, which contains antenna gains.
    """
    rooftop_m, carrier = _floats(antenna_above_rooftop_m), _floats(carrier_hz)
    distance = np.maximum(_floats(distance_m), 1.0)
    slope_db = 40.0 * (1.0 - 0.004 * rooftop_m)
    at_one_km_db = 128.1 - 18.0 * np.log10(rooftop_m / 15.0) + 21.0 * np.log10(carrier / 2e9)
    return np.asarray(np.maximum(at_one_km_db + slope_db * np.log10(distance / 1e3), free_space(distance, carrier)))


def tr38901(
    environment: str,
    *,
    distance_2d_m: ArrayLike,
    carrier_hz: ArrayLike,
    height_bs_m: ArrayLike,
    height_ut_m: ArrayLike,
    los: ArrayLike,
    **settings: float,
) -> NDArray[np.float64]:
    """Path loss of 3GPP TR 38.901 V16.1, Table 7.4.1-1.

    Parameters
    ----------
    environment : str
        ``"umi"``, ``"uma"``, ``"rma"``, ``"inh"``, ``"inf_sl"``, ``"inf_dl"``, ``"inf_sh"`` or ``"inf_dh"``.
    distance_2d_m : array_like
        Horizontal distance.
    carrier_hz : array_like
        Carrier frequency.
    height_bs_m, height_ut_m : array_like
        Antenna heights of the base station and of the user terminal.
    los : array_like of bool
        Whether the link has line of sight.
    **settings : float
        ``street_width_m`` (20), ``building_height_m`` (5): ``"rma"`` only. ``clutter_density`` (0.2 sparse, 0.6
        dense), ``clutter_size_m`` (10 sparse, 2 dense), ``clutter_height_m`` (2 sparse, 6 dense):
        ``"inf_…"`` only, where they shape the probability of line of sight, not the loss.

    Returns
    -------
    ndarray of float64
        Path loss in dB, of the broadcast shape.

    Raises
    ------
    ValueError
        The environment is unknown or has no such setting.

    Notes
    -----
    3D distances and break-point distances below 1 m count as 1 m. UMa's effective environment height is 1 m
    throughout; the TR draws it at random for terminals at 13 m or more. Left out: building penetration (section
    7.4.3), the optional NLOS formulas, shadow fading (see ``shadow_fading_std_db``).
    """
    links = _links(distance_2d_m, height_bs_m, height_ut_m)
    carrier, is_los = _floats(carrier_hz), _bools(los)
    loss_db = _environment(environment, settings).path_loss_db(links, carrier_hz=carrier, los=is_los)
    return _of_shape(loss_db, *links, carrier, is_los)


def los_probability(
    environment: str,
    *,
    distance_2d_m: ArrayLike,
    height_ut_m: ArrayLike = 1.5,
    office: str = "mixed",
    height_bs_m: ArrayLike = 8.0,
    **settings: float,
) -> NDArray[np.float64]:
    """Probability of line of sight, 3GPP TR 38.901 V16.1, Table 7.4.2-1.

    Parameters
    ----------
    environment : str
        As in ``tr38901``.
    distance_2d_m : array_like
        Horizontal distance, outdoors or in the building that both ends are in.
    height_ut_m : array_like, optional
        Antenna height of the user terminal; makes a difference in ``"uma"``, ``"inf_sh"`` and ``"inf_dh"``.
    office : {"mixed", "open"}, optional
        Kind of office; ``"inh"`` only.
    height_bs_m : array_like, optional
        Antenna height of the base station; makes a difference in ``"inf_sh"`` and ``"inf_dh"``.
    **settings : float
        As in ``tr38901``.

    Returns
    -------
    ndarray of float64
        Probability, of the broadcast shape.

    Raises
    ------
    ValueError
        The environment or the kind of office is unknown, or the environment has no such setting.

    Notes
    -----
    UMa's terminals above 23 m, where the table ends, count as being at 23 m.
    """
    if office not in OFFICES:
        raise ValueError(f"unknown office {office!r}; known: {', '.join(map(repr, OFFICES))}")
    chosen: dict[str, Any] = {**settings, "office": office} if environment == "inh" else settings
    links = _links(distance_2d_m, height_bs_m, height_ut_m)
    return _of_shape(_environment(environment, chosen).los_probability(links), *links)


def shadow_fading_std_db(
    environment: str,
    *,
    distance_2d_m: ArrayLike,
    carrier_hz: ArrayLike,
    height_bs_m: ArrayLike,
    height_ut_m: ArrayLike,
    los: ArrayLike,
    **settings: float,
) -> NDArray[np.float64]:
    """Return the standard deviation of log-normal shadow fading in dB; arguments as in ``tr38901``."""
    links = _links(distance_2d_m, height_bs_m, height_ut_m)
    carrier, is_los = _floats(carrier_hz), _bools(los)
    std_db = _environment(environment, settings).shadow_fading_std_db(links, carrier_hz=carrier, los=is_los)
    return _of_shape(std_db, *links, carrier, is_los)


def in_validity_range(
    environment: str,
    *,
    distance_2d_m: ArrayLike,
    carrier_hz: ArrayLike,
    height_bs_m: ArrayLike,
    height_ut_m: ArrayLike,
    los: ArrayLike = False,
    **settings: float,
) -> NDArray[np.bool_]:
    """Whether Table 7.4.1-1 covers the arguments (bounds included); arguments as in ``tr38901``.

    A base-station height that the table gives as one value counts as in range only at that value. In ``"rma"``
    the range is 5 km without line of sight, 10 km with it: without ``los``, the shorter holds. In a factory hall
    the higher antenna must be where Table 7.2-4 says: above the clutter in ``"inf_sh"`` and ``"inf_dh"``, not
    above it in ``"inf_sl"`` and ``"inf_dl"``.
    """
    links = _links(distance_2d_m, height_bs_m, height_ut_m)
    carrier, is_los = _floats(carrier_hz), _bools(los)
    is_covered = _environment(environment, settings).in_validity_range(links, carrier_hz=carrier, los=is_los)
    return _of_shape(is_covered, *links, carrier, is_los)


def _floats(value: ArrayLike) -> NDArray[np.float64]:
    return cast("NDArray[np.float64]", np.asarray(value, dtype=np.float64))


def _bools(value: ArrayLike) -> NDArray[np.bool_]:
    return cast("NDArray[np.bool_]", np.asarray(value, dtype=np.bool_))


def _links(distance_2d_m: ArrayLike, height_bs_m: ArrayLike, height_ut_m: ArrayLike) -> Links:
    return Links(_floats(distance_2d_m), _floats(height_bs_m), _floats(height_ut_m))


def _of_shape(values: NDArray[_Scalar], *arguments: NDArray[Any]) -> NDArray[_Scalar]:
    """Return values that may not depend on every argument in the shape of all of them."""
    shape = np.broadcast_shapes(*(argument.shape for argument in arguments))
    return np.asarray(values) if np.shape(values) == shape else np.broadcast_to(values, shape).copy()


def _environment(name: str, settings: dict[str, Any]) -> Environment:
    if name not in ENVIRONMENTS:
        known = ", ".join(map(repr, sorted(ENVIRONMENTS)))
        raise ValueError(f"unknown environment {name!r}; known: {known}")
    environment = ENVIRONMENTS[name]
    if not settings:
        return environment
    possible = [field.name for field in fields(environment)]
    for setting in settings:
        if setting not in possible:
            raise ValueError(f"environment {name!r} has no setting {setting!r}; it has {', '.join(possible) or 'none'}")
    return replace(environment, **settings)
