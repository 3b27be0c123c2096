"""One long run instead of many: where its warm-up ends, and intervals from batches of what follows.

Successive requests of a run wait in the same queues, so they are no independent observations: a t interval
over them is many times too short. Means of long batches nearly are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.intervals import Interval, mean_interval, observations

BATCH_COUNTS = (32, 16, 8)
"""Numbers of batches tried in turn."""

_MSER_BATCH = 5
_MIN_BATCHES = 10
_SIGNIFICANCE = 0.3


class NotSteadyError(ValueError):
    """A series whose warm-up isn't over by its middle: simulate longer."""


def mser5(values: ArrayLike) -> int:
    """Return how many observations at the start of a series belong to its warm-up.

    MSER-5 (White, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69,
    1997; Spratt 1998): over means Y of batches of 5, the truncation d is taken that minimises
    Σ_{i ≥ d} (Y_i − Ȳ_d)² / (n − d)², the squared standard error of what is left as if it were independent.
    Truncations that leave fewer than 5 batches aren't considered.

    The rule cuts where what follows looks calm, so applied to each run by itself it favours runs without late
    bursts, and the means that are left are too low (``docs/statistics.md``). Apply it once, to the average of
    several runs of different seeds, and use the result, with a margin, for all runs.

    Parameters
    ----------
    values : array_like [n]
        Observations in order of time, such as latencies by arrival; at least 50.

    Returns
    -------
    int
        A multiple of 5.

    Raises
    ------
    NotSteadyError
        If the minimum lies in the second half: too little is left to tell it from chance (Hoad, Robinson and
        Davies, "Automating warm-up length estimation", Journal of the Operational Research Society 61, 2010).
    ValueError
        For missing or too few values.
    """
    array = observations(values, at_least=_MIN_BATCHES * _MSER_BATCH)
    num_batches = array.size // _MSER_BATCH
    means = array[: num_batches * _MSER_BATCH].reshape(num_batches, _MSER_BATCH).mean(axis=1)
    means -= means.mean()  # sums of squares of what is near zero don't cancel
    left = np.arange(num_batches, 0, -1)
    total, squares = (np.cumsum(x[::-1])[::-1] for x in (means, means**2))
    score = np.maximum(squares - total**2 / left, 0.0) / left**2
    truncation = int(np.argmin(score[: num_batches - _MSER_BATCH + 1]))
    if truncation > num_batches / 2:
        raise NotSteadyError(
            f"MSER-5 would leave out {truncation * _MSER_BATCH} of {array.size} observations, more than half: "
            "the series isn't steady yet; simulate longer"
        )
    return truncation * _MSER_BATCH


@dataclass(frozen=True)
class BatchMeans:
    """An interval of a steady-state mean from batches of one series."""

    interval: Interval
    batch_size: int
    lag_1: float
    """Autocorrelation of successive batch means; 0 if they don't vary."""
    independent: bool
    """Whether von Neumann's test found no correlation of the batch means; if not, distrust the interval."""

    @property
    def num_batches(self) -> int:
        """Number of batches."""
        return self.interval.num


def batch_means_interval(values: ArrayLike, *, confidence: float = 0.95, num_batches: int | None = None) -> BatchMeans:
    """Return a confidence interval of the mean of a steady, correlated series.

    The series is cut into batches of equal size, and Student's t is used on their means (nonoverlapping
    batch means). The number of batches is the first of 32, 16 and 8 whose means pass von Neumann's one-sided test
    of no positive correlation at 30 %: a strict level, since few batches leave the test little power. If none
    passes, the number is 8 and ``independent`` is false. More than about 30 gain nothing (Schmeiser, "Batch size
    effects in the analysis of simulation output", Operations Research 30, 1982).
    What doesn't fill a batch is left out at the start, where the warm-up was.

    Parameters
    ----------
    values : array_like [n]
        Observations in order of time, without warm-up (``mser5``); at least 2 a batch.
    confidence : float
    num_batches : int, optional
        A number of batches of one's own; at least 3.

    Raises
    ------
    ValueError
        For missing or too few values.
    """
    choices: tuple[int, ...] = BATCH_COUNTS if num_batches is None else (num_batches,)
    if min(choices) < 3:
        raise ValueError(f"{num_batches} batches don't tell how much they vary; take at least 3")
    array = observations(values, at_least=2 * min(choices))
    choices = tuple(count for count in choices if array.size >= 2 * count)
    for count in choices:
        means = _batch_means(array, count)
        ratio = _von_neumann(means)
        # under independence the ratio is nearly normal with this variance
        independent = ratio <= stats.norm.isf(_SIGNIFICANCE) * np.sqrt((count - 2) / (count**2 - 1))
        if independent or count == choices[-1]:
            break
    interval = mean_interval(means, confidence=confidence)
    return BatchMeans(interval, array.size // count, _lag_1(means), bool(independent))


def _batch_means(array: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    size = array.size // count
    return np.asarray(array[array.size - count * size :].reshape(count, size).mean(axis=1))


def _von_neumann(means: NDArray[np.float64]) -> float:
    """Return 1 − Σ (Y_i − Y_{i+1})² / (2 Σ (Y_i − Ȳ)²): about the lag-1 autocorrelation."""
    around = means - means.mean()
    spread = float(around @ around)
    return 0.0 if spread == 0 else 1.0 - float(np.sum(np.diff(means) ** 2)) / (2.0 * spread)


def _lag_1(means: NDArray[np.float64]) -> float:
    around = means - means.mean()
    spread = float(around @ around)
    return 0.0 if spread == 0 else float(around[1:] @ around[:-1]) / spread
