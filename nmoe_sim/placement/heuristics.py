"""Placements built one expert at a time."""

from __future__ import annotations

import numpy as np

from nmoe_sim.placement.problem import BoolArray, IntArray, PlacementProblem

_UNPLACED = -1


def has_room(problem: PlacementProblem, hosts: IntArray, experts: IntArray) -> BoolArray:
    """Whether device v can take expert e on top of what is placed, ``[len(experts), V]``.

    Parameters
    ----------
    problem : PlacementProblem
        The problem.
    hosts : ndarray of int
        Hosts so far, shape ``[E]``; -1 for an expert that has none yet.
    experts : ndarray of int
        Unplaced experts to try.
    """
    fits: BoolArray = problem.reachable[experts].copy()
    for resource in problem.resources:
        fits &= resource.used(hosts) + resource.need[experts, None] <= resource.limit
    return fits


def greedy_hosts(problem: PlacementProblem) -> tuple[IntArray, int | None]:
    """Place the expert that would lose most by waiting, at its cheapest host; repeat.

    What an expert would lose is its regret: cost at its second cheapest host with room minus cost at
    its cheapest (Martello and Toth 1990, ch. 7). When an expert finds no room anywhere, one placed
    expert is moved to make room, at the least added cost.

    Returns
    -------
    hosts : ndarray of int
        Shape ``[E]``; -1 for experts left without a host.
    stuck : int or None
        The expert that no single move makes room for; None when all are placed.
    """
    hosts = np.full(problem.owner.size, _UNPLACED)
    while (waiting := np.flatnonzero(hosts == _UNPLACED)).size:
        cost = np.where(has_room(problem, hosts, waiting), problem.cost[waiting], np.inf)
        cheapest = cost.min(axis=1)
        if np.isinf(cheapest).any():
            stuck = int(waiting[np.isinf(cheapest).argmax()])
            if not _make_room(problem, hosts, stuck):
                return hosts, stuck
            continue
        choice = cost.argmin(axis=1)
        cost[np.arange(waiting.size), choice] = np.inf
        first = (cost.min(axis=1) - cheapest).argmax()
        hosts[waiting[first]] = choice[first]
    return hosts, None


def _make_room(problem: PlacementProblem, hosts: IntArray, expert: int) -> bool:
    """Place ``expert`` where one other expert leaves, in place; False if no such move exists."""
    best_cost, best_hosts = np.inf, None
    for other in np.flatnonzero(hosts != _UNPLACED):
        trial, host = hosts.copy(), hosts[other]
        trial[other] = _UNPLACED
        if not has_room(problem, trial, np.array([expert]))[0, host]:
            continue
        trial[expert] = host
        cost = np.where(has_room(problem, trial, np.array([other]))[0], problem.cost[other], np.inf)
        added = problem.cost[expert, host] + cost.min() - problem.cost[other, host]
        if added < best_cost:
            trial[other] = cost.argmin()
            best_cost, best_hosts = added, trial
    if best_hosts is None:
        return False
    hosts[:] = best_hosts
    return True


def random_hosts(problem: PlacementProblem, rng: np.random.Generator, tries: int) -> IntArray | None:
    """Place experts in random order, each at a random host that has room; None after ``tries`` dead ends.

    Every feasible placement can come out, but not all with the same probability.
    """
    for _ in range(tries):
        hosts = np.full(problem.owner.size, _UNPLACED)
        for expert in rng.permutation(hosts.size):
            options = np.flatnonzero(has_room(problem, hosts, np.array([expert]))[0])
            if not options.size:
                break
            hosts[expert] = options[rng.integers(options.size)]
        else:
            return hosts
    return None


def prefer_owners(problem: PlacementProblem, hosts: IntArray) -> IntArray:
    """Send experts back to their owners where that costs nothing: a move is bytes over the air."""
    hosts = hosts.copy()
    for expert, (host, owner) in enumerate(zip(hosts.tolist(), problem.owner.tolist(), strict=True)):
        if host != owner and problem.cost[expert, owner] == problem.cost[expert, host]:
            hosts[expert] = _UNPLACED
            hosts[expert] = owner if has_room(problem, hosts, np.array([expert]))[0, owner] else host
    return hosts
