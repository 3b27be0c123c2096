"""Experts: features in, class logits out. One a client, its own."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.nmoe.widths import Widths, num_mlp_parameters
from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    import torch
    from torch import nn


class ExpertSpec(Spec):
    """An expert H: h_BD → logits_BC; subclasses implement ``build``."""

    @abstractmethod
    def build(self, num_features: int, num_classes: int, generator: torch.Generator) -> nn.Module:
        """Build the module; its weights are a function of the generator's state.

        A module whose layers draw from torch's global state is built with ``modules.seeded``.
        """

    def num_parameters(self, num_features: int, num_classes: int) -> int:
        """Return the number of parameters: what memory it takes, before anything runs.

        Built and counted here; override it with a closed form where building takes long.
        """
        from nmoe_sim.nmoe.modules import count_parameters

        return count_parameters(lambda generator: self.build(num_features, num_classes, generator))


class MlpExpert(ExpertSpec):
    """Features → hidden layers with ReLU → logits."""

    kind: ClassVar[str] = "mlp"

    hidden: Widths = (64,)
    """Widths of the hidden layers; empty: a linear classifier."""

    def build(self, num_features: int, num_classes: int, generator: torch.Generator) -> nn.Module:
        """Build the module; its weights are a function of the generator's state."""
        from nmoe_sim.nmoe.modules import mlp

        return mlp((num_features, *self.hidden, num_classes), generator)

    def num_parameters(self, num_features: int, num_classes: int) -> int:
        """Return the number of parameters, without torch."""
        return num_mlp_parameters(num_features, *self.hidden, num_classes)
