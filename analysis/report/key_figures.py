"""The key figures of runs, with confidence intervals where several seeds were run."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from analysis.figures.series import mean_over_seeds
from analysis.report.reading import ReportRun
from analysis.report.runs import Comparison, Group


@dataclass(frozen=True)
class KeyFigure:
    """A figure of a run (see ``ReportRun.figure``) and how it is shown."""

    label: str
    column: str
    scale: float
    unit: str


KEY_FIGURES = (
    KeyFigure("accuracy, global test set", "accuracy_global", 100, "%"),
    KeyFigure("accuracy, local test sets", "accuracy_local", 100, "%"),
    KeyFigure("accuracy of answers served", "accuracy_served", 100, "%"),
    KeyFigure("latency, median", "latency_p50_s", 1e3, "ms"),
    KeyFigure("latency, mean", "latency_mean_s", 1e3, "ms"),
    KeyFigure("latency, 95th percentile", "latency_p95_s", 1e3, "ms"),
    KeyFigure("latency, 99th percentile", "latency_p99_s", 1e3, "ms"),
    KeyFigure("requests completed", "completed_ratio", 100, "%"),
    KeyFigure("deadline met", "deadline_met_ratio", 100, "%"),
    KeyFigure("energy per request, marginal", "energy_per_request_j", 1e3, "mJ"),
    KeyFigure("energy in all, idle included", "energy_total_j", 1e-3, "kJ"),
    KeyFigure("bytes moved in training", "bytes_training", 1e-6, "MB"),
    KeyFigure("bytes moved in inference", "bytes_inference", 1e-6, "MB"),
    KeyFigure("simulated training time", "training_time_s", 1, "s"),
    KeyFigure("fairness of expert load (Jain)", "expert_load_jain", 1, ""),
    KeyFigure("hops tried again", "retried_ratio", 100, "%"),
    KeyFigure("HARQ retransmissions a hop", "retransmissions_mean", 1, ""),
    KeyFigure("handovers", "num_handovers", 1, ""),
)
_ONLY_WHERE_THEY_ARE = ("retried_ratio", "retransmissions_mean", "num_handovers")
"""Figures left out where no run has any."""
CARDS = (
    "accuracy_global",
    "accuracy_local",
    "latency_p50_s",
    "latency_p99_s",
    "energy_per_request_j",
    "bytes_training",
)
"""The figures shown large when all runs are of one scenario."""


def value_text(values: list[float], figure: KeyFigure) -> tuple[str, str]:
    """Return a figure of several seeds as text: the mean, and its 95 % interval's half-width or nothing.

    Nulls are left out; if nothing is left the mean is a dash.
    """
    known = figure.scale * np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return "–", ""
    mean, half_width = mean_over_seeds(known)
    if np.isnan(half_width):
        return _number(float(mean), 4), ""
    if half_width == 0:
        return _number(float(mean), 4), "0"
    decimals = max(0, 1 - int(np.floor(np.log10(half_width))))
    return f"{mean:,.{decimals}f}", f"{half_width:,.{decimals}f}"


def cards_html(group: Group) -> str:
    """Return the most asked-for figures of a scenario, large."""
    cards = []
    for figure in KEY_FIGURES:
        if figure.column in CARDS:
            mean, half_width = value_text(_values(group.runs, figure), figure)
            interval = f"<small>± {half_width}</small>" if half_width else ""
            cards.append(
                f'<div class="card"><span>{figure.label}</span><b>{mean}</b> <i>{figure.unit}</i> {interval}</div>'
            )
    return f'<div class="cards">{"".join(cards)}</div>'


def groups_html(comparison: Comparison) -> str:
    """Return the table of key figures: one column a scenario, mean and interval over its seeds."""
    heads = "".join(
        f'<th scope="col">{escape(group.label)}<small>{_seeds(group)}</small></th>' for group in comparison.groups
    )
    return _table(heads, [group.runs for group in comparison.groups])


def runs_html(comparison: Comparison) -> str:
    """Return the table of key figures with one column a run."""
    heads = "".join(f'<th scope="col">{escape(label)}</th>' for label in comparison.labels)
    return _table(heads, [(run,) for run in comparison.labels.values()])


def _table(heads: str, columns: list[tuple[ReportRun, ...]]) -> str:
    rows = []
    for figure in KEY_FIGURES:
        everything = [value for runs in columns for value in _values(runs, figure)]
        if figure.column in _ONLY_WHERE_THEY_ARE and np.isnan(everything).all():
            continue
        cells = []
        for runs in columns:
            mean, half_width = value_text(_values(runs, figure), figure)
            cells.append(f"<td>{mean}{f' <small>± {half_width}</small>' if half_width else ''}</td>")
        rows.append(f'<tr><th scope="row">{figure.label}</th>{"".join(cells)}<td class="unit">{figure.unit}</td></tr>')
    head = f'<tr><th scope="col">figure</th>{heads}<th scope="col" class="unit">unit</th></tr>'
    return (
        f'<div class="scroll"><table class="figures"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _values(runs: tuple[ReportRun, ...], figure: KeyFigure) -> list[float]:
    values = [run.figure(figure.column) for run in runs]
    return [float("nan") if value is None else float(value) for value in values]


def _seeds(group: Group) -> str:
    return "1 run" if len(group.runs) == 1 else f"{len(group.runs)} seeds"


def _number(value: float, digits: int) -> str:
    """Return a number with so many significant digits, without an exponent."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{decimals}f}"
