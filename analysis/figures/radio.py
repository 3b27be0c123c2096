"""Figures of the radio: SINR and rate over transfers and over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.figures.latency import plain_log
from analysis.figures.series import Tables, cdf, handovers_of, link_samples, radio_hops
from analysis.figures.style import SINGLE_COLUMN_IN, axes, color, paper_style, placeholder, stacked_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Phase = Literal["training", "inference"]

_LINES: Mapping[str, Literal["-", "--", ":"]] = {"uplink": "-", "downlink": "--", "sidelink": ":"}
_MOST_MARKERS = 150
_LOS_COLOR = "#F0E442"


def sinr_cdf(
    runs: Mapping[str, Tables],
    *,
    phase: Phase | None = None,
    by_direction: bool = True,
    width_in: float = SINGLE_COLUMN_IN,
) -> Figure:
    """Draw the distribution of the SINR that transfers began with.

    Parameters
    ----------
    runs : mapping of str to tables
        Tables of each run by the label it gets; ``transfers`` and ``devices`` are read.
    phase : str, optional
        ``training`` or ``inference``; both when left out.
    by_direction : bool
        A curve for each of uplink, downlink and sidelink, or one for all.

    Notes
    -----
    Every attempt at a hop by radio counts once, whatever its size and outcome. So links count as often as they are
    used: it is what the traffic found, not what the area offers (``sinr_map``).
    """
    with paper_style():
        figure, ax = axes(width_in)
        if _draw_cdfs(figure, ax, runs, "sinr_db", 1.0, phase, by_direction):
            ax.set_xlabel("SINR (dB)")
        return figure


def rate_cdf(
    runs: Mapping[str, Tables],
    *,
    phase: Phase | None = None,
    by_direction: bool = True,
    width_in: float = SINGLE_COLUMN_IN,
) -> Figure:
    """Draw the distribution of the mean rate of transfers, from their first bit to their last.

    Parameters
    ----------
    runs, phase, by_direction
        As for ``sinr_cdf``.

    Notes
    -----
    Every attempt at a hop by radio counts once, whatever its size and outcome. Its rate is what was left to it by
    those it shared the medium with, outages included. Those that got nothing through are where a curve begins,
    as the axis is logarithmic.
    """
    with paper_style():
        figure, ax = axes(width_in)
        if _draw_cdfs(figure, ax, runs, "mean_rate_bps", 1e-6, phase, by_direction):
            ax.set_xscale("log")
            plain_log(ax.xaxis)
            ax.set_xlabel("rate (Mbit/s)")
        return figure


def _draw_cdfs(
    figure: Figure,
    ax: Axes,
    runs: Mapping[str, Tables],
    column: str,
    scale: float,
    phase: Phase | None,
    by_direction: bool,
) -> bool:
    """Draw a curve of each run and direction; several runs have a colour each, and directions a line style."""
    from matplotlib.lines import Line2D

    values: dict[str, dict[int, NDArray[np.float64]]] = {}
    for number, tables in enumerate(runs.values()):
        hops = radio_hops(tables, phase).dropna(subset=column)
        for direction in _LINES if by_direction else ("",):
            chosen = hops if not by_direction else hops[hops["direction"] == direction]
            if len(chosen):
                values.setdefault(direction, {})[number] = scale * chosen[column].to_numpy(dtype=np.float64)
    several = len(runs) > 1
    handles = []
    for i, direction in enumerate(sorted(values, key=[*_LINES, ""].index)):
        style = _LINES.get(direction, "-") if several else "-"
        if direction:
            handles.append(Line2D([], [], color="0.2" if several else color(i), linestyle=style, label=direction))
        for number, of_run in values[direction].items():
            x, share = cdf(of_run)
            first = np.searchsorted(x, 0.0, side="right") if column == "mean_rate_bps" else 0
            start = share[first - 1] if first else 0.0
            x, share = x[first:], share[first:]
            shade = color(number if several else i)
            if len(x):
                ax.step([x[0], *x], [start, *share], style, where="post", color=shade)
    if not values:
        placeholder(ax, "nothing was sent by radio")
        return False
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("share of hops")
    if handles:
        ax.legend(handles=handles, loc="best")
    if several:
        labels = [Line2D([], [], color=color(i), label=label) for i, label in enumerate(runs)]
        figure.legend(handles=labels, loc="outside upper center", ncols=4)
    return True


def link_over_time(
    tables: Tables,
    src: str | None,
    dst: str | None,
    *,
    window_s: tuple[float, float] | None = None,
    width_in: float = SINGLE_COLUMN_IN,
) -> Figure:
    """Draw the SINR and the rate of a link over simulated time, from the samples of the table ``links``.

    Time with line of sight is shaded. Dashed lines are the device's handovers, and each base station has a colour.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``links``, ``devices`` and ``handovers`` of a run.
    src, dst : str or None
        The link's ends; None: whichever base station serves the other.
    window_s : (float, float), optional
        First and last time shown; all of the run by default.

    Notes
    -----
    A sample is one coherence block, fast fading included, and samples are many blocks apart in most runs: the line
    between them guides the eye (where devices move, ``mobility.record_every_s`` sets their distance). As in the
    table, interferers are all on air, and the link has its medium to itself.
    """
    with paper_style():
        figure, (top, bottom) = stacked_axes(width_in, 0.8 * width_in, 2)
        samples = link_samples(tables, src, dst)
        changes = handovers_of(tables, src, dst)
        if window_s is not None:
            samples, changes = (part[part["t_s"].between(*window_s)] for part in (samples, changes))
        if not len(samples):
            placeholder(top, f"there is no sample of {src or 'a base station'} > {dst or 'a base station'}")
            bottom.set_axis_off()
            return figure
        peers = sorted(samples["peer"].unique())
        size = 1.6 if len(samples) <= _MOST_MARKERS else 0.0
        for ax, column, scale in ((top, "sinr_db", 1.0), (bottom, "rate_bps", 1e-6)):
            for _, piece in samples.groupby("piece"):
                shade, y = color(peers.index(piece["peer"].iloc[0])), scale * piece[column]
                ax.plot(piece["t_s"], y, color=shade, linewidth=0.8, marker="o", markersize=size)
            for t_s in changes["t_s"]:
                ax.axvline(t_s, color="0.4", linestyle="--", linewidth=0.6, zorder=1)
            _shade_los(ax, samples)
        top.set_ylabel("SINR (dB)")
        bottom.set_ylabel("rate (Mbit/s)")
        bottom.set_ylim(bottom=0)
        bottom.set_xlabel("time (s)")
        for ax in (top, bottom):
            ax.set_xmargin(0.01)
        named = peers if src is None or dst is None else []
        _legend(figure, named, has_los=bool(samples["los"].any()), has_handovers=len(changes) > 0)
        return figure


def _shade_los(ax: Axes, samples: pd.DataFrame) -> None:
    """Shade the time from each sample with line of sight to the next one."""
    t_s = samples["t_s"].to_numpy(dtype=np.float64)
    los = samples["los"].to_numpy(dtype=np.bool_, na_value=False)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], los[:-1], [False]]).astype(np.int64)))
    for begin, end in edges.reshape(-1, 2).tolist():
        ax.axvspan(t_s[begin], t_s[end], color=_LOS_COLOR, alpha=0.25, linewidth=0, zorder=0)


def _legend(figure: Figure, peers: list[str], *, has_los: bool, has_handovers: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Line2D | Patch] = [Line2D([], [], color=color(i), label=name) for i, name in enumerate(peers)]
    if has_handovers:
        handles.append(Line2D([], [], color="0.4", linestyle="--", linewidth=0.6, label="handover"))
    if has_los:
        handles.append(Patch(color=_LOS_COLOR, alpha=0.25, linewidth=0, label="line of sight"))
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=5, columnspacing=1.0, handlelength=1.2)
