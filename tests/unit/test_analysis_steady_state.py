"""Warm-up and batch means on series whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.intervals import mean_interval
from analysis.steady_state import NotSteadyError, batch_means_interval, mser5


def autoregressive(rng: np.random.Generator, n: int, phi: float) -> np.ndarray:
    noise = rng.normal(size=n)
    out = np.empty(n)
    out[0] = noise[0] / np.sqrt(1 - phi**2)
    for i in range(1, n):
        out[i] = phi * out[i - 1] + noise[i]
    return out


def test_mser5_by_definition() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=203) + 5 * np.exp(-np.arange(203) / 15)
    means = values[:200].reshape(40, 5).mean(axis=1)
    scores = [np.sum((means[d:] - means[d:].mean()) ** 2) / (40 - d) ** 2 for d in range(36)]
    assert mser5(values) == 5 * int(np.argmin(scores)) > 0
    assert mser5(values + 1e9) == mser5(values)


@pytest.mark.parametrize("length", [100, 150])
def test_mser5_finds_a_step(length: int) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=1000) + 10.0 * (np.arange(1000) < length)
    assert length <= mser5(values) <= length + 100
    assert mser5(np.full(100, 2.0)) == 0


def test_mser5_refuses_a_series_that_is_not_steady() -> None:
    with pytest.raises(NotSteadyError, match=r"of 1000 observations, more than half: the series isn't steady yet"):
        mser5(np.arange(1000.0) ** 2)
    with pytest.raises(ValueError, match="49 values don't tell"):
        mser5(np.ones(49))


def test_batch_means_of_independent_values_take_the_most_batches() -> None:
    values = np.random.default_rng(2).normal(size=1000)
    result = batch_means_interval(values)
    assert (result.num_batches, result.batch_size, result.independent) == (32, 31, True)
    assert result.interval == mean_interval(values[1000 - 32 * 31 :].reshape(32, 31).mean(axis=1))


def test_batch_means_of_a_correlated_series_take_fewer_and_cover() -> None:
    rng = np.random.default_rng(4)
    taken, covered, naive, total = set(), 0, 0, 200
    for _ in range(total):
        series = autoregressive(rng, 1000, 0.9)
        result = batch_means_interval(series)
        taken.add((result.num_batches, result.independent))
        covered += 0.0 in result.interval
        naive += 0.0 in mean_interval(series)
    assert {count for count, _ in taken} == {32, 16, 8}
    assert covered > stats.binom.ppf(0.0005, total, 0.9)
    assert naive < 0.5 * total


def test_batches_that_depend_on_each_other_are_told() -> None:
    result = batch_means_interval(np.arange(800.0))
    assert (result.num_batches, result.batch_size, result.independent) == (8, 100, False)
    # lag-1 autocorrelation of 0 … 7: Σ (i − 3.5)(i − 2.5) over Σ (i − 3.5)²
    assert result.lag_1 == pytest.approx(26.25 / 42)
    steady = batch_means_interval(np.ones(100))
    assert (steady.lag_1, steady.independent, steady.interval.half_width) == (0.0, True, 0.0)


def test_a_number_of_batches_of_ones_own() -> None:
    values = np.random.default_rng(2).normal(size=100)
    assert batch_means_interval(values, num_batches=10).interval == mean_interval(values.reshape(10, 10).mean(axis=1))
    assert batch_means_interval(values[:20]).num_batches == 8  # a batch holds two values at least
    with pytest.raises(ValueError, match="2 batches don't tell"):
        batch_means_interval(values, num_batches=2)
    with pytest.raises(ValueError, match="15 values don't tell"):
        batch_means_interval(values[:15])
