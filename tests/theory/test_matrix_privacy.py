"""The sensitivity of correlation matrices by search, and ε by the likelihood of what is sent."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nmoe_sim.nmoe.privacy import matrix_epsilon, matrix_multiplier, matrix_noise_std, matrix_sensitivity
from nmoe_sim.nmoe.spectral import add_symmetric_noise, clip_rows, correlation
from nmoe_sim.nmoe.threads import one_thread

MU, NUM_SAMPLES = 4.0, 6


@pytest.fixture(autouse=True)
def _on_one_thread():
    """Threads cost more than these small matrices."""
    with one_thread():
        yield


def triangle(matrix):
    rows, columns = torch.triu_indices(*matrix.shape)
    return matrix[rows, columns]


def matrix_of(views):
    """What a client computes: outputs [pass, view, sample, P], clipped; the mean over its passes."""
    return torch.stack([correlation(clip_rows(z1, MU), clip_rows(z2, MU)) for z1, z2 in views]).mean(dim=0)


def moved(others, mine, theirs):
    """How far the matrix moves when sample 0's outputs [pass, view, P] are replaced."""
    matrices = [matrix_of(torch.cat([one[:, :, None], others], dim=2)) for one in (mine, theirs)]
    return matrices[0] - matrices[1]


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("dim", [2, 5])
@pytest.mark.parametrize("released", [triangle, torch.Tensor.flatten], ids=["triangle", "whole"])
def test_no_pair_of_samples_moves_it_further_and_some_nearly_do(released, dim, passes):
    """Random starts, then gradient ascent on the distance."""
    draws, bound = torch.Generator().manual_seed(1), matrix_sensitivity(MU, NUM_SAMPLES)
    farthest = 0.0
    for scale in (1.0, 10.0):
        others = torch.randn(passes, 2, NUM_SAMPLES - 1, dim, generator=draws, dtype=torch.float64)
        pair = scale * torch.randn(2, passes, 2, dim, generator=draws, dtype=torch.float64)
        pair.requires_grad_()
        stepper = torch.optim.Adam([pair], lr=0.1 * scale)
        for _ in range(100):
            distance = released(moved(others, pair[0], pair[1])).norm()
            assert distance.item() <= bound * (1 + 1e-12)
            farthest = max(farthest, distance.item())
            stepper.zero_grad()
            (-distance).backward()
            stepper.step()
    # the triangle's bound is reached along the axes only, where the ascent need not end
    assert farthest > (0.999 if released is not triangle else 0.8) * bound


def test_the_bound_is_reached():
    others = torch.randn(1, 2, NUM_SAMPLES - 1, 3, dtype=torch.float64)
    axes = 100 * torch.eye(3, dtype=torch.float64)
    mine, theirs = (axis.expand(1, 2, 3) for axis in axes[:2])
    move = moved(others, mine, theirs)
    bound = math.sqrt(2) * MU / NUM_SAMPLES
    assert matrix_sensitivity(MU, NUM_SAMPLES) == bound
    assert triangle(move).norm().item() == pytest.approx(bound, rel=1e-12)
    assert move.norm().item() == pytest.approx(bound, rel=1e-12)


def test_the_triangle_never_moves_further_than_the_matrix():
    draws = torch.Generator().manual_seed(0)
    for _ in range(200):
        half = torch.randn(4, 4, generator=draws)
        matrix = half + half.T
        assert triangle(matrix).norm() <= matrix.norm()


def test_epsilon_is_that_of_the_likelihood_of_what_is_sent():
    """δ(ε) = E[max(0, 1 − e^(ε − L))], with L the log-likelihood ratio of the triangles of all rounds, worst pair."""
    rounds, noise_std, delta, num_draws = 3, 2.0, 0.05, 4000
    axes = 100 * torch.eye(2, dtype=torch.float64)
    others = torch.zeros(1, 2, NUM_SAMPLES - 1, 2, dtype=torch.float64)
    mine, theirs = (matrix_of(torch.cat([axis.expand(1, 2, 1, 2), others], dim=2)) for axis in axes)
    draws = torch.Generator().manual_seed(4)
    sent = np.stack(
        [triangle(add_symmetric_noise(mine, noise_std, draws)).numpy() for _ in range(rounds * num_draws)]
    ).reshape(num_draws, rounds, -1)
    squares = [((sent - triangle(matrix).numpy()) ** 2).sum(axis=(1, 2)) for matrix in (mine, theirs)]
    losses = (squares[1] - squares[0]) / (2 * noise_std**2)
    epsilon = matrix_epsilon(noise_std, MU, NUM_SAMPLES, rounds, delta)
    assert epsilon > 0.5
    exceeding = np.maximum(0.0, 1.0 - np.exp(epsilon - losses))
    assert abs(exceeding.mean() - delta) < 3.29 * exceeding.std() / math.sqrt(num_draws)


def test_noise_is_calibrated_to_epsilon_and_back():
    for epsilon, rounds, num_samples in [(0.5, 1, 100), (3.0, 200, 5000), (50.0, 20, 200)]:
        noise_std = matrix_noise_std(epsilon, 1e-5, MU, num_samples, rounds)
        assert matrix_epsilon(noise_std, MU, num_samples, rounds, 1e-5) == pytest.approx(epsilon, rel=1e-6)
    assert matrix_epsilon(0.0, MU, 100, 5, 1e-5) == math.inf
    assert matrix_epsilon(1.0, MU, 100, 0, 1e-5) == 0.0


@pytest.mark.parametrize("num_samples", [1, 6])
def test_a_whole_client_moves_its_matrix_by_mu_at_most_and_nearly_does(num_samples):
    """Zeros in its place: the triangle's norm itself, which is largest where all outputs are one axis."""
    draws, sensitivity = torch.Generator().manual_seed(4), 1.0 / matrix_multiplier(1.0, MU)
    for scale in (0.1, 1.0, 10.0):
        views = scale * torch.randn(50, 3, 2, num_samples, 4, generator=draws, dtype=torch.float64)
        assert max(triangle(matrix_of(passes)).norm().item() for passes in views) <= sensitivity * (1 + 1e-12)
    along = torch.zeros(3, 2, num_samples, 4, dtype=torch.float64)
    along[..., 0] = 100.0
    assert triangle(matrix_of(along)).norm().item() == pytest.approx(sensitivity)
