"""A medium with equal sharing against the theory of processor sharing.

Each interval is a 99.9 % Student t-interval over independent replications: streams of one seed, fixed
before the first run, with the replication as a counter. Every replication starts empty; its first
transfers are left out.

With Poisson arrivals at rate λ and sizes of mean 1/μ seconds of airtime, the mean sojourn time is
1/(μ − λ) whatever the distribution of sizes (insensitivity), and that of a transfer of x seconds is
x/(1 − ρ) (Kleinrock 1967). A queue in order of arrival has neither property.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats
from simpy import Environment

from nmoe_sim.engine.sharing import EqualShareMedium
from nmoe_sim.rng import RandomStreams

SEED = 20250102
CONFIDENCE = 0.999
NUM_REPLICATIONS = 25
NUM_TRANSFERS = 10_000
NUM_WARM_UP = 1_000

ARRIVAL_HZ = 0.5
RATE_BPS = 1e6


class ConstantRate:
    block_s = float("inf")

    def rate_bps(self, link: int, block: int) -> float:
        return RATE_BPS


def sojourn_times_s(gaps_s: np.ndarray, size_s: np.ndarray) -> np.ndarray:
    """Return how long each transfer was on air, given the airtime it needs."""
    env = Environment()
    medium = EqualShareMedium(env, ConstantRate())
    start_s, end_s = np.zeros(len(size_s)), np.zeros(len(size_s))

    def done(number: int, airtime_s: float) -> None:
        end_s[number] = env.now

    def arrivals():
        for number, (gap_s, bits) in enumerate(zip(gaps_s.tolist(), (size_s * RATE_BPS).tolist(), strict=True)):
            yield env.timeout(gap_s)
            start_s[number] = env.now
            medium.start(0, bits, done, number)

    env.process(arrivals())
    env.run()
    return end_s - start_s


@cache
def replications(size: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return airtime needed and sojourn time of each replication's transfers; the mean airtime is 1 s."""
    streams, index = RandomStreams(SEED), np.arange(NUM_TRANSFERS)
    found = []
    for replication in range(NUM_REPLICATIONS):
        gaps_s = streams.exponential("arrivals", replication, index) / ARRIVAL_HZ
        size_s = np.ones(NUM_TRANSFERS) if size == "D" else streams.exponential("size", replication, index)
        found.append((size_s[NUM_WARM_UP:], sojourn_times_s(gaps_s, size_s)[NUM_WARM_UP:]))
    return found


def assert_mean_is(values: list[float], expected: float) -> None:
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, np.mean(values), stats.sem(values))
    assert (high - low) / 2 < 0.04 * expected
    assert low <= expected <= high
    assert not low <= 1.1 * expected <= high


@pytest.mark.parametrize("size", ["M", "D"])
def test_mean_sojourn_time_is_that_of_processor_sharing(size: str) -> None:
    assert_mean_is([float(times_s.mean()) for _, times_s in replications(size)], 1.0 / (1.0 - ARRIVAL_HZ))


@pytest.mark.parametrize(("shortest_s", "longest_s"), [(0.25, 0.75), (0.75, 1.5), (1.5, 3.0)])
def test_sojourn_time_grows_in_proportion_to_size(shortest_s: float, longest_s: float) -> None:
    slowdowns = []
    for size_s, times_s in replications("M"):
        picked = (shortest_s <= size_s) & (size_s < longest_s)
        slowdowns.append(float(times_s[picked].sum() / size_s[picked].sum()))
    assert_mean_is(slowdowns, 1.0 / (1.0 - ARRIVAL_HZ))
