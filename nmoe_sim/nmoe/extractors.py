"""Feature extractors: images in, features out. One, shared by all clients."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from nmoe_sim.nmoe.widths import Widths, num_mlp_parameters
from nmoe_sim.scenario.quantities import Count, Width
from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    import torch
    from torch import nn

Shape = tuple[int, int, int]
"""Shape of one image: C, H, W."""


class ExtractorSpec(Spec):
    """A feature extractor F: x_BCHW → h_BD; subclasses implement ``build`` and ``num_parameters``.

    Extractors keep no batch statistics: those of clients with different data can't be averaged.
    """

    num_features: Width = 64
    """Features D of a sample: what travels to an expert."""

    def check(self, input_shape: Shape) -> None:
        """Raise ValueError, with rule and remedy, where images of this shape can't be taken."""

    @abstractmethod
    def build(self, input_shape: Shape, generator: torch.Generator) -> nn.Module:
        """Build the module; its weights are a function of the generator's state."""

    @abstractmethod
    def num_parameters(self, input_shape: Shape) -> int:
        """Return the number of parameters, without torch."""


class MlpExtractor(ExtractorSpec):
    """Pixels → hidden layers with ReLU → features."""

    kind: ClassVar[str] = "mlp"

    hidden: Widths = (128,)
    """Widths of the hidden layers."""
    output: Literal["layer_norm", "relu"] = "layer_norm"
    """Last layer: ``layer_norm`` (mean 0, variance 1 over a sample's features) or ``relu``."""

    def build(self, input_shape: Shape, generator: torch.Generator) -> nn.Module:
        """Build the module; its weights are a function of the generator's state."""
        from torch import nn

        from nmoe_sim.nmoe.modules import feature_output, mlp

        layers = mlp((prod(input_shape), *self.hidden, self.num_features), generator)
        return nn.Sequential(nn.Flatten(), *layers, feature_output(self.output, self.num_features))

    def num_parameters(self, input_shape: Shape) -> int:
        """Return the number of parameters, without torch."""
        return num_mlp_parameters(prod(input_shape), *self.hidden, self.num_features)


class CnnExtractor(ExtractorSpec):
    """Stages of 3×3 convolution, ReLU and 2×2 max-pooling, then a linear layer to the features."""

    kind: ClassVar[str] = "cnn"

    channels: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = (16, 32)
    """Output channels of each stage."""
    groups: Count | None = None
    """Groups of a group normalisation before each ReLU; null: none."""
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
        import torch
        from torch import nn

        from nmoe_sim.nmoe.modules import conv3x3, feature_output, linear

        self.check(input_shape)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise((input_shape[0], *self.channels)):
            norm = [] if self.groups is None else [nn.GroupNorm(self.groups, n_out)]
            layers += [conv3x3(n_in, n_out, generator), *norm, nn.ReLU(), nn.MaxPool2d(2)]
        flat = linear(self._num_flat(input_shape), self.num_features, generator)
        module = nn.Sequential(*layers, nn.Flatten(), flat, feature_output(self.output, self.num_features))
        for layer in module:
            if isinstance(layer, nn.Conv2d):  # on a CPU, channels last is 1.5–4 times as fast
                layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        return module

    def num_parameters(self, input_shape: Shape) -> int:
        """Return the number of parameters, without torch."""
        convolutions = sum((9 * n_in + 1) * n_out for n_in, n_out in pairwise((input_shape[0], *self.channels)))
        norms = 0 if self.groups is None else 2 * sum(self.channels)
        return convolutions + norms + num_mlp_parameters(self._num_flat(input_shape), self.num_features)

    def _pooled(self, input_shape: Shape) -> tuple[int, int]:
        return input_shape[1] >> len(self.channels), input_shape[2] >> len(self.channels)

    def _num_flat(self, input_shape: Shape) -> int:
        return self.channels[-1] * prod(self._pooled(input_shape))
