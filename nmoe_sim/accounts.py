"""The books at the end of a run: requests, energy, devices, summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.inference.service import Served
from nmoe_sim.inference.workload import Workload
from nmoe_sim.results.recorder import Recorder
from nmoe_sim.scenario.device_profile import DeviceProfile

_ROUNDING = 1e-9
"""A deadline is met up to this relative difference: an answer combined just in time isn't late by an ulp."""


def _by_request(recorder: Recorder, table: str, columns: Sequence[str], num_requests: int) -> NDArray[np.float64]:
    """Sum columns over the rows of each request [R], in the order of the rows."""
    total = np.zeros(num_requests)
    for batch in recorder.batches(table, ["request_id", *columns]):
        batch = batch.filter(batch["request_id"].is_valid())
        index = batch["request_id"].to_numpy()
        for column in columns:
            np.add.at(total, index, batch[column].to_numpy())
    return total


def _rows(recorder: Recorder, table: str, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield the values of some columns, row by row."""
    for batch in recorder.batches(table, columns):
        yield from zip(*(batch[column].to_pylist() for column in columns), strict=True)


def record_requests(
    simulation: Simulation,
    clients: Sequence[str],
    workload: Workload,
    served: Sequence[Served],
    answers: Sequence[int | None],
    labels: NDArray[np.int64],
    hosts: Sequence[str],
    deadline_s: float | None,
) -> None:
    """Write ``requests`` rows; energy and bytes of a request are sums over its jobs and hops."""
    recorder = simulation.recorder
    energy_j = _by_request(recorder, "compute", ["energy_j"], len(served))
    energy_j += _by_request(recorder, "transfers", ["tx_energy_j", "rx_energy_j"], len(served))
    n_bytes = _by_request(recorder, "transfers", ["bytes_sent"], len(served))
    for i, (one, answer) in enumerate(zip(served, answers, strict=True)):
        latency_s = None if one.t_done_s is None else one.t_done_s - one.t_arrival_s
        met = None
        if deadline_s is not None:
            met = latency_s is not None and latency_s <= deadline_s * (1.0 + _ROUNDING)
        sample = int(workload.sample[i])
        recorder.add(
            "requests",
            request_id=i,
            client=clients[int(workload.client[i])],
            sample_index=sample,
            t_arrival_s=one.t_arrival_s,
            t_done_s=one.t_done_s,
            latency_s=latency_s,
            deadline_met=met,
            outcome=_outcome(one),
            experts=one.experts,
            hosts=[hosts[expert] for expert in one.experts],
            experts_used=[] if one.t_done_s is None else one.arrived,
            label=int(labels[sample]),
            prediction=answer,
            correct=None if answer is None else answer == labels[sample],
            energy_j=float(energy_j[i]),
            n_bytes=int(n_bytes[i]),
        )
        recorder.spill()


def _outcome(served: Served) -> str:
    if served.t_done_s is not None:
        return "completed"
    return "client_down" if served.client_down else "failed" if served.failed else "expired"


def record_energy(simulation: Simulation, training_end_s: float) -> None:
    """Charge idle power over both phases, while devices are up, and write ``energy`` rows."""
    up_s, now = simulation.availability.up_s, simulation.env.now
    for device in simulation.devices.values():
        device.energy.add("idle", True, device.profile.idle_w * up_s(device.name, 0.0, training_end_s))
        device.energy.add("idle", False, device.profile.idle_w * up_s(device.name, training_end_s, now))
        for component, phase, energy_j in device.energy.rows():
            simulation.recorder.add("energy", device=device.name, component=component, phase=phase, energy_j=energy_j)


def record_devices(
    simulation: Simulation,
    profiles: Mapping[str, DeviceProfile],
    memory_used_bytes: Mapping[str, int],
    training_end_s: float,
) -> None:
    """Write ``devices`` rows; call it after ``record_energy``."""
    inference_s = simulation.env.now - training_end_s
    for node in simulation.topology.nodes:
        device, profile = simulation.devices[node.name], profiles[node.name]
        left = None if profile.charge_j is None else profile.charge_j - device.energy.total_j
        simulation.recorder.add(
            "devices",
            device=node.name,
            kind=node.kind,
            profile=profile.kind,
            x_m=node.x_m,
            y_m=node.y_m,
            flop_per_s=device.flop_per_s,
            frequency_hz=device.frequency_hz,
            memory_bytes=profile.memory_bytes,
            memory_used_bytes=memory_used_bytes[node.name],
            idle_w=profile.idle_w,
            compute_w=device.compute_w,
            static_w=profile.dvfs.static_w if profile.dvfs.governs else None,
            tx_w=device.tx_w,
            rx_w=device.rx_w,
            utilisation=device.busy_s[False] / inference_s,
            battery_j=profile.charge_j,
            battery_j_left=left,
        )


def record_summary(simulation: Simulation, run_id: str, name: str, num_experts: int, training_end_s: float) -> None:
    """Write the ``summary`` row from the other tables."""
    recorder = simulation.recorder
    accuracy = {
        split: value
        for stage, client, metric, split, value in _rows(
            recorder, "metrics", "stage", "client", "metric", "split", "value"
        )
        if stage == "final" and client is None and metric == "accuracy_nmoe"
    }
    latency: list[float] = []
    num_requests, num_met, num_correct, request_energy_j = 0, 0, 0, 0.0
    asked = np.zeros(num_experts)
    has_deadline = False
    for seconds, met, correct, energy_j, experts in _rows(
        recorder, "requests", "latency_s", "deadline_met", "correct", "energy_j", "experts"
    ):
        num_requests += 1
        request_energy_j += energy_j
        asked[experts] += 1.0
        if met is not None:
            has_deadline = True
            num_met += met
        if seconds is not None:
            latency.append(seconds)
            num_correct += correct
    latency_s = np.array(latency)
    training, inference = 0, 0
    for batch in recorder.batches("transfers", ["stage", "bytes_sent"]):
        sizes, in_training = batch["bytes_sent"].to_numpy(), batch["stage"].is_valid().to_numpy()
        training += int(sizes[in_training].sum())
        inference += int(sizes[~in_training].sum())

    def percentile(q: float) -> float | None:
        return float(np.percentile(latency_s, q)) if latency_s.size else None

    recorder.add(
        "summary",
        run_id=run_id,
        scenario=name,
        seed=simulation.streams.seed,
        accuracy_global=accuracy["global"],
        accuracy_local=accuracy.get("local"),
        accuracy_served=num_correct / len(latency) if latency else None,
        latency_mean_s=float(latency_s.mean()) if latency_s.size else None,
        latency_p50_s=percentile(50),
        latency_p95_s=percentile(95),
        latency_p99_s=percentile(99),
        deadline_met_ratio=num_met / num_requests if has_deadline else None,
        completed_ratio=latency_s.size / num_requests if num_requests else None,
        energy_total_j=sum(energy_j for (energy_j,) in _rows(recorder, "energy", "energy_j")),
        energy_per_request_j=request_energy_j / num_requests if num_requests else None,
        bytes_training=training,
        bytes_inference=inference,
        training_time_s=training_end_s,
        inference_time_s=simulation.env.now - training_end_s,
        expert_load_jain=float(asked.sum() ** 2 / (num_experts * (asked**2).sum())) if asked.any() else None,
    )
