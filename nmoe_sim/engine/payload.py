"""What the network has in its hands: a payload on its way."""

from __future__ import annotations

from simpy.events import Event

from nmoe_sim.engine.links import Link
from nmoe_sim.engine.sharing.media import Ended


class Payload:
    """A payload under way: where it is, and what is left of it."""

    __slots__ = ("analog", "at", "attempt", "bits_left", "bits_to_go", "delivered", "dst", "hop", "id", "kind", "links",
                 "n_bytes", "request_id", "round", "route", "src", "stage", "t_ready_s", "t_start_s", "tail",
                 "version")  # fmt: skip

    def __init__(
        self,
        id: int,
        src: str,
        dst: str,
        route: tuple[Link, ...],
        version: int,
        n_bytes: int,
        kind: str,
        request_id: int | None,
        stage: str | None,
        round: int | None,
        delivered: Event,
        analog: bool,
    ) -> None:
        self.id = id
        self.src = src
        self.at = src  # who holds it, the sender of the hop it is on
        self.dst = dst
        self.route = route  # what is left of it
        self.version = version  # of the topology it was found in
        self.n_bytes = n_bytes
        self.kind = kind
        self.request_id = request_id
        self.stage = stage
        self.round = round
        self.delivered = delivered
        self.analog = analog
        self.hop = 0
        self.attempt = 0
        self.bits_to_go = 8.0 * n_bytes  # what ``dst`` hasn't
        self.bits_left = self.bits_to_go  # of this hop
        self.links: tuple[Link, ...] = ()  # what it is on now
        self.tail: tuple[Ended, list[float], float] | None = None  # its last bit was sent, when, but isn't through
        self.t_ready_s = 0.0
        self.t_start_s = 0.0
