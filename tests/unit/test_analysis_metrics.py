"""Metrics on tables made by hand, and against the books of a real run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import latency_breakdown, metrics
from analysis.convergence import (
    bytes_to_accuracy,
    costs_to_accuracy,
    joules_to_accuracy,
    learning_curve,
    time_to_accuracy,
    training_bytes,
    training_energy_j,
)
from nmoe_sim import build_scenario, run
from nmoe_sim.results.tables import TABLES


def table(columns: str, *rows: tuple[Any, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=columns.split())


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    return {
        "requests": table(
            "request_id t_arrival_s t_done_s latency_s deadline_met outcome correct energy_j",
            (0, 1.0, 1.5, 0.5, True, "completed", True, 3.0),
            (1, 2.0, 4.0, 2.0, False, "completed", False, 5.0),
            (2, 3.0, None, None, False, "expired", None, 1.0),
        ).astype({"deadline_met": "boolean", "correct": "boolean"}),
        "compute": table(
            "request_id stage t_ready_s t_start_s t_end_s energy_j",
            (None, "gate", 0.0, 0.0, 1.0, 10.0),
            (None, "gate", 0.5, 1.0, 2.0, 20.0),
            (0, None, 1.0, 1.25, 1.5, 2.0),
            (2, None, 3.0, 3.0, 3.5, 0.5),
            (2, None, 3.0, 3.5, 3.75, 0.25),
        ).astype({"request_id": "Int64"}),
        "transfers": table(
            "request_id stage t_ready_s t_start_s t_end_s airtime_s tail_s n_bytes bytes_sent tx_energy_j rx_energy_j"
            " attempt retransmissions",
            (None, "gate", 2.0, 2.0, 4.0, 2.0, 0.0, 500, 100, 3.0, 1.0, 0, 0.25),
            (None, "gate", 4.0, 5.0, 5.0, 0.0, 0.0, 10, 10, 0.5, 0.0, 1, 0.5),
            (1, None, 2.0, 2.5, 4.0, 1.0, 0.25, 7, 7, 4.0, 1.0, 0, 0.0),
            (2, None, 3.0, 3.0, 3.5, None, 0.5, 0, 0, 0.0, 0.0, 0, 0.0),
        ).astype({"request_id": "Int64"}),
        "handovers": table("device t_s", ("dev0", 0.5), ("dev0", 0.75)),
        "summary": table("inference_time_s", (10.0,)),
        "energy": table(
            "device component phase energy_j",
            ("dev0", "compute", "training", 30.0),
            ("dev0", "tx", "training", 3.5),
            ("bs0", "rx", "inference", 2.0),
            ("bs0", "idle", "inference", 9.0),
        ),
        "devices": table("device idle_w", ("dev0", 0.5), ("bs0", 1.5)),
        "metrics": table(
            "stage round t_s metric split client value",
            ("gate", 1, 3.0, "accuracy_nmoe", "global", None, 0.8),
            ("gate", 0, 1.5, "accuracy_nmoe", "global", None, 0.5),
            ("final", None, 5.0, "accuracy_nmoe", "global", None, 0.7),
            ("final", None, 5.0, "accuracy_nmoe", "global", "dev0", 0.9),
            ("final", None, 5.0, "accuracy_nmoe", "local", None, 0.6),
        ),
    }


def test_values_of_requests(tables: dict[str, pd.DataFrame]) -> None:
    found = metrics.per_request(tables)
    expected = {
        "latency_s": [0.5, 2.0, None],
        "waiting_s": [0.25, 0.0, 0.5],
        "computing_s": [0.25, 0.0, 0.75],
        "access_s": [0.0, 0.5, 0.0],
        "airtime_s": [0.0, 1.0, 0.0],
        "sharing_s": [0.0, 0.25, 0.0],
        "energy_j": [2.0, 5.0, 0.75],
        "n_bytes": [0.0, 7.0, 0.0],
    }
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert [None if pd.isna(v) else v for v in found[name]] == values, name


def test_values_of_a_run(tables: dict[str, pd.DataFrame]) -> None:
    assert metrics.of_run(tables) == pytest.approx(
        {
            "latency_mean_s": 1.25,
            "latency_p50_s": 1.25,
            "latency_p95_s": 1.925,
            "latency_p99_s": 1.985,
            "completed_ratio": 2 / 3,
            "deadline_met_ratio": 1 / 3,
            "served_accuracy": 0.5,
            "throughput_hz": 0.2,
            "goodput_hz": 0.1,
            "energy_per_request_j": 3.0,
            "energy_radio_j": 5.5,
            "energy_compute_j": 30.0,
            "energy_total_j": 44.5,
            "retried_ratio": 0.25,
            "retransmissions_mean": 0.25,
            "num_handovers": 2.0,
        }
    )


def test_a_run_without_requests_has_no_latency(tables: dict[str, pd.DataFrame]) -> None:
    found = metrics.of_run({**tables, "requests": tables["requests"].iloc[:0]})
    assert {name for name, value in found.items() if math.isnan(value)} == {
        *(f"latency_{what}_s" for what in ("mean", "p50", "p95", "p99")),
        *("completed_ratio", "deadline_met_ratio", "served_accuracy", "energy_per_request_j"),
    }
    assert found["throughput_hz"] == 0.0


def test_definitions_name_columns_that_exist() -> None:
    table = metrics.definitions()
    assert not table.duplicated(["metric", "of"]).any()
    named = 0
    for formula in table["formula"]:
        for word in formula.replace("(", " ").replace(")", " ").split():
            name, dot, column = word.strip(";,.").partition(".")
            if dot and name in TABLES:
                assert column in TABLES[name].column_names, formula
                named += 1
    assert named >= len(table)


def test_energy_and_bytes_of_training(tables: dict[str, pd.DataFrame]) -> None:
    t_s = np.array([0.0, 0.5, 1.0, 1.5, 3.0, 4.0, 5.0, 9.0])
    np.testing.assert_allclose(training_energy_j(tables, t_s), [0, 5, 10, 20, 32, 34, 34.5, 34.5])
    np.testing.assert_allclose(training_energy_j(tables, t_s, idle=True), [0, 6, 12, 23, 38, 42, 44.5, 52.5])
    np.testing.assert_allclose(training_bytes(tables, t_s), [0, 0, 0, 0, 50, 100, 110, 110])


def test_cost_of_an_accuracy(tables: dict[str, pd.DataFrame]) -> None:
    curve = learning_curve(tables)
    assert curve["t_s"].tolist() == [1.5, 3.0, 5.0]
    assert curve["value"].tolist() == [0.5, 0.8, 0.7]
    assert curve["energy_j"].tolist() == pytest.approx([20.0, 32.0, 34.5])
    assert curve["n_bytes"].tolist() == pytest.approx([0.0, 50.0, 110.0])
    assert time_to_accuracy(tables, 0.6) == 3.0
    assert time_to_accuracy(tables, 0.6, split="local") == 5.0
    assert time_to_accuracy(tables, 0.9) is None
    assert time_to_accuracy(tables, 0.9, client="dev0") == 5.0
    assert joules_to_accuracy(tables, 0.6) == pytest.approx(32.0)
    assert joules_to_accuracy(tables, 0.99) is None
    assert joules_to_accuracy(tables, 0.6, idle=True) == pytest.approx(38.0)
    assert bytes_to_accuracy(tables, 0.6) == pytest.approx(50.0)
    assert bytes_to_accuracy(tables, 0.5) == 0.0
    assert bytes_to_accuracy(tables, 0.99) is None
    with pytest.raises(ValueError, match="no 'accuracy' of split 'global' and client None; metrics are accuracy_nmoe"):
        time_to_accuracy(tables, 0.5, "accuracy")


def test_costs_of_the_runs_of_a_sweep(tables: dict[str, pd.DataFrame]) -> None:
    """Two runs; of the second all is twice as late, and nobody of it computes."""
    late = {name: table.copy() for name, table in tables.items()}
    late["metrics"]["t_s"] *= 2
    late["transfers"][["t_start_s", "t_end_s"]] *= 2
    late["compute"] = late["compute"].iloc[:0]
    sweep = {
        name: pd.concat([one.assign(run_id="a"), late[name].assign(run_id="b")], ignore_index=True)
        for name, one in tables.items()
    }
    found = costs_to_accuracy(sweep, {"b": 0.6, "a": 0.6})
    assert found["run_id"].tolist() == ["b", "a"]
    assert found["time_s"].tolist() == [6.0, 3.0]
    assert found["energy_j"].tolist() == pytest.approx([2.0, 32.0])
    assert found["energy_with_idle_j"].tolist() == pytest.approx([14.0, 38.0])
    assert found["n_bytes"].tolist() == pytest.approx([50.0, 50.0])
    never = costs_to_accuracy(sweep, {"a": 0.99, "b": 0.5}, split="global")
    assert never[["time_s", "energy_j", "energy_with_idle_j", "n_bytes"]].isna().all(axis=1).tolist() == [True, False]


def test_metrics_of_a_real_run_agree_with_its_books(folder: Any) -> None:
    result = run(
        build_scenario(
            {
                "name": "tiny",
                "data": {"max_train": 120, "max_test": 60, "partition": {"kind": "iid"}},
                "topology": {"num_devices": 3},
                "model": {"extractor": {"hidden": [8], "num_features": 8}, "expert": {"hidden": [4]}},
                "training": {"extractor": {"rounds": 2}, "gate": {"rounds": 2}},
                "inference": {"duration_s": 5, "deadline_s": 0.01, "arrivals": {"kind": "mmpp", "rate_hz": [9, 0, 2]}},
            }
        ),
        "out",
    )
    tables, summary = result.tables, result.summary
    of_run, per_request = metrics.of_run(tables), metrics.per_request(tables)
    for name in set(of_run) & set(summary):
        assert of_run[name] == pytest.approx(summary[name], rel=1e-9), name
    requests = tables["requests"].set_index("request_id")
    assert len(requests) > 10
    assert set(requests["client"]) == {"dev0", "dev2"}
    np.testing.assert_allclose(per_request["energy_j"].astype(float), requests["energy_j"], rtol=1e-9)
    np.testing.assert_array_equal(per_request["n_bytes"].astype(float), requests["n_bytes"])
    breakdown = latency_breakdown(tables)
    waiting_s = per_request["waiting_s"].astype(float)
    assert (breakdown["queue_s"] <= waiting_s.loc[breakdown.index] + 1e-12).all()
    end_s = summary["training_time_s"]
    energy_j = tables["energy"].query("phase == 'training' and component != 'idle'")["energy_j"].sum()
    assert training_energy_j(tables, [end_s])[0] == pytest.approx(energy_j, rel=1e-9)
    assert training_bytes(tables, [end_s])[0] == summary["bytes_training"]
    assert 0 < time_to_accuracy(tables, 0.0) <= end_s
