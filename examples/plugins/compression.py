"""A compression of one's own: a bit a value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.nmoe.compression import CompressionSpec

if TYPE_CHECKING:
    import torch

    from nmoe_sim.nmoe.cohort import State


class Signs(CompressionSpec):
    """Signs and each tensor's mean magnitude, with error feedback (Karimireddy et al. 2019, arXiv 1901.09847).

    On the wire: 4 bytes a tensor that has elements, and its signs, filled up to whole bytes.
    """

    kind: ClassVar[str] = "signs"

    @property
    def keeps_residual(self) -> bool:
        """Return True: what the signs leave out is sent later."""
        return True

    def payload_bytes(self, sizes: Mapping[str, int]) -> int:
        """Return the bytes of tensors of so many elements."""
        return sum(4 + math.ceil(size / 8) for size in sizes.values() if size)

    def compress(self, update: State, residual: State | None, draws: torch.Generator) -> tuple[State, State | None]:
        """Return what arrives, and what the client keeps."""
        wanted = update if residual is None else {name: tensor + residual[name] for name, tensor in update.items()}
        sent = {name: _signs(tensor) if tensor.numel() else tensor for name, tensor in wanted.items()}
        return sent, {name: tensor - sent[name] for name, tensor in wanted.items()}


def _signs(tensor: torch.Tensor) -> torch.Tensor:
    """Return ± the mean magnitude; a bit has no zero, so 0 counts as positive."""
    return tensor.abs().mean() * (2 * (tensor >= 0).to(tensor.dtype) - 1)


FAMILIES = {"compression": [Signs]}
