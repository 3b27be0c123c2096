"""Whatever is in a file, loading it gives a scenario or one InputError of one line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nmoe_sim.errors import InputError
from nmoe_sim.scenario import Families, Override, Scenario, build, load
from nmoe_sim.scenario.spec import Spec

sys.path.append(str(Path(__file__).parents[1] / "unit"))
FAMILIES: Families = importlib.import_module("scenario_families").FAMILIES

SPECS = [Scenario, *(cls for table in FAMILIES.values() for cls in table.values())]
KEYS = sorted({name for cls in SPECS for name in cls.model_fields})
WORDS = [*KEYS, *sorted({kind for table in FAMILIES.values() for kind in table}), "kind", "profile"]
SYNTAX = [": ", ":", "\n", "\n  ", "\n    ", " ", "- ", "{", "}", "[", "]", ", ", "? ", "| ", "> ", ">", "'", '"', "#"]
SYNTAX += ["&a ", "*a", "!x ", "!!str ", "!!int ", "!<", "<<", "---\n", "...\n", "%", "%YAML 1.2\n", "%TAG ! x\n"]
SYNTAX += ["@", "`", "\t", "\u2028", "\\", "\\U", "\\x"]
VALUES = ["0", "1", "-1", "1e6", ".nan", "0x1F", "true", "null", "~", "20 MHz", "é", "extends"]
yamlish = st.lists(st.sampled_from([*WORDS, *SYNTAX, *VALUES]), max_size=40).map("".join)
steps = st.lists(st.sampled_from([*WORDS, "0"]), min_size=1, max_size=4).map(".".join)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS)
plain = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)
fast = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.yaml"


def check(error: InputError) -> None:
    assert str(error).isprintable()
    assert len(str(error)) < 1500


def loads_or_explains(path: Path, *overrides: Override) -> None:
    try:
        scenario = load(path, families=FAMILIES, overrides=overrides)
    except InputError as error:
        check(error)
    else:
        assert build(scenario.resolved(), families=FAMILIES) == scenario


@fast
@given(data=st.binary(max_size=200))
@example(data=b"\xff\xfe\x00")
@example(data=b'a: "\\x"')
@example(data=b"%YAML 1\n---\n")
@example(data=b"a: !<> 1")
def test_random_bytes(path, data):
    path.write_bytes(data)
    loads_or_explains(path)


@fast
@given(text=st.text(max_size=100) | yamlish | yamlish.map(lambda tail: f"name: a\n{tail}"))
@example(text="%TAG ! x\n%TAG ! y\n---\na: 1")
@example(text='"a\\nb": 1')
def test_random_yaml_like_text(path, text):
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    loads_or_explains(path)


@fast
@given(argument=yamlish | st.builds("{}={}".format, steps, yamlish))
def test_random_overrides(path, argument):
    path.write_text("name: a\ndevices: [{profile: phone}]\n", encoding="utf-8")
    try:
        override = Override.from_option(argument)
    except InputError as error:
        check(error)
    else:
        loads_or_explains(path, override)


@fast
@given(mapping=st.dictionaries(st.sampled_from(["kind", *Scenario.model_fields]), plain, max_size=5))
def test_random_python_mappings(mapping):
    try:
        scenario = build({"name": "a", **mapping}, families=FAMILIES)
    except InputError as error:
        check(error)
    else:
        assert isinstance(scenario, Spec)


SETTINGS = {
    "seed": st.integers(0, 2**63 - 1),
    "description": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    "device": st.sampled_from(["auto", "cpu", "cuda"]),
    "topology.kind": st.sampled_from(["cell", "star"]),
    "topology.num_devices": st.integers(1, 100_000),
    "radio.bandwidth_hz": st.floats(1e-300, 1e11),
    "radio.path_loss": st.sampled_from([{"kind": "log_distance", "exponent": 2.5}, {"kind": "tr38901_umi"}]),
    "devices": st.lists(st.sampled_from([{"profile": "phone", "count": 3}, {"profile": "server", "idle_w": 1e-7}])),
    "model.gate.widths": st.lists(st.integers(1, 65_536), max_size=4),
}


@fast
@given(changes=st.fixed_dictionaries({}, optional=SETTINGS))
def test_every_scenario_survives_yaml(path, changes):
    scenario = build({"name": "a"}, families=FAMILIES).replace(changes)
    path.write_text(scenario.to_yaml(), encoding="utf-8")
    again = load(path, families=FAMILIES)
    assert again == scenario
    assert again.run_id == scenario.run_id
    assert again.to_yaml() == scenario.to_yaml()
    unchanged = build({"name": "a"}, families=FAMILIES)
    assert (scenario.scenario_hash == unchanged.scenario_hash) == (
        scenario.replace({"seed": 0, "device": "auto", "description": ""}) == unchanged
    )
