"""Poisson arrivals."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.inference.arrivals.per_client import Rates, check_length, value_of
from nmoe_sim.inference.arrivals.process import Arrivals, unit_poisson
from nmoe_sim.rng import RandomStreams


class Poisson(Arrivals):
    """Poisson process, independent over clients: the gaps are exponential."""

    kind: ClassVar[str] = "poisson"

    rate_hz: Rates = 1.0
    """Requests per second of each client: a number for all, or a list of one number a client."""

    def check(self, num_clients: int, duration_s: float) -> None:
        """See the base class."""
        check_length(self.rate_hz, num_clients, "rate_hz")

    def times_s(self, client: int, duration_s: float, streams: RandomStreams) -> NDArray[np.float64]:
        """See the protocol; draw k of a client's gaps doesn't depend on the duration."""
        rate_hz = self.mean_rate_hz(client)
        if rate_hz == 0:
            return np.empty(0)
        times_s = unit_poisson(streams, client, rate_hz * duration_s) / rate_hz
        return times_s[times_s < duration_s]

    def mean_rate_hz(self, client: int) -> float:
        """See the protocol."""
        return value_of(self.rate_hz, client, "rate_hz")
