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
    """Stages of convolution, ReLU and 2×2 max-pooling, then linear layers with ReLU between them to the features.

    As wide as LeNet-5 (LeCun et al. 1998) with ``channels: [6, 16], kernel_size: 5, hidden: [120], num_features: 84``;
    the network of McMahan et al. (2017) on MNIST with ``channels: [32, 64], kernel_size: 5, num_features: 512,
    output: relu``. Convolutions keep height and width.
    """

    kind: ClassVar[str] = "cnn"

    channels: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = (16, 32)
    """Output channels of each stage."""
    kernel_size: Literal[3, 5] = 3
    """Height and width of a convolution."""
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
        return self

    def check(self, input_shape: Shape) -> None:
        """Refuse more stages than the image can be halved."""
        if min(self._pooled(input_shape)) < 1:
            _, height, width = input_shape
            raise ValueError(
                f"{len(self.channels)} stages each halve the image, and {height}×{width} pixels can be halved only "
                f"{min(height, width).bit_length() - 1} times; give fewer channels"
            )

    def build(self, input_shape: Shape, generator: torch.Generator) -> nn.Module:
        """Build the module; its weights are a function of the generator's state."""
        from torch import nn

        from nmoe_sim.nmoe.modules import channels_last, conv, feature_output, mlp

        self.check(input_shape)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((input_shape[0], *self.channels)):
            norm = [] if self.groups is None else [nn.GroupNorm(self.groups, n_out)]
            layers += [conv(n_in, n_out, self.kernel_size, generator), *norm, nn.ReLU(), nn.MaxPool2d(2)]
        flat = mlp((self._num_flat(input_shape), *self.hidden, self.num_features), generator)
        return channels_last(
            nn.Sequential(*layers, nn.Flatten(), *flat, feature_output(self.output, self.num_features))
        )

    def num_parameters(self, input_shape: Shape) -> int:
        """Return the number of parameters, without torch."""
        area = self.kernel_size**2
        convolutions = sum((area * n_in + 1) * n_out for n_in, n_out in pairwise((input_shape[0], *self.channels)))
        norms = 0 if self.groups is None else 2 * sum(self.channels)
        return convolutions + norms + num_mlp_parameters(self._num_flat(input_shape), *self.hidden, self.num_features)

    def _pooled(self, input_shape: Shape) -> tuple[int, int]:
        return input_shape[1] >> len(self.channels), input_shape[2] >> len(self.channels)

    def _num_flat(self, input_shape: Shape) -> int:
        return self.channels[-1] * prod(self._pooled(input_shape))
