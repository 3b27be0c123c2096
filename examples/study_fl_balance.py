"""What a load-balance loss does where gates leave experts unasked, from its sweep or from the outcomes kept of it.

``python examples/study_fl_balance.py runs/study_fl_balance docs/assets`` writes ``study_fl_balance.csv``, a row a run,
and prints the table. Without the sweep's directory it reads the file.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.loading import SweepResult, load_sweep

STUDY: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("study_fl.py")))
KEY = ["gate", "load_balance"]


def outcomes(sweep: SweepResult) -> pd.DataFrame:
    """Return one row a run: accuracies, and how many experts no request asked."""
    runs = sweep.done
    gates = runs["training.gate"].map(json.loads)
    requests = sweep.tables["requests"]
    asked = requests.groupby("run_id")["experts"].agg(lambda chosen: len({e for experts in chosen for e in experts}))
    num_experts = sweep.tables["placement"].groupby("run_id")["expert"].nunique()
    table = pd.DataFrame(
        {
            "gate": [
                STUDY["gate_key"](gate, scale)
                for gate, scale in zip(gates, runs["model.gate.local_scale"], strict=True)
            ],
            "load_balance": [float(gate["load_balance"]) for gate in gates],
            "seed": runs["seed"].tolist(),
            "accuracy_global": runs["accuracy_global"].tolist(),
            "accuracy_local": runs["accuracy_local"].tolist(),
            "never_asked": runs["run_id"].map(num_experts - asked).tolist(),
        }
    )
    return table.sort_values([*KEY, "seed"])


def table(runs: pd.DataFrame) -> str:
    """Return accuracies by gate and coefficient, and of each seed how many experts are never asked."""
    head = [
        "",
        "load balance",
        "experts never asked, seed by seed",
        "global",
        "global, seeds that lose none",
        "local",
        "local, seeds that lose none",
    ]
    lines = []
    for gate, name in STUDY["GATES"].items():
        for coefficient, mine in runs[runs["gate"] == gate].groupby("load_balance"):
            whole = runs[(runs["gate"] == gate) & (runs["load_balance"] == 0) & (runs["never_asked"] == 0)]["seed"]
            alive = mine[mine["seed"].isin(whole)]
            never = " ".join(str(number) for number in mine.sort_values("seed")["never_asked"])
            cells = [STUDY["percent"](part[split]) for split in STUDY["SPLITS"] for part in (mine, alive)]
            lines.append([name, f"{coefficient:g}", never, *cells])
    made: str = STUDY["markdown"](head, lines)
    return made


def main(arguments: Sequence[str]) -> None:
    """Write the file, print the table."""
    *directories, assets = arguments
    path = Path(assets) / "study_fl_balance.csv"
    for directory in directories:
        outcomes(load_sweep(directory)).to_csv(path, index=False, float_format="%.6g")
    sys.stdout.write(f"\n{table(pd.read_csv(path))}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
