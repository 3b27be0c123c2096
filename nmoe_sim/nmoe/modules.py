"""Torch modules the model specs build, with weights drawn from an explicit generator."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def init_(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> None:
    """Draw weights and biases from U(−1/√fan_in, 1/√fan_in), in place.

    The law PyTorch's own linear and convolution layers start from, here with a generator.
    """
    bound = layer.weight[0].numel() ** -0.5
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)


def linear(in_features: int, out_features: int, generator: torch.Generator) -> nn.Linear:
    """Build a linear layer; the global random state isn't touched."""
    layer = nn.Linear(in_features, out_features, device="meta").to_empty(device="cpu")
    init_(layer, generator)
    return layer


def conv3x3(in_channels: int, out_channels: int, generator: torch.Generator) -> nn.Conv2d:
    """Build a 3×3 convolution that keeps height and width; the global random state isn't touched."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, device="meta").to_empty(device="cpu")
    init_(layer, generator)
    return layer


def mlp(widths: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Build linear layers with ReLU between them, none after the last.

    Parameters
    ----------
    widths : sequence of int
        Input width, hidden widths, output width. Also fits a projector or a throw-away head.
    generator : torch.Generator
        Source of the weights.
    """
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [linear(n_in, n_out, generator), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def feature_output(output: str, num_features: int) -> nn.Module:
    """Build the last layer of an extractor: ``relu`` or ``layer_norm`` (without learned scale)."""
    if output == "relu":
        return nn.ReLU()
    return nn.LayerNorm(num_features, elementwise_affine=False)


class Gate(nn.Module):
    """Scores s(h) = shared(h) + local_scale · local(h).

    Parameters
    ----------
    shared : nn.Module
        Part that clients may synchronise; its parameters are named ``shared.…``.
    local : nn.Module
        Part that stays with the client; its parameters are named ``local.…``.
    local_scale : float
        Factor on the local part's scores.
    """

    def __init__(self, shared: nn.Module, local: nn.Module, local_scale: float = 1.0) -> None:
        super().__init__()
        self.shared = shared
        self.local = local
        self.local_scale = local_scale

    def forward(self, h_BD: Tensor) -> Tensor:
        """Return scores_BN of features h_BD."""
        return self.add(self.shared(h_BD), self.local(h_BD))

    def add(self, shared_BN: Tensor, local_BN: Tensor) -> Tensor:
        """Add the scores of the two parts."""
        return shared_BN + self.local_scale * local_BN
