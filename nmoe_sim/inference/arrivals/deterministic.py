"""Periodic arrivals."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.inference.arrivals.per_client import Offsets, Rates, check_length, value_of
from nmoe_sim.inference.arrivals.process import Arrivals
from nmoe_sim.rng import RandomStreams


class Deterministic(Arrivals):
    """One request every 1/``rate_hz`` seconds, as a sensor or a camera sends them.

    By default all clients ask at the same instants, from the start on: the hardest case for shared media.
    """

    kind: ClassVar[str] = "deterministic"

    rate_hz: Rates = 1.0
    """Requests per second of each client, 1/period: a number for all, or a list of one number a client."""
    offset_s: Offsets | Literal["random"] = 0.0
    """First request: a number for all clients, a list of one number a client, or ``random``: uniform in a period."""

    def check(self, num_clients: int, duration_s: float) -> None:
        """See the base class."""
        check_length(self.rate_hz, num_clients, "rate_hz")
        if self.offset_s != "random":
            check_length(self.offset_s, num_clients, "offset_s")

    def times_s(self, client: int, duration_s: float, streams: RandomStreams) -> NDArray[np.float64]:
        """See the protocol; request k comes at offset + k / rate."""
        rate_hz = self.mean_rate_hz(client)
        if rate_hz == 0:
            return np.empty(0)
        if self.offset_s == "random":
            offset_s = float(streams.uniform("arrivals_offset", client)) / rate_hz
        else:
            offset_s = value_of(self.offset_s, client, "offset_s")
        count = max(0, int(np.ceil((duration_s - offset_s) * rate_hz))) + 1
        times_s = offset_s + np.arange(count) / rate_hz
        return times_s[times_s < duration_s]

    def mean_rate_hz(self, client: int) -> float:
        """See the protocol."""
        return value_of(self.rate_hz, client, "rate_hz")
