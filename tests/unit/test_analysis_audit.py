"""An audit holds on a run as it was and fails, law by law, on one whose tables or settings were doctored."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from conftest import tiny_scenario
from ruamel.yaml import YAML

from analysis import audit, audit_tables
from analysis.audit import LAWS
from nmoe_sim import RunResult, build_scenario, run
from nmoe_sim.scenario.scenario import Scenario

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
Optimizer = {"epochs": 1}


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
                "extractor": {"kind": "fedce", "rounds": 2, "optimizer": Optimizer},
                "experts": {"kind": "local", "optimizer": Optimizer},
                "gate": {"kind": "fedgate", "rounds": 1, "optimizer": Optimizer},
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


def others() -> dict[str, Scenario]:
    """Runs of what the first one hasn't: motion, wires, losses; queues; whole routes at once; contention."""
    load = {"radio.bandwidth_hz": 2e4, "topology.num_devices": 3, "inference.arrivals.rate_hz": 40.0}
    load |= {"inference.duration_s": 0.5, "inference.deadline_s": None, "radio.fading": {"kind": "none"}}
    moving = {
        "topology": {"kind": "multi_cell", "num_sites": 3, "num_devices": 3, "inter_site_distance_m": 60},
        "mobility": {"kind": "random_waypoint", "min_speed_m_per_s": 30, "max_speed_m_per_s": 40},
        "handover": {"hysteresis_db": 0, "time_to_trigger_s": 0, "period_s": 0.05, "interruption_s": 0.03},
        "radio.path_loss": {"kind": "log_distance"},
        "radio.retry": {"max_retries": 0},
        "seed": 4,
        "radio.link_adaptation": {"kind": "nr", "max_transmissions": 1, "target_bler": 0.3, "report_delay_s": 0.05},
        "radio.fading": {"kind": "rayleigh", "coherence_time_s": 0.01},
        "radio.bandwidth_hz": 5e6,
        "radio.tx_power_dbm": -3,
        "radio.base_station_tx_power_dbm": 0,
        "radio.reuse_factor": 1,
        "inference.duration_s": 1.5,
        "inference.arrivals.rate_hz": 60.0,
        "inference.deadline_s": 0.05,
        "inference.at_deadline": "expire",
    }
    away = {
        "topology": {"kind": "cell", "num_devices": 4},
        "devices": [
            {**SLOW, "battery_j": 20.0, "initial_charge": 0.1, "count": 1},
            {**SLOW, "dvfs": {"kind": "deadline", "kappa": 1e-27, "static_w": 0.2}},
        ],
        "faults": {"kind": "on_off", "mean_up_s": 1.5, "mean_down_s": 0.2, "start": "up"},
        "radio.retry": {"max_training_retries": 3},
        "radio.bandwidth_hz": 2e5,
        "inference.duration_s": 4.0,
        "inference.deadline_s": 0.2,
        "inference.at_deadline": "combine",
    }
    gossip = {
        "topology": {"kind": "grid", "num_devices": 4},
        "radio.path_loss": {"kind": "free_space"},
        "training.extractor.protocol": {"kind": "gossip", "consensus_rounds": 1},
    }
    late = {
        "devices": [{**SLOW, "count": 1}, {**SLOW, "flop_per_s": 5e7}],
        "training.extractor.rounds": 4,
        "training.extractor.protocol": {"kind": "deadline", "deadline_s": 0.35, "late": "keep"},
    }
    changes: dict[str, dict[str, Any]] = {
        "away": away,
        "gossip": gossip,
        "late": late,
        "moving": moving,
        "fifo": {"radio.sharing": {"kind": "fifo"}},
        "max_min": {"radio.sharing": {"kind": "max_min"}},
        "fdma": {"radio.sharing": {"kind": "fdma"}},
        "csma_ca": {"radio.sharing": {"kind": "csma_ca"}, "radio.duplex": "half"},
    }
    return {name: tiny_scenario({**load, **own}) for name, own in changes.items()}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, result: RunResult) -> dict[str, RunResult]:
    folder = tmp_path_factory.mktemp("others")
    return {"first": result, **{name: run(scenario, folder / name) for name, scenario in others().items()}}


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


def vary_rates(copy: Copy) -> None:
    """Have links fade in every hop: their rates are then bounded, but not known."""
    copy.scenario["radio"]["fading"] = {"kind": "rayleigh", "coherence_time_s": 1e-5}


def carry_too_much(copy: Copy) -> None:
    vary_rates(copy)
    copy.change("transfers", "bytes_sent", times(1000), anything)


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
    ("sinr", "more than the link can have", change("transfers", "sinr_db", plus(1e-6), anything)),
    ("sinr", "over a link that isn't", change("transfers", "dst", lambda _: "dev9", anything)),
    ("rate", "more bits than the constant rate", change("transfers", "bytes_sent", plus(1), anything)),
    ("rate", "fewer bits than the constant rate", change("transfers", "bytes_sent", plus(-1), anything)),
    ("rate", "less SINR than the bits needed", change("transfers", "sinr_db", plus(-90.0), anything)),
    ("rate", "more bits than any rate", carry_too_much),
    ("wires", "a radio hop without airtime", change("transfers", "airtime_s", lambda _: None, anything)),
    ("wires", "a radio hop without an SINR", change("transfers", "sinr_db", lambda _: None, anything)),
    ("attempts", "a second attempt without a first", change("transfers", "attempt", plus(1), anything)),
    (
        "attempts",
        "lost and not tried again",
        change("transfers", "outcome", lambda _: "lost", of(kind="output", hop=1)),
    ),
    ("attempts", "training gave up", change("transfers", "outcome", lambda _: "lost", of(kind="model_up", hop=0))),
    ("bytes_of_hops", "some got lost on the way", change("transfers", "bytes_sent", plus(-1), anything)),
    ("bytes_of_hops", "another rate", change("transfers", "mean_rate_bps", times(1.0 + 1e-6), anything)),
    ("bytes_of_hops", "no rate", change("transfers", "mean_rate_bps", lambda _: None, anything)),
    ("outcomes", "failed without a loss", change("requests", "outcome", lambda _: "failed", of(outcome="expired"))),
    (
        "outcomes",
        "completed without a time",
        change("requests", "outcome", lambda _: "completed", of(outcome="expired")),
    ),
    ("outcomes", "expired where nothing does", lambda copy: copy.scenario["inference"].update(at_deadline="wait")),
    ("outcomes", "partial answers", lambda copy: copy.scenario["inference"].update(at_deadline="expire")),
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


def retried(transfers: pd.DataFrame) -> pd.Series:
    return transfers["attempt"] > 0


def again(transfers: pd.DataFrame) -> pd.Series:
    """Second attempts that sent all there was left of a hop whose first lost all or a part."""
    return (transfers["attempt"] == 1) & (transfers["outcome"] == "delivered")


def later(transfers: pd.DataFrame) -> pd.Series:
    """Hops over which nothing but the whole will do, of a payload that has failed before."""
    tried = transfers["payload_id"].isin(transfers.loc[transfers["outcome"] == "lost", "payload_id"])
    tried &= transfers["stage"].notna()
    return tried & (transfers["hop"] == 1) & (transfers["attempt"] == 0) & (transfers["outcome"] == "delivered")


def wired(transfers: pd.DataFrame) -> pd.Series:
    return transfers["medium"].str.startswith("wired")


def first_leg_of_many(transfers: pd.DataFrame) -> pd.Series:
    return (transfers["hop"] == 0) & (transfers["payload_id"] == transfers["payload_id"].shift(-1))


def broken(transfers: pd.DataFrame) -> pd.Series:
    return transfers["outcome"] == "link_down"


def after_handover(copy: Copy) -> None:
    """Have a device hand over just before one of its hops."""
    hops = copy.tables["transfers"]
    hop = hops[hops["src"].str.startswith("dev")].iloc[-1]
    copy.tables["handovers"].loc[copy.tables["handovers"].index[-1], ["device", "t_s"]] = [
        hop.src,
        hop.t_start_s - 0.01,
    ]


def hold_the_medium(copy: Copy) -> None:
    """Give the airtime of a hop to the one that waits for it."""
    hops = copy.tables["transfers"]
    row = copy.first("transfers", lambda hops: hops["airtime_s"] < 0.9 * (hops["t_end_s"] - hops["t_start_s"]))
    hops.at[row, "airtime_s"] = hops.at[row, "t_end_s"] - hops.at[row, "t_start_s"]


def paced(jobs: pd.DataFrame) -> pd.Series:
    return jobs["frequency_hz"].notna() & (jobs["outcome"] == "completed") & (jobs["t_end_s"] > jobs["t_start_s"])


def repeat_an_outage(copy: Copy) -> None:
    outages = copy.tables["outages"]
    twice = outages[outages["reason"] == "churn"].head(1)
    copy.tables["outages"] = pd.concat([outages, twice], ignore_index=True)


def drop_the_end_of_a_battery(copy: Copy) -> None:
    copy.drop("outages", of(reason="battery"))
    copy.change("devices", "battery_j_left", lambda _: -0.1, of(device="dev0"))


OTHERS: list[tuple[str, str, str, Callable[[Copy], None]]] = [
    ("moving", "routes", "an attempt elsewhere", change("transfers", "src", lambda _: "dev9", retried)),
    ("moving", "routes", "an attempt too soon", change("transfers", "t_ready_s", plus(-1e-8), retried)),
    (
        "moving",
        "attempts",
        "one is missing",
        drop("transfers", lambda t: (t["outcome"] == "lost") & t["stage"].notna()),
    ),
    ("moving", "attempts", "counted twice", change("transfers", "attempt", plus(1), retried)),
    ("moving", "attempts", "too many", change("transfers", "attempt", plus(1), of(stage=None))),
    ("moving", "attempts", "given up too early", lambda copy: copy.scenario["radio"]["retry"].update(max_retries=1)),
    ("moving", "access", "no back-off", lambda copy: copy.scenario["radio"]["retry"].update(backoff_s=0.011)),
    ("moving", "airtime", "too much", change("transfers", "airtime_s", times(1.0 + 1e-8), retried)),
    ("moving", "wires", "energy on a wire", change("transfers", "tx_energy_j", plus(1e-9), wired)),
    ("moving", "wires", "airtime on a wire", change("transfers", "airtime_s", lambda _: 1e-9, wired)),
    ("moving", "wires", "too short a wire", change("transfers", "tail_s", plus(-1e-6), wired)),
    ("moving", "wires", "more than it carries", change("transfers", "bytes_sent", times(10**6), wired)),
    (
        "moving",
        "attachment",
        "another base station",
        change("transfers", "dst", lambda _: "bs2", of(src="dev1", medium="uplink:bs0")),
    ),
    ("moving", "attachment", "from nowhere", change("handovers", "from_station", lambda _: "bs9", anything)),
    ("moving", "attachment", "lasts beyond", change("handovers", "t_s", plus(-0.02), anything)),
    ("moving", "interruption", "too early", after_handover),
    ("moving", "broken_off", "one more", change("handovers", "num_aborted", plus(1), anything)),
    ("moving", "broken_off", "one less", change("transfers", "outcome", lambda _: "lost", broken)),
    ("moving", "bytes_of_hops", "more than there was", change("transfers", "bytes_sent", plus(10**6), broken)),
    ("moving", "bytes_of_hops", "more again than was lost", change("transfers", "bytes_sent", plus(1), again)),
    ("moving", "bytes_of_hops", "nothing again", change("transfers", "bytes_sent", times(0), again)),
    ("moving", "bytes_of_hops", "a part of a later hop", change("transfers", "bytes_sent", plus(-1), later)),
    ("moving", "energy_of_hops", "too much", change("transfers", "tx_energy_j", times(1.0 + 1e-8), retried)),
    ("away", "away", "a job meanwhile", change("outages", "t_down_s", plus(-0.05), of(reason="churn"))),
    ("away", "away", "away twice", repeat_an_outage),
    ("away", "energy_accounts", "idle all the time", drop("outages", of(reason="churn"))),
    ("away", "energy_of_jobs", "another clock", change("compute", "frequency_hz", times(1.01), paced)),
    ("away", "energy_of_jobs", "more static power", change("devices", "static_w", plus(0.1), of(static_w=0.2))),
    ("away", "service", "another clock", change("compute", "frequency_hz", times(1.01), paced)),
    ("away", "service", "aborted too late", change("compute", "flop", times(0.1), of(outcome="aborted"))),
    ("away", "empty_batteries", "not empty", change("devices", "battery_j_left", plus(0.1), of(device="dev0"))),
    ("away", "empty_batteries", "overdrawn", change("devices", "battery_j_left", plus(-0.1), of(device="dev0"))),
    ("away", "empty_batteries", "empty and up", drop_the_end_of_a_battery),
    ("away", "outcomes", "a client that was up", lambda copy: copy.tables.update(outages=copy.tables["outages"][:0])),
    ("away", "bytes_of_rounds", "one too few up", change("rounds", "bytes_up", plus(-1), of(stage="extractor"))),
    ("away", "bytes_of_rounds", "one too many up", change("rounds", "bytes_up", plus(1), of(participated=True))),
    ("away", "bytes_of_rounds", "one too few down", change("rounds", "bytes_down", plus(-1), of(stage="extractor"))),
    ("away", "bytes_of_rounds", "one too many down", change("rounds", "bytes_down", plus(1), of(participated=True))),
    ("late", "bytes_of_rounds", "late bytes forgotten", change("rounds", "bytes_up", times(0), of(staleness=2))),
    ("late", "bytes_of_rounds", "in vain", change("rounds", "bytes_down", times(0), of(reason="unfinished"))),
    ("gossip", "bytes_of_rounds", "one too many up", change("rounds", "bytes_up", plus(1), of(stage="extractor"))),
    ("gossip", "bytes_of_rounds", "one too few down", change("rounds", "bytes_down", plus(-1), of(stage="extractor"))),
    ("gossip", "bytes_of_rounds", "a model is missing", drop("transfers", of(kind="model"))),
    ("gossip", "destinations", "a model to a stranger", change("transfers", "dst", lambda _: "dev9", of(kind="model"))),
    ("gossip", "destinations", "one way only", drop("transfers", of(kind="model"))),
    ("fifo", "in_order", "two at once", hold_the_medium),
    ("fifo", "conserved", "time lost", change("transfers", "airtime_s", times(0.99), anything)),
    ("fifo", "capacity", "more than there is", change("transfers", "airtime_s", times(1.01), alone)),
    ("max_min", "routes", "hops apart in time", change("transfers", "t_start_s", plus(1e-8), first_leg_of_many)),
    ("max_min", "routes", "hops that don't meet", change("transfers", "dst", lambda _: "dev9", first_leg_of_many)),
    ("max_min", "access", "one hop's delay", lambda copy: copy.scenario["radio"].update(access_delay_s=2e-3)),
    ("max_min", "airtime", "one end only", change("transfers", "rx_airtime_s", times(0.99), anything)),
    ("max_min", "rate", "more bits than airtime", change("transfers", "airtime_s", times(0.99), anything)),
    ("fdma", "airtime", "half a radio", change("transfers", "airtime_s", times(0.5), anything)),
    ("fdma", "conserved", "time lost", change("transfers", "rx_airtime_s", times(0.99), anything)),
    ("fdma", "rate", "more bits than the band", change("transfers", "bytes_sent", times(1000), anything)),
    ("csma_ca", "capacity", "more than there is", change("transfers", "rx_airtime_s", times(100.0), anything)),
]


@pytest.mark.parametrize(
    ("name", "law", "how", "doctor"), OTHERS, ids=[f"{n}, {law}: {how}" for n, law, how, _ in OTHERS]
)
def test_a_law_fails_on_other_doctored_runs(
    results: dict[str, RunResult], name: str, law: str, how: str, doctor: Callable[[Copy], None]
) -> None:
    doctored = Copy(results[name])
    doctor(doctored)
    finding = doctored.findings(law).loc[law]
    assert not finding["holds"], how


def test_every_law_holds_on_every_run_and_is_checked(results: dict[str, RunResult]) -> None:
    findings = {name: audit(result).set_index("law") for name, result in results.items()}
    for name, finding in findings.items():
        assert finding["holds"].all(), f"{name}\n{finding.to_string()}"
    checked = pd.DataFrame({name: finding["checked"] for name, finding in findings.items()})
    assert (checked.max(axis=1) > 0).all()
    outcomes = set(results["moving"].tables["transfers"]["outcome"])
    assert {"delivered", "lost", "link_down"} <= outcomes
    assert "failed" in set(results["moving"].tables["requests"]["outcome"])
    away = results["away"].tables
    assert {"completed", "client_down"} <= set(away["requests"]["outcome"])
    assert set(away["outages"]["reason"]) == {"battery", "churn"}
    assert "aborted" in set(away["compute"]["outcome"])


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
    assert (findings["worst"] <= findings["tolerance"]).all()


def test_every_law_is_seen_to_fail() -> None:
    assert {law for law, *_ in DOCTORED} | {law for _, law, *_ in OTHERS} == {law.name for law in LAWS}


@pytest.mark.parametrize(("law", "how", "doctor"), DOCTORED, ids=[f"{law}: {how}" for law, how, _ in DOCTORED])
def test_a_law_fails_on_a_doctored_run(result: RunResult, law: str, how: str, doctor: Callable[[Copy], None]) -> None:
    doctored = Copy(result)
    doctor(doctored)
    finding = doctored.findings(law).loc[law]
    assert not finding["holds"], how
    assert finding["worst"] > finding["tolerance"]


def test_a_rate_that_varies_is_bounded_only(result: RunResult) -> None:
    doctored = Copy(result)
    vary_rates(doctored)
    doctored.change("transfers", "bytes_sent", plus(-1), anything)
    assert doctored.findings("rate").at["rate", "holds"]


def test_a_link_adaptation_without_a_known_bound_is_not_checked(result: RunResult) -> None:
    doctored = Copy(result)
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
