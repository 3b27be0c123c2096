"""Family ``arrivals``: when each client asks."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import Positive
from nmoe_sim.scenario.spec import Spec


class ArrivalProcess(Protocol):
    """When a client's requests arrive."""

    def times_s(self, client: int, duration_s: float, streams: RandomStreams) -> NDArray[np.float64]:
        """Return increasing arrival times in [0, duration_s)."""

    def mean_rate_hz(self, client: int) -> float:
        """Return the client's mean rate."""


class Poisson(Spec):
    """Poisson process of one rate for every client, independent over clients."""

    kind: ClassVar[str] = "poisson"

    rate_hz: Positive = 1.0
    """Requests per second of each client."""

    def times_s(self, client: int, duration_s: float, streams: RandomStreams) -> NDArray[np.float64]:
        """See the protocol; draw k of a client's gaps doesn't depend on the duration."""
        expected = self.rate_hz * duration_s
        count = int(expected + 10.0 * np.sqrt(expected) + 20.0)
        while True:
            times_s = np.cumsum(streams.exponential("arrivals", client, np.arange(count))) / self.rate_hz
            if times_s[-1] >= duration_s:
                return times_s[times_s < duration_s]
            count *= 2

    def mean_rate_hz(self, client: int) -> float:
        """See the protocol."""
        return self.rate_hz
