"""A server update of one's own: a step of limited length."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.nmoe.server_update import ServerUpdateSpec
from nmoe_sim.scenario.quantities import Positive

if TYPE_CHECKING:
    from nmoe_sim.nmoe.cohort import State


class Bounded(ServerUpdateSpec):
    """The mean, or as far towards it as ``max_norm`` allows: x ← x + Δ min(1, max_norm / ‖Δ‖)."""

    kind: ClassVar[str] = "bounded"

    max_norm: Positive = 1.0
    """Largest L2 norm of a step, over all tensors."""

    def step(self, current: State, mean: State, memory: State) -> tuple[State, State]:
        """Return the new values of the tensors of ``mean``; nothing is remembered."""
        norm = math.sqrt(sum(float((mean[name] - current[name]).double().square().sum()) for name in mean))
        if norm <= self.max_norm:
            return mean, memory
        return {name: current[name] + (mean[name] - current[name]) * (self.max_norm / norm) for name in mean}, memory


FAMILIES = {"server_update": [Bounded]}
