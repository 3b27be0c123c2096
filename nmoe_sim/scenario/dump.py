"""Specs back to what a user could have written."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

from ruamel.yaml import YAML

from nmoe_sim.scenario.slots import slots
from nmoe_sim.scenario.spec import Family, Spec
from nmoe_sim.scenario.tree import Node, Scalar, Sequence, Table, from_python

MACHINE_DEPENDENT = "machine_dependent"
"""Marks a field that says how a machine runs the scenario, not what it is:
``Field(json_schema_extra={"machine_dependent": True})``. The scenario's hash leaves it out."""


def resolve_spec(spec: Spec, family: Family | None = None, *, portable: bool = False) -> dict[str, Any]:
    """Return a spec as a plain nested mapping, its defaults written out.

    Parameters
    ----------
    spec : Spec
        A section, or an implementation of ``family``.
    family : Family, optional
        Names the key that comes first and tells the kind.
    portable : bool
        Leave out what depends on the machine.

    Returns
    -------
    dict
        Keys in declared order; tuples as lists.
    """
    held = slots(type(spec))
    plain: dict[str, Any] = {family.key: spec.kind} if family else {}
    for name, info in type(spec).model_fields.items():
        extra = info.json_schema_extra
        if portable and isinstance(extra, dict) and extra.get(MACHINE_DEPENDENT):
            continue
        plain[name] = _resolve(getattr(spec, name), held[name].family if name in held else None, portable)
    return plain


def _resolve(value: Any, family: Family | None, portable: bool) -> Any:
    if isinstance(value, Spec):
        return resolve_spec(value, family, portable=portable)
    if isinstance(value, dict):
        return {key: _resolve(item, None, portable) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_resolve(item, family, portable) for item in value]
    return value


def spec_tree(spec: Spec, family: Family | None = None) -> Table:
    """Return the tree of a spec, holding only the settings that its maker gave."""
    held = slots(type(spec))
    entries: dict[str, Node] = {family.key: Scalar(spec.kind)} if family else {}
    for name in type(spec).model_fields:
        if name in spec.model_fields_set:
            entries[name] = _tree(getattr(spec, name), held[name].family if name in held else None)
    return Table(entries)


def _tree(value: Any, family: Family | None) -> Node:
    if isinstance(value, Spec):
        return spec_tree(value, family)
    if isinstance(value, list | tuple):
        return Sequence(tuple(_tree(item, family) for item in value))
    return from_python(value)


def to_yaml(plain: dict[str, Any]) -> str:
    """Return a plain nested mapping as YAML 1.2, the same text every time."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = False  # escapes instead: a line break such as U+0085 would read back as a space
    yaml.width = 2**20
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = io.StringIO()
    yaml.dump(plain, text)
    return text.getvalue()


def digest(plain: dict[str, Any]) -> str:
    """Return the SHA-256 of a plain nested mapping's canonical JSON, in hex."""
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
