"""Fronts against the definition, hypervolumes against counting and against closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.pareto import hypervolume, pareto_front

SMALL = st.integers(1, 4).flatmap(
    lambda d: st.lists(st.lists(st.integers(0, 4), min_size=d, max_size=d), min_size=1, max_size=8)
)


@given(SMALL)
def test_front_by_definition(points: list[list[int]]) -> None:
    p = np.array(points)
    dominated = [bool(np.any(np.all(p <= q, axis=1) & np.any(p < q, axis=1))) for q in p]
    assert pareto_front(points).tolist() == [not x for x in dominated]
    assert pareto_front(-p, maximise=[True] * p.shape[1]).tolist() == [not x for x in dominated]


@given(SMALL)
def test_hypervolume_counts_unit_cells(points: list[list[int]]) -> None:
    p, dim = np.array(points), len(points[0])
    cells = itertools.product(range(5), repeat=dim)
    count = sum(bool(np.any(np.all(p <= np.array(cell), axis=1))) for cell in cells)
    assert hypervolume(points, [5] * dim) == pytest.approx(count)
    assert hypervolume(-p, [-5] * dim, maximise=[True] * dim) == pytest.approx(count)


def test_mixed_directions() -> None:
    latency_accuracy = [[1.0, 0.5], [2.0, 0.9], [3.0, 0.9], [0.5, 0.4], [2.0, 0.9]]
    assert pareto_front(latency_accuracy, maximise=[False, True]).tolist() == [True, True, False, True, True]
    # up to 4 s and down to 0.2: 2·0.7 + 1·0.3 + 0.5·0.2
    assert hypervolume(latency_accuracy, [4.0, 0.2], maximise=[False, True]) == pytest.approx(1.8)


def test_what_is_beyond_the_reference_adds_nothing() -> None:
    assert hypervolume([[1.0, 5.0]], [2.0, 5.0]) == 0.0
    assert hypervolume(np.empty((0, 2)), [1.0, 1.0]) == 0.0
    assert hypervolume([[0.0, 0.0], [-9.0, 1.5]], [1.0, 1.0]) == 1.0


def test_a_front_of_three_objectives_in_closed_form() -> None:
    # points on x + y + z = n, integers: the cells with i + j + k ≥ n of a cube of n + 1 cells a side
    n = 8
    front = [(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]
    assert pareto_front(front).all()
    expected = sum(i + j + k >= n for i in range(n + 1) for j in range(n + 1) for k in range(n + 1))
    assert hypervolume(front, [n + 1] * 3) == pytest.approx(expected)


def test_front_of_many_points_is_that_of_its_own_front() -> None:
    points = np.random.default_rng(0).random((5_000, 3))
    front = points[pareto_front(points)]
    assert 10 < len(front) < 500
    assert pareto_front(front).all()
    assert np.all([np.any(np.all(front <= p, axis=1)) for p in points])


def test_wrong_input() -> None:
    for call, message in (
        (lambda: pareto_front([1.0, 2.0]), r"an array \[n, d\], not of shape \(2,\)"),
        (lambda: pareto_front([[1.0, np.nan]]), "a missing value"),
        (lambda: pareto_front([[1.0, 2.0]], maximise=[True]), "2 objectives and 1 answers"),
        (lambda: hypervolume([[1.0, 2.0]], [3.0]), "2 objectives and the reference 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
