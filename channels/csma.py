"""Carrier sense with collision avoidance: the saturation model of IEEE 802.11's DCF (Bianchi 2000).

n stations always have a packet. Each sends in a slot with probability τ, independently of the others, and collides
with probability p = 1 − (1 − τ)^(n−1). A backoff is uniform on 0 … 2^i·W − 1 slots after i collisions, i ≤ m. So

    τ = 2 / (1 + W + p·W·Σ_{i=0}^{m−1} (2p)^i)

which with p is a fixed point in one unknown (G. Bianchi, "Performance analysis of the IEEE 802.11 distributed
coordination function", IEEE JSAC 18(3), 2000, equations 7 and 9). That p is constant is the model's approximation;
it is best with many stations. Left out: retry limits, capture, hidden nodes, channel errors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


class Contention(NamedTuple):
    """What saturated stations get; the same for each."""

    packet_hz: float
    """Packets each station gets through a second."""
    attempt_hz: float
    """Packets each station sends a second, collided ones included."""


def attempt_probability(num_stations: ArrayLike, *, window: int, num_doublings: int) -> FloatArray:
    """Probability τ that a station sends in a slot.

    Parameters
    ----------
    num_stations : array_like
        Number n ≥ 1 of stations that contend.
    window : int
        First contention window W in slots: CWmin + 1.
    num_doublings : int
        How often collisions double it, m: log2((CWmax + 1) / (CWmin + 1)).

    Returns
    -------
    ndarray of float64
        Of the shape of ``num_stations``; 2/(W + 1) for one station.

    Notes
    -----
    Solved by bisection of p on [0, 1]: τ(p) falls, so p − (1 − (1 − τ(p))^(n−1)) rises from ≤ 0 to ≥ 0.
    """
    others = np.asarray(num_stations, dtype=np.float64) - 1.0
    if not np.all(others >= 0):
        raise ValueError("num_stations must be 1 or more")
    low, high = np.zeros(others.shape), np.ones(others.shape)
    for _ in range(60):
        p = 0.5 * (low + high)
        above = p >= collision_probability(_attempt(p, window, num_doublings), others + 1.0)
        low, high = np.where(above, low, p), np.where(above, p, high)
    return _attempt(0.5 * (low + high), window, num_doublings)


def collision_probability(attempt_probability: ArrayLike, num_stations: ArrayLike) -> FloatArray:
    """Probability that a packet collides: 1 − (1 − τ)^(n−1), of the broadcast shape."""
    quiet = 1.0 - np.asarray(attempt_probability, dtype=np.float64)
    return np.asarray(1.0 - quiet ** (np.asarray(num_stations, dtype=np.float64) - 1.0))


def _attempt(p: FloatArray, window: int, num_doublings: int) -> FloatArray:
    doubled = sum(((2.0 * p) ** i for i in range(num_doublings)), start=np.zeros(p.shape))
    return np.asarray(2.0 / (1.0 + window + p * window * doubled))


def saturation(
    frame_s: ArrayLike,
    *,
    attempt_probability: float,
    slot_s: float,
    success_overhead_s: float,
    collision_overhead_s: float,
) -> Contention:
    """Packets a second of stations that always have one to send.

    Parameters
    ----------
    frame_s : array_like [n]
        How long a frame of each station is on air.
    attempt_probability : float
        Probability τ that a station sends in a slot.
    slot_s : float
        Length σ of an idle slot.
    success_overhead_s : float
        What follows a frame that got through: SIFS, acknowledgement, DIFS.
    collision_overhead_s : float
        What follows a collision: Bianchi counts DIFS; by the standard, those who heard it wait EIFS.

    Returns
    -------
    Contention

    Notes
    -----
    The mean time between two points at which counters are decremented is

        E = (1−τ)^n σ + τ(1−τ)^(n−1) Σ_i (d_i + o_s) + Σ_k τ(1−τ)^(n−k) (1 − (1−τ)^(k−1)) (d_k + o_c)

    with frames in ascending order in the last sum: a collision lasts as long as its longest frame, d_k if k sends,
    none longer does, and some shorter does. Each station gets τ(1−τ)^(n−1)/E packets a second through, whatever its
    rate: the performance anomaly (Heusse et al., INFOCOM 2003).
    """
    frames_s = np.sort(np.asarray(frame_s, dtype=np.float64))
    num, tau = len(frames_s), attempt_probability
    quiet = 1.0 - tau
    rank = np.arange(1, num + 1)
    alone = tau * quiet ** (num - 1)
    longest = tau * quiet ** (num - rank) * (1.0 - quiet ** (rank - 1.0))
    mean_s = (
        quiet**num * slot_s
        + alone * float(np.sum(frames_s + success_overhead_s))
        + float(np.sum(longest * (frames_s + collision_overhead_s)))
    )
    return Contention(alone / mean_s, tau / mean_s)
