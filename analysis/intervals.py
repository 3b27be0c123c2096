"""Confidence intervals of means and proportions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Method = Literal["t", "bca", "percentile"]

NUM_RESAMPLES = 9_999
"""Bootstrap resamples."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval."""

    estimate: float
    low: float
    high: float
    confidence: float
    num: int
    """Independent observations it rests on."""

    @property
    def half_width(self) -> float:
        """Half the interval's length."""
        return (self.high - self.low) / 2

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"


def observations(values: ArrayLike, at_least: int = 2) -> NDArray[np.float64]:
    """Return observations as an array [n].

    Raises
    ------
    ValueError
        If there are fewer than ``at_least``, or one is missing or infinite: leaving it out would be a
        decision, such as counting only the requests that were answered.
    """
    # a nullable pandas column holds NA, which NumPy can't convert by itself
    column = pd.Series(np.ravel(np.asarray(values, dtype=object))).astype("Float64")
    array: NDArray[np.float64] = np.array(column.to_numpy(na_value=np.nan), dtype=np.float64)
    if missing := int(np.count_nonzero(~np.isfinite(array))):
        raise ValueError(f"{missing} of {array.size} values are missing or infinite; leave them out on purpose")
    if array.size < at_least:
        raise ValueError(f"{array.size} values don't tell how much they vary; give at least {at_least}")
    return array


def mean_interval(
    values: ArrayLike,
    *,
    confidence: float = 0.95,
    method: Method = "t",
    seed: int | None = None,
) -> Interval:
    """Return a confidence interval of the mean of independent observations.

    Observations are independent when they come from runs of different seeds; requests of one run are
    not (``analysis.steady_state`` is for them). Which method covers how well is in ``docs/statistics.md``.

    Parameters
    ----------
    values : array_like [n]
        At least 2.
    confidence : float
    method : {"t", "bca", "percentile"}
        Student's t, or a bootstrap of ``NUM_RESAMPLES`` resamples: bias-corrected and accelerated, or percentile.
    seed : int
        Seed of the bootstrap, which has none by default.

    Raises
    ------
    ValueError
        For missing or too few values, and for a bootstrap without a seed.
    """
    array = observations(values)
    mean = float(array.mean())
    if method != "t" and seed is None:
        raise ValueError("a bootstrap needs a seed, so that it gives the same interval again; set seed")
    if np.all(array == array[0]):
        low = high = mean
    elif method == "t":
        low, high = stats.t.interval(confidence, array.size - 1, loc=mean, scale=stats.sem(array))
    else:
        rng = np.random.Generator(np.random.Philox(seed))
        name: Literal["BCa", "percentile"] = "BCa" if method == "bca" else "percentile"
        low, high = stats.bootstrap(
            (array,),
            np.mean,
            confidence_level=confidence,
            n_resamples=NUM_RESAMPLES,
            method=name,
            vectorized=True,
            rng=rng,
        ).confidence_interval
    return Interval(mean, float(low), float(high), confidence, array.size)


def proportion_interval(
    successes: int, trials: int, *, confidence: float = 0.95, method: Literal["wilson", "exact"] = "wilson"
) -> Interval:
    """Return a confidence interval of a probability from independent trials.

    Parameters
    ----------
    successes, trials : int
    confidence : float
    method : {"wilson", "exact"}
        Wilson's score interval, or Clopper and Pearson's, which never covers too little.
    """
    result = stats.binomtest(successes, trials)
    bounds = result.proportion_ci(confidence, method=method)
    return Interval(successes / trials, float(bounds.low), float(bounds.high), confidence, trials)


def intervals(
    runs: pd.DataFrame,
    metric: str,
    by: str | Sequence[str],
    *,
    confidence: float = 0.95,
    method: Method = "t",
    seed: int | None = None,
) -> pd.DataFrame:
    """Return the mean of a metric over the runs of each variant, with its interval.

    Parameters
    ----------
    runs : DataFrame
        One row a run, such as ``runs.parquet`` of a sweep.
    metric : str
        Column averaged.
    by : str or sequence of str
        Columns that tell variants apart.
    confidence, method, seed
        As for ``mean_interval``.

    Returns
    -------
    DataFrame
        One row a variant: the columns of ``by``, ``mean``, ``low``, ``high``, ``num_runs``. Bounds are null
        for a variant of one run.

    Raises
    ------
    ValueError
        If a run has no value.
    """
    columns = [by] if isinstance(by, str) else list(by)
    rows = []
    for key, group in runs.groupby(columns, dropna=False, sort=True):
        values = observations(group[metric], at_least=1)
        if values.size == 1:
            rows.append((*key, float(values[0]), np.nan, np.nan, 1))
            continue
        interval = mean_interval(values, confidence=confidence, method=method, seed=seed)
        rows.append((*key, interval.estimate, interval.low, interval.high, interval.num))
    return pd.DataFrame(rows, columns=[*columns, "mean", "low", "high", "num_runs"])
