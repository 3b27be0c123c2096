"""Parser events to a tree of located nodes, within bounds on depth and aliases."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import events

from nmoe_sim.errors import InputError
from nmoe_sim.scenario.messages import clip, error, show
from nmoe_sim.scenario.scalars import resolve
from nmoe_sim.scenario.tree import MAX_DEPTH, Node, Scalar, Sequence, Table

MAX_NODES = 100_000
"""Most values a file may stand for, its aliases written out."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_CORE = "tag:yaml.org,2002:"
_SCALAR_TAGS = {f"{_CORE}int": int, f"{_CORE}float": float, f"{_CORE}bool": bool, f"{_CORE}null": type(None)}
_COLLECTION_TAGS = {None, "!", f"{_CORE}map", f"{_CORE}seq"}


def _unknown_tag(tag: str) -> str:
    return f"unknown tag '{clip(tag.replace(_CORE, '!!'))}'; write the value without a tag"


@dataclass
class _Open:
    """A mapping or list whose end hasn't come yet."""

    where: str
    anchor: str | None
    is_table: bool
    entries: dict[str, Node] = field(default_factory=dict)
    key_where: dict[str, str | None] = field(default_factory=dict)
    items: list[Node] = field(default_factory=list)
    key: str | None = None
    num_nodes: int = 1
    height: int = 1


class Reader:
    """Turns parser events into nodes without recursion, so that no input can exhaust the stack."""

    def __init__(self, file: str, label: str | None) -> None:
        self.root: Node | None = None
        self.last: str | None = None
        self._file = file
        self._label = label
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int, int] | None] = {}
        self._num_documents = 0

    def position(self, line: int, column: int) -> str:
        """Return a position as users read it, from 0-based line and column."""
        return self._label or f"{self._file}:{line + 1}:{column + 1}"

    def take(self, event: Any) -> None:
        """Add one event."""
        self.last = where = self.position(event.start_mark.line, event.start_mark.column)
        match event:
            case events.DocumentStartEvent():
                self._start_document(event, where)
            case events.MappingStartEvent() | events.SequenceStartEvent():
                self._open(event, where)
            case events.MappingEndEvent() | events.SequenceEndEvent():
                self._close()
            case events.ScalarEvent():
                self._scalar(event, where)
            case events.AliasEvent():
                self._alias(event.anchor, where)

    def _key_path(self) -> str:
        steps = (level.key if level.is_table else str(len(level.items)) for level in self._stack)
        return ".".join(step for step in steps if step)

    def _fail(self, message: str, where: str) -> InputError:
        return error(message, where, self._key_path())

    def _start_document(self, event: Any, where: str) -> None:
        self._num_documents += 1
        if self._num_documents > 1:
            raise InputError("a second YAML document starts here; one file holds one scenario", where=where)
        if event.version not in (None, (1, 2)):
            raise InputError("scenarios are YAML 1.2; remove the %YAML line", where=where)

    def _expects_key(self) -> bool:
        return bool(self._stack) and self._stack[-1].is_table and self._stack[-1].key is None

    def _open(self, event: Any, where: str) -> None:
        if self._expects_key():
            raise self._fail("every key must be a plain word, got a mapping or a list", where)
        if event.tag not in _COLLECTION_TAGS:
            raise self._fail(_unknown_tag(event.tag), where)
        if len(self._stack) >= MAX_DEPTH:
            raise self._fail(f"nested deeper than {MAX_DEPTH} levels", where)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(where, event.anchor, isinstance(event, events.MappingStartEvent)))

    def _close(self) -> None:
        done = self._stack.pop()
        node: Node
        if done.is_table:
            node = Table(done.entries, done.where, done.key_where)
        else:
            node = Sequence(tuple(done.items), done.where)
        self._add(node, done.num_nodes, done.height, done.anchor)

    def _scalar(self, event: Any, where: str) -> None:
        if event.value == "" and event.style is None and self._stack and self._stack[-1].key is not None:
            # The parser places an absent value at whatever comes next.
            where = self._stack[-1].key_where[self._stack[-1].key] or where
        value = self._resolve(event, where)
        if self._expects_key():
            self._set_key(value, where)
        else:
            self._add(Scalar(value, where), 1, 0, event.anchor)

    def _resolve(self, event: Any, where: str) -> Any:
        if _SURROGATE.search(event.value):
            raise self._fail("half of a surrogate pair isn't a character", where)
        is_text = event.style is not None or event.tag in ("!", f"{_CORE}str")
        if event.tag not in (None, "!", f"{_CORE}str", *_SCALAR_TAGS):
            raise self._fail(_unknown_tag(event.tag), where)
        try:
            value = event.value if is_text else resolve(event.value)
        except ValueError as fault:
            raise self._fail(str(fault), where) from None
        wanted = _SCALAR_TAGS.get(event.tag)
        if wanted is float and type(value) is int:
            return float(value)
        if wanted is not None and type(value) is not wanted:
            raise self._fail("the value isn't what its tag says; remove the tag", where)
        return value

    def _set_key(self, key: Any, where: str) -> None:
        level = self._stack[-1]
        if not isinstance(key, str) or not key:
            raise self._fail(f"every key must be a plain word, got {show(key)}", where)
        if key == "<<":
            raise self._fail("merge keys ('<<') aren't YAML 1.2; write the keys out or use 'extends'", where)
        first = level.key_where.get(key)
        level.key = key
        if first is not None:
            line = "" if self._label else f"; it is on line {first.rsplit(':', 2)[1]} already"
            raise self._fail(f"duplicate key{line}", where)
        level.key_where[key] = where

    def _alias(self, anchor: str, where: str) -> None:
        if self._expects_key():
            raise self._fail("every key must be a plain word, got an alias", where)
        if anchor not in self._anchors:
            raise self._fail(f"alias '*{clip(anchor)}' has no anchor above it", where)
        known = self._anchors[anchor]
        if known is None:
            raise self._fail(f"alias '*{clip(anchor)}' is inside the value it stands for", where)
        node, num_nodes, height = known
        if len(self._stack) + height > MAX_DEPTH:
            raise self._fail(f"nested deeper than {MAX_DEPTH} levels", where)
        self._add(node, num_nodes, height, None)

    def _add(self, node: Node, num_nodes: int, height: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, num_nodes, height)
        if not self._stack:
            self.root = node
            return
        level = self._stack[-1]
        level.num_nodes += num_nodes
        level.height = max(level.height, height + 1)
        if sum(open_level.num_nodes for open_level in self._stack) > MAX_NODES:
            raise self._fail(f"more than {MAX_NODES} values, aliases written out", node.where or self._file)
        if level.is_table and level.key is not None:
            level.entries[level.key] = node
            level.key = None
        else:
            level.items.append(node)
