"""The books at the end of a run: requests, energy, devices, summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.inference.service import Served
from nmoe_sim.inference.workload import Workload
from nmoe_sim.results.recorder import Recorder
from nmoe_sim.results.tables import TABLES
from nmoe_sim.scenario.device_profile import DeviceProfile

_ROUNDING = 1e-9
"""A deadline is met up to this relative difference: an answer combined just in time isn't late by an ulp."""


def _column(recorder: Recorder, table: str, column: str) -> list[Any]:
    position = TABLES[table].column_names.index(column)
    return [row[position] for row in recorder.rows[table]]


def _by_request(recorder: Recorder, table: str, columns: Sequence[str], num_requests: int) -> NDArray[np.float64]:
    """Sum columns over the rows of each request [R]."""
    ids = _column(recorder, table, "request_id")
    keep = [i for i, request in enumerate(ids) if request is not None]
    index = np.array([ids[i] for i in keep], dtype=np.int64)
    total = np.zeros(num_requests)
    for column in columns:
        values = _column(recorder, table, column)
        weights = np.array([values[i] for i in keep], dtype=np.float64)
        total += np.bincount(index, weights=weights, minlength=num_requests)
    return total


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
    n_bytes = _by_request(recorder, "transfers", ["n_bytes"], len(served))
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
            outcome="expired" if one.t_done_s is None else "completed",
            experts=one.experts,
            hosts=[hosts[expert] for expert in one.experts],
            experts_used=[] if one.t_done_s is None else one.arrived,
            label=int(labels[sample]),
            prediction=answer,
            correct=None if answer is None else answer == labels[sample],
            energy_j=float(energy_j[i]),
            n_bytes=int(n_bytes[i]),
        )


def record_energy(simulation: Simulation, training_end_s: float) -> None:
    """Charge idle power over both phases and write ``energy`` rows."""
    inference_s = simulation.env.now - training_end_s
    for device in simulation.devices.values():
        device.energy.add("idle", True, device.profile.idle_w * training_end_s)
        device.energy.add("idle", False, device.profile.idle_w * inference_s)
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
        left = None if profile.battery_j is None else profile.battery_j - device.energy.total_j
        simulation.recorder.add(
            "devices",
            device=node.name,
            kind=node.kind,
            profile=profile.kind,
            x_m=node.x_m,
            y_m=node.y_m,
            flop_per_s=profile.flop_per_s,
            memory_bytes=profile.memory_bytes,
            memory_used_bytes=memory_used_bytes[node.name],
            idle_w=profile.idle_w,
            compute_w=device.compute_w,
            tx_w=device.tx_w,
            rx_w=device.rx_w,
            utilisation=device.busy_s[False] / inference_s,
            battery_j=profile.battery_j,
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
    latency_s = np.array([x for x in _column(recorder, "requests", "latency_s") if x is not None], dtype=np.float64)
    met = [x for x in _column(recorder, "requests", "deadline_met") if x is not None]
    num_requests = len(recorder.rows["requests"])
    energy_j = np.array(_column(recorder, "requests", "energy_j"), dtype=np.float64)
    asked = np.zeros(num_experts)
    for (experts,) in _rows(recorder, "requests", "experts"):
        asked[experts] += 1.0
    training, inference = 0, 0
    for stage, n_bytes in _rows(recorder, "transfers", "stage", "n_bytes"):
        training, inference = (training + n_bytes, inference) if stage else (training, inference + n_bytes)

    def percentile(q: float) -> float | None:
        return float(np.percentile(latency_s, q)) if latency_s.size else None

    recorder.add(
        "summary",
        run_id=run_id,
        scenario=name,
        seed=simulation.streams.seed,
        accuracy_global=accuracy["global"],
        accuracy_local=accuracy.get("local"),
        latency_mean_s=float(latency_s.mean()) if latency_s.size else None,
        latency_p50_s=percentile(50),
        latency_p95_s=percentile(95),
        latency_p99_s=percentile(99),
        deadline_met_ratio=sum(map(bool, met)) / len(met) if met else None,
        completed_ratio=latency_s.size / num_requests if num_requests else None,
        energy_total_j=float(np.sum(np.array(_column(recorder, "energy", "energy_j"), dtype=np.float64))),
        energy_per_request_j=float(energy_j.mean()) if num_requests else None,
        bytes_training=training,
        bytes_inference=inference,
        training_time_s=training_end_s,
        inference_time_s=simulation.env.now - training_end_s,
        expert_load_jain=float(asked.sum() ** 2 / (num_experts * (asked**2).sum())) if asked.any() else None,
    )


def _rows(recorder: Recorder, table: str, *columns: str) -> list[tuple[Any, ...]]:
    names = TABLES[table].column_names
    positions = [names.index(column) for column in columns]
    return [tuple(row[p] for p in positions) for row in recorder.rows[table]]
