"""Located tree to frozen specs, from the leaves up: every level is validated on its own."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import Any, TypeVar

from pydantic import ValidationError

from nmoe_sim.errors import InputError
from nmoe_sim.scenario.messages import did_you_mean, error, explain, listed, remedy, show, summary
from nmoe_sim.scenario.slots import Slot, slots
from nmoe_sim.scenario.spec import Families, Family, Spec
from nmoe_sim.scenario.terms import meant
from nmoe_sim.scenario.tree import Node, Scalar, Sequence, Table, join, to_python

S = TypeVar("S", bound=Spec)


def build_spec(
    cls: type[S],
    table: Table,
    families: Families,
    *,
    path: str = "",
    family: Family | None = None,
    base: Spec | None = None,
) -> S:
    """Return the spec that a mapping describes.

    Parameters
    ----------
    cls : type of Spec
        The section or implementation to build.
    table : Table
        Its settings. Sections and families left out are built from nothing and their default kind.
    families : Families
        Family name -> kind -> implementation.
    path : str
        Dotted path of the mapping.
    family : Family, optional
        The extension point that ``cls`` implements.
    base : Spec, optional
        The default of the section's field: what a setting that is left out is, instead of the class's default.

    Raises
    ------
    InputError
        For the first setting that is unknown, missing or breaks a rule, with its position.
    """
    _check_keys(cls, table, families, path, family)
    held = slots(cls)
    values: dict[str, Any] = {} if base is None else {name: getattr(base, name) for name in cls.model_fields}
    for name, info in cls.model_fields.items():
        node = table.entries.get(name)
        if name in held:
            if node is not None or (held[name].required and not held[name].many and name not in values):
                enclosing = table if node is None else node
                default = values.get(name, info.default)
                values[name] = _build_slot(held[name], node, families, join(path, name), enclosing.where, default)
        elif node is not None:
            values[name] = to_python(node)
    try:
        return cls(**values)
    except ValidationError as caught:
        raise _translate(cls, caught, table, path) from None


def _build_slot(slot: Slot, node: Node | None, families: Families, path: str, where: str | None, default: Any) -> Any:
    if isinstance(node, Scalar) and node.value is None and slot.nullable:
        return None
    if not slot.many:
        return _build_one(slot, node, families, path, where, default if isinstance(default, Spec) else None)
    if not isinstance(node, Sequence):
        raise error(f"must be a list of mappings, got {_shown(node)}", where, path)
    return tuple(_build_one(slot, item, families, join(path, i), item.where) for i, item in enumerate(node.items))


def _build_one(
    slot: Slot, node: Node | None, families: Families, path: str, where: str | None, default: Spec | None = None
) -> Spec:
    if isinstance(node, Scalar) and isinstance(node.value, Spec):
        return _ready_made(slot, node.value, families, path)
    if node is not None and not isinstance(node, Table):
        raise error(f"must be a mapping, got {_shown(node)}{_mapping_remedy(slot, node, families)}", where, path)
    table = node if node is not None else Table({}, where)
    if slot.section is not None:
        return build_spec(slot.section, table, families, path=path, base=default)
    family = slot.family
    assert family is not None
    cls = _pick(family, table, families, path)
    return build_spec(cls, table, families, path=path, family=family)


def _pick(family: Family, table: Table, families: Families, path: str) -> type[Spec]:
    kinds = families[family.name]
    written = table.entries.get(family.key)
    if written is None:
        if family.default is None:
            raise error(f"missing; one of {listed(kinds)}", table.where, join(path, family.key))
        return kinds[family.default]
    name = to_python(written)
    if isinstance(name, str) and name in kinds:
        return kinds[name]
    question = meant(name, family.name, families) or did_you_mean(name, kinds) if isinstance(name, str) else None
    known = f"one of {listed(kinds)}" + (f"; {question}" if question else "")
    raise error(f"unknown {family.key} {show(name)}; {known}", written.where, join(path, family.key))


def _ready_made(slot: Slot, spec: Spec, families: Families, path: str) -> Spec:
    """Accept a spec made in Python, if a scenario file could name it."""
    if slot.section is not None:
        accepted, wanted = type(spec) is slot.section, f"a {slot.section.__name__}"
    else:
        accepted = slot.kinds(families).get(spec.kind) is type(spec)
        wanted = f"in the family '{slot.family.name if slot.family else None}'"
    if not accepted:
        raise error(f"must be {wanted}, got {type(spec).__name__}", None, path)
    return spec


def _mapping_remedy(slot: Slot, node: Node, families: Families) -> str:
    value = to_python(node)
    if slot.family is not None and isinstance(value, str) and value in families[slot.family.name]:
        return f"; write {{{slot.family.key}: {value}}}"
    if value is None:
        return "; give it settings or remove the key"
    return ""


def _check_keys(cls: type[Spec], table: Table, families: Families, path: str, family: Family | None) -> None:
    known = [*([family.key] if family else []), *cls.model_fields]
    for key in table.entries:
        if key not in known:
            hint = _elsewhere(cls, key, families, family) or did_you_mean(key, known)
            hint = hint or (f"known here: {listed(known)}" if known else "nothing can be set here")
            raise error(f"unknown key; {hint}", table.key_where.get(key, table.where), join(path, key))


def _elsewhere(cls: type[Spec], key: str, families: Families, family: Family | None) -> str | None:
    """Return a hint when another kind of the family, or a section below, has exactly this key."""
    if family is not None:
        owners = [kind for kind, other in families[family.name].items() if key in other.model_fields]
        if owners:
            return f"{family.key} '{owners[0]}' has it, '{cls.kind}' doesn't"
    for name, slot in slots(cls).items():
        if slot.section is not None and not slot.many and key in slot.section.model_fields:
            return f"did you mean '{name}.{key}'?"
    return None


def _shown(node: Node | None) -> str:
    return show(None if node is None else to_python(node))


def _translate(cls: type[Spec], caught: ValidationError, table: Table, path: str) -> InputError:
    """Return the first fault of one level in the words of the scenario."""
    faults = caught.errors(include_url=False)
    first = faults[0]
    loc = first["loc"]
    if first["type"] == "missing" and len(loc) == 1:
        info = cls.model_fields[str(loc[0])]
        meaning = f" ({summary(info.description)})" if info.description else ""
        return error(f"missing; it must be given{meaning}", table.where, join(path, str(loc[0])))
    node, key = _locate(table, loc)
    full = ".".join(filter(None, [path, *map(str, key)]))
    if not key:
        return error(explain(first, description=None), node.where, full)
    # A field of several types reports one fault for each of them.
    same = [fault for fault in faults if _locate(table, fault["loc"])[1] == key]
    value = to_python(node)
    description = cls.model_fields[str(key[0])].description
    rules = dict.fromkeys(explain(fault, description=description) for fault in same)
    rule = " or ".join(r if i == 0 else r.removeprefix("must be ") for i, r in enumerate(rules))
    hint = next(filter(None, (remedy(fault, key=str(key[-1]), value=value) for fault in same)), "")
    if first["type"] in ("value_error", "assertion_error"):
        return error(rule, node.where, full)
    return error(f"{rule}, got {show(value)}{hint}", node.where, full)


def _locate(table: Table, loc: Seq[int | str]) -> tuple[Node, list[int | str]]:
    """Return the node that a validator's location names; what names a type rather than a key is left out."""
    node: Node = table
    key: list[int | str] = []
    for step in loc:
        if isinstance(node, Table) and step in node.entries:
            node = node.entries[str(step)]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            break
        key.append(step)
    return node, key
