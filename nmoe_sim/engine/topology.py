"""Who is where and who is linked to whom: a typed facade over a networkx graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import networkx as nx

from nmoe_sim.errors import RunError

NodeKind = Literal["device", "base_station"]
MediumName = Literal["uplink", "downlink", "sidelink"]


@dataclass(frozen=True, slots=True)
class Node:
    """A device or base station at a position in the plane."""

    name: str
    kind: NodeKind
    x_m: float
    y_m: float


@dataclass(frozen=True, slots=True)
class Link:
    """A directed link; ``index`` is its position in ``Topology.links``."""

    index: int
    src: Node
    dst: Node
    distance_m: float

    @property
    def medium(self) -> MediumName:
        """Spectrum the link uses: to a base station, from one, or between devices."""
        if self.dst.kind == "base_station":
            return "uplink"
        return "downlink" if self.src.kind == "base_station" else "sidelink"


class NoRouteError(RunError):
    """Two devices that no route connects."""


class Topology:
    """Nodes and directed links.

    Parameters
    ----------
    nodes : sequence of Node
        Devices first, then base stations.
    pairs : iterable of (str, str)
        Names of linked nodes; each pair becomes a link in both directions.
    """

    def __init__(self, nodes: Sequence[Node], pairs: Iterable[tuple[str, str]]) -> None:
        self.nodes = tuple(nodes)
        self.index = {node.name: i for i, node in enumerate(self.nodes)}
        self.graph: nx.Graph[str] = nx.Graph()
        self.graph.add_nodes_from(node.name for node in self.nodes)
        self.links: list[Link] = []
        self._link: dict[tuple[str, str], Link] = {}
        for a, b in pairs:
            node_a, node_b = self[a], self[b]
            distance_m = math.hypot(node_a.x_m - node_b.x_m, node_a.y_m - node_b.y_m)
            # Dijkstra's cost: fewest hops, then shortest way
            self.graph.add_edge(a, b, cost=1e9 + distance_m)
            for src, dst in ((node_a, node_b), (node_b, node_a)):
                link = Link(len(self.links), src, dst, distance_m)
                self.links.append(link)
                self._link[src.name, dst.name] = link
        self._routes: dict[tuple[str, str], tuple[Link, ...]] = {}
        self._paths: dict[str, dict[str, list[str]]] = {}

    def __getitem__(self, name: str) -> Node:
        return self.nodes[self.index[name]]

    @cached_property
    def devices(self) -> tuple[Node, ...]:
        """Nodes that are devices."""
        return tuple(node for node in self.nodes if node.kind == "device")

    @cached_property
    def base_stations(self) -> tuple[Node, ...]:
        """Nodes that are base stations."""
        return tuple(node for node in self.nodes if node.kind == "base_station")

    def route(self, src: str, dst: str) -> tuple[Link, ...]:
        """Return the links from ``src`` to ``dst``: fewest hops, then shortest; () when they are the same.

        Rates don't count: a direct sidelink is taken even where two hops over a base station are faster.

        Raises
        ------
        NoRouteError
            If no route connects them.
        """
        pair = (src, dst)
        route = self._routes.get(pair)
        if route is None:
            route = self._routes[pair] = self._find_route(src, dst)
        return route

    def _find_route(self, src: str, dst: str) -> tuple[Link, ...]:
        if src == dst:
            return ()
        if (src, dst) in self._link:  # one hop; nothing is shorter
            return (self._link[src, dst],)
        if src not in self._paths:
            self._paths[src] = nx.single_source_dijkstra_path(self.graph, src, weight="cost")
        path = self._paths[src].get(dst)
        if path is None:
            raise NoRouteError(f"no route from {src} to {dst}")
        return tuple(self._link[pair] for pair in pairwise(path))

    def is_connected(self, src: str, dst: str) -> bool:
        """Tell whether a route connects the two."""
        return bool(nx.has_path(self.graph, src, dst))

    def most_central(self) -> str:
        """Return the device of largest closeness centrality (ties: the first)."""
        closeness = nx.closeness_centrality(self.graph)
        return max(self.graph.nodes, key=lambda name: (closeness[name], -self.index[name]))
