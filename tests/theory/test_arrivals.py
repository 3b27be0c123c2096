"""Arrival processes against what is known about them in closed form.

Intervals are 99.9 % Student t-intervals over independent clients of one seed, fixed before the first run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from nmoe_sim.inference.arrivals import Deterministic, Diurnal, Mmpp, Poisson
from nmoe_sim.rng import RandomStreams

SEED = 20250102
CONFIDENCE = 0.999
STREAMS = RandomStreams(SEED)

ON_OFF = Mmpp(rates_hz=(0.0, 8.0), mean_sojourn_s=(3.0, 1.0))
THREE = Mmpp(rates_hz=(1.0, 4.0, 12.0), mean_sojourn_s=(2.0, 1.0, 0.5), rate_hz=6.0)


def counts(process: Any, num_clients: int, edges_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return requests [client, interval between edges]."""
    times = [process.times_s(i, float(edges_s[-1]), STREAMS) for i in range(num_clients)]
    return np.array([np.histogram(times_s, edges_s)[0] for times_s in times])


def dispersion_interval(process: Any, t_s: float, num_clients: int, num_windows: int) -> tuple[float, float]:
    """Return a confidence interval of Var N(t) / E N(t): windows of one client depend on each other, clients don't."""
    expected = process.mean_rate_hz(0) * t_s
    number = counts(process, num_clients, t_s * np.arange(num_windows + 1))
    of_client = ((number - expected) ** 2).mean(axis=1) / expected
    low, high = stats.t.interval(CONFIDENCE, num_clients - 1, of_client.mean(), stats.sem(of_client))
    return float(low), float(high)


@pytest.mark.parametrize(
    ("process", "expected_hz"),
    [
        (Poisson(rate_hz=2.5), 2.5),
        (Diurnal(rate_hz=2.5, amplitude=1.0, period_s=50.0, peak_s=20.0), 2.5),  # over whole periods
        (ON_OFF, (0 * 3 + 8 * 1) / 4),  # Σ r m / Σ m
        (Mmpp(rates_hz=(1.0, 4.0, 12.0), mean_sojourn_s=(2.0, 1.0, 0.5)), (1 * 2 + 4 * 1 + 12 * 0.5) / 3.5),
        (THREE, 6.0),
    ],
)
def test_mean_rate(process: Any, expected_hz: float) -> None:
    assert process.mean_rate_hz(0) == pytest.approx(expected_hz, rel=1e-12)
    rates_hz = counts(process, 400, np.array([0.0, 100.0]))[:, 0] / 100.0
    low, high = stats.t.interval(CONFIDENCE, len(rates_hz) - 1, rates_hz.mean(), stats.sem(rates_hz))
    assert (high - low) / 2 < 0.04 * expected_hz
    assert low <= expected_hz <= high
    assert not low <= 1.05 * expected_hz <= high


def test_deterministic_requests_are_the_rate_times_the_time_within_one() -> None:
    numbers = counts(Deterministic(rate_hz=2.5, offset_s="random"), 50, np.linspace(0.0, 100.0, 8))
    assert np.all(np.abs(numbers - 2.5 * 100.0 / 7) < 1)
    assert len(np.unique(numbers[:, 0])) == 2


def index_of_dispersion(q_01: float, q_10: float, r_0: float, r_1: float, t_s: float) -> float:
    """Return Var N(t) / E N(t) of a two-state MMPP.

    The covariance of the rate is π₀ π₁ (r₀ − r₁)² e^(−a u) with a = q₀₁ + q₁₀, so
    Var N(t) = λ t + 2 ∫₀ᵗ (t − u) π₀ π₁ (r₀ − r₁)² e^(−a u) du.
    """
    a = q_01 + q_10
    pi_0, pi_1 = q_10 / a, q_01 / a
    mean = pi_0 * r_0 + pi_1 * r_1
    return 1 + 2 * pi_0 * pi_1 * (r_0 - r_1) ** 2 / (mean * a) * (1 - (1 - np.exp(-a * t_s)) / (a * t_s))


@pytest.mark.parametrize("t_s", [1.0, 10.0])
def test_index_of_dispersion_of_mmpp(t_s: float) -> None:
    expected = index_of_dispersion(1 / 3.0, 1 / 1.0, 0.0, 8.0, t_s)
    assert expected > 2
    low, high = dispersion_interval(ON_OFF, t_s, num_clients=300, num_windows=400)
    assert (high - low) / 2 < 0.04 * expected
    assert low <= expected <= high


def test_index_of_dispersion_of_poisson_is_one() -> None:
    low, high = dispersion_interval(Poisson(rate_hz=2.0), 10.0, num_clients=100, num_windows=200)
    assert (high - low) / 2 < 0.04
    assert low <= 1.0 <= high


def test_a_mmpp_of_three_states_spends_its_time_as_the_stationary_distribution_says() -> None:
    share = np.array([2.0, 1.0, 0.5]) / 3.5
    first = [THREE.path(i, 1e-9, STREAMS)[0][0] for i in range(4_000)]
    assert stats.chisquare(np.bincount(first, minlength=3), share * len(first)).pvalue > 1 - CONFIDENCE
    shares = []
    for client in range(50):
        states, starts_s = THREE.path(client, 1_000.0, STREAMS)
        assert np.all(np.diff(states) != 0)
        spent_s = np.bincount(states, weights=np.diff(starts_s), minlength=3)
        shares.append(spent_s / spent_s.sum())
    low, high = stats.t.interval(CONFIDENCE, 49, np.mean(shares, axis=0), stats.sem(shares, axis=0))
    assert np.all((high - low) / 2 < 0.04 * share)
    assert np.all((low <= share) & (share <= high))


def test_gaps_of_poisson_are_exponential() -> None:
    gaps_s = np.diff(Poisson(rate_hz=4.0).times_s(0, 5_000.0, STREAMS))
    assert stats.kstest(gaps_s, "expon", args=(0, 0.25)).pvalue > 1 - CONFIDENCE


def test_profile_of_a_diurnal_rate() -> None:
    process = Diurnal(rate_hz=3.0, amplitude=0.8, period_s=24.0, peak_s=6.0)
    edges_s = np.linspace(0.0, 24.0, 25)
    observed = counts(process, 800, edges_s).sum(axis=0)
    # ∫ (1 + A cos(2π (t − peak)/P)) dt over each hour
    swing = 0.8 * 24.0 / (2 * np.pi) * np.diff(np.sin(2 * np.pi * (edges_s - 6.0) / 24.0))
    expected = 3.0 * 800 * (1.0 + swing)
    p_value = stats.chi2.sf(((observed - expected) ** 2 / expected).sum(), len(observed))
    assert p_value > 1 - CONFIDENCE
    assert np.argmax(expected) in (5, 6)
    assert stats.chi2.sf(((observed - expected[::-1]) ** 2 / expected).sum(), len(observed)) < 1e-9
