"""Interactive figures of latency."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.latency import SPAN_GROUPS, grouped_breakdown
from analysis.figures.series import cdf
from analysis.figures.style import color
from analysis.report.plot import CATEGORIES, Plot, log_axis, numbers, stacked
from analysis.report.reading import ReportRun
from analysis.report.runs import Comparison

_NUM_TIME_BINS = 40


def latency_cdf(comparison: Comparison) -> Plot:
    """Return the distribution of latency, one curve a run."""
    traces: list[dict[str, Any]] = []
    shown: list[float] = []
    for label, run in comparison.labels.items():
        x_s, share = cdf(run.tables["requests"]["latency_s"].to_numpy(dtype=np.float64, na_value=np.nan))
        x_ms, y = (
            numbers(1e3 * np.concatenate([x_s[:1], x_s])),
            numbers(np.concatenate([np.zeros(len(x_s[:1])), share])),
        )
        shown += [1e3 * v for v in (*x_s[:1], *x_s[-1:])]
        line = {"color": comparison.color_of(label), "shape": "hv", "width": 2}
        traces.append({"type": "scatter", "mode": "lines", "name": escape(label), "x": x_ms, "y": y, "line": line})
    layout = {
        "xaxis": log_axis("latency (ms)", shown),
        "yaxis": {"title": "share of all requests", "range": [0, 1.02]},
    }
    return Plot("Latency of requests", traces, layout, "A request without an answer counts as one that never ends.")


def mean_breakdown(comparison: Comparison) -> Plot:
    """Return where the mean latency goes, one bar a run."""
    means = {label: grouped_breakdown(run.tables_of(run.sampled)).mean() for label, run in comparison.labels.items()}
    names = [escape(label) for label in means]
    traces = stacked(
        {group: [1e3 * mean[group] for mean in means.values()] for group in SPAN_GROUPS}, names, horizontal=True
    )
    layout = {
        "barmode": "stack",
        "xaxis": {"title": "mean latency (ms)"},
        "yaxis": {"autorange": "reversed", **CATEGORIES},
        "height": 150 + 34 * len(names),
    }
    return Plot("Where latency goes, on average", traces, layout, _sample_note(comparison.labels.values()))


def breakdown_by_rank(run: ReportRun) -> Plot:
    """Return where latency goes for fast and for slow requests of a run."""
    spans = grouped_breakdown(run.tables_of(run.sampled))
    rank = spans.sum(axis=1).rank(pct=True, method="first")
    names = ["fastest 50 %", "50–90 %", "90–99 %", "slowest 1 %"]
    part = pd.cut(rank, [0.0, 0.5, 0.9, 0.99, 1.0], labels=names)
    means = 1e3 * spans.groupby(part, observed=True).mean()
    traces = stacked({group: list(means[group]) for group in SPAN_GROUPS}, [str(name) for name in means.index])
    layout = {"barmode": "stack", "xaxis": CATEGORIES, "yaxis": {"title": "mean latency (ms)"}}
    return Plot("Where latency goes, fast to slow", traces, layout, _sample_note([run]))


def latency_over_time(run: ReportRun) -> Plot:
    """Return median and 95th percentile of latency over the time of arrival."""
    requests = run.tables["requests"]
    requests = requests[requests["latency_s"].notna()]
    arrival_s = requests["t_arrival_s"].to_numpy(dtype=np.float64)
    if not len(arrival_s):
        return Plot("Latency over time", [], {}, "No request was answered.")
    edges = np.linspace(arrival_s.min(), arrival_s.max(), _NUM_TIME_BINS + 1)
    bins = np.clip(np.searchsorted(edges, arrival_s, side="right") - 1, 0, _NUM_TIME_BINS - 1)
    table = (1e3 * requests["latency_s"]).groupby(bins).quantile(np.array([0.5, 0.95])).unstack()
    middle_s = (edges[:-1] + edges[1:])[table.index.to_numpy()] / 2
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": numbers(middle_s),
            "y": numbers(table[quantile]),
            "line": {"color": color(position), "width": 1.5},
            "marker": {"size": 4},
        }
        for position, (quantile, name) in enumerate(((0.5, "median"), (0.95, "95th percentile")))
    ]
    layout = {"xaxis": {"title": "arrival, simulated time (s)"}, "yaxis": log_axis("latency (ms)", table.to_numpy())}
    return Plot("Latency over time", traces, layout, f"In {_NUM_TIME_BINS} intervals of equal length.")


def _sample_note(runs: Iterable[ReportRun]) -> str:
    """Say how many requests a breakdown walked, where not all."""
    parts = [(len(run.sampled), len(run.tables["requests"])) for run in runs]
    if all(walked == total for walked, total in parts):
        return "Spans along each request's critical path."
    return f"Spans along the critical paths of every n-th request: {max(walked for walked, _ in parts):,} of a run."
