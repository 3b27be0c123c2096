"""Max-min fair rates by progressive filling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nmoe_sim.engine.sharing.media import FloatArray, IntArray

_TIE = 1e-12
"""Resources whose levels differ by less, relatively, are full at the same time."""


def max_min_rates(
    capacities: Mapping[str, float],
    routes: Sequence[Sequence[str]],
    caps: Sequence[float | None] | None = None,
) -> FloatArray:
    """Return the max-min fair rates of flows that share resources.

    No flow's rate can be raised without lowering that of a flow that has no more. All rates rise together;
    when a resource is full, or a flow at its cap, the flows concerned stay where they are and the others go on
    (progressive filling; Bertsekas & Gallager, Data Networks, 2nd ed., section 6.5.2).

    Parameters
    ----------
    capacities : mapping of str to float
        Capacity of each resource, such as a link in bit/s; infinite: no limit.
    routes : sequence of sequences of str
        Resources that each flow uses; one listed twice carries the flow twice. A flow without resources is limited by
        its cap alone.
    caps : sequence of float or None, optional
        Largest rate of each flow; None: no limit.

    Returns
    -------
    ndarray of float64 [number of flows]
        Rates in the unit of the capacities; infinite where nothing limits a flow.

    Raises
    ------
    ValueError
        If a route names an unknown resource, a capacity or cap is negative or not a number, or the numbers of
        routes and caps differ.

    Examples
    --------
    A flow over both links, and one more on each:

    >>> max_min_rates({"a": 1.0, "b": 3.0}, [["a", "b"], ["a"], ["b"]]).tolist()
    [0.5, 0.5, 2.5]
    """
    names = {name: i for i, name in enumerate(capacities)}
    for name, value in capacities.items():
        if not value >= 0:
            raise ValueError(f"capacity of {name!r} is {value}; it must be 0 or more")
    if caps is not None and len(caps) != len(routes):
        raise ValueError(f"{len(caps)} caps for {len(routes)} routes; give one each, or None")
    limits = np.full(len(routes), np.inf)
    for flow, cap in enumerate(caps or ()):
        if cap is not None:
            if not cap >= 0:
                raise ValueError(f"cap of route {flow} is {cap}; it must be 0 or more, or None")
            limits[flow] = cap
    try:
        resource = np.array([names[name] for route in routes for name in route], dtype=np.int64)
    except KeyError as error:
        raise ValueError(f"a route uses {error.args[0]!r}, which has no capacity; known are {list(names)}") from None
    flow_of = np.repeat(np.arange(len(routes)), [len(route) for route in routes])
    capacity = np.array(list(capacities.values()), dtype=np.float64)
    return fill(resource, flow_of, np.ones(len(resource)), capacity, limits)


def fill(resource: IntArray, flow: IntArray, weight: FloatArray, capacity: FloatArray, cap: FloatArray) -> FloatArray:
    """Return max-min fair rates of flows that use resources in different proportions.

    Parameters
    ----------
    resource, flow : ndarray of int64 [U]
        Who uses what.
    weight : ndarray of float64 [U]
        How much of the resource a unit of the flow's rate takes, > 0.
    capacity : ndarray of float64 [R]
        Of each resource.
    cap : ndarray of float64 [F]
        Largest rate of each flow.

    Returns
    -------
    ndarray of float64 [F]

    Notes
    -----
    Every pass settles the flows of at least one resource, or all those whose cap is below the level at which
    the next resource is full. A pass is O(U).
    """
    rate = np.zeros(len(cap))
    rising = np.ones(len(cap), dtype=bool)
    while rising.any():
        up = rising[flow]
        taken = np.bincount(resource, np.where(up, 0.0, weight * rate[flow]), len(capacity))
        slope = np.bincount(resource, np.where(up, weight, 0.0), len(capacity))
        room = np.maximum(capacity - taken, 0.0)
        level = np.divide(room, slope, out=np.full(len(capacity), np.inf), where=slope > 0)
        lowest = level.min(initial=np.inf)
        settled = rising & (cap <= lowest)
        if settled.any():
            rate[settled] = cap[settled]
        else:
            full = level <= lowest * (1.0 + _TIE)
            settled[flow[up & full[resource]]] = True
            rate[settled] = lowest
        rising &= ~settled
    return rate
