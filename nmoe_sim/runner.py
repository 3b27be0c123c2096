"""One scenario to one run directory; the whole life of a run is ``_life``."""

from __future__ import annotations

import platform
import shutil
import subprocess
import time
import warnings
from collections.abc import Generator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simpy.events import Event

from nmoe_sim.accounts import record_devices, record_energy, record_requests, record_summary
from nmoe_sim.checks import Layout, check, concerns
from nmoe_sim.errors import InputError
from nmoe_sim.hosting import memory_used, move_experts, placement_problem
from nmoe_sim.inference.answers import predictions
from nmoe_sim.inference.service import RequestCosts, Service
from nmoe_sim.inference.workload import Workload
from nmoe_sim.placement.problem import PlacementProblem
from nmoe_sim.preparation import prepare
from nmoe_sim.results.rundir import MANIFEST, RunResult, load_run, write_json, write_table, write_text
from nmoe_sim.results.tables import TABLES
from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.training.learning import Learning, Progress, no_progress
from nmoe_sim.version import __version__

NUM_LINK_SAMPLES = 16
"""Coherence blocks of each link in the table ``links``, spread over the run."""

FINAL = "final"
"""Stage of the metrics of the trained model."""

_RECORDED_VERSIONS = ("torch", "numpy", "scipy", "simpy", "networkx", "pandas", "pyarrow", "scikit-learn")


class ScenarioWarning(UserWarning):
    """Something about a scenario that its results should be read with."""


def run(
    scenario: Scenario,
    out_dir: str | Path | None = None,
    *,
    overwrite: bool = False,
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
    _check_free(out_dir, scenario, overwrite)
    for concern in concerns(scenario, layout):
        warnings.warn(concern, ScenarioWarning, stacklevel=2)
    learning = prepare(scenario, layout, values_dir=out_dir / "values", progress=progress)
    _clear(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    write_text(out_dir / "scenario.yaml", scenario.to_yaml())
    simulate(learning, layout)
    _write(out_dir, scenario, learning, started)
    return load_run(out_dir)


def simulate(learning: Learning, layout: Layout) -> None:
    """Run the clock from start to end; tables end up in the simulation's recorder."""
    env = learning.simulation.env
    env.run(env.process(_life(learning, layout)))


def train(learning: Learning) -> Generator[Event, Any, None]:
    """Run the three stages: each first on the clock, then in values."""
    from nmoe_sim.nmoe.threads import one_thread

    training = learning.scenario.training
    for stage in (training.extractor, training.experts, training.gate):
        rounds = yield from stage.clock(learning)
        with one_thread():
            stage.values(learning, rounds)
    with one_thread():
        _record_accuracies(learning)


def trained_problem(learning: Learning, layout: Layout) -> PlacementProblem:
    """Train, and return the placement problem that results."""
    env = learning.simulation.env
    env.run(env.process(train(learning)))
    return placement_problem(learning, layout)


def _life(learning: Learning, layout: Layout) -> Generator[Event, Any, None]:
    scenario, simulation = learning.scenario, learning.simulation
    _record_layout(learning)
    yield from train(learning)
    problem = placement_problem(learning, layout)
    placement = scenario.placement.solve(problem, simulation.streams.generator("placement"))
    hosts = yield from move_experts(learning, layout, placement)
    training_end_s = simulation.env.now
    inference, scores = scenario.inference, _scores(learning)
    everything = np.arange(len(learning.data.test_y))
    pools = [part if inference.samples == "local" else everything for part in learning.data.test_parts]
    workload = Workload.draw(inference.arrivals, pools, inference.duration_s, simulation.streams)
    service = Service(
        simulation,
        clients=learning.clients,
        hosts=hosts,
        costs=request_costs(learning),
        policy=inference.routing,
        scores=scores,
        top_k=scenario.model.top_k,
        deadline_s=inference.deadline_s,
        at_deadline=inference.at_deadline,
        view_period_s=inference.view_period_s,
    )
    served = yield from service.run(workload)
    yield simulation.env.timeout(max(0.0, training_end_s + inference.duration_s - simulation.env.now))
    answers = predictions(workload, served, scores, learning.tested_outputs, scenario.model.combine)
    labels = learning.data.test_y.cpu().numpy()
    record_requests(simulation, learning.clients, workload, served, answers, labels, hosts, inference.deadline_s)
    record_energy(simulation, training_end_s)
    record_devices(simulation, layout.profiles, memory_used(learning, layout, hosts), training_end_s)
    simulation.record_links(NUM_LINK_SAMPLES)
    record_summary(simulation, scenario.run_id, scenario.name, len(learning.clients), training_end_s)


def request_costs(learning: Learning) -> RequestCosts:
    """Return the declared costs of one request's parts."""
    from nmoe_sim.nmoe.cost import combine_flop

    costs, model = learning.costs, learning.scenario.model
    return RequestCosts(
        features_flop=costs.features_flop,
        gate_flop=costs.gate_flop,
        expert_flop=costs.expert_flop,
        combine_flop=combine_flop(1, learning.data.num_classes, model.combine),
        features_bytes=costs.features_bytes,
        output_bytes=costs.output_bytes,
    )


def _scores(learning: Learning) -> NDArray[np.float32]:
    from nmoe_sim.nmoe.evaluate import gate_scores

    return gate_scores(learning.gate, learning.gates, learning.tested_h).cpu().numpy()


def _record_layout(learning: Learning) -> None:
    recorder, topology, data = learning.simulation.recorder, learning.simulation.topology, learning.data
    for node in topology.nodes:
        recorder.add("positions", device=node.name, t_s=0.0, x_m=node.x_m, y_m=node.y_m)
    test_y = data.test_y.cpu().numpy()
    for client, y, part in zip(learning.clients, data.train_y, data.test_parts, strict=True):
        num_train = np.bincount(y.cpu().numpy(), minlength=data.num_classes).tolist()
        num_test = np.bincount(test_y[part], minlength=data.num_classes).tolist()
        for label in range(data.num_classes):
            recorder.add("partition", client=client, label=label, num_train=num_train[label], num_test=num_test[label])


def _record_accuracies(learning: Learning) -> None:
    """Write the final accuracies of every client, on the global and on its local test set, and their means."""
    import torch

    from nmoe_sim.nmoe.evaluate import accuracies

    scores, outputs = torch.from_numpy(_scores(learning)), learning.tested_outputs.cpu()
    labels, model, now = learning.data.test_y.cpu(), learning.scenario.model, learning.simulation.env.now
    sums: dict[tuple[str, str], list[float]] = {}
    for i, client in enumerate(learning.clients):
        for split, rows in (("global", None), ("local", learning.data.test_parts[i])):
            if rows is not None and not len(rows):
                continue  # a client with few training samples may have no local test set
            pick = torch.arange(len(labels)) if rows is None else torch.from_numpy(rows)
            values = accuracies(
                i, scores[i][pick], outputs[:, pick], labels[pick], top_k=model.top_k, how=model.combine
            )
            for metric, value in values.items():
                learning.record_metric(FINAL, None, now, metric, split, client, value)
                sums.setdefault((metric, split), []).append(value)
    for (metric, split), values_of_clients in sums.items():
        learning.record_metric(FINAL, None, now, metric, split, None, float(np.mean(values_of_clients)))


def _check_free(out_dir: Path, scenario: Scenario, overwrite: bool) -> None:
    if not out_dir.exists() or overwrite:
        if out_dir.exists() and not out_dir.is_dir():
            raise InputError("is a file; choose another --out", where=str(out_dir))
        return
    if not out_dir.is_dir():
        raise InputError("is a file; choose another --out", where=str(out_dir))
    names = {path.name for path in out_dir.iterdir()}
    if not names or (MANIFEST not in names and names <= _OWN_NAMES):
        return
    if MANIFEST in names:
        finished = load_run(out_dir)
        if finished.summary["run_id"] == scenario.run_id:
            return
        raise InputError(
            f"holds the finished run {finished.summary['run_id']} of '{finished.summary['scenario']}'; "
            "choose another --out, or replace it with --overwrite",
            where=str(out_dir),
        )
    raise InputError("is not empty and holds no run; choose another --out", where=str(out_dir))


_OWN_NAMES = {"values", "tables", "scenario.yaml", "summary.json", MANIFEST}


def _clear(out_dir: Path) -> None:
    """Remove an earlier run, its manifest first: from here on nothing looks finished."""
    (out_dir / MANIFEST).unlink(missing_ok=True)
    for name in sorted(_OWN_NAMES):
        path = out_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _write(out_dir: Path, scenario: Scenario, learning: Learning, started: float) -> None:
    recorder = learning.simulation.recorder
    digests = {name: write_table(recorder.arrow(name), out_dir / "tables" / f"{name}.parquet") for name in TABLES}
    [row] = recorder.arrow("summary").to_pylist()
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
    write_json(out_dir / MANIFEST, manifest)


def _git_commit() -> str | None:
    """Return the commit of the checkout this package runs from; None when it was installed from a wheel."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
