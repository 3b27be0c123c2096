"""Ways through the links that are up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from nmoe_sim.engine.links import Link
from nmoe_sim.errors import RunError

_RADIO_HOP_M = 1e9
_WIRED_HOP_M = 1.0
"""What a hop costs in a route beside the metres it goes by radio."""


class NoRouteError(RunError):
    """Two devices that no route connects."""


class Routes:
    """Finds routes and remembers them; ``Topology.route`` says which.

    Parameters
    ----------
    graph : networkx.Graph
        Pairs that are up, each with ``wired``. Say ``changed`` when one goes up or down.
    links : mapping of (str, str) to Link
        Links by the names of their ends, up or down.
    index : mapping of str to int
        Rows of nodes in ``positions_m``.
    positions_m : ndarray, shape (nodes, 2)
        Where the nodes are now. Say ``about_to_move`` before it changes.
    has_cables : bool
        Whether any link is a cable.
    """

    def __init__(
        self,
        graph: nx.Graph[str],
        links: Mapping[tuple[str, str], Link],
        index: Mapping[str, int],
        positions_m: NDArray[np.float64],
        *,
        has_cables: bool,
    ) -> None:
        self._graph = graph
        self._links = links
        self._index = index
        self._positions_m = positions_m
        self._has_cables = has_cables
        self._routes: dict[tuple[str, str], tuple[Link, ...]] = {}
        self._paths: dict[str, dict[str, list[str]]] = {}
        self._xy_m: list[list[float]] | None = None  # positions that paths are found by; None: those of now

    def copy(self, graph: nx.Graph[str], positions_m: NDArray[np.float64]) -> Routes:
        """Return routes over a copy of the graph, found by the same positions."""
        copied = Routes(graph, self._links, self._index, positions_m, has_cables=self._has_cables)
        copied._xy_m = self._xy_m
        return copied

    def changed(self, *, a_leaf: bool) -> None:
        """Forget routes, since a pair went up or down; paths too unless only ``a_leaf`` came or went."""
        self._routes.clear()
        if not a_leaf:  # leaves are on no path
            self._paths.clear()
            self._xy_m = None

    def about_to_move(self) -> None:
        """Keep the positions of now for paths that are yet to be found."""
        if self._xy_m is None:
            self._xy_m = self._positions_m.tolist()

    def find(self, src: str, dst: str) -> tuple[Link, ...]:
        """Return a route; see ``Topology.route``."""
        pair = (src, dst)
        route = self._routes.get(pair)
        if route is None:
            route = self._routes[pair] = self._find(src, dst)
        return route

    def _find(self, src: str, dst: str) -> tuple[Link, ...]:
        if src == dst:
            return ()
        if self._graph.has_edge(src, dst) and not self._has_cables:  # nothing is shorter
            return (self._links[src, dst],)
        # a node of one link has no choice: beyond it the way is one that many share
        first, last = self._only_neighbour(src) or src, self._only_neighbour(dst) or dst
        if first == dst or last == src:
            return (self._links[src, dst],)
        if first not in self._paths:
            self.about_to_move()
            self._paths[first] = nx.single_source_dijkstra_path(self._graph, first, weight=self._hop_m)
        path = self._paths[first].get(last)
        if path is None:
            raise NoRouteError(f"no route from {src} to {dst}")
        whole = [*([src] if first != src else []), *path, *([dst] if last != dst else [])]
        return tuple(self._links[pair] for pair in pairwise(whole))

    def _only_neighbour(self, name: str) -> str | None:
        neighbours = self._graph[name]
        return next(iter(neighbours)) if len(neighbours) == 1 else None

    def _hop_m(self, a: str, b: str, pair: dict[str, bool]) -> float | None:
        """Return what a hop costs; None: it leads to a leaf, and is left out."""
        if len(self._graph.adj[b]) == 1:
            return None
        if pair["wired"]:
            return _WIRED_HOP_M
        assert self._xy_m is not None
        return _RADIO_HOP_M + math.dist(self._xy_m[self._index[a]], self._xy_m[self._index[b]])
