"""Figures by device: energy, utilisation, use of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.figures.series import COMPONENTS, Tables, energy_by_device, expert_use
from analysis.figures.style import SINGLE_COLUMN_IN, axes, color, paper_style, placeholder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LABELS = 24


def energy(
    tables: Tables, *, phase: str | None = None, idle: bool = False, width_in: float = SINGLE_COLUMN_IN
) -> Figure:
    """Draw the energy of each device, stacked by component.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``energy`` and ``devices`` of a run.
    phase : str, optional
        ``training`` or ``inference``; both when left out.
    idle : bool
        Also stack idle energy, which often hides all others.
    """
    with paper_style():
        figure, ax = axes(width_in)
        joules = energy_by_device(tables, phase)
        shown = [name for name in COMPONENTS if idle or name != "idle"]
        scale, unit = _scaled(float(joules[shown].sum(axis=1).max()))
        bottom = np.zeros(len(joules))
        for position, component in enumerate(shown):
            values = scale * joules[component].to_numpy()
            ax.bar(np.arange(len(joules)), values, 0.75, bottom=bottom, color=color(position), label=component)
            bottom += values
        _device_axis(ax, list(joules.index))
        ax.set_ylabel(f"{'energy' if phase is None else f'{phase} energy'} ({unit})")
        figure.legend(loc="outside upper center", ncols=len(shown), columnspacing=1.2, handlelength=1.0)
        return figure


def utilisation(tables: Tables, *, width_in: float = SINGLE_COLUMN_IN) -> Figure:
    """Draw the busy share of each device's compute queue in the inference phase, from ``devices``."""
    with paper_style():
        figure, ax = axes(width_in)
        devices = tables["devices"]
        values = 100 * devices["utilisation"].to_numpy(dtype=np.float64)
        ax.bar(np.arange(len(devices)), values, 0.75, color=color(0))
        _device_axis(ax, list(devices["device"]))
        ax.set_ylim(bottom=0)
        ax.set_ylabel("busy share of inference (%)")
        return figure


def expert_heat_map(tables: Tables, *, share: bool = True, width_in: float = SINGLE_COLUMN_IN) -> Figure:
    """Draw which client asks which expert.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``requests`` and ``placement`` of a run.
    share : bool
        Show the share of a client's requests that ask the expert (a row adds up to the number of
        experts asked for a request); otherwise the number of requests.
    """
    with paper_style():
        figure, ax = axes(width_in, 0.8 * width_in)
        counts = expert_use(tables)
        values = counts.to_numpy(dtype=np.float64)
        if not values.any():
            placeholder(ax, "no request was served")
            return figure
        if share:
            num_requests = tables["requests"]["client"].value_counts().reindex(counts.index, fill_value=0)
            values = values / np.maximum(num_requests.to_numpy(dtype=np.float64), 1.0)[:, None]
        image = ax.imshow(values, cmap="cividis", aspect="auto", vmin=0.0, interpolation="nearest")
        ax.grid(visible=False)
        ax.set_xlabel("expert")
        ax.set_ylabel("client")
        category_ticks(ax.set_xticks, [str(expert) for expert in counts.columns])
        category_ticks(ax.set_yticks, [str(client) for client in counts.index])
        bar = figure.colorbar(image, ax=ax, pad=0.02)
        bar.set_label("share of the client's requests" if share else "requests")
        bar.outline.set_visible(False)
        return figure


def _scaled(largest_j: float) -> tuple[float, str]:
    """Return the factor and unit that show energies up to ``largest_j`` with few digits."""
    for factor, unit in ((1e-3, "kJ"), (1.0, "J"), (1e3, "mJ")):
        if largest_j * factor >= 1:
            return factor, unit
    return 1e6, "µJ"


def category_ticks(set_ticks: object, labels: list[str]) -> None:
    """Label categories, every n-th where there are too many."""
    assert callable(set_ticks)
    step = -(-len(labels) // _MOST_LABELS)
    set_ticks(np.arange(0, len(labels), step), labels[::step])


def _device_axis(ax: Axes, names: list[str]) -> None:
    category_ticks(ax.set_xticks, names)
    if sum(map(len, names[:_MOST_LABELS])) > 36:
        ax.tick_params(axis="x", rotation=90)
    ax.set_xlim(-0.6, len(names) - 0.4)
    ax.grid(axis="x", visible=False)
