from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from pydantic import ValidationError

from nmoe_sim.placement import (
    MILP,
    Greedy,
    Home,
    Infeasible,
    PlacementError,
    PlacementProblem,
    RandomPlacement,
    feasibility,
    solvers,
)
from nmoe_sim.placement.heuristics import greedy_hosts
from nmoe_sim.placement.mixed_integer import Solution

SOLVERS = (Home(), RandomPlacement(), Greedy(), MILP())

# Only 3 + 3 and 2 + 2 + 2 fill the two places of 6, but cost pairs each 3 with a 2.
DEEP = ([3, 3, 2, 2, 2], [6, 6], [[1, 9], [9, 1], [1, 9], [9, 1], [5, 5]])


def rng() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(5))


def problem(sizes: list[int], free: list[int], cost: Any = None, **changes: Any) -> PlacementProblem:
    """One client, on a last device that hosts nothing; expert e at device v costs ``cost[e][v]``.

    A cost per pair needs a client per expert, because delays belong to clients and devices.
    """
    num_experts, num_devices = len(sizes), len(free) + 1
    delay = np.zeros((num_experts, num_devices))
    delay[:, :-1] = np.ones((num_experts, len(free))) if cost is None else cost
    base: dict[str, Any] = {
        "demand_hz": np.eye(num_experts),
        "link_delay_s": delay,
        "client_device": np.full(num_experts, num_devices - 1),
        "expert_flop": np.zeros(num_experts),
        "expert_bytes": sizes,
        "flop_per_s": np.ones(num_devices),
        "free_memory_bytes": [*free, 0],
        "owner": np.arange(num_experts) % len(free),
    }
    return PlacementProblem(**(base | changes))


def compute_problem(loads: list[float], speeds: list[float], **changes: Any) -> PlacementProblem:
    return problem([1] * len(loads), [100] * len(speeds), expert_flop=loads, flop_per_s=[*speeds, 1.0], **changes)


def message_of(solver: Any, of: PlacementProblem) -> str:
    with pytest.raises(PlacementError) as caught:
        solver.solve(of, rng())
    assert caught.value.exit_status == 1
    return str(caught.value)


def test_home_is_at_the_owner():
    result = Home().solve(problem([5, 6], [5, 6], owner=[0, 1]), rng())
    assert (result.hosts.tolist(), result.solver, result.bound) == ([0, 1], "home", None)


def test_home_says_who_is_short_and_what_to_do():
    short = problem([5_000_000, 6], [6, 6_100_000], owner=[0, 1])
    assert message_of(Home(), short) == (
        "not every owner can host its expert: device 0 needs 5.0 MB for its experts and has 6 B free: 5.0 MB short; "
        "let placement.kind 'greedy' or 'milp' look for other hosts"
    )
    busy = compute_problem([3e9, 1e9], [2e9, 9e9], owner=[0, 1])
    assert message_of(Home(), busy) == (
        "not every owner can host its expert: device 0 needs 3.0 GFLOP/s for its experts and has 1.8 GFLOP/s "
        "for experts: 1.2 GFLOP/s short; let placement.kind 'greedy' or 'milp' look for other hosts "
        "or lift placement.max_utilisation"
    )


@pytest.mark.parametrize("solver", SOLVERS[1:], ids=lambda s: s.kind)
@pytest.mark.parametrize(
    ("infeasible", "message"),
    [
        (
            problem([4_100_000, 4_100_000, 4_100_000], [5_000_000, 5_000_000]),
            "the experts need 12.3 MB; the devices have 10.0 MB free: 2.3 MB short",
        ),
        (
            problem([1, 1, 1, 8_000_000], [6_100_000, 6_000_000]),
            "expert 3 (8.0 MB) fits no device: the largest has 6.1 MB free",
        ),
        (
            problem([4_000_000, 4_000_000, 4_000_000], [7_000_000, 6_000_000]),
            "no placement meets every constraint; in the closest found, device 0 needs 8.0 MB for its experts "
            "and has 7.0 MB free: 1.0 MB short",
        ),
        (
            compute_problem([2e9, 2e9], [1.5e9, 2.5e9], max_utilisation=1.0, device_names=("a", "b", "c")),
            "no placement meets every constraint; in the closest found, a needs 2.0 GFLOP/s for its experts "
            "and has 1.5 GFLOP/s for experts: 500.0 MFLOP/s short",
        ),
        (
            compute_problem([1e9, 3e9], [2e9, 2e9], expert_names=("cat", "dog")),
            "dog (3.0 GFLOP/s) fits no device: the largest has 1.8 GFLOP/s for experts",
        ),
        (
            compute_problem([1.5e9, 1.5e9, 1.5e9], [2e9, 2e9]),
            "the experts need 4.5 GFLOP/s; the devices have 3.6 GFLOP/s for experts: 900.0 MFLOP/s short",
        ),
        (
            PlacementProblem(
                demand_hz=[[1.0], [2.0]],
                link_delay_s=[[0.0, np.inf], [np.inf, 0.0]],
                client_device=[0, 1],
                expert_flop=[0.0],
                expert_bytes=[1],
                flop_per_s=[1.0, 1.0],
                free_memory_bytes=[1, 1],
                owner=[0],
            ),
            "expert 0 has no host within reach of all that ask it; at best, expert 0 on device 1 is out of reach of "
            "device 0",
        ),
        (
            # Device 0 is too small and device 1 out of reach: only together do they rule out every host.
            problem([2_000], [1_500, 9_000], [[1.0, np.inf]]),
            "no placement meets every constraint; in the closest found, device 0 needs 2.0 kB for its experts "
            "and has 1.5 kB free: 500 B short",
        ),
    ],
    ids=("total", "single", "memory", "compute", "single-compute", "total-compute", "reach", "memory-and-reach"),
)
def test_infeasible_says_what_is_missing(solver, infeasible, message):
    with pytest.raises(Infeasible) as caught:
        solver.solve(infeasible, rng())
    assert str(caught.value) == message


def test_one_byte_too_many_is_infeasible():
    # A billionth over is within HiGHS's tolerance, not within ours.
    sizes = [1_000_000_003, 1_000_000_007]
    assert MILP().solve(problem(sizes, [sum(sizes), 0]), rng()).hosts.tolist() == [0, 0]
    with pytest.raises(Infeasible, match=r"2\.0 GB for its experts and has 2\.0 GB free: 1 B short"):
        MILP().solve(problem(sizes, [sum(sizes) - 1, 999_999_999]), rng())


def test_milp_cuts_off_what_highs_tolerates():
    # Both at device 0 is cheapest and one byte too large, the next best puts expert 1 at device 1.
    sizes = [1_000_000_003, 1_000_000_007]
    tight = problem(sizes, [sum(sizes) - 1, 2 * sum(sizes)], [[1.0, 9.0], [1.0, 5.0]], owner=[1, 1])
    result = MILP().solve(tight, rng())
    assert result.hosts.tolist() == [0, 1]
    assert result.objective == 6.0
    assert result.bound == pytest.approx(6.0)


def test_a_placement_in_hand_refutes_a_wrong_proof(monkeypatch):
    monkeypatch.setattr(feasibility, "solve_assignment", lambda *_, **__: Solution(None, np.inf))
    deep = problem(*DEEP)
    assert deep.violations(feasibility.feasible_hosts(deep)) == ()


def test_a_heuristic_does_not_search_for_a_proof_without_end():
    # Bin packing by a hair: HiGHS was still looking for an answer after nine minutes.
    sizes = np.random.Generator(np.random.Philox(1)).integers(1000, 2000, 40).tolist()
    assert re.fullmatch(
        r"greedy finds no host for expert \d+, even by moving one other expert, and a short search "
        r"left open whether one exists; try placement.kind 'milp'",
        message_of(Greedy(), problem(sizes, [4000] * 15)),
    )


def test_infeasible_without_a_closest_placement(monkeypatch):
    monkeypatch.setattr(feasibility, "least_overrun_hosts", lambda _: None)
    with pytest.raises(Infeasible, match=r"^no placement meets every constraint$"):
        feasibility.feasible_hosts(problem([4, 4, 4], [7, 6]))


def test_greedy_serves_the_largest_regret_first():
    # One place at the near device 0. Expert 0 is cheaper there, expert 1 loses more by going elsewhere.
    near = problem([1, 1], [1, 2], [[1.0, 2.0], [3.0, 9.0]])
    assert Greedy().solve(near, rng()).hosts.tolist() == [1, 0]


def test_greedy_moves_one_expert_to_make_room():
    # Small experts 0 and 1 go to device 0 first, for their regret; expert 2 fits only there, whole.
    corner = problem([2, 2, 5], [7, 2, 2], [[1, 50, 60], [1, 70, 90], [1, 1, 1]], owner=[1, 1, 1])
    result = Greedy().solve(corner, rng())
    assert result.hosts.tolist() == [1, 0, 0]


def test_greedy_out_of_its_depth_says_so():
    deep = problem(*DEEP)
    hosts, stuck = greedy_hosts(deep)
    assert stuck is not None
    assert hosts[stuck] == -1
    assert message_of(Greedy(), deep) == (
        f"greedy finds no host for expert {stuck}, even by moving one other expert, though a feasible one exists; "
        "try placement.kind 'milp'"
    )
    assert deep.violations(MILP().solve(deep, rng()).hosts) == ()


def test_random_gives_up_only_on_its_own_behalf():
    # 20 pairs that have to be packed exactly: chance doesn't find it in one try.
    sizes = [*range(10, 30), *range(30, 10, -1)]
    puzzle = problem(sizes, [40] * 20)
    assert message_of(RandomPlacement(tries=1), puzzle) == (
        "no feasible placement in 1 random tries, though a feasible one exists; try placement.kind 'milp'"
    )


def test_random_reaches_every_feasible_placement():
    easy = problem([1, 1], [2, 1])
    generator = rng()
    seen = {tuple(RandomPlacement().solve(easy, generator).hosts.tolist()) for _ in range(200)}
    assert seen == {(0, 0), (0, 1), (1, 0)}


@pytest.mark.parametrize("solver", [Greedy(), MILP()], ids=lambda s: s.kind)
def test_experts_stay_home_where_moving_gains_nothing(solver):
    idle = problem([1, 1, 1], [3, 1, 1], demand_hz=np.zeros((3, 3)), owner=[1, 2, 2])
    assert solver.solve(idle, rng()).hosts.tolist() in ([1, 2, 0], [1, 0, 2])


# Expert 1 fills a device. Regret sends it to device 1, at 2 + 5 + 5; the best is 6 + 2 + 2.
MISLEADING = ([1, 3, 2], [3, 3], [[5, 2], [6, 2], [5, 2]])


def test_milp_betters_greedy():
    misleading = problem(*MISLEADING)
    assert Greedy().solve(misleading, rng()).objective == 12.0
    result = MILP().solve(misleading, rng())
    assert (result.hosts.tolist(), result.objective) == ([1, 0, 1], 10.0)
    assert result.bound == pytest.approx(10.0)


def test_milp_claims_no_more_than_the_floor_after_a_wrong_proof(monkeypatch):
    monkeypatch.setattr(solvers, "solve_assignment", lambda *_, **__: Solution(None, np.inf))
    result = MILP().solve(problem(*MISLEADING), rng())
    assert (result.objective, result.bound) == (12.0, 6.0)


def test_milp_without_time_returns_the_first_placement_and_a_true_bound():
    generator = rng()
    large = problem([1] * 30, [2] * 20, generator.random((30, 20)))
    quick, exact = MILP(time_limit_s=1e-9).solve(large, rng()), MILP().solve(large, rng())
    assert quick.hosts.tolist() == Greedy().solve(large, rng()).hosts.tolist()
    assert quick.bound is not None
    assert exact.bound is not None
    assert 0 < quick.bound <= exact.bound <= exact.objective <= quick.objective
    assert exact.gap == pytest.approx(0.0, abs=1e-8)


def test_milp_without_time_admits_that_it_knows_nothing():
    deep = problem(*DEEP)
    assert message_of(MILP(time_limit_s=1e-9), deep) == (
        "no placement found within 1e-09 s and none ruled out: raise placement.time_limit_s"
    )


def test_milp_stops_at_the_relative_gap():
    generator = rng()
    hard = problem(generator.integers(5, 15, 24).tolist(), [30] * 10, 1 + generator.random((24, 10)))
    result = MILP(relative_gap=0.5).solve(hard, rng())
    assert result.gap is not None
    assert 0 <= result.gap <= 0.5


def test_highs_failure_is_an_error(monkeypatch):
    monkeypatch.setattr(scipy.optimize, "milp", lambda *_, **__: SimpleNamespace(status=4, message="numbers ran out"))
    assert message_of(MILP(), problem([1, 1], [1, 2], [[1.0, 9.0], [1.0, 2.0]])) == (
        "HiGHS failed on the placement: numbers ran out"
    )


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.kind)
def test_same_generator_same_placement(solver):
    generator = rng()
    any_problem = problem([1] * 8, [3] * 8, generator.random((8, 8)))
    first, second = solver.solve(any_problem, rng()), solver.solve(any_problem, rng())
    assert first.hosts.tolist() == second.hosts.tolist()
    assert (first.objective, first.bound) == (second.objective, second.bound)


def test_fields_are_checked():
    assert MILP(time_limit_s=2.0, relative_gap=0.01, max_utilisation=None).max_utilisation is None
    with pytest.raises(ValidationError):
        MILP(time_limit_s=0.0)
    with pytest.raises(ValidationError):
        RandomPlacement(tries=0)
    with pytest.raises(ValidationError):
        Home(max_utilisation=1.5)
