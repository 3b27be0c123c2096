"""What equal sharing must have given to the transfers of a medium, recomputed from when they were on air."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class Sweep:
    """A medium's time, event by event; arrays of length T are by transfer."""

    airtime_s: Seconds
    """∫ dt/n over the time on air [T], with n(t) the transfers on air."""
    period: NDArray[np.int64]
    """Busy period the transfer is in [T]; -1 for one that took no time."""
    steps: NDArray[np.float64]
    """Σ 1/n over the intervals between events while on air [T]: roundings of the clock in its airtime."""


def sweep(t_start_s: Seconds, t_end_s: Seconds) -> Sweep:
    """Sweep over the starts and ends of one medium's transfers.

    The airtime given since the medium was last idle is summed up between events.

    Parameters
    ----------
    t_start_s, t_end_s : ndarray of float64 [T]
        When each transfer was on air, t_end_s >= t_start_s.
    """
    times = np.unique(np.concatenate([t_start_s, t_end_s]))
    first, last = np.searchsorted(times, t_start_s), np.searchsorted(times, t_end_s)
    change = np.bincount(first, minlength=len(times)) - np.bincount(last, minlength=len(times))
    active = np.cumsum(change)[:-1]
    given_s, steps, period = np.zeros(len(times)), np.zeros(len(times)), np.full(len(times), -1)
    num_periods = 0
    for k, (n, elapsed_s) in enumerate(zip(active.tolist(), np.diff(times).tolist(), strict=True)):
        if n:
            if k == 0 or active[k - 1] == 0:
                num_periods += 1
                given_s[k] = 0.0  # nothing that was on air before counts from here
            period[k] = num_periods - 1
            given_s[k + 1] = given_s[k] + elapsed_s / n
            steps[k + 1] = steps[k] + 1.0 / n
    lasting = last > first
    airtime_s = np.where(lasting, given_s[last] - given_s[first], 0.0)
    return Sweep(airtime_s, np.where(lasting, period[first], -1), np.where(lasting, steps[last] - steps[first], 0.0))


def most_excess_s(t_start_s: Seconds, t_end_s: Seconds, airtime_s: Seconds) -> float:
    """Return by how much the airtime given within an interval exceeds the interval, at worst.

    Over all intervals from a start to an end of transfers: the airtime of those that lie within it,
    less its length. At most 0 for a medium that gives no more than its time.
    """
    order = np.argsort(t_end_s, kind="stable")
    start_s, end_s, given_s = t_start_s[order], t_end_s[order], airtime_s[order]
    worst_s = -np.inf
    for begin_s in np.unique(start_s):
        inside = start_s >= begin_s
        worst_s = max(worst_s, float(np.max(np.cumsum(given_s[inside]) - (end_s[inside] - begin_s))))
    return worst_s
