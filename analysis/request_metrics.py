"""Metrics of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class RequestMetric:
    """A value of each request."""

    name: str
    meaning: str
    formula: str
    """Over columns; Σ is over the request's rows of ``compute`` (jobs) or ``transfers`` (hops)."""
    unit: str
    better: Literal["lower", "higher"]
    values: Callable[[Tables], pd.Series[Any]]
    """By ``request_id``, in order of arrival; null where a request has none."""


def column_of_requests(tables: Tables, column: str) -> pd.Series[Any]:
    """Return a column of ``requests`` by ``request_id``."""
    return tables["requests"].set_index("request_id")[column].astype("Float64")


def _sum(table: str, part: Callable[[pd.DataFrame], pd.Series[Any]]) -> Callable[[Tables], pd.Series[Any]]:
    """Return the sum of a part over each request's rows of a table; 0 for a request without rows."""

    def values(tables: Tables) -> pd.Series[Any]:
        rows = tables[table]
        rows = rows[rows["request_id"].notna()]
        sums = part(rows).groupby(rows["request_id"].astype("int64")).sum()
        ids = pd.Index(tables["requests"]["request_id"], name="request_id")
        return sums.reindex(ids, fill_value=0.0).astype("Float64")

    return values


REQUEST_METRICS: tuple[RequestMetric, ...] = (
    RequestMetric(
        "latency_s",
        "from asking to the answer",
        "requests.t_done_s − requests.t_arrival_s",
        "s",
        "lower",
        lambda t: column_of_requests(t, "t_done_s") - column_of_requests(t, "t_arrival_s"),
    ),
    RequestMetric(
        "waiting_s",
        "its jobs wait for devices",
        "Σ (compute.t_start_s − compute.t_ready_s)",
        "s",
        "lower",
        _sum("compute", lambda jobs: jobs["t_start_s"] - jobs["t_ready_s"]),
    ),
    RequestMetric(
        "computing_s",
        "its jobs run",
        "Σ (compute.t_end_s − compute.t_start_s)",
        "s",
        "lower",
        _sum("compute", lambda jobs: jobs["t_end_s"] - jobs["t_start_s"]),
    ),
    RequestMetric(
        "access_s",
        "its hops wait for their first bit",
        "Σ (transfers.t_start_s − transfers.t_ready_s)",
        "s",
        "lower",
        _sum("transfers", lambda hops: hops["t_start_s"] - hops["t_ready_s"]),
    ),
    RequestMetric(
        "airtime_s",
        "media work for its hops alone",
        "Σ transfers.airtime_s",
        "s",
        "lower",
        _sum("transfers", lambda hops: hops["airtime_s"]),
    ),
    RequestMetric(
        "sharing_s",
        "its hops by radio are on air while media work for others",
        "Σ (transfers.t_end_s − transfers.t_start_s − transfers.airtime_s − transfers.tail_s); wires left out",
        "s",
        "lower",
        _sum("transfers", lambda hops: hops["t_end_s"] - hops["t_start_s"] - hops["airtime_s"] - hops["tail_s"]),
    ),
    RequestMetric(
        "energy_j",
        "marginal energy; idle power isn't in it",
        "Σ compute.energy_j + Σ (transfers.tx_energy_j + transfers.rx_energy_j)",
        "J",
        "lower",
        lambda t: (
            _sum("compute", lambda jobs: jobs["energy_j"])(t)
            + _sum("transfers", lambda hops: hops["tx_energy_j"] + hops["rx_energy_j"])(t)
        ),
    ),
    RequestMetric(
        "n_bytes",
        "bytes sent, counted on every hop and attempt",
        "Σ transfers.bytes_sent",
        "B",
        "lower",
        _sum("transfers", lambda hops: hops["bytes_sent"]),
    ),
)
"""Every metric of a request."""
