"""What a sweep will do and cost, told without computing any value."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from nmoe_sim.checks import check
from nmoe_sim.preparation import prepare_clock
from nmoe_sim.scenario.dump import digest, resolve_spec
from nmoe_sim.sweeps.plan import STAGES, Plan, Run, setting_text

if TYPE_CHECKING:
    import pandas as pd


def estimate(plan: Plan, done: Collection[str] = ()) -> pd.DataFrame:
    """Return one row a run: settings, requests expected, FLOP of training, and who trains.

    The FLOP are the declared ones, with equal shares of the data; a stage counts for the first run
    that needs its values. Replaying the clock and serving requests isn't FLOP: compare the requests.

    Parameters
    ----------
    plan : Plan
    done : collection of str
        Run ids that are done already.
    """
    import pandas as pd

    costs: dict[str, dict[str, float]] = {}
    first: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for run in plan.runs:
        if run.run_id in done:
            first.update({key: first.get(key, run.run_id) for key in run.stage_keys})
    for run in plan.runs:
        kind = _cost_key(run)
        if kind not in costs:
            costs[kind] = _stage_flop(run)
        trains = [
            s for s, key in zip(STAGES, run.stage_keys, strict=True) if first.setdefault(key, run.run_id) == run.run_id
        ]
        if run.run_id in done:
            trains = []
        owner = first[run.stage_keys[-1]]
        arrivals, clients = run.scenario.inference.arrivals, run.scenario.topology.num_devices
        rate_hz = sum(arrivals.mean_rate_hz(i) for i in range(clients))
        rows.append(
            {
                "run_id": run.run_id,
                **{key: setting_text(value) for key, value in run.settings.items()},
                "seed": run.scenario.seed,
                "requests": round(rate_hz * run.scenario.inference.duration_s),
                "training_flop": sum(costs[kind][stage] for stage in trains),
                "trains": " ".join(trains) or ("-" if owner == run.run_id else f"as {owner}"),
                "status": "done" if run.run_id in done else "to do",
            }
        )
    return pd.DataFrame(rows)


def _cost_key(run: Run) -> str:
    """Return what the FLOP of training depend on: not the seed."""
    plain = resolve_spec(run.scenario, portable=True)
    return digest({key: plain[key] for key in ("data", "topology", "model", "training")})


def _stage_flop(run: Run) -> dict[str, float]:
    learning = prepare_clock(run.scenario, check(run.scenario))
    simulation, training = learning.simulation, run.scenario.training
    for stage in (training.extractor, training.experts, training.gate):
        simulation.run(stage.clock(learning))
    jobs = simulation.recorder.arrow("compute").select(["stage", "flop"])
    sums = jobs.group_by("stage").aggregate([("flop", "sum")]).to_pylist()
    flop = {row["stage"]: row["flop_sum"] for row in sums}
    return {stage: flop.get(stage, 0.0) for stage in STAGES}
