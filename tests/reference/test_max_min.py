"""Max-min fair rates on networks worked out by hand, and against a linear programme solved again and again."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy.optimize import linprog

from nmoe_sim.engine.sharing import max_min_rates
from nmoe_sim.engine.sharing.filling import fill

CASES = {
    "one link": ({"a": 6.0}, [["a"]] * 3, None, [2.0, 2.0, 2.0]),
    # The long flow of a chain has as much as the crossing one of each link; all have half.
    "parking lot": (dict.fromkeys("abc", 1.0), [["a", "b", "c"], ["a"], ["b"], ["c"]], None, [0.5] * 4),
    # a is full at 1/3 for its three flows; then b carries 1/3 and leaves 2/3; c leaves 2/3 to its own.
    "unequal chain": (
        {"a": 1.0, "b": 1.0, "c": 1.0},
        [["a"], ["a"], ["a", "b"], ["b"], ["c"]],
        None,
        [1 / 3, 1 / 3, 1 / 3, 2 / 3, 1.0],
    ),
    # Four links, five flows. c: 3 over its three flows, 1 each; then a: 10 - 1 = 9 for two, d: 4 - 1 for one.
    "three levels": (
        {"a": 10.0, "b": 50.0, "c": 3.0, "d": 4.0},
        [["a", "c"], ["a", "b"], ["a"], ["c", "d"], ["c", "b"], ["d"]],
        None,
        [1.0, 4.5, 4.5, 1.0, 1.0, 3.0],
    ),
    "caps free capacity": ({"a": 9.0}, [["a"]] * 3, [1.0, None, 3.5], [1.0, 4.5, 3.5]),
    "a cap that lifts another over": ({"a": 10.0}, [["a"]] * 3, [1.0, 4.2, None], [1.0, 4.2, 4.8]),
    "listed twice counts twice": ({"a": 6.0}, [["a", "a"], ["a"]], None, [2.0, 2.0]),
    "nothing but a cap": ({}, [[], []], [2.0, None], [2.0, math.inf]),
    "no capacity": ({"a": 0.0, "b": 1.0}, [["a", "b"], ["b"]], None, [0.0, 1.0]),
    "no limit": ({"a": math.inf, "b": 1.0}, [["a", "b"], ["a"]], [None, 7.0], [1.0, 7.0]),
    "no flows": ({"a": 1.0}, [], None, []),
}


@pytest.mark.parametrize("name", CASES)
def test_networks_worked_out_by_hand(name: str) -> None:
    capacities, routes, caps, expected = CASES[name]
    np.testing.assert_allclose(max_min_rates(capacities, routes, caps), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"a": -1.0}, []), "capacity of 'a' is -1"),
        (({"a": math.nan}, []), "capacity of 'a' is nan"),
        (({"a": 1.0}, [["b"]]), "uses 'b', which has no capacity"),
        (({"a": 1.0}, [["a"]], []), "0 caps for 1 routes"),
        (({"a": 1.0}, [["a"]], [-1.0]), "cap of route 0 is -1"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        max_min_rates(*arguments)


def by_linear_programmes(usage: np.ndarray, capacity: np.ndarray, cap: np.ndarray) -> np.ndarray:
    """Raise the common rate of all that aren't fixed as far as it goes; fix those that can't go further; repeat.

    ``usage`` [R, F] is what a unit of each flow's rate takes of each resource.
    """
    num = len(cap)
    fixed: dict[int, float] = {}
    while len(fixed) < num:
        rising = [f for f in range(num) if f not in fixed]
        bounds = [(fixed[f], fixed[f]) if f in fixed else (0, cap[f]) for f in range(num)]
        level = _maximum(usage, capacity, [*bounds, (0, None)], rising, np.r_[np.zeros(num), 1.0])
        for f in rising:
            alone = np.zeros(num + 1)
            alone[f] = 1.0
            others = [(b[0] if i in fixed else level * (1 - 1e-9), b[1]) for i, b in enumerate(bounds)]
            if _maximum(usage, capacity, [*others, (0, None)], [], alone) <= level * (1 + 1e-6):
                fixed[f] = level
    return np.array([fixed[f] for f in range(num)])


def _maximum(usage, capacity, bounds, rising, goal) -> float:
    """Return the largest goal·(rates, level), where every rising flow has at least the level."""
    num = usage.shape[1]
    floor = np.zeros((len(rising), num + 1))
    floor[np.arange(len(rising)), rising] = -1.0
    floor[:, -1] = 1.0
    rows = np.vstack([np.c_[usage, np.zeros(len(usage))], floor])
    found = linprog(-goal, A_ub=rows, b_ub=np.r_[capacity, np.zeros(len(rising))], bounds=bounds, method="highs")
    assert found.success
    return float(goal @ found.x)


@pytest.mark.parametrize("seed", range(6))
def test_weighted_filling_is_the_lexicographic_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_resources, num_flows = 5, 7
    usage = np.where(rng.random((num_resources, num_flows)) < 0.4, rng.uniform(0.2, 3.0, (num_resources, num_flows)), 0)
    capacity, cap = rng.uniform(0.5, 3.0, num_resources), rng.uniform(0.3, 3.0, num_flows)
    resource, flow = np.nonzero(usage)
    found = fill(resource, flow, usage[resource, flow], capacity, cap)
    np.testing.assert_allclose(found, by_linear_programmes(usage, capacity, cap), rtol=1e-5)


def test_a_thousand_flows_take_a_quarter_of_a_second_at_most() -> None:
    rng = np.random.default_rng(0)
    names = [f"link{i}" for i in range(32)]
    capacities = {name: float(rng.uniform(1.0, 10.0)) for name in names}
    routes = [[names[i] for i in rng.choice(32, 2, replace=False)] for _ in range(1000)]
    caps = rng.uniform(0.01, 0.4, 1000).tolist()
    best_s = math.inf
    for _ in range(3):
        start_s = time.perf_counter()
        rates = max_min_rates(capacities, routes, caps)
        best_s = min(best_s, time.perf_counter() - start_s)
    assert best_s < 0.25
    assert (rates > 0).all()
