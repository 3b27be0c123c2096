"""An expert of one's own: two thin layers, cheap to move."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from nmoe_sim.nmoe.experts import ExpertSpec
from nmoe_sim.nmoe.modules import seeded
from nmoe_sim.scenario.quantities import Width


class LowRankExpert(ExpertSpec):
    """A linear classifier W = A·B of low rank, with a bias."""

    kind: ClassVar[str] = "low_rank"

    rank: Width = 4
    """Rank of W."""

    def build(self, num_features: int, num_classes: int, generator: torch.Generator) -> nn.Module:
        """Build the module."""
        return seeded(
            lambda: nn.Sequential(nn.Linear(num_features, self.rank), nn.Linear(self.rank, num_classes)), generator
        )


FAMILIES = {"expert": [LowRankExpert]}
