"""Trade-offs between two figures of many runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from analysis.figures.style import SINGLE_COLUMN_IN, axes, color, paper_style
from analysis.pareto import pareto_front

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Better = Literal["low", "high"]
_MARKERS = "osD^vP*X"


def pareto(
    runs: pd.DataFrame,
    x: str,
    y: str,
    *,
    group: str | None = None,
    better: tuple[Better, Better] = ("low", "high"),
    labels: tuple[str, str] | None = None,
    width_in: float = SINGLE_COLUMN_IN,
) -> Figure:
    """Draw two columns of a table of runs against each other, and the front of those that nothing beats.

    Parameters
    ----------
    runs : DataFrame
        One row a run, such as ``runs.parquet`` of a sweep.
    x, y : str
        Columns; a row with a null is left out.
    group : str, optional
        Column whose values get a colour and a marker each.
    better : pair of str
        Whether ``low`` or ``high`` is better, of x and of y.
    labels : pair of str, optional
        Labels of the axes; the columns' names when left out.
    """
    with paper_style():
        figure, ax = axes(width_in)
        known = runs[runs[x].notna() & runs[y].notna()]
        x_values, y_values = (known[name].to_numpy(dtype=np.float64) for name in (x, y))
        best = pareto_front(np.column_stack([x_values, y_values]), maximise=[side == "high" for side in better])
        order = np.argsort(x_values[best], kind="stable")
        where: Literal["post", "pre"] = "post" if better[0] == "low" else "pre"
        ax.step(x_values[best][order], y_values[best][order], where=where, color="0.4", linewidth=0.8, zorder=1)
        names = [None] if group is None else list(dict.fromkeys(known[group]))
        for position, name in enumerate(names):
            of_group = np.ones(len(known), dtype=bool) if group is None else (known[group] == name).to_numpy()
            marker = _MARKERS[position % len(_MARKERS)]
            for chosen, alpha in ((of_group & ~best, 0.35), (of_group & best, 1.0)):
                ax.scatter(
                    x_values[chosen], y_values[chosen], 18, color(position), marker=marker, alpha=alpha, linewidths=0
                )
            if group is not None:
                ax.scatter([], [], 18, color(position), marker=marker, linewidths=0, label=str(name))
        ax.set_xlabel(labels[0] if labels else x)
        ax.set_ylabel(labels[1] if labels else y)
        if group is not None:
            ax.legend(title=group, title_fontsize=7)
        return figure
