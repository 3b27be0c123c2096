"""Metrics of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.request_metrics import Tables, column_of_requests


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


def _mean(column: str) -> Callable[[Tables], float]:
    def value(tables: Tables) -> float:
        values = column_of_requests(tables, column).dropna()
        return float(values.mean()) if len(values) else float("nan")

    return value


def _quantile(q: float) -> Callable[[Tables], float]:
    def value(tables: Tables) -> float:
        latency_s = column_of_requests(tables, "latency_s").dropna()
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


def _retried_ratio(tables: Tables) -> float:
    hops = tables["transfers"]
    return float((hops["attempt"] > 0).mean()) if len(hops) else float("nan")


def _retransmissions(tables: Tables) -> float:
    hops = tables["transfers"]
    hops = hops[hops["airtime_s"].notna()]
    return float(hops["retransmissions"].mean()) if len(hops) else float("nan")


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
    RunMetric(
        "retried_ratio",
        "hops that had failed and were tried again, of all attempts at hops, both phases",
        "share of transfers.attempt > 0",
        "",
        "lower",
        _retried_ratio,
    ),
    RunMetric(
        "retransmissions_mean",
        "HARQ retransmissions of a hop by radio, both phases",
        "mean of transfers.retransmissions where transfers.airtime_s isn't null",
        "",
        "lower",
        _retransmissions,
    ),
    RunMetric(
        "num_handovers",
        "changes of base station, both phases",
        "count(handovers.t_s)",
        "",
        "lower",
        lambda tables: float(len(tables["handovers"])),
    ),
)
"""Every metric of a run."""
