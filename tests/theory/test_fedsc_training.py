"""A round of FedSC, as the stage runs it, is one gradient step on the loss over all samples.

With the views of the local step in R_j, α_j = p_j, R̄_j = Σ_{k≠j} p_k R_k/(1−p_j), one full batch, no momentum,
decay, clipping of gradients or noise, and the clients' weights averaged by p_j = n_j/n::

    Σ_j p_j (θ − η ∇L_j(θ)) = θ − η ∇L(θ),   L = −2 E⟨z1, z2⟩ + ‖E[(z1 z1ᵀ + z2 z2ᵀ)/2]‖²_F

(Jing et al. 2024, arXiv 2405.03949). L is written anew here, over the pooled samples.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nmoe_sim.nmoe.augment import Augmentation
from nmoe_sim.nmoe.cohort import Trained, average, batches
from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.nmoe.randomness import torch_generator
from nmoe_sim.rng import RandomStreams
from nmoe_sim.training.fedsc import FedSC

STREAMS = RandomStreams(3)
LEARNING_RATE = 0.3
EXACT = {
    "rounds": 3,
    "alpha": "share",
    "correlation_views": "step",
    "optimizer": Optimizer(lr=LEARNING_RATE, momentum=0.0, batch_size=None, epochs=1),
    "augmentation": Augmentation(flip_probability=0.5),
}
SIZES = [
    pytest.param([12, 12, 12], id="equal"),
    pytest.param([30, 4, 11, 1], id="unequal"),
    pytest.param([9], id="one client"),
]


class Federation:
    """Clients with images of their own, and a model in float64."""

    def __init__(self, sizes: list[int]) -> None:
        generator = torch.Generator().manual_seed(0)
        shades = torch.linspace(0.2, 1.0, len(sizes), dtype=torch.float64)
        self.train_x = [
            shade * torch.rand(n, 1, 6, 6, dtype=torch.float64, generator=generator)
            for n, shade in zip(sizes, shades, strict=True)
        ]
        self.sizes = sizes
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(36, 10), nn.Tanh(), nn.Linear(10, 5)).double()
        for parameter in self.model.parameters():
            nn.init.uniform_(parameter, -0.3, 0.3, generator=generator)
        self.start = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.mu = self.model(torch.cat(self.train_x)).norm(dim=1).median().item() ** 2  # about half are clipped
        self.plans = [
            batches(n, batch_size=None, epochs=1, rng=np.random.default_rng(client)) for client, n in enumerate(sizes)
        ]

    def after_round(self, number: int = 0, **changes: object) -> dict[str, torch.Tensor]:
        """Return the average of the clients after one round of the stage."""
        return average(self.trained(number, **changes).states, self.sizes)

    def trained(self, number: int = 0, workers: int = 1, **changes: object) -> Trained:
        """Return what one round of the stage makes of each client."""
        stage = FedSC(**{**EXACT, "mu": self.mu, **changes})
        return stage.train_round(self.model, self.start, self.train_x, self.plans, number, STREAMS, workers=workers)

    def pooled_step(self, number: int = 0) -> dict[str, torch.Tensor]:
        """Return the weights after one gradient step on the loss over the same views of all samples."""
        first, second = [], []
        for client, (x, plan) in enumerate(zip(self.train_x, self.plans, strict=True)):
            generator = torch_generator(STREAMS, "views", client, number, 0)
            images = x[torch.from_numpy(plan[0])]
            first.append(EXACT["augmentation"].apply(images, generator))
            second.append(EXACT["augmentation"].apply(images, generator))
        self.model.load_state_dict(self.start)
        z1, z2 = (self.clipped(self.model(torch.cat(views))) for views in (first, second))
        correlation = (z1.T @ z1 + z2.T @ z2) / (2 * len(z1))
        loss = -2 * (z1 * z2).sum(dim=1).mean() + (correlation**2).sum()
        gradients = torch.autograd.grad(loss, list(self.model.parameters()))
        return {
            name: self.start[name] - LEARNING_RATE * gradient
            for (name, _), gradient in zip(self.model.named_parameters(), gradients, strict=True)
        }

    def clipped(self, z: torch.Tensor) -> torch.Tensor:
        radius = self.mu**0.5
        norm = z.norm(dim=1, keepdim=True)
        self.share_clipped = float((norm > radius).double().mean())
        return torch.where(norm > radius, z * (radius / norm), z)


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in b)


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("sizes", SIZES)
def test_a_round_is_one_step_on_the_pooled_loss(sizes, number):
    federation = Federation(sizes)
    after, pooled = federation.after_round(number), federation.pooled_step(number)
    assert 0.1 < federation.share_clipped < 0.9, "some rows are clipped, others aren't"
    assert distance(after, pooled) < 1e-8
    assert distance(federation.start, pooled) > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"correlation_views": "fresh"},
        {"alpha": "linear"},
        {"correlation_noise_std": 0.01},
        {"mu": 4.0},
        {"optimizer": Optimizer(lr=LEARNING_RATE, momentum=0.0, batch_size=None, epochs=2)},
        {"optimizer": Optimizer(lr=LEARNING_RATE, momentum=0.0, batch_size=None, weight_decay=0.1)},
        {"optimizer": Optimizer(lr=LEARNING_RATE, momentum=0.0, batch_size=None, clip_norm=1e-3)},
    ],
    ids=str,
)
def test_each_condition_is_needed(changes):
    federation = Federation([30, 4, 11, 1])
    if "optimizer" in changes and changes["optimizer"].epochs == 2:
        federation.plans = [plan * 2 for plan in federation.plans]
    assert distance(federation.after_round(**changes), federation.pooled_step()) > 1e-6


def test_weighting_by_clients_instead_of_samples_is_another_step():
    federation = Federation([30, 4, 11, 1])
    assert distance(average(federation.trained().states, [1, 1, 1, 1]), federation.pooled_step()) > 1e-4


def test_threads_change_no_bit():
    federation = Federation([30, 4, 11, 1])
    one, three = (federation.trained(workers=workers) for workers in (1, 3))
    for a, b in zip(one.states, three.states, strict=True):
        assert distance(a, b) == 0
    assert np.array_equal(one.losses, three.losses)
