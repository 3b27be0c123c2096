"""Where the nodes of a network are, over time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sites:
    """Nodes 0 to N-1: names, heights, identities in random streams, and positions over time.

    Parameters
    ----------
    names : tuple of str
        Name of each node.
    heights_m : ndarray of float64 [N]
        Antenna heights.
    ids : ndarray of int64 [N]
        Identity of each node in random streams, 0 to 2^24 - 1: its draws stay the same whatever other nodes there are.
    is_station : ndarray of bool [N]
        Which nodes are base stations.
    positions_m : callable
        ``positions_m(t_s [T])`` gives [T, N, 2] in the plane.
    step_s : float
        How often positions are looked at: in between they count as they were; infinite: nobody ever moves.

    Raises
    ------
    ValueError
        The arrays have not one element a node, or two nodes share an identity.
    """

    names: tuple[str, ...]
    heights_m: FloatArray
    ids: NDArray[np.int64]
    is_station: NDArray[np.bool_]
    positions_m: Callable[[FloatArray], FloatArray]
    step_s: float = math.inf

    def __post_init__(self) -> None:
        num_nodes = len(self.names)
        if any(array.shape != (num_nodes,) for array in (self.heights_m, self.ids, self.is_station)):
            raise ValueError(f"heights_m, ids and is_station need one element for each of {num_nodes} names")
        if len(np.unique(self.ids)) != num_nodes or np.any((self.ids < 0) | (self.ids >= 1 << 24)):
            raise ValueError("ids must be different integers from 0 to 2^24 - 1")

    @classmethod
    def static(
        cls,
        xy_m: ArrayLike,
        heights_m: ArrayLike,
        *,
        names: tuple[str, ...] | None = None,
        ids: ArrayLike | None = None,
        is_station: ArrayLike | bool = False,
    ) -> Sites:
        """Nodes that stay at ``xy_m`` [N, 2]; other arguments broadcast, identities count from 0."""
        xy = np.array(xy_m, dtype=np.float64).reshape(-1, 2)
        num_nodes = len(xy)
        return cls(
            names or tuple(str(i) for i in range(num_nodes)),
            np.broadcast_to(np.asarray(heights_m, dtype=np.float64), num_nodes).copy(),
            np.arange(num_nodes) if ids is None else np.array(ids, dtype=np.int64),
            np.broadcast_to(np.asarray(is_station, dtype=np.bool_), num_nodes).copy(),
            lambda t_s: np.broadcast_to(xy, (len(t_s), *xy.shape)),
        )

    def moving(self, positions_m: Callable[[FloatArray], FloatArray], step_s: float) -> Sites:
        """Return the same nodes on the move."""
        return replace(self, positions_m=positions_m, step_s=step_s)

    @property
    def is_static(self) -> bool:
        """Whether nobody ever moves."""
        return math.isinf(self.step_s)

    def look(self, t_s: ArrayLike) -> NDArray[np.int64]:
        """Return the number of the last look at positions before times, of the same shape; 0 where nobody moves."""
        times_s = np.asarray(t_s, dtype=np.float64)
        if self.is_static:
            return np.zeros(times_s.shape, np.int64)
        return np.floor(times_s / self.step_s + 1e-9).astype(np.int64)  # a look at its own time is over

    def look_s(self, look: ArrayLike) -> FloatArray:
        """Return the times of looks, of the same shape."""
        looks = np.asarray(look)
        return np.zeros(looks.shape) if self.is_static else np.asarray(looks * self.step_s)

    def at(self, t_s: ArrayLike) -> FloatArray:
        """Return positions [T, N, 2] at the last look before times [T]."""
        return self.positions_m(self.look_s(self.look(t_s)))

    def __len__(self) -> int:
        return len(self.names)
