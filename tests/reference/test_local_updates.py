"""FedProx and SCAFFOLD against NumPy written by hand, on the least squares of several clients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nmoe_sim.nmoe import cohort, stacked
from nmoe_sim.nmoe.local_update import FedProx, Scaffold, Sgd, new_server_variate
from nmoe_sim.nmoe.optimizer import Optimizer

SIZES = [12, 7, 20, 0]
RNG = np.random.default_rng(3)
X = [RNG.normal(size=(n, 3)) + 0.5 * i for i, n in enumerate(SIZES)]
Y = [RNG.normal(size=n) + 2.0 * i for i, n in enumerate(SIZES)]
START = RNG.normal(size=4)  # three weights and a bias


def plans_of(round_index, batch_size, epochs):
    rng = np.random.default_rng(round_index)
    return [cohort.batches(n, batch_size=batch_size, epochs=epochs, rng=rng) for n in SIZES]


def gradient(client, w, index):
    """Of ½ mean (x·w + b − y)², by hand."""
    x = np.column_stack([X[client][index], np.ones(len(index))])
    return x.T @ (x @ w - Y[client][index]) / len(index)


def clip(g, norm):
    return g if norm is None else g * min(1.0, norm / (np.sqrt(np.sum(g**2)) + 1e-6))


def to_state(w):
    w = torch.from_numpy(np.asarray(w, dtype=np.float64))
    return {"weight": w[None, :3].clone(), "bias": w[3:].clone()}


def to_vector(state):
    return np.concatenate([state["weight"].numpy().ravel(), state["bias"].numpy()])


def by_modules(states, plans, optimizer, lr_scale, proximal, offsets):
    def loss(module, client, index, step):
        x, y = torch.from_numpy(X[client])[index], torch.from_numpy(Y[client])[index]
        return (module(x).squeeze(-1) - y).square().mean() / 2

    options = {"lr_scale": lr_scale, "proximal": dict.fromkeys(states[0], proximal), "offsets": offsets}
    return cohort.train_modules(nn.Linear(3, 1).double(), states, plans, loss, optimizer, **options).states


def by_heads(states, plans, optimizer, lr_scale, proximal, offsets):
    targets = torch.from_numpy(np.concatenate(Y))

    def loss(out, batch):
        errors = (out.squeeze(-1) - targets[batch.rows_AB]).square() / 2
        return torch.where(batch.mask_AB, errors, 0.0).sum(dim=1) / batch.mask_AB.sum(dim=1)

    pull = dict.fromkeys(states[0], proximal)
    options = {"lr_scale": lr_scale, "proximal": pull, "offsets": offsets and cohort.stack(offsets)}
    inputs = [torch.from_numpy(x) for x in X]
    head = nn.Linear(3, 1).double()
    return cohort.unstack(
        stacked.train_stacked(head, cohort.stack(states), inputs, plans, loss, optimizer, **options)[0]
    )


STRATEGIES = pytest.mark.parametrize("train", [by_modules, by_heads], ids=["modules", "heads"])


@STRATEGIES
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_fedprox_steps(train, clip_norm):
    lr, mu, momentum, decay = 0.03, 0.7, 0.6, 0.02
    optimizer = Optimizer(lr=lr, momentum=momentum, weight_decay=decay, clip_norm=clip_norm)
    server = START
    for number in range(3):
        plans, expected = plans_of(number, 5, 2), []
        for client, plan in enumerate(plans):
            w, velocity = server.copy(), np.zeros(4)
            for index in plan:
                step = clip(gradient(client, w, index) + mu * (w - server), clip_norm) + decay * w
                velocity = momentum * velocity + step
                w = w - 0.5 * lr * velocity
            expected.append(w)
        trained = train([to_state(server)] * len(SIZES), plans, optimizer, 0.5, FedProx(mu=mu).proximal, None)
        np.testing.assert_allclose([to_vector(state) for state in trained], expected, rtol=1e-9)
        server = np.average(expected, axis=0, weights=SIZES)


@STRATEGIES
def test_fedprox_converges_to_its_closed_form(train):
    """Full batches, many steps: (AᵀA + μI)⁻¹ (Aᵀy + μ w_start)."""
    mu = 0.3
    plans = plans_of(0, None, 600)
    trained = train([to_state(START)] * len(SIZES), plans, Optimizer(lr=0.2, momentum=0.7), 1.0, mu, None)
    for client, n in enumerate(SIZES[:3]):
        x = np.column_stack([X[client], np.ones(n)])
        best = np.linalg.solve(x.T @ x / n + mu * np.eye(4), x.T @ Y[client] / n + mu * START)
        np.testing.assert_allclose(to_vector(trained[client]), best, rtol=1e-6)


@STRATEGIES
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_scaffold_steps(train, clip_norm):
    """Algorithm 1, option II, with some of the clients in each round."""
    lr, decay, num_clients = 0.03, 0.02, len(SIZES)
    optimizer = Optimizer(lr=lr, momentum=0.0, weight_decay=decay, clip_norm=clip_norm)
    spec = Scaffold()
    spec.check(optimizer)
    server, c, own = START, np.zeros(4), np.zeros((num_clients, 4))
    zero = {name: torch.zeros_like(tensor).double() for name, tensor in nn.Linear(3, 1).state_dict().items()}
    server_variate, variates = zero, [zero] * num_clients
    for number, present in enumerate([(0, 1, 2, 3), (0, 2), (1, 2, 3), (0, 1, 3)]):
        plans = [plan if client in present else [] for client, plan in enumerate(plans_of(number, 5, 2))]
        models, new = {}, own.copy()
        for client in present:
            w = server.copy()
            for index in plans[client]:
                step = clip(gradient(client, w, index), clip_norm) + c - own[client] + decay * w
                w = w - 0.5 * lr * step
            models[client] = w
            if num_steps := len(plans[client]):
                new[client] = own[client] - c + (server - w) / (num_steps * 0.5 * lr)

        offsets = [spec.offset(server_variate, variate) for variate in variates]
        trained = train([to_state(server)] * num_clients, plans, optimizer, 0.5, spec.proximal, offsets)
        after = {
            client: spec.new_variate(
                server_variate, variates[client], to_state(server), trained[client], len(plans[client]), 0.5 * lr
            )
            for client in present
        }
        before = [variates[client] for client in present]
        server_variate = new_server_variate(server_variate, before, list(after.values()), num_clients)
        variates = [after.get(client, variate) for client, variate in enumerate(variates)]

        server = server + np.mean([models[client] - server for client in present], axis=0)
        c, own = c + (new - own).sum(axis=0) / num_clients, new
        for client in present:
            np.testing.assert_allclose(to_vector(trained[client]), models[client], rtol=1e-8)
            np.testing.assert_allclose(to_vector(variates[client]), own[client], rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(to_vector(server_variate), c, rtol=1e-7, atol=1e-9)
    assert np.abs(c).min() > 1e-3


def test_scaffold_finds_the_common_optimum_where_plain_averaging_does_not():
    """Full batches, ten local steps, clients whose own optima are far apart."""
    optimizer, spec = Optimizer(lr=0.1, momentum=0.0), Scaffold()
    plans = [plan if n else [] for plan, n in zip(plans_of(0, None, 10), SIZES, strict=True)]
    clients = range(3)
    normal = sum(np.column_stack([X[i], np.ones(SIZES[i])]).T @ np.column_stack([X[i], np.ones(SIZES[i])]) / SIZES[i]
                 for i in clients)  # fmt: skip
    right = sum(np.column_stack([X[i], np.ones(SIZES[i])]).T @ Y[i] / SIZES[i] for i in clients)
    best = np.linalg.solve(normal, right)
    ends = []
    for corrected in (False, True):
        server, c = to_state(START), to_state(np.zeros(4))
        variates = [c] * len(SIZES)
        for _ in range(100):
            offsets = [spec.offset(c, variate) for variate in variates] if corrected else None
            trained = by_heads([server] * len(SIZES), plans, optimizer, 1.0, 0.0, offsets)
            after = [spec.new_variate(c, variates[i], server, trained[i], 10, 0.1) for i in clients]
            c = new_server_variate(c, variates[:3], after, 3)
            variates = [*after, variates[3]]
            server = cohort.average([trained[i] for i in clients], [1, 1, 1])
        ends.append(np.abs(to_vector(server) - best).max())
    assert ends[0] > 0.05
    assert ends[1] < 1e-4


@STRATEGIES
def test_offsets_may_be_for_some_parameters_only(train):
    plans = plans_of(0, 5, 1)
    arguments = [to_state(START)] * 4, plans, Optimizer(lr=0.1, momentum=0.0), 1.0, 0.0
    free = train(*arguments, None)
    shifted = train(*arguments, [{"bias": torch.full((1,), 0.0, dtype=torch.float64)}] * 4)
    assert all(torch.equal(a[name], b[name]) for a, b in zip(free, shifted, strict=True) for name in a)
    shifted = train(*arguments, [{"bias": torch.full((1,), 9.0, dtype=torch.float64)}] * 4)
    one_step = [len(plan) for plan in plans].index(2)
    assert not torch.equal(free[one_step]["bias"], shifted[one_step]["bias"])
    with pytest.raises(ValueError, match="these aren't: slope"):
        train(*arguments, [{"slope": torch.zeros(1)}] * 4)


def test_what_is_frozen_does_not_move():
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)).double()
    module[0].requires_grad_(False)
    state = module.state_dict()

    def loss(module, client, index, step):
        return module(torch.from_numpy(X[client])[index]).square().mean()

    offset = {name: torch.ones_like(state[name]) for name in ("1.weight", "1.bias")}
    trained = cohort.train_modules(
        module,
        [state],
        [[np.arange(5)]],
        loss,
        Optimizer(lr=0.1),
        proximal=dict.fromkeys(offset, 0.5),
        offsets=[offset],
    )
    moved = [name for name in state if not torch.equal(state[name], trained.states[0][name])]
    assert moved == ["1.weight", "1.bias"]


def test_plain_training_has_neither_term():
    spec = Sgd()
    spec.check(Optimizer(method="adam"))
    assert (spec.proximal, spec.has_variates, Scaffold().proximal, FedProx().has_variates) == (0.0, False, 0.0, False)
    with pytest.raises(NotImplementedError, match="'sgd' has no control variates"):
        spec.offset({}, {})
    with pytest.raises(NotImplementedError, match="'fedprox' has no control variates"):
        FedProx().new_variate({}, {}, {}, {}, 1, 0.1)


@pytest.mark.parametrize("wrong", [{"method": "adam", "momentum": 0.0}, {"momentum": 0.9}])
def test_scaffold_wants_plain_steps(wrong):
    with pytest.raises(ValueError, match=r"set optimizer\.method to sgd and optimizer\.momentum to 0"):
        Scaffold().check(Optimizer(**wrong))
