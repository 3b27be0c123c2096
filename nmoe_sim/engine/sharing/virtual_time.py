"""Equal sharing in virtual time: the fast path of ``equal_share``.

With n transfers that have a rate, each gets a fraction 1/n of the time at the full-band rate of its own link, so in
*virtual time* (dV = dt/n: the airtime a single transfer has got) a transfer that needs a seconds of airtime and
starts at V ends at V + a, whoever comes and goes in between. The transfers are a heap of these finish
tags; one timer waits for the earliest. At a coherence boundary rates change: the bits left keep, so the tags move.
Those without a rate are silent: they wait beside the heap, off air.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any

from simpy import Environment
from simpy.events import Event, Timeout

from nmoe_sim.engine.sharing.media import Airtime, Band, Done, Ended, Leg, Outcome, block_of
from nmoe_sim.errors import RunError


class _Transfer:
    __slots__ = ("airtime_s", "bits", "bits_left", "done", "link", "number", "payload", "rate_bps", "sinr",
                 "tag_s", "v_start_s")  # fmt: skip

    def __init__(self, number: int, link: int, bits: float, sinr: float, done: Done, payload: Any) -> None:
        self.number = number
        self.link = link
        self.bits = bits
        self.bits_left = bits  # as of the last change of rate
        self.airtime_s = 0.0  # before it was last silent
        self.v_start_s = 0.0  # since when it has a rate
        self.rate_bps = 0.0
        self.tag_s = math.inf
        self.sinr = sinr
        self.done = done
        self.payload = payload

    def set_rate(self, rate_bps: float, v_s: float) -> None:
        """Go on at a new rate from virtual time ``v_s``; a link without a rate waits for the next block."""
        if self.rate_bps > 0:
            self.bits_left = self.left_at(v_s)
            if not rate_bps > 0:
                self.airtime_s = self.airtime_at(v_s)
        else:
            self.v_start_s = v_s
        self.rate_bps = rate_bps
        self.tag_s = v_s + self.bits_left / rate_bps if rate_bps > 0 else math.inf

    def left_at(self, v_s: float) -> float:
        """Return the bits left at virtual time ``v_s``."""
        return max(0.0, self.tag_s - v_s) * self.rate_bps if self.rate_bps > 0 else self.bits_left

    def airtime_at(self, v_s: float) -> float:
        """Return the airtime got until virtual time ``v_s``."""
        return self.airtime_s + (v_s - self.v_start_s) if self.rate_bps > 0 else self.airtime_s


_Finished = list[tuple[_Transfer, Outcome, float, float]]
"""Transfer, outcome, bits sent, airtime."""


class EqualShareMedium:
    """A medium in virtual time; see the module's docstring.

    Parameters
    ----------
    env : simpy.Environment
    band : Band
        One medium, without losses, whose rates depend on nothing but link and block.
    """

    def __init__(self, env: Environment, band: Band) -> None:
        self.env = env
        self.band = band
        self.num_active = 0
        self._heap: list[tuple[float, int, _Transfer]] = []
        self._silent: dict[int, tuple[float, _Transfer]] = {}  # without a rate: since when; the oldest first
        self._num_started = 0
        self._t_s = 0.0  # when the virtual time was last brought up to date
        self._v_s = 0.0  # airtime each active transfer has got since the medium was last idle
        self._block = 0
        self._block_end_s = 0.0
        self._timer: Timeout | None = None
        self._timer_s = math.inf
        self._next: _Transfer | None = None  # the transfer that is due when the live timer fires

    def start(self, links: tuple[int, ...], bits: float, done: Done, payload: Any) -> None:
        """Start a transfer of ``bits`` on one link; ``done(payload, ended)`` when it ends."""
        now = self.env.now
        finished = self._settle(now)
        if not self._heap:
            self._v_s = 0.0
        [link] = links
        transfer = _Transfer(self._num_started, link, bits, self.band.sinr(link, self._block), done, payload)
        self._num_started += 1
        self.num_active += 1
        if self._set_rate(transfer, now):
            heappush(self._heap, (transfer.tag_s, transfer.number, transfer))
        self._next = None
        self._arm(now)
        _report(finished)

    def under_way(self) -> Iterator[tuple[Any, tuple[Airtime, ...]]]:
        """See ``Media``; it changes nothing."""
        v_s = self._v_s + (self.env.now - self._t_s) / len(self._heap) if self._heap else self._v_s
        for transfer in self._active():
            airtime_s = transfer.airtime_at(min(v_s, transfer.tag_s))
            yield transfer.payload, (Airtime(airtime_s, airtime_s),)

    def abort(self, links: Iterable[int], outcome: Outcome) -> None:
        """End every transfer on one of ``links``, at once; one whose last bit is sent is delivered."""
        now = self.env.now
        finished = self._settle(now)
        broken = set(links)
        finished += self._take({t.number for t in self._active() if t.link in broken}, outcome)
        self._next = None
        if self.num_active:
            self._arm(now)
        _report(finished)

    def _settle(self, now: float) -> _Finished:
        """Bring virtual time up to ``now``, take out what has ended, then enter the block of ``now``."""
        finished: _Finished = []
        heap, num = self._heap, len(self._heap)
        if heap:
            self._v_s += (now - self._t_s) / num
            if self._next is not None and now >= self._timer_s:  # due by plan, whatever the rounding
                self._v_s = max(self._v_s, self._next.tag_s)
            while heap and (heap[0][0] <= self._v_s or now + (heap[0][0] - self._v_s) * num <= now):
                transfer = heappop(heap)[2]
                finished.append((transfer, "delivered", transfer.bits, transfer.airtime_at(transfer.tag_s)))
            self.num_active -= len(finished)
        self._t_s = now
        if self._silent:
            timeout_s = self.band.outage_timeout_s
            finished += self._take({n for n, (t_s, _) in self._silent.items() if t_s + timeout_s <= now}, "outage")
        if now >= self._block_end_s:
            self._enter_block(now)
        return finished

    def _active(self) -> list[_Transfer]:
        return [t for _, _, t in self._heap] + [t for _, t in self._silent.values()]

    def _take(self, numbers: set[int], outcome: Outcome) -> _Finished:
        """Take out transfers before their end."""
        if not numbers:
            return []
        taken = sorted([t for t in self._active() if t.number in numbers], key=lambda t: t.number)
        self._heap = [entry for entry in self._heap if entry[1] not in numbers]
        heapify(self._heap)
        for number in numbers:
            self._silent.pop(number, None)
        self.num_active -= len(taken)
        v_s = self._v_s
        return [(t, outcome, t.bits - t.left_at(v_s), t.airtime_at(v_s)) for t in taken]

    def _set_rate(self, transfer: _Transfer, now: float) -> bool:
        """Set the rate of a transfer in the block of ``now``, and return whether it has one."""
        transfer.set_rate(self.band.rate_bps(transfer.link, self._block), self._v_s)
        if transfer.rate_bps > 0:
            if self._silent:
                self._silent.pop(transfer.number, None)
            return True
        self._silent.setdefault(transfer.number, (now, transfer))
        return False

    def _enter_block(self, now: float) -> None:
        """Move to the block of ``now``; the bits left of every active transfer keep, their tags move."""
        self._block, self._block_end_s = block_of(now, self.band.block_s)
        audible = [transfer for transfer in self._active() if self._set_rate(transfer, now)]
        self._heap = [(transfer.tag_s, transfer.number, transfer) for transfer in audible]
        heapify(self._heap)

    def _arm(self, now: float) -> None:
        """Have a timer fire no later than the next end or block boundary; an early one re-arms."""
        first = self._heap[0] if self._heap else None
        t_s = now + (first[0] - self._v_s) * len(self._heap) if first else math.inf
        finishes = first is not None and t_s <= self._block_end_s
        if not finishes:
            t_s = self._block_end_s
        if self._silent:
            outage_s = next(iter(self._silent.values()))[0] + self.band.outage_timeout_s
            if outage_s < t_s:
                t_s, finishes = outage_s, False
        if math.isinf(t_s):
            raise RunError(f"a transfer on link {self._active()[0].link} can never end: its rate is 0 for good")
        if t_s < self._timer_s:
            delay = t_s - now
            self._timer = timer = Timeout(self.env, delay if delay > 0 else 0.0)
            timer.callbacks.append(self._wake)
            self._timer_s = now + timer._delay
            self._next = first[2] if first and finishes else None

    def _wake(self, timer: Event) -> None:
        if timer is not self._timer:
            return  # replaced by an earlier one
        now = self.env.now
        finished = self._settle(now)
        self._timer = None
        self._timer_s = math.inf
        self._next = None
        if self.num_active:
            self._arm(now)
        _report(finished)


def _report(finished: _Finished) -> None:
    for transfer, outcome, bits_sent, airtime_s in finished:
        leg = Leg(
            airtime_s, airtime_s, 0.0, 0.0, 0.0, 0.0, math.inf, transfer.sinr
        )  # nothing is lost, nothing repeated
        transfer.done(transfer.payload, Ended(outcome, bits_sent, (leg,)))
