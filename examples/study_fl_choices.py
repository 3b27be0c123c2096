"""Which settings the study of federated learning reports on: what each candidate reached on held-out training images.

``python examples/study_fl_choices.py runs/study_fl_choose_features runs/study_fl_choose_gates docs/assets`` writes
``study_fl_choices.csv``, a row a run, and prints the tables. Without the directories of sweeps it reads the file.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.loading import SweepResult, load_sweep

STUDY: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("study_fl.py")))
OF_STAGE_1 = ["stage_1", "lr", "server_lr"]
OF_GATE = ["gate", "lambda", "lr", "server_lr", "rounds", "schedule"]
FEATURES = {"accuracy_linear_probe": "linear", "accuracy_knn": "kNN"}
GATES = {"accuracy_global": "global", "accuracy_local": "local"}
NAMES = {
    **STUDY["STAGES_1"],
    **STUDY["GATES"],
    "fedsc linear": "FedSC, α linear",
    "fedsc share": "FedSC, α share",
    "shared": "FedGate",
    "all": "FedAvg-gate",
    "none": "local gate",
}


def candidates(sweep: SweepResult) -> pd.DataFrame:
    """Return one row a run: settings of the stage that the sweep varies, and what it reached."""
    rows = []
    for run in sweep.done.to_dict("records"):
        if "training.gate" in run:
            row = settings_of(json.loads(run["training.gate"]), run["model.gate.local_scale"])
            row |= {metric: run[metric] for metric in GATES}
        else:
            row = settings_of(json.loads(run["training.extractor"]), None)
            row |= {metric: last(sweep, run["run_id"], metric) for metric in FEATURES}
        rows.append({"partition": json.loads(run["data.partition"])["kind"], **row})
    return pd.DataFrame(rows)


def settings_of(spec: Mapping[str, Any], local_scale: float | None) -> dict[str, Any]:
    """Return what is looked for of a training; of a gate's, which has a ``local_scale``, or of stage 1."""
    settings = {
        "lr": spec["optimizer"]["lr"],
        "server_lr": spec.get("server_update", {}).get("lr"),
        "rounds": spec["rounds"],
        "schedule": spec["optimizer"].get("schedule", "constant"),
    }
    if local_scale is None:
        return {**settings, "stage_1": STUDY["stage_key"](spec)}
    return {**settings, "gate": STUDY["gate_key"](spec, 0.0).removesuffix(" 0"), "lambda": local_scale}


def last(sweep: SweepResult, run_id: str, metric: str) -> float:
    """Return a probe's last value in a run."""
    points = sweep.tables["metrics"].query("run_id == @run_id and metric == @metric").sort_values("round")
    return float(points["value"].iloc[-1])


def table(runs: pd.DataFrame, keys: Sequence[str], metrics: dict[str, str]) -> str:
    """Return candidates (rows) by partition and metric (columns) in percent, and the mean of these."""
    partitions = [p for p in STUDY["PARTITIONS"] if p in set(runs["partition"])]
    head = [*(key.replace("_", " ") for key in keys)]
    head += [f"{STUDY['PARTITIONS'][p]}, {name}" for p in partitions for name in metrics.values()] + ["mean"]
    lines = []
    for key, mine in runs.groupby(list(keys), dropna=False):
        values = [100 * mine[mine["partition"] == p][metric].mean() for p in partitions for metric in metrics]
        names = ["–" if value != value else NAMES.get(value, str(value)) for value in key]
        lines.append([*names, *(f"{value:.1f}" for value in values), f"{sum(values) / len(values):.1f}"])
    made: str = STUDY["markdown"](head, lines, len(keys))
    return made


def tables(runs: pd.DataFrame) -> dict[str, str]:
    """Return the tables of the page as Markdown, by name."""
    of_stage_1, of_gate = runs[runs["gate"].isna()], runs[runs["gate"].notna()]
    return {
        "choices_features": table(of_stage_1, OF_STAGE_1, FEATURES),
        "choices_gates": table(of_gate, OF_GATE, GATES),
    }


def main(arguments: Sequence[str]) -> None:
    """Write the file, print tables."""
    *directories, assets = arguments
    path = Path(assets) / "study_fl_choices.csv"
    if directories:
        kept = pd.concat([candidates(load_sweep(directory)) for directory in directories], ignore_index=True)
        kept.to_csv(path, index=False, float_format="%.6g")
    for name, text in tables(pd.read_csv(path)).items():
        sys.stdout.write(f"\n{name}\n\n{text}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
