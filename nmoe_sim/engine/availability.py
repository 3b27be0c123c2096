"""Who is down, since when and why; what going down and coming back does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

from simpy import Environment
from simpy.events import Event

from nmoe_sim.engine.battery import Battery
from nmoe_sim.engine.device import Device
from nmoe_sim.engine.network import Network
from nmoe_sim.engine.topology import Topology
from nmoe_sim.results.recorder import Recorder

Reason = Literal["battery", "churn"]
"""An empty battery, for good; or the family ``faults``."""


class Availability:
    """Takes devices down and up again: their jobs, links and payloads with them.

    A device that is down is switched off. It draws nothing, not even idle power; its jobs are broken off; its links
    are down, so that nothing is routed to, from or over it; what it held is lost.

    Parameters
    ----------
    env : simpy.Environment
    topology : Topology
    devices : mapping of str to Device
    network : Network
    recorder : Recorder
        Gets a row of ``outages`` when one is over, and at ``close``.
    """

    def __init__(
        self,
        env: Environment,
        topology: Topology,
        devices: Mapping[str, Device],
        network: Network,
        recorder: Recorder,
    ) -> None:
        self._env = env
        self._topology = topology
        self._devices = devices
        self._network = network
        self._recorder = recorder
        self._batteries: dict[str, Battery] = {}
        self._down: dict[str, tuple[float, Reason]] = {}
        self._past: dict[str, list[tuple[float, float]]] = {}
        self._change = Event(env)

    def why_down(self, device: str) -> Reason | None:
        """Return why a device is down now; None: it is up."""
        found = self._down.get(device)
        return None if found is None else found[1]

    @property
    def change(self) -> Event:
        """An event that fires when the next device goes down or comes back."""
        return self._change

    def battery_j_left(self, device: str) -> float:
        """Return the energy left in a device's battery; infinite on mains."""
        battery = self._batteries.get(device)
        return math.inf if battery is None else battery.left_j()

    def watch(self, device: str, radio_w: float) -> None:
        """Take a device down when its battery is empty, given the most its radios can draw."""
        self._batteries[device] = Battery(
            self._env,
            self._devices[device],
            radio_w=radio_w,
            on_air_j=lambda: self._network.on_air_j(device),
            up_s=lambda: self.up_s(device, 0.0, self._env.now),
            empty=lambda: self.take_down(device, "battery"),
        )

    def take_down(self, device: str, reason: Reason) -> None:
        """Take a device down that is up."""
        self._down[device] = self._env.now, reason
        links = self._topology.switch_off(device, for_good=reason == "battery")
        self._devices[device].go_down()
        self._network.abort(links, "link_down")
        self._network.lose(device)
        self._tell()

    def bring_up(self, device: str) -> None:
        """Bring a device back that is down for a time."""
        since_s, reason = self._down.pop(device)
        self._past.setdefault(device, []).append((since_s, self._env.now))
        self._record(device, since_s, self._env.now, reason)
        self._devices[device].come_up()
        self._topology.switch_on(device)
        if device in self._batteries:
            self._batteries[device].look()
        self._tell()

    def _tell(self) -> None:
        if self._change.callbacks:
            change, self._change = self._change, Event(self._env)
            change.succeed()

    def up_s(self, device: str, from_s: float, to_s: float) -> float:
        """Return how long a device was up between two times, neither after now."""
        return to_s - from_s - sum(max(0.0, min(b, to_s) - max(a, from_s)) for a, b in self._outages_s(device))

    def _outages_s(self, device: str) -> Iterator[tuple[float, float]]:
        yield from self._past.get(device, ())
        if device in self._down:
            yield self._down[device][0], self._env.now

    def close(self) -> None:
        """Write rows of the outages that last."""
        for device, (since_s, reason) in self._down.items():
            self._record(device, since_s, None, reason)

    def _record(self, device: str, t_down_s: float, t_up_s: float | None, reason: Reason) -> None:
        self._recorder.add("outages", device=device, t_down_s=t_down_s, t_up_s=t_up_s, reason=reason)
