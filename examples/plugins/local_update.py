"""A local update of one's own: SCAFFOLD that corrects by a part only."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.nmoe.local_update import Scaffold
from nmoe_sim.scenario.quantities import Fraction

if TYPE_CHECKING:
    from nmoe_sim.nmoe.cohort import State


class DampedScaffold(Scaffold):
    """SCAFFOLD with the offset β (c − c_i): between plain local training and SCAFFOLD, where variates are noisy.

    The control variates themselves are kept as in SCAFFOLD: c_i⁺ is the mean gradient, for which the offset that
    was in the steps is taken out again.
    """

    kind: ClassVar[str] = "damped_scaffold"

    strength: Fraction = 0.5
    """β; 1 is SCAFFOLD."""

    def offset(self, server: State, client: State) -> State:
        """Return β (c − c_i)."""
        return {name: self.strength * shift for name, shift in super().offset(server, client).items()}

    def new_variate(
        self, server: State, client: State, received: State, trained: State, num_steps: int, lr: float
    ) -> State:
        """Return the mean step without its offset."""
        if num_steps == 0:
            return client
        offset = self.offset(server, client)
        return {name: (received[name] - trained[name]) / (num_steps * lr) - offset[name] for name in client}


FAMILIES = {"local_update": [DampedScaffold]}
