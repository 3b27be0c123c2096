import math

import pytest
import torch
from torch.nn import functional as F

from nmoe_sim.nmoe import losses
from nmoe_sim.nmoe.mixture import combine, gather_experts, top_k_weights


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def test_cross_entropy_is_torchs_for_any_batch_axes():
    logits, labels = randn(3, 4, 5), torch.arange(12).reshape(3, 4) % 5
    reference = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").reshape(3, 4)
    torch.testing.assert_close(losses.cross_entropy(logits, labels), reference)


def test_masked_mean_ignores_padding_whatever_it_holds():
    values = torch.tensor([[1.0, 3.0, math.nan], [2.0, math.inf, 4.0]])
    mask = torch.tensor([[True, True, False], [True, False, True]])
    assert losses.masked_mean(values, mask).tolist() == [2.0, 3.0]


@pytest.mark.parametrize("how", ["logits", "probabilities"])
@pytest.mark.parametrize("top_k", [1, 2, 4, None])
def test_mixture_loss_is_the_negative_log_likelihood_of_the_combination(how, top_k):
    scores, outputs, labels = randn(6, 4), randn(6, 4, 3, seed=1), torch.arange(6) % 3
    chosen, weights = top_k_weights(scores, top_k or 4)
    y = combine(weights, gather_experts(outputs, chosen), how)
    reference = (
        F.cross_entropy(y, labels, reduction="none")
        if how == "logits"
        else F.nll_loss(y.log(), labels, reduction="none")
    )
    torch.testing.assert_close(losses.mixture_loss(scores, outputs, labels, top_k=top_k, how=how), reference)


@pytest.mark.parametrize("how", ["logits", "probabilities"])
@pytest.mark.parametrize("top_k", [2, None])
def test_only_available_experts_pass_a_gradient(how, top_k):
    scores = randn(5, 4).requires_grad_()
    available = torch.tensor([True, False, True, True])
    loss = losses.mixture_loss(
        scores, randn(5, 4, 3, seed=1), torch.zeros(5, dtype=torch.int64), top_k=top_k, how=how, available_BN=available
    )
    loss.sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert (scores.grad[:, 1] == 0).all()
    assert (scores.grad != 0).sum(dim=1).tolist() == [top_k or 3] * 5


def test_rows_are_clipped_to_the_radius_and_short_rows_stay_bit_for_bit():
    z = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], requires_grad=True)
    clipped = losses.clip_rows(z, 4.0)
    torch.testing.assert_close(clipped[0], torch.tensor([1.2, 1.6]))
    assert torch.equal(clipped[1:], z[1:])
    clipped.sum().backward()
    assert torch.isfinite(z.grad).all()


def test_local_loss_is_the_spectral_contrastive_loss_by_pairs():
    z1, z2 = randn(8, 3), randn(8, 3, seed=1)
    z = torch.cat([z1, z2])
    # ‖ZᵀZ/2B‖²_F is the mean of ⟨z, z'⟩² over all pairs
    reference = -2 * (z1 * z2).sum(1).mean() + (z @ z.T).square().mean()
    torch.testing.assert_close(losses.fedsc_loss(z1, z2), reference)


def test_sharing_without_the_others_matrix_is_refused():
    with pytest.raises(ValueError, match=r"alpha 0\.5 needs the others' correlation matrix"):
        losses.fedsc_loss(randn(2, 2), randn(2, 2), alpha=0.5)


def test_noise_is_symmetric_and_of_the_given_deviation():
    noise = losses.add_symmetric_noise(torch.zeros(300, 300), 0.5, generator())
    assert torch.equal(noise, noise.T)
    upper = noise[tuple(torch.triu_indices(300, 300))]
    assert upper.std().item() == pytest.approx(0.5, rel=0.02)
    assert noise.diagonal().std().item() == pytest.approx(0.5, rel=0.2)
    assert torch.equal(noise, losses.add_symmetric_noise(torch.zeros(300, 300), 0.5, generator()))
