"""Media against the theory of processor sharing, of queues, and of opportunistic scheduling.

Each interval is a 99.9 % Student t-interval over independent replications: streams of one seed, fixed
before the first run, with the replication as a counter. Every replication starts empty; its first
transfers are left out.

With Poisson arrivals at rate λ and sizes of mean 1/μ seconds of airtime, the mean sojourn time is
1/(μ − λ) whatever the distribution of sizes (insensitivity), and that of a transfer of x seconds is
x/(1 − ρ) (Kleinrock 1967). A queue in order of arrival has neither property: for equal
sizes its mean sojourn time is 1/μ + ρ/(2μ(1 − ρ)) (Pollaczek-Khinchine).

Proportional fair scheduling of n alike Rayleigh fading links, with slow averages, serves the best of n in each
slot. If rate is proportional to SNR it carries E[max] = 1 + 1/2 + … + 1/n times what equal time does.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from fake_band import FakeBand, send_all
from scipy import stats

from nmoe_sim.engine.sharing import EqualShareMedium, Fifo, ProportionalFair, Sharing
from nmoe_sim.rng import RandomStreams

SEED = 20250102
CONFIDENCE = 0.999
NUM_REPLICATIONS = 25
NUM_TRANSFERS = 10_000
NUM_WARM_UP = 1_000

ARRIVAL_HZ = 0.5
RATE_BPS = 1e6


def sojourn_times_s(gaps_s: np.ndarray, size_s: np.ndarray, policy: Sharing | None = None) -> np.ndarray:
    """Return how long each transfer took, given the airtime it needs."""
    start_s = np.cumsum(gaps_s)
    jobs = list(zip(start_s.tolist(), [0] * len(size_s), (size_s * RATE_BPS).tolist(), strict=True))
    make = EqualShareMedium if policy is None else policy.media
    return np.array([s.t_end_s for s in send_all(make, FakeBand([[RATE_BPS]]), jobs)]) - start_s


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


def test_mean_sojourn_time_in_order_of_arrival() -> None:
    streams, index = RandomStreams(SEED), np.arange(1_000)
    means_s = []
    for replication in range(14):
        gaps_s = streams.exponential("arrivals", replication, index) / ARRIVAL_HZ
        means_s.append(float(sojourn_times_s(gaps_s, np.ones(len(index)), Fifo())[100:].mean()))
    assert_mean_is(means_s, 1.0 + ARRIVAL_HZ / (2.0 * (1.0 - ARRIVAL_HZ)))


def test_proportional_fair_gains_from_fading_what_the_best_of_n_has() -> None:
    num_links, num_blocks, policy = 4, 500, ProportionalFair(slot_s=1.0, time_constant_s=200.0)
    expected = sum(1.0 / k for k in range(1, num_links + 1))
    gains, evenness = [], []
    for replication in range(15):
        table = RandomStreams(SEED).exponential(
            "fading", replication, np.arange(num_links)[:, None], np.arange(num_blocks)
        )
        jobs = [(0.0, link, 1e9) for link in range(num_links)]
        sent = send_all(
            policy.media, FakeBand(table.tolist(), 1.0), jobs, [(float(num_blocks), tuple(range(num_links)))]
        )
        bits = np.array([s.ended.bits_sent for s in sent])
        gains.append(float(bits.sum()) / num_blocks)
        evenness.append(float(bits.min() / bits.max()))
    assert_mean_is(gains, expected)
    assert min(evenness) > 0.7
