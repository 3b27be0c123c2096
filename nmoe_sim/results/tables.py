"""Every result table, declared once: column, type, unit, meaning, key.

The declarations validate what is written, type the Parquet files and document them. Times are
simulated seconds; a missing value is null, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DType = Literal["int64", "float64", "string", "bool", "list<int64>", "list<string>"]


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    dtype: DType
    meaning: str
    unit: str = ""
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """One table: what a row is, which columns identify it, and its columns in order."""

    name: str
    row: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)


def _int(name: str, meaning: str, unit: str = "", *, nullable: bool = False) -> Column:
    return Column(name, "int64", meaning, unit, nullable)


def _float(name: str, meaning: str, unit: str, *, nullable: bool = False) -> Column:
    return Column(name, "float64", meaning, unit, nullable)


def _text(name: str, meaning: str, *, nullable: bool = False) -> Column:
    return Column(name, "string", meaning, "", nullable)


_STAGE = _text("stage", "training stage; null in inference", nullable=True)
_ROUND = _int("round", "round of the stage, from 0; null where there are none", nullable=True)
_REQUEST = _int("request_id", "request this is for; null in training", nullable=True)

REQUESTS = Table(
    "requests",
    "an inference request",
    ("request_id",),
    (
        _int("request_id", "request, in order of arrival"),
        _text("client", "device that asks"),
        _int("sample_index", "row of the test set"),
        _float("t_arrival_s", "arrival", "s"),
        _float("t_done_s", "answer at the client", "s", nullable=True),
        _float("latency_s", "t_done_s - t_arrival_s", "s", nullable=True),
        Column("deadline_met", "bool", "latency_s <= deadline, up to 1e-9 relative; null without a deadline", "", True),
        _text("outcome", "completed | expired | failed: an expert's answer was lost for good | client_down"),
        Column("experts", "list<int64>", "experts asked"),
        Column("hosts", "list<string>", "host of each expert asked"),
        Column("experts_used", "list<int64>", "experts whose outputs were combined"),
        _int("label", "true class"),
        _int("prediction", "predicted class", nullable=True),
        Column("correct", "bool", "prediction == label", "", True),
        _float("energy_j", "marginal energy: compute, transmit and receive of this request", "J"),
        _int("n_bytes", "bytes_sent for this request, summed over hops", "B"),
    ),
)

TRANSFERS = Table(
    "transfers",
    "one hop of one payload",
    ("transfer_id",),
    (
        _int("transfer_id", "hop, in order of completion"),
        _int("payload_id", "payload; its hops share it"),
        _int("hop", "position of the hop on the payload's way, from 0"),
        _int("attempt", "attempt at this hop, from 0: what fails is tried again"),
        _REQUEST,
        _STAGE,
        _ROUND,
        _text("src", "sending device"),
        _text("dst", "receiving device"),
        _text(
            "medium",
            "spectrum or wire: uplink, downlink, sidelink, shared, wired; with ':' and whose, where each has one",
        ),
        _text("kind", "what the payload is: model_down, model_up, correlation, expert, features, output, data, ..."),
        _int("n_bytes", "size of the payload", "B"),
        _int("bytes_sent", "bytes that went over in this attempt: of a payload tried again, what was missing", "B"),
        _float("t_ready_s", "handed to the hop's radio", "s"),
        _float("t_start_s", "first bit sent", "s"),
        _float("t_end_s", "last bit received, or given up", "s"),
        _float("airtime_s", "time the sender's radio was on for this hop alone; null on a wire", "s", nullable=True),
        _float("rx_airtime_s", "the same of the receiver's radio; null on a wire", "s", nullable=True),
        _float("tail_s", "from the last bit sent: HARQ's last retransmissions, or the delay of the wire", "s"),
        _float("sinr_db", "SINR on the whole band when the first bit was sent; null on a wire", "dB", nullable=True),
        _float("mean_rate_bps", "8 bytes_sent / (t_end_s - t_start_s); null if instant", "bit/s", nullable=True),
        _float("retransmissions", "mean number of HARQ retransmissions; their airtime is in airtime_s", ""),
        _float("tx_energy_j", "sender: transmit power x airtime_s; 0 on a wire", "J"),
        _float("rx_energy_j", "receiver: receive power x rx_airtime_s; 0 on a wire", "J"),
        _text(
            "outcome",
            "delivered | lost: HARQ gave a block up | outage: no rate for too long | link_down: the link went away",
        ),
    ),
)

COMPUTE = Table(
    "compute",
    "one job on one device",
    ("job_id",),
    (
        _int("job_id", "job, in order of submission"),
        _REQUEST,
        _STAGE,
        _ROUND,
        _text("device", "where it runs"),
        _text("kind", "features | gate | expert | combine | local_train | correlation | aggregate | joint_train"),
        _float("flop", "declared cost", "FLOP"),
        _float("t_ready_s", "submitted", "s"),
        _float("t_start_s", "head of the queue", "s"),
        _float("t_end_s", "done, or broken off", "s"),
        _float("frequency_hz", "clock frequency; null: the device has no dvfs", "Hz", nullable=True),
        _float("energy_j", "compute power x (t_end_s - t_start_s)", "J"),
        _text("outcome", "completed | aborted: the device went down"),
    ),
)

ENERGY = Table(
    "energy",
    "device x component x phase",
    ("device", "component", "phase"),
    (
        _text("device", "device"),
        _text("component", "compute | tx | rx | idle"),
        _text("phase", "training (with expert moves) | inference"),
        _float("energy_j", "energy drawn", "J"),
    ),
)

ROUNDS = Table(
    "rounds",
    "stage x round x client",
    ("stage", "round", "client"),
    (
        _text("stage", "training stage"),
        _int("round", "round, from 0"),
        _text("client", "client"),
        Column("participated", "bool", "its update counts in this round"),
        _text("reason", "why it did not participate: not_selected, busy, battery, churn, deadline, ...", nullable=True),
        _float("t_start_s", "start of the client's round", "s"),
        _float("t_end_s", "its update has arrived", "s"),
        _float("loss", "mean training loss over the client's local steps", "", nullable=True),
        _int("num_samples", "training samples of the client"),
        _int("bytes_down", "bytes to the client, end to end; also those late, in vain or given up", "B"),
        _int("bytes_up", "bytes from the client, end to end; also those late, in vain or given up", "B"),
        _int("version", "version of the model that its update went into, from 1; null: none", nullable=True),
        _int("staleness", "versions the model had gone on meanwhile; null: its update doesn't count", nullable=True),
    ),
)

METRICS = Table(
    "metrics",
    "a measured value",
    ("stage", "round", "metric", "split", "client"),
    (
        _text("stage", "training stage, or final: the trained model"),
        _ROUND,
        _float("t_s", "when the measured model was ready", "s"),
        _text("metric", "accuracy_nmoe, accuracy_own_expert, accuracy_all_experts, ..."),
        _text("split", "global: the common test set; local: test data distributed as the client's own"),
        _text("client", "whose gate or model; null: mean over clients", nullable=True),
        _float("value", "the value", ""),
    ),
)

PARTITION = Table(
    "partition",
    "client x class",
    ("client", "label"),
    (
        _text("client", "client"),
        _int("label", "class"),
        _text("feature_skew", "how the client's images differ from the data set's; null: they don't", nullable=True),
        _int("num_train", "training samples"),
        _int("num_test", "samples of its local test set"),
    ),
)

POSITIONS = Table(
    "positions",
    "device x time: at the start, and where it moves, sampled",
    ("device", "t_s"),
    (
        _text("device", "device"),
        _float("t_s", "time", "s"),
        _float("x_m", "position east", "m"),
        _float("y_m", "position north", "m"),
    ),
)

HANDOVERS = Table(
    "handovers",
    "a device's change of base station",
    ("device", "t_s"),
    (
        _text("device", "device"),
        _float("t_s", "when it leaves the old base station", "s"),
        _text("from_station", "old base station"),
        _text("to_station", "new base station"),
        _float("interruption_s", "for how long from then on nothing from or to it can start", "s"),
        _int("num_aborted", "hops under way that it broke off"),
    ),
)

OUTAGES = Table(
    "outages",
    "a device's time away",
    ("device", "t_down_s"),
    (
        _text("device", "device"),
        _float("t_down_s", "when it went down", "s"),
        _float("t_up_s", "when it came back; null: not in this run", "s", nullable=True),
        _text("reason", "battery: empty, for good | churn: the family faults"),
    ),
)

PLACEMENT = Table(
    "placement",
    "expert x host",
    ("expert", "device"),
    (
        _int("expert", "expert"),
        _text("owner", "client that trained it"),
        _text("device", "device that hosts it"),
        _int("bytes", "its parameters", "B"),
    ),
)

DEVICES = Table(
    "devices",
    "a device",
    ("device",),
    (
        _text("device", "device"),
        _text("kind", "device | base_station"),
        _text("profile", "device profile"),
        _float("x_m", "position east", "m"),
        _float("y_m", "position north", "m"),
        _float("flop_per_s", "compute rate", "FLOP/s"),
        _float("frequency_hz", "clock frequency of that rate and of compute_w; null: no dvfs", "Hz", nullable=True),
        _int("memory_bytes", "memory for models", "B"),
        _int("memory_used_bytes", "extractor, gate and hosted experts during inference", "B"),
        _float("idle_w", "power drawn always", "W"),
        _float("compute_w", "power on top while computing", "W"),
        _float("static_w", "part of it that is drawn at any frequency; null: no dvfs", "W", nullable=True),
        _float("tx_w", "power on top while transmitting: amplifier and transmit chain", "W"),
        _float("rx_w", "power on top while receiving", "W"),
        _float("utilisation", "busy share of the inference phase", ""),
        _float("battery_j", "usable battery energy at the start; null: mains", "J", nullable=True),
        _float("battery_j_left", "battery less energy drawn; null: mains", "J", nullable=True),
    ),
)

LINKS = Table(
    "links",
    "link x coherence block sampled",
    ("src", "dst", "t_s"),
    (
        _text("src", "transmitter"),
        _text("dst", "receiver"),
        _text("medium", "medium it belongs to"),
        _float("t_s", "start of the coherence block", "s"),
        _float("distance_m", "distance in the plane", "m"),
        Column("los", "bool", "line of sight; null where the channel doesn't tell", "", True),
        _float("path_loss_db", "path loss with shadowing", "dB"),
        _float(
            "sinr_db", "signal over noise and, where media share a band, the interference of all others on air", "dB"
        ),
        _float("rate_bps", "rate of the link at that SINR with the medium to itself", "bit/s"),
    ),
)

SUMMARY = Table(
    "summary",
    "the run",
    ("run_id",),
    (
        _text("run_id", "hash of the resolved scenario, and seed"),
        _text("scenario", "name"),
        _int("seed", "seed"),
        _float(
            "accuracy_global",
            "accuracy_nmoe on the common test set, mean over clients: the gates' top-k, without the network",
            "",
        ),
        _float(
            "accuracy_local",
            "accuracy_nmoe on each client's local test set, mean over clients with one",
            "",
            nullable=True,
        ),
        _float(
            "accuracy_served",
            "correct over completed requests: with routing, deadlines and the network",
            "",
            nullable=True,
        ),
        _float("latency_mean_s", "mean latency of completed requests", "s", nullable=True),
        _float("latency_p50_s", "median latency", "s", nullable=True),
        _float("latency_p95_s", "95th percentile of latency", "s", nullable=True),
        _float("latency_p99_s", "99th percentile of latency", "s", nullable=True),
        _float("deadline_met_ratio", "requests that met the deadline; null without one", "", nullable=True),
        _float("completed_ratio", "requests completed", "", nullable=True),
        _float("energy_total_j", "sum of energy, idle included", "J"),
        _float("energy_per_request_j", "mean marginal energy of a request", "J", nullable=True),
        _int("bytes_training", "bytes_sent in training and expert moves, summed over hops", "B"),
        _int("bytes_inference", "bytes_sent in inference, summed over hops", "B"),
        _float("training_time_s", "simulated time to the first request period", "s"),
        _float("inference_time_s", "simulated time from there until the last request is done", "s"),
        _float("expert_load_jain", "Jain's index of requests per expert", "", nullable=True),
    ),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        REQUESTS,
        TRANSFERS,
        COMPUTE,
        ENERGY,
        ROUNDS,
        METRICS,
        PARTITION,
        POSITIONS,
        HANDOVERS,
        OUTAGES,
        PLACEMENT,
        DEVICES,
        LINKS,
        SUMMARY,
    )
}
"""Every table of a run, by name."""
