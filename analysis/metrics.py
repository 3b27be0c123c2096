"""What is measured, each metric a formula over the named columns of the tables.

``REQUEST_METRICS`` give a value a request, ``RUN_METRICS`` one a run. Sums over a request's jobs and hops count
all of them, also those that went on side by side: how latency divides up along the critical path is
``analysis.latency_breakdown``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
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


@dataclass(frozen=True)
class RunMetric:
    """A value of a run."""

    name: str
    meaning: str
    formula: str
    unit: str
    better: Literal["lower", "higher"]
    value: Callable[[Tables], float]
    """NaN where a run has none, such as a mean over no requests."""


def _requests(tables: Tables, column: str) -> pd.Series[Any]:
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


def _mean(column: str) -> Callable[[Tables], float]:
    def value(tables: Tables) -> float:
        values = _requests(tables, column).dropna()
        return float(values.mean()) if len(values) else float("nan")

    return value


def _quantile(q: float) -> Callable[[Tables], float]:
    def value(tables: Tables) -> float:
        latency_s = _requests(tables, "latency_s").dropna()
        return float(np.percentile(latency_s.to_numpy(np.float64), 100 * q)) if len(latency_s) else float("nan")

    return value


def _share(column: str, accepted: object = True) -> Callable[[Tables], float]:
    def value(tables: Tables) -> float:
        known = tables["requests"][column].dropna()
        return float((known == accepted).mean()) if len(known) else float("nan")

    return value


def _per_second(column: str, accepted: object) -> Callable[[Tables], float]:
    def value(tables: Tables) -> float:
        requests, summary = tables["requests"], tables["summary"]
        good = (requests[column] == accepted).fillna(False)
        return float(good.sum()) / float(summary["inference_time_s"].iloc[0])

    return value


def _energy(components: tuple[str, ...]) -> Callable[[Tables], float]:
    def value(tables: Tables) -> float:
        energy = tables["energy"]
        return float(energy.loc[energy["component"].isin(components), "energy_j"].sum())

    return value


REQUEST_METRICS: tuple[RequestMetric, ...] = (
    RequestMetric(
        "latency_s",
        "from asking to the answer",
        "requests.t_done_s − requests.t_arrival_s",
        "s",
        "lower",
        lambda t: _requests(t, "t_done_s") - _requests(t, "t_arrival_s"),
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
        "its hops are on air while media work for others",
        "Σ (transfers.t_end_s − transfers.t_start_s − transfers.airtime_s)",
        "s",
        "lower",
        _sum("transfers", lambda hops: hops["t_end_s"] - hops["t_start_s"] - hops["airtime_s"]),
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
        "bytes moved, counted on every hop",
        "Σ transfers.n_bytes",
        "B",
        "lower",
        _sum("transfers", lambda hops: hops["n_bytes"]),
    ),
)
"""Every metric of a request."""

RUN_METRICS: tuple[RunMetric, ...] = (
    RunMetric(
        "latency_mean_s",
        "mean latency of answered requests",
        "mean of requests.latency_s",
        "s",
        "lower",
        _mean("latency_s"),
    ),
    *(
        RunMetric(
            f"latency_p{percent}_s",
            f"{percent} % of answered requests are at most this late",
            f"{percent}th percentile of requests.latency_s, interpolated",
            "s",
            "lower",
            _quantile(percent / 100),
        )
        for percent in (50, 95, 99)
    ),
    RunMetric(
        "completed_ratio",
        "requests answered",
        "share of requests.outcome = completed",
        "",
        "higher",
        _share("outcome", "completed"),
    ),
    RunMetric(
        "deadline_met_ratio",
        "requests answered in time, of all",
        "share of requests.deadline_met; none without a deadline",
        "",
        "higher",
        _share("deadline_met"),
    ),
    RunMetric(
        "served_accuracy",
        "right answers, of those given",
        "share of requests.correct where there is an answer",
        "",
        "higher",
        _share("correct"),
    ),
    RunMetric(
        "throughput_hz",
        "answers a second of the inference phase",
        "count(requests.outcome = completed) / summary.inference_time_s",
        "1/s",
        "higher",
        _per_second("outcome", "completed"),
    ),
    RunMetric(
        "goodput_hz",
        "right answers a second of the inference phase",
        "count(requests.correct) / summary.inference_time_s",
        "1/s",
        "higher",
        _per_second("correct", True),
    ),
    RunMetric(
        "energy_per_request_j",
        "mean marginal energy of a request",
        "mean of requests.energy_j",
        "J",
        "lower",
        _mean("energy_j"),
    ),
    RunMetric(
        "energy_radio_j",
        "energy of all radios, both phases",
        "Σ energy.energy_j where energy.component is tx or rx",
        "J",
        "lower",
        _energy(("tx", "rx")),
    ),
    RunMetric(
        "energy_compute_j",
        "energy of all processors above idle, both phases",
        "Σ energy.energy_j where energy.component = compute",
        "J",
        "lower",
        _energy(("compute",)),
    ),
    RunMetric(
        "energy_total_j",
        "all energy, idle included, both phases",
        "Σ energy.energy_j",
        "J",
        "lower",
        _energy(("compute", "tx", "rx", "idle")),
    ),
)
"""Every metric of a run."""


def per_request(tables: Tables) -> pd.DataFrame:
    """Return every request metric of a run: one row a request, one column a metric."""
    return pd.DataFrame({metric.name: metric.values(tables) for metric in REQUEST_METRICS})


def of_run(tables: Tables) -> dict[str, float]:
    """Return every run metric by name."""
    return {metric.name: metric.value(tables) for metric in RUN_METRICS}


def definitions() -> pd.DataFrame:
    """Return all metrics: ``metric``, ``of`` (request or run), ``meaning``, ``formula``, ``unit``, ``better``."""
    declared = [("request", metric) for metric in REQUEST_METRICS] + [("run", metric) for metric in RUN_METRICS]
    rows = [(m.name, of, m.meaning, m.formula, m.unit, m.better) for of, m in declared]
    return pd.DataFrame(rows, columns=["metric", "of", "meaning", "formula", "unit", "better"])
