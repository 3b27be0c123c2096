"""A gate of one's own: a shared perceptron, and one learned number an expert that stays with the client."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from nmoe_sim.nmoe.gates import GateSpec
from nmoe_sim.nmoe.modules import Gate, seeded
from nmoe_sim.scenario.quantities import Width


class Bias(nn.Module):
    """The same scores for every sample, learned."""

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_experts))

    def forward(self, h_BD: torch.Tensor) -> torch.Tensor:
        """Return scores (B, num_experts)."""
        return h_BD.new_zeros(len(h_BD), 1) + self.bias


class BiasGate(GateSpec):
    """scores = shared(h) + b: a client can only prefer an expert, whatever the sample."""

    kind: ClassVar[str] = "bias"

    hidden: Width = 16
    """Width of the hidden layer of the shared part."""

    def build(self, num_features: int, num_experts: int, generator: torch.Generator) -> Gate:
        """Build both parts; left out, a local part adds nothing."""
        shared = seeded(
            lambda: nn.Sequential(nn.Linear(num_features, self.hidden), nn.GELU(), nn.Linear(self.hidden, num_experts)),
            generator,
        )
        return Gate(shared, Bias(num_experts))


FAMILIES = {"gate": [BiasGate]}
