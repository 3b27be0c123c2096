"""What comes out of placing experts: a placement, or what stands in its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.errors import RunError


class PlacementError(RunError):
    """A solver has no placement to offer; another one may have."""


class Infeasible(PlacementError):
    """No placement meets every constraint: proven."""


@dataclass(frozen=True)
class Violation:
    """A constraint that a placement breaks."""

    constraint: Literal["memory", "compute", "reach"]
    """Which one."""
    device: int
    """The host concerned."""
    excess: float
    """How much is missing: bytes; FLOP/s; for ``reach``, the demand in Hz that can't get there."""
    message: str
    """One sentence with names and units."""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, eq=False)
class Placement:
    """A feasible answer to a ``PlacementProblem``."""

    hosts: NDArray[np.int64]
    """Device index of each expert's host, shape ``[E]``."""
    objective: float
    """J, in expert-seconds per second."""
    mean_delay_s: float | None
    """J over the total demand: mean delay of one ask of one expert; None where nothing is asked."""
    bound: float | None
    """No feasible placement has a lower objective than this; None where nothing was proven."""
    solver: str
    """Kind of the solver that found it."""

    @property
    def gap(self) -> float | None:
        """Relative distance ``(objective - bound) / |objective|``; None without a bound."""
        if self.bound is None:
            return None
        return 0.0 if self.objective == self.bound else (self.objective - self.bound) / abs(self.objective)


def si(value: float, unit: str) -> str:
    """Text of ``value`` with an SI prefix: ``si(2.34e6, "B")`` is ``"2.3 MB"``."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.1f} {prefix}{unit}"
    return f"{value:.4g} {unit}"
