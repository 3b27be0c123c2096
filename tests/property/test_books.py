"""The books of every run balance: random small scenarios, run whole and audited from their tables."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from analysis import audit, latency_breakdown
from nmoe_sim import RunResult, Scenario, build_scenario, run

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:\d+ of \d+ links are outside the range:UserWarning"),
    pytest.mark.filterwarnings("ignore:'max_min' takes each hop of a route:UserWarning"),
]

Optimizer = {"epochs": 1, "batch_size": 64}
TINY = {"flop_per_s": 5e5, "memory_bytes": 10**7, "idle_w": 0.5, "compute_w": 2.0, "rx_w": 0.3}
TINY |= {"tx_circuit_w": 0.4, "amplifier_efficiency": 0.5, "battery_j": 1e5, "profile": "custom"}


@st.composite
def topologies(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    shape: dict[str, dict[str, Any]] = {
        "cell": {"sidelink_range_m": draw(st.sampled_from([None, 120.0]))},
        "star": {"radius_m": 60.0},
        "grid": {"num_columns": draw(st.sampled_from([None, 1])), "spacing_m": 40.0},
        "disc": {"radius_m": 40.0, "range_m": 80.0},
        "random_geometric": {"side_m": 150.0, "range_m": 90.0},
        "multi_cell": {"num_sites": 3, "inter_site_distance_m": draw(st.sampled_from([50.0, 200.0]))},
    }
    return {"kind": kind, "num_devices": draw(st.integers(2, 5)), **shape[kind]}


@st.composite
def radios(draw: st.DrawFn, topology: str) -> dict[str, Any]:
    """Any sharing policy, with and without errors, interference and a radio's duties."""
    policies = ["equal_share", "fifo", "round_robin", "proportional_fair", "fdma", "min_max_latency", "max_min"]
    policies += ["csma_ca"]
    sharing = draw(st.sampled_from(policies))
    contends, divides = sharing == "csma_ca", sharing in ("fdma", "min_max_latency")
    duplex = "half" if contends else "full" if divides else draw(st.sampled_from(["full", "half"]))
    # everybody on a band hears each other; nobody sends and receives on one at once
    sidelinks = ["time_shared"] if contends else ["concurrent"] if divides else ["time_shared", "concurrent"]
    reuse_factors = [3] if contends else [1, 3]
    fading = [{"kind": "none"}, {"kind": "rayleigh", "coherence_time_s": 0.02}]
    fading += [{"kind": "rician", "coherence_time_s": 0.01}]
    radio = {
        "bandwidth_hz": draw(st.sampled_from([1e4, 2e5, 20e6])),
        "duplex": duplex,
        "sidelinks": draw(st.sampled_from(sidelinks)),
        "reuse_factor": draw(st.sampled_from(reuse_factors)) if topology == "multi_cell" else 1,
        "access_delay_s": draw(st.sampled_from([0.0, 1e-3])),
        "fading": draw(st.sampled_from(fading)),
        "link_adaptation": {"kind": "shannon", "max_bps_per_hz": draw(st.sampled_from([None, 7.4]))},
        "sharing": {"kind": sharing},
        "retry": {"max_retries": draw(st.integers(0, 2))},
        "outage_timeout_s": draw(st.sampled_from([0.05, 1.0])),
    }
    if draw(st.booleans()):
        stale = {"max_transmissions": 1, "target_bler": 0.3, "report_delay_s": 0.03}
        radio["link_adaptation"] = {"kind": "nr", **draw(st.sampled_from([{}, stale]))}
        radio |= {"bandwidth_hz": 5e6 * radio["reuse_factor"], "path_loss": {"kind": "log_distance"}}
        radio["shadowing"] = {"kind": "none"}  # no device without any rate
        radio |= {"tx_power_dbm": draw(st.sampled_from([0.0, 23.0]))}
    return radio


@st.composite
def motions(draw: st.DrawFn, topology: str) -> dict[str, Any]:
    if topology not in ("multi_cell", "disc") or draw(st.booleans()):
        return {}
    fast = {"min_speed_m_per_s": 20, "max_speed_m_per_s": 40, "step_s": 0.05}
    eager = {"hysteresis_db": 0, "time_to_trigger_s": 0, "period_s": 0.05, "interruption_s": 0.03}
    return {"mobility": {"kind": "random_waypoint", **fast}, "handover": eager}


@st.composite
def outages(draw: st.DrawFn) -> dict[str, Any]:
    """Devices that go away and come back, and whose batteries run empty."""
    tiny = {**TINY, "battery_j": draw(st.sampled_from([3.0, 8.0, 1e5])), "initial_charge": 0.7}
    if draw(st.booleans()):
        tiny["dvfs"] = {"kind": draw(st.sampled_from(["fixed", "deadline", "energy_optimal"])), "static_w": 0.3}
    return {
        "devices": [tiny],
        "faults": {
            "kind": "on_off",
            "mean_up_s": draw(st.sampled_from([0.5, 3.0])),
            "mean_down_s": draw(st.sampled_from([0.05, 1.0])),
            "start": draw(st.sampled_from(["up", "stationary"])),
        },
    }


@st.composite
def extractor_trainings(draw: st.DrawFn) -> dict[str, Any]:
    common = {"rounds": draw(st.integers(1, 2)), "optimizer": Optimizer}
    if draw(st.booleans()):
        return {"kind": "fedce", **common}
    hidden = draw(st.sampled_from([[], [16]]))
    return {"kind": "fedsc", "projector_hidden": hidden, "projector_dim": draw(st.sampled_from([4, 16])), **common}


@st.composite
def inferences(draw: st.DrawFn, at_deadline: str) -> dict[str, Any]:
    # A request keeps a tiny device busy for about 6 ms and puts some 400 bytes on the air: from idle to overload.
    rate_hz = draw(st.sampled_from([2.0, 40.0, 120.0, 400.0]))
    deadlines_s = [0.01, 0.03, 0.3]
    deadline_s = draw(st.sampled_from([None, *deadlines_s] if at_deadline == "wait" else deadlines_s))
    return {
        "duration_s": min(1.5, 40.0 / rate_hz),
        "deadline_s": deadline_s,
        "at_deadline": at_deadline,
        "samples": draw(st.sampled_from(["global", "local"])),
        "arrivals": {"kind": "poisson", "rate_hz": rate_hz},
        "routing": {"kind": draw(st.sampled_from(["top_k", "all", "random", "local_only"]))},
        "features": {"kind": draw(st.sampled_from(["fp32", "analog"]))},  # of eight values: as many bytes
    }


@st.composite
def scenarios(draw: st.DrawFn, topology: str, at_deadline: str, has_outages: bool) -> Scenario:
    away = draw(outages()) if has_outages else {}
    scenario = draw(undisturbed(topology, at_deadline))
    retry = {"radio.retry.max_training_retries": draw(st.sampled_from([0, 2, 20]))} if has_outages else {}
    return scenario.replace({**away, **retry})


@st.composite
def undisturbed(draw: st.DrawFn, topology: str, at_deadline: str) -> Scenario:
    return build_scenario(
        {
            "name": "books",
            "seed": draw(st.integers(0, 10**6)),
            "device": "cpu",
            "data": {
                "kind": "digits",
                "max_train": draw(st.integers(100, 200)),
                "max_test": 60,
                "partition": draw(st.sampled_from([{"kind": "iid"}, {"kind": "dirichlet", "alpha": 1.0}])),
            },
            "topology": draw(topologies(topology)),
            "devices": draw(st.sampled_from([[TINY], [{**TINY, "count": 1}, {"profile": "phone"}]])),
            "radio": draw(radios(topology)),
            **draw(motions(topology)),
            "model": {
                "extractor": {"kind": "mlp", "hidden": [16], "num_features": 8},
                "expert": {"kind": "mlp", "hidden": [8]},
                "gate": {"kind": "mlp", "hidden": draw(st.sampled_from([[], [8]]))},
                "top_k": draw(st.integers(1, 2)),
            },
            "training": {
                "extractor": draw(extractor_trainings()),
                "experts": {"kind": "local", "optimizer": Optimizer},
                "gate": {
                    "kind": "fedgate",
                    "rounds": draw(st.integers(1, 2)),
                    "synchronise": draw(st.sampled_from(["shared", "all", "none"])),
                    "exchange": draw(st.sampled_from(["experts", "outputs"])),
                    "optimizer": Optimizer,
                },
            },
            # No bound on utilisation: an overloaded scenario has a placement too.
            "placement": {
                "kind": draw(st.sampled_from(["home", "random", "greedy", "milp"])),
                "max_utilisation": None,
            },
            "inference": draw(inferences(at_deadline)),
        }
    )


def tensor_bytes(module: Any, *, under: str = "") -> int:
    tensors = (tensor for name, tensor in module.state_dict().items() if name.startswith(under))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def moved_model_bytes(scenario: Scenario) -> dict[str, int]:
    """Return the bytes of the model that each stage moves, from modules built anew."""
    import torch
    from torch import nn

    model, stage_1, generator = scenario.model, scenario.training.extractor, torch.Generator()
    shape, classes, features = scenario.data.input_shape, scenario.data.num_classes, model.extractor.num_features
    if stage_1.kind == "fedce":
        head = nn.Sequential(nn.Linear(features, classes))
    else:
        widths = [features, *stage_1.projector_hidden, stage_1.projector_dim]
        head = nn.Sequential(*(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(widths)))
    gate = model.gate.build(features, scenario.topology.num_devices, generator)
    part = {"all": "", "shared": "shared."}.get(scenario.training.gate.synchronise)
    return {
        "extractor": tensor_bytes(model.extractor.build(shape, generator)) + tensor_bytes(head),
        "gate": 0 if part is None else tensor_bytes(gate, under=part),
    }


def check_sizes(scenario: Scenario, tables: dict[str, pd.DataFrame]) -> None:
    """Every payload has the size of the tensors it stands for; 4 bytes a value."""
    import torch

    transfers, model = tables["transfers"], scenario.model
    for stage, n_bytes in moved_model_bytes(scenario).items():
        of_stage = transfers[transfers["stage"] == stage]
        assert set(of_stage.loc[of_stage["kind"] == "model_up", "n_bytes"]) <= {n_bytes}
        in_rounds = (of_stage["kind"] == "model_down") & of_stage["round"].notna()
        assert set(of_stage.loc[in_rounds, "n_bytes"]) <= {n_bytes}
        assert (n_bytes > 0) == (of_stage["kind"] == "model_up").any() or len(tables["outages"])
    classes = scenario.data.num_classes
    expert_bytes = tensor_bytes(model.expert.build(model.extractor.num_features, classes, torch.Generator()))
    experts = transfers[transfers["kind"] == "expert"]
    assert (experts["n_bytes"] % expert_bytes == 0).all()
    assert set(tables["placement"]["bytes"]) == {expert_bytes}
    asked = transfers[transfers["stage"].isna()]
    assert set(asked.loc[asked["kind"] == "features", "n_bytes"]) <= {4 * model.extractor.num_features}
    requests = tables["requests"].set_index("request_id")
    for request_id, src, n_bytes, hop in asked.loc[
        asked["kind"] == "output", ["request_id", "src", "n_bytes", "hop"]
    ].itertuples(index=False):
        if hop == 0:
            assert n_bytes == 4 * classes * list(requests.at[request_id, "hosts"]).count(src)
    if scenario.training.extractor.kind == "fedsc":
        width = scenario.training.extractor.projector_dim
        matrices = transfers[transfers["kind"] == "correlation"]
        assert set(matrices["n_bytes"]) <= {4 * width * (width + 1) // 2}
        assert len(matrices) or len(tables["outages"])


def check_books(scenario: Scenario, result: RunResult) -> None:
    findings = audit(result)
    broken = findings[~findings["holds"]]
    assert broken.empty, broken.to_string()
    check_sizes(scenario, result.tables)
    completed = result.tables["requests"].set_index("request_id")["latency_s"].dropna()
    parts = latency_breakdown(result.tables)
    assert list(parts.index) == list(completed.index)
    assert parts.sum(axis=1).sub(completed).abs().max() <= 1e-9 or completed.empty
    assert parts.min().min() > -1e-9 or completed.empty


@pytest.mark.parametrize(
    ("number", "topology", "at_deadline", "has_outages"),
    [
        (1, "cell", "combine", False),
        (2, "star", "expire", False),
        (3, "grid", "combine", False),
        (4, "disc", "wait", False),
        (5, "random_geometric", "combine", False),
        (6, "multi_cell", "wait", False),
        (7, "multi_cell", "combine", False),
        (8, "multi_cell", "expire", False),
        (9, "cell", "wait", True),
        (10, "disc", "combine", True),
        (11, "star", "expire", True),
        (12, "multi_cell", "combine", True),
    ],
)
def test_the_books_of_random_scenarios_balance(number: int, topology: str, at_deadline: str, has_outages: bool) -> None:
    @seed(number)  # the same scenarios every time, others for each case
    @settings(max_examples=3, deadline=None, database=None, phases=[Phase.generate])
    @given(scenarios(topology, at_deadline, has_outages))
    def balance(scenario: Scenario) -> None:
        with tempfile.TemporaryDirectory() as out_dir:
            check_books(scenario, run(scenario, out_dir))

    balance()
