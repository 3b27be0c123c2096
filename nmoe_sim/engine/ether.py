"""What all radio links of a run have in common: where nodes are, gains between them, antennas."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from channels.channel import Propagation
from channels.sites import Sites
from channels.units import db_to_linear, dbm_to_watt, watt_to_dbm
from nmoe_sim.engine.beams import Beams
from nmoe_sim.engine.gains import LONGEST, GainCache
from nmoe_sim.engine.links import Node
from nmoe_sim.engine.radio.channel import refuse_nan
from nmoe_sim.engine.topology import Topology
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.scenario import RadioSection

if TYPE_CHECKING:
    from channels.mobility import Trajectory

FloatArray = NDArray[np.float64]


def tx_power_w(radio: RadioSection, node: Node) -> float:
    """Return the power a node radiates."""
    power_dbm = radio.base_station_tx_power_dbm if node.kind == "base_station" else radio.tx_power_dbm
    return float(dbm_to_watt(power_dbm))


def sites_of(
    topology: Topology, radio: RadioSection, trajectory: Trajectory | None = None, step_s: float = math.inf
) -> Sites:
    """Return where a topology's nodes are; devices, which come first, follow a trajectory by steps of ``step_s``."""
    xy_m = np.array([(node.x_m, node.y_m) for node in topology.nodes], dtype=np.float64).reshape(-1, 2)
    is_station = np.array([node.kind == "base_station" for node in topology.nodes], dtype=np.bool_)
    sites = Sites.static(
        xy_m,
        np.where(is_station, radio.base_station_height_m, radio.device_height_m),
        names=tuple(node.name for node in topology.nodes),
        ids=[_identity(topology, node) for node in topology.nodes],
        is_station=is_station,
    )
    if trajectory is None:
        return sites

    def positions_m(t_s: FloatArray) -> FloatArray:
        stations_m = np.broadcast_to(xy_m[is_station], (len(t_s), int(is_station.sum()), 2))
        return np.concatenate([trajectory.positions_m(t_s), stations_m], axis=1)

    return sites.moving(positions_m, step_s)


def _identity(topology: Topology, node: Node) -> int:
    """Return a node's number in random streams; it doesn't change when devices are added."""
    index = topology.index[node.name]
    return index if node.kind == "device" else (1 << 23) + index - len(topology.devices)


@dataclass(frozen=True)
class Ether:
    """Gains and antennas between all nodes."""

    sites: Sites
    propagation: Propagation
    gains: GainCache
    beams: Beams | None
    """None: all antennas are isotropic, of 0 dBi."""
    radio: RadioSection

    @classmethod
    def build(
        cls,
        topology: Topology,
        radio: RadioSection,
        streams: RandomStreams,
        trajectory: Trajectory | None = None,
        step_s: float = math.inf,
    ) -> Ether:
        """Set up the ether of a run."""
        sites = sites_of(topology, radio, trajectory, step_s)
        propagation = radio.channel.build(sites, radio, streams.uniform)
        antennas = (radio.base_station_antenna, radio.device_antenna)
        beams = None
        if any(antenna.kind != "isotropic" or antenna.gain_dbi for antenna in antennas):
            azimuth_deg = np.array([node.azimuth_deg for node in topology.nodes], dtype=np.float64)
            beams = Beams(sites, azimuth_deg, *antennas)
        lookback = math.ceil(radio.link_adaptation.report_delay_s / propagation.block_s)
        gains = GainCache(propagation, len(sites), lookback if lookback <= LONGEST else 0)
        return cls(sites, propagation, gains, beams, radio)

    @property
    def block_s(self) -> float:
        """Length of a coherence block; infinite: gains never change."""
        return self.propagation.block_s

    def time_of(self, block: int) -> float:
        """Return when a block starts."""
        return 0.0 if math.isinf(self.block_s) else block * self.block_s

    def received_dbm(self, src: NDArray[np.int64], dst: NDArray[np.int64], power_w: float, t_s: float) -> FloatArray:
        """Return mean received powers [n], beams at each other, without fast fading."""
        large = self.propagation.large_scale(src, dst, np.array([t_s], dtype=np.float64))
        refuse_nan(self.propagation, src, dst, t_s, large.mean_gain_db[0])
        received_w = power_w * db_to_linear(large.mean_gain_db[0])
        if self.beams is not None:
            received_w = received_w * self.beams.link_gain(src, dst, t_s)
        return watt_to_dbm(received_w)
