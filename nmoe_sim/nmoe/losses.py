"""Losses. Each is a value a sample or a scalar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nmoe_sim.nmoe.mixture import Combine, gather_experts, select_top_k


def cross_entropy(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Return −log softmax(logits)[label] for each sample; all axes but the last are batch axes."""
    return -label_log_probabilities(logits_BC, labels_B)


def label_log_probabilities(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Return log softmax(logits)[label] for each sample; all axes but the last are batch axes.

    Classes go before the last batch axis meanwhile: torch works on many samples at a time only across the last axis,
    and with ten classes that is several times faster.
    """
    return logits_BC.transpose(-1, -2).log_softmax(dim=-2).gather(-2, labels_B.unsqueeze(-2)).squeeze(-2)


def smoothed_cross_entropy(logits_BC: Tensor, labels_B: Tensor, smoothing: float) -> Tensor:
    """Return the cross-entropy of each sample with (1 − ε) of its label and ε of the uniform law, ε ``smoothing``.

    Source: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, arXiv 1512.00567, section 7.
    """
    if not smoothing:
        return cross_entropy(logits_BC, labels_B)
    uniform_B = -logits_BC.log_softmax(dim=-1).mean(dim=-1)
    return (1.0 - smoothing) * cross_entropy(logits_BC, labels_B) + smoothing * uniform_B


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

    Returns
    -------
    Tensor, shape (B,)
        Loss of each sample.
    """
    chosen_BK, scores_BK = _best(scores_BN, top_k)
    outputs_BKC = gather_experts(outputs_BNC, chosen_BK)
    if how == "logits":
        return _of_logits(scores_BK, outputs_BKC, labels_B)
    return _of_probabilities(scores_BK, _each_experts(outputs_BKC, labels_B))


@dataclass(frozen=True)
class FixedExperts:
    """What fixed experts say to known samples, as ``mixture_loss`` needs it: no softmax is computed twice.

    Parameters
    ----------
    said : Tensor
        With ``logits`` those of all experts (R, N, C); with ``probabilities`` the logs of the labels' (R, N).
    labels_R : Tensor of int64
        Labels of the R samples.
    how : {"logits", "probabilities"}
        What the mixture adds up.
    """

    said: Tensor
    labels_R: Tensor
    how: Combine

    @classmethod
    def of(cls, outputs_RNC: Tensor, labels_R: Tensor, how: Combine) -> FixedExperts:
        """Prepare the logits of all experts."""
        return cls(outputs_RNC if how == "logits" else _each_experts(outputs_RNC, labels_R), labels_R, how)

    @classmethod
    def cat(cls, parts: Sequence[FixedExperts]) -> FixedExperts:
        """Join the samples of parts of one kind, in their order."""
        return cls(torch.cat([p.said for p in parts]), torch.cat([p.labels_R for p in parts]), parts[0].how)

    def loss(self, scores_BN: Tensor, rows_B: Tensor, top_k: int | None) -> Tensor:
        """Return ``mixture_loss`` of samples ``rows_B``."""
        chosen_BK, scores_BK = _best(scores_BN, top_k)
        said_BK = self.said[rows_B.unsqueeze(-1), chosen_BK]
        if self.how == "logits":
            return _of_logits(scores_BK, said_BK, self.labels_R[rows_B])
        return _of_probabilities(scores_BK, said_BK)


def _best(scores_BN: Tensor, top_k: int | None) -> tuple[Tensor, Tensor]:
    """Return the chosen experts and their scores; choices have no gradient."""
    num_experts = scores_BN.shape[-1]
    if top_k is None or top_k >= num_experts:
        return torch.arange(num_experts, device=scores_BN.device).expand(scores_BN.shape), scores_BN
    chosen_BK = select_top_k(scores_BN.detach(), top_k)
    return chosen_BK, scores_BN.gather(-1, chosen_BK)


def _each_experts(outputs_BKC: Tensor, labels_B: Tensor) -> Tensor:
    return label_log_probabilities(outputs_BKC, labels_B.unsqueeze(-1).expand(outputs_BKC.shape[:-1]))


def _of_logits(scores_BK: Tensor, outputs_BKC: Tensor, labels_B: Tensor) -> Tensor:
    return cross_entropy((scores_BK.softmax(dim=-1).unsqueeze(-1) * outputs_BKC).sum(dim=-2), labels_B)


def _of_probabilities(scores_BK: Tensor, log_p_BK: Tensor) -> Tensor:
    # in logs: a weight that vanishes must not turn the gradient into 0 · inf
    return -(scores_BK.log_softmax(dim=-1) + log_p_BK).logsumexp(dim=-1)


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
