"""Torch modules of residual networks: basic blocks with group normalisation, or of Fixup."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from nmoe_sim.nmoe.modules import he_conv


class MeanOverImage(nn.Module):
    """x_BCHW → the mean over height and width, (B, C)."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the mean over height and width."""
        return x_BCHW.mean(dim=(2, 3))


class PaddedShortcut(nn.Module):
    """Every second pixel, and zeros for the channels that are new: He et al. (2016), option A.

    Parameters
    ----------
    num_new : int
        Channels added, behind the others.
    """

    def __init__(self, num_new: int) -> None:
        super().__init__()
        self.num_new = num_new

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return x at half its height and width, with more channels."""
        return functional.pad(x_BCHW[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.num_new))


class GroupNormBlock(nn.Module):
    """relu(shortcut(x) + branch(x)), where the branch is conv, norm, ReLU, conv, norm.

    Parameters
    ----------
    n_in, n_out : int
        Channels before and after; where they differ, the image is halved.
    groups : int
        Groups of the normalisations.
    projected : bool
        Where channels differ, a 1×1 convolution on the shortcut (option B), or ``PaddedShortcut``.
    generator : torch.Generator
        Source of the weights.
    """

    def __init__(self, n_in: int, n_out: int, groups: int, projected: bool, generator: torch.Generator) -> None:
        super().__init__()
        stride = 1 if n_in == n_out else 2
        self.branch = nn.Sequential(
            he_conv(n_in, n_out, 3, generator, stride=stride),
            nn.GroupNorm(groups, n_out),
            nn.ReLU(),
            he_conv(n_out, n_out, 3, generator),
            nn.GroupNorm(groups, n_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if n_in != n_out and projected:
            projection = he_conv(n_in, n_out, 1, generator, stride=stride)
            self.shortcut = nn.Sequential(projection, nn.GroupNorm(groups, n_out))
        elif n_in != n_out:
            self.shortcut = PaddedShortcut(n_out - n_in)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the block's output."""
        return torch.relu(self.shortcut(x_BCHW) + self.branch(x_BCHW))


class FixupBlock(nn.Module):
    """relu(shortcut(x + b₁) + m·conv₂(relu(conv₁(x + b₁) + b₂) + b₃) + b₄), scalars b and m (Zhang et al. 2019).

    Parameters
    ----------
    n_in, n_out : int
        Channels before and after; where they differ, the image is halved.
    num_branches : int
        Residual branches L of the whole network: conv₁ starts scaled by L^(−1/2), conv₂ at zero.
    projected : bool
        Where channels differ, a 1×1 convolution on the shortcut (option B), or ``PaddedShortcut``.
    generator : torch.Generator
        Source of the weights.
    """

    def __init__(self, n_in: int, n_out: int, num_branches: int, projected: bool, generator: torch.Generator) -> None:
        super().__init__()
        stride = 1 if n_in == n_out else 2
        self.biases = nn.Parameter(torch.zeros(4))
        self.multiplier = nn.Parameter(torch.ones(1))
        self.first = he_conv(n_in, n_out, 3, generator, stride=stride, gain=num_branches**-0.5)
        self.second = he_conv(n_out, n_out, 3, generator, gain=0.0)
        self.shortcut: nn.Module = nn.Identity()
        if n_in != n_out:
            projection = he_conv(n_in, n_out, 1, generator, stride=stride) if projected else None
            self.shortcut = projection or PaddedShortcut(n_out - n_in)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the block's output."""
        before, middle, after, last = self.biases
        x_BCHW = x_BCHW + before
        branch_BCHW = self.second(torch.relu(self.first(x_BCHW) + middle) + after)
        return torch.relu(self.shortcut(x_BCHW) + self.multiplier * branch_BCHW + last)


class ScalarBias(nn.Module):
    """x → x + b with one learned number b, which starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return x + b."""
        return x + self.bias


def residual_network(
    num_inputs: int,
    channels: Sequence[int],
    num_blocks: int,
    *,
    groups: int | None,
    projected: bool,
    generator: torch.Generator,
) -> nn.Sequential:
    """Build a residual network, from images to the mean over the last stage.

    Parameters
    ----------
    num_inputs : int
        Channels of an image.
    channels : sequence of int
        Channels of each stage; every stage but the first halves the image.
    num_blocks : int
        Blocks of each stage.
    groups : int or None
        Groups of the normalisations; None: Fixup.
    projected : bool
        As in the blocks.
    generator : torch.Generator
        Source of the weights.
    """
    norm = ScalarBias() if groups is None else nn.GroupNorm(groups, channels[0])
    layers: list[nn.Module] = [he_conv(num_inputs, channels[0], 3, generator), norm, nn.ReLU()]
    widths = [channels[0], *(n for n in channels for _ in range(num_blocks))]
    for n_in, n_out in pairwise(widths):
        if groups is None:
            layers.append(FixupBlock(n_in, n_out, len(widths) - 1, projected, generator))
        else:
            layers.append(GroupNormBlock(n_in, n_out, groups, projected, generator))
    return nn.Sequential(*layers, MeanOverImage())
