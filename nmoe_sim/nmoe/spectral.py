"""Spectral contrastive learning, of one client and of several (FedSC).

Sources: HaoChen et al., "Provable Guarantees for Self-Supervised Deep Learning with Spectral Contrastive
Loss", NeurIPS 2021, arXiv 2106.04156; Jing et al., "FedSC: Provable Federated Self-supervised Learning with
Spectral Contrastive Objective over Non-i.i.d. Data", ICML 2024, arXiv 2405.03949.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from nmoe_sim.nmoe.augment import Augmentation


def projected_views(
    model: nn.Module, x_BCHW: Tensor, augmentation: Augmentation, max_norm_squared: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the clipped projector outputs z1, z2, each (B, P), of two random views of each image.

    Parameters
    ----------
    model : nn.Module
        Extractor and projector.
    x_BCHW : Tensor
        Images.
    augmentation : Augmentation
        Law of the views.
    max_norm_squared : float
        μ; see ``clip_rows``.
    generator : torch.Generator
        On the CPU; draws the first view of all images, then the second.
    """
    first, second = (augmentation.apply(x_BCHW, generator) for _ in range(2))
    return clip_rows(model(first), max_norm_squared), clip_rows(model(second), max_norm_squared)


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


def others_mean(known: Mapping[int, Tensor], shares: Sequence[float], client: int) -> Tensor | None:
    """Return R̄_j = Σ_k p_k R_k / Σ_k p_k over the *other* clients k whose matrix is known; None if none is.

    A client that is away counts with the last matrix it sent, as in the authors' code; one that never sent
    any is left out, and the others' weights are made to sum to 1 (ours).

    Parameters
    ----------
    known : mapping of int to Tensor
        Last matrix of each client that was heard of, (P, P).
    shares : sequence of float
        Each client's share p_k of the training samples.
    client : int
        Client j; its own matrix doesn't count.
    """
    others = [k for k in sorted(known) if k != client and shares[k] > 0]
    if not others:
        return None
    total = sum(shares[k] for k in others)
    mean_PP: Tensor = torch.stack([shares[k] / total * known[k] for k in others]).sum(dim=0)
    return mean_PP


def upper_triangle(r_PP: Tensor) -> Tensor:
    """Return the P(P+1)/2 distinct entries of a symmetric matrix, row by row: what travels."""
    return r_PP[tuple(torch.triu_indices(*r_PP.shape, device=r_PP.device))]


def from_upper_triangle(entries: Tensor) -> Tensor:
    """Return the symmetric matrix of the entries that ``upper_triangle`` gives."""
    size = (math.isqrt(8 * len(entries) + 1) - 1) // 2
    r_PP = entries.new_zeros(size, size)
    r_PP[tuple(torch.triu_indices(size, size, device=entries.device))] = entries
    return r_PP + r_PP.triu(1).T
