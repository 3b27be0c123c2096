"""Motion against what is known of it in closed form; intervals are of 99.9 %."""

from __future__ import annotations

import numpy as np
import pytest

from channels.mobility import GaussMarkov, RandomWaypoint
from nmoe_sim.rng import RandomStreams

Z = 3.29
NODES = 4000
UNIT_BOX = (0.0, 0.0, 1.0, 1.0)


def walk(low: float, high: float, pause_s: float = 0.0, bounds_m=UNIT_BOX, start_m=(0.5, 0.5), seed: int = 1):
    return RandomWaypoint(
        np.tile(start_m, (NODES, 1)),
        bounds_m,
        min_speed_m_per_s=low,
        max_speed_m_per_s=high,
        pause_s=pause_s,
        uniform=RandomStreams(seed).uniform,
    )


def test_waypoints_on_a_segment_are_distributed_as_6x_1_minus_x() -> None:
    """Bettstetter, Resta and Santi (2003), one dimension, no pause: f(x) = 6 x (1 - x), exactly."""
    x = walk(0.1, 0.1, bounds_m=(0.0, 0.0, 1.0, 0.0), start_m=(0.5, 0.0)).positions_m(300.0)[0, :, 0]
    for at in (0.1, 0.25, 0.5, 0.8):
        expected = at**2 * (3 - 2 * at)
        assert abs(np.mean(x < at) - expected) < Z * np.sqrt(expected * (1 - expected) / NODES)
    assert abs(np.var(x) - 1 / 20) < Z * np.sqrt((3 / 560 - 1 / 400) / NODES)


def test_waypoints_on_a_square_crowd_in_the_middle() -> None:
    """In two dimensions f(x, y) ≈ 36 x(1-x) y(1-y) is an approximation, so it is met within 2 % of probability."""
    xy = np.concatenate(walk(0.05, 0.2).positions_m([200.0, 300.0, 400.0]))
    assert abs(xy.mean() - 0.5) < 0.01

    def cdf(at: float) -> float:
        return at**2 * (3 - 2 * at)

    for low, high in ((0.0, 0.25), (0.25, 0.75), (0.4, 0.6)):
        inside = np.all((xy > low) & (xy < high), axis=1)
        assert abs(inside.mean() - (cdf(high) - cdf(low)) ** 2) < 0.02
    middle = np.all((xy > 0.25) & (xy < 0.75), axis=1).mean()
    assert middle > 0.4  # uniform would be 0.25


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.5), (0.02, 0.4), (0.3, 0.3)])
def test_the_mean_speed_settles_at_its_long_run_value(low: float, high: float) -> None:
    nodes = walk(low, high)
    starts_s = np.array([60.0, 70.0, 80.0]) / low * 0.5
    step_s = 1e-4
    before, after = nodes.positions_m(starts_s), nodes.positions_m(starts_s + step_s)
    speed = np.hypot(*np.moveaxis(after - before, -1, 0)) / step_s
    assert abs(speed.mean() - nodes.mean_speed_m_per_s) < Z * max(speed.std(), 1e-9) / np.sqrt(NODES) + 2e-3 * high
    first = np.hypot(*np.moveaxis(nodes.positions_m(step_s) - nodes.positions_m(0.0), -1, 0)) / step_s
    assert abs(first.mean() - (low + high) / 2) < Z * (high - low) / np.sqrt(12 * NODES) + 1e-9  # not yet


def test_pauses_take_their_share_of_the_time() -> None:
    """Mean leg on a unit square: 0.521405; at speed v a node is under way for l/v of l/v + pause."""
    nodes = walk(0.1, 0.1, pause_s=5.0)
    times_s = np.linspace(500.0, 900.0, 20)
    moving = np.any(nodes.positions_m(times_s) != nodes.positions_m(times_s + 1e-3), axis=-1)
    ride_s = 0.521405 / 0.1
    assert abs(moving.mean() - ride_s / (ride_s + 5.0)) < 0.005


def test_gauss_markov_velocities_have_their_moments() -> None:
    memory, std, mean = 0.7, 2.0, np.array([3.0, -1.0])
    far = (-1e9, -1e9, 1e9, 1e9)
    nodes = GaussMarkov(
        np.zeros((NODES, 2)),
        far,
        memory=memory,
        mean_velocity_m_per_s=mean,
        velocity_std_m_per_s=std,
        step_s=0.5,
        uniform=RandomStreams(2).uniform,
    )
    first = 250  # across the end of a chunk of 256 steps
    places_m = nodes.positions_m(0.5 * np.arange(first, first + 13))
    velocity = np.diff(places_m, axis=0) / 0.5  # [12, N, 2]
    deviation = velocity - mean
    samples = 2 * NODES
    assert np.all(np.abs(velocity[0].mean(axis=0) - mean) < Z * std / np.sqrt(NODES))
    for n in (0, 5, 11):
        assert abs(deviation[n].var() / std**2 - 1) < Z * np.sqrt(2 / samples)
    for lag in (1, 2, 5, 10):
        correlation = np.mean(deviation[0] * deviation[lag]) / std**2
        expected = memory**lag
        assert abs(correlation - expected) < Z * np.sqrt((1 + expected**2) / samples)
    assert abs(np.mean(deviation[0, :, 0] * deviation[0, :, 1])) < Z * std**2 / np.sqrt(NODES)


def test_gauss_markov_spreads_as_a_correlated_walk() -> None:
    """Variance of a component's displacement over n steps: σ²Δt² (n + 2 Σ_{k<n} (n - k) α^k)."""
    memory, std, step_s, steps = 0.9, 1.5, 2.0, 60
    nodes = GaussMarkov(
        np.zeros((NODES, 2)),
        (-1e9, -1e9, 1e9, 1e9),
        memory=memory,
        mean_velocity_m_per_s=[0.0, 0.0],
        velocity_std_m_per_s=std,
        step_s=step_s,
        uniform=RandomStreams(3).uniform,
    )
    k = np.arange(1, steps)
    expected = (std * step_s) ** 2 * (steps + 2 * np.sum((steps - k) * memory**k))
    assert abs(nodes.positions_m(steps * step_s)[0].var() / expected - 1) < Z * np.sqrt(2 / (2 * NODES))


def test_mirrored_nodes_fill_the_box_evenly() -> None:
    nodes = GaussMarkov(
        np.full((NODES, 2), 1.0),
        (0.0, 0.0, 10.0, 4.0),
        memory=0.5,
        mean_velocity_m_per_s=[0.0, 0.0],
        velocity_std_m_per_s=2.0,
        step_s=1.0,
        uniform=RandomStreams(4).uniform,
    )
    xy_m = nodes.positions_m(400.0)[0]
    for axis, size_m in ((0, 10.0), (1, 4.0)):
        for quarter in range(4):
            inside = np.floor(4 * xy_m[:, axis] / size_m) == quarter
            assert abs(inside.mean() - 0.25) < Z * np.sqrt(0.1875 / NODES)
