"""What all federated stages share: their settings, their rounds on the clock, their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import model_validator
from simpy.events import Event

from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.scenario.quantities import Count
from nmoe_sim.scenario.spec import Family
from nmoe_sim.training.federation.contracts import check_end, checked_bytes
from nmoe_sim.training.federation.federation import Federation, RoundCosts
from nmoe_sim.training.federation.history import History
from nmoe_sim.training.federation.replay import Learner, Replay
from nmoe_sim.training.stage import Stage

if TYPE_CHECKING:
    from nmoe_sim.engine.topology import Topology
    from nmoe_sim.nmoe.cohort import State
    from nmoe_sim.nmoe.values import Checkpoint
    from nmoe_sim.scenario.scenario import Scenario
    from nmoe_sim.training.federation.memory import Memory
    from nmoe_sim.training.learning import Learning


class FederatedStage(Stage):
    """A stage in which clients train a common model, or a common part of it."""

    kind: ClassVar[str] = ""
    needs_one_model: ClassVar[bool] = True
    """Whether all clients need the same model in the end, also where they have one each (gossip)."""

    rounds: Count = 20
    """Versions of the model: rounds, or what the server aggregates where there are none."""
    optimizer: Optimizer = Optimizer()
    """Local training in each round."""
    evaluate_every: Count = 5
    """Rounds between two points of the learning curve."""
    local_update: Annotated[Any, Family("local_update", default="sgd")]
    """What a client adds to its gradients."""
    server_update: Annotated[Any, Family("server_update", default="average")]
    """What the server makes of the mean."""
    protocol: Annotated[Any, Family("protocol", default="synchronous")]
    """The order in which clients train and the model moves on."""
    selection: Annotated[Any, Family("selection", default="all")]
    """Which clients take part."""
    compression: Annotated[Any, Family("compression", default="none")]
    """How updates travel."""
    privacy: Annotated[Any, Family("privacy", default="none")]
    """What hides a client's part in the model."""

    @model_validator(mode="after")
    def _parts_fit(self) -> FederatedStage:
        self.protocol.check(self.selection)
        self.local_update.check(self.optimizer)
        if not self.protocol.has_server:
            self._needs("a server", server_update="average", compression="none", privacy="none")
        if not (self.protocol.has_server and self.protocol.has_rounds):
            self._needs("rounds with a server", privacy="none")
            if self.local_update.has_variates:
                self._needs("rounds with a server", local_update="sgd")
        if self.local_update.has_variates and self.privacy.kind != "none":
            raise ValueError(
                f"privacy '{self.privacy.kind}' doesn't hide the variates that local_update '{self.local_update.kind}' "
                "sends; set local_update to sgd or fedprox"
            )
        return self

    def _needs(self, what: str, **plain: str) -> None:
        """Refuse families that need what the protocol has not; ``plain`` says which kind of each does without."""
        for key, kind in plain.items():
            if (found := getattr(self, key).kind) != kind:
                raise ValueError(
                    f"{key} '{found}' needs {what}, which protocol '{self.protocol.kind}' has not; "
                    f"set {key} to {kind}, or protocol to synchronous"
                )

    def check(self, scenario: Scenario, topology: Topology) -> None:
        """See ``Stage``."""
        super().check(scenario, topology)
        self.privacy.check()
        is_static = getattr(scenario.mobility, "is_static", False)
        self.protocol.check_topology(topology if is_static else topology.movable())

    def federate(self, learning: Learning, stage: str, costs: RoundCosts) -> Generator[Event, None, History]:
        """Run the stage's rounds on the clock; returns their history."""
        clock = learning.clock(stage)
        federation = Federation(
            clock,
            costs,
            self.rounds,
            self.needs_one_model,
            self.protocol.has_server,
            self.selection,
            learning.data.num_train,
        )
        yield from self.protocol.clock(federation)
        check_end(federation, self.protocol.kind)
        clock.history.settle()
        return clock.history

    def replay(
        self,
        learning: Learning,
        stage: str,
        title: str,
        history: History,
        learner: Learner,
        initial: Sequence[State],
        synchronised: Sequence[str],
        evaluate: Callable[[int, Memory], Mapping[str, float]],
        checkpoint: Checkpoint,
    ) -> Memory:
        """Compute the values of a history; see ``Replay``."""
        with learning.progress(title, len(history.steps)) as advance:
            replay = Replay(self, stage, learner, learning.weights, learning.simulation.streams, evaluate, advance)
            return replay.run(history, initial, synchronised, checkpoint)

    def privacy_spent(self, learning: Learning, history: History, version: int) -> dict[str, float]:
        """Return the ε that was spent when a version was made, by metric."""
        if self.privacy.kind == "none":
            return {}
        rate = self.selection.sampling_rate(len(learning.clients))
        return {"epsilon": self.privacy.epsilon(version + 1, rate, self.report_multiplier)}

    @property
    def report_multiplier(self) -> float:
        """Return the noise multiplier, for a whole client, of the reports that others' updates depend on."""
        return math.inf

    def settings(self, history: History) -> dict[str, Any]:
        """Return what the stage's values depend on, as JSON values: the history, not what led to it."""
        from nmoe_sim.scenario.dump import resolve_spec

        mine = {k: v for k, v in resolve_spec(self, portable=True).items() if k not in ("protocol", "selection")}
        return {type(self).__name__: mine, "history": history.content()}

    def moved_bytes(self, state: State, synchronised: Sequence[str]) -> tuple[int, int]:
        """Return the bytes of the model to a client, and of an update from one."""
        from nmoe_sim.nmoe.cost import tensor_bytes

        part = {name: state[name] for name in synchronised}
        if not part:
            return 0, 0
        down_bytes = tensor_bytes(part)
        sizes = {name: tensor.numel() for name, tensor in part.items()}
        up_bytes = checked_bytes(self.compression.payload_bytes(sizes), f"compression '{self.compression.kind}'")
        variates = down_bytes if self.local_update.has_variates else 0
        return down_bytes + variates, up_bytes + variates
