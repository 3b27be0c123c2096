"""A scenario's text as a tree whose nodes know where they were written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from nmoe_sim.errors import InputError

MAX_DEPTH = 50
"""Mappings and lists nested in one another."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value that is neither a mapping nor a list; in Python it may be a ready-made ``Spec``."""

    value: Any
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping in the order it was written.

    ``edits`` marks one made of dotted paths: laid over a list, its keys are indices.
    """

    entries: Mapping[str, Node]
    where: str | None = None
    key_where: Mapping[str, str | None] = field(default_factory=dict)
    edits: bool = False


Node = Scalar | Sequence | Table


def join(path: str, key: str | int) -> str:
    """Return the dotted path of ``key`` inside ``path``."""
    return f"{path}.{key}" if path else str(key)


def from_python(value: Any, *, path: str = "", depth: int = 0) -> Node:
    """Return the tree of a Python value; NumPy's numbers become Python's.

    Raises
    ------
    InputError
        For a key that is no string and for a value nested deeper than ``MAX_DEPTH``.
    """
    if depth > MAX_DEPTH:
        raise InputError(f"nested deeper than {MAX_DEPTH} levels", key=path)
    if isinstance(value, Table | Sequence | Scalar):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"every key must be a string, got {key!r}", key=path or None)
        return Table({k: from_python(v, path=join(path, k), depth=depth + 1) for k, v in value.items()})
    if isinstance(value, list | tuple):
        return Sequence(tuple(from_python(v, path=join(path, i), depth=depth + 1) for i, v in enumerate(value)))
    if isinstance(value, Integral) and not isinstance(value, bool):
        value = int(value)
    elif isinstance(value, Real) and not isinstance(value, bool):
        value = float(value)
    return Scalar(value)


def to_python(node: Node) -> Any:
    """Return the plain value of a tree, lists as tuples."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return tuple(to_python(item) for item in node.items)
    return {key: to_python(value) for key, value in node.entries.items()}


def _walk(root: Node, keys: list[str]) -> Iterator[Node]:
    node = root
    yield node
    for key in keys:
        if isinstance(node, Table) and key in node.entries:
            node = node.entries[key]
        elif isinstance(node, Sequence) and key.isdecimal() and int(key) < len(node.items):
            node = node.items[int(key)]
        else:
            return
        yield node


def where(root: Node, key: str) -> str | None:
    """Return where ``key`` was written, or else the nearest setting around it that was."""
    *_, nearest = _walk(root, key.split("."))
    return nearest.where
