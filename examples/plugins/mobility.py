"""A way to move of one's own: on circles around the middle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from channels.laws import UniformDraws
from channels.mobility import Box, FloatArray
from nmoe_sim.engine.mobility import MobilitySpec
from nmoe_sim.scenario.quantities import Positive


class Orbit(MobilitySpec):
    """Every device circles around the middle of the topology's box, as far from it as it starts."""

    kind: ClassVar[str] = "orbit"

    speed_m_per_s: Positive = 5.0
    """Speed of every device."""

    def trajectory(self, start_m: FloatArray, bounds_m: Box, uniform: UniformDraws, names: Sequence[str]) -> Circles:
        """See the base class; nothing is random."""
        west_m, south_m, east_m, north_m = bounds_m
        return Circles(start_m, np.array([west_m + east_m, south_m + north_m]) / 2, self.speed_m_per_s)


class Circles:
    """Positions on circles: all that is asked of a trajectory is a function of time."""

    def __init__(self, start_m: FloatArray, centre_m: FloatArray, speed_m_per_s: float) -> None:
        self.centre_m = centre_m
        dx_m, dy_m = (start_m - centre_m).T
        self.radius_m = np.maximum(np.hypot(dx_m, dy_m), 1e-3)
        self.angle = np.arctan2(dy_m, dx_m)
        self.speed_m_per_s = speed_m_per_s

    def positions_m(self, t_s: ArrayLike) -> FloatArray:
        """Return positions at times [T], in any order: [T, N, 2]."""
        turned = np.atleast_1d(np.asarray(t_s, np.float64))[:, None] * self.speed_m_per_s / self.radius_m
        angle = self.angle + turned
        offset_m = np.stack([self.radius_m * np.cos(angle), self.radius_m * np.sin(angle)], axis=-1)
        return np.asarray(self.centre_m + offset_m)


FAMILIES = {"mobility": [Orbit]}
