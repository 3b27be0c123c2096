"""What every stage of training is: a clock, values, and what it makes of the model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from simpy.events import Event

from nmoe_sim.scenario.scenario import ModelSection, Scenario
from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    from nmoe_sim.engine.topology import Topology
    from nmoe_sim.training.federation.history import History
    from nmoe_sim.training.learning import Learning


class Stage(Spec):
    """A stage of training, of one of the families ``extractor_training``, ``expert_training``, ``gate_training``.

    Subclasses implement ``clock`` and ``values``. The clock goes first: who moves and computes what, when. Then the
    values, which no time enters.
    """

    goes_with: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Kinds that the other stages must have, by key of ``training``; what isn't named may be anything."""

    @property
    def trains_experts(self) -> bool:
        """Tell, of stage 1, whether what it leaves in ``learning.heads`` can be the experts."""
        return False

    @property
    def heads_travel(self) -> bool:
        """Tell, of such a stage 1, whether heads are at the server in the end; if not, each client has its own."""
        return False

    def check(self, scenario: Scenario, topology: Topology) -> None:
        """Raise ValueError, with rule and remedy, where the stage can't work in a scenario."""
        for key, kinds in self.goes_with.items():
            kind = getattr(scenario.training, key).kind
            if kind not in kinds:
                raise ValueError(
                    f"'{self.kind}' needs training.{key} '{' or '.join(kinds)}', and it is '{kind}'; "
                    f"set training.{key}.kind to {kinds[0]}"
                )

    def reshaped(self, model: ModelSection, scenario: Scenario) -> ModelSection:
        """Return the model as the method has it: what is built, stored, sent and charged."""
        return model

    @abstractmethod
    def clock(self, learning: Learning) -> Generator[Event, Any, History]:
        """Move and run everything of the stage; returns its history."""

    @abstractmethod
    def values(self, learning: Learning, history: History) -> None:
        """Compute the stage's values, put them into ``learning`` and record rounds and metrics."""


def model_of(scenario: Scenario) -> ModelSection:
    """Return the scenario's model as its methods of training reshape it, stage by stage."""
    model, training = scenario.model, scenario.training
    for stage in (training.extractor, training.experts, training.gate):
        model = stage.reshaped(model, scenario)
    return model
