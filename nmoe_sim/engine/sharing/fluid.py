"""Media in which transfers are fluids: rates are constant between events, and replanned at every one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from simpy import Environment
from simpy.events import Event, EventPriority, Timeout

from nmoe_sim.engine.sharing.legs import BITS, LEG, LOSS, RETRANSMISSIONS, RX, TX, Transfer, summary_of
from nmoe_sim.engine.sharing.media import Airtime, Band, Done, FloatArray, Outcome, block_of
from nmoe_sim.engine.sharing.plan import Conditions, Load, Plan, merged
from nmoe_sim.errors import RunError

if TYPE_CHECKING:
    from nmoe_sim.engine.sharing.policy import Sharing

_LATE = EventPriority(2)
"""Planning comes after all else that happens at an instant, so that it is done once."""
_ROUNDING = 1e-12
"""Part of a transfer's bits that rounding may leave."""


class FluidMedia:
    """Media planned together, shared by any policy.

    Between two events every rate is constant, so bits, airtimes and the rest are sums of rate x time. An event is a
    start, an end, an abort, a new coherence block, or the end of a policy's slot. Each asks the policy
    for a plan, and the band once for the state of all active links. Events at one instant are planned for together.

    Parameters
    ----------
    env : simpy.Environment
    band : Band
    policy : Sharing

    Notes
    -----
    A transfer is *mute* while one of its links carries nothing (``Sharing.audible``). It then waits off air: it gets
    no share, takes no time from others and doesn't interfere; after ``band.outage_timeout_s`` it ends as ``outage``.
    Who is mute alone on the air is left out first; of the others, who is mute under the interference of all of them.
    That is looked at again at every event.

    Blocks are counted in bits, not in slots: a transfer risks and repeats as many blocks as its bits fill, but at
    least one. A hop may be on air for less than a slot, or a symbol; retransmissions take airtime, while what their
    delay does to all but the last block is left out.
    """

    def __init__(self, env: Environment, band: Band, policy: Sharing) -> None:
        self.env = env
        self.band = band
        self.policy = policy
        self.num_active = 0
        self._transfers: list[Transfer] = []  # in order of start, as their legs
        self._legs: NDArray[np.void] = np.zeros(0, LEG)
        self._num_started = 0
        self._memory: dict[int, Any] = {}  # of each medium, by number
        self._t_s = 0.0  # until when all is summed up
        self._conditions: Conditions | None = None
        self._planning = False
        self._change_s = math.inf  # when the plan ends by itself
        self._timer: Timeout | None = None
        self._timer_s = math.inf

    def start(self, links: tuple[int, ...], bits: float, done: Done, payload: Any) -> None:
        """Start a transfer of ``bits`` over ``links``; ``done(payload, ended)`` comes later."""
        self._settle()
        assert self.policy.end_to_end or len(links) == 1, "one link at a time, unless the policy is end-to-end"
        legs = np.zeros(len(self._legs) + len(links), LEG)
        legs[: len(self._legs)] = self._legs
        new = legs[len(self._legs) :]
        new["number"], new["link"], new["bits"] = self._num_started, links, bits
        new["end_s"] = new["silent_s"] = math.inf
        new["last"][:, 2] = math.inf
        new["sinr"] = math.nan
        self._legs = legs
        self._transfers.append(Transfer(links, done, payload))
        self._num_started += 1
        self.num_active += 1
        self._plan_later()

    def under_way(self) -> Iterator[tuple[Any, tuple[Airtime, ...]]]:
        """See ``Media``; it changes nothing."""
        used = self._legs["used"] + self._legs["speed"] * (self.env.now - self._t_s)
        for transfer, first in zip(self._transfers, self._first_legs().tolist(), strict=True):
            own = used[first : first + len(transfer.links)]
            yield transfer.payload, tuple(Airtime(tx, rx) for tx, rx in own[:, [TX, RX]].tolist())

    def abort(self, links: Iterable[int], outcome: Outcome) -> None:
        """End every transfer that uses one of ``links``, at once; one whose last bit is sent is delivered."""
        self._settle()
        broken = set(links)
        hit = np.array([not broken.isdisjoint(transfer.links) for transfer in self._transfers], dtype=bool)
        self._end(hit, outcome)

    def _settle(self) -> None:
        """Sum up what was used since the last event."""
        now = self.env.now
        if now > self._t_s and len(self._legs):
            self._legs["used"] += self._legs["speed"] * (now - self._t_s)
        self._t_s = now

    def _end(self, hit: NDArray[np.bool_] | None = None, outcome: Outcome = "link_down") -> None:
        """Take out the transfers that have ended, and those ``hit`` with ``outcome``; then tell, in order of start."""
        legs, now = self._legs, self._t_s
        if not self._transfers or (hit is None and now < self._change_s):
            return
        first = self._first_legs()
        left = legs["bits"][first] - legs["used"][first, BITS]
        delivered = (legs["end_s"][first] <= now) | (left <= _ROUNDING * legs["bits"][first])
        silent = legs["silent_s"][first] + self.band.outage_timeout_s <= now
        over = delivered | silent
        if hit is not None:
            over |= hit
        if not over.any():
            return
        ends = []
        for k in np.flatnonzero(over).tolist():
            transfer = self._transfers[k]
            own = legs[first[k] : first[k] + len(transfer.links)]
            how: Outcome = "delivered" if delivered[k] else "outage" if silent[k] else outcome
            ends.append((transfer, summary_of(own, how)))
        self._transfers = [transfer for transfer, gone in zip(self._transfers, over.tolist(), strict=True) if not gone]
        self._legs = legs[~self._per_leg(over, first)]
        self.num_active -= len(ends)
        self._plan_later()
        for transfer, ended in ends:
            transfer.done(transfer.payload, ended)

    def _first_legs(self) -> NDArray[np.intp]:
        """Return where each transfer's legs begin."""
        if not self.policy.end_to_end:
            return np.arange(len(self._legs))
        return np.flatnonzero(np.diff(self._legs["number"], prepend=-1))

    def _per_leg(self, values: NDArray[Any], first: NDArray[np.intp]) -> NDArray[Any]:
        """Return for each leg the value of its transfer."""
        return np.repeat(values, np.diff(first, append=len(self._legs))) if self.policy.end_to_end else values

    def _plan_later(self) -> None:
        if not self._planning:
            self._planning = True
            event = Event(self.env)
            event.callbacks = [self._plan_now]
            event._ok, event._value = True, None
            self.env.schedule(event, _LATE)

    def _plan_now(self, _: Event) -> None:
        self._settle()
        self._end()  # what ended at this instant, should the timer's rounded time be later
        self._planning = False
        legs, now = self._legs, self._t_s
        if not len(legs):
            self._change_s = math.inf
            return
        block, block_end_s = block_of(now, self.band.block_s)
        loads, conditions, duty = self._audible(block)
        plans = [self.policy.plan(load) for load in loads]
        self._follow(merged(loads, plans, len(legs)), conditions, duty)
        on_air = np.zeros(len(legs), dtype=bool)
        for load in loads:
            on_air[load.legs] = True
        legs["silent_s"] = np.where(on_air, math.inf, np.minimum(legs["silent_s"], now))
        valid_s = min([plan.valid_s for plan in plans], default=math.inf)
        if valid_s <= now:
            raise RunError(f"sharing {self.policy.kind!r} made a plan at {now} s that ends at {valid_s} s")
        outage_s = float(legs["silent_s"].min()) + self.band.outage_timeout_s
        self._change_s = min(block_end_s, valid_s, outage_s, float(legs["end_s"].min()))
        if math.isinf(self._change_s):
            stuck = legs["link"][legs["speed"][:, BITS] == 0][0]
            raise RunError(f"a transfer on link {stuck} can never end: its rate is 0 for good")
        self._arm()

    def _audible(self, block: int) -> tuple[list[Load], Conditions, FloatArray]:
        """Return the loads of those who aren't mute, all legs' conditions under these, and their duties."""
        link = self._legs["link"]
        everyone, num = np.arange(len(link)), len(link)
        loads, conditions, duty = self._look(everyone, block)
        audible = self._heard(loads)
        if len(audible) < num and self.band.is_coupled:
            alone = Conditions(self.band.state(link, np.zeros(num), block))
            by_themselves = self._heard(self._loads(everyone, alone))
            audible = by_themselves if len(by_themselves) < num else audible
        while len(audible) < num:  # fewer are on air, but each for longer, or on more of the band
            num = len(audible)
            loads, conditions, duty = self._look(audible, block)
            audible = self._heard(loads)
        return loads, conditions, duty

    def _look(self, on_air: NDArray[np.intp], block: int) -> tuple[list[Load], Conditions, FloatArray]:
        """Return loads, conditions and duties if these legs are on air."""
        link = self._legs["link"]
        activity, duty = np.zeros(len(link)), np.ones(len(link))
        duty[on_air] = self.band.duty(link[on_air])
        loads = self._loads(on_air)
        for load in loads:
            activity[load.legs] = self.policy.activity(load)
        state = self.band.state(link, activity * duty, block)
        if self._conditions is None or state is not self._conditions.state:  # else what follows from it is known too
            self._conditions = Conditions(state)
        for load in loads:
            load.conditions = self._conditions
        return loads, self._conditions, duty

    def _heard(self, loads: list[Load]) -> NDArray[np.intp]:
        """Return the legs of transfers none of whose links is mute."""
        mute = np.ones(len(self._legs), dtype=bool)
        for load in loads:
            mute[load.legs] = ~self.policy.audible(load)
        first = self._first_legs()
        return np.flatnonzero(~self._per_leg(np.logical_or.reduceat(mute, first), first))

    def _loads(self, legs: NDArray[np.intp], conditions: Conditions | None = None) -> list[Load]:
        """Return what the policy plans for at a time: a medium, or everything if it is end-to-end."""
        if not len(legs):
            return []
        if self.policy.end_to_end:
            return [self._load(-1, legs, conditions)]
        medium = self.band.medium[self._legs["link"][legs]]
        return [self._load(m, legs[medium == m], conditions) for m in sorted(set(medium.tolist()))]

    def _load(self, key: int, index: NDArray[np.intp], conditions: Conditions | None) -> Load:
        if key not in self._memory:
            self._memory[key] = self.policy.memory()
        legs, band = self._legs[index], self.band
        link = legs["link"]
        return Load(
            t_s=self._t_s,
            number=legs["number"],
            bits=legs["bits"],
            bits_left=np.maximum(legs["bits"] - legs["used"][:, BITS], 0.0),
            link=link,
            medium=band.medium[link],
            sender=band.sender[link],
            receiver=band.receiver[link],
            memory=self._memory[key],
            legs=index,
            conditions=conditions,
        )

    def _follow(self, plan: Plan, conditions: Conditions, duty: FloatArray) -> None:
        """Set what every leg uses a second, and when it ends."""
        legs, now = self._legs, self._t_s
        concentration = plan.concentration
        sends = conditions.alone if concentration is None else conditions.state.transmission(concentration)
        rate_bps = plan.share * sends.rate_bps * duty
        on_air = duty
        first = self._first_legs()
        if self.policy.end_to_end:  # the slowest leg sets the pace
            own_bps, rate_bps = rate_bps, self._per_leg(np.minimum.reduceat(rate_bps, first), first)
            on_air = duty * np.divide(rate_bps, own_bps, out=np.zeros(len(legs)), where=own_bps > 0)
        speed = np.zeros((len(legs), 5))
        speed[:, BITS] = rate_bps
        speed[:, TX] = on_air * (plan.share if plan.tx_share is None else plan.tx_share)
        speed[:, RX] = on_air * (plan.share if plan.rx_share is None else plan.rx_share)
        moves = rate_bps > 0
        if not self.band.is_lossless:
            whole = np.where(np.isinf(sends.block_bits), 0.0, sends.block_bits)  # on the whole band; 0: no blocks
            block_bits = np.minimum(whole if plan.part is None else plan.part * whole, legs["bits"])
            smaller = rate_bps * np.divide(whole, block_bits, out=np.zeros(len(legs)), where=block_bits > 0)
            speed[:, LOSS] = smaller * sends.loss_per_bit
            speed[:, RETRANSMISSIONS] = smaller * sends.retransmissions_per_bit
            legs["last"][:, 0], legs["last"][:, 1] = sends.mean_transmissions - 1.0, sends.retransmission_delay_s
            legs["last"][:, 2] = np.where(block_bits > 0, block_bits, math.inf)
        assert np.isfinite(speed).all(), "rates and hazards are finite, or there is no telling what was used"
        legs["speed"] = speed
        left = legs["bits"] - legs["used"][:, BITS]
        legs["end_s"] = now + np.divide(left, rate_bps, out=np.full(len(legs), math.inf), where=moves)
        legs["sinr"] = np.where(np.isnan(legs["sinr"]), conditions.state.sinr, legs["sinr"])

    def _arm(self) -> None:
        """Have a timer fire no later than the plan's end; an early one re-arms."""
        if self._change_s < self._timer_s:
            now = self.env.now
            self._timer = Timeout(self.env, max(0.0, self._change_s - now))
            self._timer.callbacks.append(self._wake)
            self._timer_s = self._change_s

    def _wake(self, timer: Event) -> None:
        if timer is not self._timer:
            return  # replaced by an earlier one
        self._timer, self._timer_s = None, math.inf
        if self.env.now < self._change_s:
            if math.isfinite(self._change_s):
                self._arm()
            return
        self._settle()
        self._end()
        self._plan_later()
