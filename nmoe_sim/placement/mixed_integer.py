"""The placement problem as a mixed-integer linear programme, solved by HiGHS through SciPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nmoe_sim.placement.outcome import PlacementError
from nmoe_sim.placement.problem import BoolArray, FloatArray, IntArray, PlacementProblem

# HiGHS takes a gap below 1e-6 for closed and a reduced cost above -1e-7 for non-negative (its defaults);
# with one host per expert the second can lift its bound by 1e-7 an expert.
_GAP_TOLERANCE = 1e-6
_DUAL_TOLERANCE = 1e-7

NODE_LIMIT = 200
"""Size of the branch-and-bound tree of a search that only serves a message."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What HiGHS found and proved."""

    hosts: IntArray | None
    """Feasible hosts, shape ``[E]``; None if none was found."""
    bound: float
    """Lower bound of the cost; inf: proven that there is no placement."""


def solve_assignment(
    problem: PlacementProblem,
    cost: FloatArray,
    allowed: BoolArray,
    *,
    relative_gap: float = 0.0,
    time_limit_s: float | None = None,
    node_limit: int | None = None,
) -> Solution:
    """Find hosts of least cost under the problem's memory, compute and reach constraints.

    HiGHS lets a row be exceeded by a millionth, which may be many bytes. So its hosts are checked by
    ``problem.violations``; a set of experts S too large for device v is cut off by the cover inequality
    Σ_{e in S} x[e, v] ≤ |S| - 1, where a millionth doesn't matter, and HiGHS runs again.

    Parameters
    ----------
    problem : PlacementProblem
        The constraints.
    cost : ndarray of float
        Shape ``[E, V]``, at least 0 and finite where allowed; of order 1 to 1e4, because HiGHS works
        with absolute tolerances of 1e-6.
    allowed : ndarray of bool
        Hosts to consider, shape ``[E, V]``; what doesn't fit alone or is out of reach is left out anyway.
    relative_gap : float, optional
        HiGHS stops when its gap relative to ``cost`` is at most this.
    time_limit_s : float, optional
        Wall-clock limit of each run of HiGHS.
    node_limit : int, optional
        Limit of each run's branch-and-bound tree; unlike a time limit, the same on every machine.

    Raises
    ------
    PlacementError
        If HiGHS fails.
    """
    from scipy.optimize import LinearConstraint
    from scipy.sparse import coo_array

    num_experts, num_devices = cost.shape
    allowed = allowed & problem.fits_alone
    if not allowed.any(axis=1).all():
        return Solution(None, np.inf)
    experts, devices = np.nonzero(allowed)
    columns = np.arange(experts.size)
    rows = [LinearConstraint(coo_array((np.ones(columns.size), (experts, columns))), 1, 1)]
    for resource in problem.resources:
        # What fits alone is at most 1 of its row; where the limit is 0, it is 0.
        share = resource.need[experts] / np.where(resource.limit > 0, resource.limit, 1.0)[devices]
        row = coo_array((share, (devices, columns)), shape=(num_devices, columns.size))
        rows.append(LinearConstraint(row, -np.inf, 1))
    integrality = np.ones(columns.size, dtype=np.int64)
    while True:
        result = _highs(
            cost[allowed],
            integrality,
            rows,
            mip_rel_gap=relative_gap,
            time_limit=time_limit_s,
            node_limit=node_limit,
        )
        if result.status == 2:
            return Solution(None, np.inf)
        # SciPy has no status for a node limit that was reached: it calls it 4, "other".
        if result.status not in (0, 1) and node_limit is None:
            raise PlacementError(f"HiGHS failed on the placement: {result.message}")
        margin = _GAP_TOLERANCE + _DUAL_TOLERANCE * num_experts
        bound = 0.0 if result.mip_dual_bound is None else max(0.0, float(result.mip_dual_bound) - margin)
        if result.x is None:
            return Solution(None, bound)
        hosts = _rounded(result.x, allowed)
        broken = problem.violations(hosts)
        if not broken or result.status != 0:
            return Solution(None if broken else hosts, bound)
        for violation in broken:
            cover = (devices == violation.device) & (hosts[experts] == violation.device)
            rows.append(LinearConstraint(cover.astype(np.float64)[None, :], -np.inf, cover.sum() - 1))


def least_overrun_hosts(problem: PlacementProblem) -> IntArray | None:
    """Search for the placement that overruns memory and compute least, as a share of what the experts need.

    Minimises Σ_v (bytes over on v) / Σ_e b_e + (FLOP/s over on v) / Σ_e load_e; reach is kept. Every
    expert must have a host within reach. Proving the least can take for ever, so the search ends at
    ``NODE_LIMIT``.

    Returns
    -------
    ndarray of int or None
        Hosts, shape ``[E]``; None if the search found none.
    """
    from scipy.optimize import LinearConstraint
    from scipy.sparse import coo_array, eye_array, hstack

    num_devices = problem.flop_per_s.size
    experts, devices = np.nonzero(problem.reachable)
    columns = np.arange(experts.size)
    one_host = coo_array((np.ones(columns.size), (experts, columns)))
    nothing, over = coo_array((num_devices, num_devices)), -eye_array(num_devices)
    rows = [LinearConstraint(hstack([one_host, coo_array((one_host.shape[0], 2 * num_devices))]), 1, 1)]
    for resource, slack in zip(problem.resources, ([over, nothing], [nothing, over]), strict=True):
        total = float(resource.need.sum()) or 1.0
        share = coo_array((resource.need[experts] / total, (devices, columns)), shape=(num_devices, columns.size))
        rows.append(LinearConstraint(hstack([share, *slack]), -np.inf, np.minimum(resource.limit / total, 1.0)))
    cost = np.concatenate([np.zeros(columns.size), np.ones(2 * num_devices)])
    integrality = np.repeat([1, 0], [columns.size, 2 * num_devices])
    result = _highs(cost, integrality, rows, node_limit=NODE_LIMIT)
    return None if result.x is None else _rounded(result.x[: columns.size], problem.reachable)


def _highs(cost: FloatArray, integrality: IntArray, rows: list[Any], **options: Any) -> Any:
    from scipy.optimize import Bounds, milp

    given: Any = {name: value for name, value in options.items() if value is not None}
    return milp(cost, integrality=integrality, bounds=Bounds(0, 1), constraints=rows, options=given)


def _rounded(x: FloatArray, allowed: BoolArray) -> IntArray:
    shares = np.full(allowed.shape, -np.inf)
    shares[allowed] = x
    hosts: IntArray = shares.argmax(axis=1)
    return hosts
