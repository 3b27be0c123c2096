"""A map of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.figures.series import Tables, link_sinr
from analysis.figures.style import SINGLE_COLUMN_IN, axes, color, paper_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_NAMES = 40


def sinr_map(tables: Tables, *, medium: str | None = None, width_in: float = SINGLE_COLUMN_IN) -> Figure:
    """Draw the devices where they are and their links in the colour of their median SINR.

    Only links of the run are coloured. A map of every place would need the laws of the scenario's
    radio, which are not in the tables.

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
