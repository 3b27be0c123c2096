"""Whatever clients do, and whatever befalls them: a run ends, says who was left out and why, and its books balance."""

from __future__ import annotations

import tempfile
from typing import Any

import pandas as pd
import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from analysis import audit
from nmoe_sim import RunResult, Scenario, build_scenario, run

pytestmark = pytest.mark.filterwarnings(r"ignore:\d+ of \d+ links are outside the range:UserWarning")

REASONS = {"battery", "churn", "server_down", "out_of_reach", "transfer_lost", "not_selected", "busy", "unfinished"}
REASONS |= {"deadline", "over_selection"}
SELECTIONS = ["random", "round_robin", "channel_aware", "energy_aware"]


@st.composite
def stages(draw: st.DrawFn, kind: str, *, with_sidelinks: bool) -> dict[str, Any]:
    """A stage's settings, any that may go together."""
    stage: dict[str, Any] = {"kind": kind, "rounds": draw(st.integers(1, 5)), "optimizer": {"momentum": 0.0}}
    protocols = ["synchronous", "deadline", "over_selection", "asynchronous", "buffered"]
    protocol: dict[str, Any] = {"kind": draw(st.sampled_from(protocols + ["gossip"] * with_sidelinks))}
    name = protocol["kind"]
    selection: dict[str, Any] = {"kind": draw(st.sampled_from([*SELECTIONS, "all"]))}
    if name == "deadline":
        protocol |= {
            "deadline_s": draw(st.sampled_from([0.005, 0.05])),
            "late": draw(st.sampled_from(["drop", "keep"])),
        }
    if name == "over_selection":
        selection = {"kind": draw(st.sampled_from(SELECTIONS)), "share": 0.4}
    if name == "buffered":
        protocol["buffer"] = draw(st.sampled_from([1, 2, 4]))
    if name == "gossip":
        protocol["consensus_rounds"] = draw(st.integers(0, 2))
        selection = {"kind": draw(st.sampled_from(["all", "random", "energy_aware"]))}
    else:
        compressions: list[dict[str, Any]] = [{"kind": "none"}, {"kind": "quantise", "bits": 4}, {"kind": "top_k"}]
        stage["compression"] = draw(st.sampled_from(compressions))
        stage["server_update"] = {"kind": draw(st.sampled_from(["average", "fedadam"]))}
    updates = ["sgd", "fedprox"]
    if name in ("synchronous", "deadline", "over_selection"):
        updates.append("scaffold")
    update = draw(st.sampled_from(updates))
    stage["local_update"] = {"kind": update}
    return {**stage, "protocol": protocol, "selection": selection}


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    sidelinks = draw(st.booleans())
    topology: dict[str, Any] = {"kind": "grid", "num_columns": 2, "spacing_m": 20.0} if sidelinks else {"kind": "cell"}
    flop_per_s = draw(st.sampled_from([1e8, 2e9]))
    phone = {"profile": "phone", "flop_per_s": flop_per_s}
    small = {"battery_j": draw(st.sampled_from([0.005, 0.03, 0.1])), "count": draw(st.integers(1, 3))}
    trouble = draw(st.sampled_from(["none", "churn", "battery", "both"]))
    churn = {"kind": "on_off", "mean_up_s": draw(st.sampled_from([0.02, 0.3])), "mean_down_s": 0.02}
    extractor = draw(st.sampled_from(["fedce", "fedsc", "spectral"]))
    return build_scenario(
        {
            "name": "federated",
            "seed": draw(st.integers(0, 99)),
            "data": {"kind": "digits", "max_train": 60, "max_test": 20, "partition": {"kind": "iid"}},
            "topology": {**topology, "num_devices": 4},
            "devices": [{**phone, **small}, phone] if trouble in ("battery", "both") else [phone],
            "faults": churn if trouble in ("churn", "both") else {"kind": "none"},
            "radio": {
                "path_loss": {"kind": "free_space"},
                "retry": {"max_training_retries": draw(st.sampled_from([None, 0, 2]))},
            },
            "model": {"extractor": {"kind": "mlp", "hidden": [4], "num_features": 4}, "expert": {"hidden": [4]}},
            "training": {
                "extractor": draw(stages(extractor, with_sidelinks=sidelinks)),
                "experts": {"optimizer": {"epochs": 1}},
                "gate": draw(stages("fedgate", with_sidelinks=sidelinks)),
            },
            "inference": {"duration_s": 0.2, "arrivals": {"rate_hz": 10.0}},
        }
    )


@seed(0)
@settings(max_examples=20, phases=[Phase.explicit, Phase.generate])
@given(scenarios())
def test_rounds_end_and_books_balance(scenario: Scenario) -> None:
    with tempfile.TemporaryDirectory() as folder:
        result = run(scenario, folder + "/out")
        findings = audit(result)
        assert findings["holds"].all(), findings[~findings["holds"]].to_string()
        for stage in ("extractor", "gate"):
            check_rounds(result, stage, scenario)


def check_rounds(result: RunResult, stage: str, scenario: Scenario) -> None:
    """Who counts has no reason, who doesn't has one; nobody is at work twice at a time; loads are what was asked."""
    rounds = result.tables["rounds"]
    rounds = rounds[rounds["stage"] == stage]
    spec = getattr(scenario.training, stage)
    counts = rounds["participated"].astype(bool)
    assert set(rounds.loc[~counts, "reason"]) <= REASONS
    assert rounds.loc[counts, "reason"].isna().all()
    assert (rounds["version"].notna() == counts).all()
    assert (rounds.loc[counts, "staleness"] >= 0).all()
    if scenario.training.extractor.protocol.kind == "synchronous" and stage == "extractor":
        assert (rounds.loc[counts, "staleness"] == 0).all()
    at_work = rounds[rounds["t_end_s"] > rounds["t_start_s"]].sort_values(["client", "t_start_s"])
    before_s = at_work.groupby("client")["t_end_s"].shift()
    assert not (at_work["t_start_s"] < before_s).any()
    per_version = rounds[counts].groupby("version")["client"].nunique()
    if spec.protocol.kind == "over_selection":
        assert (per_version <= spec.selection.number(4)).all()
    if spec.protocol.kind == "asynchronous":
        assert (per_version == 1).all()
    if spec.protocol.kind == "buffered":
        assert (rounds[counts].groupby("version").size() == spec.protocol.buffer).all()
    assert pd.notna(rounds.loc[counts, "loss"]).all() or spec.protocol.kind == "gossip"
