"""Reads a graph of nodes and links from GraphML or JSON; every fault is one error that says where it is."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn
from xml.parsers import expat

from nmoe_sim.engine.topology import MAX_LINKS, Node, NodeKind, Wired

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KINDS: tuple[NodeKind, ...] = ("device", "base_station")
_MAX_NODES = 100_000
_MAX_DEPTH = 100


@dataclass(frozen=True)
class Graph:
    """What a file says, checked."""

    devices: list[Node]
    base_stations: list[Node]
    radio: list[tuple[str, str]]
    cables: list[tuple[str, str, Wired]]


@dataclass
class _Item:
    """A node or an edge as it is written, with its place: a line, or ``nodes[3]``."""

    place: str
    values: dict[str, Any]


@dataclass
class _Draft:
    file: str
    nodes: list[_Item] = field(default_factory=list)
    edges: list[_Item] = field(default_factory=list)

    def fail(self, place: str, message: str) -> NoReturn:
        raise ValueError(f"{self.file}: {place}: {message}" if place else f"{self.file}: {message}")

    def number(self, item: _Item, key: str, low: float, high: float, unit: str) -> float:
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
            self.fail(item.place, f"{key} is {_shown(value)}; give a finite number of {unit} from {low:g} to {high:g}")
        return number

    def finish(self) -> Graph:
        """Check everything and return the graph."""
        if len(self.nodes) > _MAX_NODES or 2 * len(self.edges) > MAX_LINKS:
            self.fail("", f"more than {_MAX_NODES:,} nodes or {MAX_LINKS // 2:,} edges; leave some out")
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

    def _node(self, item: _Item) -> Node:
        name, kind = item.values.get("name"), item.values.get("kind")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            shown = "no name" if name is None else f"the name {_shown(name)}"
            rule = "up to 64 letters, digits, '.', '_' and '-', the first a letter or digit"
            self.fail(item.place, f"a node with {shown}; give a text of {rule}")
        if kind not in _KINDS:
            shown = f"no kind for {name!r}" if kind is None else f"kind of {name!r} is {_shown(kind)}"
            self.fail(item.place, f"{shown}; give 'device' or 'base_station'")
        x_m, y_m = (self.number(item, key, -1e9, 1e9, "metres") for key in ("x_m", "y_m"))
        azimuth_deg = None
        if item.values.get("azimuth_deg") is not None:
            if kind == "device":
                self.fail(item.place, f"azimuth_deg of {name!r}, a device; only a base station has one")
            azimuth_deg = self.number(item, "azimuth_deg", -360.0, 360.0, "degrees")
        return Node(name, "device" if kind == "device" else "base_station", x_m, y_m, azimuth_deg)

    def _end(self, item: _Item, key: str, nodes: dict[str, Node]) -> Node:
        name = item.values.get(key)
        if not isinstance(name, str) or name not in nodes:
            shown = f"no {key}" if name is None else f"{key} is {_shown(name)}"
            self.fail(item.place, f"{shown}; give the name of one of the {len(nodes)} nodes")
        return nodes[name]

    def _cable(self, item: _Item) -> Wired | None:
        if item.values.get("capacity_bps") is None:
            if item.values.get("delay_s") is not None:
                self.fail(item.place, "delay_s without capacity_bps; a cable has both, radio has neither")
            return None
        capacity_bps = self.number(item, "capacity_bps", 1e-3, 1e30, "bit/s")
        given = item.values.get("delay_s") is not None
        return Wired(capacity_bps, self.number(item, "delay_s", 0.0, 3600.0, "seconds") if given else 0.0)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


# --- JSON


def parse_json(file: str, content: bytes) -> Graph:
    """Return the graph of a node-link JSON file.

    Raises
    ------
    ValueError
        Naming file, place, value, rule and remedy.
    """
    draft = _Draft(file)
    try:
        tree = json.loads(content, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        draft.fail(f"line {error.lineno}, column {error.colno}", f"not JSON: {error.msg.lower()}")
    except RecursionError:
        draft.fail("", "is nested too deeply")
    except ValueError as error:  # a text that isn't UTF, a key given twice, a number too long
        draft.fail("", f"can't be read: {error}")
    if not isinstance(tree, dict):
        draft.fail("", 'must be an object {"nodes": […], "links": […]}')
    for key, items in (("nodes", draft.nodes), ("links", draft.edges)):
        if not isinstance(entries := tree.get(key), list):
            draft.fail("", f"{key!r} must be a list" if key in tree else f"no {key!r}; give a list")
        for i, entry in enumerate(entries):
            if not isinstance(entry, dict):
                draft.fail(f"{key}[{i}]", f"is {_shown(entry)}; give an object")
            items.append(_Item(f"{key}[{i}]", entry))
    for item in draft.nodes:
        item.values.setdefault("name", item.values.get("id"))
    return draft.finish()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} twice in an object; keep one")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"numbers must be finite, got {text}")


# --- GraphML


def parse_graphml(file: str, content: bytes) -> Graph:
    """Return the graph of a GraphML file.

    A document type declaration is refused where it begins, so no entity is ever declared, let alone expanded.

    Raises
    ------
    ValueError
        Naming file, line, value, rule and remedy.
    """
    reader = _GraphmlReader(file)
    try:
        reader.parser.Parse(content, True)
    except expat.ExpatError as error:
        reader.draft.fail(f"line {error.lineno}", f"not XML: {expat.ErrorString(error.code)}")
    return reader.finish()


class _GraphmlReader:
    """Handlers of an XML parser: of GraphML 1.0 nodes, edges, keys with defaults, and data; one flat graph."""

    def __init__(self, file: str) -> None:
        self.draft = _Draft(file)
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self._open: list[str] = []  # elements
        self._item: _Item | None = None
        self._keys: dict[str, str] = {}  # id -> name of the attribute
        self._defaults: dict[tuple[str, str], str] = {}  # node or edge, name -> value
        self._key_for = ("", "")
        self._characters: list[str] | None = None
        self._data_key = ""
        self._num_graphs = 0

    @property
    def _place(self) -> str:
        return f"line {self.parser.CurrentLineNumber}"

    def _refuse(self, *_: object) -> NoReturn:
        self.draft.fail(self._place, "a document type or entity declaration, which isn't read; remove it")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        element = tag.rpartition(" ")[2]
        self._open.append(element)
        if len(self._open) > _MAX_DEPTH:
            self.draft.fail(self._place, f"elements nested more than {_MAX_DEPTH} deep")
        if len(self._open) == 1 and element != "graphml":
            self.draft.fail(self._place, f"the first element is <{element}>; GraphML begins with <graphml>")
        match element:
            case "graph":
                self._num_graphs += 1
                if self._num_graphs > 1:
                    self.draft.fail(self._place, "a second or nested <graph>; give one flat graph")
            case "hyperedge":
                self.draft.fail(self._place, "a <hyperedge>; give edges of two nodes")
            case "key":
                self._keys[attributes.get("id", "")] = name = attributes.get("attr.name", "")
                self._key_for = (attributes.get("for", "all"), name)
            case "node":
                self._item = _Item(self._place, {"name": attributes.get("id")})
                self.draft.nodes.append(self._item)
            case "edge":
                ends = {key: attributes.get(key) for key in ("source", "target")}
                self._item = _Item(self._place, ends)
                self.draft.edges.append(self._item)
            case "data" | "default":
                self._data_key = attributes.get("key", "")
                self._characters = []

    def _text(self, text: str) -> None:
        if self._characters is not None and self._open[-1] in ("data", "default"):
            self._characters.append(text)

    def _end(self, tag: str) -> None:
        element = self._open.pop()
        if element in ("node", "edge"):
            self._item = None
        if element not in ("data", "default") or self._characters is None:
            return
        value, self._characters = "".join(self._characters).strip(), None
        if element == "default":
            for what in ("node", "edge") if self._key_for[0] == "all" else (self._key_for[0],):
                self._defaults[what, self._key_for[1]] = value
        elif self._item is not None:
            if self._data_key not in self._keys:
                self.draft.fail(self._place, f"data of the key {_shown(self._data_key)}, which no <key> declares")
            name = self._keys[self._data_key]
            if name in _ATTRIBUTES:
                if name in self._item.values:
                    self.draft.fail(self._place, f"{name} twice for one {self._open[-1]}; keep one")
                self._item.values[name] = value

    def finish(self) -> Graph:
        """Fill in the keys' defaults and check everything."""
        for what, items in (("node", self.draft.nodes), ("edge", self.draft.edges)):
            self._fill(items, {name: value for (kind, name), value in self._defaults.items() if kind == what})
        return self.draft.finish()

    @staticmethod
    def _fill(items: Iterable[_Item], defaults: dict[str, str]) -> None:
        for item in items:
            for name in _ATTRIBUTES & defaults.keys():
                item.values.setdefault(name, defaults[name])


_ATTRIBUTES = {"kind", "x_m", "y_m", "azimuth_deg", "capacity_bps", "delay_s"}
"""What GraphML's data is read for; names and ends are XML attributes."""
