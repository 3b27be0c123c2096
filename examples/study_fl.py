"""Tables and figures of the study of federated learning, from its sweep's directory or from the outcomes kept of it.

``python examples/study_fl.py runs/study_fl runs/study_fl_fedavg docs/assets`` writes ``study_fl.csv`` (a row a run),
``study_fl_curves.csv`` (a row a point of a curve) and the figures, and prints the tables. Without the directories of
sweeps it reads the two files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from analysis.convergence import costs_to_accuracy
from analysis.figures import PALETTE, paper_style, save
from analysis.intervals import mean_interval
from analysis.loading import SweepResult, load_sweep
from analysis.statistics import compare

PARTITIONS = {"iid": "IID", "dirichlet": "Dirichlet 0.3", "shards": "1 class per client"}
STAGES_1 = {
    "untrained": "untrained",
    "fedce": "FedCE",
    "spectral": "local spectral",
    "fedsc linear": "FedSC",
}
PROBED = {**STAGES_1, "fedce 5 epochs": "FedCE, FedAvg of 5 epochs"}
"""What is compared by its features alone, too."""
GATES = {
    "shared 0.2": "FedGate",
    "shared 0.05": "FedGate, λ 0.05",
    "all 0.2": "FedAvg-gate",
    "none 0.2": "local gate",
    "ran_gate": "RanGate",
    "roll_gate": "RollGate",
    "ran_gate shared": "RanGate, shared",
    "roll_gate shared": "RollGate, shared",
}
REFERENCE = "shared 0.2"
TARGETS = {"iid": 0.75, "dirichlet": 0.7, "shards": 0.6}
"""Accuracy on the global test set that costs are counted to, by partition."""
KEY = ["partition", "stage_1", "gate", "seed"]
SPLITS = {"accuracy_global": "global", "accuracy_local": "local"}
PROBES = {"accuracy_linear_probe": "linear probe (%)", "accuracy_knn": "nearest neighbours (%)"}


# --- from the sweep to outcomes ------------------------------------------------------------------------


def labelled(sweep: SweepResult) -> pd.DataFrame:
    """Return the runs that are done, with short names of what is varied."""
    given = [sweep.done[key].map(json.loads) for key in ("data.partition", "training.extractor", "training.gate")]
    partitions = [one["kind"] for one in given[0]]
    stages_1 = [stage_key(one) for one in given[1]]
    gates = [gate_key(*gate) for gate in zip(given[2], sweep.done["model.gate.local_scale"], strict=True)]
    return sweep.done.assign(partition=partitions, stage_1=stages_1, gate=gates)


def stage_key(stage_1: Mapping[str, Any]) -> str:
    """Return what tells a stage 1 from the others."""
    kind, epochs = str(stage_1["kind"]), stage_1.get("optimizer", {}).get("epochs", 1)
    if kind == "fedsc":
        return f"fedsc {stage_1['alpha']}"
    return kind if epochs == 1 else f"{kind} {epochs} epochs"


def gate_key(gate: Mapping[str, Any], local_scale: float) -> str:
    """Return what tells a gate's training from the others."""
    if gate["kind"] != "fedgate":
        return " ".join([gate["kind"], *([gate["synchronise"]] if "synchronise" in gate else [])])
    return f"{gate.get('synchronise', 'shared')} {local_scale:g}"


def outcomes(sweep: SweepResult) -> pd.DataFrame:
    """Return one row a run: accuracies, what training cost, and what it had cost at the target."""
    runs = labelled(sweep)
    table = runs[[*KEY, "run_id", "accuracy_global", "accuracy_local", "training_time_s", "bytes_training"]]
    metrics = sweep.tables["metrics"]
    means = metrics[metrics["client"].isna()]
    for kind in ("own_expert", "all_experts", "best_expert"):
        for split in ("global", "local"):
            rows = means[(means["stage"] == "final") & (means["metric"] == f"accuracy_{kind}")]
            value = rows[rows["split"] == split].set_index("run_id")["value"]
            table = table.assign(**{f"accuracy_{kind}_{split}": table["run_id"].map(value)})
    probes = means[means["stage"] == "extractor"].sort_values("t_s", kind="stable")
    for metric in PROBES:
        value = probes[probes["metric"] == metric].groupby("run_id")["value"].last()
        table = table.assign(**{metric: table["run_id"].map(value)})
    table = table.assign(
        energy_training_j=[energy_j(sweep, run_id) for run_id in table["run_id"]],
        own_asked=table["run_id"].map(own_asked(sweep)),
    )
    targets = {run_id: TARGETS[p] for run_id, p in zip(table["run_id"], table["partition"], strict=True)}
    costs = costs_to_accuracy(sweep.tables, targets).set_index("run_id")
    return table.join(costs.add_prefix("to_target_").rename(columns={"to_target_target": "target"}), on="run_id")


def energy_j(sweep: SweepResult, run_id: str) -> float:
    """Return the energy that a run's training drew, idle not counted."""
    rows = sweep.tables["energy"].query("run_id == @run_id and phase == 'training' and component != 'idle'")
    return float(rows["energy_j"].sum())


def own_asked(sweep: SweepResult) -> pd.Series[float]:
    """Return the share of each run's requests that ask the client's own expert, among others."""
    owners = sweep.tables["placement"].set_index(["run_id", "owner"])["expert"]
    requests = sweep.tables["requests"]
    own = owners.loc[list(zip(requests["run_id"], requests["client"], strict=True))].tolist()
    asked = pd.Series([one in set(experts) for one, experts in zip(own, requests["experts"], strict=True)], dtype=float)
    return asked.groupby(requests["run_id"]).mean()


def curves(sweep: SweepResult) -> pd.DataFrame:
    """Return one row a point of a curve: the probes of each stage 1, the accuracy of each gate."""
    metrics = sweep.tables["metrics"]
    points = metrics[metrics["client"].isna() & metrics["stage"].isin(["extractor", "gate"])]
    points = points.merge(labelled(sweep)[["run_id", *KEY]], on="run_id")
    points["round"] = points["round"].fillna(-1).astype(int) + 1  # rounds done
    of_stage_1 = points["stage"] == "extractor"
    points.loc[of_stage_1, "gate"] = ""
    columns = [*KEY, "stage", "metric", "round", "value"]
    kept = points[columns].drop_duplicates(columns[:-1])
    return kept[kept["metric"].isin([*PROBES, "accuracy_nmoe"])].reset_index(drop=True)


# --- tables --------------------------------------------------------------------------------------------


def tables(runs: pd.DataFrame) -> dict[str, str]:
    """Return the tables of the page as Markdown, by name."""
    features = runs.drop_duplicates(["partition", "stage_1", "seed"])
    made = {"features": grid(features, ["accuracy_linear_probe", "accuracy_knn"], "stage_1", PROBED)}
    made["features_differences"] = differences(
        features, "stage_1", "untrained", PROBED, ["accuracy_linear_probe", "accuracy_knn"]
    )
    made["features_of_fedsc"] = differences(features, "stage_1", "fedsc linear", PROBED, list(PROBES))
    runs = runs[runs["stage_1"].isin(STAGES_1)]
    reference = runs[runs["gate"] == REFERENCE]
    for split in SPLITS:
        made[split] = gates(runs, split)
        mean = runs.groupby(["partition", "gate", "seed"], as_index=False)[split].mean()
        made[f"{split}_gates"] = differences(mean, "gate", "all 0.2", GATES, [split])
    made["own_asked"] = grid(runs, ["own_asked"], "gate", GATES)
    made["stages"] = differences(reference, "stage_1", "untrained", STAGES_1, list(SPLITS))
    made["stages_of_fedsc"] = differences(reference, "stage_1", "fedsc linear", STAGES_1, ["accuracy_global"])
    made["costs"] = costs(runs)
    return made


def percent(values: pd.Series[Any]) -> str:
    """Return a mean in percent with the half-width of its 95 % interval."""
    if len(values) < 2:
        return f"{100 * values.mean():.1f}" if len(values) else "–"
    interval = mean_interval(values)
    return f"{100 * interval.estimate:.1f} ± {50 * (interval.high - interval.low):.1f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], num_text: int = 1) -> str:
    """Return a table whose first columns are text and whose others are numbers."""
    lines = [head, ["---"] * num_text + ["--:"] * (len(head) - num_text), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def grid(runs: pd.DataFrame, metrics: list[str], by: str, names: Mapping[str, str]) -> str:
    """Return metrics by method (rows) and partition (columns), means over the rest seed by seed."""
    more = [f", {short(metric)}" if len(metrics) > 1 else "" for metric in metrics]
    head = ["", *(f"{PARTITIONS[p]}{name}" for p in PARTITIONS for name in more)]
    rows = []
    for key, name in names.items():
        cells = [runs[(runs[by] == key) & (runs["partition"] == p)] for p in PARTITIONS]
        means = [cell.groupby("seed")[metrics].mean() for cell in cells]
        rows.append([name, *(percent(mean[metric]) for mean in means for metric in metrics)])
    return markdown(head, rows)


def gates(runs: pd.DataFrame, metric: str) -> str:
    """Return an accuracy by partition and stage 1 (rows) and gate (columns), beside the own and any expert's."""
    split, rows = SPLITS[metric], []
    for p, partition in PARTITIONS.items():
        for s, stage_1 in STAGES_1.items():
            mine = runs[(runs["partition"] == p) & (runs["stage_1"] == s)]
            once = mine[mine["gate"] == REFERENCE]
            cells = [percent(mine[mine["gate"] == gate][metric]) for gate in GATES]
            ends = [percent(once[f"accuracy_{kind}_expert_{split}"]) for kind in ("own", "best")]
            rows.append([f"{partition}, {stage_1}", *cells, *ends])
    return markdown(["", *GATES.values(), "own expert", "any expert right"], rows)


def differences(runs: pd.DataFrame, by: str, baseline: str, names: Mapping[str, str], metrics: Sequence[str]) -> str:
    """Return differences from a baseline, seed by seed, with 95 % intervals, by partition."""
    num = runs.groupby(["partition", by])["seed"].transform("count")
    whole = [p for p, one in runs[num > 1].groupby("partition") if baseline in set(one[by])]
    kept = runs[(num > 1) & runs["partition"].isin(whole)]  # of a sweep under way, what can be compared
    rows: list[tuple[int, int, list[str]]] = []
    if kept[by].nunique() < 2:
        return markdown([f"less {names[baseline]}", *PARTITIONS.values()], [])
    compared = compare(kept, metrics, by, baseline, within=["partition"])
    for (metric, key), part in compared.groupby(["metric", by], sort=False):
        cells = part.set_index("partition")
        shown = [spread(cells.loc[p]) if p in cells.index else "–" for p in PARTITIONS]
        rows.append((list(metrics).index(metric), list(names).index(key), [f"{names[key]}, {short(metric)}", *shown]))
    return markdown([f"less {names[baseline]}", *PARTITIONS.values()], [row for *_, row in sorted(rows)])


def spread(row: pd.Series[Any]) -> str:
    """Return a difference in percentage points with its interval; bold where that holds no zero."""
    text = f"{100 * row['difference']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
    return f"**{text}**" if row["low"] * row["high"] > 0 else text


def costs(runs: pd.DataFrame) -> str:
    """Return what reaching the target cost, by partition, stage 1 and gate: means over the seeds that reached it."""
    rows = []
    for p, partition in PARTITIONS.items():
        for s, stage_1 in STAGES_1.items():
            mine = runs[(runs["partition"] == p) & (runs["stage_1"] == s)]
            cells = [cost(mine[mine["gate"] == gate]) for gate in GATES]
            rows.append([f"{partition} ({100 * TARGETS[p]:.0f} %), {stage_1}", *cells])
    return markdown(["", *GATES.values()], rows)


def cost(runs: pd.DataFrame) -> str:
    """Return megabytes and joules at the target, and of how many seeds where not all reached it."""
    reached = runs.dropna(subset="to_target_n_bytes")
    if reached.empty:
        return "never"
    megabytes, joules = reached["to_target_n_bytes"].mean() / 1e6, reached["to_target_energy_j"].mean()
    share = "" if len(reached) == len(runs) else f" ({len(reached)} of {len(runs)})"
    return f"{megabytes:.1f} MB, {joules:.0f} J{share}"


def short(metric: str) -> str:
    """Return what a metric is called in tables."""
    names = {"accuracy_linear_probe": "linear", "accuracy_knn": "kNN", **SPLITS}
    return names[metric]


# --- figures -------------------------------------------------------------------------------------------


def draw_features(points: pd.DataFrame) -> Figure:
    """Draw both probes over the rounds of stage 1: a dot a seed, lines through the means."""
    probed = points[points["stage"] == "extractor"]
    start = probed[probed["stage_1"] == "untrained"]
    with paper_style():
        figure = Figure(figsize=(7.0, 3.4), layout="constrained")
        axes = figure.subplots(2, 3, sharex=True, sharey="row")
        for row, (metric, label) in zip(axes, PROBES.items(), strict=True):
            row[0].set_ylabel(label)
            for ax, (p, partition) in zip(row, PARTITIONS.items(), strict=True):
                for color, s in zip(PALETTE, STAGES_1, strict=False):
                    both = [start, probed[probed["stage_1"] == s]] if s != "untrained" else [start]
                    mine = pd.concat(both)
                    mine = mine[(mine["metric"] == metric) & (mine["partition"] == p)]
                    mean = 100 * mine.groupby("round")["value"].mean()
                    if s == "untrained":
                        ax.axhline(mean.iloc[0] if len(mean) else 0, color=color, linestyle=":")
                        continue
                    ax.plot(mean.index, mean, color=color)
                    ax.scatter(mine["round"], 100 * mine["value"], 8, color=color, linewidths=0, alpha=0.6)
                if metric == "accuracy_linear_probe":
                    ax.set_title(partition)
                else:
                    ax.set_xlabel("rounds of stage 1")
        legend(figure, STAGES_1)
    return figure


def draw_gates(runs: pd.DataFrame) -> Figure:
    """Draw accuracies by stage 1, a mark a gate with its 95 % interval, global above local."""
    with paper_style():
        figure = Figure(figsize=(7.0, 3.6), layout="constrained")
        axes = figure.subplots(2, 3, sharex=True, sharey="row")
        for row, (metric, split) in zip(axes, SPLITS.items(), strict=True):
            row[0].set(ylabel=f"{split} accuracy (%)", ylim=(0, 103))
            for ax, (p, partition) in zip(row, PARTITIONS.items(), strict=True):
                for place, (color, gate) in enumerate(zip(PALETTE, GATES, strict=False)):
                    for x, s in enumerate(STAGES_1):
                        cell = runs[(runs["partition"] == p) & (runs["stage_1"] == s) & (runs["gate"] == gate)][metric]
                        if len(cell) < 2:
                            continue
                        interval = mean_interval(100 * cell)
                        half = (interval.high - interval.low) / 2
                        ax.errorbar(x + 0.1 * (place - 3.5), interval.estimate, half, color=color, marker="o",
                                    markersize=3, elinewidth=0.8)  # fmt: skip
                if metric == "accuracy_global":
                    ax.set_title(partition)
                ax.set_xticks(
                    range(len(STAGES_1)),
                    [name.replace(", ", "\n").replace("local ", "local\n") for name in STAGES_1.values()],
                )
        legend(figure, GATES)
    return figure


def draw_rounds(points: pd.DataFrame) -> Figure:
    """Draw the accuracy over the rounds of stage 3, means over stages 1 and seeds."""
    trained = points[(points["stage"] == "gate") & points["stage_1"].isin(STAGES_1)]
    with paper_style():
        figure = Figure(figsize=(7.0, 1.9), layout="constrained")
        axes = figure.subplots(1, 3, sharey=True)
        for ax, (p, partition) in zip(axes, PARTITIONS.items(), strict=True):
            for color, gate in zip(PALETTE, GATES, strict=False):
                mine = trained[(trained["partition"] == p) & (trained["gate"] == gate)]
                mean = 100 * mine.groupby("round")["value"].mean()
                ax.plot(mean.index, mean, color=color, marker="o", markersize=2.2)
            ax.set(title=partition, xlabel="rounds of stage 3")
        axes[0].set_ylabel("global accuracy (%)")
        legend(figure, GATES)
    return figure


def draw_costs(runs: pd.DataFrame) -> Figure:
    """Draw the accuracy that a whole training reached against its bytes and its energy: a dot a run."""
    marks = dict(zip(STAGES_1, "osD^", strict=True))
    with paper_style():
        figure = Figure(figsize=(7.0, 3.4), layout="constrained")
        axes = figure.subplots(2, 3, sharey=True, sharex="row")
        for row, (column, scale, label) in zip(axes, COSTS, strict=True):
            for ax, (p, partition) in zip(row, PARTITIONS.items(), strict=True):
                for color, gate in zip(PALETTE, GATES, strict=False):
                    for s, mark in marks.items():
                        cell = runs[(runs["partition"] == p) & (runs["stage_1"] == s) & (runs["gate"] == gate)]
                        ax.scatter(scale * cell[column], 100 * cell["accuracy_global"], 9, color=color, marker=mark,
                                   linewidths=0, alpha=0.7)  # fmt: skip
                ax.set(xscale="log", xlabel=label)
                ax.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
                ax.xaxis.set_major_formatter(ScalarFormatter())
                if column == "bytes_training":
                    ax.set_title(partition)
            row[0].set_ylabel("global accuracy (%)")
        shapes = [Line2D([], [], color="0.4", marker=mark, linestyle="", markersize=4, label=STAGES_1[s])
                  for s, mark in marks.items()]  # fmt: skip
        legend(figure, GATES, shapes)
    return figure


COSTS = (
    ("bytes_training", 1e-6, "bytes of training (MB)"),
    ("energy_training_j", 1.0, "energy of training, idle left out (J)"),
)


def legend(figure: Figure, names: Mapping[str, str], more: Sequence[Line2D] = ()) -> None:
    """Add a legend of colours to the right."""
    lines = [Line2D([], [], color=color, label=name) for color, name in zip(PALETTE, names.values(), strict=False)]
    figure.legend(handles=[*lines, *more], loc="outside right center")


def main(arguments: Sequence[str]) -> None:
    """Write files and figures, print tables."""
    *directories, assets = arguments
    folder = Path(assets)
    if directories:
        sweeps = [load_sweep(directory) for directory in directories]
        for make, name in ((outcomes, "study_fl.csv"), (curves, "study_fl_curves.csv")):
            kept = pd.concat([make(sweep) for sweep in sweeps], ignore_index=True)
            kept.to_csv(folder / name, index=False, float_format="%.6g")
    runs = pd.read_csv(folder / "study_fl.csv")
    points = pd.read_csv(folder / "study_fl_curves.csv")
    save(draw_features(points), folder / "study_fl_features.svg")
    save(draw_gates(runs), folder / "study_fl_gates.svg")
    save(draw_rounds(points), folder / "study_fl_rounds.svg")
    save(draw_costs(runs), folder / "study_fl_costs.svg")
    for name, table in tables(runs).items():
        sys.stdout.write(f"\n{name}\n\n{table}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
