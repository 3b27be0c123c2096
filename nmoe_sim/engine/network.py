"""Moves payloads over routes of links, through media that share their spectrum; what fails is tried again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from simpy import Environment
from simpy.events import Event, Timeout

from nmoe_sim.engine.device import Device
from nmoe_sim.engine.links import Link
from nmoe_sim.engine.payload import Payload
from nmoe_sim.engine.routes import NoRouteError
from nmoe_sim.engine.sharing.media import Airtime, Ended, Leg, Media, Outcome
from nmoe_sim.engine.topology import Topology
from nmoe_sim.errors import RunError
from nmoe_sim.results.recorder import Recorder
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.scenario import RadioSection

MAX_ATTEMPTS = 10_000
"""Attempts after which training gives a payload up, and the run: the network can't carry it."""


class Place(NamedTuple):
    """Where a link's transfers go."""

    medium: str
    position: int
    """The link's position in its media."""
    analog_position: int
    """Its position for analog payloads; the same on a wire."""
    media: Media


class Network:
    """Transfers between devices.

    Store and forward: a hop starts when the whole payload has arrived at its sender; or, where the sharing
    policy is end-to-end, all hops of a route carry it at once. Sender and receiver draw power for the time
    their radios are on for the hop, so a radio that carries several transfers draws its power once. A
    payload from a device to itself takes no time and leaves no row.

    A hop that fails (HARQ gave a block up, no rate for too long, the link went away) leaves a row and is
    tried again from where the payload is, over the route of then, with growing pauses: in inference
    ``radio.retry.max_retries`` times a hop; in training ``radio.retry.max_training_retries`` times, or until it gets
    through. A device that goes down loses what it holds, and nobody tries further to get anything to it: such payloads
    are given up at once (one that is on air elsewhere ends its hop, for nothing). What is sent again is what is
    missing: the blocks that were given up, and what had not been sent, as radio bearers do that acknowledge (RLC AM; at
    a handover, the old base station forwards what it has; that isn't charged to the backhaul; a device forwards
    nothing). What has reached ``dst`` isn't sent again over later hops either. A payload without a route is tried
    again alike, but leaves no row.

    How often the last block had to be sent delays it: HARQ's mean number of retransmissions is rounded up or
    down at random, so that it keeps its mean.

    Parameters
    ----------
    env : simpy.Environment
    topology : Topology
    devices : mapping of str to Device
        Every node's device, by name.
    media : mapping of int to Place
        For each link's index.
    recorder : Recorder
        Gets one ``transfers`` row a hop and attempt, when it ends.
    radio : RadioSection
    streams : RandomStreams
        Streams ``loss`` and ``harq``, by what is sent, for which request or round, from and to whom, over which
        hop and attempt.
    """

    def __init__(
        self,
        env: Environment,
        topology: Topology,
        devices: Mapping[str, Device],
        media: Mapping[int, Place],
        recorder: Recorder,
        radio: RadioSection,
        streams: RandomStreams,
    ) -> None:
        self.env = env
        self.topology = topology
        self.access_delay_s = radio.access_delay_s
        self._devices = devices
        self._media = media
        self._shared = list({id(place.media): place.media for place in media.values()}.values())
        self._rows = recorder.rows["transfers"]
        self._spilled = recorder.spilled
        self._retry = radio.retry
        self.end_to_end: bool = radio.sharing.end_to_end
        self._streams = streams
        self._quiet_until_s: dict[str, float] = {}
        self._num_payloads = 0
        self._num_broken_off = 0
        self._open: dict[int, Payload] = {}  # where devices may go down
        self._watches = any(device.may_fail for device in devices.values())
        self._in_tail: dict[int, Payload] = {}

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
        analog: bool = False,
    ) -> Event:
        """Send a payload; the event returned fires when its last bit is at ``dst``, or when it is given up.

        An ``analog`` payload is values sent as they are, two in a complex symbol, without coding or HARQ: its rate is
        ``air.ANALOG_BPS_PER_HZ`` on every radio hop, and what noise does to it is told by the hops' ``sinr_db``. Relays
        forward what they receive; wires carry its values as floats, exactly. What is tried again is what is missing.

        The event's value tells whether it was delivered. It is False at once, and there is no row, while one of the
        two is down.

        Raises
        ------
        NoRouteError
            If nothing ever connects the two.
        """
        delivered = Event(self.env)
        if src == dst or not (self._devices[src].is_up and self._devices[dst].is_up):
            return delivered.succeed(self._devices[src].is_up and self._devices[dst].is_up)
        version = self.topology.version
        try:
            route = self.topology.route(src, dst)
        except NoRouteError:
            if not self.topology.is_connectable(src, dst):
                if self.topology.lacks_nodes:
                    return delivered.succeed(False)
                raise
            route = ()
        payload = Payload(
            self._num_payloads, src, dst, route, version, n_bytes, kind, request_id, stage, round, delivered, analog
        )
        self._num_payloads += 1
        if self._watches:
            self._open[payload.id] = payload
        self._start_hop(payload, src)
        return delivered

    def quiet(self, name: str, until_s: float) -> None:
        """Let nothing start from or to a node until then."""
        self._quiet_until_s[name] = until_s

    def lose(self, name: str) -> None:
        """Give up every payload that a device holds, or that is for it; call it after the abort of its links."""
        for payload in [one for one in self._open.values() if name in (one.at, one.dst)]:
            self._end(payload, False)

    def _end(self, payload: Payload, delivered: bool) -> None:
        self._open.pop(payload.id, None)
        payload.delivered.succeed(delivered)

    def on_air_j(self, name: str) -> float | None:
        """Return what a node's radio has drawn so far for hops that aren't booked yet; None: there are none."""
        device, drawn_j, found = self._devices[name], 0.0, False
        in_tail = [
            (one, [Airtime(leg.tx_airtime_s, leg.rx_airtime_s) for leg in one.tail[0].legs])
            for one in self._in_tail.values()
            if one.tail is not None
        ]
        for payload, legs in chain(in_tail, *(media.under_way() for media in self._shared)):
            for link, leg in zip(payload.links, legs, strict=True):
                if link.wired is None and name in (link.src.name, link.dst.name):
                    found = True
                    sends = link.src.name == name
                    drawn_j += device.tx_w * leg.tx_airtime_s if sends else device.rx_w * leg.rx_airtime_s
        return drawn_j if found else None

    def abort(self, links: Sequence[Link], outcome: Outcome) -> int:
        """Break off what is under way on links; returns how many transfers that were."""
        by_media: dict[int, tuple[Media, list[int]]] = {}
        for link in links:
            _, position, analog_position, media = self._media[link.index]
            by_media.setdefault(id(media), (media, []))[1].extend((position, analog_position))
        before = self._num_broken_off
        for media, positions in by_media.values():
            media.abort(positions, outcome)
        gone = {link.index for link in links}
        for payload in [one for one in self._in_tail.values() if not gone.isdisjoint(li.index for li in one.links)]:
            self._num_broken_off += 1
            self._through(payload, outcome)
        return self._num_broken_off - before

    # --- the life of a hop -----------------------------------------------------------------------------

    def _start_hop(self, payload: Payload, at: str, t_ready_s: float | None = None) -> None:
        payload.at = at
        if self._watches and not (self._devices[at].is_up and self._devices[payload.dst].is_up):
            self._end(payload, False)
            return
        payload.t_ready_s = self.env.now if t_ready_s is None else t_ready_s
        if payload.version != self.topology.version or not payload.route:
            payload.version = self.topology.version
            try:
                payload.route = self.topology.route(at, payload.dst)
            except NoRouteError:
                payload.route = ()
                if self.topology.lacks_nodes and not self.topology.is_connectable(at, payload.dst):
                    self._end(payload, False)
                else:
                    self._try_again(payload, at)
                return
        before, payload.links = payload.links, payload.route if self.end_to_end else payload.route[:1]
        if payload.bits_left < payload.bits_to_go:  # some is at the end of the link before
            ends = {before[0].dst, payload.links[0].dst}
            if len(ends) > 1 and any(node.kind == "device" for node in ends):
                payload.bits_left = payload.bits_to_go
        wait_s = sum([self.access_delay_s for link in payload.links if link.wired is None])
        if self._quiet_until_s:
            wait_s = max(wait_s, self._quiet_end_s(payload.links) - self.env.now)
        if wait_s:
            wait = Timeout(self.env, wait_s)
            wait.callbacks.append(lambda _: self._put_on_air(payload))
        else:
            self._put_on_air(payload)

    def _put_on_air(self, payload: Payload) -> None:
        if payload.delivered.triggered:  # given up meanwhile
            return
        if payload.version != self.topology.version:  # something moved meanwhile
            links = payload.links
            if self._quiet_end_s(links) > self.env.now or not all(map(self.topology.is_up, links)):
                self._start_hop(payload, links[0].src.name, t_ready_s=payload.t_ready_s)
                return
        payload.t_start_s = self.env.now
        places = [self._media[link.index] for link in payload.links]
        media = places[0].media
        positions = tuple([place.analog_position if payload.analog else place.position for place in places])
        media.start(positions, payload.bits_left, self._off_air, payload)
        if self._watches:
            for link in payload.links:
                for node in (link.src, link.dst):
                    if (on_load := self._devices[node.name].on_load) is not None:
                        on_load()

    def _quiet_end_s(self, links: Iterable[Link]) -> float:
        """Return when nothing keeps the ends of links from starting any more."""
        return max(self._quiet_until_s.get(name, 0.0) for link in links for name in (link.src.name, link.dst.name))

    def _off_air(self, payload: Any, ended: Ended) -> None:
        """Wait for the tail of the last bit: HARQ's and the wire's delay; then book the hop."""
        link, leg = payload.links[0], ended.legs[0]
        is_plain = ended.outcome == "delivered" and len(ended.legs) == 1 and link.wired is None
        if is_plain and not leg.loss_exponent and not leg.last_retransmissions:  # nothing to wait for, nothing to draw
            self._book(payload, payload.hop, link, leg, 0.0, math.ceil(ended.bits_sent / 8.0), "delivered")
            self._next_hop(payload)
            return
        tails_s = [0.0] * len(ended.legs)
        if ended.outcome == "delivered":
            for i, (link, leg) in enumerate(zip(payload.links, ended.legs, strict=True)):
                if link.wired is not None:
                    tails_s[i] = link.wired.delay_s
                elif leg.last_retransmissions:
                    whole, part = divmod(leg.last_retransmissions, 1.0)
                    again = whole + (self._draw("harq", payload, link) < part)
                    tails_s[i] = again * leg.retransmission_delay_s
        else:
            self._num_broken_off += 1
        if tail_s := sum(tails_s):
            payload.tail = tail = ended, tails_s, self.env.now
            self._in_tail[payload.id] = payload
            timer = Timeout(self.env, tail_s)
            timer.callbacks.append(lambda _: self._through(payload, None) if payload.tail is tail else None)
        else:
            self._end_hop(payload, ended, tails_s, self.env.now, None)

    def _through(self, payload: Payload, broken: Outcome | None) -> None:
        """End the tail: the last bit is through, or ``broken`` says why not."""
        assert payload.tail is not None
        ended, tails_s, t_off_s = payload.tail
        payload.tail = None
        del self._in_tail[payload.id]
        self._end_hop(payload, ended, tails_s, t_off_s, broken)

    def _end_hop(
        self, payload: Payload, ended: Ended, tails_s: list[float], t_off_s: float, broken: Outcome | None
    ) -> None:
        """Book the hop, then go on from where the payload is."""
        bits_sent, outcome = ended.bits_sent, broken or ended.outcome
        block_bits = min([leg.block_bits for leg in ended.legs])
        lost_bits = 0.0
        exponent = sum([leg.loss_exponent for leg in ended.legs])
        if exponent > 0 and self._draw("loss", payload, payload.links[0]) < -math.expm1(-exponent):
            lost_bits = max(1, round(exponent / -math.expm1(-exponent))) * block_bits
            outcome = "lost" if outcome == "delivered" else outcome
        if broken:
            lost_bits = max(lost_bits, block_bits)
            tails_s = [self.env.now - t_off_s, *([0.0] * (len(tails_s) - 1))]
        bytes_sent = math.ceil(bits_sent / 8.0) if ended.outcome == "delivered" else int(bits_sent / 8.0)
        for offset, (link, leg, tail_s) in enumerate(zip(payload.links, ended.legs, tails_s, strict=True)):
            self._book(payload, payload.hop + offset, link, leg, tail_s, bytes_sent, outcome)
        if outcome == "delivered":
            self._next_hop(payload)
            return
        payload.bits_left = min(payload.bits_left, max(8.0, payload.bits_left - bits_sent + lost_bits))
        if payload.links[-1].dst.name == payload.dst:
            payload.bits_to_go = payload.bits_left
        payload.t_ready_s = self.env.now
        self._try_again(payload, payload.links[0].src.name)

    def _draw(self, name: str, payload: Payload, link: Link) -> float:
        """Draw for an attempt at a hop: a function of what is sent, and what for, not of what else is."""
        index = self.topology.index
        return self._streams.uniform(
            f"{name}/{payload.stage}/{payload.kind}",
            0 if payload.request_id is None else payload.request_id + 1,
            0 if payload.round is None else payload.round + 1,
            index[payload.src],
            index[payload.dst],
            index[link.src.name],
            index[link.dst.name],
            payload.hop,
            payload.attempt,
        ).item()

    def _next_hop(self, payload: Payload) -> None:
        payload.route = payload.route[len(payload.links) :]
        payload.hop += len(payload.links)
        payload.attempt = 0
        payload.bits_left = payload.bits_to_go
        at = payload.links[-1].dst.name
        if payload.delivered.triggered:  # given up meanwhile
            return
        if at == payload.dst:
            self._end(payload, True)
        else:
            self._start_hop(payload, at)

    def _try_again(self, payload: Payload, at: str) -> None:
        if payload.delivered.triggered:
            return
        retry = self._retry
        most = retry.max_retries if payload.stage is None else retry.max_training_retries
        if not (self._devices[at].is_up and self._devices[payload.dst].is_up) or (
            most is not None and payload.attempt >= most
        ):
            self._end(payload, False)
            return
        if payload.attempt >= MAX_ATTEMPTS:
            raise RunError(
                f"a payload of {payload.n_bytes:,} bytes ({payload.stage}, {payload.kind}) did not get from {at} to "
                f"{payload.dst} in {MAX_ATTEMPTS:,} attempts; bring them closer, or raise power or bandwidth"
            )
        payload.attempt += 1
        pause_s = min(retry.max_backoff_s, retry.backoff_s * 2.0 ** min(payload.attempt - 1, 60))
        pause = Timeout(self.env, pause_s)
        pause.callbacks.append(lambda _: self._after_pause(payload, at))

    def _after_pause(self, payload: Payload, at: str) -> None:
        if not payload.delivered.triggered:  # else given up meanwhile
            self._start_hop(payload, at, t_ready_s=payload.t_ready_s)

    def _book(
        self, payload: Payload, hop: int, link: Link, leg: Leg, tail_s: float, bytes_sent: int, outcome: Outcome
    ) -> None:
        src, dst = self._devices[link.src.name], self._devices[link.dst.name]
        wired = link.wired is not None
        tx_energy_j = 0.0 if wired else src.tx_w * leg.tx_airtime_s
        rx_energy_j = 0.0 if wired else dst.rx_w * leg.rx_airtime_s
        training = payload.stage is not None
        src.energy.add("tx", training, tx_energy_j)
        dst.energy.add("rx", training, rx_energy_j)
        now = self.env.now
        duration_s = now - payload.t_start_s
        rows = self._rows
        rows.append(
            (
                self._spilled["transfers"] + len(rows),
                payload.id,
                hop,
                payload.attempt,
                payload.request_id,
                payload.stage,
                payload.round,
                src.name,
                dst.name,
                self._media[link.index].medium,
                payload.kind,
                payload.n_bytes,
                bytes_sent,
                payload.t_ready_s,
                payload.t_start_s,
                now,
                None if wired else leg.tx_airtime_s,
                None if wired else leg.rx_airtime_s,
                tail_s,
                None if wired else 10.0 * math.log10(leg.sinr) if leg.sinr > 0 else -math.inf,
                8.0 * bytes_sent / duration_s if duration_s > 0 else None,
                leg.retransmissions,
                tx_energy_j,
                rx_energy_j,
                outcome,
            )
        )
