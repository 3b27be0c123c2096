"""Devices on the move: sidelinks come and go, devices hand over, transfers that lose their link break off."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simpy import Environment
from simpy.events import Event

from channels.mobility import Trajectory
from nmoe_sim.engine.handover import HandoverRule, HandoverSpec
from nmoe_sim.engine.links import Link
from nmoe_sim.engine.mobility import MobilitySpec
from nmoe_sim.engine.topology import Topology
from nmoe_sim.errors import RunError
from nmoe_sim.results.recorder import Recorder

FloatArray = NDArray[np.float64]
Process = Generator[Event, Any, None]


class Motion:
    """Looks at the devices of a topology as they move, and hands them over.

    Nothing happens, and nothing waits on the clock, where nobody moves and there is no handover to decide on. What
    waits doesn't end by itself: run the clock until an event of its own (``env.run(until=...)``).

    Parameters
    ----------
    env : simpy.Environment
    topology : Topology
        Devices that can choose a base station have been attached; devices that move may meet (``Topology.movable``).
    mobility : MobilitySpec
    trajectory : Trajectory
        Of the devices, in the topology's order.
    handover : HandoverSpec or None
        None: devices stay with their base station.
    rsrp_dbm : callable
        ``rsrp_dbm(t_s)`` gives the mean power [D, B] that devices receive from base stations at a time, without fast
        fading; -inf where a device can't attach.
    abort : callable
        ``abort(links)`` breaks off every transfer over links that have gone down, and returns the number of hops.
    recorder : Recorder
        Gets rows of ``positions`` after the start, and of ``handovers``.
    on_handover : callable
        ``on_handover(device, t_resume_s)`` is told, after the attachment and before the abort, until when nothing of
        this device may start.
    """

    def __init__(
        self,
        env: Environment,
        topology: Topology,
        mobility: MobilitySpec,
        trajectory: Trajectory,
        *,
        handover: HandoverSpec | None,
        rsrp_dbm: Callable[[float], FloatArray],
        abort: Callable[[Sequence[Link]], int],
        recorder: Recorder,
        on_handover: Callable[[str, float], None],
    ) -> None:
        self.env = env
        self._topology = topology
        self._trajectory = trajectory
        self._rsrp_dbm = rsrp_dbm
        self._abort = abort
        self._recorder = recorder
        self._on_handover = on_handover
        self._names = [node.name for node in topology.devices]
        self._stations = [node.name for node in topology.base_stations]
        if not mobility.is_static:
            topology.move(trajectory.positions_m(env.now)[0])  # a file may have them start elsewhere
            env.process(self._record(mobility.record_every_s))
            if topology.sidelink_range_m is not None:
                env.process(self._meet(mobility.step_s))
            if math.isfinite(mobility.known_until_s):
                env.process(self._end(mobility.known_until_s))
        if handover is not None and len(self._stations) > 1:
            rule = handover.rule(len(self._names), len(self._stations))
            if rule is not None:
                env.process(self._measure(rule, handover))

    def _meet(self, step_s: float) -> Process:
        """Take sidelinks up and down."""
        for k in count(1):
            yield self._at(k * step_s)
            if lost := self._topology.move(self._trajectory.positions_m(self.env.now)[0]):
                self._abort(lost)

    def _record(self, period_s: float) -> Process:
        rows = self._recorder.rows["positions"]
        for k in count(1):
            yield self._at(k * period_s)
            xy_m = self._trajectory.positions_m(self.env.now)[0].tolist()
            rows.extend((name, self.env.now, x, y) for name, (x, y) in zip(self._names, xy_m, strict=True))

    def _end(self, last_s: float) -> Process:
        yield self._at(math.nextafter(last_s, math.inf))
        raise RunError(
            f"mobility: positions are known until {last_s:g} s and the run goes on; "
            "give more rows, or set mobility.hold: true to let devices stand still"
        )

    def _measure(self, rule: HandoverRule, spec: HandoverSpec) -> Process:
        number = {name: i for i, name in enumerate(self._stations)}
        held = [self._topology.serving(name) for name in self._names]
        serving = np.array([-1 if s is None else number[s.name] for s in held], dtype=np.int64)
        for k in count(1):
            yield self._at(k * spec.period_s)
            now = self.env.now
            is_on = [self._topology.is_on(name) for name in self._names]  # who is off measures nothing
            for d, b in rule.update(now, self._rsrp_dbm(now), np.where(is_on, serving, -1)):
                device, old, new = self._names[d], self._stations[serving[d]], self._stations[b]
                serving[d] = b
                lost = self._topology.attach(device, new)
                self._on_handover(device, now + spec.interruption_s)
                self._recorder.add(
                    "handovers",
                    device=device,
                    t_s=now,
                    from_station=old,
                    to_station=new,
                    interruption_s=spec.interruption_s,
                    num_aborted=self._abort(lost),
                )

    def _at(self, t_s: float) -> Event:
        return self.env.timeout(max(0.0, t_s - self.env.now))
