"""The environments of 3GPP TR 38.901: one class each, listed in ``ENVIRONMENTS``.

``channels.path_loss`` is the way in; it turns its arguments into arrays before it asks an environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

TR_SPEED_OF_LIGHT_M_PER_S = 3.0e8
"""The value Table 7.4.1-1 prescribes for break-point distances."""
MIN_DISTANCE_M = 1.0
"""Floor of 3D distances and break-point distances, which keeps every logarithm finite."""

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class Environment(Protocol):
    """What an environment of TR 38.901 defines. All arguments are arrays that broadcast.

    To add one, write a class with these four methods and list an instance in ``ENVIRONMENTS``.
    """

    def path_loss_db(
        self,
        *,
        distance_2d_m: FloatArray,
        carrier_hz: FloatArray,
        height_bs_m: FloatArray,
        height_ut_m: FloatArray,
        los: BoolArray,
    ) -> FloatArray:
        """Path loss in dB (Table 7.4.1-1)."""
        ...

    def los_probability(self, *, distance_2d_m: FloatArray, height_ut_m: FloatArray, office: str) -> FloatArray:
        """Probability of line of sight (Table 7.4.2-1)."""
        ...

    def shadow_fading_std_db(
        self,
        *,
        distance_2d_m: FloatArray,
        carrier_hz: FloatArray,
        height_bs_m: FloatArray,
        height_ut_m: FloatArray,
        los: BoolArray,
    ) -> FloatArray:
        """Return the standard deviation of the shadow fading in dB (Table 7.4.1-1)."""
        ...

    def in_validity_range(
        self, *, distance_2d_m: FloatArray, carrier_hz: FloatArray, height_bs_m: FloatArray, height_ut_m: FloatArray
    ) -> BoolArray:
        """Whether Table 7.4.1-1 covers the arguments."""
        ...


class UrbanMicro:
    """UMi street canyon: base station at 10 m, below the roofs."""

    carrier_range_hz = (0.5e9, 100e9)
    distance_2d_range_m = (10.0, 5000.0)
    height_bs_m = 10.0
    height_ut_range_m = (1.5, 22.5)
    effective_environment_height_m = 1.0
    los_std_db = 4.0
    nlos_std_db = 7.82

    def break_point_m(self, carrier_hz: FloatArray, height_bs_m: FloatArray, height_ut_m: FloatArray) -> FloatArray:
        """Break-point distance d'_BP = 4·(h_BS - h_E)·(h_UT - h_E)·f_c/c, at least ``MIN_DISTANCE_M``."""
        above_bs_m = np.maximum(height_bs_m - self.effective_environment_height_m, 0.0)
        above_ut_m = np.maximum(height_ut_m - self.effective_environment_height_m, 0.0)
        break_point_m = 4.0 * above_bs_m * above_ut_m * carrier_hz / TR_SPEED_OF_LIGHT_M_PER_S
        return np.maximum(break_point_m, MIN_DISTANCE_M)

    def path_loss_db(
        self,
        *,
        distance_2d_m: FloatArray,
        carrier_hz: FloatArray,
        height_bs_m: FloatArray,
        height_ut_m: FloatArray,
        los: BoolArray,
    ) -> FloatArray:
        """Two slopes around the break point; without line of sight the larger of that and the NLOS line."""
        height_difference_m = height_bs_m - height_ut_m
        distance_3d_m = np.maximum(np.hypot(distance_2d_m, height_difference_m), MIN_DISTANCE_M)
        log_distance = np.log10(distance_3d_m)
        log_carrier = np.log10(carrier_hz / 1e9)
        break_point_m = self.break_point_m(carrier_hz, height_bs_m, height_ut_m)

        near_db = 32.4 + 21.0 * log_distance + 20.0 * log_carrier
        far_db = (
            32.4 + 40.0 * log_distance + 20.0 * log_carrier - 9.5 * np.log10(break_point_m**2 + height_difference_m**2)
        )
        los_db = np.where(distance_2d_m <= break_point_m, near_db, far_db)
        nlos_db = 22.4 + 35.3 * log_distance + 21.3 * log_carrier - 0.3 * (height_ut_m - 1.5)
        return np.where(los, los_db, np.maximum(los_db, nlos_db))

    def los_probability(self, *, distance_2d_m: FloatArray, height_ut_m: FloatArray, office: str) -> FloatArray:
        """Return 1 up to 18 m, then 18/d + exp(-d/36)·(1 - 18/d); height and office play no part."""
        distance_m, _ = np.broadcast_arrays(np.maximum(distance_2d_m, 18.0), height_ut_m)
        share = 18.0 / distance_m
        return np.asarray(share + np.exp(-distance_m / 36.0) * (1.0 - share))

    def shadow_fading_std_db(
        self,
        *,
        distance_2d_m: FloatArray,
        carrier_hz: FloatArray,
        height_bs_m: FloatArray,
        height_ut_m: FloatArray,
        los: BoolArray,
    ) -> FloatArray:
        """Return 4 dB in line of sight, 7.82 dB without, whatever the distance."""
        shape = np.broadcast_shapes(*(np.shape(x) for x in (distance_2d_m, carrier_hz, height_bs_m, height_ut_m, los)))
        return np.broadcast_to(np.where(los, self.los_std_db, self.nlos_std_db), shape).copy()

    def in_validity_range(
        self, *, distance_2d_m: FloatArray, carrier_hz: FloatArray, height_bs_m: FloatArray, height_ut_m: FloatArray
    ) -> BoolArray:
        """10 m to 5 km, 0.5 to 100 GHz, base station at 10 m, terminal at 1.5 to 22.5 m."""
        return np.asarray(
            _within(distance_2d_m, self.distance_2d_range_m)
            & _within(carrier_hz, self.carrier_range_hz)
            & (height_bs_m == self.height_bs_m)
            & _within(height_ut_m, self.height_ut_range_m)
        )


def _within(value: FloatArray, bounds: tuple[float, float]) -> BoolArray:
    return np.asarray((value >= bounds[0]) & (value <= bounds[1]))


ENVIRONMENTS: Mapping[str, Environment] = MappingProxyType({"umi": UrbanMicro()})
"""Name -> environment."""
