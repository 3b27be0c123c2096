"""Which requests of a run a report looks at closely. No randomness: the same run gives the same choice."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def evenly(requests: pd.DataFrame, num: int) -> Ids:
    """Return at most ``num`` request ids, evenly spaced over the order of arrival."""
    ids = _ids(requests)
    if len(ids) <= num:
        return ids
    return ids[np.linspace(0, len(ids) - 1, num).round().astype(np.int64)]


def slowest(requests: pd.DataFrame, num: int) -> Ids:
    """Return the ids of the ``num`` answered requests with the highest latency, the worst first."""
    answered = requests[requests["latency_s"].notna()]
    return _ids(answered.sort_values(["latency_s", "request_id"], ascending=[False, True]).head(num))


def unanswered(requests: pd.DataFrame, num: int) -> Ids:
    """Return the ids of the first ``num`` requests that got no answer."""
    return _ids(requests[requests["latency_s"].isna()].head(num))


def busiest(requests: pd.DataFrame, num: int) -> Ids:
    """Return the ids of ``num`` consecutive requests around the time when most are in flight.

    A request without an answer is in flight at its arrival only.
    """
    arrival_s = requests["t_arrival_s"].to_numpy(dtype=np.float64)
    done_s = requests["t_done_s"].to_numpy(dtype=np.float64, na_value=np.nan)
    ids = _ids(requests)[np.argsort(arrival_s, kind="stable")]
    if len(ids) <= num:
        return ids
    begun = np.sort(arrival_s)
    ended = np.searchsorted(np.sort(np.where(np.isnan(done_s), arrival_s, done_s)), begun, side="left")
    peak = int(np.argmax(np.arange(1, len(begun) + 1) - ended))
    first = min(max(peak - num // 2, 0), len(ids) - num)
    return ids[first : first + num]


def _ids(requests: pd.DataFrame) -> Ids:
    return requests["request_id"].to_numpy(dtype=np.int64)
