"""Graphs from GraphML."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn
from xml.parsers import expat

from nmoe_sim.engine.topologies.graph import Draft, Graph, Item, shown

_MAX_DEPTH = 100
_ENCODINGS = ("UTF-8", "UTF-16", "ISO-8859-1", "US-ASCII")


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
        self.draft = Draft(file)
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.XmlDeclHandler = self._declaration
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self._open: list[str] = []  # elements
        self._item: Item | None = None
        self._keys: dict[str, str] = {}  # id -> name of the attribute
        self._defaults: dict[tuple[str, str], str] = {}  # node or edge, name -> value
        self._key_for = ("", "")
        self._characters: list[str] | None = None
        self._data_key = ""
        self._num_graphs = 0

    @property
    def _place(self) -> str:
        return f"line {self.parser.CurrentLineNumber}"

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.upper() not in _ENCODINGS:
            self.draft.fail(self._place, f"the encoding {shown(encoding)}; give one of {', '.join(_ENCODINGS)}")

    def _refuse(self, *_: object) -> NoReturn:
        self.draft.fail(self._place, "a document type or entity declaration, which isn't read; remove it")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        element = tag.rpartition(" ")[2]
        self._open.append(element)
        if len(self._open) > _MAX_DEPTH:
            self.draft.fail(self._place, f"elements nested more than {_MAX_DEPTH} deep")
        if len(self._open) == 1 and element != "graphml":
            self.draft.fail(self._place, f"the first element is <{element}>; GraphML begins with <graphml>")
        self.draft.check_size()
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
                self._item = Item(self._place, {"name": attributes.get("id")})
                self.draft.nodes.append(self._item)
            case "edge":
                ends = {key: attributes.get(key) for key in ("source", "target")}
                self._item = Item(self._place, ends)
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
                self.draft.fail(self._place, f"data of the key {shown(self._data_key)}, which no <key> declares")
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
    def _fill(items: Iterable[Item], defaults: dict[str, str]) -> None:
        for item in items:
            for name in _ATTRIBUTES & defaults.keys():
                item.values.setdefault(name, defaults[name])


_ATTRIBUTES = {"kind", "x_m", "y_m", "azimuth_deg", "capacity_bps", "delay_s"}
"""What GraphML's data is read for; names and ends are XML attributes."""
