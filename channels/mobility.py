"""Where nodes are over time: trajectories as functions of time.

``positions_m(t_s)`` gives the same positions whatever has been asked before: legs and steps are drawn
from counters, lazily, and only cached. Times are at least 0 and start with the given positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.laws import UniformDraws

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Box = tuple[float, float, float, float]
"""West, south, east and north end of a box in the plane, m."""


class Trajectory(Protocol):
    """Positions of N nodes as a function of time."""

    def positions_m(self, t_s: ArrayLike) -> FloatArray:
        """Positions at times [T] ≥ 0, in any order: [T, N, 2]."""
        ...


class Static:
    """Nodes that stay where they are.

    Parameters
    ----------
    start_m : array_like [N, 2]
    """

    def __init__(self, start_m: ArrayLike) -> None:
        self._xy_m = _places(start_m)

    def positions_m(self, t_s: ArrayLike) -> FloatArray:
        """See ``Trajectory``."""
        return np.tile(self._xy_m, (len(_times(t_s)), 1, 1))


class RandomWaypoint:
    """Straight legs to waypoints uniform in a box, at a speed of their own, with a pause at each.

    Source: Johnson and Maltz 1996; speeds at least ``min_speed_m_per_s`` > 0 as Yoon, Liu and Noble (2003)
    ask: the mean speed then settles at ``mean_speed_m_per_s`` instead of decaying to 0. Left out: a stationary
    start. Nodes start where they are put, on their first leg, so speeds and positions first move towards
    their long-run distribution, which is denser in the middle of the box (Bettstetter, Resta and Santi 2003).

    Parameters
    ----------
    start_m : array_like [N, 2]
        Positions at time 0, inside the box.
    bounds_m : Box
    min_speed_m_per_s, max_speed_m_per_s : float
        The speed of a leg is uniform between the two.
    pause_s : float
        Stay at a waypoint.
    uniform : UniformDraws
        Leg k of node n is drawn from ("waypoint", n, k, …).

    Raises
    ------
    ValueError
        If speeds or box make no sense, or a start is outside the box.
    """

    def __init__(
        self,
        start_m: ArrayLike,
        bounds_m: Box,
        *,
        min_speed_m_per_s: float,
        max_speed_m_per_s: float,
        pause_s: float,
        uniform: UniformDraws,
    ) -> None:
        start = _places(start_m)
        low_m, size_m = _box(bounds_m, start)
        if not size_m.any():
            raise ValueError("the box is a point; a random waypoint needs room")
        if not 0.0 < min_speed_m_per_s <= max_speed_m_per_s:
            raise ValueError(f"speeds must rise from above 0, got {min_speed_m_per_s:g} to {max_speed_m_per_s:g} m/s")
        if pause_s < 0:
            raise ValueError(f"a pause is at least 0 s, got {pause_s:g}")
        self._low_m, self._size_m = low_m, size_m
        self._speed_m_per_s = (min_speed_m_per_s, max_speed_m_per_s)
        self._pause_s = pause_s
        self._uniform = uniform
        # leg k goes from waypoint k to waypoint k + 1 and ends with the pause there
        self._waypoint_m = start[:, None, :]  # [N, K + 1, 2]
        self._depart_s = np.zeros((len(start), 1))  # [N, K + 1]
        self._ride_s = np.empty((len(start), 0))  # [N, K]

    @property
    def mean_speed_m_per_s(self) -> float:
        """Long-run mean speed while under way: a slow leg lasts longer, so (v_max - v_min) / ln(v_max / v_min)."""
        low, high = self._speed_m_per_s
        return low if low == high else (high - low) / float(np.log(high / low))

    def positions_m(self, t_s: ArrayLike) -> FloatArray:
        """See ``Trajectory``; memory grows with the legs up to the latest time asked for."""
        times = _times(t_s)
        while times.size and len(self._depart_s) and self._depart_s[:, -1].min() <= times.max():
            self._draw_legs(max(16, self._ride_s.shape[1]))
        node = np.arange(len(self._depart_s))
        leg = _segment(self._depart_s, times)
        under_way_s = times[:, None] - self._depart_s[node, leg]
        done = np.minimum(under_way_s / self._ride_s[node, leg], 1.0)[..., None]
        from_m = self._waypoint_m[node, leg]
        return np.asarray(from_m + done * (self._waypoint_m[node, leg + 1] - from_m))

    def _draw_legs(self, count: int) -> None:
        node = np.arange(len(self._depart_s))[:, None]
        leg = self._ride_s.shape[1] + np.arange(count)
        place = np.stack([self._uniform("waypoint", node, leg, axis) for axis in (0, 1)], axis=-1)
        waypoint_m = np.concatenate([self._waypoint_m, self._low_m + self._size_m * place], axis=1)
        low, high = self._speed_m_per_s
        speed_m_per_s = low + (high - low) * self._uniform("waypoint", node, leg, 2)
        leg_m = np.hypot(*np.moveaxis(np.diff(waypoint_m[:, -count - 1 :], axis=1), -1, 0))
        ride_s = np.maximum(leg_m / speed_m_per_s, 1e-9)  # a leg to where one is still divides
        # cumsum adds in order from the last departure: how many legs come at once changes no bit
        ends_s = np.cumsum(np.concatenate([self._depart_s[:, -1:], ride_s + self._pause_s], axis=1), axis=1)
        self._waypoint_m = waypoint_m
        self._depart_s = np.concatenate([self._depart_s, ends_s[:, 1:]], axis=1)
        self._ride_s = np.concatenate([self._ride_s, ride_s], axis=1)


class GaussMarkov:
    """Velocities with memory: an autoregressive process, one for each component.

    v_{n+1} = α v_n + (1 - α) v̄ + σ √(1 - α²) w_n with standard normal w (Liang and Haas 1999), v_0 drawn from
    its stationary distribution N(v̄, σ²): the autocorrelation over k steps is α^k. Positions are the sum of
    v_n Δt, linear within a step. At the box's ends the path is mirrored, its mean velocity too.

    Parameters
    ----------
    start_m : array_like [N, 2]
        Positions at time 0, inside the box.
    bounds_m : Box
        It has room in both directions.
    memory : float
        α, from 0 (each step anew) to 1 (nothing ever changes).
    mean_velocity_m_per_s : array_like [2] or [N, 2]
        v̄.
    velocity_std_m_per_s : float
        σ of each component.
    step_s : float
        Δt.
    uniform : UniformDraws
        Step n of a node is drawn from ("velocity", node, n, axis).

    Raises
    ------
    ValueError
        If a parameter is out of its range, or a start is outside the box.
    """

    def __init__(
        self,
        start_m: ArrayLike,
        bounds_m: Box,
        *,
        memory: float,
        mean_velocity_m_per_s: ArrayLike,
        velocity_std_m_per_s: float,
        step_s: float,
        uniform: UniformDraws,
    ) -> None:
        start = _places(start_m)
        self._low_m, self._size_m = _box(bounds_m, start)
        if not self._size_m.all():
            raise ValueError("the box has no room in one direction; Gauss-Markov motion needs it in both")
        if not (0.0 <= memory <= 1.0 and velocity_std_m_per_s >= 0.0 and step_s > 0.0):
            raise ValueError(
                f"memory must be from 0 to 1, the deviation at least 0, the step above 0; "
                f"got {memory:g}, {velocity_std_m_per_s:g} m/s, {step_s:g} s"
            )
        self._memory, self._step_s = memory, step_s
        self._mean = np.broadcast_to(np.asarray(mean_velocity_m_per_s, dtype=np.float64), start.shape)
        self._std = velocity_std_m_per_s
        self._uniform = uniform
        velocity = self._mean + self._std * self._normal(np.zeros(1, np.int64))[:, 0]
        self._states = [(start, velocity)]  # place (not mirrored) and velocity at the start of each chunk
        self._last = (-1, np.empty((0, *start.shape)))  # the chunk used last

    def positions_m(self, t_s: ArrayLike) -> FloatArray:
        """See ``Trajectory``; only every 256th step is kept, the others are worked out again."""
        times = _times(t_s)
        step = np.floor(times / self._step_s)
        part = (times / self._step_s - step)[:, None, None]
        chunk, row = np.divmod(step.astype(np.int64), _CHUNK)
        places_m = np.empty((len(times), *self._mean.shape))
        for number in np.unique(chunk).tolist():
            here = chunk == number
            path_m = self._path_m(number)
            places_m[here] = (1 - part[here]) * path_m[row[here]] + part[here] * path_m[row[here] + 1]
        # a triangle wave mirrors as often as it takes
        return self._low_m + self._size_m - np.abs((places_m - self._low_m) % (2 * self._size_m) - self._size_m)

    def _path_m(self, chunk: int) -> FloatArray:
        """Return the unmirrored places of a chunk's steps [_CHUNK + 1, N, 2]."""
        if self._last[0] != chunk:
            for number in range(min(chunk, len(self._states) - 1), chunk + 1):
                self._last = (number, self._walk(number))
        return self._last[1]

    def _walk(self, chunk: int) -> FloatArray:
        place_m, velocity = self._states[chunk]
        normal = self._normal(chunk * _CHUNK + 1 + np.arange(_CHUNK))
        pull = (1.0 - self._memory) * self._mean
        kick = self._std * np.sqrt(1.0 - self._memory**2)
        path_m = np.empty((_CHUNK + 1, *place_m.shape))
        path_m[0] = place_m
        for n in range(_CHUNK):
            path_m[n + 1] = path_m[n] + velocity * self._step_s
            velocity = self._memory * velocity + pull + kick * normal[:, n]
        if chunk + 1 == len(self._states):
            self._states.append((path_m[-1], velocity))
        return path_m

    def _normal(self, steps: IntArray) -> FloatArray:
        from scipy.special import ndtri

        node = np.arange(len(self._mean))[:, None]
        return np.stack([ndtri(self._uniform("velocity", node, steps, axis)) for axis in (0, 1)], axis=-1)


class Trace:
    """Recorded positions, linear between two of them.

    Parameters
    ----------
    t_s, xy_m : sequence of array_like
        For each node its times [K], rising, and positions [K, 2].
    names : sequence of str, optional
        Names of the nodes, for messages; their numbers when left out.
    hold : bool
        Stay at the first position before its time, and at the last after; else both are errors.

    Raises
    ------
    ValueError
        If a node has no row, or its times don't rise.
    """

    def __init__(
        self,
        t_s: Sequence[ArrayLike],
        xy_m: Sequence[ArrayLike],
        *,
        names: Sequence[str] | None = None,
        hold: bool = False,
    ) -> None:
        self._names = tuple(names or map(str, range(len(t_s))))
        times, places = [_times(t) for t in t_s], [_places(xy) for xy in xy_m]
        for name, t, xy in zip(self._names, times, places, strict=True):
            if not len(t) or len(t) != len(xy) or np.any(np.diff(t) <= 0):
                raise ValueError(f"{name} needs at least one time, rising ones, and a position for each")
        longest = max(map(len, times), default=0)
        # padded: behind its last row a node is at its last position for ever
        self._t_s = np.array([[*t, *[np.inf] * (longest + 1 - len(t))] for t in times]).reshape(len(times), -1)
        self._xy_m = np.array([np.pad(xy, ((0, longest + 1 - len(xy)), (0, 0)), mode="edge") for xy in places])
        self._first_s, self._last_s = np.array([t[0] for t in times]), np.array([t[-1] for t in times])
        self._hold = hold

    def positions_m(self, t_s: ArrayLike) -> FloatArray:
        """See ``Trajectory``.

        Raises
        ------
        ValueError
            For a time that the trace doesn't cover, unless the ends are held.
        """
        times = _times(t_s)
        if not self._hold:
            outside = (times[:, None] < self._first_s) | (times[:, None] > self._last_s)
            if outside.any():
                t, n = np.argwhere(outside)[0]
                raise ValueError(
                    f"{self._names[n]} has positions from {self._first_s[n]:g} to {self._last_s[n]:g} s, "
                    f"none at {times[t]:g} s"
                )
        node = np.arange(len(self._t_s))
        times = np.maximum(times[:, None], self._first_s)
        row = _segment(self._t_s, times)
        since_s = times - self._t_s[node, row]
        part = (since_s / (self._t_s[node, row + 1] - self._t_s[node, row]))[..., None]
        from_m = self._xy_m[node, row]
        return np.asarray(from_m + part * (self._xy_m[node, row + 1] - from_m))


_CHUNK = 256
"""Steps of Gauss-Markov motion worked out at a time."""


def _segment(starts_s: FloatArray, t_s: FloatArray) -> IntArray:
    """Return for each time [T] or [T, N] and node [N] the last of its starts [N, K + 1] that is not later, below K."""
    times = t_s if t_s.ndim == 2 else t_s[:, None]
    node = np.arange(len(starts_s))
    low = np.zeros(np.broadcast_shapes(times.shape, node.shape), np.int64)
    high = np.full_like(low, starts_s.shape[1] - 1)
    while np.any(high - low > 1):
        middle = (low + high) // 2
        later = starts_s[node, middle] > times
        high, low = np.where(later, middle, high), np.where(later, low, middle)
    return low


def _times(t_s: ArrayLike) -> FloatArray:
    times = np.atleast_1d(np.asarray(t_s, dtype=np.float64))
    if times.ndim != 1 or not np.all((times >= 0) & np.isfinite(times)):
        raise ValueError("times must be one-dimensional, finite and at least 0")
    return times


def _places(xy_m: ArrayLike) -> FloatArray:
    places = np.array(xy_m, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] != 2 or not np.isfinite(places).all():
        raise ValueError(f"positions must be finite, of shape [N, 2], got {places.shape}")
    return places


def _box(bounds_m: Box, start_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a box's lower corner [2] and size [2]."""
    low_m, high_m = np.array(bounds_m[:2], dtype=np.float64), np.array(bounds_m[2:], dtype=np.float64)
    if not np.all(low_m <= high_m):
        raise ValueError(f"a box goes from west and south to east and north, got {bounds_m}")
    if np.any((start_m < low_m) | (start_m > high_m)):
        raise ValueError(f"a node starts outside the box {bounds_m}")
    return low_m, high_m - low_m
