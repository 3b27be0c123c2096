"""A small convolutional network."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from nmoe_sim.nmoe.extractors.base import ExtractorSpec, Shape
from nmoe_sim.nmoe.widths import Widths, num_mlp_parameters
from nmoe_sim.scenario.quantities import Count, Width

if TYPE_CHECKING:
    import torch
    from torch import nn


class CnnExtractor(ExtractorSpec):
    """Stages of convolution and ReLU that each halve the image, then linear layers to the features, or none.

    As wide as LeNet-5 (LeCun et al. 1998) with ``channels: [6, 16], kernel_size: 5, hidden: [120], num_features: 84``;
    the network of McMahan et al. (2017) on MNIST with ``channels: [32, 64], kernel_size: 5, num_features: 512,
    output: relu``. Linear layers have ReLU between them.
    """

    kind: ClassVar[str] = "cnn"

    channels: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = (16, 32)
    """Output channels of each stage."""
    kernel_size: Literal[3, 5] = 3
    """Height and width of a convolution."""
    downsampling: Literal["pool", "stride"] = "pool"
    """How a stage halves the image: 2×2 max-pooling after its convolution, or a convolution of stride 2, which is
    faster and rounds odd sizes up."""
    grid: Count | None = None
    """The last stage's maps are averaged over the cells of a grid with so many rows and columns; null: as they are."""
    bottleneck: bool = True
    """Whether linear layers lead from the last stage to the features; without, its flattened maps are the features."""
    groups: Count | None = None
    """Groups of a group normalisation before each ReLU; null: none."""
    hidden: Widths = ()
    """Widths of hidden linear layers between the last stage and the features."""
    output: Literal["layer_norm", "relu"] = "layer_norm"
    """Last layer: ``layer_norm`` (mean 0, variance 1 over a sample's features) or ``relu``."""

    @model_validator(mode="after")
    def _groups_divide_channels(self) -> CnnExtractor:
        if self.groups is not None and any(n % self.groups for n in self.channels):
            raise ValueError(f"groups {self.groups} must divide each of channels {list(self.channels)}")
        if self.hidden and not self.bottleneck:
            raise ValueError("hidden layers are part of the bottleneck; leave hidden empty, or set bottleneck to true")
        return self

    def check(self, input_shape: Shape) -> None:
        """Refuse more stages than the image can be halved, a grid that doesn't fit, and features of another number."""
        height, width = self._maps(input_shape)
        if min(height, width) < 1:
            _, height, width = input_shape
            raise ValueError(
                f"{len(self.channels)} stages each halve the image, and {height}×{width} pixels can be halved only "
                f"{min(height, width).bit_length() - 1} times; give fewer channels"
            )
        if self.grid is not None and (height % self.grid or width % self.grid):
            raise ValueError(f"grid {self.grid} must divide the last stage's maps, {height}×{width}; choose another")
        if not self.bottleneck and self.num_features != (flat := self._num_flat(input_shape)):
            raise ValueError(
                f"the last stage gives {flat} features, not num_features {self.num_features}; "
                f"set num_features to {flat}, or bottleneck to true"
            )

    def build(self, input_shape: Shape, generator: torch.Generator) -> nn.Module:
        """Build the module; its weights are a function of the generator's state."""
        from torch import nn

        from nmoe_sim.nmoe.modules import channels_last, conv, feature_output, mlp

        self.check(input_shape)
        layers: list[nn.Module] = []
        stride, pool = (2, []) if self.downsampling == "stride" else (1, [nn.MaxPool2d(2)])
        for n_in, n_out in pairwise((input_shape[0], *self.channels)):
            norm = [] if self.groups is None else [nn.GroupNorm(self.groups, n_out)]
            # the pool before ReLU: their order changes no value, and a quarter of the values is left for the second
            layers += [conv(n_in, n_out, self.kernel_size, generator, stride), *norm, *pool, nn.ReLU()]
        if self.grid is not None:
            height, width = self._maps(input_shape)
            layers.append(nn.AvgPool2d((height // self.grid, width // self.grid)))
        widths = (self._num_flat(input_shape), *self.hidden, self.num_features)
        linears = mlp(widths, generator) if self.bottleneck else ()
        return channels_last(
            nn.Sequential(*layers, nn.Flatten(), *linears, feature_output(self.output, self.num_features))
        )

    def num_parameters(self, input_shape: Shape) -> int:
        """Return the number of parameters, without torch."""
        area = self.kernel_size**2
        convolutions = sum((area * n_in + 1) * n_out for n_in, n_out in pairwise((input_shape[0], *self.channels)))
        norms = 0 if self.groups is None else 2 * sum(self.channels)
        linears = num_mlp_parameters(self._num_flat(input_shape), *self.hidden, self.num_features)
        return convolutions + norms + (linears if self.bottleneck else 0)

    def _maps(self, input_shape: Shape) -> tuple[int, int]:
        """Return height and width of the last stage's maps."""
        halvings, rounding = len(self.channels), 0
        if self.downsampling == "stride":
            rounding = 2**halvings - 1
        return (input_shape[1] + rounding) >> halvings, (input_shape[2] + rounding) >> halvings

    def _num_flat(self, input_shape: Shape) -> int:
        cells = prod(self._maps(input_shape)) if self.grid is None else self.grid**2
        return self.channels[-1] * cells
