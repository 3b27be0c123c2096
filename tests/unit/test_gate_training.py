"""Stage 3 among few peers, by rules, and with regularisers: who is asked, what moves, what is added."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from conftest import tiny_scenario

from nmoe_sim.checks import check
from nmoe_sim.errors import InputError, RunError
from nmoe_sim.inference.routing import Query, TopK, ask
from nmoe_sim.lifecycle import simulate, train
from nmoe_sim.nmoe.gate_parts import ConvexGate
from nmoe_sim.nmoe.gates import MlpGate
from nmoe_sim.nmoe.losses import load_balance_loss, z_loss
from nmoe_sim.preparation import prepare
from nmoe_sim.rng import RandomStreams
from nmoe_sim.training.federation.history import Work

EXPERT_BYTES = 4 * ((8 + 1) * 4 + (4 + 1) * 10)
EXPERT_FLOP = 2 * (8 * 4 + 4 * 10)


def trained(changes, *, whole_life=False):
    """Train the tiny scenario with changes, or run it to its end."""
    scenario = tiny_scenario(changes)
    layout = check(scenario)
    learning = prepare(scenario, layout)
    if whole_life:
        simulate(learning, layout)
    else:
        env = learning.simulation.env
        env.run(env.process(train(learning)))
    return learning


def table(learning, name, stage="gate"):
    frame = learning.simulation.recorder.arrow(name).to_pandas()
    return frame[frame["stage"] == stage] if stage else frame


class Clients:
    """What ``peers_of`` needs of a ``Learning``."""

    def __init__(self, seed=5):
        self.simulation = self
        self.streams = RandomStreams(seed)


def gate_of(**settings):
    return tiny_scenario({"training.gate": settings}).training.gate


# --- what is trained -----------------------------------------------------------------------------------


@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_a_round_of_fedgate_by_hand(combine):
    """One step along the gradient of −log of what the mixture of the best two says to the label, written out."""
    one_step = {"lr": 0.5, "momentum": 0.0, "batch_size": None}
    learning = trained(
        {
            "data.partition": {"kind": "dirichlet", "alpha": 1.0},
            "model.top_k": 2,
            "model.combine": combine,
            "model.gate": {"kind": "mlp", "local_scale": 0.2},
            "training.gate": {"kind": "fedgate", "rounds": 1, "noise_std": 0.0, "optimizer": one_step},
        }
    )
    start, ends = learning.gate.state_dict(), []
    for client in range(3):
        h, y = learning.train_h[client], learning.data.train_y[client]
        w = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
        shared, local = (h @ w[f"{part}.0.weight"].T + w[f"{part}.0.bias"] for part in ("shared", "local"))
        best = (shared + 0.2 * local).topk(2, dim=1)
        weights = best.values.softmax(dim=1)[:, :, None]
        said = learning.train_outputs[client][torch.arange(len(y))[:, None], best.indices]
        if combine == "probabilities":
            p = (weights * said.softmax(dim=2)).sum(dim=1)
        else:
            p = (weights * said).sum(dim=1).softmax(dim=1)
        loss = -p[torch.arange(len(y)), y].log().mean()
        gradients = torch.autograd.grad(loss, list(w.values()))
        ends.append({name: w[name].detach() - 0.5 * g for name, g in zip(w, gradients, strict=True)})
    for client, gate in enumerate(learning.gates):
        for name, tensor in gate.items():
            if name.startswith("shared."):
                expected = sum(share * end[name] for share, end in zip(learning.weights, ends, strict=True))
            else:
                expected = ends[client][name]
            torch.testing.assert_close(tensor, expected, rtol=1e-4, atol=1e-6)
            assert not torch.equal(tensor, start[name])


def test_noise_on_scores_changes_what_is_learnt():
    gates = [trained({"training.gate": {"kind": "fedgate", "rounds": 1, "noise_std": std}}).gates for std in (0.0, 2.0)]
    assert not torch.equal(gates[0][0]["shared.0.weight"], gates[1][0]["shared.0.weight"])


@pytest.mark.parametrize("exchange", ["experts", "outputs"])
def test_rounds_that_end_amid_an_exchange_go_on(exchange):
    """What a client that is stopped waits for goes on, and the next round with it, also where it is many things."""
    deadline = {"kind": "deadline", "deadline_s": 0.001}
    gate = {"kind": "ran_gate", "rounds": 6, "exchange": exchange, "protocol": deadline}
    rounds = table(trained({"training.gate": gate}), "rounds")
    assert len(rounds) == 6 * 3
    assert "deadline" in set(rounds["reason"])


# --- who is asked in a round ---------------------------------------------------------------------------


def test_roll_gate_goes_round():
    gate, clients = gate_of(kind="roll_gate", peers_per_round=2), Clients()
    rounds = [gate.peers_of(clients, 1, number, range(5)) for number in range(5)]
    assert rounds == [[1, 2, 3], [0, 1, 4], [1, 2, 3], [0, 1, 4], [1, 2, 3]]
    odd = [gate.peers_of(clients, 3, number, [0, 2, 3, 4]) for number in range(4)]
    assert odd == [[0, 3, 4], [2, 3, 4], [0, 2, 3], [0, 3, 4]]
    assert gate_of(kind="roll_gate", peers_per_round=9).peers_of(clients, 0, 7, range(3)) == [0, 1, 2]
    assert gate.peers_of(clients, 2, 3, [2]) == [2]


def test_ran_gate_draws_uniformly_without_replacement():
    gate, clients = gate_of(kind="ran_gate", peers_per_round=2), Clients()
    rounds = [gate.peers_of(clients, 1, number, range(5)) for number in range(3000)]
    assert all(len(set(peers)) == 3 and 1 in peers for peers in rounds)
    pairs = Counter(tuple(peers) for peers in rounds)
    assert len(pairs) == 6
    expected = 3000 / 6
    chi_square = sum((count - expected) ** 2 / expected for count in pairs.values())
    assert chi_square < 20.5  # 5 degrees of freedom, 99.9 %
    assert rounds != [gate.peers_of(clients, 2, number, range(5)) for number in range(3000)]
    assert rounds[7] == gate.peers_of(clients, 1, 7, range(5))
    assert rounds != [gate.peers_of(Clients(6), 1, number, range(5)) for number in range(3000)]
    assert gate.peers_of(clients, 0, 0, [0]) == [0]


def test_ran_gate_draws_by_peer():
    """That one peer isn't there moves no other's draw."""
    gate, clients = gate_of(kind="ran_gate", peers_per_round=2), Clients()
    for number in range(50):
        among_all = gate.peers_of(clients, 0, number, range(6))
        without_5 = gate.peers_of(clients, 0, number, range(5))
        assert 5 in among_all or among_all == without_5


@pytest.mark.parametrize("kind", ["ran_gate", "roll_gate"])
def test_only_what_is_asked_is_learnt(kind):
    """After one round, a linear gate without synchronisation has moved in the rows of its round's peers alone."""
    settings = {"kind": kind, "rounds": 1, "peers_per_round": 1, "noise_std": 0.0, "synchronise": "none"}
    learning = trained({"training.gate": settings})
    gate = learning.scenario.training.gate
    for client in range(3):
        peers = gate.peers_of(learning, client, 0, range(3))
        assert len(peers) == 2
        for part in ("shared.0.weight", "local.0.weight"):
            before, after = learning.gate.state_dict()[part], learning.gates[client][part]
            moved = [row for row in range(3) if not torch.equal(before[row], after[row])]
            assert moved == peers


# --- what moves in which round -------------------------------------------------------------------------


def jobs(learning, *, flop):
    frame = table(learning, "compute").query("kind == 'expert'")
    return [round(value / flop[name]) for name, value in zip(frame["device"], frame["flop"], strict=True)], frame


def test_experts_come_in_the_round_that_needs_them():
    """Three clients, one peer a round: the next one, the one after, and from round 2 on all is there."""
    learning = trained({"training.gate": {"kind": "roll_gate", "rounds": 4, "peers_per_round": 1}})
    moved = table(learning, "transfers").query("kind == 'expert'")
    uploads, downloads = moved[moved["dst"] == learning.server], moved[moved["src"] == learning.server]
    assert len(moved) == len(uploads) + len(downloads)
    assert uploads["n_bytes"].tolist() == [EXPERT_BYTES] * 3
    assert uploads["round"].isna().all()
    assert sorted(uploads["src"]) == ["dev0", "dev1", "dev2"]
    assert downloads["n_bytes"].tolist() == [EXPERT_BYTES] * 6
    assert sorted(downloads["round"]) == [0.0] * 3 + [1.0] * 3
    rounds = table(learning, "rounds")
    assert rounds["bytes_down"].tolist() == [EXPERT_BYTES] * 6 + [0] * 6
    own_flop = {name: EXPERT_FLOP * n for name, n in zip(learning.clients, learning.data.num_train, strict=True)}
    counts, frame = jobs(learning, flop=own_flop)
    assert counts == [2] * 3 + [1] * 3
    assert frame["round"].tolist() == [0.0] * 3 + [1.0] * 3


def test_outputs_come_in_the_round_that_needs_them():
    settings = {"kind": "roll_gate", "rounds": 3, "peers_per_round": 1, "exchange": "outputs"}
    learning = trained({"training.gate": settings})
    moved, samples = table(learning, "transfers"), learning.data.num_train
    features, outputs = moved[moved["kind"] == "features"], moved[moved["kind"] == "output"]
    assert features["n_bytes"].sum() == 2 * 2 * 4 * 8 * sum(samples)  # two peers, two hops
    assert outputs["n_bytes"].sum() == 2 * 2 * 4 * 10 * sum(samples)
    assert not (moved["kind"] == "expert").any()
    assert table(learning, "compute").query("kind == 'expert'")["flop"].sum() == 3 * EXPERT_FLOP * sum(samples)


def test_values_of_rounds_with_few_peers_do_not_depend_on_the_exchange():
    settings = {"kind": "ran_gate", "rounds": 3, "peers_per_round": 1, "synchronise": "shared"}
    one, other = (trained({"training.gate": {**settings, "exchange": how}}) for how in ("experts", "outputs"))
    for gate, same in zip(one.gates, other.gates, strict=True):
        assert all(torch.equal(gate[name], same[name]) for name in gate)


# --- neighbours only -----------------------------------------------------------------------------------

LINE = {
    "topology": {"kind": "grid", "num_devices": 4, "num_columns": 4, "spacing_m": 30},
    "training.gate": {"kind": "fedgate", "rounds": 2, "peers": "neighbours", "synchronise": "none", "noise_std": 0.3},
    "model.top_k": 4,
}
NEIGHBOURS = [[0, 1], [0, 1, 2], [1, 2, 3], [2, 3]]


@pytest.fixture(scope="module")
def line():
    return trained(LINE, whole_life=True)


def test_experts_go_to_neighbours_only(line):
    moved = table(line, "transfers")
    pairs = [(int(src[3:]), int(dst[3:])) for src, dst in zip(moved["src"], moved["dst"], strict=True)]
    assert sorted(pairs) == [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)]
    assert set(moved["n_bytes"]) == {EXPERT_BYTES}
    flop = table(line, "compute").query("kind == 'expert'").set_index("device")["flop"]
    for client, peers in enumerate(NEIGHBOURS):
        assert flop[f"dev{client}"] == len(peers) * EXPERT_FLOP * line.data.num_train[client]


def test_gates_learn_of_neighbours_only(line):
    for client, peers in enumerate(NEIGHBOURS):
        for part in ("shared.0.weight", "local.0.weight"):
            before, after = line.gate.state_dict()[part], line.gates[client][part]
            assert [row for row in range(4) if not torch.equal(before[row], after[row])] == peers


@pytest.mark.parametrize("kind", ["top_k", "all", "random", "local_only"])
def test_requests_ask_neighbours_only(kind):
    learning = trained({**LINE, "inference.routing": {"kind": kind}, "model.top_k": 3}, whole_life=True)
    requests = table(learning, "requests", stage=None)
    assert len(requests) > 10
    for client, experts in zip(requests["client"], requests["experts"], strict=True):
        peers = NEIGHBOURS[int(client[3:])]
        assert set(experts) <= set(peers)
        assert len(experts) == {"local_only": 1}.get(kind, min(3, len(peers)))


def test_accuracies_are_of_neighbours_only(line):
    """Computed here by softmax over the neighbours' scores alone."""
    outputs, labels = line.tested_outputs, line.data.test_y
    metrics = table(line, "metrics", stage="final").set_index(["metric", "split", "client"])["value"]
    for client, peers in enumerate(NEIGHBOURS):
        module = line.scenario.model.gate.build(8, 4, torch.Generator())
        module.load_state_dict(line.gates[client])
        weights = module(line.tested_h)[:, peers].softmax(dim=-1)
        answer = torch.einsum("tp,ptc->tc", weights, outputs[peers].softmax(dim=-1)).argmax(dim=-1)
        right = (outputs[peers].argmax(dim=-1) == labels).double()
        expected = {
            "accuracy_nmoe": (answer == labels).double().mean(),
            "accuracy_all_experts": (answer == labels).double().mean(),
            "accuracy_random_expert": right.mean(),
            "accuracy_best_expert": right.max(dim=0).values.mean(),
        }
        for name, value in expected.items():
            assert metrics[name, "global", f"dev{client}"] == pytest.approx(value.item(), abs=1e-12), name


def test_few_peers_of_the_neighbours():
    settings = {"kind": "roll_gate", "rounds": 3, "peers_per_round": 1, "peers": "neighbours"}
    learning = trained({**LINE, "training.gate": settings})
    assert learning.peers == NEIGHBOURS
    moved = table(learning, "transfers").query("kind == 'expert'")
    assert len(moved) == 6
    assert (moved["src"].str[3:].astype(int) - moved["dst"].str[3:].astype(int)).abs().max() == 1


def test_where_nobody_has_a_neighbour_it_is_said_what_to_set():
    scenario = tiny_scenario({"training.gate.peers": "neighbours"})
    with pytest.raises(InputError, match=r"in topology 'cell' no client is linked .* set training.gate.peers to all"):
        check(scenario)


def test_a_policy_that_asks_whom_it_may_not_is_refused():
    class Stubborn(TopK):
        def route(self, query, view):
            return [1]

    scores = np.array([0.5, -np.inf, 0.1], dtype=np.float32)
    query = Query(0, 0, "dev0", 0, scores, 3, RandomStreams(0))
    with pytest.raises(RunError, match="asked expert 1, which dev0 may not"):
        ask(Stubborn(), query, lambda: None)
    assert ask(TopK(), query, lambda: None) == [0, 2]


# --- rules in the gate's place -------------------------------------------------------------------------


def test_own_asks_the_own_expert_and_sends_nothing():
    learning = trained(
        {"training.gate": {"kind": "own"}, "inference.routing": {"kind": "all"}, "model.top_k": 3}, whole_life=True
    )
    requests = table(learning, "requests", stage=None)
    assert [list(experts) for experts in requests["experts"]] == [[int(name[3:])] for name in requests["client"]]
    assert not requests["n_bytes"].any()
    metrics = table(learning, "metrics", stage="final").set_index(["metric", "split", "client"])["value"]
    for client in learning.clients:
        own = metrics["accuracy_own_expert", "global", client]
        assert {metrics[f"accuracy_{name}", "global", client] for name in ("nmoe", "all_experts", "best_expert")} == {
            own
        }
    jobs_of_gates = table(learning, "compute", stage=None).query("kind == 'gate'")
    assert not jobs_of_gates["flop"].any()
    assert table(learning, "transfers").empty


def test_the_oracle_knows_the_label():
    learning = trained({"training.gate": {"kind": "oracle"}, "training.experts.optimizer.epochs": 20}, whole_life=True)
    outputs, labels = learning.tested_outputs, learning.data.test_y
    p_true = outputs.softmax(dim=-1)[:, torch.arange(len(labels)), labels]
    best = p_true.argmax(dim=0)
    requests = table(learning, "requests", stage=None)
    assert [list(experts) for experts in requests["experts"]] == [
        [best[sample].item()] for sample in requests["sample_index"]
    ]
    metrics = table(learning, "metrics", stage="final").set_index(["metric", "split", "client"])["value"]
    right = outputs.argmax(dim=-1)[best, torch.arange(len(labels))] == labels
    assert metrics["accuracy_nmoe", "global", "dev0"] == pytest.approx(right.double().mean().item(), abs=1e-12)
    assert metrics["accuracy_nmoe", "global", "dev0"] > metrics["accuracy_own_expert", "global", "dev0"]
    assert metrics["accuracy_nmoe", "global", "dev0"] <= metrics["accuracy_best_expert", "global", "dev0"]


def test_the_oracle_does_not_go_with_local_only():
    scenario = tiny_scenario({"training.gate": {"kind": "oracle"}, "inference.routing": {"kind": "local_only"}})
    with pytest.raises(InputError, match=r"set inference.routing.kind to top_k"):
        check(scenario)


# --- what is added to the loss, and how parts mix ------------------------------------------------------


def test_regularisers():
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    scores[1, :, 3] = -torch.inf
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    gate = gate_of(kind="fedgate", load_balance=0.5, z_loss=0.25)
    added = gate.regularisers(scores, 2, mask)
    three = scores[1, :3, :3]
    expected = [
        0.5 * load_balance_loss(scores[0], 2) + 0.25 * z_loss(scores[0]).mean(),
        0.5 * load_balance_loss(three, 2) + 0.25 * z_loss(three).mean(),
    ]
    torch.testing.assert_close(added, torch.stack(expected), rtol=1e-12, atol=0)


def test_regularisers_change_gates_and_keep_them_finite_among_few_peers():
    settings = {"kind": "ran_gate", "rounds": 2, "peers_per_round": 1}
    plain, balanced = (
        trained({"training.gate": {**settings, **more}}) for more in ({}, {"load_balance": 1.0, "z_loss": 0.1})
    )
    name = "shared.0.weight"
    assert all(gate[name].isfinite().all() for gate in balanced.gates)
    assert not torch.equal(plain.gates[0][name], balanced.gates[0][name])


def test_convex_mixing_mixes_what_the_parts_say():
    gate = MlpGate(mixing="convex", local_scale=0.3).build(6, 4, torch.Generator().manual_seed(2))
    assert isinstance(gate, ConvexGate)
    torch.nn.init.normal_(gate.local[0].weight, generator=torch.Generator().manual_seed(3))
    h = torch.randn(5, 6, generator=torch.Generator().manual_seed(4))
    mixed = 0.7 * gate.shared(h).softmax(dim=-1) + 0.3 * gate.local(h).softmax(dim=-1)
    torch.testing.assert_close(gate(h).softmax(dim=-1), mixed, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="needs local_scale below 1, not 1; lower it"):
        MlpGate(mixing="convex", local_scale=1.0)


def test_learned_mixing_is_each_clients_own():
    changes = {"model.gate": {"kind": "mlp", "mixing": "learned", "local_scale": 0.5}, "training.gate.rounds": 3}
    learning = trained({**changes, "training.gate.optimizer.lr": 1.0})
    scales = [gate["local.1.scale"].item() for gate in learning.gates]
    assert len({0.5, *scales}) == 4
    assert all(torch.equal(learning.gates[0]["shared.0.weight"], gate["shared.0.weight"]) for gate in learning.gates)
    module = learning.scenario.model.gate.build(8, 3, torch.Generator())
    module.load_state_dict(learning.gates[1])
    h = learning.tested_h
    expected = module.shared(h) + scales[1] * module.local[0](h)
    torch.testing.assert_close(module(h), expected, rtol=1e-5, atol=1e-6)
    assert sum(p.numel() for p in module.parameters()) == learning.scenario.model.gate.num_parameters(8, 3)


def test_available_experts_follow_the_work():
    learning = trained({"training.gate": {"kind": "roll_gate", "rounds": 1, "peers_per_round": 1}})
    gate = learning.scenario.training.gate
    available = gate.available(learning, [Work(2, 0, 0), Work(0, 1, 0), Work(0, 0, 0)])
    assert available.tolist() == [[True, False, True], [True, False, True], [True, True, False]]
