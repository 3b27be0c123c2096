"""Parts of a stage as a whole stage uses them, by hand in NumPy, on quadratics: what is kept, told, clipped, noised."""

import numpy as np
import pytest
import torch
from quadratics import CENTRES, LR, STEPS, WEIGHTS, Quadratic, local, replayed

from nmoe_sim.nmoe.cohort import Trained
from nmoe_sim.nmoe.compression import TopK
from nmoe_sim.nmoe.local_update import FedProx, Scaffold
from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.nmoe.privacy import DpFedAvg
from nmoe_sim.nmoe.randomness import torch_generator
from nmoe_sim.rng import RandomStreams
from nmoe_sim.training.federation.history import Arrival, History, Mix, Step, Work
from nmoe_sim.training.federation.protocols import Buffered, Gossip


def everybody(number):
    return [Work(client, number, number) for client in range(3)]


def rounds(count):
    """All clients in every round."""
    steps = [Step("average", tuple(Arrival(3 * number + i) for i in range(3))) for number in range(count)]
    return History([work for number in range(count) for work in everybody(number)], steps)


def test_fedprox_pulls_towards_what_was_received():
    mu, x = 0.7, np.zeros(2)
    for _ in range(2):
        ends = []
        for centre in CENTRES:
            w = x
            for _ in range(STEPS):
                w = w - LR * (w - centre + mu * (w - x))
            ends.append(w)
        x = np.average(ends, axis=0, weights=WEIGHTS)
    memory = replayed(rounds(2), local_update=FedProx(mu=mu))
    assert memory.models["server"]["w"].numpy() == pytest.approx(x, abs=1e-12)


def test_what_top_k_keeps_back_is_sent_later():
    x, kept = np.zeros(2), np.zeros((3, 2))
    for _ in range(4):
        ends = []
        for i, centre in enumerate(CENTRES):
            wanted = kept[i] + local(x, centre) - x
            sent = np.where(np.abs(wanted) == np.abs(wanted).max(), wanted, 0.0)  # one value of two
            kept[i] = wanted - sent
            ends.append(x + sent)
        x = np.average(ends, axis=0, weights=WEIGHTS)
    memory = replayed(rounds(4), compression=TopK(share=0.5))
    assert memory.models["server"]["w"].numpy() == pytest.approx(x, abs=1e-12)
    assert np.array([memory.residuals[str(i)]["w"].numpy() for i in range(3)]) == pytest.approx(kept, abs=1e-12)


class Scheduled(Quadratic):
    """Steps of a learning rate that falls over the rounds, with offsets."""

    def __init__(self, lrs):
        self.lrs = lrs

    def train(self, works, states, *, proximal, offsets, known):
        trained = []
        for work, state, offset in zip(works, states, offsets, strict=True):
            w = state["w"].clone()
            for _ in range(STEPS):
                w = w - self.lrs[work.base] * (w - torch.from_numpy(CENTRES[work.client]) + offset["w"])
            trained.append({"w": w})
        return Trained(trained, np.zeros(len(works)))


def test_scaffolds_variates_count_by_the_learning_rate_of_their_round():
    lrs = [LR * (1 + np.cos(np.pi * number / 3)) / 2 for number in range(3)]
    x, c, c_i = np.zeros(2), np.zeros(2), np.zeros((3, 2))
    for lr in lrs:
        ends = []
        for i in range(3):
            w = x
            for _ in range(STEPS):
                w = w - lr * (w - CENTRES[i] + c - c_i[i])
            ends.append(w)
        new = np.array([c_i[i] - c + (x - ends[i]) / (STEPS * lr) for i in range(3)])
        c, c_i, x = c + (new - c_i).mean(axis=0), new, np.mean(ends, axis=0)
    cosine = Optimizer(lr=LR, momentum=0.0, schedule="cosine")
    memory = replayed(rounds(3), Scheduled(lrs), local_update=Scaffold(), optimizer=cosine, rounds=3)
    assert memory.models["server"]["w"].numpy() == pytest.approx(x, abs=1e-12)
    assert memory.variates["server"]["w"].numpy() == pytest.approx(c, abs=1e-12)


@pytest.mark.parametrize("noise_multiplier", [0.0, 1.5])
def test_dp_fedavg_clips_divides_by_whom_it_expects_and_adds_noise_in_every_round(noise_multiplier):
    clip_norm, expected = 0.5, 4
    history = History(
        [Work(0, 0, 0), Work(1, 0, 0)],
        [Step("average", (Arrival(0), Arrival(1)), expected=expected), Step("average", (), expected=expected)],
    )
    x = np.zeros(2)
    changes = [local(x, centre) - x for centre in CENTRES[:2]]
    clipped = [change * min(1.0, clip_norm / np.linalg.norm(change)) for change in changes]
    for version, arrived in enumerate((clipped, [])):
        draws = torch_generator(RandomStreams(0), "privacy/extractor", version)
        noise = torch.randn(2, dtype=torch.float64, generator=draws).numpy()
        x = x + (sum(arrived, np.zeros(2)) + noise_multiplier * clip_norm * noise) / expected
    memory = replayed(history, privacy=DpFedAvg(clip_norm=clip_norm, noise_multiplier=noise_multiplier))
    assert memory.models["server"]["w"].numpy() == pytest.approx(x, abs=1e-12)


class Telling(Quadratic):
    """Reports who it is and of which version, and takes down what each client has heard when it trains."""

    reports = True

    def __init__(self):
        self.heard = []

    def report(self, work, state):
        return torch.tensor([work.client, work.base])

    def train(self, works, states, *, known, **rest):
        for work, heard in zip(works, known, strict=True):
            self.heard.append((work.client, work.base, {name: report.tolist() for name, report in heard.items()}))
        return super().train(works, states, known=known, **rest)


def heard(history, **parts):
    learner = Telling()
    replayed(history, learner, **parts)
    return learner.heard


def test_reports_before_training_reach_all_and_the_last_of_who_is_away_stays():
    history = History(
        [Work(0, 0, 0), Work(1, 0, 0), Work(0, 1, 1)],
        [Step("average", (Arrival(0), Arrival(1)), reports=(0, 1)), Step("average", (Arrival(2),), reports=(0,))],
    )
    first = {"0": [0, 0], "1": [1, 0]}
    assert heard(history) == [(0, 0, first), (1, 0, first), (0, 1, {"0": [0, 1], "1": [1, 0]})]


def test_reports_that_travel_with_updates_are_known_once_these_arrived():
    history = History(
        [Work(0, 0, 0), Work(1, 0, 0), Work(0, 1, 1), Work(0, 2, 2)],
        [Step("add", (Arrival(0),)), Step("add", (Arrival(1),)), Step("add", (Arrival(2),))],
    )
    assert heard(history, protocol=Buffered(buffer=1)) == [
        (0, 0, {}),
        (1, 0, {}),
        (0, 1, {"0": [0, 0]}),
        (0, 2, {"0": [0, 0], "1": [1, 0]}),
    ]


def test_without_a_server_neighbours_reports_are_known():
    mixes = tuple(Mix(a, b, 1 / 3) for a, b in ((0, 1), (1, 0), (1, 2), (2, 1)))
    history = History([*everybody(0), *everybody(1)], [Step("gossip", mixes=mixes)] * 2)
    assert heard(history, protocol=Gossip())[3:] == [
        (0, 1, {"1": [1, 0]}),
        (1, 1, {"0": [0, 0], "2": [2, 0]}),
        (2, 1, {"1": [1, 0]}),
    ]
