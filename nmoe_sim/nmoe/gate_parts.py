"""Modules that gates are put together from, beside ``nmoe_sim.nmoe.modules.Gate``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nmoe_sim.nmoe.modules import Gate


class Zeros(nn.Module):
    """Score 0 for every expert; no parameters.

    Parameters
    ----------
    num_experts : int
    """

    def __init__(self, num_experts: int) -> None:
        super().__init__()
        self.num_experts = num_experts

    def forward(self, h_BD: Tensor) -> Tensor:
        """Return scores_BN."""
        return h_BD.new_zeros((*h_BD.shape[:-1], self.num_experts))


class Scale(nn.Module):
    """One learned factor on all scores.

    Parameters
    ----------
    start : float
        What it starts from.
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([start]))

    def forward(self, scores_BN: Tensor) -> Tensor:
        """Return the scores, scaled."""
        return self.scale * scores_BN


class ConvexGate(Gate):
    """Scores s = log((1 − λ) softmax(shared(h)) + λ softmax(local(h))), with λ ``local_scale``, below 1.

    Softmax of s over all experts is the mixture of what the two parts' softmaxes say.
    """

    def add(self, shared_BN: Tensor, local_BN: Tensor) -> Tensor:
        """Mix the scores of the two parts."""
        shared_BN = shared_BN.log_softmax(dim=-1) + math.log1p(-self.local_scale)
        local_BN = local_BN.log_softmax(dim=-1) + math.log(self.local_scale)
        return torch.logaddexp(shared_BN, local_BN)
