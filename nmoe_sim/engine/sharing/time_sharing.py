"""Policies that give the whole band to one transfer at a time: on average, by turns, or by order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field
from simpy import Environment

from nmoe_sim.engine.sharing.fluid import FluidMedia
from nmoe_sim.engine.sharing.media import Band, FloatArray, IntArray, Media
from nmoe_sim.engine.sharing.plan import Load, Plan
from nmoe_sim.engine.sharing.policy import Sharing
from nmoe_sim.engine.sharing.virtual_time import EqualShareMedium

Slot = Annotated[float, Field(ge=1e-6, le=1e3)]


class EqualShare(Sharing):
    """Fluid time sharing: each of n active transfers has the medium a fraction 1/n of the time.

    The limit of round robin in short slots, and what cellular schedulers and TDMA come close to when
    transfers last for many slots. Where media don't interfere and no bits are lost it runs in virtual
    time (``EqualShareMedium``), with the same results.

    Left out: slots, and control traffic to announce them.
    """

    kind: ClassVar[str] = "equal_share"

    def plan(self, load: Load) -> Plan:
        """Return equal shares of the time."""
        return Plan(np.full(len(load), 1.0 / len(load)))

    def media(self, env: Environment, band: Band) -> Media:
        """Return a medium in virtual time where that is exact, fluid media otherwise."""
        is_one = len(set(band.medium.tolist())) == 1
        if is_one and band.is_lossless and not band.is_coupled:
            return EqualShareMedium(env, band)
        return FluidMedia(env, band, self)


class Fifo(Sharing):
    """First come, first served: the whole medium for the transfer that started first.

    A transmit queue without flow control, as in a device's own buffer or on a serial line. Whoever is at the head
    without a rate is passed over until it has one.

    Left out: priorities.
    """

    kind: ClassVar[str] = "fifo"

    def activity(self, load: Load) -> FloatArray:
        """Return 1 for the head of the queue."""
        return load.only(0)

    def plan(self, load: Load) -> Plan:
        """Return everything for the head of the queue."""
        return Plan(load.only(0))


@dataclass
class _Turn:
    """Whose turn it is on one medium."""

    holder: int = -1
    """Number of the transfer."""
    end_s: float = -math.inf

    def is_over(self, load: Load) -> bool:
        return load.t_s >= self.end_s or self.holder not in load.number

    def give(self, number: int, load: Load, slot_s: float) -> None:
        self.holder = number
        self.end_s = max(load.t_s + slot_s, math.nextafter(load.t_s, math.inf))

    def share(self, load: Load) -> FloatArray:
        """Return 1 for the holder."""
        return load.only(int(np.searchsorted(load.number, self.holder)))

    def plan(self, load: Load) -> Plan:
        """Return everything for the holder, until the turn ends, unless the next would be no better off."""
        return Plan(self.share(load), valid_s=self.end_s if len(load) > 1 else math.inf)


class RoundRobin(Sharing):
    """Time division: the whole medium for one transfer after the other, each for a slot.

    TDMA as in industrial wireless and satellite access, and the simplest cellular scheduler. With slots that
    are short against transfers it comes to ``equal_share``, at the cost of an event a slot. A transfer
    that ends within its slot hands the rest to the next one.

    Left out: guard times, a common grid of slots.
    """

    kind: ClassVar[str] = "round_robin"

    slot_s: Slot = 1e-3
    """Length of a turn; a subframe of LTE and of NR is 1 ms."""

    def memory(self) -> Any:
        """Return whose turn it is."""
        return _Turn()

    def activity(self, load: Load) -> FloatArray:
        """Return 1 for the transfer whose turn it is."""
        return self._turn(load).share(load)

    def plan(self, load: Load) -> Plan:
        """Return everything for the transfer whose turn it is."""
        return self._turn(load).plan(load)

    def _turn(self, load: Load) -> _Turn:
        turn: _Turn = load.memory
        if turn.is_over(load):
            later = int(np.searchsorted(load.number, turn.holder, side="right"))
            turn.give(int(load.number[later % len(load)]), load, self.slot_s)
        return turn


_FORGOTTEN = 1e-9
"""Part of the largest average that counts as none."""


@dataclass
class _Averages(_Turn):
    """A turn, and what each transfer has got lately."""

    t_s: float = 0.0
    number: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    """Transfers planned for lately, in order."""
    served_bps: FloatArray = field(default_factory=lambda: np.zeros(0))
    """Rate of each since ``t_s``."""
    mean_bps: FloatArray = field(default_factory=lambda: np.zeros(0))
    """Exponential average of each until ``t_s``."""

    def bring_up(self, load: Load, time_constant_s: float) -> FloatArray:
        """Average up to now, let new transfers begin at 0, and return the averages of the load [n].

        Those that aren't in the load are mute or have ended: they get nothing, until nothing is left to remember.
        """
        keep = math.exp((self.t_s - load.t_s) / time_constant_s)
        averaged = self.mean_bps * keep + self.served_bps * (1.0 - keep)
        lasts = averaged > _FORGOTTEN * averaged.max(initial=0.0)
        number = np.union1d(self.number[lasts], load.number)
        self.mean_bps = np.zeros(len(number))
        self.mean_bps[np.searchsorted(number, self.number[lasts])] = averaged[lasts]
        self.number, self.t_s, self.served_bps = number, load.t_s, np.zeros(len(number))
        return np.asarray(self.mean_bps[np.searchsorted(number, load.number)])

    def serve(self, load: Load, rate_bps: FloatArray) -> None:
        """Note what the load gets from now on [n]."""
        self.served_bps[np.searchsorted(self.number, load.number)] = rate_bps


class ProportionalFair(Sharing):
    """Each slot goes to the transfer with the largest rate relative to what it got lately.

    The scheduler of cellular systems since HDR and HSDPA (Jalali, Padovani & Pankaj 2000; Viswanath, Tse &
    Laroia 2002): the metric R_i(t) / T_i(t), with T_i the throughput averaged exponentially over
    ``time_constant_s``. Without fading it comes to equal time; with fading that is faster than a slot
    sequence it serves links at their peaks, so all gain. A transfer begins with T = 0, so it gets a slot
    early; ties go by order of start.

    Left out: age of channel reports, sub-bands scheduled one by one, several users a slot. To other media,
    all transfers seem to be on air in equal parts.
    """

    kind: ClassVar[str] = "proportional_fair"

    slot_s: Slot = 1e-3
    """Time between decisions; a subframe of LTE and of NR is 1 ms."""
    time_constant_s: Annotated[float, Field(ge=1e-6, le=1e6)] = 0.1
    """How far back the average reaches."""

    def memory(self) -> Any:
        """Return averages and whose turn it is."""
        return _Averages()

    def plan(self, load: Load) -> Plan:
        """Return everything for the transfer with the largest metric at the start of the slot."""
        turn: _Averages = load.memory
        mean_bps = turn.bring_up(load, self.time_constant_s)
        rate_bps = load.rate_bps
        if turn.is_over(load):
            first = np.full(len(load), np.inf)  # of those that got nothing yet
            metric = np.divide(rate_bps, mean_bps, out=first, where=mean_bps > 0)
            turn.give(int(load.number[np.argmax(metric)]), load, self.slot_s)
        plan = turn.plan(load)
        turn.serve(load, plan.share * rate_bps)
        return plan
