"""What a sweep over a medium's transfers finds, against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.books import relative
from analysis.sweep import most_excess_s, sweep


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_overlapping_transfers_share_the_time() -> None:
    # 0-4 alone until 1 and from 3; with 1-3, and for an instant with 2-2.
    found = sweep(array(0, 1, 2, 6), array(4, 3, 2, 7))
    np.testing.assert_array_equal(found.airtime_s, [1 + 1 + 1, 1, 0, 1])
    np.testing.assert_array_equal(found.period, [0, 0, -1, 1])
    np.testing.assert_array_equal(found.steps, [1 + 1 / 2 + 1 / 2 + 1, 1 / 2 + 1 / 2, 0, 1])


def test_one_that_starts_as_another_ends_goes_on_with_the_busy_period() -> None:
    found = sweep(array(0, 1, 3), array(1, 2, 4))
    np.testing.assert_array_equal(found.airtime_s, [1, 1, 1])
    np.testing.assert_array_equal(found.period, [0, 0, 1])


def test_no_transfers() -> None:
    found = sweep(array(), array())
    assert found.airtime_s.size == found.period.size == found.steps.size == 0


def test_airtimes_of_a_busy_period_add_up_to_its_length() -> None:
    rng = np.random.default_rng(7)
    start_s = rng.uniform(0, 100, 500)
    end_s = start_s + rng.exponential(0.3, 500)
    found = sweep(start_s, end_s)
    assert found.period.max() > 10
    for period in range(found.period.max() + 1):
        inside = found.period == period
        length_s = end_s[inside].max() - start_s[inside].min()
        assert found.airtime_s[inside].sum() == pytest.approx(length_s, rel=1e-12)


@pytest.mark.parametrize(
    ("airtime_s", "excess_s"),
    [
        (array(1.0, 1.0), 0.0),  # both within 0-2: exactly the time there is
        (array(1.5, 1.0), 0.5),
        (array(0.5, 1.25), 0.25),  # the second alone has 1-2, whatever the sum
        (array(0.25, 0.25), -0.75),
    ],
)
def test_excess_over_any_interval(airtime_s: np.ndarray, excess_s: float) -> None:
    assert most_excess_s(array(0, 1), array(2, 2), airtime_s) == excess_s


def test_relative_deviations() -> None:
    np.testing.assert_array_equal(relative([1.0, 3.0, 0.0, 1e-30], [2.0, 2.0, 0.0, 0.0]), [0.5, 0.5, 0.0, np.inf])
    np.testing.assert_array_equal(relative([2.5, -2.0], [2.0, 2.0], 0.25), [0.125, 1.875])
    assert np.isnan(relative([np.nan], [1.0])).all()
    assert not relative([1.0], [np.nan])[0] <= 1e9
