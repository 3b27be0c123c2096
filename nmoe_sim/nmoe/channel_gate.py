"""Training a gate on channels that are drawn: SNRs, features with their noise, scores that see the SNRs.

Draws are functions of who they are for: client, round and step, never of who else is in a cohort.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nmoe_sim.nmoe.channel_aware import ChannelAwareGate
from nmoe_sim.nmoe.cohort import State
from nmoe_sim.nmoe.randomness import torch_generator
from nmoe_sim.nmoe.stacked import HeadBatch, stacked_forward
from nmoe_sim.nmoe.transport import add_noise
from nmoe_sim.rng import RandomStreams

FloatArray = NDArray[np.float64]

CHANNEL = "shared.channel"
"""Name of the channel part's weights v in a gate's state."""


class SharedWithChannel(nn.Sequential):
    """The layers of a gate's shared part, and beside them the weights v of its channel part, ``channel``.

    It computes what the layers do; what the channel adds is ``scores_on_channels``'s.

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


def sampled_snr_db(
    gate: ChannelAwareGate, batch: HeadBatch, num_experts: int, streams: RandomStreams, round: int
) -> FloatArray:
    """Draw the SNR of each sample's way to each expert: uniform in dB over the gate's range, independent.

    The way to the client's own expert, number ``client``, is perfect. What is padding is perfect too.

    Parameters
    ----------
    gate : ChannelAwareGate
        Whose range it is.
    batch : HeadBatch
        Samples of a step.
    num_experts : int
        Experts N.
    streams : RandomStreams
        Stream ``gate_snr``, by client, round, step, place in the batch and expert.
    round : int

    Returns
    -------
    ndarray of float64, shape (A, B, N)
        In dB; infinite where perfect.
    """
    clients_A, mask_AB = batch.clients_A.cpu().numpy(), batch.mask_AB.cpu().numpy()
    client_A11, expert_N = clients_A[:, None, None], np.arange(num_experts)
    place_B1 = np.arange(mask_AB.shape[1])[:, None]
    share = streams.uniform("gate_snr", client_A11, round, batch.step, place_B1, expert_N)
    snr_db = gate.snr_min_db + (gate.snr_max_db - gate.snr_min_db) * share
    perfect = (expert_N == client_A11) | ~mask_AB[..., None]
    return np.where(perfect, np.inf, snr_db)


def noisy_outputs(
    expert: nn.Module, experts: State, h_ABD: Tensor, snr_db: FloatArray, batch: HeadBatch, streams: RandomStreams,
    round: int,
) -> Tensor:  # fmt: skip
    """Compute what every expert says to the features that reach it over its channel: H_n(h + n_n).

    Parameters
    ----------
    expert : nn.Module
        Architecture of an expert.
    experts : State
        Stacked states of all experts.
    h_ABD : Tensor
        Features of the batch.
    snr_db : ndarray, shape (A, B, N)
        As of ``sampled_snr_db``.
    batch : HeadBatch
    streams : RandomStreams
        Stream ``gate_channel``, by client, round and step.
    round : int

    Returns
    -------
    Tensor, shape (A, B, N, C)
        Logits.
    """
    noise_to_signal_ABN = torch.from_numpy(10.0 ** (-snr_db / 10.0)).to(h_ABD)
    shape = (*h_ABD.shape[:2], snr_db.shape[-1], h_ABD.shape[-1])
    standard_ABND = torch.zeros(shape, dtype=h_ABD.dtype)
    widths = batch.mask_AB.sum(dim=1).tolist()
    for i, (client, width) in enumerate(zip(batch.clients_A.tolist(), widths, strict=True)):
        generator = torch_generator(streams, "gate_channel", client, round, batch.step)
        standard_ABND[i, :width] = torch.randn((width, *shape[2:]), generator=generator)
    h_ABND = add_noise(h_ABD.unsqueeze(2), noise_to_signal_ABN, standard_ABND.to(h_ABD.device))
    said_NXC = stacked_forward(expert, experts, h_ABND.flatten(0, 1).transpose(0, 1))
    return said_NXC.transpose(0, 1).reshape(*shape[:3], -1)


def scores_on_channels(
    gate: ChannelAwareGate, module: nn.Module, stacked: Mapping[str, Tensor], h_ABD: Tensor, snr_db: FloatArray
) -> Tensor:
    """Return each client's scores_ABN = a(h) + b(SNR) of stacked gates; differentiable in both parts.

    Parameters
    ----------
    gate : ChannelAwareGate
    module : nn.Module
        Architecture of the gate.
    stacked : State
        Gates of the clients, stacked.
    h_ABD : Tensor
        Features of the batch.
    snr_db : ndarray, shape (A, B, N)
    """
    hinges_ABNK = torch.from_numpy(gate.hinges(snr_db)).to(h_ABD)
    channel_ABN = torch.einsum("abnk,ak->abn", hinges_ABNK, stacked[CHANNEL])
    return stacked_forward(module, stacked, h_ABD) + channel_ABN
