"""JSON Schema of a scenario file, for editors and for readers."""

from __future__ import annotations

from typing import Any

from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.scenario.slots import Slot, slots
from nmoe_sim.scenario.spec import Families, Family, Spec

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(families: Families) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a scenario file.

    Parameters
    ----------
    families : Families
        Family name -> kind -> implementation.

    Returns
    -------
    dict
        A family is a ``oneOf`` over its kinds, each with a constant discriminator. A file that
        extends another says only what differs, so nothing is required at the top or in a section,
        and a family's mapping may leave its kind out; the loader checks the merged whole.
    """
    definitions: dict[str, Any] = {}
    properties = {
        "extends": {
            "type": "string",
            "minLength": 1,
            "description": "File that gives everything this one doesn't say; relative to this file's folder.",
        },
        **_properties(Scenario, families, definitions),
    }
    return {
        "$schema": _DIALECT,
        "title": "nmoe-sim scenario",
        "description": "What one run depends on. 'name' is required unless the file extends one that has it.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


def _properties(cls: type[Spec], families: Families, definitions: dict[str, Any]) -> dict[str, Any]:
    own = cls.model_json_schema(ref_template="#/$defs/{model}")
    held = slots(cls)
    sections = {slot.section.__name__ for slot in held.values() if slot.section is not None}
    definitions.update({name: schema for name, schema in own.get("$defs", {}).items() if name not in sections})
    properties = {}
    for name, info in cls.model_fields.items():
        if name in held:
            properties[name] = _slot_schema(held[name], families, definitions)
        else:
            properties[name] = {key: value for key, value in own["properties"][name].items() if key != "title"}
        if info.description:
            properties[name]["description"] = info.description
    return properties


def _slot_schema(slot: Slot, families: Families, definitions: dict[str, Any]) -> dict[str, Any]:
    if slot.family is not None:
        item = _family_schema(slot.family, slot.many, families, definitions)
    else:
        assert slot.section is not None
        item = {
            "type": "object",
            "properties": _properties(slot.section, families, definitions),
            "additionalProperties": False,
        }
    schema = {"type": "array", "items": item} if slot.many else item
    return {"anyOf": [schema, {"type": "null"}]} if slot.nullable else schema


def _family_schema(family: Family, many: bool, families: Families, definitions: dict[str, Any]) -> dict[str, Any]:
    kinds = families[family.name]
    for kind, cls in kinds.items():
        reference = f"{family.name}.{kind}"
        if reference not in definitions:
            definitions[reference] = {}  # holds the place while a family that contains itself is described
            definitions[reference] = _kind_schema(cls, kind, family.key, families, definitions)
    branches: list[dict[str, Any]] = [{"$ref": f"#/$defs/{family.name}.{kind}"} for kind in kinds]
    if family.default is not None or not many:
        names = sorted({name for cls in kinds.values() for name in cls.model_fields})
        inherited = f"'{family.key}' left out: inherited"
        branches.append(
            {
                "type": "object",
                "description": f"{inherited}, or '{family.default}'." if family.default else f"{inherited}.",
                "not": {"required": [family.key]},
                "propertyNames": {"enum": names},
            }
        )
    return {"oneOf": branches}


def _kind_schema(
    cls: type[Spec], kind: str, key: str, families: Families, definitions: dict[str, Any]
) -> dict[str, Any]:
    held = slots(cls)
    left_out = {name for name, slot in held.items() if not slot.many}
    required = [name for name, info in cls.model_fields.items() if info.is_required() and name not in left_out]
    description = (cls.__doc__ or "").strip().split("\n\n")[0]
    return {
        "type": "object",
        "description": " ".join(description.split()),
        "properties": {key: {"const": kind}, **_properties(cls, families, definitions)},
        "required": [key, *required],
        "additionalProperties": False,
    }
