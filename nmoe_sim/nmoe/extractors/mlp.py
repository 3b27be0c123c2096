"""A perceptron over pixels."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, ClassVar, Literal

from nmoe_sim.nmoe.extractors.base import ExtractorSpec, Shape
from nmoe_sim.nmoe.widths import Widths, num_mlp_parameters

if TYPE_CHECKING:
    import torch
    from torch import nn


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
