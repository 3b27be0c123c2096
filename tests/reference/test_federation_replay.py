"""Values of a history against what the papers write, by hand in NumPy, on quadratics."""

import numpy as np
import pytest
import torch
from quadratics import CENTRES, LR, STEPS, WEIGHTS, Quadratic, local, replayed

from nmoe_sim.nmoe.local_update import Scaffold
from nmoe_sim.nmoe.server_update import FedAdam
from nmoe_sim.training.federation.history import Arrival, History, Mix, Step, Work
from nmoe_sim.training.federation.protocols import Buffered, Gossip


def test_late_updates_count_as_changes_of_what_they_started_from():
    history = History(
        works=[Work(0, 0, 0), Work(1, 0, 0), Work(2, 0, 0), Work(0, 1, 1)],
        steps=[Step("average", (Arrival(0), Arrival(1))), Step("average", (Arrival(2), Arrival(3)))],
    )
    x0 = np.zeros(2)
    y = [local(x0, centre) for centre in CENTRES]
    x1 = (0.5 * y[0] + 0.3 * y[1]) / 0.8
    x2 = x1 + (0.2 * (y[2] - x0) + 0.5 * (local(x1, CENTRES[0]) - x1)) / 0.7
    assert replayed(history).models["server"]["w"].numpy() == pytest.approx(x2, abs=1e-12)


class WithOwnPart(Quadratic):
    """Counts in a part of the client's own how often it has trained."""

    def train(self, works, states, **rest):
        trained = super().train(works, states, **rest)
        for new, old in zip(trained.states, states, strict=True):
            new["own"] = old["own"] + 1
        return trained


def test_a_clients_own_part_is_seen_from_the_version_on_that_its_update_is_in():
    # client 2's update arrives with the third version, client 0's third work never
    history = History(
        works=[Work(0, 0, 0), Work(2, 0, 0), Work(0, 1, 1), Work(0, 2, 2)],
        steps=[Step("add", (Arrival(0),)), Step("add", (Arrival(2),)), Step("add", (Arrival(1),))],
    )
    seen = []

    def evaluate(version, memory):
        seen.append([int(memory.own(client)["own"]) for client in range(3)])
        return {}

    own, protocol = {"own": torch.zeros(1)}, Buffered(buffer=1)
    memory = replayed(history, WithOwnPart(), evaluate, own, protocol=protocol)
    assert seen == [[1, 0, 0], [2, 0, 0], [3, 0, 1]]
    assert memory.own_under_way == {}


def test_who_begins_again_has_what_it_trained_before():
    # both of client 0's works start from version 0, and both arrive with the second version
    history = History(
        works=[Work(0, 0, 0), Work(0, 1, 0), Work(1, 0, 0)],
        steps=[Step("add", (Arrival(2),)), Step("add", (Arrival(0), Arrival(1)))],
    )
    memory = replayed(history, WithOwnPart(), own={"own": torch.zeros(1)}, protocol=Buffered(buffer=1))
    assert [int(memory.own(client)["own"]) for client in range(3)] == [2, 1, 0]


def test_fedasync_mixes_models():
    history = History(
        works=[Work(0, 0, 0), Work(1, 0, 0)],
        steps=[Step("mix", (Arrival(1, 0.6),)), Step("mix", (Arrival(0, 0.4),))],
    )
    x1 = 0.6 * local(np.zeros(2), CENTRES[1])
    x2 = 0.6 * x1 + 0.4 * local(np.zeros(2), CENTRES[0])
    assert replayed(history).models["server"]["w"].numpy() == pytest.approx(x2, abs=1e-12)


def test_fedbuff_follows_a_written_out_schedule():
    # buffer of two; client 2 is slow: its update started from version 0 and arrives for version 2
    scale = Buffered(buffer=2, staleness_exponent=0.5).scale
    assert [scale(0), scale(1), scale(3)] == pytest.approx([0.5, 0.5 / 2**0.5, 0.25])
    history = History(
        works=[Work(0, 0, 0), Work(1, 0, 0), Work(2, 0, 0), Work(0, 1, 1)],
        steps=[
            Step("add", (Arrival(1, scale(0)), Arrival(0, scale(0)))),
            Step("add", (Arrival(3, scale(0)), Arrival(2, scale(1)))),
        ],
    )
    x0 = np.zeros(2)
    changes = [local(x0, centre) - x0 for centre in CENTRES]
    x1 = x0 + (changes[0] + changes[1]) / 2
    x2 = x1 + ((local(x1, CENTRES[0]) - x1) + changes[2] / np.sqrt(2.0)) / 2
    assert replayed(history, protocol=Buffered(buffer=2)).models["server"]["w"].numpy() == pytest.approx(x2, abs=1e-12)


def test_scaffold_with_partial_participation():
    history = History(
        works=[Work(0, 0, 0), Work(1, 0, 0), Work(1, 1, 1), Work(2, 1, 1)],
        steps=[Step("average", (Arrival(0), Arrival(1))), Step("average", (Arrival(2), Arrival(3)))],
    )
    x, c, c_i = np.zeros(2), np.zeros(2), np.zeros((3, 2))
    for present in ([0, 1], [1, 2]):
        y = np.array([local(x, CENTRES[i], c - c_i[i]) for i in present])
        new = np.array([c_i[i] - c + (x - y_i) / (STEPS * LR) for i, y_i in zip(present, y, strict=True)])
        c = c + (new - c_i[present]).sum(axis=0) / 3
        c_i[present] = new
        x = y.mean(axis=0)  # clients count alike, as the variates do
    memory = replayed(history, local_update=Scaffold())
    assert memory.models["server"]["w"].numpy() == pytest.approx(x, abs=1e-12)
    assert memory.variates["server"]["w"].numpy() == pytest.approx(c, abs=1e-12)
    assert np.array([memory.variates[str(i)]["w"].numpy() for i in range(3)]) == pytest.approx(c_i, abs=1e-12)


def test_what_is_lost_changes_no_variate():
    lost = History(works=[Work(0, 0, 0), Work(1, 0, 0)], steps=[Step("average", (Arrival(0),))])
    memory = replayed(lost, local_update=Scaffold())
    assert not memory.variates["1"]["w"].any()
    assert memory.variates["0"]["w"].any()


def test_fedadam_takes_the_mean_change_as_a_gradient():
    history = History(
        works=[Work(client, number, number) for number in range(3) for client in range(3)],
        steps=[Step("average", tuple(Arrival(3 * number + i) for i in range(3))) for number in range(3)],
    )
    settings = {"lr": 0.1, "beta_1": 0.9, "beta_2": 0.99, "tau": 1e-3}
    x, m, v = np.zeros(2), np.zeros(2), np.full(2, 1e-6)
    for _ in range(3):
        change = sum(p * (local(x, centre) - x) for p, centre in zip(WEIGHTS, CENTRES, strict=True))
        m = 0.9 * m + 0.1 * change
        v = 0.99 * v + 0.01 * change**2
        x = x + 0.1 * m / (np.sqrt(v) + 1e-3)
    memory = replayed(history, server_update=FedAdam(**settings))
    assert memory.models["server"]["w"].numpy() == pytest.approx(x, abs=1e-9)


def test_gossip_keeps_the_mean_and_agrees_in_the_end():
    # a path 0 - 1 - 2: degrees 1, 2, 1; Metropolis weights 1/3 on both edges
    mixes = tuple(Mix(a, b, 1 / 3) for a, b in ((0, 1), (1, 0), (1, 2), (2, 1)))
    works = [Work(client, 0, 0) for client in range(3)]
    memory = replayed(History(works=works, steps=[Step("gossip", mixes=mixes)]), protocol=Gossip())
    y = np.array([local(np.zeros(2), centre) for centre in CENTRES])
    mixing = np.array([[2 / 3, 1 / 3, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 3, 2 / 3]])
    models = np.array([memory.models[str(i)]["w"].numpy() for i in range(3)])
    assert models == pytest.approx(mixing @ y, abs=1e-12)
    assert models.mean(axis=0) == pytest.approx(y.mean(axis=0), abs=1e-12)

    many = History(works=works, steps=[Step("gossip", mixes=mixes)] * 60)
    end = replayed(many, protocol=Gossip())
    assert np.array([end.models[str(i)]["w"].numpy() for i in range(3)]) == pytest.approx(
        np.tile(y.mean(axis=0), (3, 1)), abs=1e-9
    )


def test_the_order_in_which_works_ended_has_no_part():
    history = History(
        works=[Work(2, 0, 0), Work(0, 0, 0), Work(0, 1, 1)],
        steps=[Step("average", (Arrival(1), Arrival(0))), Step("average", (Arrival(2),))],
    )
    history.settle()
    assert [work.client for work in history.works] == [0, 2, 0]
    assert history.steps[0].arrivals == (Arrival(0), Arrival(1))
    assert history.steps[1].arrivals == (Arrival(2),)
