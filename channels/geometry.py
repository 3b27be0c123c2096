"""Where the two ends of each link are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class LinkGeometry:
    """Where the two ends of each link are; build it with ``between`` unless the ends are in order.

    Parameters
    ----------
    distance_2d_m : ndarray of float64 [L]
        Horizontal distance.
    height_a_m, height_b_m : ndarray of float64 [L]
        Antenna heights; the ``a`` end is the higher one and takes the base station's part.

    Raises
    ------
    ValueError
        The arrays are not one-dimensional and of one length, or a ``b`` end is the higher one.
    """

    distance_2d_m: NDArray[np.float64]
    height_a_m: NDArray[np.float64]
    height_b_m: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = np.shape(self.distance_2d_m)
        if len(shape) != 1 or np.shape(self.height_a_m) != shape or np.shape(self.height_b_m) != shape:
            raise ValueError("distance_2d_m, height_a_m and height_b_m must be one-dimensional and of one length")
        if np.any(self.height_a_m < self.height_b_m):
            raise ValueError("the a end of a link must be the higher antenna; LinkGeometry.between puts ends in order")

    @classmethod
    def between(cls, distance_2d_m: ArrayLike, height_1_m: ArrayLike, height_2_m: ArrayLike) -> LinkGeometry:
        """Geometry of links between antennas at two heights, in whichever order; arguments broadcast to [L]."""
        arrays = (np.asarray(x, dtype=np.float64) for x in (distance_2d_m, height_1_m, height_2_m))
        distance, height_1, height_2 = np.broadcast_arrays(*map(np.atleast_1d, arrays))
        return cls(distance.copy(), np.maximum(height_1, height_2), np.minimum(height_1, height_2))

    @property
    def distance_3d_m(self) -> NDArray[np.float64]:
        """Distance between the antennas [L]."""
        return np.asarray(np.hypot(self.distance_2d_m, self.height_a_m - self.height_b_m))

    def __len__(self) -> int:
        return len(self.distance_2d_m)
