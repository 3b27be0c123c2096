from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scenario_families import FAMILIES, Cell, LogDistance, Phone, Server, Star, Umi

from nmoe_sim.errors import InputError
from nmoe_sim.scenario import build
from nmoe_sim.scenario.loader import load


def error_of(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load("x.yaml", families=FAMILIES)
    assert len(str(caught.value).splitlines()) == 1
    assert "pydantic" not in str(caught.value)
    return str(caught.value)


WRONG = {
    "name: a\nradio:\n  bandwith_hz: 2e7\n": "x.yaml:3:3: radio.bandwith_hz: unknown key; did you mean 'bandwidth_hz'?",
    "name: a\nbandwidth_hz: 2e7\n": "x.yaml:2:1: bandwidth_hz: unknown key; did you mean 'radio.bandwidth_hz'?",
    "name: a\nmodel: {zzz: 1}\n": (
        "x.yaml:2:9: model.zzz: unknown key; known here: extractor, expert, gate, top_k, combine"
    ),
    "name: a\ntopology: {kind: star, radius_m: 3}\n": (
        "x.yaml:2:24: topology.radius_m: unknown key; kind 'cell' has it, 'star' doesn't"
    ),
    "name: a\nplacement: {solver: x}\n": "x.yaml:2:13: placement.solver: unknown key; known here: kind",
    "name: a\ntopology:\n  kind: str\n": (
        "x.yaml:3:9: topology.kind: unknown kind 'str'; one of cell, star; did you mean 'star'?"
    ),
    "name: a\ntopology: {kind: [star]}\n": ("x.yaml:2:18: topology.kind: unknown kind a list of 1; one of cell, star"),
    "name: a\ntopology: star\n": "x.yaml:2:11: topology: must be a mapping, got 'star'; write {kind: star}",
    "name: a\nradio:\nseed: 1\n": (
        "x.yaml:2:1: radio: must be a mapping, got null; give it settings or remove the key"
    ),
    "name: a\ndevices: {profile: phone}\n": "x.yaml:2:10: devices: must be a list of mappings, got a mapping",
    "name: a\ndevices:\n  - profile: phone\n  - count: 3\n": (
        "x.yaml:4:5: devices.1.profile: missing; one of phone, server"
    ),
    "name: a\ndevices: [{profile: phne}]\n": (
        "x.yaml:2:21: devices.0.profile: unknown profile 'phne'; one of phone, server; did you mean 'phone'?"
    ),
    "seed: 1\n": (
        "x.yaml:1:1: name: missing; it must be given (names the run directory: letters, digits, '.', '_' and '-')"
    ),
    "name: a\ndata:\n  kind: blobs\n": "x.yaml:3:3: data.num_classes: missing; it must be given (classes)",
    "name: a b\n": (
        "x.yaml:1:7: name: must match ^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$ "
        "(names the run directory: letters, digits, '.', '_' and '-'), got 'a b'"
    ),
    "name: 12\n": "x.yaml:1:7: name: must be a string, got 12; put it in quotes",
    "name: a\nseed: -1\n": "x.yaml:2:7: seed: must be at least 0, got -1",
    "name: a\nseed: true\n": "x.yaml:2:7: seed: must be a whole number, got true",
    "name: a\nseed: 1e3\n": "x.yaml:2:7: seed: must be a whole number, got 1000.0; write 1000",
    "name: a\nseed: 1.5\n": "x.yaml:2:7: seed: must be a whole number, got 1.5",
    "name: a\nseed: 1_000\n": "x.yaml:2:7: seed: must be a whole number, got '1_000'; write 1000",
    "name: a\nseed: '7'\n": "x.yaml:2:7: seed: must be a whole number, got '7'; write 7 without quotes",
    "name: a\nseed:\n": "x.yaml:2:1: seed: must be a whole number, got null",
    "name: a\nradio: {bandwidth_hz: 20 MHz}\n": (
        "x.yaml:2:23: radio.bandwidth_hz: must be a number, got '20 MHz'; the unit is in the key's name: write 20e6"
    ),
    "name: a\nradio: {carrier_hz: 1}\n": "x.yaml:2:21: radio.carrier_hz: must be at least 1e+08, got 1",
    "name: a\nradio: {duplex: ful}\n": (
        "x.yaml:2:17: radio.duplex: must be 'full' or 'half', got 'ful'; did you mean 'full'?"
    ),
    "name: a\ntopology: {kind: star, full_mesh: yes}\n": (
        "x.yaml:2:35: topology.full_mesh: must be true or false, got 'yes'"
    ),
    "name: a\ntopology: {kind: star, hub: device, num_devices: 2}\n": (
        "x.yaml:2:11: topology: a star around a device needs at least 3 devices; raise 'num_devices'"
    ),
    "name: a\ntopology: {area_m: [1, x]}\n": "x.yaml:2:24: topology.area_m.1: must be a number, got 'x'",
    "name: a\ntopology: {area_m: [1, 2, 3]}\n": (
        "x.yaml:2:20: topology.area_m: must have at most 2 items, got a list of 3"
    ),
    "name: a\ntopology: {area_m: 1}\n": "x.yaml:2:20: topology.area_m: must be a list, got 1",
    "name: a\ndata: {kind: blobs, num_classes: 2, noise: x}\n": (
        "x.yaml:2:44: data.noise: must be a number or 'auto', got 'x'"
    ),
    "name: a\ndata: {kind: blobs, num_classes: 2, weights: {a: b}}\n": (
        "x.yaml:2:50: data.weights.a: must be a number, got 'b'"
    ),
    'name: a\n"b\\nc": 1\n': (
        "x.yaml:2:1: b c: unknown key; known here: name, description, seed, data, topology, radio, mobility, handover, "
        "faults, devices, model, training, placement, inference, device"
    ),
}


@pytest.mark.parametrize("text", WRONG)
def test_first_fault_says_where_what_rule_and_remedy(text, tmp_path, monkeypatch):
    assert error_of(tmp_path, monkeypatch, text) == WRONG[text]


@pytest.mark.parametrize(
    ("key", "text", "hint"),
    [
        ("radio.bandwidth_hz", "20 mhz", "write 20e6"),
        ("radio.bandwidth_hz", "3.5GHz", "write 3.5e9"),
        ("radio.bandwidth_hz", "20 M", "write 20e6"),
        ("radio.bandwidth_hz", "2e1 MHz", "write 20000000"),
        ("radio.bandwidth_hz", "20 apples", "write a plain number in Hz"),
        ("radio.tx_power_dbm", "23 dBm", "write 23"),
        ("radio.tx_power_dbm", "200 mW", "write a plain number in dBm"),
        ("radio.base_station_height_m", "25 m", "write 25"),
        ("inference.duration_s", "5 min", "write 300"),
        ("inference.deadline_s", "50ms", "write 50e-3"),
        ("devices.0.memory_bytes", "4 GB", "write 4e9"),
        ("devices.0.memory_bytes", "4 GiB", "write 4294967296"),
        ("devices.0.memory_bytes", "4 Gb", "write a plain number in B"),
        ("devices.0.flop_per_s", "2 TFLOPS", "write 2e12"),
        ("devices.0.idle_w", "500 mW", "write 500e-3"),
        ("devices.0.battery_j", "15 Wh", "write 54000"),
        ("model.top_k", "2 experts", "write a plain number"),
    ],
)
def test_quantities_with_units_are_told_the_number_to_write(key, text, hint):
    scenario = build({"name": "a", "devices": [{"profile": "phone"}]}, families=FAMILIES)
    with pytest.raises(InputError) as caught:
        scenario.replace({key: text})
    assert str(caught.value).startswith(f"{key}: must be a ")
    assert str(caught.value).endswith(hint)


def test_what_is_left_out_is_built_from_defaults():
    scenario = build({"name": "a"}, families=FAMILIES)
    assert scenario.topology == Cell()
    assert scenario.radio.path_loss == Umi()
    assert scenario.radio.bandwidth_hz == 20e6
    assert scenario.devices == ()
    assert scenario.data.partition.kind == "iid"


def test_the_default_kind_is_taken_when_only_other_settings_are_given():
    scenario = build({"name": "a", "topology": {"num_devices": 3}}, families=FAMILIES)
    assert scenario.topology == Cell(num_devices=3)


def test_python_mappings_may_hold_ready_made_specs_tuples_and_numpy_numbers():
    scenario = build(
        {
            "name": "a",
            "topology": Star(num_devices=np.int64(4).item()),
            "radio": {"path_loss": LogDistance(exponent=2.0), "bandwidth_hz": np.float64(1e7)},
            "devices": (Phone(count=2), {"profile": "server", "count": np.int64(1)}),
            "model": {"gate": {"widths": (1, 2)}},
        },
        families=FAMILIES,
    )
    assert scenario.topology == Star(num_devices=4)
    assert scenario.devices == (Phone(count=2), Server(count=1))
    assert type(scenario.radio.bandwidth_hz) is float
    assert scenario.where("topology") is None


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ([], "a scenario must be a mapping, got a list of 0"),
        ({"name": "a", 1: 2}, "every key must be a string, got 1"),
        ({"name": "a", "topology": Umi()}, "topology: must be in the family 'topology', got Umi"),
        ({"name": "a", "radio": Umi()}, "radio: must be a RadioSection, got Umi"),
        ({"name": "a", "radio": {"bandwidth_hz": float("nan")}}, "radio.bandwidth_hz: must be finite, got nan"),
        ({"name": "a", "extends": "b"}, "extends: unknown key"),
    ],
)
def test_wrong_python_mappings(mapping, said):
    with pytest.raises(InputError) as caught:
        build(mapping, families=FAMILIES)
    assert str(caught.value).startswith(said)


def test_an_endless_python_mapping_is_an_input_error():
    endless: dict[str, object] = {}
    endless["radio"] = endless
    with pytest.raises(InputError, match="nested deeper than 50"):
        build(endless, families=FAMILIES)


def test_importing_scenarios_is_light():
    code = (
        "import sys, nmoe_sim.scenario;"
        "print([m for m in ('torch', 'pandas', 'scipy', 'simpy', 'sklearn', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_partial_section_keeps_the_defaults_of_its_field() -> None:
    """``optimizer: {batch_size: 64}`` in FedSC keeps FedSC's own learning rate, not that of the class Optimizer."""
    from nmoe_sim.families import build_scenario

    extractor = {"kind": "fedsc", "optimizer": {"batch_size": 64}}
    optimizer = build_scenario({"name": "x", "training": {"extractor": extractor}}).training.extractor.optimizer
    assert (optimizer.batch_size, optimizer.lr, optimizer.schedule, optimizer.clip_norm) == (64, 0.03, "cosine", 3.0)
    again = build_scenario({"name": "x"}).replace({"training.extractor": extractor}).training.extractor.optimizer
    assert again == optimizer
