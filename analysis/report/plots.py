"""The interactive figures of a report: plain Plotly data, the theme is the page's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.latency import SPAN_GROUPS, grouped_breakdown
from analysis.figures.learning import X_LABELS, X_SCALES
from analysis.figures.series import (
    COMPONENTS,
    Against,
    Band,
    bands,
    cdf,
    energy_by_device,
    expert_use,
    link_sinr,
    mean_interval,
    training_curves,
)
from analysis.figures.style import color
from analysis.report.reading import ReportRun
from analysis.report.runs import Comparison, Group

_DASHES = ("solid", "dash", "dot", "dashdot")
_NUM_TIME_BINS = 40
_NUM_SINR_BINS = 8
_MOST_CELLS = 40_000
_CATEGORIES = {"type": "category", "showgrid": False}


@dataclass(frozen=True)
class Plot:
    """One interactive figure."""

    title: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    note: str = ""


def numbers(values: Iterable[Any]) -> list[float | None]:
    """Return numbers with six significant digits, and null for what is not finite, as JSON wants it."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in np.asarray(values, dtype=np.float64)]


def latency_cdf(comparison: Comparison) -> Plot:
    """Return the distribution of latency, one curve a run."""
    traces: list[dict[str, Any]] = []
    shown: list[float] = []
    for label, run in comparison.labels.items():
        x_s, share = cdf(run.tables["requests"]["latency_s"].to_numpy(dtype=np.float64, na_value=np.nan))
        x_ms, y = numbers(1e3 * np.concatenate([x_s[:1], x_s])), numbers(np.concatenate([np.zeros(len(x_s[:1])), share]))
        shown += [1e3 * v for v in (*x_s[:1], *x_s[-1:])]
        line = {"color": comparison.color_of(label), "shape": "hv", "width": 2}
        traces.append({"type": "scatter", "mode": "lines", "name": escape(label), "x": x_ms, "y": y, "line": line})
    layout = {"xaxis": _log_axis("latency (ms)", shown), "yaxis": {"title": "share of all requests", "range": [0, 1.02]}}
    return Plot("Latency of requests", traces, layout, "A request without an answer counts as one that never ends.")


def mean_breakdown(comparison: Comparison) -> Plot:
    """Return where the mean latency goes, one bar a run."""
    means = {label: grouped_breakdown(run.tables_of(run.sampled)).mean() for label, run in comparison.labels.items()}
    names = [escape(label) for label in means]
    traces = _stacked(
        {group: [1e3 * mean[group] for mean in means.values()] for group in SPAN_GROUPS}, names, horizontal=True
    )
    layout = {
        "barmode": "stack",
        "xaxis": {"title": "mean latency (ms)"},
        "yaxis": {"autorange": "reversed", **_CATEGORIES},
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
    traces = _stacked({group: list(means[group]) for group in SPAN_GROUPS}, [str(name) for name in means.index])
    layout = {"barmode": "stack", "xaxis": _CATEGORIES, "yaxis": {"title": "mean latency (ms)"}}
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
    table = (1e3 * requests["latency_s"]).groupby(bins).quantile([0.5, 0.95]).unstack()
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
    layout = {"xaxis": {"title": "arrival, simulated time (s)"}, "yaxis": _log_axis("latency (ms)", table.to_numpy())}
    return Plot("Latency over time", traces, layout, f"In {_NUM_TIME_BINS} intervals of equal length.")


def energy(run: ReportRun, phase: str) -> Plot:
    """Return the energy of each device in a phase, by component."""
    joules = energy_by_device(run.tables, phase)
    traces = _stacked({name: list(joules[name]) for name in COMPONENTS}, [escape(str(name)) for name in joules.index])
    traces = [{**trace, "visible": "legendonly"} if trace["name"] == "idle" else trace for trace in traces]
    layout = {"barmode": "stack", "yaxis": {"title": "energy (J)"}, "xaxis": _CATEGORIES}
    return Plot(
        f"Energy of {phase}", traces, layout, "Idle energy is off: choose it in the legend; it often hides the others."
    )


def utilisation(comparison: Comparison) -> Plot:
    """Return the busy share of every device in inference, for each run."""
    traces = [
        {
            "type": "bar",
            "name": escape(label),
            "x": [escape(str(name)) for name in run.tables["devices"]["device"]],
            "y": numbers(100 * run.tables["devices"]["utilisation"]),
            "marker": {"color": comparison.color_of(label)},
        }
        for label, run in comparison.labels.items()
    ]
    layout = {"barmode": "group", "yaxis": {"title": "busy share of inference (%)"}, "xaxis": _CATEGORIES}
    return Plot("Utilisation of compute", traces, layout)


def learning(comparison: Comparison, against: Against) -> Plot:
    """Return accuracy during training, averaged over the seeds of a scenario, with 95 % bands."""
    traces: list[dict[str, Any]] = []
    dashes: dict[str, str] = {}
    for position, group in enumerate(comparison.groups):
        for band in bands([training_curves(run.tables, against) for run in group.runs]):
            name = f"{band.stage}: {band.metric.removeprefix('accuracy_')}"
            dash = dashes.setdefault(name, _DASHES[len(dashes) % len(_DASHES)])
            traces += _band(group, escape(name), band, X_SCALES[against] * band.x, color(position), dash)
    note = "Mean over seeds with the 95 % confidence band of the mean." if _has_seeds(comparison) else ""
    layout = {"xaxis": {"title": X_LABELS[against]}, "yaxis": {"title": "accuracy, global test set (%)"}}
    return Plot(f"Accuracy against {against}", traces, layout, note)


def final_accuracy(comparison: Comparison, split: str) -> Plot:
    """Return the final accuracies of each scenario, with 95 % intervals over its seeds."""
    traces = []
    for position, group in enumerate(comparison.groups):
        finals = [_finals(run, split) for run in group.runs]
        metrics = list(finals[0].index)
        means, halves = mean_interval([100 * final.reindex(metrics).to_numpy(dtype=np.float64) for final in finals])
        trace = {
            "type": "bar",
            "name": escape(group.label),
            "x": [escape(metric.removeprefix("accuracy_").replace("_", " ")) for metric in metrics],
            "y": numbers(means),
            "marker": {"color": color(position)},
        }
        if np.isfinite(halves).any():
            trace["error_y"] = {"type": "data", "array": numbers(halves), "color": "#808080", "thickness": 1.2, "width": 4}
        traces.append(trace)
    layout = {"barmode": "group", "xaxis": _CATEGORIES, "yaxis": {"title": "accuracy (%)", "range": [0, 105]}}
    return Plot(f"Accuracy of the trained model, {split} test set", traces, layout)


def expert_heat_map(run: ReportRun) -> Plot:
    """Return which share of a client's requests asks which expert."""
    counts = expert_use(run.tables)
    per_client = run.tables["requests"]["client"].value_counts().reindex(counts.index, fill_value=0)
    shares = counts.to_numpy() / np.maximum(per_client.to_numpy(), 1)[:, None]
    return _heat_map("Who asks which expert", shares, counts.index, counts.columns, "expert", "share of requests")


def partition_heat_map(run: ReportRun) -> Plot:
    """Return how many training samples of each class every client has."""
    counts = run.tables["partition"].pivot_table(
        index="client", columns="label", values="num_train", aggfunc="sum", sort=False, fill_value=0
    )
    return _heat_map("Who learnt from what", counts.to_numpy(), counts.index, counts.columns, "class", "samples")


def sinr_map(run: ReportRun, medium: str) -> Plot:
    """Return devices where they are and links in the colour of their median SINR."""
    links = link_sinr(run.tables)
    low = 5 * np.floor(links["sinr_db"].min() / 5)
    high = 5 * np.ceil(links["sinr_db"].max() / 5)
    links = links[links["medium"] == medium]
    share = (links["sinr_db"] - low) / max(high - low, 5.0)
    bins = np.minimum((share * _NUM_SINR_BINS).to_numpy().astype(np.int64), _NUM_SINR_BINS - 1)
    traces: list[dict[str, Any]] = []
    for position in np.unique(bins):
        rows = links[bins == position]
        gaps = [None] * len(rows)
        x = [v for ends in zip(numbers(rows["src_x_m"]), numbers(rows["dst_x_m"]), gaps, strict=True) for v in ends]
        y = [v for ends in zip(numbers(rows["src_y_m"]), numbers(rows["dst_y_m"]), gaps, strict=True) for v in ends]
        line = {"color": _viridis((position + 0.5) / _NUM_SINR_BINS), "width": 2}
        traces.append({"type": "scatter", "mode": "lines", "x": x, "y": y, "line": line, "hoverinfo": "skip"})
    scale = {"color": [low], "cmin": low, "cmax": high, "colorscale": "Viridis", "showscale": True}
    bar = {"title": {"text": "SINR (dB)", "side": "right"}, "thickness": 12, "outlinewidth": 0}
    traces.append({"type": "scatter", "mode": "markers", "x": [None], "y": [None], "marker": {**scale, "colorbar": bar}})
    devices = run.tables["devices"]
    traces.append(
        {
            "type": "scatter",
            "mode": "markers+text" if len(devices) <= 40 else "markers",
            "name": "devices",
            "x": numbers(devices["x_m"]),
            "y": numbers(devices["y_m"]),
            "text": [escape(str(name)) for name in devices["device"]],
            "textposition": "top center",
            "textfont": {"size": 10},
            "marker": {
                "size": [11 if kind == "base_station" else 8 for kind in devices["kind"]],
                "symbol": ["square" if kind == "base_station" else "circle" for kind in devices["kind"]],
                "color": color(0),
            },
        }
    )
    layout = {
        "showlegend": False,
        "xaxis": {"title": "east (m)", "zeroline": False},
        "yaxis": {"title": "north (m)", "scaleanchor": "x", "zeroline": False},
        "height": 420,
    }
    return Plot(f"Median SINR, {medium}", traces, layout, "Links of the run only; devices at their first position.")


def _finals(run: ReportRun, split: str) -> pd.Series[float]:
    metrics = run.tables["metrics"]
    wanted = (metrics["stage"] == "final") & metrics["client"].isna() & (metrics["split"] == split)
    return metrics[wanted].set_index("metric")["value"]


def _band(group: Group, name: str, band: Band, x: Any, line_color: str, dash: str) -> list[dict[str, Any]]:
    label = f"{escape(group.label)}, {name}"
    line = {"color": line_color, "width": 2, "dash": dash}
    mean = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label,
        "x": numbers(x),
        "y": numbers(100 * band.mean),
        "line": line,
        "marker": {"size": 5},
        "legendgroup": label,
    }
    if not np.isfinite(band.half_width).all():
        return [mean]
    low, high = (np.clip(100 * (band.mean + sign * band.half_width), 0, 100) for sign in (-1, 1))
    area = {
        "type": "scatter",
        "mode": "lines",
        "x": numbers([*x, *x[::-1]]),
        "y": numbers([*high, *low[::-1]]),
        "fill": "toself",
        "fillcolor": line_color + "33",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": label,
    }
    return [area, mean]


def _stacked(values: dict[str, list[float]], names: list[str], *, horizontal: bool = False) -> list[dict[str, Any]]:
    """Return stacked bars, one trace a part; parts that are nowhere are left out."""
    traces = []
    for position, (part, amounts) in enumerate(values.items()):
        if any(amounts):
            lengths = {"x": numbers(amounts), "y": names} if horizontal else {"x": names, "y": numbers(amounts)}
            trace = {"type": "bar", "name": part, "marker": {"color": color(position)}, **lengths}
            traces.append({**trace, "orientation": "h"} if horizontal else trace)
    return traces


def _heat_map(title: str, values: Any, rows: Iterable[Any], columns: Iterable[Any], what: str, unit: str) -> Plot:
    if values.size > _MOST_CELLS:
        return Plot(title, [], {}, f"{values.shape[0]} × {values.shape[1]} cells are too many to show.")
    trace = {
        "type": "heatmap",
        "z": [numbers(row) for row in values],
        "x": [str(column) for column in columns],
        "y": [escape(str(row)) for row in rows],
        "colorscale": "Cividis",
        "zmin": 0,
        "hovertemplate": f"%{{y}}, {what} %{{x}}: %{{z}} {unit}<extra></extra>",
        "colorbar": {"title": {"text": unit, "side": "right"}, "thickness": 12, "outlinewidth": 0},
    }
    layout = {
        "xaxis": {"title": what, **_CATEGORIES},
        "yaxis": {"autorange": "reversed", **_CATEGORIES},
    }
    return Plot(title, [trace], layout)


def _log_axis(title: str, shown: Any) -> dict[str, Any]:
    """Return a logarithmic axis, with more labels where what is shown spans little."""
    wide = len(shown) == 0 or np.max(shown) > 10 * np.min(shown)
    digits = ("1", "2", "5") if wide else ("1", "1.5", "2", "3", "4", "5", "6", "8")
    values = [float(f"{digit}e{exponent}") for exponent in range(-6, 7) for digit in digits]
    return {"title": title, "type": "log", "tickvals": values, "ticktext": [f"{value:,g}" for value in values]}


def _viridis(share: float) -> str:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return to_hex(colormaps["viridis"](share))


def _sample_note(runs: Iterable[ReportRun]) -> str:
    """Say how many requests a breakdown walked, where not all."""
    parts = [(len(run.sampled), len(run.tables["requests"])) for run in runs]
    if all(walked == total for walked, total in parts):
        return "Spans along each request's critical path."
    return f"Spans along the critical paths of every n-th request: {max(walked for walked, _ in parts):,} of a run."


def _has_seeds(comparison: Comparison) -> bool:
    return any(len(group.runs) > 1 for group in comparison.groups)
