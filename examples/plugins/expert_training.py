"""An expert training of one's own: local training, then one average for all. A baseline without personal experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.training.experts import STAGE, LocalTraining
from nmoe_sim.training.learning import Learning
from nmoe_sim.training.rounds import Round, Steps

if TYPE_CHECKING:
    from collections.abc import Generator

    from simpy.events import Event


class AveragedTraining(LocalTraining):
    """One-shot federated averaging of the experts: every client ends with the same one."""

    kind: ClassVar[str] = "averaged"

    def clock(self, learning: Learning) -> Generator[Event, None, list[Round]]:
        """Train locally, send the experts up, average, send the average down."""
        from nmoe_sim.nmoe.cost import average_flop

        expert_bytes, num_clients = learning.costs.expert_bytes, len(learning.clients)
        rounds = yield from super().clock(learning)
        clock = learning.clock(STAGE)

        def upload(client: int) -> Steps:
            yield clock.up(client, expert_bytes, "model_up")

        yield clock.each(upload)
        yield clock.server_job(average_flop(expert_bytes // 4, num_clients), "aggregate")
        yield clock.broadcast(expert_bytes, "model_down")
        return rounds

    def values(self, learning: Learning, rounds: list[Round]) -> None:
        """Average the trained experts, and compute every sample's outputs again."""
        from nmoe_sim.nmoe.cohort import average
        from nmoe_sim.nmoe.evaluate import expert_outputs

        super().values(learning, rounds)
        learning.experts = [average(learning.experts, learning.weights)] * len(learning.clients)
        learning.train_outputs = [
            expert_outputs(learning.expert, learning.experts, h).transpose(0, 1).contiguous() for h in learning.train_h
        ]
        learning.test_outputs = expert_outputs(learning.expert, learning.experts, learning.tested_h)


FAMILIES = {"expert_training": [AveragedTraining]}
