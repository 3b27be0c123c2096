"""Pareto fronts: what can't be improved in one objective without losing in another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto_front(points: ArrayLike, *, maximise: Sequence[bool] | None = None) -> NDArray[np.bool_]:
    """Tell which points no other point dominates.

    A point dominates another if it is at least as good in every objective and better in one; so equal
    points are on the front together.

    Parameters
    ----------
    points : array_like [n, d]
        One row a point, one column an objective.
    maximise : sequence of bool [d], optional
        Objectives to maximise; all are minimised by default.

    Returns
    -------
    ndarray of bool [n]

    Raises
    ------
    ValueError
        For a missing value, which is neither better nor worse than another.
    """
    costs = _costs(points, maximise)
    # in this order nothing is dominated by what comes later, so every survivor is on the front
    order = np.lexsort(costs.T[::-1])
    left = costs[order]
    rows = np.arange(len(left))
    front = np.zeros(len(costs), dtype=bool)
    while len(left):
        first = left[0]
        front[order[rows[0]]] = True
        equal = np.all(left == first, axis=1)
        front[order[rows[equal]]] = True
        beyond = np.any(left < first, axis=1)
        left, rows = left[beyond], rows[beyond]
    return front


def hypervolume(points: ArrayLike, reference: ArrayLike, *, maximise: Sequence[bool] | None = None) -> float:
    """Return the volume that points dominate, as far as a reference point.

    Exact. Two objectives: a sum of rectangles. More: the recursion of While, Bradstreet and Barone ("A fast way of
    calculating exact hypervolumes", IEEE Transactions on Evolutionary Computation 16, 2012): each point adds its
    own box less what the points after it cover of that box. Its time grows fast with the number of objectives.

    Parameters
    ----------
    points : array_like [n, d]
        Need not be a front; what isn't better than the reference in every objective adds nothing.
    reference : array_like [d]
        The worst that still counts.
    maximise : sequence of bool [d], optional
        Objectives to maximise; all are minimised by default.

    Returns
    -------
    float
        In the product of the objectives' units; compare it only for one reference.
    """
    costs = _costs(points, maximise)
    worst = _costs(np.reshape(reference, (1, -1)), maximise)[0]
    if costs.shape[1] != worst.size:
        raise ValueError(f"points have {costs.shape[1]} objectives and the reference {worst.size}")
    gains = worst - costs
    return _volume(gains[np.all(gains > 0, axis=1)])


def _costs(points: ArrayLike, maximise: Sequence[bool] | None) -> NDArray[np.float64]:
    costs = np.array(points, dtype=np.float64)
    if costs.ndim != 2 or costs.shape[1] == 0:
        raise ValueError(f"points are an array [n, d], not of shape {costs.shape}")
    if np.isnan(costs).any():
        raise ValueError("a point has a missing value; leave such points out on purpose")
    if maximise is not None:
        if len(maximise) != costs.shape[1]:
            raise ValueError(f"{costs.shape[1]} objectives and {len(maximise)} answers whether to maximise them")
        costs[:, np.asarray(maximise, dtype=bool)] *= -1.0
    return costs


def _volume(gains: NDArray[np.float64]) -> float:
    """Return the volume of the union of boxes from the origin to points [n, d] > 0."""
    gains = np.unique(gains[pareto_front(-gains)], axis=0) if len(gains) else gains
    if not len(gains):
        return 0.0
    if gains.shape[1] == 1:
        return float(gains.max())
    if gains.shape[1] == 2:  # the first objective rises along a front, so the second falls
        return float(np.sum(np.diff(gains[:, 0], prepend=0.0) * gains[:, 1]))
    # the best in the last objective first: what covers its box is then cut to fewer distinct points
    gains = gains[np.argsort(-gains[:, -1], kind="stable")]
    return sum(float(np.prod(point)) - _volume(np.minimum(gains[i + 1 :], point)) for i, point in enumerate(gains))
