from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from scenario_families import FAMILIES

from nmoe_sim.scenario import Scenario, build, json_schema
from nmoe_sim.scenario.scenario import RadioSection

SCHEMA = json_schema(FAMILIES)


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from nodes(child)


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """Validate with the part of JSON Schema that shapes a scenario: references, keys, kinds, alternatives."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return accepts(SCHEMA["$defs"][name], value)
    if "oneOf" in schema and sum(accepts(branch, value) for branch in schema["oneOf"]) != 1:
        return False
    if "anyOf" in schema and not any(accepts(branch, value) for branch in schema["anyOf"]):
        return False
    if "not" in schema and accepts(schema["not"], value):
        return False
    if "const" in schema and value != schema["const"]:
        return False
    types = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool}
    if (wanted := types.get(schema.get("type", ""))) and not isinstance(value, wanted):
        return False
    if schema.get("type") in ("number", "integer") and not isinstance(value, int | float):
        return False
    if isinstance(value, dict):
        known = schema.get("properties", {})
        closed = schema.get("additionalProperties") is False
        return (
            set(schema.get("required", ())) <= set(value)
            and not (closed and set(value) - set(known))
            and set(value) <= set(schema.get("propertyNames", {}).get("enum", value))
            and all(accepts(known.get(key, {}), item) for key, item in value.items())
        )
    return not isinstance(value, list) or all(accepts(schema.get("items", {}), item) for item in value)


def test_it_is_json_in_the_2020_12_dialect_with_references_that_resolve():
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for node in nodes(SCHEMA):
        if "$ref" in node:
            assert node["$ref"].removeprefix("#/$defs/") in SCHEMA["$defs"]
        assert "x-family" not in node


def test_everything_is_described_and_nothing_required_at_the_top():
    assert list(SCHEMA["properties"]) == ["extends", *Scenario.model_fields]
    assert "required" not in SCHEMA
    radio = SCHEMA["properties"]["radio"]
    assert radio["additionalProperties"] is False
    assert "required" not in radio
    for name, info in RadioSection.model_fields.items():
        assert radio["properties"][name]["description"] == info.description
    assert radio["properties"]["carrier_hz"]["minimum"] == 1e8


def test_a_family_is_one_of_its_kinds():
    star = SCHEMA["$defs"]["topology.star"]
    assert star["properties"]["kind"] == {"const": "star"}
    assert star["required"] == ["kind"]
    assert star["properties"]["full_mesh"] == {
        "default": False,
        "description": "Whether the leaves are linked too.",
        "type": "boolean",
    }
    assert SCHEMA["$defs"]["dataset.blobs"]["required"] == ["kind", "num_classes"]
    assert SCHEMA["$defs"]["device_profile.phone"]["properties"]["profile"] == {"const": "phone"}


GOOD = [
    {},
    {"extends": "base.yaml", "topology": {"radius_m": 3}},
    {"topology": {"kind": "star", "hub": "device"}},
    {"data": {"kind": "blobs", "num_classes": 3, "noise": "auto", "partition": {"alpha": 1.0}}},
    {"devices": [{"profile": "phone", "count": 3, "battery_j": None}]},
]
BAD = [
    {"nonsense": 1},
    {"radio": {"bandwith_hz": 1}},
    {"topology": {"kind": "ring"}},
    {"topology": {"kind": "star", "radius_m": 1}},
    {"topology": "star"},
    {"topology": {"colour": 1}},
    {"data": {"kind": "blobs"}},
    {"devices": [{"count": 3}]},
    {"devices": {"profile": "phone"}},
    {"seed": "1"},
]


@pytest.mark.parametrize("value", GOOD)
def test_accepts_what_the_loader_takes(value):
    assert accepts(SCHEMA, value)
    build({"name": "a", **{key: item for key, item in value.items() if key != "extends"}}, families=FAMILIES)


@pytest.mark.parametrize("value", BAD)
def test_rejects_what_the_loader_rejects(value):
    assert not accepts(SCHEMA, value)


def test_accepts_a_resolved_scenario():
    scenario = build(
        {"name": "a", "devices": [{"profile": "server"}], "data": {"kind": "blobs", "num_classes": 2}},
        families=FAMILIES,
    )
    assert accepts(SCHEMA, scenario.resolved())
