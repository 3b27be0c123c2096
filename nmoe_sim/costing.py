"""What a scenario will cost, told by running its training clock without any values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nmoe_sim.checks import Layout
from nmoe_sim.hosting import memory_used
from nmoe_sim.preparation import prepare_clock
from nmoe_sim.scenario.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd


def cost_tables(scenario: Scenario, layout: Layout) -> dict[str, pd.DataFrame]:
    """Return declared costs, by title.

    FLOP are counted on torch's meta device; nothing is trained and no data is read, so every client
    counts with an equal share of the training samples.

    Returns
    -------
    dict of str to DataFrame
        ``model``: FLOP of one sample and bytes of each part. ``devices``: for each device, memory,
        FLOP, compute time and bytes of training, and FLOP of one request's features and gate.
    """
    import pandas as pd

    learning = prepare_clock(scenario, layout)
    simulation, costs = learning.simulation, learning.costs
    training = scenario.training
    for stage in (training.extractor, training.experts, training.gate):
        simulation.run(stage.clock(learning))
    model = pd.DataFrame(
        [
            ("extractor", costs.features_flop, costs.extractor_bytes, costs.features_bytes),
            ("gate", costs.gate_flop, costs.gate_bytes, None),
            ("expert", costs.expert_flop, costs.expert_bytes, costs.output_bytes),
        ],
        columns=["part", "flop_per_sample", "parameter_bytes", "output_bytes"],
    )
    used = memory_used(learning, layout, list(layout.clients))
    jobs, hops = (simulation.recorder.arrow(name).to_pandas() for name in ("compute", "transfers"))
    rows: list[dict[str, Any]] = []
    for node in layout.topology.nodes:
        mine = jobs[jobs["device"] == node.name]
        rows.append(
            {
                "device": node.name,
                "profile": layout.profiles[node.name].kind,
                "memory_used_bytes": used[node.name],
                "memory_bytes": layout.profiles[node.name].memory_bytes,
                "training_flop": float(mine["flop"].sum()),
                "training_compute_s": float((mine["t_end_s"] - mine["t_start_s"]).sum()),
                "training_bytes_sent": int(hops.loc[hops["src"] == node.name, "n_bytes"].sum()),
                "training_bytes_received": int(hops.loc[hops["dst"] == node.name, "n_bytes"].sum()),
                "request_flop": costs.features_flop + costs.gate_flop if node.kind == "device" else 0,
            }
        )
    title = f"devices (experts at home; training takes {simulation.env.now:.3g} s with equal shares of the data)"
    return {"model": model, title: pd.DataFrame(rows)}
