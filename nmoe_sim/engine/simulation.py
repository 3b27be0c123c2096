"""The live bundle of a run: clock, topology, devices, network, recorder, random streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from simpy import Environment

from channels.channel import Channel
from channels.geometry import LinkGeometry
from channels.units import linear_to_db
from nmoe_sim.engine.device import Device
from nmoe_sim.engine.link_rates import LinkRates, tx_power_w
from nmoe_sim.engine.network import Network
from nmoe_sim.engine.sharing import Medium
from nmoe_sim.engine.topology import Link, Node, NoRouteError, Topology
from nmoe_sim.results.recorder import Recorder
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.scenario import RadioSection


@dataclass(frozen=True)
class Simulation:
    """Everything the processes of a run act on."""

    env: Environment
    topology: Topology
    devices: dict[str, Device]
    network: Network
    links: dict[str, tuple[list[Link], LinkRates, Channel]]
    """Links, rates and channel of each medium."""
    recorder: Recorder
    streams: RandomStreams

    @classmethod
    def build(
        cls,
        topology: Topology,
        profiles: Mapping[str, DeviceProfile],
        radio: RadioSection,
        streams: RandomStreams,
        recorder: Recorder | None = None,
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
        """
        env = Environment()
        recorder = recorder or Recorder()
        devices = {}
        for node in topology.nodes:
            profile = profiles[node.name]
            tx_w = profile.tx_circuit_w + tx_power_w(radio, node) / profile.amplifier_efficiency
            devices[node.name] = Device(env, node.name, profile, tx_w=tx_w, recorder=recorder)
        grouped: dict[str, list[Link]] = {}
        for link in topology.links:
            grouped.setdefault("shared" if radio.duplex == "half" else link.medium, []).append(link)
        links = {}
        media: dict[int, tuple[str, int, Medium]] = {}
        for name, members in sorted(grouped.items()):
            channel = _channel(members, topology, radio, streams)
            rates = LinkRates(members, channel, radio)
            links[name] = (members, rates, channel)
            medium = radio.sharing.medium(env, rates)
            media.update({link.index: (name, i, medium) for i, link in enumerate(members)})
        network = Network(env, topology, devices, media, recorder, radio.access_delay_s)
        return cls(env, topology, devices, network, links, recorder, streams)

    def mean_delay_s(self, src: str, dst: str, n_bytes: int) -> float:
        """Return the time a payload takes over its route without contention, at mean SNR.

        It is what a planner can know: the sum over hops of access delay and size over rate. Infinite
        without a route, 0 from a device to itself.
        """
        try:
            hops = self.topology.route(src, dst)
        except NoRouteError:
            return float("inf")
        rates = self._mean_rates_bps
        return sum(self.network.access_delay_s + 8.0 * n_bytes / rates[link.index] for link in hops)

    @cached_property
    def _mean_rates_bps(self) -> dict[int, float]:
        return {
            link.index: float(rate)
            for members, rates, _ in self.links.values()
            for link, rate in zip(members, rates.rates_bps(rates.mean_snr()), strict=True)
        }

    def record_links(self, num_samples: int) -> None:
        """Write ``links`` rows: every link at ``num_samples`` coherence blocks spread over the time so far."""
        for name, (members, rates, channel) in self.links.items():
            block_s = 0.0 if np.isinf(rates.block_s) else rates.block_s
            last = int(self.env.now / block_s) if block_s else 0
            blocks = np.unique(np.linspace(0, last, num_samples, dtype=np.int64)) if last else np.zeros(1, np.int64)
            snr = rates.snr(blocks)
            rate_bps, snr_db = rates.rates_bps(snr), linear_to_db(snr)
            for t, block in enumerate(blocks.tolist()):
                for i, link in enumerate(members):
                    self.recorder.rows["links"].append(
                        (
                            link.src.name,
                            link.dst.name,
                            name,
                            block * block_s,
                            link.distance_m,
                            bool(channel.is_los[i]),
                            -float(channel.mean_gain_db[i]),
                            float(snr_db[t, i]),
                            float(rate_bps[t, i]),
                        )
                    )


def _identity(topology: Topology, node: Node) -> int:
    """Return a node's number in random streams; it doesn't change when devices are added."""
    index = topology.index[node.name]
    return index if node.kind == "device" else (1 << 23) + index - len(topology.devices)


def _channel(links: Sequence[Link], topology: Topology, radio: RadioSection, streams: RandomStreams) -> Channel:
    """Build the channel of a medium's links; both directions of a pair share its large-scale gain."""
    height_m = {"base_station": radio.base_station_height_m, "device": radio.device_height_m}
    ends = [(height_m[link.src.kind], height_m[link.dst.kind]) for link in links]
    ids = np.array([(_identity(topology, li.src), _identity(topology, li.dst)) for li in links], dtype=np.int64)
    return Channel(
        LinkGeometry(
            distance_2d_m=np.array([link.distance_m for link in links]),
            height_a_m=np.array([max(pair) for pair in ends]),
            height_b_m=np.array([min(pair) for pair in ends]),
        ),
        carrier_hz=radio.carrier_hz,
        path_loss=radio.path_loss,
        shadowing=radio.shadowing,
        fading=radio.fading,
        uniform=streams.uniform,
        link_ids=(ids[:, 0] << 24) | ids[:, 1],
        pair_ids=(ids.min(axis=1) << 24) | ids.max(axis=1),
    )
