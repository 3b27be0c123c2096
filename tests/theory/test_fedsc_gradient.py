"""FedSC's clients together follow the gradient of the loss over all samples, exactly.

With α_j = p_j = n_j/n and R̄_j = Σ_{k≠j} p_k R_k/(1−p_j), all at the same weights and views:
Σ_j p_j ∇[−2 E_j⟨z1, z2⟩ + p_j ‖R_j‖² + 2 (1−p_j) tr(R_j R̄_j)] with R̄_j fixed
= ∇[−2 E⟨z1, z2⟩] + 2 Σ_j p_j tr(∇R_j (p_j R_j + Σ_{k≠j} p_k R_k)) = ∇[−2 E⟨z1, z2⟩ + ‖R‖²], as R = Σ_j p_j R_j.
"""

import numpy as np
import pytest
import torch

from nmoe_sim.nmoe import cohort, spectral
from nmoe_sim.nmoe.experts import MlpExpert
from nmoe_sim.nmoe.optimizer import Optimizer

MU = 4.0
SIZES = [pytest.param([12, 12, 12], id="equal"), pytest.param([30, 4, 11, 1], id="unequal")]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Federation:
    """Clients with two fixed views of each sample and one model in float64."""

    def __init__(self, sizes):
        self.sizes = sizes
        self.p = np.array(sizes) / sum(sizes)
        self.model = MlpExpert(hidden=(16,)).build(10, 6, generator()).double()
        views = 6 * torch.randn(2, sum(sizes), 10, dtype=torch.float64, generator=generator(1))
        views += torch.linspace(-2, 2, sum(sizes), dtype=torch.float64)[:, None]  # clients differ
        self.views = [view.split(sizes) for view in views]

    def z(self, model, client):
        return [spectral.clip_rows(model(view[client]), MU) for view in self.views]

    def client_loss(self, model, client, others):
        return spectral.fedsc_loss(*self.z(model, client), alpha=self.p[client], others_PP=others[client])

    def others(self):
        with torch.no_grad():
            r = [spectral.correlation(*self.z(self.model, client)) for client in range(len(self.sizes))]
        return [
            sum(p * m for k, (p, m) in enumerate(zip(self.p, r, strict=True)) if k != j) / (1 - self.p[j])
            for j in range(len(r))
        ]

    def pooled_loss(self, model):
        z1, z2 = (spectral.clip_rows(model(torch.cat(view)), MU) for view in self.views)
        r = (z1.T @ z1 + z2.T @ z2) / (2 * len(z1))
        return -2 * (z1 * z2).sum(1).mean() + r.square().sum()


@pytest.mark.parametrize("sizes", SIZES)
def test_weighted_client_gradients_are_the_pooled_gradient(sizes):
    federation = Federation(sizes)
    norms = federation.model(torch.cat(federation.views[0])).norm(dim=1)
    assert 0.1 < (norms > MU**0.5).double().mean() < 0.9, "the case must clip some rows and spare others"
    parameters = list(federation.model.parameters())
    pooled = torch.autograd.grad(federation.pooled_loss(federation.model), parameters)
    others = federation.others()
    total = [torch.zeros_like(q) for q in parameters]
    for client, p in enumerate(federation.p):
        gradient = torch.autograd.grad(federation.client_loss(federation.model, client, others), parameters)
        total = [t + p * g for t, g in zip(total, gradient, strict=True)]
    torch.testing.assert_close(total, list(pooled), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("sizes", SIZES)
def test_without_the_others_the_gradient_is_another(sizes):
    federation = Federation(sizes)
    parameters = list(federation.model.parameters())
    pooled = torch.autograd.grad(federation.pooled_loss(federation.model), parameters)
    local = sum(p * spectral.fedsc_loss(*federation.z(federation.model, j)) for j, p in enumerate(federation.p))
    assert (torch.autograd.grad(local, parameters)[0] - pooled[0]).abs().max() > 1e-3


@pytest.mark.parametrize("sizes", SIZES)
def test_one_full_batch_round_is_one_pooled_step(sizes):
    federation, optimizer = Federation(sizes), Optimizer(lr=0.05, weight_decay=0.01, batch_size=None)
    start, others = federation.model.state_dict(), federation.others()
    plans = [cohort.batches(n, batch_size=None, epochs=1, rng=np.random.default_rng(0)) for n in sizes]
    trained = cohort.train_modules(
        federation.model,
        [start] * len(sizes),
        plans,
        lambda model, client, index, step: federation.client_loss(model, client, others),
        optimizer,
    )
    pooled = cohort.train_modules(
        federation.model, [start], [plans[0]], lambda model, *_: federation.pooled_loss(model), optimizer
    )
    averaged = cohort.average(trained.states, sizes)
    torch.testing.assert_close(averaged, pooled.states[0], atol=1e-10, rtol=1e-10)
    assert (averaged["0.weight"] - start["0.weight"]).abs().max() > 1e-3
