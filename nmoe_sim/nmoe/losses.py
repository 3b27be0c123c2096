"""Losses, and the pieces of spectral contrastive learning. Each is a value a sample or a scalar."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nmoe_sim.nmoe.mixture import Combine, gather_experts, select_top_k


def cross_entropy(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Return −log softmax(logits)[label] for each sample; all axes but the last are batch axes."""
    return -logits_BC.log_softmax(dim=-1).gather(-1, labels_B.unsqueeze(-1)).squeeze(-1)


def masked_mean(values_AB: Tensor, mask_AB: Tensor) -> Tensor:
    """Return the mean over the samples that count, for each client: shape (A,)."""
    return torch.where(mask_AB, values_AB, 0.0).sum(dim=-1) / mask_AB.sum(dim=-1)


def mixture_loss(
    scores_BN: Tensor,
    outputs_BNC: Tensor,
    labels_B: Tensor,
    *,
    top_k: int | None,
    how: Combine,
    available_BN: Tensor | None = None,
) -> Tensor:
    """Return the negative log-likelihood of the mixture, which trains the gate over fixed experts.

    ``probabilities``: −log Σ_k w_k softmax(o_k)[label]; ``logits``: cross-entropy of Σ_k w_k o_k; with
    w = softmax of the chosen scores. Only chosen experts pass a gradient, as in Shazeer et al. 2017.

    Parameters
    ----------
    scores_BN : Tensor
        Gate scores; add noise before for noisy top-k.
    outputs_BNC : Tensor
        Logits of all experts for the samples.
    labels_B : Tensor of int64
        Labels.
    top_k : int or None
        Experts chosen for each sample; None: all (a dense mixture).
    how : {"logits", "probabilities"}
        What the mixture adds up.
    available_BN : Tensor of bool, optional
        Experts that may be chosen, such as the peers drawn for a round; at least one in each row.

    Returns
    -------
    Tensor, shape (B,)
        Loss of each sample.
    """
    if available_BN is not None:
        scores_BN = scores_BN.masked_fill(~available_BN, -torch.inf)
    if top_k is not None and top_k < scores_BN.shape[-1]:
        chosen_BK = select_top_k(scores_BN.detach(), top_k)
        scores_BN = scores_BN.gather(-1, chosen_BK)
        outputs_BNC = gather_experts(outputs_BNC, chosen_BK)
    if how == "logits":
        return cross_entropy((scores_BN.softmax(dim=-1).unsqueeze(-1) * outputs_BNC).sum(dim=-2), labels_B)
    label_BN1 = labels_B[..., None, None].expand(*outputs_BNC.shape[:-1], 1)
    log_p_BN = outputs_BNC.log_softmax(dim=-1).gather(-1, label_BN1).squeeze(-1)
    # in logs: a weight that vanishes must not turn the gradient into 0 · inf
    return -(scores_BN.log_softmax(dim=-1) + log_p_BN).logsumexp(dim=-1)


def load_balance_loss(scores_BN: Tensor, top_k: int, mask_B: Tensor | None = None) -> Tensor:
    """Return how uneven a batch's load on the experts is: N · Σ_n f_n P_n.

    f_n is the share of the batch's choices that expert n gets, P_n its mean gate probability. Even load gives 1,
    all on one expert gives N (with ``top_k`` 1). Choices have no gradient, so that it flows through P.

    Source: Fedus et al., "Switch Transformers", 2021, arXiv 2101.03961, equations 4 to 6, there for ``top_k`` 1; that
    f counts all K choices of a sample, each as 1/K, is the usual extension.

    Parameters
    ----------
    scores_BN : Tensor
        Gate scores; axes before the last two are of independent batches, such as clients.
    top_k : int
        Experts chosen for each sample, at most N.
    mask_B : Tensor of bool, optional
        False where a row is padding; at least one True in each batch.

    Returns
    -------
    Tensor
        A value a batch: shape of the scores without the last two axes.
    """
    num_experts = scores_BN.shape[-1]
    chosen_BK = select_top_k(scores_BN.detach(), top_k)
    choices_BN = torch.zeros_like(scores_BN).scatter(-1, chosen_BK, 1.0 / top_k)
    probabilities_BN = scores_BN.softmax(dim=-1)
    if mask_B is None:
        load_N, probability_N = choices_BN.mean(dim=-2), probabilities_BN.mean(dim=-2)
    else:
        load_N = masked_mean(choices_BN.transpose(-1, -2), mask_B.unsqueeze(-2))
        probability_N = masked_mean(probabilities_BN.transpose(-1, -2), mask_B.unsqueeze(-2))
    return num_experts * (load_N * probability_N).sum(dim=-1)


def z_loss(scores_BN: Tensor) -> Tensor:
    """Return (log Σ_n exp s_n)² for each sample: it keeps scores small, so that softmax stays well-conditioned.

    Source: Zoph et al., "ST-MoE", 2022, arXiv 2202.08906, equation 5; its mean over samples is the published loss.
    """
    return scores_BN.logsumexp(dim=-1).square()


def clip_rows(z_BP: Tensor, max_norm_squared: float) -> Tensor:
    """Scale rows down to ‖z‖ ≤ √μ; rows within stay as they are, bit for bit.

    Parameters
    ----------
    z_BP : Tensor
        Projector outputs.
    max_norm_squared : float
        μ; 4 in FedSC.
    """
    radius = math.sqrt(max_norm_squared)
    norm_B1: Tensor = torch.linalg.vector_norm(z_BP, dim=-1, keepdim=True)
    return z_BP * (radius / norm_B1.clamp_min(radius))


def correlation(z1_BP: Tensor, z2_BP: Tensor) -> Tensor:
    """Return R = ZᵀZ/(2B) with Z = [z1; z2], symmetric, shape (P, P)."""
    z = torch.cat([z1_BP, z2_BP])
    r_PP: Tensor = z.T @ z / len(z)
    return r_PP


def fedsc_loss(z1_BP: Tensor, z2_BP: Tensor, *, alpha: float = 1.0, others_PP: Tensor | None = None) -> Tensor:
    """Return a client's federated spectral contrastive loss.

    −2·mean⟨z1, z2⟩ + α tr(R̂R̂) + 2(1−α) tr(R̂ R̄), with R̂ the batch's correlation matrix and R̄ the
    other clients', a constant. With α = 1 it is the local spectral contrastive loss −2 E⟨z1, z2⟩ + ‖R̂‖²_F.

    Source: Jing et al., "FedSC: Provable Federated Self-supervised Learning with Spectral Contrastive
    Objective over Non-i.i.d. Data", ICML 2024, arXiv 2405.03949.

    Parameters
    ----------
    z1_BP, z2_BP : Tensor
        Clipped projector outputs of two augmentations of the same samples.
    alpha : float
        Share of the client's own matrix. The weighted sum of the clients' gradients is that of the loss
        over all samples when α_j = p_j = n_j/n and R̄_j = Σ_{k≠j} p_k R_k/(1−p_j), all of the same views.
    others_PP : Tensor, optional
        R̄; needed unless α = 1.

    Returns
    -------
    Tensor
        Scalar.
    """
    own_PP = correlation(z1_BP, z2_BP)
    loss = alpha * own_PP.square().sum() - 2 * (z1_BP * z2_BP).sum(dim=-1).mean()
    if others_PP is not None:
        return loss + 2 * (1 - alpha) * (own_PP * others_PP).sum()
    if alpha != 1:
        raise ValueError(f"alpha {alpha:g} needs the others' correlation matrix; only alpha 1 does without")
    return loss


def add_symmetric_noise(r_PP: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of standard deviation ``std`` to the upper triangle, mirrored to the lower.

    The Gaussian mechanism on the P(P+1)/2 distinct entries; a client sends only those.
    """
    noise = torch.randn(r_PP.shape, dtype=r_PP.dtype, generator=generator).to(r_PP.device).triu()
    return r_PP + std * (noise + noise.triu(1).T)
