"""A privacy of one's own: DP-FedAvg that clips tensor by tensor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.nmoe.privacy import DpFedAvg

if TYPE_CHECKING:
    from nmoe_sim.nmoe.cohort import State


class ByTensor(DpFedAvg):
    """Each of the L tensors of an update is clipped to S/√L ("per-layer" in McMahan et al. 2018).

    So the update as a whole is within S, and noise and ε are those of flat clipping. It keeps one large tensor from
    scaling all others down.
    """

    kind: ClassVar[str] = "by_tensor"

    def clip(self, update: State) -> State:
        """Return the update, each tensor of it clipped."""
        each = DpFedAvg(clip_norm=self.clip_norm / math.sqrt(len(update)))
        return {name: each.clip({name: tensor})[name] for name, tensor in update.items()}


FAMILIES = {"privacy": [ByTensor]}
