"""Maps: of a run's links, and of the SINR at every place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.figures.series import Tables, link_sinr
from analysis.figures.style import SINGLE_COLUMN_IN, axes, color, paper_style, placeholder

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_NAMES = 40
_STEP_DB = 5.0


def link_map(tables: Tables, *, medium: str | None = None, width_in: float = SINGLE_COLUMN_IN) -> Figure:
    """Draw the devices where they are and their links in the colour of their median SINR.

    ``sinr_map`` is of every place.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``positions``, ``links`` and ``devices`` of a run.
    medium : str, optional
        One medium, such as ``uplink``; the first one in ``links`` when left out.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import withStroke

    with paper_style():
        figure, ax = axes(width_in, 0.82 * width_in)
        links = link_sinr(tables)
        if medium is None and len(links):
            medium = str(tables["links"]["medium"].iloc[0])
        links = links[links["medium"] == medium]
        ends = links[["src_x_m", "src_y_m", "dst_x_m", "dst_y_m"]].to_numpy().reshape(-1, 2, 2)
        lines = LineCollection(list(ends), array=links["sinr_db"].to_numpy(), cmap="viridis", linewidths=1.0, zorder=1)
        ax.add_collection(lines)
        for kind, marker, size, fill in (("device", "o", 16, color(0)), ("base_station", "s", 26, "black")):
            rows = tables["devices"][tables["devices"]["kind"] == kind]
            ax.scatter(
                rows["x_m"], rows["y_m"], size, fill, marker=marker, linewidths=0.6, edgecolors="white", zorder=2
            )
        if len(tables["devices"]) <= _MOST_NAMES:
            halo = [withStroke(linewidth=1.5, foreground="white")]
            for name, x_m, y_m in tables["devices"][["device", "x_m", "y_m"]].itertuples(index=False, name=None):
                ax.annotate(str(name), (x_m, y_m), (3, 3), textcoords="offset points", fontsize=6, path_effects=halo)
        ax.margins(0.12)
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_xlabel("east (m)")
        ax.set_ylabel("north (m)")
        if len(links):
            bar = figure.colorbar(lines, ax=ax, pad=0.02)
            bar.set_label(f"{medium} SINR, median (dB)")
            bar.outline.set_visible(False)
        return figure


def sinr_map(
    coverage: pd.DataFrame, devices: pd.DataFrame | None = None, *, width_in: float = SINGLE_COLUMN_IN
) -> Figure:
    """Draw the SINR at every place, all transmitters on air.

    Parameters
    ----------
    coverage : DataFrame
        What ``nmoe_sim.coverage.coverage_map`` returns, or any regular grid of ``x_m``, ``y_m`` and ``sinr_db``; places
        where it is null stay white.
    devices : DataFrame, optional
        Base stations and devices to show: ``kind``, ``x_m`` and ``y_m``, as in the table ``devices`` of a run; where it
        has ``azimuth_deg``, as ``nmoe_sim.coverage.node_table`` gives it, sectors are drawn with their boresights.

    Notes
    -----
    The colours span the 1 % to 99 % quantiles, in steps of 5 dB; what is beyond has the colour of the end.
    """
    with paper_style():
        grid = coverage.pivot(index="y_m", columns="x_m", values="sinr_db")
        shape = len(grid.index) / max(1, len(grid.columns))
        figure, ax = axes(width_in, width_in * float(np.clip(0.2 + 0.7 * shape, 0.4, 1.6)))
        known = grid.to_numpy()[np.isfinite(grid.to_numpy())]
        if not len(known):
            placeholder(ax, "there is no SINR at any place")
            return figure
        low, high = np.quantile(known, [0.01, 0.99]) / _STEP_DB
        image = ax.imshow(
            grid.replace(-np.inf, known.min()).to_numpy(),  # an exact null of an antenna
            origin="lower",
            extent=(*_span(grid.columns.to_numpy()), *_span(grid.index.to_numpy())),
            vmin=_STEP_DB * np.floor(low),
            vmax=_STEP_DB * max(np.ceil(high), np.floor(low) + 1),
            cmap="viridis",
            interpolation="nearest",
        )
        ax.grid(visible=False)
        ax.set_xlabel("east (m)")
        ax.set_ylabel("north (m)")
        bar = figure.colorbar(image, ax=ax, pad=0.02, extend="both", extendfrac=0.03)
        bar.set_label("SINR at full load (dB)")
        bar.outline.set_visible(False)
        if devices is not None:
            _nodes(ax, devices)
            figure.legend(loc="outside upper center", ncols=2)
        return figure


def _span(centres: NDArray[np.float64]) -> tuple[float, float]:
    """Return where the first cell of an axis begins and the last one ends."""
    half = (centres[-1] - centres[0]) / (2 * (len(centres) - 1)) if len(centres) > 1 else 0.5
    return float(centres[0] - half), float(centres[-1] + half)


def _nodes(ax: Axes, devices: pd.DataFrame) -> None:
    """Mark devices and base stations, these with a stroke along the boresight of each sector."""
    limits = ax.get_xlim(), ax.get_ylim()
    stroke_m = 0.05 * min(high - low for low, high in limits)
    stations = devices[devices["kind"] == "base_station"]
    if "azimuth_deg" in devices:
        sectors = stations[stations["azimuth_deg"].notna()]
        angle_rad = np.deg2rad(sectors["azimuth_deg"].to_numpy(dtype=np.float64))
        x_m, y_m = (sectors[name].to_numpy(dtype=np.float64) for name in ("x_m", "y_m"))
        ends = [x_m, x_m + stroke_m * np.cos(angle_rad)], [y_m, y_m + stroke_m * np.sin(angle_rad)]
        for width, shade in ((2.2, "white"), (1.0, "black")):
            ax.plot(*ends, color=shade, linewidth=width, solid_capstyle="round", zorder=0.5)
    for kind, marker, size, fill, edge in (
        ("device", "o", 9, "white", "black"),
        ("base_station", "^", 26, "black", "white"),
    ):
        rows = devices[devices["kind"] == kind]
        if len(rows):
            label = kind.replace("_", " ")
            ax.scatter(
                rows["x_m"], rows["y_m"], size, fill, marker=marker, linewidths=0.6, edgecolors=edge, label=label
            )
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
