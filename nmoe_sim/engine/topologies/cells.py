"""One base station."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nmoe_sim.engine.links import Node
from nmoe_sim.engine.topologies.base import Metres, WithBaseStations, pairs_within, uniform_in_ring
from nmoe_sim.engine.topology import Topology
from nmoe_sim.errors import InputError
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import Positive


class _OneCell(WithBaseStations):
    radius_m: Positive = 150.0
    """Radius of the cell; devices may move in the square around it."""

    def _with_base_station(
        self, devices: list[Node], extra: list[tuple[str, str]], sidelink_range_m: float | None = None
    ) -> Topology:
        [station] = self._nodes(np.zeros((1, 2)), "base_station")
        return Topology(
            [*devices, station],
            [*((d.name, station.name) for d in devices), *extra],
            bounds_m=(-self.radius_m, -self.radius_m, self.radius_m, self.radius_m),
            sidelink_range_m=sidelink_range_m,
        )


class Cell(_OneCell):
    """One cell: a base station in the centre, devices uniform over the ring around it.

    Devices reach each other through the base station, or directly within ``sidelink_range_m``.
    """

    kind: ClassVar[str] = "cell"

    min_distance_m: Positive = 10.0
    """Nearest a device starts to the base station (TR 38.901 UMi: 10 m)."""
    sidelink_range_m: Positive | None = None
    """Devices at most this far apart have a direct link too; null: none have."""

    def build(self, streams: RandomStreams) -> Topology:
        """See the base class."""
        if self.min_distance_m >= self.radius_m:
            raise InputError(
                f"{self.min_distance_m:g} m leaves no room in a cell of {self.radius_m:g} m; "
                "make it smaller than topology.radius_m",
                key="topology.min_distance_m",
            )
        devices = self._nodes(uniform_in_ring(streams, self.num_devices, self.min_distance_m, self.radius_m))
        extra = pairs_within(devices, self.sidelink_range_m) if self.sidelink_range_m else []
        return self._with_base_station(devices, extra, self.sidelink_range_m)


class Star(_OneCell):
    """A base station with all devices at the same distance, evenly around it: the symmetric cell."""

    kind: ClassVar[str] = "star"

    def build(self, streams: RandomStreams) -> Topology:
        """See the base class; nothing is random."""
        angle = 2 * np.pi * np.arange(self.num_devices) / self.num_devices
        xy_m: Metres = self.radius_m * np.column_stack([np.cos(angle), np.sin(angle)])
        return self._with_base_station(self._nodes(xy_m), [])
