"""An arrival process of one's own: a crowd that comes and goes."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nmoe_sim.inference.arrivals.process import Arrivals, unit_poisson
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import NonNegative, Positive


class FlashCrowd(Arrivals):
    """Poisson arrivals whose rate is ``factor`` times as high for a while.

    By time change: the points of a Poisson process of rate 1 are put where the integral of the rate
    reaches them (Çinlar 1975, section 4.7).
    """

    kind: ClassVar[str] = "flash_crowd"

    rate_hz: Positive = 1.0
    """Requests per second of each client outside the crowd."""
    factor: Annotated[float, Field(ge=1, le=1000)] = 10.0
    """Rate in the crowd over the rate outside."""
    crowd_start_s: NonNegative = 1.0
    """Begin of the crowd."""
    crowd_s: Positive = 1.0
    """How long it lasts."""

    def times_s(self, client: int, duration_s: float, streams: RandomStreams) -> NDArray[np.float64]:
        """Return increasing arrival times in [0, duration_s)."""
        t_s = np.minimum([0.0, self.crowd_start_s, self.crowd_start_s + self.crowd_s, duration_s], duration_s)
        expected = np.cumsum([0.0, *np.diff(t_s) * self.rate_hz * [1.0, self.factor, 1.0]])
        points = unit_poisson(streams, client, float(expected[-1]))
        return np.asarray(np.interp(points[points < expected[-1]], expected, t_s))

    def mean_rate_hz(self, client: int) -> float:
        """Return the long-run mean rate; one crowd doesn't change it."""
        return self.rate_hz


FAMILIES = {"arrivals": [FlashCrowd]}
