"""What an environment of 3GPP TR 38.901 defines, and what all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

TR_SPEED_OF_LIGHT_M_PER_S = 3.0e8
"""The value Table 7.4.1-1 prescribes for break-point distances."""
MIN_DISTANCE_M = 1.0
"""Floor of 3D distances and break-point distances, which keeps every logarithm finite."""

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class Links(NamedTuple):
    """Where the ends of links are: arrays that broadcast against each other."""

    distance_2d_m: FloatArray
    """Horizontal distance."""
    height_bs_m: FloatArray
    """Antenna height of the base station."""
    height_ut_m: FloatArray
    """Antenna height of the user terminal."""

    @property
    def squared_distance_3d(self) -> FloatArray:
        """Square of the distance between the antennas in m²."""
        height_difference_m = self.height_bs_m - self.height_ut_m
        return np.asarray(self.distance_2d_m * self.distance_2d_m + height_difference_m * height_difference_m)

    @property
    def log_distance_3d(self) -> FloatArray:
        """Decadic logarithm of the distance between the antennas in m, at least ``MIN_DISTANCE_M``."""
        return np.asarray(0.5 * np.log10(np.maximum(self.squared_distance_3d, MIN_DISTANCE_M**2)))


class Line(NamedTuple):
    """Loss in dB that is linear in the logarithms of 3D distance in m and carrier in GHz."""

    intercept_db: float
    per_distance_decade_db: float
    per_carrier_decade_db: float

    def __call__(self, log_distance: FloatArray, log_carrier: FloatArray) -> FloatArray:
        """Loss in dB at decadic logarithms."""
        at_one_metre_db = self.intercept_db + self.per_carrier_decade_db * log_carrier
        return np.asarray(at_one_metre_db + self.per_distance_decade_db * log_distance)


@dataclass(frozen=True)
class Environment(ABC):
    """An environment of TR 38.901; its fields are the settings a user may vary.

    All arguments are arrays that broadcast, results broadcast to the shape of their arguments. To add one, write a
    subclass and list an instance in ``channels.environments.ENVIRONMENTS``.
    """

    validity_range: ClassVar[str]
    """What Table 7.4.1-1 covers, in words; completes "outside …"."""
    max_carrier_hz: ClassVar[float] = 100e9
    los_std_db: ClassVar[float]
    """Standard deviation of shadow fading in line of sight (Table 7.4.1-1)."""
    nlos_std_db: ClassVar[float]
    """Standard deviation of shadow fading without line of sight (Table 7.4.1-1)."""
    shadow_decorrelation_los_m: ClassVar[float]
    """Correlation distance of shadow fading in line of sight (Table 7.5-6)."""
    shadow_decorrelation_nlos_m: ClassVar[float]
    """Correlation distance of shadow fading without line of sight (Table 7.5-6)."""

    @property
    @abstractmethod
    def los_decorrelation_m(self) -> float:
        """Correlation distance of the line-of-sight state (Table 7.6.3.1-2)."""

    @abstractmethod
    def los_path_loss_db(self, links: Links, carrier_hz: FloatArray) -> FloatArray:
        """Path loss in line of sight in dB (Table 7.4.1-1)."""

    @abstractmethod
    def nlos_line_db(self, links: Links, carrier_hz: FloatArray) -> FloatArray:
        """Path loss without line of sight in dB, before it is held above that in line of sight (Table 7.4.1-1)."""

    @abstractmethod
    def los_probability(self, links: Links) -> FloatArray:
        """Probability of line of sight (Table 7.4.2-1)."""

    @abstractmethod
    def covers(self, links: Links, los: BoolArray) -> BoolArray:
        """Whether Table 7.4.1-1 covers the links, whatever the carrier."""

    def path_loss_db(self, links: Links, *, carrier_hz: FloatArray, los: BoolArray) -> FloatArray:
        """Path loss in dB; without line of sight never less than with it."""
        los_db = self.los_path_loss_db(links, carrier_hz)
        return np.where(los, los_db, np.maximum(los_db, self.nlos_line_db(links, carrier_hz)))

    def shadow_fading_std_db(self, links: Links, *, carrier_hz: FloatArray, los: BoolArray) -> FloatArray:
        """Return the standard deviation of the shadow fading in dB."""
        return np.where(los, self.los_std_db, self.nlos_std_db)

    def shadow_decorrelation_m(self, los: bool) -> float:
        """Distance over which shadow fading decorrelates."""
        return self.shadow_decorrelation_los_m if los else self.shadow_decorrelation_nlos_m

    def in_validity_range(self, links: Links, *, carrier_hz: FloatArray, los: BoolArray) -> BoolArray:
        """Whether Table 7.4.1-1 covers the arguments, bounds included."""
        return np.asarray(within(carrier_hz, 0.5e9, self.max_carrier_hz) & self.covers(links, los))


def log_carrier(carrier_hz: FloatArray) -> FloatArray:
    """Decadic logarithm of the carrier in GHz."""
    return np.asarray(np.log10(carrier_hz / 1e9))


def within(value: FloatArray, low: float, high: float) -> BoolArray:
    """Whether low ≤ value ≤ high."""
    return np.asarray((value >= low) & (value <= high))
