"""A transport of one's own: only a sample's largest features travel, in half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from nmoe_sim.nmoe.transport import FeatureTransport

if TYPE_CHECKING:
    from torch import Tensor


class Largest(FeatureTransport):
    """The features of largest magnitude, two bytes each; a bit for each feature says which they are."""

    kind: ClassVar[str] = "largest"

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the features that travel, at least one."""

    def num_bytes(self, num_features: int) -> int:
        """Return the bytes of values and of the map of bits."""
        return 2 * self._num_sent(num_features) + -(-num_features // 8)

    def received(self, h_BD: Tensor) -> Tensor:
        """Return what arrives: zero where nothing was sent."""
        import torch

        kept_BK = h_BD.abs().topk(self._num_sent(h_BD.shape[-1]), dim=-1).indices
        values_BK = h_BD.gather(-1, kept_BK).to(torch.float16).to(h_BD.dtype)
        return torch.zeros_like(h_BD).scatter(-1, kept_BK, values_BK)

    def _num_sent(self, num_features: int) -> int:
        return max(1, round(self.share * num_features))


FAMILIES = {"feature_transport": [Largest]}
