"""Faults of one's own: the night, when everybody is switched off together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Annotated, ClassVar

from pydantic import Field

from nmoe_sim.engine.faults import FaultsSpec, Outage
from nmoe_sim.rng import RandomStreams

Time = Annotated[float, Field(gt=0, le=1e9)]


class Nights(FaultsSpec):
    """Each device is away once a day, at its own hour of the evening, until the same morning for all."""

    kind: ClassVar[str] = "nights"

    day_s: Time = 86_400.0
    """From one morning to the next."""
    evening_s: Time = 50_000.0
    """From the morning to the start of the evening, in which devices leave one by one."""
    night_s: Time = 60_000.0
    """From the morning to the end of the evening, when all are away."""

    def outages(self, names: Sequence[str], streams: RandomStreams) -> Sequence[Iterator[Outage]]:
        """Return when each device is away; the hour of device n on day k is drawn from ("evening", n, k)."""
        return [self._of(number, streams) for number in range(len(names))]

    def _of(self, number: int, streams: RandomStreams) -> Iterator[Outage]:
        for day in count():
            hour = streams.uniform("evening", number, day).item()
            leaves_s = self.evening_s + hour * (self.night_s - self.evening_s)
            yield day * self.day_s + leaves_s, (day + 1) * self.day_s


FAMILIES = {"faults": [Nights]}
