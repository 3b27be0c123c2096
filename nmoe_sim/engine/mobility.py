"""Family ``mobility``: how devices move; base stations never do."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from channels import mobility
from channels.laws import UniformDraws
from channels.mobility import Box, Trajectory
from nmoe_sim.engine.input_files import Columns, FromFile
from nmoe_sim.engine.topology import Topology
from nmoe_sim.errors import InputError
from nmoe_sim.scenario.quantities import NonNegative
from nmoe_sim.scenario.spec import Spec

FloatArray = NDArray[np.float64]
Step = Annotated[float, Field(ge=1e-3, le=1e6)]
Speed = Annotated[float, Field(gt=0, le=1e4)]


class MobilitySpec(Spec):
    """Base of the family: implement ``trajectory``.

    ``is_static`` says that nobody ever moves; ``known_until_s`` how far positions are known.
    """

    is_static: ClassVar[bool] = False

    step_s: Step = 0.1
    """How often devices are looked at: sidelinks come and go at its multiples only."""
    record_every_s: Step = 1.0
    """Time from one row of a device to the next in the table ``positions``."""

    @property
    def known_until_s(self) -> float:
        """Simulated time up to which positions are known; a run that gets beyond fails."""
        return math.inf

    @abstractmethod
    def trajectory(self, start_m: FloatArray, bounds_m: Box, uniform: UniformDraws, names: Sequence[str]) -> Trajectory:
        """Return where the devices are over time.

        Parameters
        ----------
        start_m : ndarray of float64 [N, 2]
            Where the topology has put them.
        bounds_m : Box
            West, south, east and north end of where they may be.
        uniform : UniformDraws
            Source of all draws.
        names : sequence of str [N]

        Raises
        ------
        InputError
            If devices can't move like this here.
        """


def trajectory_of(spec: MobilitySpec, topology: Topology, uniform: UniformDraws) -> Trajectory:
    """Return where a topology's devices are over time, in its order, from the places it has put them."""
    start_m = np.array([(node.x_m, node.y_m) for node in topology.devices])
    return spec.trajectory(start_m, topology.bounds_m, uniform, [node.name for node in topology.devices])


@contextmanager
def _in_the_box() -> Iterator[None]:
    """Say what a user can do where the topology's box has no room."""
    try:
        yield
    except ValueError as error:
        raise InputError(
            f"devices can't move here: {error}; use another topology or mobility", key="mobility"
        ) from error


class Static(MobilitySpec):
    """Nobody moves."""

    kind: ClassVar[str] = "static"
    is_static: ClassVar[bool] = True

    def trajectory(self, start_m: FloatArray, bounds_m: Box, uniform: UniformDraws, names: Sequence[str]) -> Trajectory:
        """See the base class."""
        return mobility.Static(start_m)


class RandomWaypoint(MobilitySpec):
    """Devices go straight to a point drawn in the topology's box, pause there, go on to the next.

    Each leg has a speed of its own, uniform between the two. A start isn't stationary: in the long run devices are
    more often in the middle of the box, and slow legs, which last longer, lower the mean speed to
    (v_max - v_min) / ln(v_max / v_min). The defaults are people: 0.8 m/s (3 km/h, TR 38.901) to 1.5 m/s.
    """

    kind: ClassVar[str] = "random_waypoint"

    min_speed_m_per_s: Speed = 0.8
    """Slowest leg; above 0, or the mean speed would decay for ever."""
    max_speed_m_per_s: Speed = 1.5
    """Fastest leg."""
    pause_s: NonNegative = 0.0
    """Stay at each point."""

    @model_validator(mode="after")
    def _rising(self) -> RandomWaypoint:
        if self.min_speed_m_per_s > self.max_speed_m_per_s:
            raise ValueError(
                f"min_speed_m_per_s of {self.min_speed_m_per_s:g} is more than max_speed_m_per_s of "
                f"{self.max_speed_m_per_s:g}; swap them"
            )
        return self

    def trajectory(self, start_m: FloatArray, bounds_m: Box, uniform: UniformDraws, names: Sequence[str]) -> Trajectory:
        """See the base class."""
        with _in_the_box():
            return mobility.RandomWaypoint(
                start_m,
                bounds_m,
                min_speed_m_per_s=self.min_speed_m_per_s,
                max_speed_m_per_s=self.max_speed_m_per_s,
                pause_s=self.pause_s,
                uniform=uniform,
            )


class GaussMarkov(MobilitySpec):
    """Devices whose velocity remembers: an autoregressive process around a mean velocity (Liang and Haas 1999).

    At the ends of the topology's box a device is mirrored, its mean velocity too.
    """

    kind: ClassVar[str] = "gauss_markov"

    memory: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Correlation of a device's velocity from one update to the next; 0: none, 1: it never changes."""
    mean_speed_m_per_s: Annotated[float, Field(ge=0, le=1e4)] = 1.0
    """Speed of the mean velocity; the mean of the speed is above it, as velocities scatter."""
    mean_direction_deg: Annotated[float, Field(ge=-360, le=360)] | None = None
    """Direction of the mean velocity, counterclockwise from east; null: each device draws its own."""
    velocity_std_m_per_s: Annotated[float, Field(ge=0, le=1e4)] = 0.3
    """Standard deviation of each of the velocity's two components."""
    update_s: Step = 1.0
    """Time from one change of velocity to the next."""

    def trajectory(self, start_m: FloatArray, bounds_m: Box, uniform: UniformDraws, names: Sequence[str]) -> Trajectory:
        """See the base class; direction of device n is drawn from ("direction", n)."""
        if self.mean_direction_deg is None:
            angle = 2 * np.pi * uniform("direction", np.arange(len(start_m)))
        else:
            angle = np.full(len(start_m), np.deg2rad(self.mean_direction_deg))
        with _in_the_box():
            return mobility.GaussMarkov(
                start_m,
                bounds_m,
                memory=self.memory,
                mean_velocity_m_per_s=self.mean_speed_m_per_s * np.column_stack([np.cos(angle), np.sin(angle)]),
                velocity_std_m_per_s=self.velocity_std_m_per_s,
                step_s=self.update_s,
                uniform=uniform,
            )


@dataclass(frozen=True, eq=False)
class _Rows:
    """Times [K] and positions [K, 2] of each node in a file."""

    t_s: dict[str, FloatArray]
    xy_m: dict[str, FloatArray]


class Trace(FromFile, MobilitySpec):
    """Devices that move as a file says, straight from one row's place to the next.

    The file is CSV (with a header) or Parquet, told apart by its ending, with the columns ``t_s`` (simulated time,
    at least 0), ``node`` (a device's name), ``x_m`` and ``y_m``, in any order of rows; other columns are left alone.
    A device stands at the file's place from time 0 on, wherever the topology has put it. Places may be outside the
    topology's box.
    """

    kind: ClassVar[str] = "trace"
    section: ClassVar[str] = "mobility"

    hold: bool = False
    """Whether devices stand still before their first row, after their last, and those without rows for good;
    else the run must end before the rows do, and every device needs a row at time 0."""

    @classmethod
    def check_content(cls, file: str, content: bytes) -> None:
        """See the base class."""
        _parse(file, content)

    @cached_property
    def _rows(self) -> _Rows:
        return _parse(self.file, self.content())

    @property
    def known_until_s(self) -> float:
        """See the base class."""
        return math.inf if self.hold else min(float(t[-1]) for t in self._rows.t_s.values())

    def trajectory(self, start_m: FloatArray, bounds_m: Box, uniform: UniformDraws, names: Sequence[str]) -> Trajectory:
        """See the base class; positions asked for ahead of the clock, beyond the rows, are the last ones.

        Raises
        ------
        InputError
            If the file has a node that is no device here or, unless ``hold``, a device without a row at time 0.
        """
        rows = self._rows
        if strangers := [node for node in rows.t_s if node not in names]:
            raise self.input_error(
                f"{self.file} has rows of {strangers[0]!r}, which is no device of this topology "
                f"({names[0]} … {names[-1]}); rename it or leave the rows out"
            )
        if not self.hold and (late := [name for name in names if name not in rows.t_s or rows.t_s[name][0] > 0]):
            raise self.input_error(
                f"{self.file} has no row of {late[0]} at t_s 0; add one, or set hold: true to let devices stand still "
                "before their first row"
            )
        return mobility.Trace(
            [rows.t_s.get(name, np.zeros(1)) for name in names],
            [rows.xy_m.get(name, place[None]) for name, place in zip(names, start_m, strict=True)],
            names=names,
            hold=True,
        )


def _parse(file: str, content: bytes) -> _Rows:
    columns = Columns(
        file,
        content,
        {
            "t_s": "give a finite time of at least 0, in seconds",
            "node": "give the name of a device, such as dev0",
            "x_m": "give a finite number of metres, at most 1e9 in size",
            "y_m": "give a finite number of metres, at most 1e9 in size",
        },
    )
    t_s = columns.numbers("t_s", low=0.0)
    xy_m = np.column_stack([columns.numbers(name, -1e9, 1e9) for name in ("x_m", "y_m")])
    codes, names = columns.texts("node")
    order = np.lexsort((t_s, codes))
    again = (np.diff(codes[order]) == 0) & (np.diff(t_s[order]) == 0)
    if again.any():
        row = int(order[1:][again].min())
        raise columns.error("t_s", row, f"{names[codes[row]]} has two rows of that time; keep one")
    parts = np.split(order, np.searchsorted(codes[order], np.arange(1, len(names))))
    return _Rows(
        {name: t_s[part] for name, part in zip(names, parts, strict=True)},
        {name: xy_m[part] for name, part in zip(names, parts, strict=True)},
    )
