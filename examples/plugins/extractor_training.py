"""An extractor training of one's own: FedProx. On the clock it is FedCE; only the values differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.scenario.quantities import NonNegative
from nmoe_sim.training.extraction import STAGE
from nmoe_sim.training.fedce import FedCE
from nmoe_sim.training.learning import Learning, batch_plans

if TYPE_CHECKING:
    from torch import Tensor, nn


class FedProx(FedCE):
    """FedCE with (μ/2)·‖w − w_server‖² in every client's loss (Li et al., MLSys 2020).

    The clock charges matrix products and convolutions; the proximal term has none, so it costs nothing more.
    """

    kind: ClassVar[str] = "fedprox"

    mu: NonNegative = 0.1
    """Weight of the proximal term."""

    def train(self, learning: Learning, model: nn.Module) -> dict[str, Tensor]:
        """Compute all rounds."""
        import numpy as np
        import torch

        from nmoe_sim.nmoe.cohort import average, train_modules
        from nmoe_sim.nmoe.losses import cross_entropy

        data, state, losses = learning.data, model.state_dict(), []

        def loss(module: nn.Module, client: int, index: Tensor, step: int) -> Tensor:
            fit = cross_entropy(module(data.train_x[client][index]), data.train_y[client][index]).mean()
            drift = torch.stack([(w - state[name]).square().sum() for name, w in module.named_parameters()]).sum()
            return torch.add(fit, drift, alpha=self.mu / 2)

        with learning.progress("stage 1: feature extractor (FedProx)", self.rounds) as advance:
            for number in range(self.rounds):
                trained = train_modules(
                    model,
                    [state] * len(learning.clients),
                    batch_plans(learning, STAGE, self.optimizer, number),
                    loss,
                    self.optimizer,
                    lr_scale=self.optimizer.lr_scale(number, self.rounds),
                    workers=learning.workers,
                )
                state = average(trained.states, learning.weights)
                losses.append(trained.losses)
                advance()
        return {**state, "losses": torch.from_numpy(np.stack(losses))}


FAMILIES = {"extractor_training": [FedProx]}
