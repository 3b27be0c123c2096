"""The band split of ``min_max_latency`` against a general convex solver, and against WDMoE's formula."""

from __future__ import annotations

import numpy as np
import pytest
from fake_band import FakeBand, send_all, shannon
from scipy.optimize import brentq, minimize

from nmoe_sim.engine.sharing import MinMaxLatency


def last_end_s(sinr: np.ndarray, bits: np.ndarray, **settings) -> float:
    band = FakeBand([[x] for x in sinr.tolist()], **({"law": shannon} | settings))
    sent = send_all(MinMaxLatency().media, band, [(0.0, i, b) for i, b in enumerate(bits.tolist())])
    ends = [s.t_end_s for s in sent]
    assert max(ends) == pytest.approx(min(ends), rel=1e-8)  # nobody could have lent to the slowest
    return max(ends)


@pytest.mark.parametrize("seed", range(4))
def test_the_last_end_is_that_of_a_convex_solver(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num = 5
    sinr, bits = 10 ** rng.uniform(-1, 3, num), rng.uniform(0.1, 1, num)

    def slack(x: np.ndarray) -> np.ndarray:  # x: the parts, and 1/T
        part = np.maximum(x[:num], 1e-12)
        return part * np.log2(1 + sinr / part) - bits * x[num]

    found = minimize(
        lambda x: -x[num],
        np.r_[np.full(num, 1 / num), np.min(np.log2(1 + num * sinr) / num / bits)],
        method="SLSQP",
        bounds=[(1e-9, 1)] * num + [(0, None)],
        constraints=[{"type": "ineq", "fun": slack}, {"type": "ineq", "fun": lambda x: 1 - x[:num].sum()}],
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert found.success
    assert last_end_s(sinr, bits) == pytest.approx(1 / found.x[num], rel=1e-6)


@pytest.mark.parametrize("num", [1, 2, 30])
def test_rates_are_those_of_wdmoe(num: int) -> None:
    """B_j·log2(1 + P·g/(N0·B_j)): nested root finding, first for B_j given T, then for T."""
    rng = np.random.default_rng(7)
    bandwidth_hz, noise_w_per_hz, power_w = 10e6, 4e-21, 0.2
    gain, bits = 10 ** rng.uniform(-13, -9, num), 8.0 * rng.integers(1_000, 100_000, num)

    def needed_hz(t_s: float) -> np.ndarray:
        def lacks(b_hz: float, g: float, bit: float) -> float:
            return b_hz * np.log2(1 + power_w * g / (noise_w_per_hz * b_hz)) - bit / t_s

        return np.array(
            [
                brentq(lacks, 1e-6, 1e12, args=(g, b), xtol=1e-6, rtol=1e-14) if lacks(1e12, g, b) > 0 else 1e12
                for g, b in zip(gain, bits, strict=True)
            ]
        )

    t_s = brentq(lambda t: needed_hz(t).sum() - bandwidth_hz, 1e-4, 1e3, xtol=1e-15, rtol=1e-12)
    sinr = power_w * gain / (noise_w_per_hz * bandwidth_hz)
    found = last_end_s(sinr, bits, law=lambda x: bandwidth_hz * shannon(x))
    assert found == pytest.approx(t_s, rel=1e-8)


def test_discrete_schemes_are_split_without_waste() -> None:
    """Two schemes, 1 bit/s/Hz from SINR 1 and 4 from SINR 20: no split on a fine grid is better by more than 0.1 %."""

    def stepped(sinr: np.ndarray) -> np.ndarray:
        return np.where(sinr >= 20, 4.0, np.where(sinr >= 1, 1.0, 0.0))

    sinr, bits = np.array([3.0, 8.0, 1.5]), np.array([2.0, 5.0, 1.0])
    part = np.arange(1, 400) / 400
    rate = part * stepped(sinr[:, None] / part)
    envelope = np.maximum.accumulate(rate, axis=1)
    a, b = np.meshgrid(np.arange(399), np.arange(399), indexing="ij")
    c = 398 - a - b - 1
    fits = c >= 0
    best_s = np.min(
        np.max([bits[0] / envelope[0, a[fits]], bits[1] / envelope[1, b[fits]], bits[2] / envelope[2, c[fits]]], axis=0)
    )
    found_s = last_end_s(sinr, bits, law=stepped)
    assert 0.98 * best_s < found_s <= 1.001 * best_s


def test_a_sender_of_all_splits_its_power() -> None:
    """A base station with equal links: a share of power in its share of band, so no gain over time sharing."""
    sinr, bits = np.array([3.0, 3.0]), np.array([10.0, 10.0])
    assert last_end_s(sinr, bits, sender=[0, 0], receiver=[1, 2]) == pytest.approx(10.0)
    assert last_end_s(sinr, bits) == pytest.approx(20 / np.log2(7))
