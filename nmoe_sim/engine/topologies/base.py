"""Base of the family, and what its members share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.engine.links import Node, NodeKind
from nmoe_sim.engine.topology import Topology, check_num_links
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.quantities import Count
from nmoe_sim.scenario.spec import Family, Spec

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


class WithBaseStations(TopologySpec):
    """Base of topologies with base stations, all of one profile."""

    base_station: Annotated[DeviceProfile, Family("device_profile", default="base_station", key="profile")]
    """A base station's compute, memory and powers; it aggregates, and it can host experts."""


def pairs_within(nodes: Sequence[Node], range_m: float) -> list[tuple[str, str]]:
    """Return the names of every two nodes at most ``range_m`` apart.

    Raises
    ------
    InputError
        If these are too many links.
    """
    from scipy.spatial import KDTree

    if len(nodes) < 2:
        return []
    tree = KDTree([(node.x_m, node.y_m) for node in nodes])
    check_num_links(
        int(tree.count_neighbors(tree, range_m)) - len(nodes), f"of {len(nodes)} devices within their range"
    )
    return [(nodes[i].name, nodes[j].name) for i, j in sorted(tree.query_pairs(range_m))]


def uniform_in_ring(streams: RandomStreams, count: int, inner_m: float, outer_m: float) -> Metres:
    """Return places [count, 2] uniform over the ring around the origin; place i is drawn from ("position", i, …)."""
    index = np.arange(count)
    radius_m = np.sqrt(inner_m**2 + (outer_m**2 - inner_m**2) * streams.uniform("position", index, 0))
    angle = 2 * np.pi * streams.uniform("position", index, 1)
    return np.column_stack([radius_m * np.cos(angle), radius_m * np.sin(angle)])
