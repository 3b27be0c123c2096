"""Who is where and who is linked to whom: a typed facade over a networkx graph."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import combinations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from channels.mobility import Box
from nmoe_sim.engine.links import Link, Node, Wired
from nmoe_sim.engine.routes import Routes
from nmoe_sim.errors import InputError

FloatArray = NDArray[np.float64]

MAX_LINKS = 2_000_000
"""Directed links of a topology; more don't fit a workstation's memory."""


class Topology:
    """Nodes and directed links, each up or down.

    ``links`` holds every link there may ever be. Both directions of a pair are up or down together. At the start
    cables are up; sidelinks are, within ``sidelink_range_m``; and so are the links of a device that has one base
    station to choose from. A device that has several is linked to none until ``attach``. A node that is switched off
    has no link that is up.

    Parameters
    ----------
    nodes : sequence of Node
        Devices first, then base stations.
    pairs : iterable of (str, str)
        Names of nodes linked by radio; each pair becomes a link in both directions.
    wired : iterable of (str, str, Wired)
        Names of nodes linked by cable.
    bounds_m : (float, float, float, float), optional
        West, south, east and north end of where devices may move; the box around all nodes by default.
    sidelink_range_m : float, optional
        Two devices farther apart than this have no sidelink. Without it, distance doesn't matter.

    Raises
    ------
    ValueError
        A pair is given twice, links a node to itself, or links two base stations by radio.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        pairs: Iterable[tuple[str, str]],
        wired: Iterable[tuple[str, str, Wired]] = (),
        bounds_m: Box | None = None,
        sidelink_range_m: float | None = None,
    ) -> None:
        self.nodes = tuple(nodes)
        self.index = {node.name: i for i, node in enumerate(self.nodes)}
        self.positions_m: FloatArray = np.array([(n.x_m, n.y_m) for n in self.nodes], dtype=np.float64).reshape(-1, 2)
        """Where the nodes are now [nodes, 2]; ``move`` changes it."""
        self.bounds_m = bounds_m if bounds_m is not None else _box_around(self.positions_m)
        self.sidelink_range_m = sidelink_range_m
        self.version = 0
        """Rises whenever a link goes up or down."""
        self.graph: nx.Graph[str] = nx.Graph()
        """Pairs that are up."""
        self.graph.add_nodes_from(node.name for node in self.nodes)
        self.links: list[Link] = []
        self._link: dict[tuple[str, str], Link] = {}
        self._off: dict[str, bool] = {}  # nodes that are switched off; whether for good
        self._waiting: set[int] = set()  # pairs, by their first link, that are down only because an end is off
        self._stations: dict[str, list[Node]] = {}
        for a, b, cable in [*((a, b, None) for a, b in pairs), *wired]:
            self._add(self[a], self[b], cable)
        has_cables = any(link.wired is not None for link in self.links)
        self._routes = Routes(self.graph, self._link, self.index, self.positions_m, has_cables=has_cables)
        self._sidelinks = [link for link in self.links[::2] if link.medium == "sidelink"]
        for device, stations in self._stations.items():
            if len(stations) == 1:
                self.set_pair(device, stations[0].name, True)
        for link in self.links[::2]:
            if link.wired is not None:
                self.set_pair(link.src.name, link.dst.name, True)
        self.move(self.positions_m[: len(self.devices)])

    def _add(self, a: Node, b: Node, cable: Wired | None) -> None:
        if a == b:
            raise ValueError(f"{a.name} is linked to itself")
        if (a.name, b.name) in self._link:
            raise ValueError(f"{a.name} and {b.name} are linked twice")
        if cable is None and a.kind == b.kind == "base_station":
            raise ValueError(f"{a.name} and {b.name} are base stations, which are linked by cable only")
        distance_m = math.hypot(a.x_m - b.x_m, a.y_m - b.y_m)
        for src, dst in ((a, b), (b, a)):
            link = Link(len(self.links), src, dst, distance_m, cable)
            self.links.append(link)
            self._link[src.name, dst.name] = link
            if link.medium == "uplink":
                self._stations.setdefault(src.name, []).append(dst)

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

    def link(self, src: str, dst: str) -> Link | None:
        """Return the link from one node to another, up or down; None if there never is one."""
        return self._link.get((src, dst))

    def is_up(self, link: Link) -> bool:
        """Tell whether a link can be used now."""
        return self.graph.has_edge(link.src.name, link.dst.name)

    def set_pair(self, a: str, b: str, up: bool) -> None:
        """Take both links of a pair up or down; where an end is switched off, once it is on again."""
        link = self._link[a, b]
        if self._off and (a in self._off or b in self._off):
            pair = link.index & ~1
            (self._waiting.add if up else self._waiting.discard)(pair)
            return
        if self.is_up(link) == up:
            return
        if up:
            self.graph.add_edge(a, b, wired=link.wired is not None)
        fewer, more = sorted(len(self.graph.adj[name]) for name in (a, b))
        if not up:
            self.graph.remove_edge(a, b)
        self.version += 1
        self._routes.changed(a_leaf=fewer <= 1 and more >= 3)

    # --- nodes that are off

    def is_on(self, name: str) -> bool:
        """Tell whether a node is switched on."""
        return name not in self._off

    @property
    def is_all_on(self) -> bool:
        """Whether no node is off."""
        return not self._off

    @property
    def lacks_nodes(self) -> bool:
        """Whether some node is off for good."""
        return any(self._off.values())

    def switch_off(self, name: str, *, for_good: bool = False) -> list[Link]:
        """Take a node's links down until it is switched on; return those that went down."""
        others = list(self.graph[name])
        for other in others:
            self.set_pair(name, other, False)
            self._waiting.add(self._link[name, other].index & ~1)
        self._off[name] = for_good
        if for_good:
            self.__dict__.pop("_part", None)
        return [self._link[pair] for other in others for pair in ((name, other), (other, name))]

    def switch_on(self, name: str) -> None:
        """Take the links up again that would be up had the node never been off."""
        del self._off[name]
        for pair in sorted(self._waiting):
            a, b = self.links[pair].src.name, self.links[pair].dst.name
            if name in (a, b) and self.is_on(a) and self.is_on(b):
                self._waiting.remove(pair)
                self.set_pair(a, b, True)

    def is_linked(self, a: str, b: str) -> bool:
        """Tell whether a pair is up, or would be were both ends on."""
        return self.graph.has_edge(a, b) or (bool(self._waiting) and self._link[a, b].index & ~1 in self._waiting)

    # --- base stations

    def stations_of(self, device: str) -> tuple[Node, ...]:
        """Return the base stations that a device can attach to by radio."""
        return tuple(self._stations.get(device, ()))

    @cached_property
    def attachable(self) -> NDArray[np.bool_]:
        """Which devices can attach to which base stations by radio [devices, base stations]."""
        known = [{station.name for station in self.stations_of(device.name)} for device in self.devices]
        rows = [[station.name in names for station in self.base_stations] for names in known]
        return np.array(rows, dtype=np.bool_).reshape(len(self.devices), len(self.base_stations))

    def serving(self, device: str) -> Node | None:
        """Return the base station a device is attached to by radio, also while it is off; None: to none."""
        return next((s for s in self.stations_of(device) if self.is_linked(device, s.name)), None)

    def attach(self, device: str, station: str) -> list[Link]:
        """Attach a device to a base station, and only to this; return the links that went down.

        Raises
        ------
        ValueError
            If the device can't attach there.
        """
        if station not in (known := [s.name for s in self.stations_of(device)]):
            raise ValueError(f"{device} can't attach to {station}; one of {', '.join(known) or 'none'}")
        lost = [s for s in known if s != station and self.graph.has_edge(device, s)]
        for other in known:
            if other != station and self.is_linked(device, other):
                self.set_pair(device, other, False)
        self.set_pair(device, station, True)
        return [self._link[pair] for other in lost for pair in ((device, other), (other, device))]

    def num_attached(self, station: str) -> int:
        """Return the number of devices attached to a base station by radio."""
        return sum(self._link[station, other].medium == "downlink" for other in self.graph[station])

    def snapshot(self, *, all_on: bool = False) -> Topology:
        """Return a topology whose links stay up and down as they are now.

        With ``all_on`` as if nodes that are off for a time were on.
        """
        frozen = copy.copy(self)
        frozen.graph = self.graph.copy()
        if all_on:
            for pair in sorted(self._waiting):
                link = self.links[pair]
                if not (self._off.get(link.src.name) or self._off.get(link.dst.name)):
                    frozen.graph.add_edge(link.src.name, link.dst.name, wired=link.wired is not None)
        frozen.positions_m = self.positions_m.copy()
        frozen._off, frozen._waiting = ({}, set()) if all_on else (dict(self._off), set(self._waiting))
        frozen._routes = self._routes.copy(frozen.graph, frozen.positions_m)
        return frozen

    # --- motion

    def movable(self) -> Topology:
        """Return this topology for devices that move: any two may come into the range of a sidelink.

        Without a ``sidelink_range_m`` it is the topology itself.

        Raises
        ------
        InputError
            If these are too many links.
        """
        if self.sidelink_range_m is None:
            return self
        cables = [(k.src.name, k.dst.name, k.wired) for k in self.links[::2] if k.wired is not None]
        joined = {frozenset((a, b)) for a, b, _ in cables}
        radio = [(k.src.name, k.dst.name) for k in self.links[::2] if k.medium in ("uplink", "downlink")]
        num_devices = len(self.devices)
        check_num_links(num_devices * (num_devices - 1) + 2 * (len(radio) + len(cables)), "of devices that move")
        names = [node.name for node in self.devices]
        side = [pair for pair in combinations(names, 2) if frozenset(pair) not in joined]
        return Topology(self.nodes, [*radio, *side], cables, self.bounds_m, self.sidelink_range_m)

    def move(self, devices_m: FloatArray) -> list[Link]:
        """Put the devices [devices, 2] elsewhere; sidelinks come and go. Return the links that went down."""
        self._routes.about_to_move()
        self.positions_m[: len(devices_m)] = devices_m
        lost: list[Link] = []
        if not self._sidelinks:
            return lost
        a, b = self._sidelink_ends
        distance_m = np.hypot(*(self.positions_m[a] - self.positions_m[b]).T)
        up = distance_m <= (math.inf if self.sidelink_range_m is None else self.sidelink_range_m)
        for k in np.flatnonzero(up != self._sidelink_up).tolist():
            link = self._sidelinks[k]
            self.set_pair(link.src.name, link.dst.name, bool(up[k]))
            if not up[k]:
                lost += [link, self._link[link.dst.name, link.src.name]]
        self._sidelink_up = up
        return lost

    @cached_property
    def _sidelink_ends(self) -> NDArray[np.int64]:
        ends = [(self.index[link.src.name], self.index[link.dst.name]) for link in self._sidelinks]
        return np.array(ends, dtype=np.int64).T

    @cached_property
    def _sidelink_up(self) -> NDArray[np.bool_]:
        return np.zeros(len(self._sidelinks), dtype=np.bool_)

    # --- routes

    def route(self, src: str, dst: str) -> tuple[Link, ...]:
        """Return the links from ``src`` to ``dst``: fewest hops by radio, then shortest; () when they are the same.

        Only links that are up count. Radio is what is scarce, so a hop by cable counts for next to nothing, as a
        metre of radio: backhaul is neither avoided for its hops nor taken where it saves no radio. Rates don't count:
        a direct sidelink is taken even where two hops over a base station are faster. Distances are those when links
        last went up or down; that nodes move changes no route by itself, nor does when it is asked for.

        Raises
        ------
        NoRouteError
            If no route connects them.
        """
        return self._routes.find(src, dst)

    def is_connected(self, src: str, dst: str) -> bool:
        """Tell whether a route connects the two now."""
        return bool(nx.has_path(self.graph, src, dst))

    def is_connectable(self, src: str, dst: str) -> bool:
        """Tell whether a route would connect the two if every link were up but those of nodes that are off for good."""
        return self._part[src] == self._part[dst]

    @cached_property
    def _part(self) -> dict[str, int]:
        everything: nx.Graph[str] = nx.Graph()
        everything.add_nodes_from(self.index)
        everything.add_edges_from(self._link)
        everything.remove_nodes_from([name for name, for_good in self._off.items() if for_good])
        everything.add_nodes_from(self.index)
        return {name: i for i, part in enumerate(nx.connected_components(everything)) for name in part}

    def most_central(self) -> str:
        """Return the device of largest closeness centrality (ties: the first)."""
        closeness = nx.closeness_centrality(self.graph)
        return max(self.graph.nodes, key=lambda name: (closeness[name], -self.index[name]))


def check_num_links(num_links: int, what: str) -> None:
    """Refuse more links than fit a workstation's memory.

    Raises
    ------
    InputError
        If there are more than ``MAX_LINKS``.
    """
    if num_links > MAX_LINKS:
        raise InputError(
            f"{num_links:,} links {what} are more than {MAX_LINKS:,}; lower the number of devices or the range",
            key="topology",
        )


def _box_around(positions_m: FloatArray) -> Box:
    if not len(positions_m):
        return (0.0, 0.0, 0.0, 0.0)
    (west, south), (east, north) = positions_m.min(axis=0).tolist(), positions_m.max(axis=0).tolist()
    return (west, south, east, north)
