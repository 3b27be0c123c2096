"""A way to share a medium of one's own: one transfer after the other."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, ClassVar

from simpy import Environment
from simpy.events import Event

from nmoe_sim.engine.sharing import RateSource
from nmoe_sim.scenario.spec import Spec


class OneByOne(Spec):
    """The whole medium for one transfer at a time, first come first served."""

    kind: ClassVar[str] = "one_by_one"

    def medium(self, env: Environment, rates: RateSource) -> OneByOneMedium:
        """Return a medium that is shared this way."""
        return OneByOneMedium(env, rates)


class OneByOneMedium:
    """A queue of transfers."""

    def __init__(self, env: Environment, rates: RateSource) -> None:
        self.env = env
        self.rates = rates
        self._queue: deque[tuple[int, float, Callable[[Any, float], None], Any]] = deque()

    @property
    def num_active(self) -> int:
        """Transfers on air or waiting."""
        return len(self._queue)

    def start(self, link: int, bits: float, done: Callable[[Any, float], None], payload: Any) -> None:
        """Queue a transfer; ``done(payload, airtime_s)`` when its last bit is there."""
        self._queue.append((link, bits, done, payload))
        if len(self._queue) == 1:
            self.env.process(self._serve())

    def _serve(self) -> Generator[Event, None, None]:
        while self._queue:
            link, bits, done, payload = self._queue[0]
            airtime_s = 0.0
            while bits > 0:
                rate_bps, left_s = self._now(link)
                step_s = min(bits / rate_bps if rate_bps > 0 else math.inf, left_s)
                yield self.env.timeout(step_s)
                airtime_s += step_s
                bits = bits - rate_bps * step_s if step_s == left_s else 0.0
            self._queue.popleft()
            done(payload, airtime_s)

    def _now(self, link: int) -> tuple[float, float]:
        """Return the link's rate and how long it lasts."""
        block_s, now = self.rates.block_s, self.env.now
        if math.isinf(block_s):
            return self.rates.rate_bps(link, 0), math.inf
        block = int(now / block_s)
        if (block + 1) * block_s <= now:  # rounding at the boundary itself
            block += 1
        return self.rates.rate_bps(link, block), (block + 1) * block_s - now


FAMILIES = {"sharing": [OneByOne]}
