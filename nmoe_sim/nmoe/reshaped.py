"""Parts of the model that methods of training put in place of the scenario's own; no kinds of the families."""

from __future__ import annotations

from bisect import bisect_right
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from nmoe_sim.nmoe.experts import ExpertSpec, MlpExpert
from nmoe_sim.nmoe.extractors.base import ExtractorSpec, Shape
from nmoe_sim.nmoe.gates import GateSpec
from nmoe_sim.scenario.spec import Family

if TYPE_CHECKING:
    import torch
    from torch import nn

    from nmoe_sim.nmoe.modules import Gate

MAX_WIDTH = 65_536


class RawImages(ExtractorSpec):
    """No extractor: the features are the image, value by value."""

    kind: ClassVar[str] = "raw_images"

    @classmethod
    def of(cls, input_shape: Shape) -> RawImages:
        """Return the one for images of a shape."""
        return cls(num_features=prod(input_shape))

    def build(self, input_shape: Shape, generator: torch.Generator) -> nn.Module:
        """Build the module."""
        from torch import nn

        return nn.Flatten()

    def num_parameters(self, input_shape: Shape) -> int:
        """Return 0."""
        return 0


class WholeNetwork(ExpertSpec):
    """An expert that takes images: an extractor of its own, and on it an expert."""

    kind: ClassVar[str] = "whole_network"

    input_shape: Shape
    """Shape of an image."""
    extractor: Annotated[Any, Family("extractor")]
    """The extractor."""
    expert: Annotated[Any, Family("expert")]
    """What follows it."""

    def build(self, num_features: int, num_classes: int, generator: torch.Generator) -> nn.Module:
        """Build the module."""
        from torch import nn

        return nn.Sequential(
            nn.Unflatten(1, self.input_shape),
            self.extractor.build(self.input_shape, generator),
            self.expert.build(self.extractor.num_features, num_classes, generator),
        )

    def num_parameters(self, num_features: int, num_classes: int) -> int:
        """Return the number of parameters of both parts."""
        extractor: int = self.extractor.num_parameters(self.input_shape)
        expert: int = self.expert.num_parameters(self.extractor.num_features, num_classes)
        return extractor + expert


class NoGate(GateSpec):
    """No gate: it scores all experts alike, and takes no bytes and no FLOP."""

    kind: ClassVar[str] = "no_gate"

    def build(self, num_features: int, num_experts: int, generator: torch.Generator) -> Gate:
        """Build the module."""
        from nmoe_sim.nmoe.gate_parts import Zeros
        from nmoe_sim.nmoe.modules import Gate

        return Gate(Zeros(num_experts))

    def num_parameters(self, num_features: int, num_experts: int) -> int:
        """Return 0."""
        return 0

    def num_shared_parameters(self, num_features: int, num_experts: int) -> int:
        """Return 0."""
        return 0


def dense_expert(expert: ExpertSpec, num_experts: int, num_features: int, num_classes: int) -> MlpExpert:
    """Return the one perceptron with as many parameters as all experts together, as nearly as widths allow.

    It has as many hidden layers as an expert, or one if that has none or isn't a perceptron. All widths are
    an expert's, times one factor, rounded; the factor is that of the nearest parameter count.
    """
    hidden = (expert.hidden if isinstance(expert, MlpExpert) else ()) or (1,)
    target = num_experts * expert.num_parameters(num_features, num_classes)

    def scaled(first: int) -> MlpExpert:
        widths = [max(1, round(width * first / hidden[0])) for width in hidden]
        return MlpExpert(hidden=tuple(min(MAX_WIDTH, width) for width in widths))

    def count(first: int) -> int:
        return scaled(first).num_parameters(num_features, num_classes)

    below = bisect_right(range(1, MAX_WIDTH), target, key=count)  # the widest that isn't larger, from 1
    return scaled(min((max(1, below), below + 1), key=lambda first: abs(count(first) - target)))
