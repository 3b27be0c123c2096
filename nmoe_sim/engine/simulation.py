"""The live bundle of a run: clock, topology, devices, network, recorder, random streams."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from simpy import Environment
from simpy.events import Event

from nmoe_sim.engine.air import Air
from nmoe_sim.engine.availability import Availability, Reason
from nmoe_sim.engine.device import Device
from nmoe_sim.engine.ether import Ether, tx_power_w
from nmoe_sim.engine.links import Link
from nmoe_sim.engine.mobility import MobilitySpec, trajectory_of
from nmoe_sim.engine.network import Network, Place
from nmoe_sim.engine.outlook import Outlook
from nmoe_sim.engine.sharing import EqualShare
from nmoe_sim.engine.spectrum import Allocation, allocate
from nmoe_sim.engine.topology import Topology
from nmoe_sim.errors import RunError
from nmoe_sim.results.recorder import Recorder
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.scenario import RadioSection

if TYPE_CHECKING:
    from nmoe_sim.engine.faults import FaultsSpec, Outage
    from nmoe_sim.engine.handover import HandoverSpec


@dataclass(frozen=True)
class PlannedTogether:
    """Links whose media are planned together, by position."""

    links: list[Link]
    allocations: list[Allocation]
    air: Air


@dataclass(frozen=True)
class Simulation:
    """Everything the processes of a run act on."""

    env: Environment
    topology: Topology
    devices: dict[str, Device]
    network: Network
    ether: Ether
    groups: list[PlannedTogether]
    recorder: Recorder
    streams: RandomStreams
    availability: Availability
    under_way: list[Event] = field(default_factory=list)
    """What was begun and nobody waits for any more; a run doesn't end before it has."""
    _outlook: dict[tuple[int, int], Outlook] = field(default_factory=dict, repr=False)

    @classmethod
    def build(
        cls,
        topology: Topology,
        profiles: Mapping[str, DeviceProfile],
        radio: RadioSection,
        streams: RandomStreams,
        recorder: Recorder | None = None,
        *,
        mobility: MobilitySpec | None = None,
        handover: HandoverSpec | None = None,
        faults: FaultsSpec | None = None,
        analog: bool = False,
    ) -> Simulation:
        """Set up a run.

        Parameters
        ----------
        topology : Topology
        profiles : mapping of str to DeviceProfile
            Every node's profile, by name.
        radio : RadioSection
        streams : RandomStreams
        recorder : Recorder, optional
            Where rows go; a new one by default.
        mobility : MobilitySpec, optional
            How devices move; not at all by default.
        handover : HandoverSpec, optional
            When a device that moves changes its base station; never by default.
        faults : FaultsSpec, optional
            When devices are away; never by default.
        analog : bool
            Whether links can carry analog payloads too.
        """
        env = Environment()
        recorder = recorder or Recorder()
        moves = mobility is not None and not mobility.is_static
        topology = topology.movable() if moves else topology
        churns = faults is not None and not faults.never
        devices = {}
        for node in topology.nodes:
            profile = profiles[node.name]
            tx_w = profile.tx_circuit_w + tx_power_w(radio, node) / profile.amplifier_efficiency
            may_fail = profile.battery_j is not None or (churns and node.kind == "device")
            devices[node.name] = Device(env, node.name, profile, tx_w=tx_w, recorder=recorder, may_fail=may_fail)
        trajectory = None
        if mobility is not None and moves:
            trajectory = trajectory_of(mobility, topology, streams.uniform)
        step_s = mobility.step_s if mobility is not None and moves else math.inf
        ether = Ether.build(topology, radio, streams, trajectory, step_s)
        groups, media = _media(env, topology, radio, ether, analog)
        network = Network(env, topology, devices, media, recorder, radio, streams)
        availability = Availability(env, topology, devices, network, recorder)
        simulation = cls(env, topology, devices, network, ether, groups, recorder, streams, availability)
        simulation._watch_batteries()
        if len(topology.base_stations) > 1:
            simulation.attach_to_strongest()
        if mobility is not None and trajectory is not None:
            from nmoe_sim.engine.link_samples import sample_links
            from nmoe_sim.engine.motion import Motion

            Motion(
                env,
                topology,
                mobility,
                trajectory,
                handover=handover,
                rsrp_dbm=simulation.received_dbm,
                abort=lambda links: network.abort(links, "link_down"),
                recorder=recorder,
                on_handover=network.quiet,
            )
            env.process(sample_links(simulation, mobility.record_every_s))
        if faults is not None and churns:
            names = [node.name for node in topology.devices]
            for name, outages in zip(names, faults.outages(names, streams), strict=True):
                env.process(simulation._churn(name, outages))
        return simulation

    def run(self, process: Generator[Event, Any, Any]) -> None:
        """Run the clock until a process is through.

        Raises
        ------
        RunError
            The process waits for what never comes, as one of a user's own may.
        """
        whole = self.env.process(process)
        try:
            self.env.run(whole)
        except RuntimeError as error:
            if whole.triggered or self.env.peek() < math.inf:
                raise
            raise RunError(
                "the clock has nothing more to do, and the run isn't over: something waits for what never comes; "
                "look at the protocol and at other parts of your own"
            ) from error

    def _watch_batteries(self) -> None:
        bands: dict[tuple[str, str], set[str | None]] = {}
        for group in self.groups:
            for link, allocation in zip(group.links, group.allocations, strict=True):
                if link.wired is None:  # a radio is on at most all the time in a band
                    bands.setdefault((link.src.name, "tx"), set()).add(allocation.band)
                    bands.setdefault((link.dst.name, "rx"), set()).add(allocation.band)
        for name, device in self.devices.items():
            if device.profile.battery_j is not None:
                num_tx, num_rx = (len(bands.get((name, way), ())) for way in ("tx", "rx"))
                self.availability.watch(name, device.tx_w * num_tx + device.rx_w * num_rx)

    def _churn(self, device: str, outages: Iterator[Outage]) -> Generator[Event, Any, None]:
        """Take a device down and up; the process may not end."""
        env, availability = self.env, self.availability
        for t_down_s, t_up_s in outages:
            yield env.timeout(max(0.0, t_down_s - env.now))
            if availability.why_down(device) is not None:  # for good
                return
            availability.take_down(device, "churn")
            yield env.timeout(max(0.0, t_up_s - env.now))
            availability.bring_up(device)

    @property
    def can_fail(self) -> bool:
        """Whether a device may go down, or a payload of training be given up."""
        given_up = self.ether.radio.retry.max_training_retries is not None
        return given_up or any(device.may_fail for device in self.devices.values())

    def is_up(self, device: str) -> bool:
        """Tell whether a device is up now."""
        return self.devices[device].is_up

    def why_down(self, device: str) -> Reason | None:
        """Return why a device is down now; None: it is up."""
        return self.availability.why_down(device)

    def battery_j_left(self, device: str) -> float:
        """Return the energy left in a device's battery now; infinite on mains."""
        return self.availability.battery_j_left(device)

    @property
    def is_static(self) -> bool:
        """Whether nobody ever moves."""
        return self.ether.sites.is_static

    def received_dbm(self, t_s: float) -> NDArray[np.float64]:
        """Return the mean power every device receives from every base station, [devices, stations].

        It is -inf where a device can't attach.
        """
        topology = self.topology
        num_devices, stations = len(topology.devices), topology.base_stations
        device, station = (
            x.ravel()
            for x in np.meshgrid(np.arange(num_devices), num_devices + np.arange(len(stations)), indexing="ij")
        )
        power_w = tx_power_w(self.ether.radio, stations[0])
        received_dbm = self.ether.received_dbm(station, device, power_w, t_s).reshape(num_devices, len(stations))
        return np.where(topology.attachable, received_dbm, -np.inf)

    def attach_to_strongest(self) -> None:
        """Attach every device to the base station it receives best, the first of equals."""
        received_dbm = self.received_dbm(self.env.now)
        for d in np.flatnonzero(self.topology.attachable.any(axis=1)).tolist():
            station = self.topology.base_stations[int(np.argmax(received_dbm[d]))]
            self.topology.attach(self.topology.devices[d].name, station.name)

    def mean_delay_s(self, src: str, dst: str, n_bytes: int, *, analog: bool = False) -> float:
        """Return the time a payload takes over its route without contention, at mean SNR.

        It is what a planner can know now, see ``Outlook``, who counts on devices that are away to come back.
        """
        outlook, topology = self.outlook(), self.topology
        if not topology.is_all_on:
            key = int(self.ether.sites.look(self.env.now)), -1 - topology.version
            if key not in self._outlook:
                self._outlook[key] = outlook.of(topology.snapshot(all_on=True))
            outlook = self._outlook[key]
        return outlook.delay_s(src, dst, n_bytes, analog=analog)

    def outlook(self) -> Outlook:
        """Return what can be known of the network now: positions as of the last look, links that are up.

        A hop that has no rate counts as the outage timeout where nodes move, since it may have one next time.
        """
        key = int(self.ether.sites.look(self.env.now)), self.topology.version
        if key in self._outlook:
            return self._outlook[key]
        known = next((outlook for (look, _), outlook in self._outlook.items() if look == key[0]), None)
        self._outlook.clear()
        if known is not None:  # the same gains, other links
            self._outlook[key] = known.of(self.topology.snapshot())
        else:
            rates_bps: dict[int, float] = {}
            analog_bps: dict[int, float] = {}
            sinr: dict[int, float] = {}
            for group in self.groups:
                index, sinr_now = [link.index for link in group.links], group.air.mean_sinr(self.env.now)
                rates_now = group.air.rates_bps_at(sinr_now).tolist()
                sinr.update(zip(index, sinr_now.tolist(), strict=False))
                rates_bps.update(zip(index, rates_now, strict=False))
                analog_bps.update(zip(index, rates_now[len(index) :], strict=False))
            self._outlook[key] = Outlook(
                self.topology if self.is_static and not self.can_fail else self.topology.snapshot(),
                rates_bps,
                analog_bps,
                sinr,
                {li.index: a.medium for g in self.groups for li, a in zip(g.links, g.allocations, strict=True)},
                self.network.access_delay_s,
                self.network.end_to_end,
                math.inf if self.is_static else self.ether.radio.outage_timeout_s,
            )
        return self._outlook[key]


def _media(
    env: Environment, topology: Topology, radio: RadioSection, ether: Ether, analog: bool
) -> tuple[list[PlannedTogether], dict[int, Place]]:
    """Set up the media: those of one band are planned together, or all where transfers take whole routes."""
    node = {name: i for i, name in enumerate(ether.sites.names)}
    end_to_end = radio.sharing.end_to_end
    members: dict[str, list[tuple[Link, Allocation]]] = {}
    for link, allocation in zip(topology.links, allocate(topology, radio), strict=True):
        key = "" if end_to_end else allocation.band or allocation.medium
        members.setdefault(key, []).append((link, allocation))
    groups: list[PlannedTogether] = []
    media: dict[int, Place] = {}
    for _, pairs in sorted(members.items()):
        links, allocations = [link for link, _ in pairs], [allocation for _, allocation in pairs]
        air = Air(links, allocations, ether, node, end_to_end=end_to_end, analog=analog)
        policy = EqualShare() if all(a.band is None for a in allocations) and not end_to_end else radio.sharing
        shared = policy.media(env, air)
        groups.append(PlannedTogether(links, allocations, air))
        for i, (link, allocation) in enumerate(pairs):
            analog_position = i + len(pairs) if analog and link.wired is None else i
            media[link.index] = Place(allocation.medium, i, analog_position, shared)
    return groups, media
