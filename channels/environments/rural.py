"""RMa of 3GPP TR 38.901."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from channels.environments.base import (
    MIN_DISTANCE_M,
    TR_SPEED_OF_LIGHT_M_PER_S,
    BoolArray,
    Environment,
    FloatArray,
    Links,
    log_carrier,
    within,
)

_FAR_STD_DB = 6.0


@dataclass(frozen=True)
class RuralMacro(Environment):
    """RMa: base station at 35 m, streets and buildings of a village."""

    street_width_m: float = 20.0
    """Mean street width W."""
    building_height_m: float = 5.0
    """Mean building height h."""

    validity_range = (
        "10 m to 5 km (10 km in line of sight), 0.5 to 30 GHz, base station at 10 to 150 m, terminal at 1 to 10 m, "
        "streets and buildings of 5 to 50 m"
    )
    max_carrier_hz = 30e9
    los_std_db = 4.0
    nlos_std_db = 8.0
    shadow_decorrelation_los_m = 37.0
    shadow_decorrelation_nlos_m = 120.0

    @property
    def los_decorrelation_m(self) -> float:
        """Return 60 m (Table 7.6.3.1-2)."""
        return 60.0

    def break_point_m(self, links: Links, carrier_hz: FloatArray) -> FloatArray:
        """Break-point distance d_BP = 2π·h_BS·h_UT·f_c/c, at least ``MIN_DISTANCE_M``."""
        per_carrier = 2.0 * np.pi / TR_SPEED_OF_LIGHT_M_PER_S * carrier_hz
        return np.maximum(links.height_bs_m * links.height_ut_m * per_carrier, MIN_DISTANCE_M)

    def los_path_loss_db(self, links: Links, carrier_hz: FloatArray) -> FloatArray:
        """Free space and the villages' clutter up to the break point, then 40 dB a decade."""
        distance_m = np.maximum(np.sqrt(links.squared_distance_3d), MIN_DISTANCE_M)
        break_point_m = self.break_point_m(links, carrier_hz)
        is_near = links.distance_2d_m <= break_point_m
        near_m = np.where(is_near, distance_m, break_point_m)
        clutter = self.building_height_m**1.72
        near_db = (
            (20.0 * np.log10(40.0 * np.pi / 3.0) - min(0.044 * clutter, 14.77))
            + 20.0 * log_carrier(carrier_hz)
            + (20.0 + min(0.03 * clutter, 10.0)) * np.log10(near_m)
            + 0.002 * np.log10(self.building_height_m) * near_m
        )
        return np.asarray(near_db + 40.0 * np.log10(distance_m / near_m))

    def nlos_line_db(self, links: Links, carrier_hz: FloatArray) -> FloatArray:
        """ITU-R M.2135's rural line, which depends on streets, buildings and both heights."""
        height_bs_m = np.maximum(links.height_bs_m, MIN_DISTANCE_M)
        log_height_bs = np.log10(height_bs_m)
        log_height_ut = np.log10(11.75 * np.maximum(links.height_ut_m, MIN_DISTANCE_M))
        fixed_db = 161.04 - 7.1 * np.log10(self.street_width_m) + 7.5 * np.log10(self.building_height_m)
        return np.asarray(
            (fixed_db + 4.97 + 20.0 * log_carrier(carrier_hz))
            - (24.37 - 3.7 * (self.building_height_m / height_bs_m) ** 2) * log_height_bs
            + (43.42 - 3.1 * log_height_bs) * (links.log_distance_3d - 3.0)
            - 3.2 * log_height_ut**2
        )

    def los_probability(self, links: Links) -> FloatArray:
        """Return 1 up to 10 m, then exp(-(d - 10)/1000)."""
        return np.asarray(np.exp(-np.maximum(links.distance_2d_m - 10.0, 0.0) / 1000.0))

    def shadow_fading_std_db(self, links: Links, *, carrier_hz: FloatArray, los: BoolArray) -> FloatArray:
        """Return 4 dB in line of sight up to the break point, 6 dB beyond, 8 dB without."""
        is_near = links.distance_2d_m <= self.break_point_m(links, carrier_hz)
        return np.where(los, np.where(is_near, self.los_std_db, _FAR_STD_DB), self.nlos_std_db)

    def covers(self, links: Links, los: BoolArray) -> BoolArray:
        """10 m to 10 km in line of sight, to 5 km without; heights, streets and buildings in their ranges."""
        has_usual_buildings = 5.0 <= self.street_width_m <= 50.0 and 5.0 <= self.building_height_m <= 50.0
        return np.asarray(
            (links.distance_2d_m >= 10.0)
            & (links.distance_2d_m <= np.where(los, 10_000.0, 5000.0))
            & within(links.height_bs_m, 10.0, 150.0)
            & within(links.height_ut_m, 1.0, 10.0)
            & has_usual_buildings
        )
