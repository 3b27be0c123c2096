"""Residual networks for small images, without batch statistics."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from nmoe_sim.nmoe.extractors.base import PooledExtractor, Shape
from nmoe_sim.scenario.quantities import Count

if TYPE_CHECKING:
    import torch
    from torch import nn

_DEFAULT_GROUPS = 8
_NUM_FIXUP_SCALARS = 5  # four biases and a multiplier


class ResNetExtractor(PooledExtractor):
    """A residual network (He et al. 2016) for small images, then the mean over the image.

    Depths 8 and 20 are the networks of He et al. for CIFAR: three stages of 16, 32 and 64 channels, of one or three
    basic blocks each, shortcuts without parameters. Depth 18 has four stages of 64, 128, 256 and 512 channels, of two
    basic blocks each, and 1×1 convolutions on shortcuts where the width changes; its first layer is fit for small
    images, 3×3 with stride 1 and no pooling. Every stage but the first halves the image.

    Batch normalisation gives way to group normalisation (Wu and He 2018), or to Fixup (Zhang et al. 2019): no
    normalisation, scalar biases and multipliers, the first convolution of each of the L residual branches scaled by
    L^(−1/2) and the last one zero, so that every block starts as its shortcut. FedSC (arXiv 2405.03949) takes
    Fixup at depth 20, 8 times as wide. Convolutions start from He's normal law (2015). Left out: the classifier and
    with it Fixup's zero start of it; stage 1 brings a head of its own.
    """

    kind: ClassVar[str] = "resnet"

    depth: Literal[8, 18, 20] = 8
    """Layers with weights, the classifier's included as usual."""
    width: Annotated[int, Field(ge=1, le=64)] = 1
    """Factor on all channels."""
    normalisation: Literal["group_norm", "fixup"] = "group_norm"
    """What stands in for batch normalisation."""
    groups: Count | None = None
    """Groups of each group normalisation; null: 8 with ``group_norm``, none with ``fixup``."""

    @model_validator(mode="after")
    def _groups_fit(self) -> ResNetExtractor:
        if self.groups is not None and self.normalisation == "fixup":
            raise ValueError("fixup has no groups; leave groups out, or set normalisation to 'group_norm'")
        if self.groups is not None and self.channels[0] % self.groups:
            raise ValueError(f"groups {self.groups} must divide the first stage's channels, {self.channels[0]}")
        return self

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each stage."""
        first, stages = (64, 4) if self.depth == 18 else (16, 3)
        return tuple(first * self.width * 2**stage for stage in range(stages))

    @property
    def num_blocks(self) -> int:
        """Residual blocks of each stage, of two convolutions each."""
        return 2 if self.depth == 18 else (self.depth - 2) // 6

    @property
    def width_of_backbone(self) -> int:
        """Channels of the last stage."""
        return self.channels[-1]

    def check(self, input_shape: Shape) -> None:
        """Refuse images too small to be halved by every stage but the first."""
        _, height, width = input_shape
        if min(height, width) < (least := 2 ** (len(self.channels) - 1)):
            raise ValueError(
                f"a ResNet-{self.depth} halves the image {len(self.channels) - 1} times and needs {least}×{least} "
                f"pixels, not {height}×{width}; take a smaller depth, or the kind 'cnn'"
            )

    def build(self, input_shape: Shape, generator: torch.Generator) -> nn.Module:
        """Build the module; its weights are a function of the generator's state."""
        from torch import nn

        from nmoe_sim.nmoe.extractors.residual import residual_network
        from nmoe_sim.nmoe.modules import channels_last

        self.check(input_shape)
        backbone = residual_network(
            input_shape[0],
            self.channels,
            self.num_blocks,
            groups=None if self.normalisation == "fixup" else self.groups or _DEFAULT_GROUPS,
            projected=self.depth == 18,
            generator=generator,
        )
        module = nn.Sequential(backbone, self.head(generator))
        return channels_last(module) if self.normalisation == "fixup" else module

    def num_parameters(self, input_shape: Shape) -> int:
        """Return the number of parameters, without torch."""
        fixup = self.normalisation == "fixup"

        def norm(channels: int) -> int:
            return 0 if fixup else 2 * channels

        def block(n_in: int, n_out: int) -> int:
            projection = n_in * n_out + norm(n_out) if self.depth == 18 and n_in != n_out else 0
            scalars = _NUM_FIXUP_SCALARS if fixup else 0
            return 9 * n_in * n_out + 9 * n_out**2 + 2 * norm(n_out) + scalars + projection

        stem = 9 * input_shape[0] * self.channels[0] + (1 if fixup else norm(self.channels[0]))
        first = sum(block(n_in, n_out) for n_in, n_out in pairwise((self.channels[0], *self.channels)))
        rest = sum((self.num_blocks - 1) * block(n, n) for n in self.channels)
        return stem + first + rest + self.num_head_parameters()
