"""An audit holds on a run as it was and fails, law by law, on one whose tables or settings were doctored."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from analysis import audit, audit_tables
from analysis.audit import LAWS
from nmoe_sim import RunResult, build_scenario, run

SLOW = {
    "profile": "custom",
    "flop_per_s": 5e5,
    "memory_bytes": 10**7,
    "idle_w": 0.5,
    "compute_w": 2.0,
    "rx_w": 0.3,
    "tx_circuit_w": 0.4,
    "amplifier_efficiency": 0.5,
    "battery_j": 1e4,
}
SGD = {"epochs": 1}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run in which everything happens: relays, moves of experts, queues, waits until the deadline, expiry."""
    scenario = build_scenario(
        {
            "name": "audited",
            "seed": 4,
            "device": "cpu",
            "data": {"kind": "digits", "max_train": 120, "max_test": 40, "partition": {"kind": "iid"}},
            "topology": {"kind": "cell", "num_devices": 4},
            "devices": [SLOW],
            "radio": {"bandwidth_hz": 2e4, "path_loss": {"kind": "free_space"}, "fading": {"kind": "none"}},
            "model": {
                "extractor": {"kind": "mlp", "hidden": [8], "num_features": 8},
                "expert": {"kind": "mlp", "hidden": [8]},
                "top_k": 2,
            },
            "training": {
                "extractor": {"kind": "fedce", "rounds": 2, "sgd": SGD},
                "experts": {"kind": "local", "sgd": SGD},
                "gate": {"kind": "fedgate", "rounds": 1, "sgd": SGD},
            },
            "placement": {"kind": "random", "max_utilisation": None},
            "inference": {
                "duration_s": 1.0,
                "deadline_s": 0.03,
                "at_deadline": "combine",
                "arrivals": {"kind": "poisson", "rate_hz": 25.0},
                "routing": {"kind": "random"},
            },
        }
    )
    return run(scenario, tmp_path_factory.mktemp("run") / "out")


class Copy:
    """Tables and settings of a run, to doctor."""

    def __init__(self, result: RunResult) -> None:
        self.tables = {name: table.copy() for name, table in result.tables.items()}
        self.scenario = copy.deepcopy(YAML(typ="safe").load(result.path / "scenario.yaml"))

    def first(self, table: str, where: Callable[[pd.DataFrame], Any]) -> int:
        rows = self.tables[table]
        return int(rows.index[where(rows)][0])

    def change(self, table: str, column: str, by: Callable[[Any], Any], where: Callable[[pd.DataFrame], Any]) -> None:
        """Change one value, in the first row that fits."""
        row = self.first(table, where)
        self.tables[table].at[row, column] = by(self.tables[table].at[row, column])

    def drop(self, table: str, where: Callable[[pd.DataFrame], Any]) -> None:
        """Drop the first row that fits."""
        self.tables[table] = self.tables[table].drop(index=self.first(table, where))

    def findings(self, *names: str) -> pd.DataFrame:
        laws = [law for law in LAWS if not names or law.name in names]
        return audit_tables(self.tables, self.scenario, laws).set_index("law")


def anything(rows: pd.DataFrame) -> pd.Series:
    return pd.Series(True, index=rows.index)


def of(**values: Any) -> Callable[[pd.DataFrame], pd.Series]:
    def where(rows: pd.DataFrame) -> pd.Series:
        fits = anything(rows)
        for column, value in values.items():
            fits &= rows[column].isna() if value is None else rows[column].eq(value).fillna(False).astype(bool)
        return fits

    return where


def plus(amount: float) -> Callable[[Any], Any]:
    return lambda value: value + amount


def times(factor: float) -> Callable[[Any], Any]:
    return lambda value: value * factor


def cut_short(rows: pd.DataFrame) -> pd.Series:
    """Requests answered without some of the experts asked."""
    return (rows["outcome"] == "completed") & (rows["experts_used"].map(len) < rows["experts"].map(len))


def queued(jobs: pd.DataFrame) -> pd.Series:
    return jobs["t_start_s"] > jobs["t_ready_s"]


def relayed(transfers: pd.DataFrame) -> pd.Series:
    return transfers["hop"] == 1


def alone(transfers: pd.DataFrame) -> pd.Series:
    on_air_s = transfers["t_end_s"] - transfers["t_start_s"]
    return (transfers["airtime_s"] - on_air_s).abs() <= 1e-12


def lengthen(copy: Copy) -> None:
    row = copy.first("requests", of(outcome="completed"))
    copy.tables["requests"].loc[row, ["t_done_s", "latency_s"]] += 1e-6


def swap_submissions(copy: Copy) -> None:
    jobs = copy.tables["compute"]
    later = copy.first("compute", lambda jobs: queued(jobs) & jobs["t_ready_s"].gt(jobs["t_ready_s"].shift()))
    earlier = jobs.index[
        (jobs["device"] == jobs.at[later, "device"]) & (jobs["t_end_s"] == jobs.at[later, "t_start_s"])
    ][0]
    jobs.loc[[earlier, later], "job_id"] = jobs.loc[[later, earlier], "job_id"].to_numpy()


def vary_links(copy: Copy) -> None:
    """Have every link sampled twice: its rate is then bounded, but not known."""
    copy.tables["links"] = pd.concat([copy.tables["links"]] * 2, ignore_index=True)


def carry_too_much(copy: Copy) -> None:
    vary_links(copy)
    copy.change("transfers", "n_bytes", times(1000), anything)


def set_deadline(deadline_s: float) -> Callable[[Copy], None]:
    return lambda copy: copy.scenario["inference"].update(deadline_s=deadline_s)


def change(*args: Any) -> Callable[[Copy], None]:
    return lambda copy: copy.change(*args)


def drop(*args: Any) -> Callable[[Copy], None]:
    return lambda copy: copy.drop(*args)


DOCTORED: list[tuple[str, str, Callable[[Copy], None]]] = [
    (
        "latency",
        "not the difference of its times",
        change("requests", "latency_s", plus(2e-9), of(outcome="completed")),
    ),
    ("latency", "an answer later than what led to it", lengthen),
    ("latency", "a job on the path is missing", drop("compute", of(kind="features", stage=None))),
    ("latency", "a job on the path ends later", change("compute", "t_end_s", plus(1e-6), of(kind="gate", stage=None))),
    ("latency", "a hop on the path is missing", drop("transfers", of(kind="output", stage=None))),
    ("latency", "a latency without an answer", change("requests", "latency_s", lambda _: 1.0, of(outcome="expired"))),
    (
        "latency",
        "a completed request without a latency",
        change("requests", "latency_s", times(float("nan")), of(outcome="completed")),
    ),
    ("latency", "waits that the setting forbids", lambda copy: copy.scenario["inference"].update(at_deadline="wait")),
    ("latency", "waits that end before the deadline", set_deadline(0.031)),
    ("latency", "waits that end after the deadline", set_deadline(0.029)),
    (
        "latency",
        "a wait for nothing",
        lambda copy: copy.tables["requests"].update({"experts_used": copy.tables["requests"]["experts"]}),
    ),
    ("order", "a job before it is ready", change("compute", "t_ready_s", plus(1e-6), of(kind="gate", stage=None))),
    ("order", "a hop that ends before it starts", change("transfers", "t_start_s", plus(10.0), anything)),
    ("queue", "idle while a job waits", change("compute", "t_start_s", plus(1e-8), queued)),
    ("queue", "one job overtakes another", swap_submissions),
    ("overlap", "a job starts before the one before it ends", change("compute", "t_start_s", plus(-1e-8), queued)),
    ("service", "slower than the device", change("compute", "t_end_s", plus(1e-8), anything)),
    ("service", "more work than time", change("compute", "flop", times(1.0 + 1e-6), anything)),
    (
        "utilisation",
        "too high",
        change("devices", "utilisation", times(1.0 + 1e-8), lambda rows: rows["utilisation"] > 0),
    ),
    ("access", "too late", change("transfers", "t_ready_s", plus(-1e-8), anything)),
    ("access", "too early", change("transfers", "t_ready_s", plus(1e-8), anything)),
    ("airtime", "too much", change("transfers", "airtime_s", times(1.0 + 1e-8), anything)),
    ("airtime", "too little", change("transfers", "airtime_s", times(1.0 - 1e-8), anything)),
    ("airtime", "a transfer that was not on air", drop("transfers", lambda rows: ~alone(rows))),
    ("conserved", "time lost", change("transfers", "airtime_s", times(0.99), anything)),
    ("conserved", "time made", change("transfers", "airtime_s", times(1.01), anything)),
    ("capacity", "more time than there is", change("transfers", "airtime_s", times(1.01), alone)),
    ("rate", "more bits than the constant rate", change("transfers", "n_bytes", plus(1), anything)),
    ("rate", "fewer bits than the constant rate", change("transfers", "n_bytes", plus(-1), anything)),
    ("rate", "more bits than any rate", carry_too_much),
    ("rate", "over a link that isn't", change("transfers", "dst", lambda _: "dev9", anything)),
    ("energy_of_jobs", "too much", change("compute", "energy_j", times(1.0 + 1e-8), anything)),
    ("energy_of_jobs", "another power", change("devices", "compute_w", times(1.0 + 1e-8), of(kind="device"))),
    ("energy_of_hops", "too much transmitted", change("transfers", "tx_energy_j", times(1.0 + 1e-8), anything)),
    ("energy_of_hops", "too much received", change("transfers", "rx_energy_j", times(1.0 + 1e-8), of(src="bs0"))),
    ("energy_of_hops", "an unknown sender", change("transfers", "src", lambda _: "dev9", anything)),
    *(
        (
            "energy_accounts",
            f"too much {component} in {phase}",
            change("energy", "energy_j", times(1.0 + 1e-8), of(device=device, component=component, phase=phase)),
        )
        for component, device in (("compute", "dev1"), ("tx", "dev1"), ("rx", "dev1"), ("idle", "bs0"))
        for phase in ("training", "inference")
    ),
    ("energy_accounts", "something where nothing was", change("energy", "energy_j", plus(1e-30), of(energy_j=0.0))),
    ("energy_accounts", "a row is missing", drop("energy", of(component="idle"))),
    ("energy_accounts", "a row of nobody", change("energy", "device", lambda _: "dev9", anything)),
    ("batteries", "too full", change("devices", "battery_j_left", times(1.001), anything)),
    ("energy_total", "too high", change("summary", "energy_total_j", times(1.0 + 1e-8), anything)),
    ("energy_of_requests", "too high", change("requests", "energy_j", times(1.0 + 1e-8), anything)),
    ("energy_of_requests", "another mean", change("summary", "energy_per_request_j", times(1.0 + 1e-8), anything)),
    ("bytes_of_requests", "one too many", change("requests", "n_bytes", plus(1), anything)),
    ("bytes_of_phases", "one too many in training", change("summary", "bytes_training", plus(1), anything)),
    ("bytes_of_phases", "one too few in inference", change("summary", "bytes_inference", plus(-1), anything)),
    ("bytes_of_rounds", "one too many down", change("rounds", "bytes_down", plus(1), of(stage="gate"))),
    ("bytes_of_rounds", "one too many up", change("rounds", "bytes_up", plus(1), of(stage="extractor", round=1))),
    ("bytes_of_rounds", "a payload is missing", drop("transfers", of(kind="model_up"))),
    ("bytes_of_rounds", "a round is missing", drop("rounds", of(stage="gate"))),
    ("routes", "a break in time", change("transfers", "t_ready_s", plus(1e-8), relayed)),
    ("routes", "a break in space", change("transfers", "src", lambda _: "dev9", relayed)),
    ("routes", "another size", change("transfers", "n_bytes", plus(1), relayed)),
    ("routes", "another kind", change("transfers", "kind", lambda _: "gate", relayed)),
    (
        "routes",
        "another request",
        change("transfers", "request_id", plus(1), lambda rows: relayed(rows) & rows["stage"].isna()),
    ),
    ("routes", "a hop is missing", drop("transfers", of(hop=0, stage=None))),
    ("destinations", "an output never came", drop("transfers", of(kind="output", hop=1))),
    (
        "destinations",
        "features to a stranger",
        change("transfers", "dst", lambda _: "dev9", of(kind="features", hop=1)),
    ),
    ("destinations", "an expert stayed", drop("transfers", of(stage="placement", hop=1))),
    (
        "destinations",
        "an expert of another size",
        change("placement", "bytes", plus(1), lambda rows: rows["owner"] != rows["device"]),
    ),
    (
        "destinations",
        "asked and not sent",
        change("requests", "hosts", lambda hosts: [*hosts, "dev9"], of(outcome="completed")),
    ),
    (
        "destinations",
        "a model from client to client",
        change("transfers", "dst", lambda _: "dev1", of(kind="model_up", src="dev0")),
    ),
    (
        "destinations",
        "a model up that goes down",
        change("transfers", "kind", lambda _: "model_up", of(kind="model_down", round=1)),
    ),
    (
        "destinations",
        "a model down that goes up",
        change("transfers", "kind", lambda _: "model_down", of(kind="model_up", round=1)),
    ),
]


def test_the_run_has_everything_the_laws_speak_of(result: RunResult) -> None:
    requests, transfers = result.tables["requests"], result.tables["transfers"]
    assert {"completed", "expired"} == set(requests["outcome"])
    assert cut_short(requests).any()
    assert relayed(transfers).any()
    assert queued(result.tables["compute"]).any()
    assert (transfers["stage"] == "placement").any()


def test_every_law_holds_on_a_run_as_it_was(result: RunResult) -> None:
    findings = audit(result)
    assert list(findings.columns) == ["law", "checked", "worst", "tolerance", "holds"]
    assert list(findings["law"]) == [law.name for law in LAWS]
    assert findings["holds"].all(), findings.to_string()
    assert (findings["checked"] > 0).all()
    assert (findings["worst"] <= findings["tolerance"]).all()


def test_every_law_is_seen_to_fail() -> None:
    assert {law for law, *_ in DOCTORED} == {law.name for law in LAWS}


@pytest.mark.parametrize(("law", "how", "doctor"), DOCTORED, ids=[f"{law}: {how}" for law, how, _ in DOCTORED])
def test_a_law_fails_on_a_doctored_run(result: RunResult, law: str, how: str, doctor: Callable[[Copy], None]) -> None:
    doctored = Copy(result)
    doctor(doctored)
    finding = doctored.findings(law).loc[law]
    assert not finding["holds"], how
    assert finding["worst"] > finding["tolerance"]


def test_a_rate_that_varies_is_bounded_only(result: RunResult) -> None:
    doctored = Copy(result)
    vary_links(doctored)
    doctored.change("transfers", "n_bytes", plus(-1), anything)
    assert doctored.findings("rate").at["rate", "holds"]


def test_a_link_adaptation_without_a_known_bound_is_not_checked(result: RunResult) -> None:
    doctored = Copy(result)
    vary_links(doctored)
    doctored.scenario["radio"]["link_adaptation"] = {"kind": "measured"}
    assert doctored.findings("rate").at["rate", "checked"] == 0


def test_a_run_without_requests_can_be_audited(result: RunResult) -> None:
    idle = Copy(result)
    for name in ("requests", "transfers", "compute"):
        table = idle.tables[name]
        idle.tables[name] = table[table["stage"].notna()] if name != "requests" else table.iloc[:0]
    findings = idle.findings()
    assert findings.loc[["latency", "bytes_of_requests", "energy_of_requests"], "checked"].tolist() == [0, 0, 0]
    assert findings.loc[["airtime", "routes", "destinations", "queue", "bytes_of_rounds"], "holds"].all()
