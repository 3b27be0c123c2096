"""Family ``sharing``: what the active transfers of a medium do with its spectrum.

``equal_share`` is fluid time sharing. With n transfers active, each gets a fraction 1/n of the time at
the full-band rate of its own link, so in *virtual time* (dV = dt/n: the airtime a single transfer has
got) a transfer that needs a seconds of airtime and starts at V ends at V + a, whoever comes and goes
in between. The transfers are a heap of these finish tags; one timer waits for the earliest. At a
coherence boundary rates change: the bits left keep, so the tags move.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, ClassVar, Protocol

from simpy import Environment
from simpy.events import Event, Timeout

from nmoe_sim.errors import RunError
from nmoe_sim.scenario.spec import Spec


class RateSource(Protocol):
    """Full-band rates of a medium's links."""

    block_s: float
    """Length of a coherence block; infinite where rates don't change."""

    def rate_bps(self, link: int, block: int) -> float:
        """Return the rate of a link that has the medium to itself, in one block."""


class Medium(Protocol):
    """Spectrum shared by the transfers active on it."""

    num_active: int

    def start(self, link: int, bits: float, done: Callable[[Any, float], None], payload: Any) -> None:
        """Start a transfer; ``done(payload, airtime_s)`` is called at the time its last bit arrives."""


class EqualShare(Spec):
    """Fluid time sharing: each of n active transfers has the medium a fraction 1/n of the time."""

    kind: ClassVar[str] = "equal_share"

    def medium(self, env: Environment, rates: RateSource) -> EqualShareMedium:
        """Return a medium that shares this way."""
        return EqualShareMedium(env, rates)


class _Transfer:
    __slots__ = ("bits_left", "done", "link", "payload", "rate_bps", "tag_s", "v_start_s")

    def __init__(
        self, link: int, bits: float, v_start_s: float, done: Callable[[Any, float], None], payload: Any
    ) -> None:
        self.link = link
        self.bits_left = bits  # as of the last change of rate
        self.v_start_s = v_start_s
        self.done = done
        self.payload = payload

    def set_rate(self, rate_bps: float, v_s: float) -> None:
        """Go on at a new rate from virtual time ``v_s``; a link without a rate waits for the next block."""
        self.rate_bps = rate_bps
        self.tag_s = v_s + self.bits_left / rate_bps if rate_bps > 0 else math.inf


class EqualShareMedium:
    """A medium in virtual time; see the module's docstring.

    Parameters
    ----------
    env : simpy.Environment
    rates : RateSource
        Rates of the links, by link and coherence block.
    """

    def __init__(self, env: Environment, rates: RateSource) -> None:
        self.env = env
        self.rates = rates
        self.num_active = 0
        self._heap: list[tuple[float, int, _Transfer]] = []
        self._sequence = 0
        self._t_s = 0.0  # when the virtual time was last brought up to date
        self._v_s = 0.0  # airtime each active transfer has got since the medium was last idle
        self._block = 0
        self._block_end_s = 0.0
        self._timer: Timeout | None = None
        self._timer_s = math.inf
        self._next: _Transfer | None = None  # the transfer that is due when the live timer fires

    def start(self, link: int, bits: float, done: Callable[[Any, float], None], payload: Any) -> None:
        """Start a transfer of ``bits`` on ``link``; ``done(payload, airtime_s)`` when its last bit is there."""
        now = self.env.now
        finished = self._settle(now)
        if not self._heap:
            self._t_s = now
            self._v_s = 0.0
        transfer = _Transfer(link, bits, self._v_s, done, payload)
        transfer.set_rate(self.rates.rate_bps(link, self._block), self._v_s)
        self._sequence += 1
        heappush(self._heap, (transfer.tag_s, self._sequence, transfer))
        self.num_active += 1
        self._next = None
        self._arm(now)
        _report(finished)

    def _settle(self, now: float) -> list[_Transfer]:
        """Bring virtual time up to ``now``, take out what has finished, then enter the block of ``now``."""
        finished = []
        heap = self._heap
        if heap:
            self._v_s += (now - self._t_s) / self.num_active
            self._t_s = now
            if self._next is not None and now >= self._timer_s:  # due by plan, whatever the rounding
                self._v_s = max(self._v_s, self._next.tag_s)
            while heap and (heap[0][0] <= self._v_s or now + (heap[0][0] - self._v_s) * self.num_active <= now):
                finished.append(heappop(heap)[2])
            self.num_active -= len(finished)
        if now >= self._block_end_s:
            self._enter_block(now)
        return finished

    def _enter_block(self, now: float) -> None:
        """Move to the block of ``now``; the bits left of every active transfer keep, their tags move."""
        block_s = self.rates.block_s
        if math.isinf(block_s):
            self._block_end_s = math.inf
            return
        block = int(now / block_s)
        if (block + 1) * block_s <= now:  # rounding at the boundary itself
            block += 1
        self._block = block
        self._block_end_s = (block + 1) * block_s
        v_s = self._v_s
        for tag_s, _, transfer in self._heap:
            if transfer.rate_bps > 0:
                transfer.bits_left = max(0.0, tag_s - v_s) * transfer.rate_bps
            transfer.set_rate(self.rates.rate_bps(transfer.link, block), v_s)
        self._heap = [(transfer.tag_s, sequence, transfer) for _, sequence, transfer in self._heap]
        heapify(self._heap)

    def _arm(self, now: float) -> None:
        """Have a timer fire no later than the next finish or block boundary; an early one re-arms."""
        first = self._heap[0]
        t_s = now + (first[0] - self._v_s) * self.num_active
        finishes = t_s <= self._block_end_s
        if not finishes:
            t_s = self._block_end_s
        if math.isinf(t_s):
            raise RunError(f"a transfer on link {first[2].link} can never end: the link's rate is 0 for good")
        if t_s < self._timer_s:
            delay = t_s - now
            self._timer = timer = Timeout(self.env, delay if delay > 0 else 0.0)
            timer.callbacks.append(self._wake)
            self._timer_s = now + timer._delay
            self._next = first[2] if finishes else None

    def _wake(self, timer: Event) -> None:
        if timer is not self._timer:
            return  # replaced by an earlier one
        now = self.env.now
        finished = self._settle(now)
        self._timer = None
        self._timer_s = math.inf
        self._next = None
        if self._heap:
            self._arm(now)
        _report(finished)


def _report(finished: list[_Transfer]) -> None:
    for transfer in finished:
        transfer.done(transfer.payload, transfer.tag_s - transfer.v_start_s)
