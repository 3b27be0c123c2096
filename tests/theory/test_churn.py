"""Churn against renewal theory: availability is mean up time over mean cycle, at any time if the start is stationary.

Intervals are of 99.9 %: binomial for who is up at a time, over independent devices; normal for means of many cycles.
Streams of one seed, fixed before the first run.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from fake_radio import network, radio, simulation
from scipy import stats

from nmoe_sim.engine.faults import OnOff
from nmoe_sim.rng import RandomStreams

SEED = 20251122
NUM_DEVICES = 3000
SPEC = OnOff(mean_up_s=30.0, mean_down_s=10.0)
AVAILABILITY = 0.75


def is_down(spec: OnOff, t_s: float) -> np.ndarray:
    """Tell which of many devices are away at a time."""
    found = []
    for outages in spec.outages([f"dev{i}" for i in range(NUM_DEVICES)], RandomStreams(SEED)):
        down_s, up_s = next(pair for pair in outages if pair[1] > t_s)
        found.append(down_s <= t_s < up_s)
    return np.array(found)


@pytest.mark.parametrize("t_s", [0.0, 3.0, 17.0, 400.0])
def test_a_stationary_start_is_stationary(t_s: float) -> None:
    num_up = int((~is_down(SPEC, t_s)).sum())
    low, high = stats.binomtest(num_up, NUM_DEVICES).proportion_ci(0.999)
    assert low <= AVAILABILITY <= high
    assert high - low < 0.08


@pytest.mark.parametrize("t_s", [0.0, 3.0, 17.0])
def test_all_up_at_the_start_relaxes_with_both_rates(t_s: float) -> None:
    """P(up at t) = A + (1 - A)·exp(-(1/up + 1/down)·t) for the two-state Markov chain."""
    spec = OnOff(mean_up_s=30.0, mean_down_s=10.0, start="up")
    expected = AVAILABILITY + (1 - AVAILABILITY) * np.exp(-(1 / 30 + 1 / 10) * t_s)
    num_up = int((~is_down(spec, t_s)).sum())
    low, high = stats.binomtest(num_up, NUM_DEVICES).proportion_ci(0.999)
    assert low <= expected <= high


def test_times_up_and_away_are_exponential() -> None:
    [outages] = SPEC.outages(["dev0"], RandomStreams(SEED))
    times = np.array(list(islice(outages, 4000)))
    away_s, there_s = times[:, 1] - times[:, 0], times[1:, 0] - times[:-1, 1]
    assert stats.kstest(away_s, stats.expon(scale=10.0).cdf).pvalue > 1e-3
    assert stats.kstest(there_s, stats.expon(scale=30.0).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(away_s[:-1], there_s)[0, 1]) < 4 / np.sqrt(len(there_s))


def test_devices_of_a_run_are_up_for_their_availability() -> None:
    """Over T the share of a stationary alternating renewal process has a variance of about 2·u²·d²/((u+d)³·T)."""
    num_devices, duration_s = 40, 4000.0
    run = simulation(network([f"a{i:02d}-bs0" for i in range(num_devices)]), radio(), SEED, faults=SPEC)
    run.env.run(until=duration_s)
    shares = [run.availability.up_s(node.name, 0.0, duration_s) / duration_s for node in run.topology.devices]
    std = np.sqrt(2 * (30.0 * 10.0) ** 2 / (40.0**3 * duration_s) / num_devices)
    half_width = stats.norm.ppf(0.9995) * std
    assert half_width < 0.04 * AVAILABILITY
    assert np.mean(shares) == pytest.approx(AVAILABILITY, abs=half_width)
    assert run.availability.up_s("bs0", 0.0, duration_s) == duration_s
