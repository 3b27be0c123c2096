"""A gate training of one's own: none. The baseline every trained gate must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.training.federation.history import History
from nmoe_sim.training.fedgate import STAGE
from nmoe_sim.training.learning import Learning
from nmoe_sim.training.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Generator

    from simpy.events import Event


class Untrained(Stage):
    """Every client keeps the gate it starts with; nothing moves, nothing is computed."""

    kind: ClassVar[str] = "untrained"

    def clock(self, learning: Learning) -> Generator[Event, None, History]:
        """Take no time and hold no rounds."""
        yield learning.simulation.env.timeout(0.0)
        return learning.clock(STAGE).history

    def experts_held(self, num_experts: int) -> int:
        """Hold the own expert only."""
        return 1

    def values(self, learning: Learning, history: History) -> None:
        """Leave what later stages read: the state of every client's gate."""
        learning.gates = [learning.gate.state_dict()] * len(learning.clients)


FAMILIES = {"gate_training": [Untrained]}
