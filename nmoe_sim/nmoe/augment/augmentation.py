"""What an augmentation is."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Augmentation(Spec):
    """A law of random views; subclasses implement ``apply``."""

    @abstractmethod
    def apply(self, x_BCHW: Tensor, generator: torch.Generator) -> Tensor:
        """Return one random view of each image, of the same shape and dtype.

        Parameters
        ----------
        x_BCHW : Tensor
            Images, values in [0, 1], on any device.
        generator : torch.Generator
            On the CPU; advanced by the same number of draws whatever the settings, so that changing
            one range leaves the other draws alone.
        """
