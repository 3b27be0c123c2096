"""Devices that go away and come back, by hand: 1 Mbit/s on every link, 1 FLOP/s, transmitters of 1 W."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
from fake_radio import PROFILE, Given, network, radio, table
from simpy.events import Event

from channels.units import thermal_noise_w
from nmoe_sim.engine.faults import FaultsSpec, NoFaults, OnOff, Trace
from nmoe_sim.engine.handover import A3Handover
from nmoe_sim.engine.links import Wired
from nmoe_sim.engine.mobility import GaussMarkov
from nmoe_sim.engine.radio.channel import Model
from nmoe_sim.engine.routes import NoRouteError
from nmoe_sim.engine.sharing import Fifo, MaxMin
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.engine.topology import Topology
from nmoe_sim.errors import InputError
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.scenario import RetrySection

NOISE_W = float(thermal_noise_w(1e6, 0.0))
MEGABYTE = 125_000  # a second of airtime


class Planned(FaultsSpec):
    """Outages as the test wants them."""

    kind: ClassVar[str] = "planned"
    of: dict[str, tuple[tuple[float, float], ...]]
    """By device."""

    def outages(self, names: Sequence[str], streams: RandomStreams) -> Sequence[Iterator[tuple[float, float]]]:
        return [iter(self.of.get(name, ())) for name in names]


def gain(a: str, b: str, t: int) -> float:
    """An SINR of 1 whoever sends; a base station has 10 W."""
    return NOISE_W / (10.0 if a.startswith("bs") else 1.0)


def world(topology: Topology, profile: Any = PROFILE, *, settings: Any = None, **planned: Any) -> Simulation:
    """Outages by device, as ``a=[(1, 2)]``."""
    faults = Planned(of={name: tuple((float(a), float(b)) for a, b in times) for name, times in planned.items()})
    section = radio(channel=Given(gain), **(settings or {}))
    profiles = {node.name: profile for node in topology.nodes}
    return Simulation.build(topology, profiles, section, RandomStreams(0), faults=faults)


def watch(run: Simulation, *events: Event, until_s: float = 100.0) -> list[tuple[float, Any]]:
    """Return when each event fired, with its value."""
    fired: list[tuple[float, Any]] = [(math.nan, None)] * len(events)
    for i, event in enumerate(events):
        event.callbacks.append(lambda event, i=i: fired.__setitem__(i, (run.env.now, event.value)))
    run.env.run(until=until_s)
    return fired


def rows(run: Simulation, name: str) -> Any:
    return run.recorder.arrow(name).to_pandas()


def at(run: Simulation, t_s: float, what: Callable[[], Any]) -> None:
    run.env.timeout(t_s - run.env.now).callbacks.append(lambda _: what())


# --- jobs --------------------------------------------------------------------------------------------------


def test_jobs_of_a_device_that_goes_down_are_broken_off() -> None:
    profile = PROFILE.model_copy(update={"compute_w": 3.0})
    run = world(network(["a-bs0"]), profile, a=[(2.5, 4.0)])
    device = run.devices["a"]
    done = [device.compute(1.0, "first", stage="gate"), device.compute(3.0, "second"), device.compute(1.0, "third")]
    late: list[Event] = []
    at(run, 3.0, lambda: late.append(device.compute(1.0, "refused")))
    at(run, 5.0, lambda: late.append(device.compute(1.0, "fourth")))
    assert watch(run, *done) == [(1.0, True), (2.5, False), (2.5, False)]
    assert [event.value for event in late] == [False, True]
    jobs = rows(run, "compute")
    columns = ["kind", "t_ready_s", "t_start_s", "t_end_s", "energy_j", "outcome"]
    assert jobs[columns].to_numpy().tolist() == [
        ["first", 0.0, 0.0, 1.0, 3.0, "completed"],
        ["second", 0.0, 1.0, 2.5, 4.5, "aborted"],
        ["third", 0.0, 2.5, 2.5, 0.0, "aborted"],
        ["fourth", 5.0, 5.0, 6.0, 3.0, "completed"],
    ]
    assert jobs["job_id"].tolist() == [0, 1, 2, 3]
    assert device.busy_s == {True: 1.0, False: 2.5}
    assert device.backlog_s() == 0.0


def test_a_job_done_just_in_time_is_done() -> None:
    run = world(network(["a-bs0"]), a=[(1.0, 2.0)])
    assert watch(run, run.devices["a"].compute(1.0, "just")) == [(1.0, True)]


def test_a_device_that_never_goes_down_books_its_jobs_at_once() -> None:
    run = Simulation.build(
        network(["a-bs0"]), dict.fromkeys(("a", "bs0"), PROFILE), radio(), RandomStreams(0), faults=NoFaults()
    )
    done = run.devices["a"].compute(2.0, "job")
    assert len(run.recorder.rows["compute"]) == 1
    assert not run.can_fail
    run.env.run()
    assert (run.env.now, done.value) == (2.0, True)


# --- who is away -------------------------------------------------------------------------------------------


def test_outages_are_told_while_they_last_and_written_when_they_are_over() -> None:
    run = world(network(["a-bs0", "b-bs0"]), a=[(1, 3), (5, 99)], b=[(2, 4)])
    seen = []
    for t_s in (0.5, 1.5, 3.5, 6.0):
        at(run, t_s, lambda: seen.append((run.is_up("a"), run.why_down("a"))))
    run.env.run(until=8.0)
    assert seen == [(True, None), (False, "churn"), (True, None), (False, "churn")]
    assert run.is_up("bs0")
    assert run.availability.up_s("a", 0.0, 8.0) == 3.0
    assert run.availability.up_s("a", 2.0, 4.0) == 1.0
    run.availability.close()
    outages = rows(run, "outages")
    assert outages[["device", "t_down_s", "reason"]].to_numpy().tolist() == [
        ["a", 1.0, "churn"],
        ["b", 2.0, "churn"],
        ["a", 5.0, "churn"],
    ]
    assert outages["t_up_s"].tolist()[:2] == [3.0, 4.0]
    assert math.isnan(outages["t_up_s"].iloc[2])


def test_a_view_sees_that_a_host_was_away_and_a_planner_counts_on_its_return() -> None:
    run = world(network(["a-bs0", "b-bs0"]), b=[(1, 3)])
    up_s, then = run.mean_delay_s("a", "b", 1000), run.outlook()
    run.env.run(until=2.0)
    assert run.outlook().delay_s("a", "b", 1000) == math.inf
    assert run.outlook().delay_s("a", "bs0", 1000) == up_s / 2
    assert run.mean_delay_s("a", "b", 1000) == up_s
    assert then.delay_s("a", "b", 1000) == up_s  # whoever kept it
    run.env.run(until=4.0)
    assert run.outlook().delay_s("a", "b", 1000) == up_s


# --- payloads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [None, "gate"])
@pytest.mark.parametrize("sharing", [None, Fifo(), MaxMin()])
def test_a_payload_from_or_to_a_device_that_goes_down_is_given_up_at_once(stage: str | None, sharing: Any) -> None:
    settings = {} if sharing is None else {"sharing": sharing}
    run = world(network(["a-bs0", "b-bs0"]), settings=settings, a=[(0.5, 0.6)], b=[(0.25, 9)])
    send = run.network.send
    events = [
        send("a", "bs0", MEGABYTE, "up", stage=stage),
        send("bs0", "b", MEGABYTE, "down", stage=stage),
    ]
    late: list[Event] = []
    at(run, 0.3, lambda: late.append(send("bs0", "b", 1, "refused", stage=stage)))
    at(run, 0.55, lambda: late.append(send("a", "a", 1, "refused", stage=stage)))
    at(run, 0.7, lambda: late.append(send("a", "bs0", 1, "again", stage=stage)))
    assert watch(run, *events) == [(0.5, False), (0.25, False)]
    assert [event.value for event in late] == [False, False, True]
    hops = rows(run, "transfers")
    assert hops[["kind", "outcome", "t_end_s"]].to_numpy().tolist()[:2] == [
        ["down", "link_down", 0.25],
        ["up", "link_down", 0.5],
    ]
    assert hops["bytes_sent"].tolist() == [31_250, 62_500, 1]
    assert hops["tx_energy_j"].tolist()[:2] == pytest.approx([2.5, 0.5])
    assert not run.network._open


def test_a_device_that_goes_down_loses_what_it_forwards() -> None:
    """a over b to c: b has it from 1 s on."""
    run = world(network(["a-b", "b-c"]), b=[(1.5, 1.6)])
    assert watch(run, run.network.send("a", "c", MEGABYTE, "x", stage="gate")) == [(1.5, False)]
    assert rows(run, "transfers")["outcome"].tolist() == ["delivered", "link_down"]


def test_what_is_elsewhere_on_its_way_to_a_device_that_went_down_ends_its_hop_for_nothing() -> None:
    """b is away before the first hop ends, and back before it does."""
    run = world(network(["a-bs0", "b-bs0"]), b=[(0.25, 0.5)])
    assert watch(run, run.network.send("a", "b", MEGABYTE, "x", stage="gate")) == [(0.25, False)]
    [hop] = rows(run, "transfers").to_dict("records")
    assert (hop["outcome"], hop["t_end_s"], hop["bytes_sent"]) == ("delivered", 1.0, MEGABYTE)


def test_a_payload_goes_around_a_relay_that_is_away() -> None:
    run = world(network(["a-b", "b-d", "a-c", "c-d"]), b=[(0.5, 50)])
    [(t_s, value)] = watch(run, run.network.send("a", "d", MEGABYTE, "x", stage="gate"))
    assert value is True
    hops = rows(run, "transfers")
    assert hops[["src", "dst", "outcome"]].to_numpy().tolist() == [
        ["a", "b", "link_down"],
        ["a", "c", "delivered"],
        ["c", "d", "delivered"],
    ]
    assert t_s == pytest.approx(0.5 + 0.01 + 1.0 + 1.0)  # back-off, and all of it again, as b forwards nothing


def test_a_payload_waits_for_a_relay_that_comes_back() -> None:
    run = world(network(["a-b", "b-c"]), b=[(0.5, 2.0)])
    [(t_s, value)] = watch(run, run.network.send("a", "c", MEGABYTE, "x", stage="gate"))
    assert value is True
    assert 3.5 <= t_s <= 3.5 + 1.0  # up to a back-off


def test_no_payload_waits_for_a_relay_whose_battery_is_empty() -> None:
    run = world(network(["a-b", "b-c"]))
    for stage in (None, "gate"):
        sent = run.network.send("a", "c", MEGABYTE, "x", stage=stage)
        if run.is_up("b"):
            at(run, 0.5, lambda: run.availability.take_down("b", "battery"))
        run.env.run(sent)
        assert sent.value is False
    assert run.env.now == 0.5 + 0.01
    assert run.why_down("b") == "battery"


def test_a_route_that_never_was_is_still_an_error() -> None:
    run = world(network(["a-bs0"], places={"c": (9.0, 9.0)}), a=[(1, 2)])
    with pytest.raises(NoRouteError):
        run.network.send("a", "c", 1, "x")


@pytest.mark.parametrize(("most", "num_attempts"), [(0, 1), (2, 3)])
def test_training_gives_up_after_its_retries(most: int, num_attempts: int) -> None:
    settings = {"channel": Given(table({})), "outage_timeout_s": 0.5}
    settings["retry"] = RetrySection(max_retries=5, max_training_retries=most)
    section = radio(**settings)
    run = Simulation.build(network(["a-bs0"]), dict.fromkeys(("a", "bs0"), PROFILE), section, RandomStreams(0))
    assert run.can_fail
    sent = run.network.send("a", "bs0", 1000, "model_up", stage="gate", round=0)
    run.env.run(sent)
    assert sent.value is False
    assert rows(run, "transfers")["attempt"].tolist() == list(range(num_attempts))


# --- links -------------------------------------------------------------------------------------------------


def test_a_node_that_is_off_has_no_links_until_it_is_on() -> None:
    topology = network(["a-b", "b-c", "a-bs0", "c-bs0"], [("a", "c", Wired(1e6))])
    before = set(topology.graph.edges)
    lost = topology.switch_off("a")
    assert {(link.src.name, link.dst.name) for link in lost} == {
        *(("a", b) for b in ("b", "bs0", "c")),
        *((b, "a") for b in ("b", "bs0", "c")),
    }
    assert not topology.is_on("a")
    assert not topology.is_all_on
    assert topology.serving("a") == topology["bs0"]  # still
    assert not any(topology.is_up(link) for link in lost)
    topology.switch_off("b")
    topology.set_pair("b", "c", False)  # while it is off
    topology.switch_on("a")
    assert not topology.is_up(topology.link("a", "b"))
    topology.switch_on("b")
    assert {frozenset(edge) for edge in topology.graph.edges} == {frozenset(edge) for edge in before} - {
        frozenset("bc")
    }
    assert topology.graph.edges["a", "c"] == {"wired": True}
    assert topology.snapshot().is_all_on


def test_a_snapshot_stays_as_it_was_or_as_if_all_were_on() -> None:
    topology = network(["a-b", "b-c"])
    topology.switch_off("b")
    now, on = topology.snapshot(), topology.snapshot(all_on=True)
    topology.switch_on("b")
    assert not now.is_connected("a", "c")
    assert not now.is_on("b")
    assert on.is_connected("a", "c")
    assert on.is_on("b")


def test_only_nodes_off_for_good_keep_others_apart_for_good() -> None:
    topology = network(["a-b", "b-c"])
    topology.switch_off("b")
    assert topology.is_connectable("a", "c")
    assert not topology.lacks_nodes
    topology.switch_on("b")
    topology.switch_off("b", for_good=True)
    assert not topology.is_connectable("a", "c")
    assert topology.lacks_nodes


def test_a_device_that_is_off_hands_nothing_over_and_does_so_once_it_is_on() -> None:
    """From bs0 to bs1 at 5 m/s; it would hand over in the middle, at 10 s, but is away until 15 s."""

    class Walk(GaussMarkov):
        def trajectory(self, start_m: Any, bounds_m: Any, uniform: Any, names: Any) -> Any:
            class East:
                def positions_m(self, t_s: Any) -> Any:
                    return start_m + np.atleast_1d(t_s)[:, None, None] * np.array([5.0, 0.0])

            return East()

    topology = network(["a-bs0", "a-bs1"], [("bs0", "bs1", Wired(1e9, 0.001))], {"a": (0, 5), "bs1": (100, 0)})
    run = Simulation.build(
        topology,
        {node.name: PROFILE for node in topology.nodes},
        radio(channel=Model()),
        RandomStreams(0),
        mobility=Walk(step_s=0.1),
        handover=A3Handover(time_to_trigger_s=0.2, period_s=0.1),
        faults=Planned(of={"a": ((8.0, 15.0),)}),
    )
    run.env.run(until=20.0)
    [handover] = rows(run, "handovers").to_dict("records")
    assert 15.0 < handover["t_s"] < 16.0
    assert run.topology.serving("a").name == "bs1"


# --- the family --------------------------------------------------------------------------------------------


def first(outages: Iterator[tuple[float, float]], num: int) -> list[tuple[float, float]]:
    return [next(outages) for _ in range(num)]


def test_outages_of_a_device_depend_on_nobody_else() -> None:
    spec = OnOff(mean_up_s=10.0, mean_down_s=2.0)
    few, many = (spec.outages([f"dev{i}" for i in range(n)], RandomStreams(3)) for n in (2, 5))
    apart = first(many[1], 50)
    assert first(few[1], 50) == apart
    assert first(many[0], 50) != apart
    assert all(down_s < up_s for down_s, up_s in apart)
    assert all(before[1] < after[0] for before, after in pairwise(apart))
    assert first(spec.outages(["dev0", "dev1"], RandomStreams(4))[1], 50) != apart


def test_a_trace_is_taken_as_it_is(tmp_path: Any) -> None:
    file = tmp_path / "away.csv"
    file.write_text("device,t_down_s,t_up_s,why\na,5,7.5,x\nb,1,2,y\na,1,3,z\n")
    spec = Trace(file=str(file))
    assert [list(times) for times in spec.outages(["a", "b", "c"], RandomStreams(0))] == [
        [(1.0, 3.0), (5.0, 7.5)],
        [(1.0, 2.0)],
        [],
    ]
    with pytest.raises(InputError, match="rows of 'a', which is no device"):
        spec.outages(["b", "c"], RandomStreams(0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("device,t_down_s\na,1\n", "no column 't_up_s'"),
        ("device,t_down_s,t_up_s\na,2,2\n", "line 2: t_up_s is '2'; give a time after t_down_s"),
        ("device,t_down_s,t_up_s\na,1,4\nb,1,2\na,3,5\n", "line 4: t_down_s is '3'; a is away already"),
        ("device,t_down_s,t_up_s\na,-1,4\n", "line 2: t_down_s is '-1'; give a finite time"),
    ],
)
def test_a_trace_that_makes_no_sense_is_refused(tmp_path: Any, text: str, message: str) -> None:
    file = tmp_path / "away.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        Trace(file=str(file))
