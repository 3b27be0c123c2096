"""Figures of latency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.critical_path import latency_breakdown as breakdown_of
from analysis.figures.series import Tables, cdf
from analysis.figures.style import SINGLE_COLUMN_IN, axes, color, paper_style, placeholder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPAN_GROUPS = ("compute", "airtime", "delay", "sharing", "access", "queue", "recovery", "deadline")
"""What a span of latency is spent on, from useful to in vain: the first word of ``latency_breakdown``'s columns."""


def latency_cdf(
    runs: Mapping[str, Tables], *, deadline_s: float | None = None, width_in: float = SINGLE_COLUMN_IN
) -> Figure:
    """Draw the distribution of latency, one curve a run.

    Parameters
    ----------
    runs : mapping of str to tables
        Tables of each run by the label it gets; ``requests`` is read.
    deadline_s : float, optional
        Drawn as a vertical line.
    """
    with paper_style():
        figure, ax = axes(width_in)
        for position, (label, tables) in enumerate(runs.items()):
            x_s, share = cdf(tables["requests"]["latency_s"].to_numpy(dtype=np.float64, na_value=np.nan))
            if len(x_s):
                x_ms, y = 1e3 * np.concatenate([x_s[:1], x_s]), np.concatenate([[0.0], share])
                ax.step(x_ms, y, where="post", label=label, color=color(position))
        if deadline_s is not None:
            ax.axvline(1e3 * deadline_s, color="0.4", linestyle="--", linewidth=0.8, label="deadline")
        ax.set_xscale("log")
        ax.set_ylim(0, 1.02)
        ax.set_xlabel("latency (ms)")
        ax.set_ylabel("share of requests")
        plain_log(ax.xaxis)
        if ax.has_data():
            ax.legend(loc="lower right")
        return figure


def grouped_breakdown(tables: Tables) -> pd.DataFrame:
    """Return the seconds of each completed request by what they were spent on.

    Returns
    -------
    DataFrame
        One row a completed request, columns ``SPAN_GROUPS``; a row adds up to the latency.
    """
    spans = breakdown_of(tables)
    columns = {
        group: spans[[name for name in spans.columns if name.split("_")[0] == group]].sum(axis=1)
        for group in SPAN_GROUPS
    }
    return pd.DataFrame(columns, index=spans.index)


def latency_breakdown(runs: Mapping[str, Tables], *, width_in: float = SINGLE_COLUMN_IN) -> Figure:
    """Draw where the mean latency of completed requests goes along their critical paths, one bar a run.

    Parameters
    ----------
    runs : mapping of str to tables
        Tables of each run by the label it gets; ``requests``, ``compute`` and ``transfers`` are read.
    """
    with paper_style():
        figure, ax = axes(width_in, 0.75 + 0.24 * max(len(runs), 2))
        means = pd.DataFrame({label: grouped_breakdown(tables).mean() for label, tables in runs.items()}).T
        if means.isna().all(axis=None):
            placeholder(ax, "no request was completed")
            return figure
        left = np.zeros(len(means))
        for position, group in enumerate(SPAN_GROUPS):
            values = 1e3 * means[group].fillna(0.0).to_numpy()
            if values.any():
                ax.barh(list(means.index), values, 0.6, left=left, color=color(position), label=group)
            left += values
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("mean latency (ms)")
        figure.legend(loc="outside upper center", ncols=6, columnspacing=1.0, handlelength=1.0)
        return figure


def plain_log(axis: object) -> None:
    """Label a logarithmic axis with plain numbers, also between decades when it spans less than two."""
    from matplotlib.axis import Axis
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    assert isinstance(axis, Axis)
    low, high = sorted(axis.get_view_interval())
    few = high / low < 100
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
