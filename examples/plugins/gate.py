"""A gate of one's own: a shared perceptron, and one learned number an expert that stays with the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.nmoe.gates import GateSpec
from nmoe_sim.nmoe.widths import Widths, num_mlp_parameters

if TYPE_CHECKING:
    import torch

    from nmoe_sim.nmoe.modules import Gate


class BiasGate(GateSpec):
    """scores = shared(h) + b: a client can only prefer an expert, whatever the sample."""

    kind: ClassVar[str] = "bias"

    hidden: Widths = (16,)
    """Widths of the hidden layers of the shared part."""

    def build(self, num_features: int, num_experts: int, generator: torch.Generator) -> Gate:
        """Build the module; parameters named ``shared.…`` are those FedGate averages."""
        import torch
        from torch import nn

        from nmoe_sim.nmoe.modules import Gate, mlp

        class Bias(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.bias = nn.Parameter(torch.zeros(num_experts))

            def forward(self, h_BD: torch.Tensor) -> torch.Tensor:
                return h_BD.new_zeros(*h_BD.shape[:-1], 1) + self.bias

        return Gate(mlp((num_features, *self.hidden, num_experts), generator), Bias())

    def num_parameters(self, num_features: int, num_experts: int) -> int:
        """Return the number of parameters of both parts, without torch."""
        return self.num_shared_parameters(num_features, num_experts) + num_experts

    def num_shared_parameters(self, num_features: int, num_experts: int) -> int:
        """Return the number of parameters of the shared part, without torch."""
        return num_mlp_parameters(num_features, *self.hidden, num_experts)


FAMILIES = {"gate": [BiasGate]}
