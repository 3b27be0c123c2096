from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from nmoe_sim.placement import PlacementError, PlacementProblem
from nmoe_sim.placement.outcome import Placement, si


def fields(**changes: Any) -> dict[str, Any]:
    """Two clients on devices 0 and 1, two experts, three devices."""
    base: dict[str, Any] = {
        "demand_hz": [[1.0, 2.0], [0.0, 4.0]],
        "link_delay_s": [[0.0, 0.5, 0.25], [0.5, 0.0, 0.125]],
        "client_device": [0, 1],
        "expert_flop": [10.0, 20.0],
        "expert_bytes": [100, 200],
        "flop_per_s": [100.0, 200.0, 1000.0],
        "free_memory_bytes": [100, 300, 250],
        "owner": [0, 1],
    }
    return base | changes


def test_objective_is_demand_times_link_and_service_time():
    problem = PlacementProblem(**fields())
    # expert 0 at device 1: 1·(0.5 + 10/200); expert 1 at device 2: 2·(0.25 + 0.02) + 4·(0.125 + 0.02).
    assert problem.evaluate([1, 2]) == pytest.approx(0.55 + 0.54 + 0.58, rel=1e-14)
    placement = problem.placement([1, 2], solver="by hand")
    assert placement.mean_delay_s == pytest.approx(1.67 / 7, rel=1e-14)
    assert (placement.bound, placement.gap, placement.solver) == (None, None, "by hand")


def test_out_of_reach_counts_only_where_something_is_asked():
    problem = PlacementProblem(**fields(link_delay_s=[[0.0, 0.5, 0.25], [np.inf, 0.0, 0.125]]))
    assert problem.reachable.tolist() == [[True, True, True], [False, True, True]]
    assert problem.evaluate([0, 1]) == pytest.approx(0.1 + 2 * 0.5 + 6 * 0.1)
    assert problem.evaluate([0, 0]) == np.inf


def test_violations_name_device_amount_and_unit():
    problem = PlacementProblem(
        **fields(
            link_delay_s=[[0.0, 0.5, 0.25], [np.inf, 0.0, 0.125]], base_utilisation=[0.1, 0, 0], max_utilisation=0.9
        )
    )
    memory, compute, reach = problem.violations([0, 0])
    assert (memory.constraint, memory.device, memory.excess) == ("memory", 0, 200.0)
    assert str(memory) == "device 0 needs 300 B for its experts and has 100 B free: 200 B short"
    assert (compute.constraint, compute.device) == ("compute", 0)
    assert compute.excess == pytest.approx(130.0 - 80.0)
    assert str(compute) == "device 0 needs 130 FLOP/s for its experts and has 80 FLOP/s for experts: 50 FLOP/s short"
    assert (reach.constraint, reach.device, reach.excess) == ("reach", 0, 4.0)
    assert str(reach) == "expert 1 on device 0 is out of reach of device 1"


def test_many_cut_off_clients_are_counted():
    delay = np.full((5, 6), np.inf)
    delay[np.arange(5), np.arange(5)] = 0.0
    problem = PlacementProblem(
        demand_hz=np.ones((5, 1)),
        link_delay_s=delay,
        client_device=np.arange(5),
        expert_flop=[1.0],
        expert_bytes=[1],
        flop_per_s=np.full(6, 1e3),
        free_memory_bytes=np.full(6, 10),
        owner=[0],
        device_names=("a", "b", "c", "d", "e", "f"),
        expert_names=("cat",),
    )
    (reach,) = problem.violations([5])
    assert str(reach) == "cat on f is out of reach of a, b, c and 2 more"


def test_bytes_are_exact_and_rates_allow_round_off():
    full = PlacementProblem(**fields(free_memory_bytes=[0, 0, 2**50], expert_bytes=[2**49, 2**49]))
    assert full.violations([2, 2]) == ()
    (violation,) = PlacementProblem(
        **fields(free_memory_bytes=[0, 0, 2**50 - 1], expert_bytes=[2**49, 2**49])
    ).violations([2, 2])
    assert violation.excess == 1.0
    # Loads 10 and 120 FLOP/s on device 2 of 1000 FLOP/s.
    for excess, count in ((1e-12, 0), (1e-6, 1)):
        problem = PlacementProblem(**fields(free_memory_bytes=[1000] * 3, max_utilisation=0.13 * (1 - excess)))
        assert len(problem.violations([2, 2])) == count


def test_no_stability_constraint_without_limit():
    problem = PlacementProblem(
        **fields(flop_per_s=[1.0, 1.0, 1.0], free_memory_bytes=[999] * 3, max_utilisation=np.inf)
    )
    assert problem.violations([0, 0]) == ()


def test_placement_refuses_what_breaks_a_constraint():
    problem = PlacementProblem(**fields())
    with pytest.raises(PlacementError, match=r"^placement 'mine': device 0 needs 300 B for its experts"):
        problem.placement([0, 0], solver="mine")


def test_no_demand_has_no_mean_delay():
    problem = PlacementProblem(**fields(demand_hz=np.zeros((2, 2))))
    placement = problem.placement([0, 1], solver="mine", bound=0.0)
    assert (placement.objective, placement.mean_delay_s, placement.gap) == (0.0, None, 0.0)


def test_gap_is_relative_to_the_objective():
    assert Placement(np.array([0]), 4.0, None, 3.0, "x").gap == 0.25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"demand_hz": [1.0, 2.0]}, r"demand_hz and link_delay_s must be matrices of shape \[C, E\] and \[C, V\]"),
        ({"demand_hz": np.ones((2, 0))}, "needs clients, experts, devices; got 2, 0, 3"),
        ({"demand_hz": [[1.0, -2.0], [0.0, 4.0]]}, "demand_hz: values must be from 0 to "),
        ({"demand_hz": [[1.0, np.inf], [0.0, 4.0]]}, "demand_hz: values must be from 0 to "),
        ({"link_delay_s": [[0.0, np.nan, 1.0], [1.0, 0.0, 1.0]]}, "link_delay_s: values must be from 0 to inf"),
        ({"link_delay_s": np.ones((3, 3))}, r"link_delay_s: shape \(3, 3\), expected \(2, 3\)"),
        ({"link_delay_s": np.ones((2, 3))}, "link_delay_s: must be 0 between a client and its own device"),
        ({"client_device": [0, 3]}, "client_device: values must be from 0 to 2"),
        ({"expert_flop": [1.0]}, r"expert_flop: shape \(1,\), expected \(2,\)"),
        ({"expert_bytes": [1.5, 2]}, "expert_bytes: values must be whole numbers"),
        ({"expert_bytes": [2**60, 2]}, "expert_bytes: values must be from 0 to"),
        ({"flop_per_s": [0.0, 1.0, 1.0]}, "flop_per_s: every device needs a speed above 0"),
        ({"free_memory_bytes": [-1, 1, 1]}, "free_memory_bytes: values must be from 0 to"),
        ({"owner": [0, -1]}, "owner: values must be from 0 to 2"),
        ({"base_utilisation": [0.1, 0.1]}, r"base_utilisation: shape \(2,\), expected \(3,\)"),
        ({"max_utilisation": 0.0}, "max_utilisation must be above 0, got 0.0"),
        ({"max_utilisation": np.nan}, "max_utilisation must be above 0, got nan"),
        ({"expert_names": ("a",)}, "expert_names: 1 names for 2 experts"),
    ],
)
def test_invalid_problem(changes, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        PlacementProblem(**fields(**changes))


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ([0], "hosts: expected one integer per expert"),
        ([0.0, 1.0], "hosts: expected one integer per expert"),
        ([0, 3], "hosts: device indices run from 0 to 2"),
        ([-1, 0], "hosts: device indices run from 0 to 2"),
    ],
)
def test_invalid_hosts(hosts, message):
    with pytest.raises(ValueError, match=message):
        PlacementProblem(**fields()).evaluate(hosts)


def test_problem_keeps_its_own_read_only_copy():
    demand_hz = np.ones((2, 2))
    problem = PlacementProblem(**fields(demand_hz=demand_hz))
    demand_hz[:] = 7.0
    assert problem.demand_hz.max() == 1.0
    with pytest.raises(ValueError, match="read-only"):
        problem.demand_hz[0, 0] = 2.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        problem.owner = np.zeros(2)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 B"), (999.0, "999 B"), (1e3, "1.0 kB"), (12.34e6, "12.3 MB"), (1e9, "1.0 GB"), (2e16, "20.0 PB")],
)
def test_si(value, text):
    assert si(value, "B") == text


def test_import_is_light():
    heavy = "{'scipy', 'torch', 'simpy', 'pandas', 'sklearn'}"
    code = f"import sys, nmoe_sim.placement; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
