"""Stage 2: each client trains its own expert on its own labelled data, over frozen features."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.scenario.spec import Spec
from nmoe_sim.training.learning import Learning, batch_plans, checked_values, settings_of
from nmoe_sim.training.rounds import Round, Steps

if TYPE_CHECKING:
    from collections.abc import Generator

    from simpy.events import Event
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

    def clock(self, learning: Learning) -> Generator[Event, None, list[Round]]:
        """See ``Stage``."""
        from nmoe_sim.nmoe.cost import training_step_flop
        from nmoe_sim.nmoe.losses import cross_entropy

        h, y = learning.train_h[0][:1], learning.data.train_y[0][:1]
        sample_flop = training_step_flop(learning.expert, lambda m, h, y: cross_entropy(m(h), y).mean(), h, y)
        clock = learning.clock(STAGE)

        def local_training(client: int) -> Steps:
            num_samples = learning.data.num_train[client]
            yield clock.job(client, learning.costs.features_flop * num_samples, "features")
            yield clock.job(client, sample_flop * num_samples * self.optimizer.epochs, "local_train")

        clock.begin_round()
        yield clock.each(local_training)
        clock.end_round()
        return clock.rounds

    def values(self, learning: Learning, rounds: list[Round]) -> None:
        """See ``Stage``."""
        import torch

        from nmoe_sim.nmoe.cohort import stack, unstack
        from nmoe_sim.nmoe.evaluate import expert_outputs
        from nmoe_sim.nmoe.losses import cross_entropy, masked_mean
        from nmoe_sim.nmoe.stacked import HeadBatch, train_heads

        labels = torch.cat(learning.data.train_y)
        num_clients = len(learning.clients)

        def loss(out_ABC: Tensor, batch: HeadBatch) -> Tensor:
            return masked_mean(cross_entropy(out_ABC, labels[batch.rows_AB]), batch.mask_AB)

        def train() -> dict[str, Tensor]:
            with learning.progress("stage 2: experts", 1) as advance:
                stacked, losses = train_heads(
                    learning.expert,
                    stack([learning.expert.state_dict()] * num_clients),
                    learning.train_h,
                    batch_plans(learning, STAGE, self.optimizer, 0),
                    loss,
                    self.optimizer,
                )
                advance()
            return {**stacked, "losses": torch.from_numpy(losses[None])}

        values = learning.store.compute(STAGE, settings_of(self), lambda: checked_values(learning, STAGE, train))
        stacked = {name: tensor.to(labels.device) for name, tensor in values.items() if name != "losses"}
        learning.experts = unstack(stacked)
        learning.train_outputs = [
            expert_outputs(learning.expert, learning.experts, h).transpose(0, 1).contiguous() for h in learning.train_h
        ]
        learning.test_outputs = expert_outputs(learning.expert, learning.experts, learning.tested_h)
        learning.record_rounds(STAGE, rounds, values["losses"].numpy().astype(np.float64))
