"""Moves payloads over routes of links, hop by hop, through media that share their spectrum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simpy import Environment
from simpy.events import Event, Timeout

from nmoe_sim.engine.device import Device
from nmoe_sim.engine.sharing import Medium
from nmoe_sim.engine.topology import Link, Topology
from nmoe_sim.results.recorder import Recorder


class _Payload:
    __slots__ = ("delivered", "hop", "id", "kind", "n_bytes", "request_id", "round", "route", "stage", "t_ready_s",
                 "t_start_s")  # fmt: skip

    def __init__(
        self,
        id: int,
        route: tuple[Link, ...],
        n_bytes: int,
        kind: str,
        request_id: int | None,
        stage: str | None,
        round: int | None,
        delivered: Event,
    ) -> None:
        self.id = id
        self.route = route
        self.n_bytes = n_bytes
        self.kind = kind
        self.request_id = request_id
        self.stage = stage
        self.round = round
        self.delivered = delivered
        self.hop = 0
        self.t_ready_s = 0.0
        self.t_start_s = 0.0


class Network:
    """Store-and-forward transfers between devices.

    A hop starts when the whole payload has arrived at its sender. Sender and receiver draw power for
    the airtime the medium gives to the hop, so a radio that carries several transfers draws its power
    once. A payload from a device to itself takes no time and leaves no row.

    Parameters
    ----------
    env : simpy.Environment
    topology : Topology
    devices : mapping of str to Device
        Every node's device, by name.
    media : mapping of int to (str, int, Medium)
        For each link's index: name of its medium, the link's position in it, the medium.
    recorder : Recorder
        Gets one ``transfers`` row a hop, when it ends.
    access_delay_s : float
        Time a payload waits before its first bit on every hop; it draws no power.
    """

    def __init__(
        self,
        env: Environment,
        topology: Topology,
        devices: Mapping[str, Device],
        media: Mapping[int, tuple[str, int, Medium]],
        recorder: Recorder,
        access_delay_s: float = 0.0,
    ) -> None:
        self.env = env
        self.topology = topology
        self._devices = devices
        self._media = media
        self._rows = recorder.rows["transfers"]
        self._spilled = recorder.spilled
        self.access_delay_s = access_delay_s
        self._num_payloads = 0

    def send(
        self,
        src: str,
        dst: str,
        n_bytes: int,
        kind: str,
        *,
        request_id: int | None = None,
        stage: str | None = None,
        round: int | None = None,
    ) -> Event:
        """Send a payload; the event returned fires when its last bit is at ``dst``.

        Raises
        ------
        NoRouteError
            If no route connects the two.
        """
        delivered = Event(self.env)
        route = self.topology.route(src, dst)
        if not route:
            return delivered.succeed()
        payload = _Payload(self._num_payloads, route, n_bytes, kind, request_id, stage, round, delivered)
        self._num_payloads += 1
        self._start_hop(payload)
        return delivered

    def _start_hop(self, payload: _Payload) -> None:
        payload.t_ready_s = self.env.now
        if self.access_delay_s:
            access = Timeout(self.env, self.access_delay_s)
            access.callbacks.append(lambda _: self._put_on_air(payload))
        else:
            self._put_on_air(payload)

    def _put_on_air(self, payload: _Payload) -> None:
        payload.t_start_s = self.env.now
        _, position, medium = self._media[payload.route[payload.hop].index]
        medium.start(position, 8.0 * payload.n_bytes, self._end_hop, payload)

    def _end_hop(self, payload: Any, airtime_s: float) -> None:
        link: Link = payload.route[payload.hop]
        src, dst = self._devices[link.src.name], self._devices[link.dst.name]
        training = payload.stage is not None
        tx_energy_j = src.tx_w * airtime_s
        rx_energy_j = dst.rx_w * airtime_s
        src.energy.add("tx", training, tx_energy_j)
        dst.energy.add("rx", training, rx_energy_j)
        t_start_s, t_end_s = payload.t_start_s, self.env.now
        duration_s = t_end_s - t_start_s
        rows = self._rows
        rows.append(
            (
                self._spilled["transfers"] + len(rows),
                payload.id,
                payload.hop,
                payload.request_id,
                payload.stage,
                payload.round,
                src.name,
                dst.name,
                self._media[link.index][0],
                payload.kind,
                payload.n_bytes,
                payload.t_ready_s,
                t_start_s,
                t_end_s,
                airtime_s,
                8.0 * payload.n_bytes / duration_s if duration_s > 0 else None,
                tx_energy_j,
                rx_energy_j,
                "delivered",
            )
        )
        payload.hop += 1
        if payload.hop < len(payload.route):
            self._start_hop(payload)
        else:
            payload.delivered.succeed()
