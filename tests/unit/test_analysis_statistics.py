"""Intervals and paired comparisons against SciPy's own answers and against cases done by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.statistics import (
    compare,
    holm,
    intervals,
    mean_interval,
    paired_comparison,
    proportion_interval,
)

VALUES = np.random.default_rng(1).gamma(2.0, size=30)


def test_t_interval_by_hand() -> None:
    interval = mean_interval([1.0, 2.0, 3.0], confidence=0.9)
    half = 2.919985580 * 1.0 / math.sqrt(3)  # t_{0.95, 2} of any table
    assert (interval.estimate, interval.num, interval.confidence) == (2.0, 3, 0.9)
    assert interval.half_width == pytest.approx(half, rel=1e-8)
    assert 2.0 in interval
    assert 2.0 + 1.01 * half not in interval
    assert str(interval) == "2 [0.3141, 3.686]"


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_bootstrap_is_near_t_and_the_same_for_a_seed(method: str) -> None:
    reference, one = mean_interval(VALUES), mean_interval(VALUES, method=method, seed=3)
    assert one == mean_interval(VALUES, method=method, seed=3)
    assert one != mean_interval(VALUES, method=method, seed=4)
    assert one.half_width == pytest.approx(reference.half_width, rel=0.15)
    assert one.half_width < reference.half_width
    # the data are skewed to the right, and only a t interval is symmetric
    assert one.high - one.estimate > one.estimate - one.low


@pytest.mark.parametrize("method", ["t", "bca", "percentile"])
def test_values_that_do_not_vary(method: str) -> None:
    interval = mean_interval([0.1] * 5, method=method, seed=0)
    assert interval.low == interval.high == interval.estimate == pytest.approx(0.1)


def test_what_is_no_sample() -> None:
    for values, message in (
        ([1.0], "1 values don't tell"),
        ([], "0 values don't tell"),
        ([1.0, None, 3.0], "1 of 3 values are missing"),
        ([1.0, np.inf], "1 of 2 values are missing or infinite"),
        (pd.array([1.0, pd.NA], dtype="Float64"), "1 of 2 values are missing"),
    ):
        with pytest.raises(ValueError, match=message):
            mean_interval(values)
    with pytest.raises(ValueError, match="a bootstrap needs a seed"):
        mean_interval(VALUES, method="bca")


def test_proportions() -> None:
    wilson = proportion_interval(8, 10)
    z = stats.norm.ppf(0.975)
    centre, spread = (0.8 + z**2 / 20) / (1 + z**2 / 10), z * math.sqrt(0.8 * 0.2 / 10 + z**2 / 400) / (1 + z**2 / 10)
    assert (wilson.low, wilson.high) == pytest.approx((centre - spread, centre + spread))
    none = proportion_interval(0, 20, method="exact")
    assert (none.low, none.high) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))


def test_paired_comparison_by_hand() -> None:
    result = paired_comparison([2.0, 4.0, 6.0, 9.0], [1.0, 2.0, 5.0, 5.0])
    # differences 1 2 1 4: mean 2, standard deviation √2
    assert result.difference.estimate == 2.0
    assert result.d_z == pytest.approx(math.sqrt(2))
    factor = math.gamma(1.5) / (math.sqrt(1.5) * math.gamma(1.0))
    assert factor == pytest.approx(1 - 3 / (4 * 3 - 1), abs=0.01)  # Hedges' approximation
    assert result.g_z == pytest.approx(math.sqrt(2) * factor)
    assert result.p_value == pytest.approx(2 * stats.t.sf(2 / (math.sqrt(2) / 2), 3))
    assert result.difference == mean_interval([1.0, 2.0, 1.0, 4.0])


def test_wilcoxon_gives_another_p_value_only() -> None:
    other = VALUES + np.random.default_rng(2).normal(0.2, 0.3, size=30)
    by_t, by_rank = paired_comparison(other, VALUES), paired_comparison(other, VALUES, test="wilcoxon")
    assert by_rank.p_value == stats.wilcoxon(other - VALUES).pvalue != by_t.p_value
    assert (by_rank.difference, by_rank.d_z) == (by_t.difference, by_t.d_z)


def test_differences_that_do_not_vary() -> None:
    same = paired_comparison(VALUES, VALUES)
    assert (same.p_value, same.d_z, same.difference.half_width) == (1.0, 0.0, 0.0)
    shifted = paired_comparison([1.5, 2.5, 3.5], [2.0, 3.0, 4.0])
    assert (shifted.p_value, shifted.d_z) == (0.0, -math.inf)
    assert math.isnan(paired_comparison([1.0, 2.0], [0.0, 0.0]).g_z)
    with pytest.raises(ValueError, match="3 values and 2 of the baseline don't make pairs"):
        paired_comparison([1, 2, 3], [1, 2])


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0


def sweep() -> pd.DataFrame:
    """Two policies at two loads on five seeds, with a common component that a comparison must cancel."""
    rng = np.random.default_rng(7)
    common = dict(enumerate(rng.normal(0, 10, size=5)))
    rows = [
        (seed, load, policy, common[seed] + effect * load + rng.normal(0, 0.1))
        for seed in (3, 0, 4, 1, 2)
        for load in (1.0, 2.0)
        for policy, effect in (("top_k", 0.0), ("local", 1.0), ("all", 0.0))
    ]
    return pd.DataFrame(rows, columns=["seed", "load", "policy", "latency"])


def test_compare_pairs_by_seed_whatever_the_order_of_rows() -> None:
    runs = sweep()
    table = compare(runs, "latency", "policy", "top_k", within=["load"])
    assert table[["metric", "load", "policy"]].to_numpy().tolist() == [
        ["latency", 1.0, "local"],
        ["latency", 1.0, "all"],
        ["latency", 2.0, "local"],
        ["latency", 2.0, "all"],
    ]
    local = table[table["policy"] == "local"]
    assert ((local["low"] < local["load"]) & (local["load"] < local["high"])).all()
    assert (local["high"] - local["low"] < 0.7).all()  # the seeds themselves vary by 10
    assert (local["p_holm"] < 0.01).all()
    assert (table.loc[table["policy"] == "all", "p_holm"] > 0.05).all()
    assert (table["num_pairs"] == 5).all()
    assert (table["num_unpaired"] == 0).all()
    np.testing.assert_array_equal(table["p_holm"], holm(table["p_value"]))
    shuffled = compare(runs.sample(frac=1, random_state=1), "latency", "policy", "top_k", within=["load"])
    keys = ["load", "policy"]
    left, right = (t.sort_values(keys, ignore_index=True).drop(columns="metric") for t in (table, shuffled))
    np.testing.assert_allclose(
        left.drop(columns=keys).to_numpy(float), right.drop(columns=keys).to_numpy(float), rtol=1e-9
    )


def test_compare_leaves_out_what_has_no_partner_and_counts_it() -> None:
    runs = sweep().query("load == 1")
    runs = runs[(runs["policy"] != "local") | (runs["seed"] != 3)].reset_index(drop=True)
    runs.loc[(runs["policy"] == "top_k") & (runs["seed"] == 0), "latency"] = np.nan
    table = compare(runs, "latency", "policy", "top_k").set_index("policy")
    assert table["num_pairs"].to_dict() == {"local": 3, "all": 4}
    assert table["num_unpaired"].to_dict() == {"local": 2, "all": 1}


def test_compare_by_several_columns_where_a_setting_is_null() -> None:
    runs = sweep().assign(deadline_s=lambda t: t["load"].where(t["load"] > 1)).query("policy != 'all'")
    table = compare(runs, ["latency", "load"], ["policy", "deadline_s"], ("top_k", None))
    assert list(table.loc[table["metric"] == "latency", "policy"]) == ["local", "top_k", "local"]
    assert table.loc[table["metric"] == "load", "difference"].tolist() == [0.0, 1.0, 1.0]


def test_compare_refuses_what_it_would_have_to_guess() -> None:
    runs = sweep()
    for arguments, message in (
        (("latency", "policy", "top_k"), r"several runs have .*seed.*; name in 'by' or 'within' what else varies"),
        (("latency", ["policy", "load"], ("none", 1.0)), r"no variant \('none', 1\.0\)"),
        (("delay", "policy", "top_k"), "no column 'delay'; there are seed, load"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(runs, *arguments)
    one = runs.query("policy == 'top_k' and load == 1")
    with pytest.raises(ValueError, match="the only variant"):
        compare(one, "latency", "policy", "top_k")
    two = runs.query("load == 1 and (policy == 'top_k' or seed == 2) and policy != 'all'")
    with pytest.raises(ValueError, match=r"\('local',\) and the baseline have 1 seeds in common"):
        compare(two, "latency", "policy", "top_k")
    lost = runs.query("policy == 'top_k' and load == 1 or policy == 'local'")
    with pytest.raises(ValueError, match=r"no run of the baseline \('top_k',\) with \{'load': 2\.0\}"):
        compare(lost, "latency", "policy", "top_k", within=["load"])


def test_intervals_of_variants() -> None:
    runs = sweep()
    table = intervals(runs, "latency", ["policy", "load"])
    assert len(table) == 6
    expected = mean_interval(runs.query("policy == 'all' and load == 1")["latency"])
    assert tuple(table.loc[0, ["mean", "low", "high", "num_runs"]]) == (
        expected.estimate,
        expected.low,
        expected.high,
        5,
    )
    single = intervals(runs.query("seed == 0 and load == 1"), "latency", "policy")
    assert single["num_runs"].tolist() == [1, 1, 1]
    assert single["low"].isna().all()
    with pytest.raises(ValueError, match="1 of 5 values are missing"):
        intervals(runs.assign(latency=runs["latency"].where(runs.index > 0)), "latency", ["policy", "load"])
