"""A feature extractor of one's own: any nn.Module."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from nmoe_sim.nmoe.extractors import ExtractorSpec, Shape
from nmoe_sim.nmoe.modules import seeded
from nmoe_sim.scenario.quantities import Width


class Residual(nn.Module):
    """A convolution, a residual block, the mean over the image, a linear layer."""

    def __init__(self, num_in: int, width: int, num_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(num_in, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Linear(width, num_out)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return features (B, num_out)."""
        x = self.first(x_BCHW).relu()
        x = (x + self.second(x)).relu()
        features: torch.Tensor = self.last(x.mean(dim=(2, 3)))
        return features


class ResidualExtractor(ExtractorSpec):
    """The module above; ``num_features`` is inherited."""

    kind: ClassVar[str] = "residual"

    channels: Width = 8
    """Channels of the convolutions."""

    def build(self, input_shape: Shape, generator: torch.Generator) -> nn.Module:
        """Build the module; ``seeded`` lets its layers draw their first weights as they do anywhere."""
        return seeded(lambda: Residual(input_shape[0], self.channels, self.num_features), generator)


FAMILIES = {"extractor": [ResidualExtractor]}
