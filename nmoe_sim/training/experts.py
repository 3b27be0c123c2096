"""Stage 2: each client trains its own expert on its own labelled data, over frozen features."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, ClassVar

from simpy.events import Event

from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.scenario.spec import Spec
from nmoe_sim.training.clock import Steps
from nmoe_sim.training.federation.history import Attempt, History, Step
from nmoe_sim.training.federation.learners import plans
from nmoe_sim.training.learning import Learning, checked_values, settings_of

if TYPE_CHECKING:
    from torch import Tensor

STAGE = "experts"


class LocalTraining(Spec):
    """Cross-entropy on the client's own samples; nothing moves.

    The features of a client's samples are computed once and kept: the extractor is frozen. All experts
    start from the same weights.
    """

    kind: ClassVar[str] = "local"

    optimizer: Optimizer = Optimizer(lr=0.05, epochs=20)
    """Local training; ``epochs`` is the whole training."""

    def clock(self, learning: Learning) -> Generator[Event, None, History]:
        """See ``Stage``."""
        from nmoe_sim.nmoe.cost import training_step_flop
        from nmoe_sim.nmoe.losses import cross_entropy

        h, y = learning.train_h[0][:1], learning.data.train_y[0][:1]
        sample_flop = training_step_flop(learning.expert, lambda m, h, y: cross_entropy(m(h), y).mean(), h, y)
        clock = learning.clock(STAGE)

        def local_training(attempt: Attempt) -> Steps:
            client = attempt.client
            num_samples = learning.data.num_train[client]
            yield clock.job(client, learning.costs.features_flop * num_samples, "features", attempt)
            yield clock.job(client, sample_flop * num_samples * self.optimizer.epochs, "local_train", attempt)
            attempt.work = clock.history.add_work(client, 0, 0)
            attempt.version = 1

        attempts = [clock.begin(client, 0, clock.why_away(client)) for client in range(len(learning.clients))]
        yield learning.simulation.env.all_of(
            [clock.start(attempt, local_training(attempt)) for attempt in attempts if attempt.reason is None]
        )
        clock.history.add_step(Step("gossip"), clock.now_s)
        clock.history.settle()
        return clock.history

    def values(self, learning: Learning, history: History) -> None:
        """See ``Stage``; a client that was away keeps the weights it starts with."""
        import torch

        from nmoe_sim.nmoe.cohort import stack, unstack
        from nmoe_sim.nmoe.evaluate import expert_outputs
        from nmoe_sim.nmoe.losses import cross_entropy, masked_mean
        from nmoe_sim.nmoe.stacked import HeadBatch, train_heads

        clients = [work.client for work in history.works]
        labels = torch.cat([learning.data.train_y[client] for client in clients])

        def loss(out_ABC: Tensor, batch: HeadBatch) -> Tensor:
            return masked_mean(cross_entropy(out_ABC, labels[batch.rows_AB]), batch.mask_AB)

        def train() -> dict[str, Tensor]:
            with learning.progress("stage 2: experts", 1) as advance:
                stacked, losses = train_heads(
                    learning.expert,
                    stack([learning.expert.state_dict()] * len(clients)),
                    [learning.train_h[client] for client in clients],
                    plans(learning, STAGE, self.optimizer, history.works),
                    loss,
                    self.optimizer,
                )
                advance()
            return {**stacked, "losses": torch.from_numpy(losses)}

        settings = {**settings_of(self), "history": history.content()}
        values = learning.store.compute(STAGE, settings, lambda _: checked_values(learning, STAGE, train()))
        stacked = {name: tensor.to(labels.device) for name, tensor in values.items() if name != "losses"}
        learning.experts = [learning.expert.state_dict()] * len(learning.clients)
        for client, state in zip(clients, unstack(stacked), strict=True):
            learning.experts[client] = state
        learning.train_outputs = [
            expert_outputs(learning.expert, learning.experts, h).transpose(0, 1).contiguous() for h in learning.train_h
        ]
        learning.test_outputs = expert_outputs(learning.expert, learning.experts, learning.tested_h)
        learning.record_rounds(STAGE, history, values["losses"].tolist())
