"""A whole mixture of experts in one module, for training in one place."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nmoe_sim.nmoe.threads import one_thread


class JointMixture(nn.Module):
    """Images in, scores and every expert's logits out; what is chosen of them is the loss's business.

    Parameters
    ----------
    extractor : nn.Module
        Copied.
    experts : sequence of nn.Module
        Experts, in order.
    gate : nn.Module
        Copied.
    """

    def __init__(self, extractor: nn.Module, experts: Sequence[nn.Module], gate: nn.Module) -> None:
        super().__init__()
        self.extractor = copy.deepcopy(extractor)
        self.experts = nn.ModuleList(experts)
        self.gate = copy.deepcopy(gate)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores_BN and outputs_BNC."""
        h_BD = self.extractor(x)
        return self.gate(h_BD), torch.stack([expert(h_BD) for expert in self.experts], dim=1)

    @torch.no_grad()
    def tables(self, x: Tensor, batch_size: int = 128) -> tuple[Tensor, Tensor]:
        """Return scores_TN and outputs_TNC of many samples, computed in batches."""
        with one_thread():
            parts = [self(part) for part in torch.split(x, batch_size)]
        scores, outputs = zip(*parts, strict=True)
        return torch.cat(scores), torch.cat(outputs)
