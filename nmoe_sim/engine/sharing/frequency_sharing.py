"""Policies that give every transfer a part of the band all the time, with its power put into that part."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

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
    divides_band: ClassVar[bool] = True

    def activity(self, load: Load) -> FloatArray:
        """Return the part of its sender's power: senders are on air all the time."""
        return 1.0 / load.legs_of_sender

    def audible(self, load: Load) -> NDArray[np.bool_]:
        """Return which have a rate in one of equal parts [n]."""
        return load.rate_at(1.0 / (load.legs_of_sender * np.full(len(load), 1.0 / len(load)))) > 0

    def plan(self, load: Load) -> Plan:
        """Return equal parts of the band."""
        return _divided(load, np.full(len(load), 1.0 / len(load)))


class MinMaxLatency(Sharing):
    """The split of the band with which the last of the active transfers ends as early as possible.

    With a part b of the band a link carries f(b) = b·R(γ/(m·b)), R its rate on the whole band and γ/(m·b)
    its SINR with its power, one of its sender's m parts, put into b. The earliest common end T is the smallest one
    for which Σ b_i(T) ≤ 1, with b_i(T) the least b with f_i(b) ≥ bits left / T. It is the bandwidth allocation of
    distributed mixtures of experts, where a token waits for its slowest expert: B_j·log2(1 + P·g/(N0·B_j)) bit/s
    in WDMoE (arXiv 2405.03131, 2411.06681).

    R may be any law that doesn't fall with SINR. Where it is smooth, T is exact to 1e-9; with discrete schemes f is a
    saw-tooth, whose running maximum counts, and T within about 0.1 %. A transfer that would end before T is slowed
    down to end with the others.

    Left out: what is yet to start; the split is made anew when it does. Blocks that HARQ gives up.
    """

    kind: ClassVar[str] = "min_max_latency"
    divides_band: ClassVar[bool] = True

    def activity(self, load: Load) -> FloatArray:
        """Return the part of its sender's power: senders are on air all the time."""
        return 1.0 / load.legs_of_sender

    def audible(self, load: Load) -> NDArray[np.bool_]:
        """Return which have a rate in the least part of the band [n]."""
        return load.rate_at(1.0 / (load.legs_of_sender * np.full(len(load), _LEAST_PART))) > 0

    def plan(self, load: Load) -> Plan:
        """Return the best split of the band."""
        return _divided(load, *_best_split(load))


def _divided(load: Load, part: FloatArray, used: FloatArray | float = 1.0) -> Plan:
    """Return the plan for parts [n] of the band, of whose time a fraction is ``used``."""
    own, on_air = load.legs_of_sender, np.asarray(used) * (part > 0)
    concentration = 1.0 / (own * np.where(part > 0, part, 1.0))
    return Plan(part * used, concentration, part, on_air / own, on_air / load.legs_of_receiver)


_LEAST_PART = 1e-9
_COARSE, _FINE, _CAUTIOUS_ROUNDS, _MAX_ROUNDS, _PRECISION = 128, 16, 3, 16, 1e-10


def _best_split(load: Load) -> tuple[FloatArray, FloatArray]:
    """Return the parts of the band [n] that minimise the last end, and how much of their time is used [n].

    Each round puts a grid into every transfer's bracket of b and lets T fall. Transfers step up their
    grids, each at T = bits / f(b) of a point; T is feasible while the points reached sum to 1 at most, and
    infeasible once the points before them exceed 1. The next round's brackets lie between the two. In the first
    rounds f may jump between two points: it is at most the upper one times R at the lower one. Grids are densest
    just above the best point so far, where the peak of a tooth would be.
    """
    num, own = len(load), load.legs_of_sender
    alive = load.rate_at(1.0 / (own * np.full(num, _LEAST_PART))) > 0
    best_s, best = np.inf, (np.zeros(num), np.zeros(num))
    if not alive.any():
        return best
    low, high, leg = np.where(alive, _LEAST_PART, 1.0), np.ones(num), np.arange(num)
    middle = np.maximum(low, 1.0 / num)
    for round_ in range(_MAX_ROUNDS):
        steps = np.linspace(0.0, 1.0, _FINE if round_ else _COARSE)[1:-1, None]
        lower, upper = low * (middle / low) ** steps, middle * (high / middle) ** steps**3
        part = np.vstack([low, lower, middle, upper, high])  # [G, n]
        rate_bps = load.rate_at(1.0 / (own * part))
        end_s = _earliest(load.bits_left, part * rate_bps, alive)
        most_bps = part[1:] * (rate_bps[:-1] if round_ < _CAUTIOUS_ROUNDS else rate_bps[1:])
        bound_s = _earliest(load.bits_left, most_bps, alive)
        step = np.diff(part * alive, axis=0)
        never = np.where(alive, np.inf, 0.0)
        spent = float(part[0, alive].sum())
        latest_s = _lowest(end_s, np.vstack([step, never]), spent)
        earliest_s = _lowest(bound_s, np.vstack([step[:-1], never]), spent)
        if latest_s < best_s:
            reached = np.sum(end_s > latest_s, axis=0)
            middle = part[reached, leg]
            best_s, best = latest_s, (middle * alive, end_s[reached, leg] / latest_s * alive)
        if best_s <= earliest_s * (1.0 + _PRECISION):
            break
        low = part[np.sum(bound_s > best_s, axis=0), leg]
        high = part[np.minimum(np.sum(end_s > earliest_s, axis=0), len(part) - 1), leg]
        middle = np.clip(middle, low, high)
    return best


def _earliest(bits: FloatArray, rate_bps: FloatArray, alive: NDArray[np.bool_]) -> FloatArray:
    """Return when each would end with as much of the band as at a grid point or less [G, n]; 0 without a rate."""
    return np.divide(bits, np.maximum.accumulate(rate_bps, axis=0), out=np.zeros(rate_bps.shape), where=alive)


def _lowest(end_s: FloatArray, step: FloatArray, spent: float) -> float:
    """Return how low T can go if below each ``end_s`` [G, n] it costs a ``step`` [G, n] more than what is ``spent``."""
    order = np.argsort(-end_s, axis=None)
    exceeds = spent + np.cumsum(step.ravel()[order]) > 1.0
    return float(end_s.ravel()[order[np.argmax(exceeds)]])
