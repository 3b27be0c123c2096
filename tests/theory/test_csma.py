"""Bianchi's model of CSMA/CA against an independent simulation, slot by slot, of its stations.

Each interval is a 99.9 % Student t-interval over independent replications of one seed, fixed before the
first run. The simulation draws backoffs; nothing in it says that the collision probability is constant. That
is the model's one approximation, so the whole interval has to lie within 2.5 % of the model, not to contain
it; Bianchi (2000) found differences below 1 %. A lone station collides with nobody: there the model is exact.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_band import FakeBand, send_all
from scipy import optimize, stats

from channels import csma
from nmoe_sim.engine.sharing import CsmaCa

SEED = 20250103
CONFIDENCE = 0.999
NUM_REPLICATIONS = 100
NUM_SLOTS = 5_000
NUM_WARM_UP = 500
MODEL_ERROR = 0.025

WINDOW, NUM_DOUBLINGS = 16, 6
SLOT_S, SIFS_S, ACK_S = 9e-6, 16e-6, 44e-6
OVERHEAD_S = SIFS_S + ACK_S + SIFS_S + 2 * SLOT_S  # SIFS, acknowledgement, DIFS; as long after a collision


def frame_s(rate_bps: np.ndarray) -> np.ndarray:
    return 20e-6 + 8 * 1536 / rate_bps


def simulate(frames_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return time, packets sent and packets got through of each replication, and of each of its stations.

    A station draws a backoff from its window, counts it down slot by slot, a busy period being one slot, and
    sends at 0. Who sends alone gets through and goes back to the first window; else the window doubles, up to the last.
    """
    rng, shape = np.random.default_rng(SEED), (NUM_REPLICATIONS, len(frames_s))
    stage = np.zeros(shape, dtype=int)
    backoff = rng.integers(0, WINDOW, shape)
    time_s, sent, through = np.zeros(NUM_REPLICATIONS), np.zeros(shape), np.zeros(shape)
    for slot in range(NUM_WARM_UP + NUM_SLOTS):
        sends = backoff == 0
        alone = sends.sum(axis=1) == 1
        won = sends & alone[:, None]
        longest_s = np.max(np.where(sends, frames_s, -1.0), axis=1)
        if slot >= NUM_WARM_UP:
            time_s += np.where(longest_s > 0, longest_s + OVERHEAD_S, SLOT_S)
            sent += sends
            through += won
        stage = np.where(won, 0, np.where(sends, np.minimum(stage + 1, NUM_DOUBLINGS), stage))
        backoff = np.where(sends, rng.integers(0, WINDOW << stage), backoff - 1)
    return time_s, sent, through


def model(frames_s: np.ndarray) -> csma.Contention:
    attempt = float(csma.attempt_probability(len(frames_s), window=WINDOW, num_doublings=NUM_DOUBLINGS))
    return csma.saturation(
        frames_s,
        attempt_probability=attempt,
        slot_s=SLOT_S,
        success_overhead_s=OVERHEAD_S,
        collision_overhead_s=OVERHEAD_S,
    )


def interval(values: np.ndarray) -> tuple[float, float]:
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, np.mean(values), stats.sem(values))
    return float(low), float(high)


def assert_near(values: np.ndarray, expected: float) -> None:
    low, high = interval(values)
    assert low / expected >= 1.0 - MODEL_ERROR
    assert high / expected <= 1.0 + MODEL_ERROR


def test_a_lone_station_gets_what_the_model_says() -> None:
    time_s, _, through = simulate(np.array([frame_s(54e6)]))
    low, high = interval(through[:, 0] / time_s)
    assert low <= model(np.array([frame_s(54e6)])).packet_hz <= high
    assert (high - low) / 2 < 0.04 * low


@pytest.mark.parametrize("num_stations", [2, 5, 20, 50])
def test_equal_stations_get_what_the_model_says(num_stations: int) -> None:
    frames_s = np.full(num_stations, frame_s(54e6))
    time_s, sent, through = simulate(frames_s)
    expected = model(frames_s)
    assert_near(through.mean(axis=1) / time_s, expected.packet_hz)
    assert_near(sent.mean(axis=1) / time_s, expected.attempt_hz)


def test_a_slow_station_slows_everybody() -> None:
    frames_s = frame_s(np.array([6e6, 24e6, 54e6, 54e6]))
    time_s, _, through = simulate(frames_s)
    expected = model(frames_s)
    assert_near(through.mean(axis=1) / time_s, expected.packet_hz)
    assert expected.packet_hz < 0.5 * model(frames_s[1:]).packet_hz


@pytest.mark.parametrize("num_stations", [1, 2, 10, 100])
def test_attempts_and_collisions_are_consistent(num_stations: int) -> None:
    """Bianchi's equation 7 as printed, and equation 9, solved by a library."""

    def excess(p: float) -> float:
        w, m = WINDOW, NUM_DOUBLINGS
        tau = 2 * (1 - 2 * p) / ((1 - 2 * p) * (w + 1) + p * w * (1 - (2 * p) ** m))
        return p - (1 - (1 - tau) ** (num_stations - 1))

    tau = csma.attempt_probability(num_stations, window=WINDOW, num_doublings=NUM_DOUBLINGS)
    p = csma.collision_probability(tau, num_stations)
    if num_stations == 1:
        assert (tau, p) == (pytest.approx(2 / (WINDOW + 1)), 0.0)
    else:
        low, high = (1e-9, 0.4999) if p < 0.5 else (0.5001, 1 - 1e-9)
        assert p == pytest.approx(optimize.brentq(excess, low, high, xtol=1e-14), abs=1e-10)


def test_arrays_in_arrays_out() -> None:
    num = np.array([[1, 2, 3], [10, 100, 1000]])
    tau = csma.attempt_probability(num, window=WINDOW, num_doublings=NUM_DOUBLINGS)
    assert tau.shape == num.shape
    assert (np.diff(tau.ravel()) < 0).all()
    assert tau[1, 1] == csma.attempt_probability(100, window=WINDOW, num_doublings=NUM_DOUBLINGS)
    with pytest.raises(ValueError, match="1 or more"):
        csma.attempt_probability(0, window=WINDOW, num_doublings=NUM_DOUBLINGS)


def test_one_window_without_doubling_has_a_closed_form() -> None:
    # m = 0: τ = 2/(W + 1) whatever p is.
    tau = csma.attempt_probability([1, 5, 50], window=31, num_doublings=0)
    np.testing.assert_allclose(tau, 2 / 32)


def test_the_policy_gives_what_the_simulation_finds() -> None:
    rates_bps, num_packets = [6e6, 24e6, 54e6], 500
    time_s, sent, through = simulate(frame_s(np.array(rates_bps)))
    ends = send_all(
        CsmaCa().media, FakeBand([[r] for r in rates_bps]), [(0.0, i, num_packets * 12e3) for i in range(3)]
    )
    assert_near(through.mean(axis=1) / time_s, num_packets / ends[0].t_end_s)
    # The senders' radios are on for collided frames too.
    on_air_s = np.array([end.airtime_s for end in ends])
    assert_near(
        sent.sum(axis=1) / through.sum(axis=1), float(np.mean(on_air_s / frame_s(np.array(rates_bps)) / num_packets))
    )
    assert math.isclose(ends[0].t_end_s, ends[2].t_end_s, rel_tol=1e-9)
