"""The look of figures in print: column widths, fonts, colours, and files that come out the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmoe_sim.results.rundir import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SINGLE_COLUMN_IN = 3.5
"""Width of a figure in one column of an IEEE page, in inches."""
DOUBLE_COLUMN_IN = 7.16
"""Width of a figure across both columns, in inches."""

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""The colours of Okabe and Ito, "Color universal design" (2008), that every kind of colour vision tells apart."""

_RC: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": True,
    "axes.grid": True,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "font.family": "STIXGeneral",
    "font.size": 8,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.4,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.2,
    "mathtext.fontset": "stix",
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
    "svg.fonttype": "path",
    "svg.hashsalt": "nmoe-sim",
    "xtick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 7,
    "ytick.major.width": 0.6,
}

_NO_DATES: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None, "ModDate": None},
    ".svg": {"Date": None},
    ".png": {},
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Apply the paper style to matplotlib figures made, or saved, within.

    8 pt type in STIX, which matplotlib brings along: a figure looks the same on every machine.
    PDF embeds TrueType, as IEEE asks.
    """
    import matplotlib as mpl
    from cycler import cycler

    settings: Any = {**_RC, "axes.prop_cycle": cycler(color=list(PALETTE))}
    with mpl.rc_context(settings):
        yield


def axes(width_in: float, height_in: float | None = None) -> tuple[Figure, Axes]:
    """Return an empty figure with one pair of axes; the caller is within ``paper_style``.

    It is drawn by Agg and known to no window or global state; the height defaults to 0.62 of the width.
    """
    figure, [ax] = stacked_axes(width_in, 0.62 * width_in if height_in is None else height_in, 1)
    return figure, ax


def stacked_axes(width_in: float, height_in: float, num: int) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with axes one below the other that share their x-axis; else as ``axes``."""
    figure = figure_of(width_in, height_in)
    return figure, list(figure.subplots(num, 1, sharex=True, squeeze=False)[:, 0])


def figure_of(width_in: float, height_in: float) -> Figure:
    """Return an empty figure without axes; else as ``axes``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure, whole; the same figure gives the same bytes.

    Parameters
    ----------
    figure : matplotlib Figure
    path : str or Path
        Ends in ``.pdf``, ``.svg`` or ``.png``; missing folders are made.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    ValueError
        If the path ends in anything else.
    """
    path = Path(path)
    if path.suffix not in _NO_DATES:
        raise ValueError(f"{path}: a figure is saved as {', '.join(_NO_DATES)}")
    content = BytesIO()
    with paper_style():
        figure.savefig(content, format=path.suffix[1:], metadata=_NO_DATES[path.suffix])
    write_bytes(path, content.getvalue())
    return path


def color(position: int) -> str:
    """Return a colour of the palette by position, from the start again after the last."""
    return PALETTE[position % len(PALETTE)]


def placeholder(axes: Axes, text: str) -> None:
    """Say on empty axes why there is nothing to show."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
