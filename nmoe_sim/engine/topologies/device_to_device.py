"""No base station: devices linked within a range. Those that move may come into it, and leave it."""

from __future__ import annotations

import math
from typing import ClassVar

import networkx as nx
import numpy as np

from nmoe_sim.engine.topologies.base import TopologySpec, pairs_within, uniform_in_ring
from nmoe_sim.engine.topology import Topology
from nmoe_sim.errors import InputError
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import Count, Positive


class Disc(TopologySpec):
    """Device-to-device disc graph: devices uniform over a disc, linked within ``range_m``.

    It may fall into several parts; the checks before a run say which devices can't be reached.
    """

    kind: ClassVar[str] = "disc"

    radius_m: Positive = 100.0
    """Radius of the disc the devices start on; they may move in the square around it."""
    range_m: Positive = 80.0
    """Devices at most this far apart are linked."""

    def build(self, streams: RandomStreams) -> Topology:
        """See the base class."""
        devices = self._nodes(uniform_in_ring(streams, self.num_devices, 0.0, self.radius_m))
        square_m = (-self.radius_m, -self.radius_m, self.radius_m, self.radius_m)
        return Topology(devices, pairs_within(devices, self.range_m), bounds_m=square_m, sidelink_range_m=self.range_m)


class Grid(TopologySpec):
    """Devices on a square lattice, filled row by row, linked to their four neighbours.

    Where they move, they do so in the lattice's box and half a spacing around it, linked within one spacing.
    """

    kind: ClassVar[str] = "grid"

    spacing_m: Positive = 50.0
    """Distance between neighbours."""
    num_columns: Count | None = None
    """Devices a row; null: as square as it goes."""

    def build(self, streams: RandomStreams) -> Topology:
        """See the base class; nothing is random."""
        columns = self.num_columns or math.ceil(math.sqrt(self.num_devices))
        index = np.arange(self.num_devices)
        devices = self._nodes(np.column_stack([index % columns, index // columns]) * np.float64(self.spacing_m))
        half_m, range_m = 0.5 * self.spacing_m, 1.001 * self.spacing_m
        east_m = self.spacing_m * (min(columns, self.num_devices) - 1)
        north_m = self.spacing_m * ((self.num_devices - 1) // columns)
        box_m = (-half_m, -half_m, east_m + half_m, north_m + half_m)
        return Topology(devices, pairs_within(devices, range_m), bounds_m=box_m, sidelink_range_m=range_m)


class RandomGeometric(TopologySpec):
    """Random geometric graph on a square, drawn anew until it is connected."""

    kind: ClassVar[str] = "random_geometric"

    side_m: Positive = 200.0
    """Side of the square the devices stand on."""
    range_m: Positive = 100.0
    """Devices at most this far apart are linked."""
    max_draws: Count = 100
    """Draws before giving up."""

    def build(self, streams: RandomStreams) -> Topology:
        """See the base class."""
        index = np.arange(self.num_devices)
        for draw in range(self.max_draws):
            x, y = (self.side_m * streams.uniform("position", index, axis, draw) for axis in (0, 1))
            devices = self._nodes(np.column_stack([x, y]))
            topology = Topology(
                devices,
                pairs_within(devices, self.range_m),
                bounds_m=(0.0, 0.0, self.side_m, self.side_m),
                sidelink_range_m=self.range_m,
            )
            if nx.is_connected(topology.graph):
                return topology
        raise InputError(
            f"{self.range_m:g} m connected none of {self.max_draws} draws of {self.num_devices} devices on a "
            f"square of {self.side_m:g} m; raise the range or use fewer metres",
            key="topology.range_m",
        )
