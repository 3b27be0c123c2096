"""Figures for papers: tables in, a matplotlib figure out.

Each function takes the tables of a run, or of several by label, and returns a figure in the paper style;
``save`` writes it as PDF, SVG or PNG, the same bytes each time.

>>> from nmoe_sim import load_run
>>> from analysis import figures
>>> figures.save(figures.latency_cdf({"quickstart": load_run("runs/quickstart").tables}), "cdf.pdf")  # doctest: +SKIP
"""

from analysis.figures.devices import energy, expert_heat_map, utilisation
from analysis.figures.holdings import partition
from analysis.figures.latency import latency_breakdown, latency_cdf
from analysis.figures.learning import accuracy_against, learning_curves
from analysis.figures.maps import link_map, sinr_map
from analysis.figures.pareto import pareto
from analysis.figures.radio import link_over_time, rate_cdf, sinr_cdf
from analysis.figures.style import DOUBLE_COLUMN_IN, PALETTE, SINGLE_COLUMN_IN, paper_style, save

__all__ = [
    "DOUBLE_COLUMN_IN",
    "PALETTE",
    "SINGLE_COLUMN_IN",
    "accuracy_against",
    "energy",
    "expert_heat_map",
    "latency_breakdown",
    "latency_cdf",
    "learning_curves",
    "link_map",
    "link_over_time",
    "paper_style",
    "pareto",
    "partition",
    "rate_cdf",
    "save",
    "sinr_cdf",
    "sinr_map",
    "utilisation",
]
