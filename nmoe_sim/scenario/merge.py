"""One tree laid over another: the upper holds only what differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nmoe_sim.errors import InputError
from nmoe_sim.scenario.dump import spec_tree
from nmoe_sim.scenario.messages import clip, error
from nmoe_sim.scenario.slots import Slot, slots
from nmoe_sim.scenario.source import parse
from nmoe_sim.scenario.spec import Families, Spec
from nmoe_sim.scenario.tree import MAX_DEPTH, Node, Scalar, Sequence, Table, from_python, join, to_python

_MAX_LABEL = 200


@dataclass(frozen=True)
class Override:
    """One setting from the command line.

    Parameters
    ----------
    key : str
        Dotted path, such as ``radio.bandwidth_hz`` or ``devices.0.count``.
    text : str
        The value as YAML 1.2.
    where : str
        What error messages call it, such as ``--set radio.bandwidth_hz=-1``.
    """

    key: str
    text: str
    where: str

    @classmethod
    def from_option(cls, argument: str) -> Override:
        """Return the override of ``--set KEY=VALUE``.

        Raises
        ------
        InputError
            When there is no ``=`` or nothing before it.
        """
        key, equals, text = argument.partition("=")
        where = clip(f"--set {argument}", _MAX_LABEL)
        if not equals or not key.strip():
            raise InputError("must read KEY=VALUE, such as --set radio.bandwidth_hz=40e6", where=where)
        return cls(key.strip(), text, where)

    def tree(self) -> Table:
        """Return the mapping that sets this one value."""
        value = parse(self.text, label=self.where)
        return _nested(self.key, Scalar(None, self.where) if value is None else value, self.where)


def changes_tree(changes: Mapping[str, Any]) -> Table:
    """Return the tree of changes made in Python: dotted keys, nested mappings, ready-made specs."""
    return _stack(_nested(key, from_python(value, path=key), None) for key, value in changes.items())


def overrides_tree(overrides: Iterable[Override]) -> Table:
    """Return the tree of all overrides, of which the last wins."""
    return _stack(override.tree() for override in overrides)


def merge(cls: type[Spec] | None, lower: Table, upper: Table, families: Families, *, path: str = "") -> Table:
    """Return ``upper`` laid over ``lower``.

    Mappings merge key by key; lists and single values are replaced, except that dotted paths reach
    into a list by index. Where ``upper`` changes the kind of a family, the settings of ``lower``
    that the new kind doesn't have are dropped.

    Parameters
    ----------
    cls : type of Spec or None
        What the mapping describes; None where nothing is known, then nothing is dropped.
    lower, upper : Table
        The inherited settings, and what differs.
    families : Families
        Family name -> kind -> implementation.
    path : str
        Dotted path of the mapping.

    Raises
    ------
    InputError
        For an index that a list doesn't have.
    """
    held = slots(cls) if cls else {}
    entries = dict(lower.entries)
    for key, value in upper.entries.items():
        below = lower.entries.get(key)
        entries[key] = _merge_node(held.get(key), below, value, families, join(path, key))
    where = lower.where if upper.edits else upper.where
    return Table(entries, where, {**lower.key_where, **upper.key_where}, lower.edits and upper.edits)


def _merge_node(slot: Slot | None, lower: Node | None, upper: Node, families: Families, path: str) -> Node:
    if not isinstance(upper, Table):
        return upper
    if lower is None and upper.edits and slot is not None:
        lower = Sequence(()) if slot.many else Table({}, upper.where, edits=True)
    if isinstance(lower, Scalar) and isinstance(lower.value, Spec):
        lower = spec_tree(lower.value, slot.family if slot else None)
    if isinstance(lower, Sequence) and upper.edits:
        return _edit_items(slot, lower, upper, families, path)
    if not isinstance(lower, Table):
        return upper
    if slot is None:
        return merge(None, lower, upper, families, path=path)
    lower, cls = _adapt(slot, lower, upper, families)
    return merge(cls, lower, upper, families, path=path)


def _adapt(slot: Slot, lower: Table, upper: Table, families: Families) -> tuple[Table, type[Spec] | None]:
    """Return ``lower`` without what the kind that ``upper`` picks doesn't have, and that kind's class."""
    family = slot.family
    if family is None:
        return lower, slot.section
    inherited = to_python(lower.entries[family.key]) if family.key in lower.entries else family.default
    chosen = to_python(upper.entries[family.key]) if family.key in upper.entries else inherited
    cls = slot.spec_class(chosen, families)
    if cls is None or chosen == inherited:
        return lower, cls
    kept = {key: value for key, value in lower.entries.items() if key in cls.model_fields}
    return Table(kept, lower.where, lower.key_where, lower.edits), cls


def _edit_items(slot: Slot | None, lower: Sequence, upper: Table, families: Families, path: str) -> Sequence:
    items = list(lower.items)
    for key, value in upper.entries.items():
        if not key.isdecimal() or int(key) >= len(items):
            known = f"it has {len(items)}, counted from 0" if items else "the list is empty"
            raise error(f"no item {clip(key)} in the list; {known}", upper.key_where.get(key), join(path, key))
        items[int(key)] = _merge_node(slot, items[int(key)], value, families, join(path, key))
    return Sequence(tuple(items), lower.where)


def _nested(key: str, value: Node, where: str | None) -> Table:
    if key.count(".") >= MAX_DEPTH:
        raise error(f"nested deeper than {MAX_DEPTH} levels", where, key)
    first, dot, rest = key.partition(".")
    return Table({first: _nested(rest, value, where) if dot else value}, where, {first: where}, edits=True)


def _stack(trees: Iterable[Table]) -> Table:
    whole = Table({}, edits=True)
    for tree in trees:
        whole = merge(None, whole, tree, {})
    return whole
