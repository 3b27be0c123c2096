"""UMi street canyon and UMa of 3GPP TR 38.901: two slopes around a break point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from channels.environments.base import (
    MIN_DISTANCE_M,
    TR_SPEED_OF_LIGHT_M_PER_S,
    BoolArray,
    Environment,
    FloatArray,
    Line,
    Links,
    log_carrier,
    within,
)

_FAR_SLOPE_DB = 40.0


@dataclass(frozen=True)
class _Urban(Environment):
    """What the street canyon and the macro cell share.

    The effective environment height h_E is 1 m. In UMa the TR draws it at random for terminals at 13 m or
    more; left out here, so that the mean loss is a function of where the ends are: the break point of such
    terminals is the farthest that the TR's draw allows.
    """

    effective_environment_height_m: ClassVar[float] = 1.0
    near: ClassVar[Line]
    """Line of sight up to the break point."""
    nlos: ClassVar[Line]
    per_terminal_height_db: ClassVar[float]
    """What NLOS loses for each metre of the terminal above 1.5 m."""
    los_decay_m: ClassVar[float]
    """Distance over which the probability of line of sight falls by e."""
    only_height_bs_m: ClassVar[float]

    los_std_db = 4.0

    @property
    def los_decorrelation_m(self) -> float:
        """Return 50 m (Table 7.6.3.1-2)."""
        return 50.0

    def break_point_m(self, links: Links, carrier_hz: FloatArray) -> FloatArray:
        """Break-point distance d'_BP = 4·(h_BS - h_E)·(h_UT - h_E)·f_c/c, at least ``MIN_DISTANCE_M``."""
        above_bs_m = np.maximum(links.height_bs_m - self.effective_environment_height_m, 0.0)
        above_ut_m = np.maximum(links.height_ut_m - self.effective_environment_height_m, 0.0)
        per_carrier = 4.0 / TR_SPEED_OF_LIGHT_M_PER_S * carrier_hz
        return np.maximum(above_bs_m * above_ut_m * per_carrier, MIN_DISTANCE_M)

    def los_path_loss_db(self, links: Links, carrier_hz: FloatArray) -> FloatArray:
        """Near slope, and beyond the break point, where the TR's two lines meet, 40 dB a decade."""
        height_difference_m = links.height_bs_m - links.height_ut_m
        squared_distance = np.maximum(links.squared_distance_3d, MIN_DISTANCE_M**2)
        squared_break_point = self.break_point_m(links, carrier_hz) ** 2 + height_difference_m**2
        near_db = self.near(0.5 * np.log10(squared_distance), log_carrier(carrier_hz))
        beyond = np.log10(np.maximum(squared_distance / squared_break_point, 1.0))
        return np.asarray(near_db + 0.5 * (_FAR_SLOPE_DB - self.near.per_distance_decade_db) * beyond)

    def nlos_line_db(self, links: Links, carrier_hz: FloatArray) -> FloatArray:
        """One slope, less what a terminal above 1.5 m gains."""
        line_db = self.nlos(links.log_distance_3d, log_carrier(carrier_hz))
        return np.asarray(line_db - self.per_terminal_height_db * (links.height_ut_m - 1.5))

    def los_probability(self, links: Links) -> FloatArray:
        """Return 1 up to 18 m, then 18/d + exp(-d/decay)·(1 - 18/d)."""
        distance_m = np.maximum(links.distance_2d_m, 18.0)
        share = 18.0 / distance_m
        return np.asarray(share + np.exp(-distance_m / self.los_decay_m) * (1.0 - share))

    def covers(self, links: Links, los: BoolArray) -> BoolArray:
        """10 m to 5 km, one base-station height, terminal at 1.5 to 22.5 m."""
        return np.asarray(
            within(links.distance_2d_m, 10.0, 5000.0)
            & (links.height_bs_m == self.only_height_bs_m)
            & within(links.height_ut_m, 1.5, 22.5)
        )


@dataclass(frozen=True)
class UrbanMicro(_Urban):
    """UMi street canyon: base station at 10 m, below the roofs."""

    validity_range = "10 m to 5 km, 0.5 to 100 GHz, base station at 10 m, terminal at 1.5 to 22.5 m"
    near = Line(32.4, 21.0, 20.0)
    nlos = Line(22.4, 35.3, 21.3)
    per_terminal_height_db = 0.3
    nlos_std_db = 7.82
    los_decay_m = 36.0
    only_height_bs_m = 10.0
    shadow_decorrelation_los_m = 10.0
    shadow_decorrelation_nlos_m = 13.0


@dataclass(frozen=True)
class UrbanMacro(_Urban):
    """UMa: base station at 25 m, above the roofs."""

    validity_range = "10 m to 5 km, 0.5 to 100 GHz, base station at 25 m, terminal at 1.5 to 22.5 m"
    near = Line(28.0, 22.0, 20.0)
    nlos = Line(13.54, 39.08, 20.0)
    per_terminal_height_db = 0.6
    nlos_std_db = 6.0
    los_decay_m = 63.0
    only_height_bs_m = 25.0
    shadow_decorrelation_los_m = 37.0
    shadow_decorrelation_nlos_m = 50.0

    def los_probability(self, links: Links) -> FloatArray:
        """As on the street, times 1 + C·5/4·(d/100)³·exp(-d/150), C = ((h_UT - 13)/10)^1.5 from 13 to 23 m.

        At most 1, which the TR's formula exceeds by up to 0.006 just beyond 18 m.
        """
        distance_m = np.maximum(links.distance_2d_m, 18.0)
        high = (np.clip(links.height_ut_m - 13.0, 0.0, 10.0) / 10.0) ** 1.5
        street = super().los_probability(links)
        boost = 1.25 * (distance_m / 100.0) ** 3 * np.exp(-distance_m / 150.0)
        return np.minimum(street * (1.0 + high * boost), 1.0)
