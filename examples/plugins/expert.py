"""An expert of one's own: two thin layers, cheap to move."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.nmoe.experts import ExpertSpec
from nmoe_sim.scenario.quantities import Width

if TYPE_CHECKING:
    import torch
    from torch import nn


class LowRankExpert(ExpertSpec):
    """A linear classifier W = A·B of low rank, with a bias."""

    kind: ClassVar[str] = "low_rank"

    rank: Width = 4
    """Rank of W."""

    def build(self, num_features: int, num_classes: int, generator: torch.Generator) -> nn.Module:
        """Build the module; ``linear`` draws its weights from the generator."""
        from torch import nn

        from nmoe_sim.nmoe.modules import linear

        return nn.Sequential(linear(num_features, self.rank, generator), linear(self.rank, num_classes, generator))

    def num_parameters(self, num_features: int, num_classes: int) -> int:
        """Return the number of parameters, without torch."""
        return (num_features + 1) * self.rank + (self.rank + 1) * num_classes


FAMILIES = {"expert": [LowRankExpert]}
