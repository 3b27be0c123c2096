"""A graph of nodes and links as a file has it, and its checks; every fault is one error that says where it is."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

from nmoe_sim.engine.links import Node, NodeKind, Wired
from nmoe_sim.engine.topology import MAX_LINKS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KINDS: tuple[NodeKind, ...] = ("device", "base_station")
_MAX_NODES = 100_000


@dataclass(frozen=True)
class Graph:
    """What a file says, checked."""

    devices: list[Node]
    base_stations: list[Node]
    radio: list[tuple[str, str]]
    cables: list[tuple[str, str, Wired]]


@dataclass
class Item:
    """A node or an edge as it is written, with its place: a line, or ``nodes[3]``."""

    place: str
    values: dict[str, Any]


@dataclass
class Draft:
    """What has been read of a file, not checked yet."""

    file: str
    nodes: list[Item] = field(default_factory=list)
    edges: list[Item] = field(default_factory=list)

    def fail(self, place: str, message: str) -> NoReturn:
        """Raise the error of a fault."""
        raise ValueError(f"{self.file}: {place}: {message}" if place else f"{self.file}: {message}")

    def check_size(self) -> None:
        """Refuse more nodes and edges than a run can hold."""
        if len(self.nodes) > _MAX_NODES or 2 * len(self.edges) > MAX_LINKS:
            self.fail("", f"more than {_MAX_NODES:,} nodes or {MAX_LINKS // 2:,} edges; leave some out")

    def number(self, item: Item, key: str, low: float, high: float, unit: str) -> float:
        """Return a setting that is a number; GraphML gives texts."""
        if key not in item.values:
            self.fail(item.place, f"no {key}; give a finite number of {unit}")
        value = item.values[key]
        try:
            odd = isinstance(value, bool | list | dict | None) or "_" in str(value)
            number = math.nan if odd else float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if not low <= number <= high:
            self.fail(item.place, f"{key} is {shown(value)}; give a finite number of {unit} from {low:g} to {high:g}")
        return number

    def finish(self) -> Graph:
        """Check everything and return the graph."""
        self.check_size()
        nodes: dict[str, Node] = {}
        for item in self.nodes:
            node = self._node(item)
            if node.name in nodes:
                self.fail(item.place, f"a second node {node.name!r}; give each a name of its own")
            nodes[node.name] = node
        if not nodes:
            self.fail("", "has no nodes; give at least one device")
        parts = {kind: [node for node in nodes.values() if node.kind == kind] for kind in _KINDS}
        if not parts["device"]:
            self.fail("", f"has {len(nodes)} nodes and no device among them; give at least one of kind 'device'")
        graph = Graph(parts["device"], parts["base_station"], [], [])
        places: dict[frozenset[str], str] = {}
        for item in self.edges:
            a, b = (self._end(item, key, nodes) for key in ("source", "target"))
            pair = frozenset((a.name, b.name))
            if a == b:
                self.fail(item.place, f"an edge from {a.name!r} to itself; leave it out")
            if pair in places:
                again = f"a second edge between {a.name!r} and {b.name!r} (the first: {places[pair]})"
                self.fail(item.place, f"{again}; edges go both ways, list each once")
            places[pair] = item.place
            cable = self._cable(item)
            if cable is not None:
                graph.cables.append((a.name, b.name, cable))
            elif a.kind == b.kind == "base_station":
                self.fail(
                    item.place,
                    f"an edge by radio between the base stations {a.name!r} and {b.name!r}; give it a capacity_bps",
                )
            else:
                graph.radio.append((a.name, b.name))
        return graph

    def _node(self, item: Item) -> Node:
        name, kind = item.values.get("name"), item.values.get("kind")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            what = "no name" if name is None else f"the name {shown(name)}"
            rule = "up to 64 letters, digits, '.', '_' and '-', the first a letter or digit"
            self.fail(item.place, f"a node with {what}; give a text of {rule}")
        if kind not in _KINDS:
            what = f"no kind for {name!r}" if kind is None else f"kind of {name!r} is {shown(kind)}"
            self.fail(item.place, f"{what}; give 'device' or 'base_station'")
        x_m, y_m = (self.number(item, key, -1e9, 1e9, "metres") for key in ("x_m", "y_m"))
        azimuth_deg = None
        if item.values.get("azimuth_deg") is not None:
            if kind == "device":
                self.fail(item.place, f"azimuth_deg of {name!r}, a device; only a base station has one")
            azimuth_deg = self.number(item, "azimuth_deg", -360.0, 360.0, "degrees")
        return Node(name, "device" if kind == "device" else "base_station", x_m, y_m, azimuth_deg)

    def _end(self, item: Item, key: str, nodes: dict[str, Node]) -> Node:
        name = item.values.get(key)
        if not isinstance(name, str) or name not in nodes:
            what = f"no {key}" if name is None else f"{key} is {shown(name)}"
            self.fail(item.place, f"{what}; give the name of one of the {len(nodes)} nodes")
        return nodes[name]

    def _cable(self, item: Item) -> Wired | None:
        if item.values.get("capacity_bps") is None:
            if item.values.get("delay_s") is not None:
                self.fail(item.place, "delay_s without capacity_bps; a cable has both, radio has neither")
            return None
        capacity_bps = self.number(item, "capacity_bps", 1e-3, 1e30, "bit/s")
        given = item.values.get("delay_s") is not None
        return Wired(capacity_bps, self.number(item, "delay_s", 0.0, 3600.0, "seconds") if given else 0.0)


def shown(value: Any) -> str:
    """Return a value for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
