"""The page about studies, followed: its sweep, its script, and the script of the shipped sweep's figure."""

from __future__ import annotations

import hashlib
import itertools
import re
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY, Outcome

from nmoe_sim.sweeps import load_sweep, make_plan

PAGE = (REPOSITORY / "docs" / "studies.md").read_text()


def test_small_study(folder: Path, cli: Callable[..., Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("examples", "scenarios"):
        shutil.copytree(REPOSITORY / name, folder / name)
    dry = cli("sweep", "examples/sweep.yaml", "--dry-run")
    assert dry.status == 0, dry.err
    assert "9 runs of 3 trained models" in dry.out
    assert not (folder / "runs").exists()
    done = cli("sweep", "examples/sweep.yaml", "--out", "runs/small_sweep", "--workers", "1", "--quiet")
    assert done.status == 0, done.err
    [script] = re.findall(r'^```python title="study.py"\n(.*?)^```$', PAGE, re.DOTALL | re.MULTILINE)
    (folder / "study.py").write_text(script)
    found = runpy.run_path("study.py")
    assert capsys.readouterr().out
    assert set(found["table"]["inference.routing.kind"]) == {"local_only", "all"}
    assert (found["table"]["num_pairs"] == 3).all()
    assert len(found["runs"]) == 9


def test_figure_of_the_shipped_sweep(folder: Path) -> None:
    grid = itertools.product(("home", "greedy"), ("local_only", "top_k"), (5.0, 80.0), (1, 2))
    runs = pd.DataFrame(
        grid, columns=["placement.kind", "inference.routing.kind", "inference.arrivals.rate_hz", "seed"]
    ).assign(status="done", latency_p95_s=0.004, energy_per_request_j=0.002)
    runs.insert(0, "run_id", [f"run{i}" for i in range(len(runs))])
    requests = Path("sweep/tables/requests")
    requests.mkdir(parents=True)
    runs.to_parquet("sweep/runs.parquet")
    for run_id in runs["run_id"]:
        table = pd.DataFrame({"run_id": run_id, "correct": [True, False, True, True]})
        table.to_parquet(requests / f"{run_id}.parquet")
    script = runpy.run_path(str(REPOSITORY / "examples" / "placement_routing.py"))
    latency, answers = script["draw"]("sweep").axes
    assert latency.get_xscale() == latency.get_yscale() == "log"
    assert len(latency.lines) == 4
    for line in latency.lines:
        assert line.get_xdata().tolist() == [5.0, 80.0]
        assert line.get_ydata().tolist() == [4.0, 4.0]
    assert {tuple(point) for dots in answers.collections for point in dots.get_offsets()} == {(2.0, 75.0)}


def test_committed_figure_is_of_the_runs_the_sweep_has_now() -> None:
    plan = make_plan(load_sweep("placement_routing"))
    digest = hashlib.sha256(" ".join(run.run_id for run in plan.runs).encode()).hexdigest()[:16]
    assert f"<!-- runs {digest} -->" in PAGE, "the sweep or a default changed: make the figure anew, as the page says"
