"""What keeps a gate from collapsing, against its formulas in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nmoe_sim.nmoe.losses import load_balance_loss, z_loss


def by_hand(scores: np.ndarray, top_k: int) -> float:
    """N · Σ f P, sample by sample."""
    num_experts = scores.shape[-1]
    load, probability = np.zeros(num_experts), np.zeros(num_experts)
    for row in scores:
        load[np.argsort(-row, kind="stable")[:top_k]] += 1 / top_k / len(scores)
        probability += np.exp(row) / np.exp(row).sum() / len(scores)
    return float(num_experts * (load * probability).sum())


@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_load_balance_by_hand(top_k):
    scores = np.random.default_rng(3).normal(size=(40, 5))
    assert load_balance_loss(torch.from_numpy(scores), top_k).item() == pytest.approx(by_hand(scores, top_k))


def test_padding_and_other_clients_dont_count():
    scores = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    widths = [6, 2, 5]
    mask = torch.arange(6) < torch.tensor(widths)[:, None]
    alone = [load_balance_loss(one[:width], 2).item() for one, width in zip(scores, widths, strict=True)]
    scores[~mask] = 1e9
    assert load_balance_loss(scores, 2, mask).tolist() == pytest.approx(alone)


def test_one_expert_for_all_costs_most_and_an_even_load_least():
    sure = 100.0 * torch.eye(4)
    assert load_balance_loss(sure, 1).item() == pytest.approx(1.0)
    assert load_balance_loss(sure[:1].expand(4, -1), 1).item() == pytest.approx(4.0)


def test_its_gradient_lowers_the_score_of_the_busiest():
    scores = torch.tensor([[2.0, 1.0, 0.0], [1.5, 0.0, 1.0]], requires_grad=True)
    load_balance_loss(scores, 1).backward()
    assert (scores.grad[:, 0] > 0).all()
    assert (scores.grad[:, 1:] < 0).all()


def test_z_loss_is_the_square_of_the_log_of_the_partition_function():
    scores = torch.tensor([[0.0, 0.0, 0.0], [math.log(2), math.log(3), math.log(5)]])
    assert z_loss(scores).tolist() == pytest.approx([math.log(3) ** 2, math.log(10) ** 2])
