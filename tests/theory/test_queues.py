"""A device's compute queue against queueing theory.

Each interval is a 99.9 % Student t-interval over independent replications: streams of one seed, fixed
before the first run, with the replication as a counter. Every replication starts empty; its first jobs
are left out, many times the queue's relaxation time of 1/(1 − √ρ)² ≈ 12 service times at ρ = 0.5.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from simpy import Environment

from nmoe_sim.engine.device import Device
from nmoe_sim.engine.device_profiles import Custom
from nmoe_sim.results.recorder import Recorder
from nmoe_sim.results.tables import TABLES
from nmoe_sim.rng import RandomStreams

SEED = 20250101
CONFIDENCE = 0.999
NUM_REPLICATIONS = 25
NUM_JOBS = 12_000
NUM_WARM_UP = 1_000

ARRIVAL_HZ = 0.5
FLOP_PER_S = 1e9

PROFILE = Custom(
    flop_per_s=FLOP_PER_S,
    memory_bytes=1,
    idle_w=0.0,
    compute_w=1.0,
    rx_w=0.0,
    tx_circuit_w=0.0,
    amplifier_efficiency=1.0,
)


def sojourn_times_s(gaps_s: np.ndarray, service_s: np.ndarray) -> np.ndarray:
    """Return how long each job was at a device, from submission to its end."""
    env, recorder = Environment(), Recorder()
    device = Device(env, "dev0", PROFILE, tx_w=0.0, recorder=recorder)

    def arrivals():
        for gap_s, flop in zip(gaps_s.tolist(), (service_s * FLOP_PER_S).tolist(), strict=True):
            yield env.timeout(gap_s)
            device.compute(flop, "expert", request_id=0)

    env.process(arrivals())
    env.run()
    columns = TABLES["compute"].column_names
    ready, end = columns.index("t_ready_s"), columns.index("t_end_s")
    return np.array([row[end] - row[ready] for row in recorder.rows["compute"]])


def mean_sojourns_s(service: str) -> list[float]:
    """Return the mean sojourn time of each replication; the mean service time is 1 s."""
    streams, index = RandomStreams(SEED), np.arange(NUM_JOBS)
    means_s = []
    for replication in range(NUM_REPLICATIONS):
        gaps_s = streams.exponential("arrivals", replication, index) / ARRIVAL_HZ
        service_s = np.ones(NUM_JOBS) if service == "D" else streams.exponential("service", replication, index)
        means_s.append(sojourn_times_s(gaps_s, service_s)[NUM_WARM_UP:].mean())
    return means_s


@pytest.mark.parametrize(
    ("service", "expected_s"),
    [
        ("M", 1.0 / (1.0 - ARRIVAL_HZ)),  # M/M/1: 1/(μ − λ)
        ("D", 1.0 + ARRIVAL_HZ / (2.0 * (1.0 - ARRIVAL_HZ))),  # M/D/1, Pollaczek-Khinchine: 1/μ + ρ/(2μ(1 − ρ))
    ],
)
def test_mean_sojourn_time_of_a_device_queue(service: str, expected_s: float) -> None:
    means_s = mean_sojourns_s(service)
    low, high = stats.t.interval(CONFIDENCE, len(means_s) - 1, np.mean(means_s), stats.sem(means_s))
    assert (high - low) / 2 < 0.04 * expected_s
    assert low <= expected_s <= high
    assert not low <= 1.1 * expected_s <= high
