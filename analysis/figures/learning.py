"""Figures of learning: accuracy against what it costs, with bands over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from analysis.figures.series import Against, Tables, bands, training_curves
from analysis.figures.style import SINGLE_COLUMN_IN, axes, color, paper_style, placeholder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

X_LABELS: dict[Against, str] = {
    "round": "round of the stage",
    "time": "simulated time (s)",
    "bytes": "bytes moved (MB)",
    "joules": "energy spent, idle left out (J)",
}
X_SCALES: dict[Against, float] = {"round": 1.0, "time": 1.0, "bytes": 1e-6, "joules": 1.0}
_LINES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")


def accuracy_against(
    runs: Mapping[str, Tables], against: Against = "time", *, split: str = "global", width_in: float = SINGLE_COLUMN_IN
) -> Figure:
    """Draw accuracy during training against round, time, bytes or joules, one colour a run, one line style a stage.

    Parameters
    ----------
    runs : mapping of str to tables
        Tables of each run by the label it gets; see ``series.training_curves`` for what is read.
    against : str
        ``round``, ``time`` (s), ``bytes`` or ``joules`` since the start of the run.
    split : str
        Test set: ``global`` or ``local``.
    """
    return learning_curves({label: [tables] for label, tables in runs.items()}, against, split=split, width_in=width_in)


def learning_curves(
    groups: Mapping[str, Sequence[Tables]],
    against: Against = "round",
    *,
    split: str = "global",
    width_in: float = SINGLE_COLUMN_IN,
) -> Figure:
    """Draw accuracy during training, averaged over seeds, with its 95 % confidence band.

    Parameters
    ----------
    groups : mapping of str to sequence of tables
        The runs of each scenario, which differ in their seeds, by the label the scenario gets.
    against, split
        As for ``accuracy_against``.

    Notes
    -----
    The band is that of the mean, point by point (Student-t), cut at 0 and 100 %; it is absent for one seed.
    """
    from matplotlib.lines import Line2D

    with paper_style():
        figure, ax = axes(width_in)
        styles: dict[str, Literal["-", "--", ":", "-."]] = {}
        for position, (_, runs) in enumerate(groups.items()):
            for band in bands([training_curves(tables, against, split) for tables in runs]):
                name = f"{band.stage}: {band.metric.removeprefix('accuracy_')}"
                style = styles.setdefault(name, _LINES[len(styles) % len(_LINES)])
                x, y = X_SCALES[against] * band.x, 100 * band.mean
                ax.plot(x, y, style, color=color(position), marker="o", markersize=2.2)
                if np.isfinite(band.half_width).all():
                    low, high = (np.clip(y + sign * 100 * band.half_width, 0, 100) for sign in (-1, 1))
                    ax.fill_between(x, low, high, color=color(position), alpha=0.2, linewidth=0)
        if not styles:
            placeholder(ax, f"nothing was measured during training on the {split} test set")
            return figure
        ax.set_xlabel(X_LABELS[against])
        ax.set_ylabel("accuracy (%)")
        handles = [Line2D([], [], color="0.2", linestyle=style, label=name) for name, style in styles.items()]
        if len(groups) > 1:
            handles += [Line2D([], [], color=color(i), label=label) for i, label in enumerate(groups)]
        ax.legend(handles=handles, loc="best")
        return figure
