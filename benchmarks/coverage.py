"""How often do the confidence intervals hold the truth? Coverage on a queue whose answer is known.

M/M/1, service rate 1, arrival rate ρ: the mean time in the queue and in service is 1/(1 − ρ) in steady state.
Waiting times follow Lindley's recursion W_{n+1} = max(0, W_n + S_n − A_{n+1}), which is a random walk less
its running minimum, so all queues of an experiment are drawn at once.

An experiment is what a user has: some replications, each begun empty with its warm-up left out, or one long
run. In each it is noted whether the 95 % interval holds 1/(1 − ρ). The seed was fixed before the first run.

Run ``python benchmarks/coverage.py``; it takes a few minutes. ``docs/statistics.md`` quotes what it prints.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

sys.path[0] = str(Path(__file__).parents[1])  # not this folder: its channels.py would hide the package

from analysis.intervals import Interval, Method, mean_interval  # noqa: E402
from analysis.steady_state import NotSteadyError, batch_means_interval, mser5  # noqa: E402
from nmoe_sim.rng import RandomStreams  # noqa: E402

SEED = 20250103
CONFIDENCE = 0.95
NUM_EXPERIMENTS = 1_000
NUM_REPLICATIONS = 30
NUM_JOBS = 1_500
NUM_WARM_UP = 500


def sojourn_times(rho: float, rng: np.random.Generator, num_queues: int, num_jobs: int) -> NDArray[np.float64]:
    """Return the time each job spends at its M/M/1 queue, from empty [num_queues, num_jobs]; service rate 1."""
    service = rng.standard_exponential((num_queues, num_jobs))
    gap = rng.standard_exponential((num_queues, num_jobs - 1)) / rho
    walk = np.zeros((num_queues, num_jobs))
    np.cumsum(service[:, :-1] - gap, axis=1, out=walk[:, 1:])
    sojourn: NDArray[np.float64] = walk - np.minimum.accumulate(walk, axis=1) + service
    return sojourn


def replication_means(rho: float, experiment: int, streams: RandomStreams) -> NDArray[np.float64]:
    """Return the mean sojourn time of each replication of an experiment, its warm-up left out."""
    rng = streams.generator(f"coverage_replications_{rho}", experiment)
    return np.asarray(sojourn_times(rho, rng, NUM_REPLICATIONS, NUM_JOBS)[:, NUM_WARM_UP:].mean(axis=1))


def one_run(rho: float, num_jobs: int, experiment: int, streams: RandomStreams) -> NDArray[np.float64]:
    """Return the sojourn times of one long run, from empty."""
    rng = streams.generator(f"coverage_run_{rho}", experiment)
    return sojourn_times(rho, rng, 1, num_jobs).ravel()


def binomial_band(num_experiments: int, confidence: float = 0.99) -> tuple[int, int]:
    """Return how many of some experiments a method of exactly 95 % covers, with 99 % probability."""
    low, high = stats.binom.interval(confidence, num_experiments, CONFIDENCE)
    return int(low), int(high)


def covered_by_t(rho: float, num_experiments: int, streams: RandomStreams) -> int:
    """Return in how many experiments the t interval over replications holds 1/(1 − ρ)."""
    expected = 1.0 / (1.0 - rho)
    return sum(
        expected in mean_interval(replication_means(rho, k, streams), confidence=CONFIDENCE)
        for k in range(num_experiments)
    )


def _row(name: str, rho: float, intervals: list[Interval], attempts: int) -> None:
    expected = 1.0 / (1.0 - rho)
    held = sum(expected in interval for interval in intervals)
    width = float(np.mean([interval.half_width for interval in intervals])) / expected
    refused = f", {attempts - len(intervals)} refused" if len(intervals) < attempts else ""
    print(f"rho {rho}  {name:52s} {100 * held / len(intervals):5.1f} %   half-width {100 * width:5.1f} %{refused}")


def _replications(rho: float, num_experiments: int, num: int, streams: RandomStreams) -> None:
    means = [replication_means(rho, k, streams)[:num] for k in range(num_experiments)]
    methods: tuple[tuple[str, Method], ...] = (
        ("t", "t"),
        ("bootstrap BCa", "bca"),
        ("bootstrap percentile", "percentile"),
    )
    for label, method in methods:
        intervals = [
            mean_interval(values, confidence=CONFIDENCE, method=method, seed=k) for k, values in enumerate(means)
        ]
        _row(f"{label}, {num} replications of {NUM_JOBS - NUM_WARM_UP:,}", rho, intervals, num_experiments)


def _single_runs(rho: float, num_experiments: int, num_jobs: int, streams: RandomStreams) -> None:
    after_tenth: list[Interval] = []
    after_mser: list[Interval] = []
    over_jobs: list[Interval] = []
    for k in range(num_experiments):
        values = one_run(rho, num_jobs, k, streams)
        steady = values[num_jobs // 10 :]
        after_tenth.append(batch_means_interval(steady, confidence=CONFIDENCE).interval)
        over_jobs.append(mean_interval(steady, confidence=CONFIDENCE))
        with contextlib.suppress(NotSteadyError):  # counted as refused
            after_mser.append(batch_means_interval(values[mser5(values) :], confidence=CONFIDENCE).interval)
    _row(f"batch means, one run of {num_jobs:,} less a tenth", rho, after_tenth, num_experiments)
    _row(f"batch means, one run of {num_jobs:,} after MSER-5", rho, after_mser, num_experiments)
    _row(f"t over the jobs of one run of {num_jobs:,}", rho, over_jobs, num_experiments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=NUM_EXPERIMENTS)
    num_experiments = parser.parse_args().experiments
    streams = RandomStreams(SEED)
    low, high = binomial_band(num_experiments)
    band = f"{100 * low / num_experiments:.1f} to {100 * high / num_experiments:.1f} %"
    print(f"{num_experiments} experiments, {100 * CONFIDENCE:g} % intervals; 99 % band of exact coverage: {band}")
    print("half-widths are relative to the truth, 1/(1 - rho)")
    for rho in (0.5, 0.8):
        for num in (NUM_REPLICATIONS, 10, 5):
            _replications(rho, num_experiments, num, streams)
        for num_jobs in (1_000, 10_000, 100_000):
            _single_runs(rho, num_experiments, num_jobs, streams)


if __name__ == "__main__":
    main()
