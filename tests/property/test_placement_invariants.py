from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nmoe_sim.placement import MILP, Greedy, PlacementError, PlacementProblem


@st.composite
def problems(draw: st.DrawFn) -> PlacementProblem:
    num_clients, num_experts = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    num_devices = draw(st.integers(num_clients, 5))
    rate = st.sampled_from([0.0, 0.5, 1.0, 3.0])
    wait = st.sampled_from([0.0, 1e-6, 0.25, 1.0, 1e3, np.inf])

    def matrix(element: st.SearchStrategy[float], *shape: int) -> np.ndarray:
        size = int(np.prod(shape))
        return np.array(draw(st.lists(element, min_size=size, max_size=size))).reshape(shape)

    delay = matrix(wait, num_clients, num_devices)
    delay[np.arange(num_clients), np.arange(num_clients)] = 0.0
    return PlacementProblem(
        demand_hz=matrix(rate, num_clients, num_experts),
        link_delay_s=delay,
        client_device=np.arange(num_clients),
        expert_flop=matrix(st.floats(0, 1e9), num_experts),
        expert_bytes=matrix(st.integers(0, 10**12), num_experts),
        flop_per_s=matrix(st.floats(1e6, 1e12), num_devices),
        free_memory_bytes=matrix(st.integers(0, 10**12), num_devices),
        owner=matrix(st.integers(0, num_devices - 1), num_experts),
        base_utilisation=draw(st.floats(0, 1.2)),
        max_utilisation=draw(st.sampled_from([0.5, 0.9, np.inf])),
    )


@st.composite
def placed(draw: st.DrawFn) -> tuple[PlacementProblem, np.ndarray]:
    problem = draw(problems())
    host = st.integers(0, problem.flop_per_s.size - 1)
    return problem, np.array(draw(st.lists(host, min_size=problem.owner.size, max_size=problem.owner.size)))


@given(placed())
def test_infinite_objective_is_a_reach_violation(case):
    problem, hosts = case
    kinds = {violation.constraint for violation in problem.violations(hosts)}
    assert np.isinf(problem.evaluate(hosts)) == ("reach" in kinds)


@given(placed())
def test_granting_the_excess_mends_a_placement(case):
    problem, hosts = case
    memory = problem.free_memory_bytes.copy()
    for violation in problem.violations(hosts):
        assert violation.excess > 0
        if violation.constraint == "memory":
            memory[violation.device] += int(violation.excess)

    def with_memory(free: np.ndarray) -> set[tuple[str, int]]:
        changed = PlacementProblem(
            **{
                name: free if name == "free_memory_bytes" else getattr(problem, name)
                for name in problem.__dataclass_fields__
            }
        )
        return {(v.constraint, v.device) for v in changed.violations(hosts)}

    before = {(v.constraint, v.device) for v in problem.violations(hosts)}
    assert with_memory(memory) == {(kind, device) for kind, device in before if kind != "memory"}
    # One byte less than the excess isn't enough: the amount is exact.
    for device in np.flatnonzero(memory > problem.free_memory_bytes):
        less = memory.copy()
        less[device] -= 1
        assert ("memory", int(device)) in with_memory(less)


@given(placed())
def test_moving_one_expert_changes_the_objective_by_its_own_cost(case):
    problem, hosts = case
    if np.isinf(problem.evaluate(hosts)):
        return
    for device in np.flatnonzero(problem.reachable[0]):
        moved = hosts.copy()
        moved[0] = device
        change = problem.cost[0, device] - problem.cost[0, hosts[0]]
        total = problem.evaluate(hosts) + problem.evaluate(moved)
        assert abs(problem.evaluate(moved) - problem.evaluate(hosts) - change) <= 1e-12 * total


@given(placed())
@settings(max_examples=60, deadline=None)
def test_milp_bound_is_below_every_placement_and_greedy_above_it(case):
    problem, hosts = case
    try:
        best = MILP().solve(problem, np.random.default_rng(0))
    except PlacementError:
        assert problem.violations(hosts)
        return
    assert best.bound is not None
    assert best.bound <= best.objective
    assert not problem.violations(best.hosts)
    if not problem.violations(hosts):
        assert best.bound <= problem.evaluate(hosts)
    try:
        greedy = Greedy().solve(problem, np.random.default_rng(0))
    except PlacementError:
        return
    assert greedy.objective >= best.objective
