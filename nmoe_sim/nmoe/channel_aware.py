"""A gate that looks at the channel too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from nmoe_sim.nmoe.gates import MlpGate

if TYPE_CHECKING:
    import torch

    from nmoe_sim.nmoe.modules import Gate

Decibel = Annotated[float, Field(ge=-100, le=100)]


class ChannelAwareGate(MlpGate):
    """A perceptron gate that also looks at the SNR to each expert: scores_N = a(h) + b(SNR_1 … SNR_N).

    a is the ``mlp`` gate. b_n = Σ_k v_k g_k(SNR_n), with hinges g_k(SNR) = (knot_k − SNR)⁺ / (snr_max_db − snr_min_db)
    of the SNR in dB, cut to the range. So b is piecewise linear; 0 from ``snr_max_db`` on, as for an
    expert on the client's own device; and constant below ``snr_min_db``. v starts at 0: before it is trained, and on
    perfect channels for ever, the gate scores as ``mlp`` does.

    v is one for all experts and part of what clients synchronise: noise takes from every expert in much the same
    way, any expert may come to be behind any channel, and what is learned on one link then holds on all.

    Source: arXiv 2504.00819 feeds features and SNRs to one gate; the minimal form W [h; g(SNR)] + b is our reading.
    Separable as that is, it costs nothing at a request: a is a table, b a few numbers. Hinges in place of one g let b
    bend where noise begins to matter. Left out: how much a sample minds noise, which isn't separable.
    """

    kind: ClassVar[str] = "channel_aware"

    snr_min_db: Decibel = -10.0
    """Least SNR told apart; training draws from here."""
    snr_max_db: Decibel = 20.0
    """SNR from which on a channel counts as perfect; training draws up to here."""
    num_knots: Annotated[int, Field(ge=1, le=100)] = 4
    """Hinges, at even steps of the range, the last one at ``snr_max_db``; 1: b is linear in the SNR."""

    @model_validator(mode="after")
    def _is_a_range(self) -> ChannelAwareGate:
        if self.snr_min_db >= self.snr_max_db:
            raise ValueError(f"snr_min_db {self.snr_min_db:g} must be below snr_max_db {self.snr_max_db:g}; lower it")
        return self

    def hinges(self, snr_db: ArrayLike) -> NDArray[np.float64]:
        """Return g_k of SNRs [...] in dB, which may be infinite, as an array [..., K]; from 0 to 1."""
        span_db = self.snr_max_db - self.snr_min_db
        knots_db = self.snr_min_db + span_db * np.arange(1, self.num_knots + 1) / self.num_knots
        seen_db = np.clip(np.asarray(snr_db, dtype=np.float64), self.snr_min_db, self.snr_max_db)
        return np.asarray(np.maximum(knots_db - seen_db[..., None], 0.0) / span_db)

    def build(self, num_features: int, num_experts: int, generator: torch.Generator) -> Gate:
        """Build the module; v is its parameter ``shared.channel``."""
        from nmoe_sim.nmoe.channel_gate import SharedWithChannel

        gate = super().build(num_features, num_experts, generator)
        gate.shared = SharedWithChannel(gate.shared, self.num_knots)
        return gate

    def num_shared_parameters(self, num_features: int, num_experts: int) -> int:
        """Return the number of parameters of the shared part, without torch."""
        return super().num_shared_parameters(num_features, num_experts) + self.num_knots

    def num_parameters(self, num_features: int, num_experts: int) -> int:
        """Return the number of parameters of both parts, without torch."""
        return super().num_parameters(num_features, num_experts) - self.num_knots
