"""Policies that give every transfer a part of the band all the time, with its power put into that part."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nmoe_sim.engine.sharing.media import FloatArray
from nmoe_sim.engine.sharing.plan import Load, Plan
from nmoe_sim.engine.sharing.policy import Sharing


class Fdma(Sharing):
    """Frequency division: n active transfers have B/n each, all the time.

    On the uplink every sender puts its whole power into its part, so n times the power density: a link with
    little power to spare gains over time sharing. A sender of m transfers, such as a base station, splits
    its power among them: the concentration is n/m. Classic FDMA and SC-FDMA/OFDMA uplinks without
    frequency-selective scheduling.

    Left out: guard bands, subcarriers of finite width, power control.
    """

    kind: ClassVar[str] = "fdma"

    def activity(self, load: Load) -> FloatArray:
        """Return the part of its sender's power: senders are on air all the time."""
        return 1.0 / load.legs_of_sender

    def plan(self, load: Load) -> Plan:
        """Return equal parts of the band."""
        return _divided(load, np.full(len(load), 1.0 / len(load)))


class MinMaxLatency(Sharing):
    """The split of the band with which the last of the active transfers ends as early as possible.

    With a part b of the band a link carries f(b) = b·R(γ/(m·b)), R its goodput on the whole band and γ/(m·b)
    its SINR with its power, one of its sender's m parts, put into b. The earliest common end T is the smallest one
    for which Σ b_i(T) ≤ 1, with b_i(T) the least b with f_i(b) ≥ bits left / T. It is the bandwidth allocation of
    distributed mixtures of experts, where a token waits for its slowest expert: B_j·log2(1 + P·g/(N0·B_j)) bit/s
    in WDMoE (arXiv 2405.03131, 2411.06681).

    With smooth link adaptation T is exact to 1e-9. With discrete schemes f is a saw-tooth; its
    running maximum is searched on a grid, so a narrow tooth can be missed. A transfer that would
    end before T is slowed down to end with the others.

    Left out: what is yet to start; the split is made anew when it does. Transfers without a rate in any part get none.
    """

    kind: ClassVar[str] = "min_max_latency"

    def activity(self, load: Load) -> FloatArray:
        """Return the part of its sender's power: senders are on air all the time."""
        return 1.0 / load.legs_of_sender

    def plan(self, load: Load) -> Plan:
        """Return the best split of the band."""
        return _divided(load, *_best_split(load))


def _divided(load: Load, part: FloatArray, used: FloatArray | float = 1.0) -> Plan:
    """Return the plan for parts [n] of the band, of whose time a fraction is ``used``."""
    own, on_air = load.legs_of_sender, np.asarray(used) * (part > 0)
    concentration = 1.0 / (own * np.where(part > 0, part, 1.0))
    return Plan(part * used, concentration, on_air / own, on_air / load.legs_of_receiver)


_LEAST_PART = 1e-9
_GRID, _MAX_ROUNDS, _PRECISION = 129, 12, 1e-10


def _best_split(load: Load) -> tuple[FloatArray, FloatArray]:
    """Return the parts of the band [n] that minimise the last end, and how much of their time is used [n].

    Each round puts a geometric grid into every transfer's bracket of b. As T falls, transfers step up their
    grids, one at each T = bits / f(b). T is feasible while the points reached sum to 1 at most, and
    infeasible once the points before them exceed 1; what lies between is the next round's bracket.
    """
    num, own = len(load), load.legs_of_sender
    alive = load.rate_at(1.0 / (own * np.full(num, _LEAST_PART))) > 0
    if not alive.any():
        return np.zeros(num), np.zeros(num)
    low, high = np.where(alive, _LEAST_PART, 1.0), np.ones(num)
    leg, steps = np.arange(num), np.linspace(0.0, 1.0, _GRID)[:, None]
    for _ in range(_MAX_ROUNDS):
        part = low * (high / low) ** steps  # [G, n]
        part[0], part[-1] = low, high  # not beside them: rates may jump there
        rate_bps = np.maximum.accumulate(part * load.rate_at(1.0 / (own * part)), axis=0)
        end_s = np.divide(load.bits_left, rate_bps, out=np.zeros(part.shape), where=alive)
        step = np.diff(part * alive, axis=0)
        never, none = np.where(alive, np.inf, 0.0), np.zeros(num)
        spent = float(part[0, alive].sum())
        latest_s = _lowest(end_s, np.vstack([step, never]), spent)
        earliest_s = _lowest(end_s, np.vstack([none, step[:-1], step[-1] + never]), spent)
        reached = np.sum(end_s > latest_s, axis=0)
        low = part[np.maximum(reached - 1, 0), leg]
        high = part[np.sum(end_s > earliest_s, axis=0), leg]
        if latest_s <= earliest_s * (1.0 + _PRECISION):
            break
    return part[reached, leg] * alive, end_s[reached, leg] / latest_s * alive


def _lowest(end_s: FloatArray, step: FloatArray, spent: float) -> float:
    """Return how low T can go if below each ``end_s`` [G, n] it costs a ``step`` [G, n] more than what is ``spent``."""
    order = np.argsort(-end_s, axis=None, kind="stable")
    exceeds = spent + np.cumsum(step.ravel()[order]) > 1.0
    return float(end_s.ravel()[order[np.argmax(exceeds)]])
