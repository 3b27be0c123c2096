"""InH office and the factory halls InF of 3GPP TR 38.901."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from channels.environments.base import BoolArray, Environment, FloatArray, Line, Links, log_carrier, within

OFFICES = ("mixed", "open")
"""Kinds of office, which differ in the probability of line of sight."""


@dataclass(frozen=True)
class IndoorOffice(Environment):
    """InH office: base station under the ceiling at 3 m, terminals on desks at 1 m."""

    office: str = "mixed"
    """``"mixed"``: rooms, cubicles and corridors; ``"open"``: one open floor."""

    validity_range = "1 to 150 m in 3D, 0.5 to 100 GHz"
    los: ClassVar[Line] = Line(32.4, 17.3, 20.0)
    nlos: ClassVar[Line] = Line(17.3, 38.3, 24.9)
    los_std_db = 3.0
    nlos_std_db = 8.03
    shadow_decorrelation_los_m = 10.0
    shadow_decorrelation_nlos_m = 6.0

    @property
    def los_decorrelation_m(self) -> float:
        """Return 10 m (Table 7.6.3.1-2)."""
        return 10.0

    def los_path_loss_db(self, links: Links, carrier_hz: FloatArray) -> FloatArray:
        """One slope, less than free space's: corridors guide waves."""
        return self.los(links.log_distance_3d, log_carrier(carrier_hz))

    def nlos_line_db(self, links: Links, carrier_hz: FloatArray) -> FloatArray:
        """One slope."""
        return self.nlos(links.log_distance_3d, log_carrier(carrier_hz))

    def los_probability(self, links: Links) -> FloatArray:
        """Return 1 nearby, then two exponentials of the horizontal distance."""
        distance_m = links.distance_2d_m
        if self.office == "open":
            near = np.exp(-np.maximum(distance_m - 5.0, 0.0) / 70.8)
            return np.where(distance_m <= 49.0, near, 0.54 * np.exp(-(distance_m - 49.0) / 211.7))
        near = np.exp(-np.maximum(distance_m - 1.2, 0.0) / 4.7)
        return np.where(distance_m < 6.5, near, 0.32 * np.exp(-(distance_m - 6.5) / 32.6))

    def covers(self, links: Links, los: BoolArray) -> BoolArray:
        """1 to 150 m between the antennas."""
        return within(links.squared_distance_3d, 1.0, 150.0**2)


_SPARSE_LOW = Line(33.0, 25.5, 20.0)


@dataclass(frozen=True)
class IndoorFactory(Environment):
    """InF: a hall with clutter, machines and shelves say; defaults of its calibration (Table 7.8-7)."""

    clutter_density: float = 0.2
    """Share r of the floor that clutter takes, 0 ≤ r < 1."""
    clutter_size_m: float = 10.0
    """Typical size d_clutter of a piece."""
    clutter_height_m: float = 2.0
    """Effective height h_c of the clutter."""

    los: ClassVar[Line] = Line(31.84, 21.5, 19.0)
    nlos: ClassVar[tuple[Line, ...]]
    """The largest one holds."""
    is_base_station_high: ClassVar[bool] = False
    """Whether the base station is above the clutter."""
    los_std_db = 4.3
    shadow_decorrelation_los_m = 10.0
    shadow_decorrelation_nlos_m = 10.0
    validity_range = "1 to 600 m in 3D, 0.5 to 100 GHz, both antennas no higher than the clutter"

    @property
    def los_decorrelation_m(self) -> float:
        """Half the size of a piece of clutter (Table 7.6.3.1-2)."""
        return 0.5 * self.clutter_size_m

    def los_path_loss_db(self, links: Links, carrier_hz: FloatArray) -> FloatArray:
        """One slope, the same in all halls."""
        return self.los(links.log_distance_3d, log_carrier(carrier_hz))

    def nlos_line_db(self, links: Links, carrier_hz: FloatArray) -> FloatArray:
        """One slope; in a dense hall with a low base station never less than in a sparse one."""
        log_distance, log_ghz = links.log_distance_3d, log_carrier(carrier_hz)
        return np.asarray(np.max([line(log_distance, log_ghz) for line in self.nlos], axis=0))

    def los_probability(self, links: Links) -> FloatArray:
        """exp(-d/k), k = -d_clutter/ln(1 - r), over the part of the path that is in the clutter.

        That part is all of it below a low base station and (h_c - h_UT)/(h_BS - h_UT) below a high one.
        Where both ends of a link to a high base station are in the clutter, so is all of the path; the TR's
        formula isn't meant for such links.
        """
        per_metre = -np.log1p(-self.clutter_density) / self.clutter_size_m
        if not self.is_base_station_high:
            return np.asarray(np.exp(-per_metre * links.distance_2d_m))
        rise_m = np.maximum(links.height_bs_m - links.height_ut_m, 1e-9)
        in_clutter = np.clip((self.clutter_height_m - links.height_ut_m) / rise_m, 0.0, 1.0)
        return np.asarray(np.exp(-per_metre * in_clutter * links.distance_2d_m))

    def covers(self, links: Links, los: BoolArray) -> BoolArray:
        """1 to 600 m between antennas at the heights that make the hall what it is (Table 7.2-4)."""
        is_above = np.maximum(links.height_bs_m, links.height_ut_m) > self.clutter_height_m
        return np.asarray(within(links.squared_distance_3d, 1.0, 600.0**2) & (is_above == self.is_base_station_high))


@dataclass(frozen=True)
class _HighFactory(IndoorFactory):
    """A hall whose base station is above the clutter, at 8 m say."""

    is_base_station_high = True
    validity_range = "1 to 600 m in 3D, 0.5 to 100 GHz, one antenna above the clutter"


@dataclass(frozen=True)
class FactorySL(IndoorFactory):
    """InF-SL: sparse clutter, low base station."""

    nlos = (_SPARSE_LOW,)
    nlos_std_db = 5.7


@dataclass(frozen=True)
class FactoryDL(IndoorFactory):
    """InF-DL: dense clutter, low base station."""

    clutter_density: float = 0.6
    clutter_size_m: float = 2.0
    clutter_height_m: float = 6.0
    nlos = (_SPARSE_LOW, Line(18.6, 35.7, 20.0))
    nlos_std_db = 7.2


@dataclass(frozen=True)
class FactorySH(_HighFactory):
    """InF-SH: sparse clutter, high base station."""

    nlos = (Line(32.4, 23.0, 20.0),)
    nlos_std_db = 5.9


@dataclass(frozen=True)
class FactoryDH(_HighFactory):
    """InF-DH: dense clutter, high base station."""

    clutter_density: float = 0.6
    clutter_size_m: float = 2.0
    clutter_height_m: float = 6.0
    nlos = (Line(33.63, 21.9, 20.0),)
    nlos_std_db = 4.0
