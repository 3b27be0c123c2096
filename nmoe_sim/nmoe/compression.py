"""Family ``compression``: what an update weighs on the wire, and what the receiver makes of it.

An update is Δ = trained − received. Sender and receiver know the names and shapes of its tensors, so no
message carries a header; the formats below are complete. Values are those of the format: what the wire can't
hold, the receiver doesn't get.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from nmoe_sim.scenario.quantities import Fraction
from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nmoe_sim.nmoe.cohort import State

FLOAT_BYTES = 4  # values, scales and 32-bit positions


class CompressionSpec(Spec):
    """Base of the family: implement ``payload_bytes`` and ``compress``."""

    @abstractmethod
    def payload_bytes(self, sizes: Mapping[str, int]) -> int:
        """Return the bytes of a compressed update, a function of its tensors' numbers of elements alone.

        Parameters
        ----------
        sizes : mapping from str to int
            Number of elements of each tensor.
        """

    @abstractmethod
    def compress(self, update: State, residual: State | None, draws: torch.Generator) -> tuple[State, State | None]:
        """Compress an update and decompress it again.

        A value that isn't finite reaches the receiver as one that isn't, so that a diverged client is seen.

        Parameters
        ----------
        update : State
            What the client wants to send: floating-point tensors; left as it is.
        residual : State or None
            What this client kept back so far; None: nothing.
        draws : torch.Generator
            Source of randomness, on the CPU.

        Returns
        -------
        received : State
            What the receiver decodes, of the update's shapes and types.
        residual : State or None
            What the client keeps for the next time; None where ``keeps_residual`` is false.
        """

    @property
    def keeps_residual(self) -> bool:
        """Whether a client remembers what it didn't send."""
        return False


class NoCompression(CompressionSpec):
    """The update travels as it is: 4 bytes a value, decoded bit for bit."""

    kind: ClassVar[str] = "none"

    def payload_bytes(self, sizes: Mapping[str, int]) -> int:
        """See the base class."""
        return FLOAT_BYTES * sum(sizes.values())

    def compress(self, update: State, residual: State | None, draws: torch.Generator) -> tuple[State, None]:
        """See the base class."""
        return update, None


class Quantise(CompressionSpec):
    """Stochastic uniform quantisation: QSGD with the scale of its experiments, the largest magnitude.

    Each tensor is cut into buckets of ``bucket_size`` values. A bucket of largest magnitude M sends M and for each
    value v one of the levels −M, …, −M/s, 0, M/s, …, M with s = 2^(bits−1) − 1: of the two next to v, one drawn so
    that the mean is v. With d values in a bucket,

        E[Q(v)] = v,    E‖Q(v) − v‖² ≤ d M² / (4 s²),    E‖Q(v) − v‖² ≤ M ‖v‖₁ / s,

    so the variance is at most min(d / (4 s²), √d / s) ‖v‖². Zero is a level: what didn't move, doesn't.

    On the wire: for each tensor 4 bytes a bucket, then ``bits`` bits a value, filled up to whole bytes. Left out:
    QSGD's entropy coding, which would make the bytes depend on the values.

    Source: Alistarh et al., "QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding", NeurIPS
    2017, arXiv 1610.02132, sections 3.1 and 4.
    """

    kind: ClassVar[str] = "quantise"

    bits: Annotated[int, Field(ge=2, le=16)] = 8
    """Bits a value, sign included."""
    bucket_size: Annotated[int, Field(ge=1, le=2**31)] | None = 512
    """Neighbours in a tensor that share a scale; null: the whole tensor. Smaller: less noise, more bytes."""

    def payload_bytes(self, sizes: Mapping[str, int]) -> int:
        """See the base class."""
        num_buckets = sum(math.ceil(size / (self.bucket_size or max(size, 1))) for size in sizes.values())
        return FLOAT_BYTES * num_buckets + sum(math.ceil(size * self.bits / 8) for size in sizes.values())

    def compress(self, update: State, residual: State | None, draws: torch.Generator) -> tuple[State, None]:
        """See the base class. Draws one number a value, by tensor, whatever the values."""
        return {name: self._quantise(name, tensor, draws) for name, tensor in update.items()}, None

    def _quantise(self, name: str, tensor: Tensor, draws: torch.Generator) -> Tensor:
        import torch
        from torch.nn.functional import pad

        flat = _flat(name, tensor)
        if not len(flat):
            return tensor.clone()
        size = min(self.bucket_size or len(flat), len(flat))
        values_KB = pad(flat.double(), (0, -len(flat) % size)).reshape(-1, size)
        scale_K1 = values_KB.abs().amax(dim=1, keepdim=True)
        num_levels = 2 ** (self.bits - 1) - 1
        # an empty bucket is 0 / 1; one that isn't finite becomes NaN as a whole, as its scale is
        level_KB = values_KB / torch.where(scale_K1 == 0, 1.0, scale_K1) * num_levels
        chance = torch.rand(len(flat), dtype=torch.float64, generator=draws).to(flat.device)
        below_KB = level_KB.floor()
        rises_KB = pad(chance, (0, -len(flat) % size)).reshape(-1, size) < level_KB - below_KB
        decoded_KB = (below_KB + rises_KB) / num_levels * scale_K1
        decoded: Tensor = decoded_KB.flatten()[: len(flat)].to(tensor.dtype).reshape(tensor.shape)
        return decoded


class TopK(CompressionSpec):
    """The k values of largest magnitude of the whole update; with error feedback, the rest is sent later.

    k = ⌈share · d⌉ of an update of d values. With error feedback the client keeps a memory e, at first 0:

        sent = top_k(e + Δ),    e ← e + Δ − sent

    so everything is sent at some time, and what was sent and what is kept add up to all updates. Of equal magnitudes
    the first goes first, in the order of the tensors. The memory counts on its message to arrive: a sender isn't
    told whether it did, so what is lost on the way is lost.

    On the wire: 4 bytes for each of the k values, and where they belong as the shorter of two forms, 32-bit
    positions or one bit for each of the d values, filled up to a whole byte.

    Source: Stich, Cordonnier and Jaggi, "Sparsified SGD with Memory", NeurIPS 2018, arXiv 1809.07599, Algorithm 1,
    on updates of a whole round instead of single steps (the learning rate is already in Δ).
    """

    kind: ClassVar[str] = "top_k"

    share: Fraction = 0.1
    """Share of the values that is sent."""
    error_feedback: bool = True
    """Keep what isn't sent for the next time; false: forget it, which biases training."""

    @property
    def keeps_residual(self) -> bool:
        """See the base class."""
        return self.error_feedback

    def payload_bytes(self, sizes: Mapping[str, int]) -> int:
        """See the base class."""
        num_values = sum(sizes.values())
        num_sent = self._num_sent(num_values)
        return FLOAT_BYTES * num_sent + min(FLOAT_BYTES * num_sent, math.ceil(num_values / 8))

    def _num_sent(self, num_values: int) -> int:
        # a share of 0.1 of 30 is 3, though 0.1 * 30 is a little more
        return min(num_values, math.ceil(round(self.share * num_values, 6)))

    def compress(self, update: State, residual: State | None, draws: torch.Generator) -> tuple[State, State | None]:
        """See the base class. Draws nothing."""
        import torch

        wanted = update if residual is None else {name: tensor + residual[name] for name, tensor in update.items()}
        flat = torch.cat([_flat(name, tensor) for name, tensor in wanted.items()]) if wanted else torch.empty(0)
        chosen = _largest(flat, self._num_sent(len(flat)))
        masks = torch.split(chosen, [tensor.numel() for tensor in wanted.values()])
        sent: State = {}
        kept: State = {}
        for (name, tensor), mask in zip(wanted.items(), masks, strict=True):
            sent[name] = torch.where(mask.reshape(tensor.shape), tensor, 0.0)
            kept[name] = torch.where(mask.reshape(tensor.shape), 0.0, tensor)
        return sent, kept if self.error_feedback else None


def _flat(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        raise ValueError(f"'{name}' is {tensor.dtype} and has no update; use layers without counters")
    return tensor.flatten()


def _largest(flat: Tensor, count: int) -> Tensor:
    """Mark the ``count`` values of largest magnitude, of equals the first; values that aren't finite are largest."""
    import torch

    if count == 0:
        return torch.zeros_like(flat, dtype=torch.bool)
    magnitude = flat.abs().nan_to_num(nan=math.inf, posinf=math.inf)
    threshold = magnitude.topk(count, sorted=False).values.min()
    chosen = magnitude > threshold
    equals = (magnitude == threshold).nonzero().flatten()
    chosen[equals[: count - int(chosen.sum())]] = True
    return chosen
