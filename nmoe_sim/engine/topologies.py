"""Family ``topology``: where the nodes stand and which of them are linked."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, ClassVar

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from nmoe_sim.engine.topology import Node, NodeKind, Topology
from nmoe_sim.errors import InputError
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.quantities import Count, Positive
from nmoe_sim.scenario.spec import Family, Spec

MAX_LINKS = 2_000_000
"""Directed links of a topology; more don't fit a workstation's memory."""

Metres = NDArray[np.float64]


class TopologySpec(Spec):
    """Base of the family: implement ``build``."""

    num_devices: Count = 10
    """Devices, base stations not counted."""

    @abstractmethod
    def build(self, streams: RandomStreams) -> Topology:
        """Place the nodes and link them; positions are draws of the stream ``position``."""

    def device_names(self) -> list[str]:
        """Names of the devices, in order: ``dev0``, ``dev1``, …; adding devices renames none."""
        return [f"dev{i}" for i in range(self.num_devices)]

    def _nodes(self, xy_m: Metres, kind: NodeKind = "device") -> list[Node]:
        names = self.device_names() if kind == "device" else [f"bs{i}" for i in range(len(xy_m))]
        return [Node(name, kind, float(x), float(y)) for name, (x, y) in zip(names, xy_m, strict=True)]


def _pairs_within(nodes: list[Node], range_m: float) -> list[tuple[str, str]]:
    from scipy.spatial import KDTree

    if len(nodes) < 2:
        return []
    tree = KDTree([(node.x_m, node.y_m) for node in nodes])
    if (count := int(tree.count_neighbors(tree, range_m)) - len(nodes)) > MAX_LINKS:
        raise InputError(
            f"{len(nodes)} devices would have {count:,} links, more than {MAX_LINKS:,}; "
            "lower the range or the number of devices",
            key="topology",
        )
    pairs = tree.query_pairs(range_m)
    return [(nodes[i].name, nodes[j].name) for i, j in sorted(pairs)]


def _uniform_in_ring(streams: RandomStreams, count: int, inner_m: float, outer_m: float) -> Metres:
    index = np.arange(count)
    radius_m = np.sqrt(inner_m**2 + (outer_m**2 - inner_m**2) * streams.uniform("position", index, 0))
    angle = 2 * np.pi * streams.uniform("position", index, 1)
    return np.column_stack([radius_m * np.cos(angle), radius_m * np.sin(angle)])


class _WithBaseStation(TopologySpec):
    base_station: Annotated[DeviceProfile, Family("device_profile", default="base_station", key="profile")]
    """The base station's compute, memory and powers; it aggregates, and it can host experts."""
    radius_m: Positive = 150.0
    """Radius of the cell."""

    def _with_base_station(self, devices: list[Node], extra: list[tuple[str, str]]) -> Topology:
        [station] = self._nodes(np.zeros((1, 2)), "base_station")
        return Topology([*devices, station], [*((d.name, station.name) for d in devices), *extra])


class Cell(_WithBaseStation):
    """One cell: a base station in the centre, devices uniform over the ring around it.

    Devices reach each other through the base station, or directly within ``sidelink_range_m``.
    """

    kind: ClassVar[str] = "cell"

    min_distance_m: Positive = 10.0
    """Nearest a device comes to the base station (TR 38.901 UMi: 10 m)."""
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
        devices = self._nodes(_uniform_in_ring(streams, self.num_devices, self.min_distance_m, self.radius_m))
        extra = _pairs_within(devices, self.sidelink_range_m) if self.sidelink_range_m else []
        return self._with_base_station(devices, extra)


class Star(_WithBaseStation):
    """A base station with all devices at the same distance, evenly around it: the symmetric cell."""

    kind: ClassVar[str] = "star"

    def build(self, streams: RandomStreams) -> Topology:
        """See the base class; nothing is random."""
        angle = 2 * np.pi * np.arange(self.num_devices) / self.num_devices
        xy_m: Metres = self.radius_m * np.column_stack([np.cos(angle), np.sin(angle)])
        return self._with_base_station(self._nodes(xy_m), [])


class Disc(TopologySpec):
    """Device-to-device disc graph: devices uniform over a disc, linked within ``range_m``.

    It may fall into several parts; the checks before a run say which devices can't be reached.
    """

    kind: ClassVar[str] = "disc"

    radius_m: Positive = 100.0
    """Radius of the disc the devices stand on."""
    range_m: Positive = 80.0
    """Devices at most this far apart are linked."""

    def build(self, streams: RandomStreams) -> Topology:
        """See the base class."""
        devices = self._nodes(_uniform_in_ring(streams, self.num_devices, 0.0, self.radius_m))
        return Topology(devices, _pairs_within(devices, self.range_m))


class Grid(TopologySpec):
    """Devices on a square lattice, filled row by row, linked to their four neighbours."""

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
        return Topology(devices, _pairs_within(devices, 1.001 * self.spacing_m))


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
            topology = Topology(devices, _pairs_within(devices, self.range_m))
            if nx.is_connected(topology.graph):
                return topology
        raise InputError(
            f"{self.range_m:g} m connected none of {self.max_draws} draws of {self.num_devices} devices on a "
            f"square of {self.side_m:g} m; raise the range or use fewer metres",
            key="topology.range_m",
        )
