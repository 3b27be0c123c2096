"""Two variants on the same seeds: the difference, its significance, its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from analysis.intervals import Interval, mean_interval, observations

Test = Literal["t", "wilcoxon"]


@dataclass(frozen=True)
class Comparison:
    """A variant less its baseline, pair by pair."""

    difference: Interval
    """Mean difference and its paired t interval."""
    p_value: float
    """Two-sided, of no difference."""
    d_z: float
    """Effect size: mean difference over the standard deviation of the differences (Cohen 1988)."""
    g_z: float
    """``d_z`` without its bias in small samples (Hedges 1981); NaN for 2 pairs, where it can't be told."""


def paired_comparison(
    values: ArrayLike, baseline: ArrayLike, *, confidence: float = 0.95, test: Test = "t"
) -> Comparison:
    """Compare two variants that ran on the same seeds.

    Parameters
    ----------
    values, baseline : array_like [n]
        A metric of both variants, pair by pair.
    confidence : float
    test : {"t", "wilcoxon"}
        Paired t-test, or Wilcoxon's signed-rank test, which asks of the differences only that they are
        symmetric around their median. The interval and the effect sizes are the same for both.

    Raises
    ------
    ValueError
        For fewer than 2 pairs, different lengths or missing values.
    """
    one, other = observations(values), observations(baseline)
    if one.size != other.size:
        raise ValueError(f"{one.size} values and {other.size} of the baseline don't make pairs")
    difference = one - other
    interval = mean_interval(difference, confidence=confidence)
    std = 0.0 if np.all(difference == difference[0]) else float(difference.std(ddof=1))
    if std == 0.0:  # nothing varies: either there is no difference at all, or it is certain
        certain = interval.estimate != 0
        d_z = float(np.copysign(np.inf, interval.estimate)) if certain else 0.0
        return Comparison(interval, 0.0 if certain else 1.0, d_z, d_z)
    if test == "t":
        p_value = float(stats.ttest_1samp(difference, 0.0).pvalue)
    else:
        p_value = float(stats.wilcoxon(difference).pvalue)
    d_z = interval.estimate / std
    return Comparison(interval, p_value, d_z, d_z * _small_sample_factor(difference.size - 1))


def _small_sample_factor(df: int) -> float:
    """Return Hedges' J = Γ(df/2) / (√(df/2) Γ((df − 1)/2))."""
    if df < 2:
        return float("nan")
    return float(np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted for their number: the chance of any false alarm among all of them is bounded.

    Step-down method of Holm (1979): the k-th smallest of m is multiplied by m − k + 1 and is at least as
    large as the one before. Needs no independence.

    Parameters
    ----------
    p_values : array_like [m]
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1.0)
    return adjusted
