"""What every feature extractor is, and what those that pool over the image share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from nmoe_sim.nmoe.widths import num_mlp_parameters
from nmoe_sim.scenario.quantities import Width
from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    import torch
    from torch import nn

Shape = tuple[int, int, int]
"""Shape of one image: C, H, W."""


class ExtractorSpec(Spec):
    """A feature extractor F: x_BCHW → h_BD; subclasses implement ``build``.

    Extractors keep no batch statistics: those of clients with different data can't be averaged.
    """

    num_features: Width = 64
    """Features D of a sample: what travels to an expert."""

    def check(self, input_shape: Shape) -> None:
        """Raise ValueError, with rule and remedy, where images of this shape can't be taken."""

    @abstractmethod
    def build(self, input_shape: Shape, generator: torch.Generator) -> nn.Module:
        """Build the module; its weights are a function of the generator's state.

        A module whose layers draw from torch's global state is built with ``modules.seeded``.
        """

    def num_parameters(self, input_shape: Shape) -> int:
        """Return the number of parameters: what memory it takes, before anything runs.

        Built and counted here; override it with a closed form where building takes long.
        """
        from nmoe_sim.nmoe.modules import count_parameters

        return count_parameters(lambda generator: self.build(input_shape, generator))


class PooledExtractor(ExtractorSpec):
    """A backbone that ends in one vector of a known width; subclasses implement ``width_of_backbone``."""

    bottleneck: bool = False
    """Whether a linear layer leads from the backbone's width to ``num_features``; without, the two must be equal, and
    what is sent, probed and given to experts is the backbone's own output."""
    output: Literal["layer_norm", "plain"] = "layer_norm"
    """Last layer: ``layer_norm`` (mean 0, variance 1 over a sample's features), or ``plain`` for none."""

    @property
    @abstractmethod
    def width_of_backbone(self) -> int:
        """Width of the vector that the backbone ends in."""

    @model_validator(mode="after")
    def _features_are_the_backbones(self) -> PooledExtractor:
        if not self.bottleneck and self.num_features != self.width_of_backbone:
            raise ValueError(
                f"the backbone gives {self.width_of_backbone} features, not num_features {self.num_features}; "
                f"set num_features to {self.width_of_backbone}, or bottleneck to true"
            )
        return self

    def head(self, generator: torch.Generator) -> nn.Sequential:
        """Build what follows the backbone: the bottleneck, if any, and the last layer."""
        from torch import nn

        from nmoe_sim.nmoe.modules import feature_output, linear

        layers = [linear(self.width_of_backbone, self.num_features, generator)] if self.bottleneck else []
        last = [] if self.output == "plain" else [feature_output(self.output, self.num_features)]
        return nn.Sequential(*layers, *last)

    def num_head_parameters(self) -> int:
        """Return the number of parameters of what ``head`` builds, without torch."""
        return num_mlp_parameters(self.width_of_backbone, self.num_features) if self.bottleneck else 0
