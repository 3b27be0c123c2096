"""Interactive figures of devices: energy, utilisation, experts, and the map of links."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np

from analysis.figures.series import COMPONENTS, client_names, energy_by_device, expert_use, link_sinr, samples_held
from analysis.figures.style import color
from analysis.report.hops import kind_of
from analysis.report.plot import CATEGORIES, Plot, numbers, stacked
from analysis.report.reading import ReportRun
from analysis.report.runs import Comparison

_NUM_SINR_BINS = 8
_MOST_CELLS = 40_000
_MOST_NAMES = 40


def energy(run: ReportRun, phase: str) -> Plot:
    """Return the energy of each device in a phase, by component."""
    joules = energy_by_device(run.tables, phase)
    traces = stacked({name: list(joules[name]) for name in COMPONENTS}, [escape(str(name)) for name in joules.index])
    traces = [{**trace, "visible": "legendonly"} if trace["name"] == "idle" else trace for trace in traces]
    layout = {"barmode": "stack", "yaxis": {"title": "energy (J)"}, "xaxis": CATEGORIES}
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
    layout = {"barmode": "group", "yaxis": {"title": "busy share of inference (%)"}, "xaxis": CATEGORIES}
    return Plot("Utilisation of compute", traces, layout)


def expert_heat_map(run: ReportRun) -> Plot:
    """Return which share of a client's requests asks which expert."""
    counts = expert_use(run.tables)
    per_client = run.tables["requests"]["client"].value_counts().reindex(counts.index, fill_value=0)
    shares = counts.to_numpy() / np.maximum(per_client.to_numpy(), 1)[:, None]
    return _heat_map("Who asks which expert", shares, counts.index, counts.columns, "expert", "share of requests")


def partition_heat_map(run: ReportRun) -> Plot:
    """Return how many training samples of each class every client has, and whose images look different."""
    counts, names = samples_held(run.tables), client_names(run.tables)
    rows = [names[client] for client in counts.index]
    return _heat_map("Who learnt from what", counts.to_numpy(), rows, counts.columns, "class", "samples")


def sinr_map(run: ReportRun, medium: str) -> Plot:
    """Return devices where they are and links in the colour of their median SINR."""
    links = link_sinr(run.tables)
    links = links[np.isfinite(links["sinr_db"].astype("float64"))]
    low = 5 * np.floor(links["sinr_db"].min() / 5)
    high = 5 * np.ceil(links["sinr_db"].max() / 5)
    links = links[links["medium"].map(kind_of) == medium]
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
    traces.append(
        {"type": "scatter", "mode": "markers", "x": [None], "y": [None], "marker": {**scale, "colorbar": bar}}
    )
    devices = run.tables["devices"]
    traces.append(
        {
            "type": "scatter",
            "mode": "markers+text" if len(devices) <= _MOST_NAMES else "markers",
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
        "xaxis": {"title": what, **CATEGORIES},
        "yaxis": {"autorange": "reversed", **CATEGORIES},
    }
    return Plot(title, [trace], layout)


def _viridis(share: float) -> str:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return to_hex(colormaps["viridis"](share))
