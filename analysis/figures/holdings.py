"""Figure of who holds what: clients, classes, and how each client's images look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.figures.devices import category_ticks
from analysis.figures.series import Tables, client_names, samples_held
from analysis.figures.style import SINGLE_COLUMN_IN, color, figure_of, paper_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW_IN = 0.17
_MARGINS_IN = 0.5
_NARROWEST_IN = 0.12
"""Width of the largest bubble where clients are many; neighbours may then overlap."""


def partition(tables: Tables, *, split: str = "train", width_in: float = SINGLE_COLUMN_IN) -> Figure:
    """Draw who holds what: a bubble for each client and class, and how many samples each client has in all.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``partition`` of a run.
    split : str
        ``train``, or ``test`` for the clients' local test sets.
    width_in : float
        Width of the figure in inches; it is as high as the clients need.

    Notes
    -----
    The area of a bubble is proportional to the number of samples. A client whose images look different
    (``data.feature_skew``) has that beside its name.
    """
    with paper_style():
        held, names = samples_held(tables, split), client_names(tables)
        counts = held.to_numpy(dtype=np.float64)
        num_clients, num_classes = counts.shape
        height_in = _MARGINS_IN + _ROW_IN * min(max(num_clients, 6), 40)
        figure = figure_of(width_in, height_in)
        ax, totals = figure.subplots(1, 2, sharey=True, width_ratios=(3.4, 1))
        cell_in = min(0.58 * width_in / num_classes, max((height_in - _MARGINS_IN) / num_clients, _NARROWEST_IN))
        rows, columns = np.nonzero(counts)
        area = (0.95 * 72 * cell_in) ** 2 * counts[rows, columns] / max(counts.max(), 1.0)
        ax.scatter(columns, rows, s=area, color=color(0), alpha=0.85, linewidths=0)
        ax.set_xlim(-0.6, num_classes - 0.4)
        ax.set_ylim(num_clients - 0.4, -0.6)
        ax.set_xlabel("class")
        category_ticks(ax.set_xticks, [str(label) for label in held.columns])
        category_ticks(ax.set_yticks, [names[client] for client in held.index])
        totals.barh(np.arange(num_clients), counts.sum(axis=1), 0.75, color=color(4))
        totals.set_xlabel("samples")
        totals.tick_params(axis="y", left=False, labelleft=False)
        totals.grid(axis="y", visible=False)
        return figure
