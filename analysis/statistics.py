"""Comparing variants of a study that ran on the same seeds.

A sweep runs all its variants on the same seeds, and a seed fixes channels, arrivals and data whatever the
policy (common random numbers). So variants are compared by their differences seed by seed, which vary much
less than the variants themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.intervals import Interval, Method, intervals, mean_interval, proportion_interval
from analysis.pairs import Comparison, Test, holm, paired_comparison

__all__ = [
    "Comparison",
    "Interval",
    "Method",
    "Test",
    "compare",
    "holm",
    "intervals",
    "mean_interval",
    "paired_comparison",
    "proportion_interval",
]


def compare(
    runs: pd.DataFrame,
    metric: str | Sequence[str],
    by: str | Sequence[str],
    baseline: Any,
    *,
    within: Sequence[str] = (),
    pair: str = "seed",
    confidence: float = 0.95,
    test: Test = "t",
) -> pd.DataFrame:
    """Compare every variant of a sweep with a baseline, seed by seed.

    Parameters
    ----------
    runs : DataFrame
        One row a run, such as ``runs.parquet`` of a sweep.
    metric : str or sequence of str
        Columns compared.
    by : str or sequence of str
        Columns that tell variants apart.
    baseline
        The variant compared with: its value of ``by``, or a tuple of them.
    within : sequence of str
        Columns held fixed: every variant is compared with the baseline at the same values of these, such as the load.
    pair : str
        Column that makes pairs.
    confidence : float
        Of each interval by itself; intervals are not adjusted for their number, p-values are.
    test : {"t", "wilcoxon"}
        See ``paired_comparison``.

    Returns
    -------
    DataFrame
        One row a metric, a setting of ``within`` and a variant: ``metric``, the columns of ``within`` and ``by``,
        ``mean``, ``mean_baseline`` (over the pairs), ``difference``, ``low``, ``high``, ``p_value``, ``p_holm``
        (adjusted over all rows), ``d_z``, ``g_z``, ``num_pairs``, ``num_unpaired`` (runs of either left out,
        because the other has no run, or no value, of that seed).

    Raises
    ------
    ValueError
        If a column or the baseline isn't there, several runs of a variant share a seed, or fewer than 2 pairs
        are left.
    """
    metrics = [metric] if isinstance(metric, str) else list(metric)
    variant = [by] if isinstance(by, str) else list(by)
    wanted = baseline if isinstance(baseline, tuple) else (baseline,)
    groups = [*within, *variant]
    _check(runs, metrics, groups, variant, wanted, pair)
    rows: list[dict[str, Any]] = []
    for name in metrics:
        table = runs.set_index(pair)[name].astype("Float64")
        series = {key: table[rows_of] for key, rows_of in _positions(runs, groups).items()}
        for key, values in series.items():
            place, of_variant = key[: len(within)], key[len(within) :]
            if of_variant == wanted:
                continue
            if (*place, *wanted) not in series:
                raise ValueError(f"no run of the baseline {wanted} with {dict(zip(within, place, strict=True))}")
            rows.append(
                {"metric": name, **dict(zip(groups, key, strict=True))}
                | _row(values, series[*place, *wanted], key, confidence, test)
            )
    adjusted = holm([row["p_value"] for row in rows])
    return pd.DataFrame([row | {"p_holm": p} for row, p in zip(rows, adjusted.tolist(), strict=True)])


def _check(
    runs: pd.DataFrame, metrics: list[str], groups: list[str], variant: list[str], wanted: tuple[Any, ...], pair: str
) -> None:
    if missing := [name for name in (*metrics, *groups, pair) if name not in runs]:
        raise ValueError(f"no column {missing[0]!r}; there are {', '.join(map(str, runs.columns))}")
    known = list(dict.fromkeys(_keys(runs, variant)))
    if wanted not in known:
        raise ValueError(f"no variant {wanted} of {tuple(variant)} to compare with; there are {known}")
    if len(known) < 2:
        raise ValueError(f"{wanted} is the only variant of {tuple(variant)}; there is nothing to compare it with")
    again = runs.duplicated([*groups, pair])
    if again.any():
        shared = runs.loc[again, [*groups, pair]].iloc[0].to_dict()
        raise ValueError(f"several runs have {shared}; name in 'by' or 'within' what else varies")


def _keys(runs: pd.DataFrame, columns: list[str]) -> list[tuple[Any, ...]]:
    """Return the setting of each run; a missing one is None, which equals itself."""
    settings = runs[columns].astype(object)
    return list(settings.where(settings.notna(), None).itertuples(index=False, name=None))


def _positions(runs: pd.DataFrame, groups: list[str]) -> Mapping[tuple[Any, ...], NDArray[np.bool_]]:
    codes, unique = pd.Series(_keys(runs, groups), dtype=object).factorize()
    return {key: codes == code for code, key in enumerate(unique)}


def _row(
    values: pd.Series[Any], baseline: pd.Series[Any], key: tuple[Any, ...], confidence: float, test: Test
) -> dict[str, Any]:
    both = pd.concat({"one": values, "other": baseline}, axis=1)
    pairs = both.dropna()
    if len(pairs) < 2:
        raise ValueError(f"{key} and the baseline have {len(pairs)} seeds in common; at least 2 are needed")
    result = paired_comparison(pairs["one"], pairs["other"], confidence=confidence, test=test)
    return {
        "mean": float(pairs["one"].mean()),
        "mean_baseline": float(pairs["other"].mean()),
        "difference": result.difference.estimate,
        "low": result.difference.low,
        "high": result.difference.high,
        "p_value": result.p_value,
        "p_holm": np.nan,  # once all p-values are known
        "d_z": result.d_z,
        "g_z": result.g_z,
        "num_pairs": len(pairs),
        "num_unpaired": len(both) - len(pairs),
    }
