"""Interactive figures of learning."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.learning import X_LABELS, X_SCALES
from analysis.figures.series import Against, Band, bands, mean_over_seeds, training_curves
from analysis.figures.style import color
from analysis.report.plot import CATEGORIES, Plot, numbers
from analysis.report.reading import ReportRun
from analysis.report.runs import Comparison, Group

_DASHES = ("solid", "dash", "dot", "dashdot")


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
        means, halves = mean_over_seeds([100 * final.reindex(metrics).to_numpy(dtype=np.float64) for final in finals])
        trace = {
            "type": "bar",
            "name": escape(group.label),
            "x": [escape(metric.removeprefix("accuracy_").replace("_", " ")) for metric in metrics],
            "y": numbers(means),
            "marker": {"color": color(position)},
        }
        if np.isfinite(halves).any():
            trace["error_y"] = {
                "type": "data",
                "array": numbers(halves),
                "color": "#808080",
                "thickness": 1.2,
                "width": 4,
            }
        traces.append(trace)
    layout = {"barmode": "group", "xaxis": CATEGORIES, "yaxis": {"title": "accuracy (%)", "range": [0, 105]}}
    return Plot(f"Accuracy of the trained model, {split} test set", traces, layout)


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


def _has_seeds(comparison: Comparison) -> bool:
    return any(len(group.runs) > 1 for group in comparison.groups)
