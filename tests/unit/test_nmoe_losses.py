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
def test_fixed_experts_have_the_mixtures_loss(how, top_k):
    scores, table, rows = randn(2, 3, 4), randn(5, 4, 3, seed=1), torch.tensor([[4, 0, 0], [1, 3, 4]])
    table_labels = torch.arange(5) % 3
    parts = [losses.FixedExperts.of(table[part], table_labels[part], how) for part in (slice(0, 2), slice(2, 5))]
    expected = losses.mixture_loss(scores, table[rows], table_labels[rows], top_k=top_k, how=how)
    torch.testing.assert_close(losses.FixedExperts.cat(parts).loss(scores, rows, top_k), expected)


@pytest.mark.parametrize("how", ["logits", "probabilities"])
@pytest.mark.parametrize("top_k", [2, None])
def test_only_available_experts_pass_a_gradient(how, top_k):
    scores = randn(5, 4).requires_grad_()
    masked = scores.masked_fill(torch.tensor([False, True, False, False]), -math.inf)
    labels = torch.zeros(5, dtype=torch.int64)
    loss = losses.mixture_loss(masked, randn(5, 4, 3, seed=1), labels, top_k=top_k, how=how)
    loss.sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert (scores.grad[:, 1] == 0).all()
    assert (scores.grad != 0).sum(dim=1).tolist() == [top_k or 3] * 5
