"""One scenario to one run directory."""

from __future__ import annotations

import platform
import subprocess
import time
import warnings
from importlib.metadata import version
from pathlib import Path

from nmoe_sim.checks import check, concerns
from nmoe_sim.lifecycle import simulate
from nmoe_sim.preparation import prepare
from nmoe_sim.results.rundir import (
    MANIFEST,
    RunResult,
    begin,
    can_resume,
    claim,
    finish,
    load_run,
    write_json,
    write_text,
)
from nmoe_sim.results.tables import TABLES
from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.training.learning import Learning, Progress, no_progress
from nmoe_sim.version import __version__

_RECORDED_VERSIONS = ("torch", "numpy", "scipy", "simpy", "networkx", "pandas", "pyarrow", "scikit-learn")


class ScenarioWarning(UserWarning):
    """Something about a scenario that its results should be read with."""


def run(
    scenario: Scenario,
    out_dir: str | Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = no_progress,
) -> RunResult:
    """Run a scenario and write its directory.

    Parameters
    ----------
    scenario : Scenario
    out_dir : str or Path, optional
        Where results go; ``runs/NAME`` by default. It may hold an unfinished run, which is replaced,
        or a finished one of the same ``run_id``, whose tables would come out the same.
    overwrite : bool
        Replace a finished run of another scenario or seed too.
    resume : bool
        Go on where a run of the same scenario was interrupted: the clock is replayed, values that training has
        stored aren't computed again. Without one there, the run starts; a finished one is returned as it is.
    progress : Progress
        Shows the training's rounds.

    Returns
    -------
    RunResult
        Path, pandas tables, summary, manifest.

    Raises
    ------
    InputError
        If the scenario makes no physical sense, its data is missing, or ``out_dir`` is taken.
    RunError
        If the run fails.
    """
    started = time.monotonic()
    layout = check(scenario)
    out_dir = Path("runs") / scenario.name if out_dir is None else Path(out_dir)
    claim(out_dir, scenario.run_id, overwrite=overwrite)
    resumed = resume and can_resume(out_dir, scenario.to_yaml())
    if resume and (out_dir / MANIFEST).exists():
        return load_run(out_dir)
    for concern in concerns(scenario, layout):
        warnings.warn(concern, ScenarioWarning, stacklevel=2)
    learning = prepare(scenario, layout, values_dir=out_dir / "values", progress=progress)
    begin(out_dir, keep_values=resumed)
    write_text(out_dir / "scenario.yaml", scenario.to_yaml())
    learning.simulation.recorder.spill_to(out_dir / "tables")
    simulate(learning, layout)
    _write(out_dir, scenario, learning, started)
    return load_run(out_dir)


def _write(out_dir: Path, scenario: Scenario, learning: Learning, started: float) -> None:
    recorder = learning.simulation.recorder
    [row] = recorder.arrow("summary").to_pylist()
    digests = {name: recorder.save(name, out_dir / "tables" / f"{name}.parquet") for name in TABLES}
    write_json(out_dir / "summary.json", row)
    manifest = {
        "scenario": scenario.name,
        "scenario_hash": scenario.scenario_hash,
        "seed": scenario.seed,
        "run_id": scenario.run_id,
        "data_digest": learning.data.digest,
        "versions": {
            "nmoe-sim": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _RECORDED_VERSIONS},
        },
        "git_commit": _git_commit(),
        "tables": digests,
        "wall_time_s": time.monotonic() - started,
    }
    finish(out_dir, manifest)


def _git_commit() -> str | None:
    """Return the commit of the checkout this package runs from, with ``-dirty`` where files differ from it.

    None when it was installed from a wheel.
    """
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("-dirty" if changes.stdout.strip() else "")
