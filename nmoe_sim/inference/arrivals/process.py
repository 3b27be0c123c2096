"""What an arrival process offers, and the Poisson points that several are made of."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.spec import Spec

KEY = "inference.arrivals"
"""Where a scenario sets the arrival process."""


class ArrivalProcess(Protocol):
    """When a client's requests arrive."""

    def times_s(self, client: int, duration_s: float, streams: RandomStreams) -> NDArray[np.float64]:
        """Return arrival times in [0, duration_s), none before its predecessor."""

    def mean_rate_hz(self, client: int) -> float:
        """Return the client's long-run mean rate."""


class Arrivals(Spec):
    """Base of the built-in arrival processes.

    A new one implements ``times_s`` and ``mean_rate_hz`` of ``ArrivalProcess``, and ``check`` if some of its
    settings depend on the number of clients or on the duration.
    """

    def check(self, num_clients: int, duration_s: float) -> None:
        """Check the settings against the run.

        Raises
        ------
        InputError
            With the key of the setting that doesn't fit.
        """


def unit_poisson(streams: RandomStreams, client: int, end: float) -> NDArray[np.float64]:
    """Return the points of a Poisson process of rate 1 on (0, end], and at least one beyond.

    Parameters
    ----------
    streams : RandomStreams
        Gap k of a client is draw k of its stream ``arrivals``, whatever ``end``.
    client : int
    end : float
        At least 0.
    """
    count = int(end + 10.0 * np.sqrt(end) + 20.0)
    while True:
        points = np.cumsum(streams.exponential("arrivals", client, np.arange(count)))
        if points[-1] > end:
            return points
        count *= 2
