"""A gate training of one's own: none. The baseline every trained gate must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.scenario.spec import Spec
from nmoe_sim.training.learning import Learning
from nmoe_sim.training.rounds import Round

if TYPE_CHECKING:
    from collections.abc import Generator

    from simpy.events import Event


class Untrained(Spec):
    """Every client keeps the gate it starts with; nothing moves, nothing is computed."""

    kind: ClassVar[str] = "untrained"

    def clock(self, learning: Learning) -> Generator[Event, None, list[Round]]:
        """Take no time and hold no rounds."""
        yield learning.simulation.env.timeout(0.0)
        return []

    def experts_held(self, num_experts: int) -> int:
        """Hold the own expert only."""
        return 1

    def values(self, learning: Learning, rounds: list[Round]) -> None:
        """Leave what later stages read: the state of every client's gate."""
        learning.gates = [learning.gate.state_dict()] * len(learning.clients)


FAMILIES = {"gate_training": [Untrained]}
