"""Stage 3 without training: baselines in which a rule takes the gate's place."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, ClassVar

from simpy.events import Event

from nmoe_sim.scenario.scenario import ModelSection, Scenario
from nmoe_sim.training.federation.history import History
from nmoe_sim.training.fedgate import STAGE
from nmoe_sim.training.gating import OracleGating, OwnExpert
from nmoe_sim.training.learning import Learning, settings_of
from nmoe_sim.training.stage import Stage

if TYPE_CHECKING:
    from nmoe_sim.engine.topology import Topology


class _Ruled(Stage):
    """No gate, so nothing to train, send, hold or compute."""

    def experts_held(self, num_experts: int) -> int:
        """Return 1: the client's own."""
        return 1

    def reshaped(self, model: ModelSection, scenario: Scenario) -> ModelSection:
        """See ``Stage``."""
        from nmoe_sim.nmoe.reshaped import NoGate

        return model.model_copy(update={"gate": NoGate()})

    def clock(self, learning: Learning) -> Generator[Event, Any, History]:
        """See ``Stage``; takes no time."""
        yield learning.simulation.env.timeout(0.0)
        return learning.clock(STAGE).history

    def values(self, learning: Learning, history: History) -> None:
        """See ``Stage``."""
        learning.store.compute(STAGE, settings_of(self), lambda _: {})


class OwnGate(_Ruled):
    """Every client asks its own expert, whatever ``inference.routing``."""

    kind: ClassVar[str] = "own"

    def values(self, learning: Learning, history: History) -> None:
        """See ``Stage``."""
        super().values(learning, history)
        learning.gating = OwnExpert()
        learning.peers = [[client] for client in range(len(learning.clients))]


class OracleGate(_Ruled):
    """Asks, for each sample, the one expert that gives the true label the highest probability.

    It looks at the label, which no gate can: what could be had of these experts by asking one. It isn't the most
    that can be had: another expert may be right where this one isn't (``accuracy_best_expert``). Reports to the
    planner, free for all gates, are of such choices too.
    """

    kind: ClassVar[str] = "oracle"

    def check(self, scenario: Scenario, topology: Topology) -> None:
        """See ``Stage``."""
        super().check(scenario, topology)
        if scenario.inference.routing.kind == "local_only":
            raise ValueError(
                "the oracle names the expert to ask, and inference.routing 'local_only' asks another; "
                "set inference.routing.kind to top_k"
            )

    def values(self, learning: Learning, history: History) -> None:
        """See ``Stage``."""
        super().values(learning, history)
        learning.gating = OracleGating()
