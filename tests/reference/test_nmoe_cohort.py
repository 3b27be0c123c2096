"""The batched cohort against the plain loop, and the plain loop against torch.optim."""

import numpy as np
import pytest
import torch
from torch import nn

from nmoe_sim.nmoe import cohort, evaluate, losses, stacked
from nmoe_sim.nmoe.experts import MlpExpert
from nmoe_sim.nmoe.gates import MlpGate
from nmoe_sim.nmoe.optimizer import Optimizer

SGDS = [
    Optimizer(lr=0.1, momentum=0.0),
    Optimizer(lr=0.1, momentum=0.9, weight_decay=0.01, epochs=3),
    Optimizer(lr=0.1, momentum=0.9, weight_decay=0.01, clip_norm=0.2, epochs=2),
    Optimizer(lr=0.1, batch_size=None, epochs=4),
]
ADAMS = [
    Optimizer(method="adam", lr=0.01, momentum=0.0),
    Optimizer(method="adam", lr=0.01, weight_decay=0.1, clip_norm=0.2, epochs=3),
]
OPTIMIZERS = pytest.mark.parametrize(
    "optimizer", [*SGDS, *ADAMS], ids=["plain", "momentum", "clipped", "full_batch", "adam", "adam_clipped"]
)
SIZES = [[16, 16, 16], [23, 5, 40, 0, 8]]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(template, sizes, optimizer, dtype=torch.float64, num_features=6, num_outputs=4):
    template = template.to(dtype)
    states = [{k: v + 0.1 * i for k, v in template.state_dict().items()} for i in range(len(sizes))]
    inputs = [torch.randn(n, num_features, generator=generator(i), dtype=dtype) for i, n in enumerate(sizes)]
    labels = [torch.randint(num_outputs, (n,), generator=generator(i)) for i, n in enumerate(sizes)]
    rng = np.random.default_rng(0)
    plans = [cohort.batches(n, batch_size=optimizer.batch_size and 8, epochs=optimizer.epochs, rng=rng) for n in sizes]
    return template, states, inputs, labels, plans


def by_loop(template, states, inputs, labels, plans, optimizer, **kwargs):
    def loss(module, client, index, step):
        return losses.cross_entropy(module(inputs[client][index]), labels[client][index]).mean()

    return cohort.train_modules(template, states, plans, loss, optimizer, **kwargs)


def by_cohort(template, states, inputs, labels, plans, optimizer, **kwargs):
    table = torch.cat(labels)

    def loss(out, batch):
        return losses.masked_mean(losses.cross_entropy(out, table[batch.rows_AB]), batch.mask_AB)

    return stacked.train_stacked(template, cohort.stack(states), inputs, plans, loss, optimizer, **kwargs)


TEMPLATES = {
    "linear": lambda: nn.Sequential(nn.Linear(6, 4, bias=False)),
    "expert": lambda: MlpExpert(hidden=(8, 5)).build(6, 4, generator()),
    "gate": lambda: MlpGate(hidden=(5,)).build(6, 4, generator()),
    "other": lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Softplus(), nn.Linear(8, 4)),
}


@pytest.mark.parametrize("sizes", SIZES, ids=["equal", "unequal"])
@OPTIMIZERS
@pytest.mark.parametrize("name", list(TEMPLATES))
def test_the_cohort_moves_as_each_client_alone(name, optimizer, sizes):
    torch.manual_seed(0)
    arguments = problem(TEMPLATES[name](), sizes, optimizer)
    loop = by_loop(*arguments, optimizer)
    state, mean = by_cohort(*arguments, optimizer)
    for got, expected in zip(cohort.unstack(state), loop.states, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-10)
    np.testing.assert_allclose(mean, loop.losses, rtol=1e-9)
    moved = [any(not torch.equal(a[k], b[k]) for k in a) for a, b in zip(loop.states, arguments[1], strict=True)]
    assert moved == [n > 0 for n in sizes]


@pytest.mark.parametrize("optimizer", [SGDS[2], ADAMS[1]], ids=["sgd", "adam"])
@pytest.mark.parametrize("name", list(TEMPLATES))
def test_the_cohort_pulls_and_shifts_as_each_client_alone(name, optimizer):
    arguments = problem(TEMPLATES[name](), SIZES[1], optimizer)
    offsets = [
        {k: torch.randn(v.shape, generator=generator(i), dtype=v.dtype) for k, v in state.items()}
        for i, state in enumerate(arguments[1])
    ]
    loop = by_loop(*arguments, optimizer, proximal=dict.fromkeys(offsets[0], 3.0), offsets=offsets)
    state, _ = by_cohort(*arguments, optimizer, proximal=dict.fromkeys(offsets[0], 3.0), offsets=cohort.stack(offsets))
    for got, expected in zip(cohort.unstack(state), loop.states, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)
    without = by_loop(*arguments, optimizer, offsets=offsets)
    assert not torch.allclose(without.states[0][next(iter(state))], loop.states[0][next(iter(state))], atol=1e-4)


@pytest.mark.parametrize("optimizer", [SGDS[1], ADAMS[1]], ids=["sgd", "adam"])
def test_the_cohort_agrees_in_single_precision(optimizer):
    arguments = problem(TEMPLATES["expert"](), SIZES[1], optimizer, dtype=torch.float32)
    loop, (state, _) = by_loop(*arguments, optimizer), by_cohort(*arguments, optimizer)
    for got, expected in zip(cohort.unstack(state), loop.states, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_clipping_is_active_and_for_each_client():
    clipped = SGDS[2]
    free = clipped.model_copy(update={"clip_norm": None})
    arguments = problem(TEMPLATES["expert"](), SIZES[0], clipped)
    assert not torch.allclose(
        by_cohort(*arguments, clipped)[0]["0.weight"], by_cohort(*arguments, free)[0]["0.weight"], atol=1e-3
    )


def test_learning_rate_scale_is_a_factor():
    optimizer = SGDS[1]
    arguments = problem(TEMPLATES["expert"](), SIZES[1], optimizer)
    halved = optimizer.model_copy(update={"lr": optimizer.lr / 2})
    for train in (by_loop, by_cohort):
        a, b = train(*arguments, optimizer, lr_scale=0.5)[0], train(*arguments, halved)[0]
        torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_a_frozen_client_and_the_inputs_stay_untouched():
    arguments = problem(TEMPLATES["expert"](), SIZES[1], SGDS[1])
    template, states = arguments[0], arguments[1]
    before = [{k: v.clone() for k, v in s.items()} for s in [template.state_dict(), *states]]
    state, mean = by_cohort(*arguments, SGDS[1])
    by_loop(*arguments, SGDS[1])
    for now, then in zip([template.state_dict(), *states], before, strict=True):
        assert all(torch.equal(now[k], then[k]) for k in then)
    assert all(torch.equal(state[k][3], states[3][k]) for k in state)
    assert np.isnan(mean[3])


@OPTIMIZERS
def test_one_client_then_average_is_plain_training_bit_for_bit(optimizer):
    arguments = problem(TEMPLATES["expert"](), [20], optimizer, dtype=torch.float32)
    _, states, (x,), (y,), (plan,) = arguments
    trained = by_loop(*arguments, optimizer)

    module = MlpExpert(hidden=(8, 5)).build(6, 4, generator())
    module.load_state_dict(states[0])
    options = {"lr": optimizer.lr, "weight_decay": optimizer.weight_decay}
    if optimizer.method == "sgd":
        stepper = torch.optim.SGD(module.parameters(), momentum=optimizer.momentum, **options)
    else:
        stepper = torch.optim.Adam(module.parameters(), betas=(optimizer.momentum, 0.999), eps=1e-8, **options)
    for index in plan:
        stepper.zero_grad()
        losses.cross_entropy(module(x[index]), y[index]).mean().backward()
        if optimizer.clip_norm is not None:
            nn.utils.clip_grad_norm_(module.parameters(), optimizer.clip_norm)
        stepper.step()
    federated = cohort.average(trained.states, [len(x)])
    assert all(torch.equal(federated[k], v) for k, v in module.state_dict().items())


def test_threads_do_not_change_a_bit():
    torch.manual_seed(0)
    arguments = problem(
        nn.Sequential(nn.Linear(6, 300), nn.ReLU(), nn.Linear(300, 4)), SIZES[1], SGDS[1], torch.float32
    )
    alone = by_loop(*arguments, SGDS[1])
    threads = torch.get_num_threads()
    for workers in (2, 5):
        together = by_loop(*arguments, SGDS[1], workers=workers)
        for a, b in zip(alone.states, together.states, strict=True):
            assert all(torch.equal(a[k], b[k]) for k in a)
        np.testing.assert_array_equal(alone.losses, together.losses)
    assert torch.get_num_threads() == threads


def test_values_are_computed_on_one_thread_in_every_worker():
    seen = []

    def loss(module, client, index, step):
        seen.append(torch.get_num_threads())
        return module(torch.ones(1, 2)).sum()

    module = nn.Linear(2, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        plans = [[np.array([0])]] * 4
        cohort.train_modules(module, [module.state_dict()] * 4, plans, loss, Optimizer(), workers=3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1] * 4


def test_heads_with_buffers_are_refused():
    with pytest.raises(ValueError, match="train it with train_modules"):
        stacked.train_stacked(nn.BatchNorm1d(3), {}, [], [], lambda out, batch: out, Optimizer())


def test_values_do_not_depend_on_the_threads_torch_would_use():
    module = nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 4))
    before, results = torch.get_num_threads(), []
    arguments = problem(module, [700, 300], SGDS[3], torch.float32, num_features=64)
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            loop = by_loop(*arguments, SGDS[3]).states
            heads = cohort.unstack(by_cohort(*arguments, SGDS[3])[0])
            table = evaluate.expert_outputs(module, loop, arguments[2][0])
            results.append([table, *(tensor for state in (*loop, *heads) for tensor in state.values())])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
