"""The figure of the shipped sweep placement_routing: what a policy costs in latency, and what it gets right."""

import sys

from matplotlib.figure import Figure

from analysis.figures import PALETTE, paper_style, save
from analysis.intervals import intervals
from analysis.loading import load_sweep

ROUTING, PLACEMENT, RATE = "inference.routing.kind", "placement.kind", "inference.arrivals.rate_hz"


def draw(folder: str) -> Figure:
    """Draw p95 latency and share of right answers against load, means over seeds with 95 % t-intervals."""
    sweep = load_sweep(folder)
    right = sweep.tables["requests"].groupby("run_id")["correct"].mean().astype(float)
    runs = sweep.done.assign(right=100 * sweep.done["run_id"].map(right))
    runs["p95_ms"] = 1e3 * runs["latency_p95_s"].astype(float)
    with paper_style():
        figure = Figure(figsize=(7.0, 2.6), layout="constrained")
        for axes, column, label in zip(
            figure.subplots(1, 2), ("p95_ms", "right"), ("p95 latency (ms)", "right answers (%)"), strict=True
        ):
            table = intervals(runs, column, by=[ROUTING, PLACEMENT, RATE])
            for color, (routing, rows) in zip(PALETTE, table.groupby(ROUTING, sort=False), strict=False):
                for placement, line in rows.groupby(PLACEMENT):
                    style = "-" if placement == "home" else "--"
                    error = [line["mean"] - line["low"], line["high"] - line["mean"]]
                    axes.errorbar(
                        line[RATE], line["mean"], error, fmt=f"o{style}", ms=2.5, color=color,
                        label=f"{routing}, {placement}",
                    )  # fmt: skip
            axes.set(xscale="log", xlabel="requests per second and device", ylabel=label)
        axes.figure.axes[0].set_yscale("symlog", linthresh=1)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure


if __name__ == "__main__":
    save(draw(sys.argv[1]), sys.argv[2])
