"""Local optimisation: how a client trains between two exchanges."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from nmoe_sim.scenario.quantities import Count, NonNegative, Positive
from nmoe_sim.scenario.spec import Spec


class SGD(Spec):
    """Stochastic gradient descent with momentum, as ``torch.optim.SGD`` defines it."""

    lr: Positive = 0.1
    """Learning rate."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Over the rounds: ``constant``, or ``cosine`` from ``lr`` towards 0."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum; it starts at rest in each round."""
    weight_decay: NonNegative = 0.0
    """Share of a weight added to its gradient."""
    clip_norm: Positive | None = None
    """Largest norm of a client's whole gradient, before weight decay; null: no limit."""
    batch_size: Count | None = 32
    """Samples of a batch; null: all of a client's samples."""
    epochs: Count = 1
    """Passes over a client's samples in a round."""

    def lr_scale(self, round_index: int, num_rounds: int) -> float:
        """Return the factor on ``lr`` in a round counted from 0: 1, or (1 + cos(π·round/rounds))/2."""
        if self.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * round_index / num_rounds)) / 2
