"""Handover decided on arrays, and motion on the clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from simpy import Environment

from channels import mobility as trajectories
from channels.mobility import Trajectory
from nmoe_sim.engine.handover import A3Handover, A3Rule, HandoverSpec, NoHandover
from nmoe_sim.engine.links import Link, Node, Wired
from nmoe_sim.engine.mobility import GaussMarkov, MobilitySpec, Static
from nmoe_sim.engine.motion import Motion
from nmoe_sim.engine.topology import Topology
from nmoe_sim.errors import RunError
from nmoe_sim.results.recorder import Recorder


def one_device(rule: A3Rule, measured: Sequence[Sequence[float]], period_s: float = 0.1) -> list[tuple[float, int]]:
    """Feed measurements of one device; return (time, new base station) of its handovers."""
    serving, done = np.zeros(1, np.int64), []
    for k, rsrp_dbm in enumerate(measured):
        for d, b in rule.update(k * period_s, np.array([rsrp_dbm], dtype=float), serving.copy()):
            assert d == 0
            serving[0] = b
            done.append((round(k * period_s, 9), b))
    return done


@pytest.mark.parametrize(("margin_db", "expected"), [(2.9, []), (3.0, []), (3.1, [(0.0, 1)])])
def test_hysteresis_must_be_exceeded(margin_db: float, expected: list[tuple[float, int]]) -> None:
    assert one_device(A3Rule(1, 2, 3.0, 0.0), [(-80.0, -80.0 + margin_db)] * 3) == expected


@pytest.mark.parametrize(("time_to_trigger_s", "at_s"), [(0.0, 0.2), (0.1, 0.3), (0.16, 0.4), (0.2, 0.4), (0.7, 0.9)])
def test_the_condition_must_hold_for_the_time_to_trigger(time_to_trigger_s: float, at_s: float) -> None:
    measured = [(-80.0, -81.0)] * 2 + [(-80.0, -70.0)] * 20
    assert one_device(A3Rule(1, 2, 3.0, time_to_trigger_s), measured) == [(at_s, 1)]


def test_an_interruption_of_the_condition_starts_the_time_anew() -> None:
    better, worse = (-80.0, -70.0), (-80.0, -79.0)
    measured = [better, better, worse, better, better, better, better]
    assert one_device(A3Rule(1, 2, 3.0, 0.2), measured) == [(0.5, 1)]


def test_a_device_at_the_border_does_not_ping_pong() -> None:
    swing_db = 2.5 * np.sin(np.arange(400))  # either station is up to 5 dB better in turn
    measured = [(-80.0 + x, -80.0 - x) for x in swing_db]
    assert len(one_device(A3Rule(1, 2, 0.0, 0.0), measured)) > 100
    assert one_device(A3Rule(1, 2, 6.0, 0.0), measured) == []
    assert one_device(A3Rule(1, 2, 3.0, 0.4), measured) == []


def test_the_strongest_of_several_is_taken_and_times_run_for_each() -> None:
    # station 1 is better from the start, station 2 even better a moment later
    measured = [(-80, -75, -90)] + [(-80, -75, -70)] * 9
    assert one_device(A3Rule(1, 3, 3.0, 0.2), measured) == [(0.2, 1), (0.5, 2)]
    assert one_device(A3Rule(1, 3, 3.0, 0.0), [(-80, -75, -70)] * 2) == [(0.0, 2)]


def test_devices_are_independent_and_may_lack_stations() -> None:
    rule = A3Rule(4, 2, 3.0, 0.1)
    rsrp_dbm = np.array([[-80.0, -70.0], [-70.0, -80.0], [-80.0, -np.inf], [-np.inf, -np.inf]])
    serving = np.array([0, 1, 0, -1])
    assert rule.update(1.0, rsrp_dbm, serving) == []
    assert rule.update(1.1, rsrp_dbm, serving) == [(0, 1), (1, 0)]


def test_specs() -> None:
    assert NoHandover().rule(3, 2) is None
    rule = A3Handover(hysteresis_db=5.0, time_to_trigger_s=0.3).rule(1, 2)
    assert one_device(rule, [(-80.0, -74.0)] * 9) == [(0.3, 1)]
    assert one_device(A3Handover(hysteresis_db=5.0).rule(1, 2), [(-80.0, -76.0)] * 9) == []


@pytest.mark.parametrize(("period_s", "at_s"), [(0.2, 0.4), (0.1, 0.4), (0.05, 0.35)])
def test_the_filter_has_its_time_at_any_rate(period_s: float, at_s: float) -> None:
    """After a step of 10 dB at time 0+, k = 4 leaves 10/2^(t/0.2 s) dB to go: above 6.9 dB from 0.338 s on."""
    rule = A3Handover(hysteresis_db=6.9, time_to_trigger_s=0.0, period_s=period_s, filter_coefficient=4).rule(1, 2)
    measured = [(-80.0, -80.0)] + [(-80.0, -70.0)] * 40
    assert one_device(rule, measured, period_s) == [(at_s, 1)]


def test_without_a_filter_a_measurement_counts_at_once() -> None:
    rule = A3Handover(time_to_trigger_s=0.0, filter_coefficient=0).rule(1, 3)
    assert one_device(rule, [(-80.0, -80.0, -np.inf), (-80.0, -76.0, -np.inf)]) == [(0.1, 1)]


def test_a_base_station_that_comes_into_sight_is_taken_as_it_is() -> None:
    rule = A3Rule(1, 2, 3.0, 0.0, weight=0.5)
    assert one_device(rule, [(-80.0, -np.inf), (-80.0, -80.0), (-80.0, -70.0)]) == [(0.2, 1)]


# --- motion on the clock


class Walk(MobilitySpec):
    """Positions given by the test."""

    kind = "walk"
    until_s: float = 1e30

    @property
    def known_until_s(self) -> float:
        return self.until_s

    def trajectory(self, start_m: Any, bounds_m: Any, uniform: Any, names: Any) -> Trajectory:
        raise AssertionError


class World:
    """Two base stations 100 m apart, cable between; a device walks from one to the other, another stays."""

    def __init__(self, handover: HandoverSpec | None, mobility: MobilitySpec, sidelink_range_m: float | None) -> None:
        nodes = [Node("a", "device", 0, 0), Node("b", "device", 10, 0)]
        nodes += [Node("west", "base_station", 0, 0), Node("east", "base_station", 100, 0)]
        radio = [(device, station) for device in "ab" for station in ("west", "east")]
        self.env = Environment()
        cable = [("east", "west", Wired(1e9))]
        self.topology = Topology(nodes, radio, cable, sidelink_range_m=sidelink_range_m).movable()
        for device in "ab":
            self.topology.attach(device, "west")
        self.walk = trajectories.Trace([[0, 100], [0]], [[[0, 0], [100, 0]], [[10, 0]]], hold=True)  # 1 m/s
        self.log: list[tuple[float, str, object]] = []
        self.recorder = Recorder()
        self.motion = Motion(
            self.env,
            self.topology,
            mobility,
            self.walk,
            handover=handover,
            rsrp_dbm=self.rsrp_dbm,
            abort=self.abort,
            recorder=self.recorder,
            on_handover=lambda device, t_s: self.log.append((self.env.now, "resume", (device, t_s))),
        )

    def rsrp_dbm(self, t_s: float) -> np.ndarray:
        x_m = self.walk.positions_m(t_s)[0, :, :1]
        return -40.0 - np.abs(x_m - [0.0, 100.0])

    def abort(self, links: Sequence[Link]) -> int:
        assert not any(self.topology.is_up(link) for link in links)
        self.log.append((self.env.now, "abort", sorted(link.src.name + ">" + link.dst.name for link in links)))
        return 7

    def run(self, until_s: float) -> None:
        self.env.run(until=self.env.timeout(until_s))


def test_a_walk_from_cell_to_cell() -> None:
    world = World(
        A3Handover(period_s=0.5, time_to_trigger_s=1.0, interruption_s=0.2, filter_coefficient=0),
        Walk(record_every_s=40.0),
        None,
    )
    assert [world.topology.serving(device).name for device in "ab"] == ["west", "west"]
    world.run(100.0)
    # at 51.5 s the east is exactly 3 dB better, from 52 s on it is more; 1 s later it triggers
    assert world.log == [(53.0, "resume", ("a", 53.2)), (53.0, "abort", ["a>west", "west>a"])]
    assert world.recorder.rows["handovers"] == [("a", 53.0, "west", "east", 0.2, 7)]
    assert world.recorder.rows["positions"] == [
        ("a", 40.0, 40.0, 0.0),
        ("b", 40.0, 10.0, 0.0),
        ("a", 80.0, 80.0, 0.0),
        ("b", 80.0, 10.0, 0.0),
    ]
    assert [link.dst.name for link in world.topology.route("a", "b")] == ["east", "west", "b"]
    assert world.topology.num_attached("west") == 1


def test_devices_start_where_the_trajectory_has_them() -> None:
    world = World(None, Walk(), 5.0)
    assert [link.dst.name for link in world.topology.route("a", "b")] == ["west", "b"]
    world.walk = trajectories.Trace([[0], [0]], [[[7, 0]], [[10, 0]]], hold=True)
    Motion(
        world.env,
        world.topology,
        Walk(),
        world.walk,
        handover=None,
        rsrp_dbm=world.rsrp_dbm,
        abort=len,
        recorder=Recorder(),
        on_handover=lambda device, t_s: None,
    )
    assert [link.dst.name for link in world.topology.route("a", "b")] == ["b"]


def test_sidelinks_come_and_go() -> None:
    world = World(None, Walk(step_s=0.5), 5.2)
    topology = world.topology
    assert [link.dst.name for link in topology.route("a", "b")] == ["west", "b"]
    world.run(5.1)  # 5 m apart is first seen at 5.0 s
    assert [link.dst.name for link in topology.route("a", "b")] == ["b"]
    world.run(50.0)
    assert [link.dst.name for link in topology.route("a", "b")] == ["west", "b"]
    assert world.log == [(15.5, "abort", ["a>b", "b>a"])]
    assert world.recorder.rows["handovers"] == []


@pytest.mark.parametrize("handover", [None, NoHandover()])
def test_nothing_happens_where_nothing_moves(handover: HandoverSpec | None) -> None:
    world = World(handover, Static(), 5.0)
    assert world.env.peek() == np.inf
    world.env.run()  # ends by itself
    assert world.env.now == 0


def test_a_static_cell_has_nothing_to_hand_over() -> None:
    nodes = [Node("a", "device", 0, 0), Node("bs", "base_station", 1, 0)]
    env, topology = Environment(), Topology(nodes, [("a", "bs")])
    Motion(
        env,
        topology,
        Static(),
        trajectories.Static([[0, 0]]),
        handover=A3Handover(),
        rsrp_dbm=lambda t_s: np.zeros((1, 1)),
        abort=len,
        recorder=Recorder(),
        on_handover=lambda device, t_s: None,
    )
    assert env.peek() == np.inf


def test_a_run_beyond_what_is_known_fails() -> None:
    world = World(None, Walk(until_s=20.0), None)
    world.run(20.0)
    with pytest.raises(RunError, match=r"mobility: positions are known until 20 s and the run goes on; give more rows"):
        world.run(1.0)


def test_ticks_do_not_drift() -> None:
    world = World(None, GaussMarkov(record_every_s=0.1), None)
    world.run(100.05)
    times_s = [row[1] for row in world.recorder.rows["positions"]][::2]
    np.testing.assert_allclose(times_s, 0.1 * np.arange(1, 1001), rtol=0, atol=1e-12)
