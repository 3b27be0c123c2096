"""Solvers against plain enumeration of all placements, written without the problem's own methods."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from nmoe_sim.placement import (
    MILP,
    Greedy,
    Home,
    Infeasible,
    Placement,
    PlacementError,
    PlacementProblem,
    RandomPlacement,
)

NUM_PROBLEMS = 100


def random_fields(seed: int) -> dict[str, Any]:
    """Return a problem of 2 to 4 experts and devices, so tight that many have no solution."""
    rng = np.random.Generator(np.random.Philox(seed))
    num_experts, num_devices = rng.integers(2, 5, 2)
    num_clients = rng.integers(1, num_devices + 1)
    client_device = rng.permutation(num_devices)[:num_clients]
    delay = rng.uniform(1e-3, 2.0, (num_clients, num_devices))
    delay[rng.random(delay.shape) < 0.1] = np.inf
    delay[np.arange(num_clients), client_device] = 0.0
    demand = rng.exponential(2.0, (num_clients, num_experts)) * (rng.random((num_clients, num_experts)) < 0.7)
    flop = rng.uniform(1e6, 1e8, num_experts)
    sizes = rng.integers(1, 5, num_experts) * 250_000 if seed % 2 else rng.integers(1, 10**9, num_experts)
    fill = rng.uniform(0.8, 2.5)
    return {
        "demand_hz": demand,
        "link_delay_s": delay,
        "client_device": client_device,
        "expert_flop": flop,
        "expert_bytes": sizes,
        "flop_per_s": rng.uniform(0.3, 3.0, num_devices) * (demand.sum(axis=0) @ flop + 1e6) / num_devices * fill,
        "free_memory_bytes": (rng.uniform(0.3, 1.7, num_devices) * sizes.sum() / num_devices * fill).astype(np.int64),
        "owner": rng.integers(0, num_devices, num_experts),
        "base_utilisation": rng.uniform(0.0, 0.3, num_devices),
        "max_utilisation": 0.9,
    }


def enumerate_feasible(given: dict[str, Any]) -> dict[tuple[int, ...], float]:
    """Objective of every feasible placement, term by term from the definition."""
    num_clients, num_experts = given["demand_hz"].shape
    num_devices = len(given["flop_per_s"])
    feasible = {}
    for hosts in itertools.product(range(num_devices), repeat=num_experts):
        size, load, total, reached = [0] * num_devices, [0.0] * num_devices, 0.0, True
        for e, v in enumerate(hosts):
            size[v] += int(given["expert_bytes"][e])
            for c in range(num_clients):
                rate = float(given["demand_hz"][c, e])
                if rate > 0:
                    load[v] += rate * given["expert_flop"][e]
                    reached &= bool(given["link_delay_s"][c, v] < np.inf)
                    total += rate * (given["link_delay_s"][c, v] + given["expert_flop"][e] / given["flop_per_s"][v])
        shares = [load[v] / given["flop_per_s"][v] + given["base_utilisation"][v] for v in range(num_devices)]
        fits = all(size[v] <= given["free_memory_bytes"][v] for v in range(num_devices))
        stable = all(load[v] == 0 or shares[v] <= given["max_utilisation"] for v in range(num_devices))
        if reached and fits and stable:
            feasible[hosts] = float(total)
    return feasible


CASES = [(given, enumerate_feasible(given)) for given in map(random_fields, range(NUM_PROBLEMS))]


def solve(solver: Any, given: dict[str, Any]) -> Any:
    return solver.solve(PlacementProblem(**given), np.random.Generator(np.random.Philox(1)))


def solve_or_refuse(solver: Any, given: dict[str, Any]) -> Any:
    try:
        return solve(solver, given)
    except PlacementError as error:
        return error


def test_problems_are_of_both_kinds():
    num_feasible = sum(bool(feasible) for _, feasible in CASES)
    assert 40 <= num_feasible <= 80
    # Half of them at least have a best placement that the cheapest host of each expert doesn't give.
    assert sum(solve(MILP(), given).hosts.tolist() != cheapest(given) for given, f in CASES if f) >= num_feasible // 2


def cheapest(given: dict[str, Any]) -> list[int]:
    return PlacementProblem(**given).cost.argmin(axis=1).tolist()


@pytest.mark.parametrize("index", range(NUM_PROBLEMS))
def test_milp_is_the_best_of_all_placements(index):
    given, feasible = CASES[index]
    if not feasible:
        with pytest.raises(Infeasible):
            solve(MILP(), given)
        return
    result = solve(MILP(), given)
    best = min(feasible.values())
    assert feasible[tuple(result.hosts.tolist())] == pytest.approx(best, rel=1e-12, abs=0.0)
    assert result.objective == pytest.approx(best, rel=1e-12, abs=0.0)
    assert result.mean_delay_s == pytest.approx(best / given["demand_hz"].sum(), rel=1e-12)
    assert result.bound <= best * (1 + 1e-12)
    assert 0.0 <= result.gap < 1e-8


@pytest.mark.parametrize("solver", [Home(), RandomPlacement(tries=100), Greedy()], ids=lambda s: s.kind)
def test_heuristics_are_feasible_or_say_no(solver):
    found = 0
    for given, feasible in CASES:
        result = solve_or_refuse(solver, given)
        if isinstance(result, PlacementError):
            # Infeasible is a proof. Home never looks for one; the others do before they give up.
            assert not feasible if isinstance(result, Infeasible) else feasible or solver.kind == "home"
            continue
        assert result.objective == pytest.approx(feasible[tuple(result.hosts.tolist())], rel=1e-12)
        assert result.objective >= min(feasible.values()) * (1 - 1e-12)
        assert result.bound is None
        found += 1
    num_feasible = sum(bool(feasible) for _, feasible in CASES)
    assert found >= {"home": 1, "random": num_feasible, "greedy": 0.9 * num_feasible}[solver.kind]


@pytest.mark.parametrize("relative_gap", [0.05, 0.5])
def test_bound_holds_with_a_gap(relative_gap):
    for given, feasible in CASES:
        if feasible:
            result = solve(MILP(relative_gap=relative_gap), given)
            assert result.bound <= min(feasible.values()) * (1 + 1e-12)
            assert result.gap <= relative_gap


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("solver", [RandomPlacement(tries=100), Greedy(), MILP()], ids=lambda s: s.kind)
def test_time_unit_changes_nothing(solver, scale):
    num_placed = 0
    for given, _ in CASES[:50]:
        scaled = given | {
            "link_delay_s": given["link_delay_s"] * scale,
            "flop_per_s": given["flop_per_s"] / scale,
            "demand_hz": given["demand_hz"] / scale,
        }
        plain, other = solve_or_refuse(solver, given), solve_or_refuse(solver, scaled)
        assert type(other) is type(plain)
        if isinstance(plain, Placement):
            assert other.hosts.tolist() == plain.hosts.tolist()
            assert other.mean_delay_s == pytest.approx(plain.mean_delay_s * scale, rel=1e-12)
            num_placed += 1
    assert num_placed >= 15


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_small_delays_are_optimised_as_well(scale):
    # Delays alone shrink, with no compute: the objective is about 1e-6 and HiGHS's tolerance too.
    for given, feasible in CASES[:50]:
        if feasible:
            light = given | {"expert_flop": np.zeros_like(given["expert_flop"])}
            scaled = light | {"link_delay_s": given["link_delay_s"] * scale}
            plain, other = solve(MILP(), light), solve(MILP(), scaled)
            assert other.hosts.tolist() == plain.hosts.tolist()
            assert other.objective == pytest.approx(plain.objective * scale, rel=1e-12)
