"""The figure of the shipped sweep placement_routing: what each policy costs, and what it gets right."""

import sys

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from analysis.figures import PALETTE, paper_style, save
from analysis.loading import load_sweep

ROUTING, PLACEMENT, RATE = "inference.routing.kind", "placement.kind", "inference.arrivals.rate_hz"


def draw(folder: str) -> Figure:
    """Draw p95 latency against load, and right answers against energy; a dot a seed, lines through their means."""
    sweep = load_sweep(folder)
    right = sweep.tables["requests"].groupby("run_id")["correct"].mean().astype(float)
    runs = sweep.done.assign(right=100 * sweep.done["run_id"].map(right))
    runs["p95_ms"] = 1e3 * runs["latency_p95_s"].astype(float)
    runs["energy_mj"] = 1e3 * runs["energy_per_request_j"].astype(float)
    legend = [Line2D([], [], color="0.4", linestyle=style, label=name) for name, style in STYLES.items()]
    with paper_style():
        figure = Figure(figsize=(7.0, 2.5), layout="constrained")
        latency, answers = figure.subplots(1, 2)
        for color, (routing, rows) in zip(PALETTE, runs.groupby(ROUTING, sort=False), strict=False):
            for placement, line in rows.groupby(PLACEMENT):
                means = line.groupby(RATE)["p95_ms"].mean()
                latency.plot(means.index, means, STYLES[placement], color=color)
                latency.scatter(line[RATE], line["p95_ms"], 6, color=color, linewidths=0, alpha=0.6)
                answers.scatter(line["energy_mj"], line["right"], 10, color=color, linewidths=0, alpha=0.6)
            legend.append(Line2D([], [], color=color, marker="o", linestyle="", markersize=4, label=routing))
        latency.set(xscale="log", yscale="log", xlabel="requests per second and device", ylabel="p95 latency (ms)")
        latency.xaxis.set(major_locator=FixedLocator(sorted(runs[RATE].unique())), minor_locator=NullLocator())
        latency.xaxis.set_major_formatter(ScalarFormatter())
        answers.set(xlabel="energy per request (mJ)", ylabel="right answers (%)")
        figure.legend(handles=legend, loc="outside right center")
    return figure


STYLES = {"home": "-", "greedy": "--"}

if __name__ == "__main__":
    save(draw(sys.argv[1]), sys.argv[2])
