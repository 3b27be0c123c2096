"""Federated runs, whole: what depends on time and what must not, what is counted, who is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from analysis import audit
from nmoe_sim import InputError, RunResult, Scenario, build_scenario, run
from nmoe_sim.checks import check
from nmoe_sim.lifecycle import simulate
from nmoe_sim.preparation import prepare

SMALL: dict[str, Any] = {
    "name": "federated",
    "seed": 3,
    "data": {"kind": "digits", "max_train": 160, "max_test": 40, "partition": {"kind": "dirichlet", "alpha": 1}},
    "topology": {"kind": "cell", "num_devices": 4, "radius_m": 60},
    "devices": [{"profile": "phone", "flop_per_s": 2e8}],
    "radio": {"path_loss": {"kind": "free_space"}, "bandwidth_hz": 1e6},
    "model": {"extractor": {"kind": "mlp", "hidden": [8], "num_features": 8}, "expert": {"hidden": [4]}},
    "training": {
        "extractor": {"kind": "fedce", "rounds": 3},
        "experts": {"kind": "local", "optimizer": {"epochs": 1}},
        "gate": {"kind": "fedgate", "rounds": 2},
    },
    "inference": {"duration_s": 1.0, "arrivals": {"kind": "poisson", "rate_hz": 2}},
}
GRID = {"kind": "grid", "num_devices": 6, "num_columns": 3, "spacing_m": 20}


def scenario(changes: Mapping[str, Any] | None = None) -> Scenario:
    """The scenario with changes by dotted keys."""
    return build_scenario(SMALL).replace(dict(changes or {}))


def stage_1(**parts: Any) -> dict[str, Any]:
    return {f"training.extractor.{name}": part for name, part in parts.items()}


def rounds(result: RunResult, stage: str = "extractor") -> pd.DataFrame:
    table = result.tables["rounds"]
    return table[table["stage"] == stage]


def values(result: RunResult) -> dict[str, str]:
    """Stored values: their names, which are digests of all they depend on, and their bytes."""
    found = {path.name: path.read_bytes() for path in (result.path / "values").iterdir() if path.is_file()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}


def digests(result: RunResult) -> dict[str, str]:
    return dict(result.manifest["tables"])


def assert_audited(result: RunResult) -> None:
    findings = audit(result)
    assert findings["holds"].all(), findings[~findings["holds"]].to_string()


# --- values don't depend on time -----------------------------------------------------------------------

PARTS: dict[str, dict[str, Any]] = {
    "scaffold": stage_1(local_update={"kind": "scaffold"}, optimizer={"momentum": 0.0}),
    "compressed": stage_1(
        compression={"kind": "top_k", "share": 0.1},
        server_update={"kind": "fedadam", "lr": 0.01},
        selection={"kind": "random", "share": 0.5},
    ),
    "private": stage_1(privacy={"kind": "dp_fedavg"}, selection={"kind": "poisson", "share": 0.6}),
    "fedsc": {
        "training.extractor": {"kind": "fedsc", "rounds": 2, "projector_hidden": (8,), "projector_dim": 4},
        "training.gate.compression": {"kind": "quantise", "bits": 4},
    },
}


@pytest.mark.parametrize("name", PARTS)
def test_half_the_bandwidth_changes_times_and_no_weights(name: str, tmp_path: Path) -> None:
    fast = run(scenario(PARTS[name]), tmp_path / "fast")
    slow = run(scenario({**PARTS[name], "radio.bandwidth_hz": 5e5}), tmp_path / "slow")
    assert len(values(fast)) == 3
    assert values(fast) == values(slow)
    ends_s = [rounds(result)["t_end_s"].max() for result in (fast, slow)]
    assert ends_s[1] > 1.2 * ends_s[0]
    columns = ["round", "client", "participated", "loss", "bytes_up", "bytes_down", "version", "staleness"]
    pd.testing.assert_frame_equal(rounds(fast)[columns], rounds(slow)[columns])


def test_bandwidth_has_a_part_in_values_where_the_protocol_says_so(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    late = stage_1(protocol={"kind": "deadline", "deadline_s": 0.04})
    fast = run(scenario(late), tmp_path / "fast")
    slow = run(scenario({**late, "radio.bandwidth_hz": 2e5}), tmp_path / "slow")
    assert rounds(fast)["participated"].sum() > rounds(slow)["participated"].sum()
    assert values(fast).keys() != values(slow).keys()


def test_a_patient_deadline_is_a_synchronous_run(tmp_path: Path) -> None:
    synchronous = run(scenario(), tmp_path / "synchronous")
    protocol = {"kind": "deadline", "deadline_s": 1e5, "late": "keep"}
    patient = run(scenario(stage_1(protocol=protocol)), tmp_path / "patient")
    assert values(patient) == values(synchronous)
    assert digests(patient)["rounds"] == digests(synchronous)["rounds"]


# --- the same bytes, whoever computes ------------------------------------------------------------------

SLOW = {"profile": "phone", "flop_per_s": 5e6, "count": 1}
"""It isn't through at a deadline at which the others are."""
MIXED = [SLOW, *SMALL["devices"]]
PROTOCOLS: dict[str, dict[str, Any]] = {
    "synchronous": {},
    "deadline": {"devices": MIXED, **stage_1(protocol={"kind": "deadline", "deadline_s": 0.03})},
    "late": {"devices": MIXED, **stage_1(protocol={"kind": "deadline", "deadline_s": 0.03, "late": "keep"})},
    "over_selection": stage_1(
        protocol={"kind": "over_selection", "spare": 0.5}, selection={"kind": "random", "share": 0.5}
    ),
    "asynchronous": stage_1(protocol={"kind": "asynchronous"}, rounds=6),
    "buffered": stage_1(protocol={"kind": "buffered", "buffer": 2}, selection={"kind": "round_robin"}),
    "gossip": {
        "topology": GRID,
        **stage_1(protocol={"kind": "gossip", "consensus_rounds": 2}),
        "training.gate.protocol": {"kind": "gossip"},
    },
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_with_another_number_of_workers_the_same_bytes(name: str, tmp_path: Path) -> None:
    one = scenario({**PROTOCOLS[name], "faults": {"kind": "on_off", "mean_up_s": 0.3, "mean_down_s": 0.05}})
    first = run(one, tmp_path / "first")
    assert_audited(first)
    if name == "deadline":
        assert "deadline" in set(rounds(first)["reason"])
    if name in ("late", "asynchronous", "buffered"):
        assert rounds(first)["staleness"].max() > 0
    for workers in (1, 2):
        learning = prepare(one, layout := check(one), workers=workers)
        simulate(learning, layout)
        for table in ("rounds", "metrics", "requests"):
            pd.testing.assert_frame_equal(
                learning.simulation.recorder.arrow(table).to_pandas(),
                pd.read_parquet(first.path / f"tables/{table}.parquet"),
            )


# --- bytes and joules ----------------------------------------------------------------------------------


def test_the_wire_carries_the_compressed_bytes_and_takes_fewer_joules(tmp_path: Path) -> None:
    results, sizes = {}, (64 * 8, 8, 8 * 8, 8, 8 * 10, 10)
    elements = sum(sizes)
    expected = {
        "none": 4 * elements,
        # a byte holds two 4-bit values; each tensor has a scale
        "quantise": sum(4 + -(-4 * n // 8) for n in sizes),
        # four bytes for a value, a bit a value for which these are
        "top_k": 4 * int(np.ceil(0.1 * elements)) + -(-elements // 8),
    }
    for kind, settings in (("none", {}), ("quantise", {"bits": 4}), ("top_k", {"share": 0.1})):
        results[kind] = result = run(scenario(stage_1(compression={"kind": kind, **settings})), tmp_path / kind)
        declared = scenario(stage_1(compression={"kind": kind, **settings})).training.extractor.compression
        names = {f"t{i}": n for i, n in enumerate(sizes)}
        assert declared.payload_bytes(names) == expected[kind]
        assert set(rounds(result)["bytes_up"]) == {declared.payload_bytes(names)}
        transfers = result.tables["transfers"]
        up = transfers[(transfers["kind"] == "model_up") & (transfers["stage"] == "extractor")]
        assert set(up["n_bytes"]) == {declared.payload_bytes(names)}
        assert set(rounds(result)["bytes_down"]) == {4 * elements}
        assert_audited(result)
    joules = {
        kind: result.tables["transfers"].query("kind == 'model_up' and stage == 'extractor'")["tx_energy_j"].sum()
        for kind, result in results.items()
    }
    assert joules["none"] > 4 * max(joules["quantise"], joules["top_k"])


def test_scaffolds_variates_double_the_bytes_of_both_ways(tmp_path: Path) -> None:
    result = run(scenario(PARTS["scaffold"]), tmp_path / "scaffold")
    elements = sum((64 * 8, 8, 8 * 8, 8, 8 * 10, 10))
    assert set(rounds(result)["bytes_up"]) == set(rounds(result)["bytes_down"]) == {2 * 4 * elements}
    transfers = result.tables["transfers"].query("stage == 'extractor' and kind == 'model_up'")
    assert set(transfers["n_bytes"]) == {2 * 4 * elements}
    assert_audited(result)


def test_epsilon_grows_from_round_to_round(tmp_path: Path) -> None:
    parts = stage_1(
        privacy={"kind": "dp_fedavg", "noise_multiplier": 1.0, "delta": 1e-3},
        selection={"kind": "poisson", "share": 0.5},
        evaluate_every=1,
        rounds=4,
    )
    result = run(scenario(parts), tmp_path / "private")
    metrics = result.tables["metrics"]
    epsilon = metrics[(metrics["metric"] == "epsilon") & (metrics["stage"] == "extractor")].sort_values("round")
    assert epsilon["round"].tolist() == [0, 1, 2, 3]
    assert (np.diff(epsilon["value"]) > 0).all()
    assert epsilon["value"].iloc[0] > 0


# --- gossip --------------------------------------------------------------------------------------------


def test_gossip_moves_models_along_the_edges_of_the_grid(tmp_path: Path) -> None:
    result = run(scenario(PROTOCOLS["gossip"]), tmp_path / "gossip")
    grid = nx.relabel_nodes(
        nx.grid_2d_graph(2, 3), {(row, column): f"dev{3 * row + column}" for row in range(2) for column in range(3)}
    )
    edges = {(a, b) for a, b in grid.edges} | {(b, a) for a, b in grid.edges}
    transfers = result.tables["transfers"]
    models = transfers[(transfers["kind"] == "model") & (transfers["stage"] == "extractor")]
    n_bytes = 4 * (64 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10)
    assert set(models["n_bytes"]) == {n_bytes}
    by_round = models.groupby("round")[["src", "dst"]].agg(list)
    assert by_round.index.tolist() == [0, 1, 2, 3, 4]  # three of training, two of consensus
    for src, dst in by_round.itertuples(index=False):
        assert sorted(zip(src, dst, strict=True)) == sorted(edges)
    for client, degree in grid.degree:
        own = rounds(result)[rounds(result)["client"] == client]
        assert set(own["bytes_up"]) == set(own["bytes_down"]) == {degree * n_bytes}
    jobs = result.tables["compute"]
    assert set(jobs[jobs["kind"] == "aggregate"]["device"]) == set(grid)
    assert not (transfers["kind"] == "model_down").any()
    assert rounds(result).query("round >= 3")["loss"].isna().all()
    assert_audited(result)


def test_more_rounds_of_mixing_bring_consensus(tmp_path: Path) -> None:
    distances = []
    for consensus_rounds in (0, 5, 40):
        parts = {**PROTOCOLS["gossip"], **stage_1(protocol={"kind": "gossip", "consensus_rounds": consensus_rounds})}
        metrics = run(scenario(parts), tmp_path / str(consensus_rounds)).tables["metrics"]
        distances += metrics[metrics["metric"] == "consensus_distance"]["value"].tolist()
    assert len(distances) == 3
    assert distances[0] > 3 * distances[1] > 30 * distances[2]


def test_gossip_in_a_cell_without_sidelinks_is_refused() -> None:
    for stage in ("extractor", "gate"):
        with pytest.raises(InputError, match="none lead from dev0 to dev1, dev2, dev3; take a topology") as refused:
            check(scenario({f"training.{stage}.protocol": {"kind": "gossip"}}))
        assert refused.value.key == f"training.{stage}"
    sidelinks = {**SMALL["topology"], "sidelink_range_m": 200}
    check(scenario({"training.extractor.protocol": {"kind": "gossip"}, "topology": sidelinks}))


# --- who is away, empty, or not heard ------------------------------------------------------------------

TROUBLE: dict[str, tuple[dict[str, Any], set[str]]] = {
    "churn": ({"faults": {"kind": "on_off", "mean_up_s": 0.2, "mean_down_s": 0.1}}, {"churn"}),
    "battery": (
        {"devices": [{"profile": "phone", "flop_per_s": 2e8, "battery_j": 0.02, "count": 2}, SMALL["devices"][0]]},
        {"battery"},
    ),
    "empty": ({"devices": [{"profile": "phone", "flop_per_s": 2e8, "battery_j": 0.02}]}, {"battery"}),
    "lossy": (
        {
            "radio.link_adaptation": {"kind": "nr", "max_transmissions": 1},
            "radio.retry": {"max_training_retries": 0},
            "radio.bandwidth_hz": 5e6,
            "radio.tx_power_dbm": -2,
            "topology": {"kind": "cell", "num_devices": 4, "radius_m": 900},
        },
        {"transfer_lost"},
    ),
    "mesh": (
        {
            "topology": {"kind": "grid", "num_devices": 6, "num_columns": 1, "spacing_m": 20},
            "faults": {"kind": "on_off", "mean_up_s": 0.3, "mean_down_s": 0.1},
        },
        {"churn"},
    ),
}


@pytest.mark.parametrize(
    ("trouble", "protocol"),
    [
        ("churn", "late"),
        ("churn", "buffered"),
        ("battery", "synchronous"),
        ("empty", "late"),
        ("empty", "buffered"),
        ("lossy", "synchronous"),
        ("lossy", "buffered"),
        ("mesh", "synchronous"),
    ],
)
def test_a_run_in_trouble_ends_and_says_why(trouble: str, protocol: str, tmp_path: Path) -> None:
    changes, reasons = TROUBLE[trouble]
    result = run(scenario({**PROTOCOLS[protocol], "training.extractor.rounds": 6, **changes}), tmp_path / "out")
    assert_audited(result)
    table = result.tables["rounds"]
    assert reasons <= set(table["reason"].dropna())
    assert table["reason"].isna().equals(table["participated"])
    assert table["version"].notna().equals(table["participated"])
    left_out = table[~table["participated"]]
    assert (left_out["t_end_s"] >= left_out["t_start_s"]).all()


def test_an_expert_whose_owner_is_gone_is_left_out(tmp_path: Path) -> None:
    changes = {**TROUBLE["battery"][0], "inference.routing": {"kind": "all"}, "placement": {"kind": "greedy"}}
    result = run(scenario(changes), tmp_path / "out")
    outages = result.tables["outages"]
    gone = set(outages[outages["reason"] == "battery"]["device"])
    assert gone == {"dev0", "dev1"}
    assert (outages["t_down_s"] < result.summary["training_time_s"]).all()
    placement = result.tables["placement"].set_index("owner")["device"]
    assert placement[["dev0", "dev1"]].tolist() == ["dev0", "dev1"]
    assert not set(placement[["dev2", "dev3"]]) & gone
    requests = result.tables["requests"]
    assert set(requests[requests["client"].isin(gone)]["outcome"]) == {"client_down"}
    served = requests[~requests["client"].isin(gone)]
    assert set(served["outcome"]) == {"completed"}
    assert set(served["experts"].map(lambda experts: tuple(sorted(experts)))) == {(2, 3)}  # of "all"
    assert_audited(result)
