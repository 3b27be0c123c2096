"""Local optimisation: how a client trains between two exchanges."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from nmoe_sim.scenario.quantities import Count, NonNegative, Positive
from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    import torch

ADAM_BETA_2 = 0.999
ADAM_EPSILON = 1e-8


class Optimizer(Spec):
    """Stochastic gradient descent with momentum or Adam, as ``torch.optim`` defines them."""

    method: Literal["sgd", "adam"] = "sgd"
    """``sgd``, or ``adam`` (Kingma and Ba 2015) with β1 = ``momentum``, β2 = 0.999."""
    lr: Positive = 0.1
    """Learning rate; Adam wants a smaller one, such as 0.001."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Over the rounds: ``constant``, or ``cosine`` from ``lr`` towards 0."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum, or Adam's β1; it starts at rest in each round."""
    weight_decay: NonNegative = 0.0
    """Share of a weight added to its gradient."""
    clip_norm: Positive | None = None
    """Largest norm of a client's whole gradient, before weight decay; null: no limit."""
    batch_size: Count | None = 32
    """Samples of a batch; null: all of a client's samples."""
    epochs: Count = 1
    """Passes over a client's samples in a round."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of products and convolutions in training: ``bf16`` rounds their operands to bfloat16; weights, steps and losses
    keep single precision. Faster where the processor has it, slower where it must be emulated."""

    def lr_scale(self, round_index: int, num_rounds: int) -> float:
        """Return the factor on ``lr`` in a round counted from 0: 1, or (1 + cos(π·round/rounds))/2."""
        if self.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * round_index / num_rounds)) / 2

    def stepper(self, parameters: Iterable[torch.nn.Parameter], lr_scale: float) -> torch.optim.Optimizer:
        """Return torch's optimiser of these settings, at rest."""
        import torch

        lr = self.lr * lr_scale
        if self.method == "sgd":
            # foreach: the same bits in fewer calls, for each of which threads would wait for the interpreter
            return torch.optim.SGD(
                parameters, lr=lr, momentum=self.momentum, weight_decay=self.weight_decay, foreach=True
            )
        betas = (self.momentum, ADAM_BETA_2)
        return torch.optim.Adam(parameters, lr=lr, betas=betas, eps=ADAM_EPSILON, weight_decay=self.weight_decay)
