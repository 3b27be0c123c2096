"""The mixture: which experts, with which weights, and what they say together.

Scores and outputs may be live tensors or rows of precomputed tables; all axes but the last (for
outputs, the last two) are batch axes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Combine = Literal["logits", "probabilities"]


def select_top_k(scores_BN: Tensor, top_k: int, available_BN: Tensor | None = None) -> Tensor:
    """Choose the experts of the highest scores, best first; ties go to the lowest index.

    Parameters
    ----------
    scores_BN : Tensor
        A score for each sample and expert.
    top_k : int
        Experts chosen for each sample, at most N.
    available_BN : Tensor of bool, optional
        Experts that may be chosen, broadcast against the scores; all when left out. Where fewer than
        ``top_k`` are available, unavailable ones fill the last places; ``top_k_weights`` gives them weight 0.

    Returns
    -------
    Tensor of int64, shape (B, K)
        Indices of the chosen experts.
    """
    if not 1 <= top_k <= scores_BN.shape[-1]:
        raise ValueError(f"top_k {top_k} must be from 1 to the number of experts, {scores_BN.shape[-1]}")
    # torch.topk leaves the order of ties open, and for a few of many a stable sort takes longer
    left_BN = _masked(scores_BN, available_BN).clamp_min(torch.finfo(scores_BN.dtype).min)
    chosen = []
    for _ in range(top_k):
        chosen.append(left_BN.argmax(dim=-1, keepdim=True))
        left_BN.scatter_(-1, chosen[-1], -torch.inf)
    return torch.cat(chosen, dim=-1)


def mixture_weights(scores_BK: Tensor, arrived_BK: Tensor | None = None) -> Tensor:
    """Weight the chosen experts by softmax of their scores, over those whose outputs arrived.

    Parameters
    ----------
    scores_BK : Tensor
        Scores of the chosen experts.
    arrived_BK : Tensor of bool, optional
        Experts to weight; all when left out.

    Returns
    -------
    Tensor, shape (B, K)
        Non-negative, 0 where nothing arrived; a row sums to 1, or to 0 where no expert arrived.
    """
    if arrived_BK is None:
        return scores_BK.softmax(dim=-1)
    weights_BK = _masked(scores_BK, arrived_BK).softmax(dim=-1)
    return torch.where(arrived_BK.any(dim=-1, keepdim=True), weights_BK, 0.0)


def top_k_weights(scores_BN: Tensor, top_k: int, available_BN: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Choose experts and weight them: w = softmax(s[K]).

    Returns
    -------
    chosen_BK : Tensor of int64
        As ``select_top_k``.
    weights_BK : Tensor
        Softmax over the chosen, available experts; at least one must be available in each row.
    """
    chosen_BK = select_top_k(scores_BN, top_k, available_BN)
    return chosen_BK, _masked(scores_BN, available_BN).gather(-1, chosen_BK).softmax(dim=-1)


def combine(weights_BK: Tensor, outputs_BKC: Tensor, how: Combine) -> Tensor:
    """Add up what the experts say: y = Σ_k w_k o_k, with o_k an expert's logits or their softmax.

    Parameters
    ----------
    weights_BK : Tensor
        Weights, as of ``mixture_weights``.
    outputs_BKC : Tensor
        Logits of the chosen experts. They must be finite also where the weight is 0.
    how : {"logits", "probabilities"}
        What is added up.

    Returns
    -------
    Tensor, shape (B, C)
        Logits or probabilities of the mixture.
    """
    terms_BKC = outputs_BKC.softmax(dim=-1) if how == "probabilities" else outputs_BKC
    return (weights_BK.unsqueeze(-1) * terms_BKC).sum(dim=-2)


def predictions(y_BC: Tensor) -> Tensor:
    """Return the class of the highest value; ties go to the lowest class."""
    return y_BC.argmax(dim=-1)


def gather_experts(outputs_BNC: Tensor, chosen_BK: Tensor) -> Tensor:
    """Pick outputs_BKC of the chosen experts."""
    return outputs_BNC.gather(-2, chosen_BK.unsqueeze(-1).expand(*chosen_BK.shape, outputs_BNC.shape[-1]))


def _masked(scores: Tensor, keep: Tensor | None) -> Tensor:
    return scores if keep is None else scores.masked_fill(~keep, -torch.inf)
