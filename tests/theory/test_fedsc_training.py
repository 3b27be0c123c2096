"""A round of FedSC, as the stage runs it, is one gradient step on the loss over all samples.

With the views of the local step in R_j, α_j = p_j, R̄_j = Σ_{k≠j} p_k R_k/(1−p_j), one full batch, no momentum,
decay, clipping of gradients or noise, and the clients' weights averaged by p_j = n_j/n::

    Σ_j p_j (θ − η ∇L_j(θ)) = θ − η ∇L(θ),   L = −2 E⟨z1, z2⟩ + ‖E[(z1 z1ᵀ + z2 z2ᵀ)/2]‖²_F

(Jing et al. 2024, arXiv 2405.03949). L is written anew here, over the pooled samples.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nmoe_sim.nmoe.augment import Affine
from nmoe_sim.nmoe.cohort import Trained, average
from nmoe_sim.nmoe.compression import NoCompression
from nmoe_sim.nmoe.local_update import Sgd
from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.nmoe.privacy import NoPrivacy
from nmoe_sim.nmoe.randomness import torch_generator
from nmoe_sim.nmoe.server_update import Average
from nmoe_sim.rng import RandomStreams
from nmoe_sim.training.extraction import STAGE
from nmoe_sim.training.federation.history import Work
from nmoe_sim.training.federation.learners import batch_plan
from nmoe_sim.training.federation.protocols.synchronous import Synchronous
from nmoe_sim.training.federation.selection import AllClients
from nmoe_sim.training.fedsc import FedSC
from nmoe_sim.training.spectral import Spectral

STREAMS = RandomStreams(3)
LEARNING_RATE = 0.3
EXACT = {
    "rounds": 3,
    "alpha": "share",
    "correlation_views": "step",
    "optimizer": Optimizer(lr=LEARNING_RATE, momentum=0.0, batch_size=None, epochs=1),
    "local_update": Sgd(),
    "server_update": Average(),
    "protocol": Synchronous(),
    "selection": AllClients(),
    "compression": NoCompression(),
    "privacy": NoPrivacy(),
}
VIEWS = Affine(flip_probability=0.5)
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

    def learning(self, workers: int = 1) -> Any:
        """Return what local training needs to know of a run."""
        return SimpleNamespace(
            data=SimpleNamespace(train_x=self.train_x, num_train=self.sizes),
            weights=[n / sum(self.sizes) for n in self.sizes],
            simulation=SimpleNamespace(streams=STREAMS),
            scenario=SimpleNamespace(
                data=SimpleNamespace(augmentation=VIEWS), training=SimpleNamespace(memory_bytes=None)
            ),
            workers=workers,
        )

    def after_round(self, number: int = 0, **changes: object) -> dict[str, torch.Tensor]:
        """Return the average of the clients after one round of the stage."""
        return average(self.trained(number, **changes).states, self.sizes)

    def trained(
        self,
        number: int = 0,
        workers: int = 1,
        stage: type[Spectral] = FedSC,
        away: int | None = None,
        **changes: object,
    ) -> Trained:
        """Return what one round of the stage makes of each client; of one that is away no matrix is known."""
        given = {**EXACT, "mu": self.mu, **changes}
        spec = stage(**{name: value for name, value in given.items() if name in stage.model_fields})
        learner = spec.learner(self.learning(workers), self.model)
        works = [Work(client, counter=number, base=number) for client in range(len(self.sizes))]
        known = {}
        if learner.reports:
            known = {str(work.client): learner.report(work, self.start) for work in works if work.client != away}
        states, reports = [self.start] * len(works), [known] * len(works)
        return learner.train(works, states, proximal={}, offsets=None, known=reports)

    def pooled_step(self, number: int = 0) -> dict[str, torch.Tensor]:
        """Return the weights after one gradient step on the loss over the same views of all samples."""
        first, second = [], []
        for client, x in enumerate(self.train_x):
            plan = batch_plan(self.learning(), STAGE, EXACT["optimizer"], client, number)
            generator = torch_generator(STREAMS, "views", client, number, 0)
            images = x[torch.from_numpy(plan[0])]
            first.append(VIEWS.apply(images, generator))
            second.append(VIEWS.apply(images, generator))
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
        {"alpha": "published"},
        {"stage": Spectral},
        {"away": 1},
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


def test_alpha_of_every_schedule():
    stages = {alpha: FedSC(**{**EXACT, "rounds": 5, "alpha": alpha}) for alpha in ("linear", "share", "published")}
    weights = {alpha: [stage.own_weight(0.2, r) for r in range(5)] for alpha, stage in stages.items()}
    assert weights["linear"] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert weights["share"] == [0.2] * 5
    assert weights["published"] == pytest.approx([1.0, 0.84, 0.68, 0.52, 0.36])


def test_the_ablation_is_fedsc_with_nothing_shared():
    """Alone with its matrix, a client follows its own spectral loss, and so does everyone in the first linear round."""
    federation = Federation([30, 4, 11, 1])
    local = federation.trained(stage=Spectral)
    first = federation.trained(number=0, alpha="linear")
    for a, b in zip(local.states, first.states, strict=True):
        assert distance(a, b) < 1e-12
    shared = federation.trained(number=1, alpha="linear")
    assert distance(federation.trained(number=1, stage=Spectral).states[0], shared.states[0]) > 1e-6


def test_passes_average_matrices_of_views_of_their_own():
    federation = Federation([12, 30])

    def matrix(passes: int, noise_std: float = 0.0) -> torch.Tensor:
        changes = {"correlation_views": "fresh", "correlation_passes": passes, "correlation_noise_std": noise_std}
        learner = FedSC(**{**EXACT, "mu": federation.mu, **changes}).learner(federation.learning(), federation.model)
        return learner.report(Work(1, counter=4, base=4), federation.start)

    one, two, many = matrix(1), matrix(2), matrix(20)
    second = 2 * two - one
    assert (second - one).abs().max() > 1e-4
    # each pass is a matrix of the same law, so that more of them come closer to their mean
    limit = matrix(200)
    assert (many - limit).norm() < 0.5 * min((one - limit).norm(), (second - limit).norm())
    noise = matrix(1, 0.1) - one
    assert torch.allclose(noise, noise.T)
    assert 0.03 < noise.std() < 0.3
