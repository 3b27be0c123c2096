"""Training a gate on channels that are drawn: SNRs, features with their noise, scores that see the SNRs.

Draws are functions of who they are for: client, counter of its work and step, never of who else is in a cohort.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nmoe_sim.nmoe.channel_aware import ChannelAwareGate
from nmoe_sim.nmoe.cohort import State
from nmoe_sim.nmoe.losses import FixedExperts, masked_mean, mixture_loss
from nmoe_sim.nmoe.modules import Gate
from nmoe_sim.nmoe.stacked import StackedBatch
from nmoe_sim.nmoe.stacked_forward import stacked_forward
from nmoe_sim.nmoe.transport import add_noise
from nmoe_sim.rng import RandomStreams

FloatArray = NDArray[np.float64]

CHANNEL = "shared.channel"
"""Name of the channel part's weights v in a gate's state."""


class SharedWithChannel(nn.Sequential):
    """The layers of a gate's shared part, and beside them the weights v of its channel part, ``channel``.

    It computes what the layers do; the channel part is added outside, as it doesn't depend on features.

    Parameters
    ----------
    layers : nn.Module
        Layers, one after the other.
    num_knots : int
        Number of weights; they start at 0.
    """

    def __init__(self, layers: nn.Module, num_knots: int) -> None:
        super().__init__(*layers.children())
        self.channel = nn.Parameter(torch.zeros(num_knots))


class ChannelHead(nn.Module):
    """A gate as it is trained on channels: it returns a(h) and, beside it, v, so that a loss can add b(SNR).

    Parameters
    ----------
    gate : Gate
        Its shared part is a ``SharedWithChannel``; names of parameters stay.
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        assert isinstance(gate.shared, SharedWithChannel), "the gate has no channel part"
        self.shared, self.local, self._add = gate.shared, gate.local, gate.add

    def forward(self, h_BD: Tensor) -> Tensor:
        """Return the N scores without the channel and the K weights of the channel part, (B, N + K)."""
        scores_BN = self._add(self.shared(h_BD), self.local(h_BD))
        return torch.cat([scores_BN, self.shared.channel.expand(*h_BD.shape[:-1], -1)], dim=-1)


def channel_scores(gate: ChannelAwareGate, state: Mapping[str, Tensor]) -> Callable[[FloatArray], NDArray[np.float32]]:
    """Return b of one client's gate, in NumPy: SNRs in dB [..., N] → what they add to the scores [..., N].

    Parameters
    ----------
    gate : ChannelAwareGate
    state : State
        The client's trained gate.
    """
    weights_K = state[CHANNEL].detach().cpu().numpy().astype(np.float64)

    def scores(snr_db: FloatArray) -> NDArray[np.float32]:
        return (gate.hinges(snr_db) @ weights_K).astype(np.float32)

    return scores


def scores_on_channels(gate: ChannelAwareGate, out_ABM: Tensor, snr_db: FloatArray) -> Tensor:
    """Return scores_ABN = a(h) + b(SNR) from what ``ChannelHead`` returns; differentiable in both parts.

    Parameters
    ----------
    gate : ChannelAwareGate
    out_ABM : Tensor
        M = N + K, for each client A and sample B.
    snr_db : ndarray, shape (A, B, N)
        May be infinite.
    """
    num_experts = snr_db.shape[-1]
    hinges_ABNK = torch.from_numpy(gate.hinges(snr_db)).to(out_ABM)
    channel_ABN = (hinges_ABNK * out_ABM[..., None, num_experts:]).sum(dim=-1)
    return out_ABM[..., :num_experts] + channel_ABN


@dataclass(frozen=True)
class Draws:
    """What the clients of a cohort draw: streams by client, counter of its work, and step.

    Parameters
    ----------
    streams : RandomStreams
        Streams ``gate_snr``, ``gate_channel`` and ``gate_noise``.
    clients, counters : sequence of int
        Client and counter of each work; ``StackedBatch.clients_A`` are positions in them.
    """

    streams: RandomStreams
    clients: Sequence[int]
    counters: Sequence[int]

    def normal(self, name: str, batch: StackedBatch, *shape: int) -> Tensor:
        """Draw standard normals (A, B, *shape); 0 where padded."""
        drawn = torch.zeros((*batch.mask_AB.shape, *shape))
        widths, generator = batch.mask_AB.sum(dim=1).tolist(), torch.Generator()
        for drawn_B, at, width in zip(drawn, batch.clients_A.tolist(), widths, strict=True):
            generator.manual_seed(self.streams.seed_of(name, self.clients[at], self.counters[at], batch.step))
            drawn_B[:width].normal_(generator=generator)
        return drawn.to(batch.mask_AB.device)

    def noisy_scores(
        self, scores_ABN: Tensor, noise_std: float, available_WN: Tensor | None, batch: StackedBatch
    ) -> Tensor:
        """Return scores with noise on them (noisy top-k), -inf where an expert isn't available to the work.

        All are where ``available_WN`` is None.
        """
        if noise_std:
            noise_ABN = self.normal("gate_noise", batch, scores_ABN.shape[-1])
            scores_ABN = scores_ABN + noise_std * noise_ABN.to(scores_ABN)
        if available_WN is None:
            return scores_ABN
        return scores_ABN.masked_fill(~available_WN[batch.clients_A].unsqueeze(1), -torch.inf)

    def snr_db(self, gate: ChannelAwareGate, batch: StackedBatch, num_experts: int) -> FloatArray:
        """Draw the SNR of each sample's way to each expert (A, B, N), in dB: uniform over the gate's range.

        Independent of all others; infinite to the client's own expert, number ``client``, and where padded.
        """
        at, mask_AB = batch.clients_A.cpu().numpy(), batch.mask_AB.cpu().numpy()
        client_A11, counter_A11 = (np.asarray(x)[at][:, None, None] for x in (self.clients, self.counters))
        place_B1, expert_N = np.arange(mask_AB.shape[1])[:, None], np.arange(num_experts)
        share = self.streams.uniform("gate_snr", client_A11, counter_A11, batch.step, place_B1, expert_N)
        drawn_db = gate.snr_min_db + (gate.snr_max_db - gate.snr_min_db) * share
        return np.where((expert_N == client_A11) | ~mask_AB[..., None], np.inf, drawn_db)


@dataclass(frozen=True)
class ChannelLoss:
    """A ``StackedLoss`` for ``ChannelHead``: the mixture's negative log-likelihood over channels, and a regulariser.

    On channels, every expert's features get noise of their own by a drawn SNR, H_n(h + n_n), and the gate sees
    the SNRs; else all is as for a gate that doesn't look.

    Parameters
    ----------
    gate : ChannelAwareGate
    draws : Draws
    expert : nn.Module
        Architecture of an expert.
    experts : State
        Stacked states of all experts, by number.
    h_RD : Tensor
        Features of the cohort's samples, as ``StackedBatch.rows_AB`` counts them; likewise the next.
    fixed : FixedExperts
        What experts say to the features themselves.
    top_k : int
        Experts in the mixture.
    noise_std : float
        Noise on scores (noisy top-k).
    available_WN : Tensor of bool, optional
        Experts that each client of the cohort may ask; None: all.
    regulariser : callable
        regulariser(scores_ABN, mask_AB) → what is added to each client's loss (A,) on channels; scores are -inf where
        an expert isn't available.
    on_channels : bool
        Whether channels are drawn; False: all are perfect, and nothing is added.
    """

    gate: ChannelAwareGate
    draws: Draws
    expert: nn.Module
    experts: State
    h_RD: Tensor
    fixed: FixedExperts
    top_k: int
    noise_std: float
    available_WN: Tensor | None
    regulariser: Callable[[Tensor, Tensor], Tensor]
    on_channels: bool

    def __call__(self, out_ABM: Tensor, batch: StackedBatch) -> Tensor:
        """Return each client's loss (A,)."""
        num_experts, rows_AB = self.fixed.said.shape[1], batch.rows_AB
        if not self.on_channels:
            scores_ABN = self._noisy(out_ABM[..., :num_experts], batch)
            return masked_mean(self.fixed.loss(scores_ABN, rows_AB, self.top_k), batch.mask_AB)
        snr_db = self.draws.snr_db(self.gate, batch, num_experts)
        scores_ABN = self._noisy(scores_on_channels(self.gate, out_ABM, snr_db), batch)
        outputs_ABNC, labels_AB = self.noisy_outputs(snr_db, batch), self.fixed.labels_R[rows_AB]
        values_AB = mixture_loss(scores_ABN, outputs_ABNC, labels_AB, top_k=self.top_k, how=self.fixed.how)
        return masked_mean(values_AB, batch.mask_AB) + self.regulariser(scores_ABN, batch.mask_AB)

    def _noisy(self, scores_ABN: Tensor, batch: StackedBatch) -> Tensor:
        return self.draws.noisy_scores(scores_ABN, self.noise_std, self.available_WN, batch)

    def noisy_outputs(self, snr_db: FloatArray, batch: StackedBatch) -> Tensor:
        """Return what every expert says to the features that reach it, H_n(h + n_n), (A, B, N, C)."""
        h_ABD = self.h_RD[batch.rows_AB]
        num_experts, num_features = snr_db.shape[-1], h_ABD.shape[-1]
        noise_to_signal_ABN = torch.from_numpy(10.0 ** (-snr_db / 10.0)).to(h_ABD)
        standard_ABND = self.draws.normal("gate_channel", batch, num_experts, num_features).to(h_ABD)
        received_ABND = add_noise(h_ABD.unsqueeze(2), noise_to_signal_ABN, standard_ABND)
        with torch.no_grad():
            said_NXC = stacked_forward(self.expert)(self.experts, received_ABND.flatten(0, 1).transpose(0, 1))
        return said_NXC.transpose(0, 1).reshape(*snr_db.shape, -1)
