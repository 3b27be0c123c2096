"""An extractor training of one's own: FedBABU. The head is drawn and never trained, so that only the body moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.training.fedce import FedCE
from nmoe_sim.training.learning import Learning

if TYPE_CHECKING:
    from torch import nn


class FedBABU(FedCE):
    """FedAvg on the body under one fixed head, the same for all (Oh, Kim and Yun, ICLR 2022, arXiv 2106.06042).

    What isn't trained costs nothing: the head's gradient isn't counted, and it isn't sent.
    """

    kind: ClassVar[str] = "fedbabu"
    title: ClassVar[str] = "FedBABU"

    def add_on(self, learning: Learning) -> nn.Module:
        """Build the head, drawn by the seed, and leave it as it is."""
        return super().add_on(learning).requires_grad_(False)

    def synchronised(self, model: nn.Module) -> list[str]:
        """Return the names of the body's tensors; of extractor and head, it is the first."""
        return [name for name in model.state_dict() if name.startswith("0.")]


FAMILIES = {"extractor_training": [FedBABU]}
