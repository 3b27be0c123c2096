"""Who receives what at full load, at places where nobody needs to be: large scale only, no fast fading."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from channels.channel import Channel, LargeScale
from channels.interference import interference_w
from channels.laws import AntennaLaw
from channels.sites import Sites
from channels.units import db_to_linear, thermal_noise_w
from nmoe_sim.engine.beams import Beams
from nmoe_sim.engine.ether import sites_of, tx_power_w
from nmoe_sim.engine.links import Node
from nmoe_sim.engine.spectrum import Allocation
from nmoe_sim.engine.topology import Topology
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.scenario import RadioSection

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_AT_ONCE = 4096
_TURNS = 64
"""Points that stand for all those an antenna turns to."""


class FullLoad:
    """T transmitters at P points, each with a receiver like a device's: arrays [T, P].

    Parameters
    ----------
    topology : Topology
    radio : RadioSection
        Its channel is made of laws.
    streams : RandomStreams
        Those of the run whose shadowing and line of sight it is.
    senders : sequence of (Node, Allocation)
        Transmitters and their media, all base stations or all devices.
    points_m : ndarray of float64 [P, 2]
    """

    def __init__(
        self,
        topology: Topology,
        radio: RadioSection,
        streams: RandomStreams,
        senders: Sequence[tuple[Node, Allocation]],
        points_m: FloatArray,
    ) -> None:
        nodes, which = sites_of(topology, radio), [topology.index[node.name] for node, _ in senders]
        num_points = len(points_m)
        sites = Sites.static(
            np.concatenate([topology.positions_m[which], points_m]),
            np.append(nodes.heights_m[which], np.full(num_points, radio.device_height_m)),
            ids=np.append(nodes.ids[which], len(topology.devices) + np.arange(num_points)),
            is_station=np.append(nodes.is_station[which], np.zeros(num_points, np.bool_)),
        )
        azimuth_deg = np.array([node.azimuth_deg for node, _ in senders], dtype=np.float64)
        by_stations = bool(nodes.is_station[which[0]])
        self._antenna: AntennaLaw = radio.base_station_antenna if by_stations else radio.device_antenna
        self._own_antenna: AntennaLaw = radio.device_antenna
        self._band = np.array([allocation.band for _, allocation in senders])
        self._medium = np.array([allocation.medium for _, allocation in senders])
        self._tx_w = np.array([tx_power_w(radio, node) for node, _ in senders])
        occupied_hz = [radio.link_adaptation.occupied_hz(allocation.bandwidth_hz) for _, allocation in senders]
        self._noise_w = thermal_noise_w(occupied_hz, radio.noise_figure_db)
        tx, rx = np.arange(len(senders)), len(senders) + np.arange(num_points)
        beams = Beams(
            sites,
            np.append(azimuth_deg, np.full(num_points, np.nan)),
            radio.base_station_antenna,
            radio.device_antenna,
        )
        self._boresight_rad = np.deg2rad(azimuth_deg)
        pairs = np.broadcast_arrays(tx[:, None], rx)
        # azimuths from east and elevations [T, P] in which transmitters see points, and points them
        self._to_points, self._to_senders = (beams.direction(a, b, 0.0) for a, b in (pairs, pairs[::-1]))
        self.large: LargeScale = _large_scale(radio.channel.build(sites, radio, streams.uniform), tx, rx)
        reach_m = None if by_stations else topology.sidelink_range_m
        self._in_reach = self.large.distance_2d_m <= (math.inf if reach_m is None else reach_m)

    @cached_property
    def received_w(self) -> FloatArray:
        """Mean powers received, antennas included, beams at each other [T, P]."""
        boresight_rad, azimuth_rad = self._boresight_rad[:, None], self._to_points[0]
        off_rad = np.where(np.isnan(boresight_rad), 0.0, azimuth_rad - boresight_rad)
        turned_rad = np.zeros(off_rad.shape)
        antennas_db = sum(
            antenna.gain_db(antenna.beam_towards(*direction), *direction)
            for antenna, direction in (
                (self._antenna, (off_rad, self._to_points[1])),
                (self._own_antenna, (turned_rad, self._to_senders[1])),
            )
        )
        return np.asarray(self._tx_w[:, None] * db_to_linear(self.large.mean_gain_db + antennas_db))

    @cached_property
    def serving(self) -> IntArray:
        """Transmitter that each point receives best of those in reach [P], the first of equals."""
        best: IntArray = np.argmax(np.where(self._in_reach, self.received_w, -1.0), axis=0)
        return best

    @property
    def own(self) -> tuple[IntArray, IntArray]:
        """Where in arrays [T, P] each point's own transmitter is."""
        return self.serving, np.arange(len(self.serving))

    @cached_property
    def is_served(self) -> BoolArray:
        """Whether any transmitter is in reach [P]."""
        return np.asarray(self._in_reach.any(axis=0))

    @property
    def noise_w(self) -> FloatArray:
        """Noise powers in the band of who serves each point [P]."""
        return self._noise_w[self.serving]

    @cached_property
    def interference_w(self) -> FloatArray:
        """Mean power that each point receives from others than who serves it [P].

        They are those of its band but another medium who serve any point at all. They send all the time, in turn to
        the points they serve, so each is heard with the mean gain of its beams; the receiver's points at its own.
        """
        heard = (self._band[:, None] == self._band[self.serving]) & (
            self._medium[:, None] != self._medium[self.serving]
        )
        heard &= np.bincount(self.serving[self.is_served], minlength=len(self._band))[:, None] > 0
        gain = np.zeros(heard.shape)
        for sender in np.flatnonzero(heard.any(axis=1)).tolist():
            gain[sender] = self._mean_beam_gain(sender)
        azimuth_rad, elevation_rad = self._to_senders
        own_beam = self._own_antenna.beam_towards(np.zeros(heard.shape[1]), elevation_rad[self.own])
        own_gain_db = self._own_antenna.gain_db(own_beam, azimuth_rad - azimuth_rad[self.own], elevation_rad)
        gain *= db_to_linear(self.large.mean_gain_db + own_gain_db)
        return interference_w(gain, self._tx_w, serving=self.serving, interferes=heard)

    def _mean_beam_gain(self, sender: int) -> FloatArray:
        """Return the gain of a transmitter's antenna towards each point [P], on average over whom it serves."""
        azimuth_rad, elevation_rad = (axis[sender] for axis in self._to_points)
        own = np.flatnonzero(self.is_served & (self.serving == sender))
        gain = np.zeros(len(azimuth_rad))
        if np.isnan(self._boresight_rad[sender]):  # it turns to each; some will do
            some = own[np.linspace(0, len(own) - 1, min(len(own), _TURNS), dtype=np.int64)]
            for user in some.tolist():
                beam = self._antenna.beam_towards(np.zeros(1), elevation_rad[[user]])
                off_rad = azimuth_rad - azimuth_rad[user]
                gain += db_to_linear(self._antenna.gain_db(beam, off_rad, elevation_rad)) / len(some)
            return gain
        azimuth_rad = azimuth_rad - self._boresight_rad[sender]
        beams, users = np.unique(self._antenna.beam_towards(azimuth_rad[own], elevation_rad[own]), return_counts=True)
        for beam, share in zip(beams, users / users.sum(), strict=True):
            gain += share * db_to_linear(self._antenna.gain_db(beam, azimuth_rad, elevation_rad))
        return gain


def _large_scale(channel: Channel, tx: IntArray, rx: IntArray) -> LargeScale:
    """Return the state of all pairs [T, P]; what a field needs to know of a point takes 8 kB, so some at a time."""
    parts = [vars(channel.large_scale_matrix(tx, rx[i : i + _AT_ONCE], 0.0)) for i in range(0, len(rx), _AT_ONCE)]
    return LargeScale(**{name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]})
