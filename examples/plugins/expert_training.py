"""An expert training of one's own: local training, then one average for all. A baseline without personal experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.training.clock import Steps
from nmoe_sim.training.experts import STAGE, LocalTraining, keep_experts
from nmoe_sim.training.federation.history import History
from nmoe_sim.training.learning import Learning

if TYPE_CHECKING:
    from collections.abc import Generator

    from simpy.events import Event


class AveragedTraining(LocalTraining):
    """One-shot federated averaging of the experts: every client ends with the same one."""

    kind: ClassVar[str] = "averaged"

    def clock(self, learning: Learning) -> Generator[Event, None, History]:
        """Train locally, send the experts up, average, send the average down."""
        from nmoe_sim.nmoe.cost import average_flop

        expert_bytes, num_clients = learning.costs.expert_bytes, len(learning.clients)
        history = yield from super().clock(learning)
        clock = learning.clock(STAGE)

        def upload(client: int) -> Steps:
            yield clock.up(client, expert_bytes, "model_up")

        yield clock.each(upload)
        yield clock.server_job(average_flop(expert_bytes // 4, num_clients), "aggregate")
        yield clock.broadcast(expert_bytes, "model_down")
        return history

    def values(self, learning: Learning, history: History) -> None:
        """Average the trained experts, and compute every sample's outputs again."""
        from nmoe_sim.nmoe.cohort import average

        super().values(learning, history)
        keep_experts(learning, [average(learning.experts, learning.weights)] * len(learning.clients))


FAMILIES = {"expert_training": [AveragedTraining]}
