"""Arrivals whose rate follows a daily, or any other, sine."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nmoe_sim.inference.arrivals.per_client import Rates, check_length, value_of
from nmoe_sim.inference.arrivals.process import Arrivals, unit_poisson
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import NonNegative, Positive


class Diurnal(Arrivals):
    """Poisson process of the rate r(t) = ``rate_hz`` · (1 + ``amplitude`` · cos(2π (t − ``peak_s``) / ``period_s``)).

    Drawn exactly, by thinning a Poisson process of the highest rate (Lewis and Shedler 1979). The mean
    rate is that over whole periods; a run much shorter than a period may see another.
    """

    kind: ClassVar[str] = "diurnal"

    rate_hz: Rates = 1.0
    """Mean requests per second of each client: a number for all, or a list of one number a client."""
    amplitude: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Swing of the rate over its mean: 0 is Poisson, 1 falls to no request at all."""
    period_s: Positive
    """Length of a cycle; a day is 86400."""
    peak_s: NonNegative = 0.0
    """A time at which the rate is highest, from the start of the requests."""

    def check(self, num_clients: int, duration_s: float) -> None:
        """See the base class."""
        check_length(self.rate_hz, num_clients, "rate_hz")

    def times_s(self, client: int, duration_s: float, streams: RandomStreams) -> NDArray[np.float64]:
        """See the protocol; which candidates are kept is the stream ``arrivals_thinning``."""
        highest_hz = self.mean_rate_hz(client) * (1.0 + self.amplitude)
        if highest_hz == 0:
            return np.empty(0)
        times_s = unit_poisson(streams, client, highest_hz * duration_s) / highest_hz
        times_s = times_s[times_s < duration_s]
        kept = streams.uniform("arrivals_thinning", client, np.arange(len(times_s)))
        return times_s[kept * (1.0 + self.amplitude) < self.relative_rate(times_s)]

    def relative_rate(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the rate at some times over its mean."""
        phase = np.fmod(t_s - self.peak_s, self.period_s) / self.period_s
        return np.asarray(1.0 + self.amplitude * np.cos(2.0 * np.pi * phase))

    def mean_rate_hz(self, client: int) -> float:
        """See the protocol."""
        return value_of(self.rate_hz, client, "rate_hz")
