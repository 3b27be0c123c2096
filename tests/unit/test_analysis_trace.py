"""The trace of a run: what a viewer relies on."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, tiny_scenario

from analysis.trace import write_trace
from nmoe_sim import InputError, load_run, run
from nmoe_sim.cli import main

Event = dict[str, Any]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.yaml").write_text(TINY)
    overload = ["--set", "radio.bandwidth_hz=1e6", "--set", "inference.arrivals.rate_hz=20"]
    expire = ["--set", "inference.at_deadline=expire", "--set", "inference.deadline_s=0.006"]
    arguments = ["run", str(folder / "tiny.yaml"), "--out", str(folder / "run"), "--quiet", *overload, *expire]
    assert main(arguments) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def events(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    out = tmp_path_factory.mktemp("trace") / "trace.json"
    assert write_trace(run_dir, out).num_left_out == 0
    return _events(out)


def _events(path: Path) -> list[Event]:
    document = json.loads(path.read_text())
    assert document["displayTimeUnit"] == "ms"
    return list(document["traceEvents"])


def _lanes(events: list[Event]) -> dict[tuple[int, int], list[Event]]:
    lanes = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            lanes[event["pid"], event["tid"]].append(event)
    return lanes


def test_every_request_job_and_hop_is_a_slice(events: list[Event], run_dir: Path) -> None:
    tables = load_run(run_dir).tables
    counts = Counter(event["cat"] for event in events if event["ph"] == "X")
    assert counts == {
        "request": len(tables["requests"]),
        "compute": len(tables["compute"]),
        "transfer": len(tables["transfers"]),
    }
    first = tables["compute"].iloc[0]
    [job] = [e for e in events if e.get("cat") == "compute" and e["ts"] == pytest.approx(1e6 * first["t_start_s"])][:1]
    assert job["dur"] == pytest.approx(1e6 * (first["t_end_s"] - first["t_start_s"]), abs=2e-3)
    assert any("(expired)" in event["name"] for event in events), "the scenario lets requests expire"


def test_time_goes_forward_and_is_not_negative(events: list[Event]) -> None:
    times = [event["ts"] for event in events if event["ph"] != "M"]
    assert times == sorted(times)
    assert times[0] >= 0
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")


def test_slices_of_a_lane_do_not_overlap(events: list[Event]) -> None:
    lanes = _lanes(events)
    for lane in lanes.values():
        ends_ns = [round(1000 * (event["ts"] + event["dur"])) for event in lane]
        begins_ns = [round(1000 * event["ts"]) for event in lane]
        assert all(end <= begin for end, begin in zip(ends_ns, begins_ns[1:], strict=False))
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    uplinks = [tid for pid, tid in lanes if names[pid] == "medium uplink"]
    assert len(uplinks) > 1, "the scenario has hops at the same time, so the test can fail"


def test_every_lane_and_process_has_a_name(events: list[Event]) -> None:
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert set(_lanes(events)) <= named
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert names == ["dev0", "dev1", "dev2", "bs0", "medium downlink", "medium uplink"]


def test_flows_lead_from_request_to_expert_and_back(events: list[Event]) -> None:
    at = {(e["pid"], e["tid"], e["ts"]): e for e in events if e["ph"] == "X"}
    flows: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        if event["ph"] in "stf":
            flows[event["id"]].append(event)
    assert flows
    whole = 0
    for steps in flows.values():
        assert [step["ph"] for step in steps] == ["s", *["t"] * (len(steps) - 2), "f"]
        slices = [at[step["pid"], step["tid"], step["ts"]] for step in steps]
        assert slices[0]["cat"] == "request"
        assert len({piece["args"]["request"] for piece in slices}) == 1
        kinds = [piece["name"].split(" ")[0] for piece in slices]
        whole += kinds == ["request", "features", "features", "expert", "output", "output", "combine"]
    assert whole > 10


def test_a_window_keeps_what_is_in_it(run_dir: Path, events: list[Event], tmp_path: Path) -> None:
    middle_us = [event["ts"] for event in events if event["ph"] == "X" and event["cat"] == "request"][30]
    begin_s, end_s = middle_us / 1e6, middle_us / 1e6 + 0.5
    trace = write_trace(run_dir, tmp_path / "trace.json", from_s=begin_s, to_s=end_s)
    kept = [event for event in _events(trace.path) if event["ph"] == "X"]
    everything = [event for event in events if event["ph"] == "X"]
    inside = [e for e in everything if e["ts"] + e["dur"] >= middle_us - 1e-3 and e["ts"] <= 1e6 * end_s]
    assert len(kept) == trace.num_slices == len(inside) < len(everything)
    assert trace.num_left_out == len(everything) - len(kept)
    assert not trace.cut


def test_the_most_events_are_the_first_ones(run_dir: Path, events: list[Event], tmp_path: Path) -> None:
    trace = write_trace(run_dir, tmp_path / "trace.json", max_events=100)
    kept = [event for event in _events(trace.path) if event["ph"] == "X"]
    everything = [event for event in events if event["ph"] == "X"]
    assert trace.cut
    assert [(event["name"], event["ts"]) for event in kept] == [(e["name"], e["ts"]) for e in everything[:100]]
    flows = Counter(event["ph"] for event in _events(trace.path) if event["ph"] in "sf")
    assert flows["s"] == flows["f"], "a cut flow ends as well"


def test_the_same_run_gives_the_same_trace(run_dir: Path, tmp_path: Path) -> None:
    first, second = (write_trace(run_dir, tmp_path / name).path.read_bytes() for name in "ab")
    assert first == second


def test_an_empty_window_is_an_input_error(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing happens from 1000\.0 s"):
        write_trace(run_dir, tmp_path / "trace.json", from_s=1000.0)
    assert not (tmp_path / "trace.json").exists()


def test_failed_hops_handovers_and_media_of_several_cells(tmp_path: Path) -> None:
    scenario = tiny_scenario(
        {
            "topology": {"kind": "multi_cell", "num_sites": 3, "num_devices": 4, "inter_site_distance_m": 60},
            "mobility": {"kind": "random_waypoint", "min_speed_m_per_s": 30, "max_speed_m_per_s": 40},
            "handover": {"hysteresis_db": 0, "time_to_trigger_s": 0, "period_s": 0.05},
            "radio.path_loss": {"kind": "log_distance"},
            "radio.bandwidth_hz": 2e4,
            "inference.arrivals.rate_hz": 20,
            "inference.duration_s": 1,
        }
    )
    tables = run(scenario, tmp_path / "run").tables
    events = _events(write_trace(tmp_path / "run").path)
    marks = [event for event in events if event["ph"] == "i"]
    assert len(marks) == len(tables["handovers"]) > 0
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    first = tables["handovers"].iloc[0]
    assert names[marks[0]["pid"]] == first["device"]
    assert marks[0]["name"] == f"handover {first['from_station']} → {first['to_station']}"
    assert [name for name in names.values() if name.startswith("medium")] == [
        "medium downlink",
        "medium uplink",
        "medium wired",
    ]
    lanes = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert {f"{whose} 1" for whose in tables["transfers"]["medium"].str.partition(":")[2]} <= lanes
    failed = [e for e in events if e.get("cat") == "transfer" and e["args"]["outcome"] == "link_down"]
    assert len(failed) == (tables["transfers"]["outcome"] == "link_down").sum() > 0
    assert all(event["name"].endswith("(link_down)") for event in failed)
    times = [event["ts"] for event in events if event["ph"] != "M"]
    assert times == sorted(times)
