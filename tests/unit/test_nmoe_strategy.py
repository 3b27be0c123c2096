"""Which way a cohort is computed; that its bits depend on neither workers nor memory; what bfloat16 changes."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from nmoe_sim.nmoe import cohort, losses
from nmoe_sim.nmoe import strategy as strategies
from nmoe_sim.nmoe.experts import MlpExpert
from nmoe_sim.nmoe.extractors import CnnExtractor, MlpExtractor, ResNetExtractor
from nmoe_sim.nmoe.gates import MlpGate
from nmoe_sim.nmoe.modules import linear
from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.nmoe.strategy import affordable_workers, client_bytes, strategy, train_cohort
from nmoe_sim.nmoe.values import ValueStore

SHAPE = (1, 8, 8)
NUM_CLASSES = 4
SIZES = [23, 40, 5, 0, 17, 40]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def with_head(spec):
    return nn.Sequential(spec.build(SHAPE, generator()), linear(spec.num_features, NUM_CLASSES, generator()))


MODELS = {
    "mlp": lambda: with_head(MlpExtractor(hidden=(33,), num_features=7)),
    "cnn": lambda: with_head(CnnExtractor(channels=(4, 8), num_features=7)),
    "resnet": lambda: with_head(ResNetExtractor()),
    "tied": lambda: nn.Sequential(nn.Flatten(), linear(64, 4, generator()), Twice()),
    "padded": lambda: nn.Sequential(nn.Flatten(), linear(64, 4, generator()), Padded()),
    "scaled": lambda: nn.Sequential(nn.Flatten(), linear(64, 4, generator()), Scaled()),
}


class Twice(nn.Module):
    """Uses its weights in two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = linear(4, 4, generator()), linear(4, 4, generator())
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x).relu())


class Padded(nn.Module):
    """Writes into a tensor of its own, which ``torch.func.vmap`` refuses."""

    def __init__(self):
        super().__init__()
        self.layer = linear(5, 4, generator())

    def forward(self, x):
        wider = torch.zeros(len(x), 5, device=x.device, dtype=x.dtype)
        wider[:, :4] = x
        return self.layer(wider)


class Scaled(nn.Module):
    """Has a forward of its own."""

    def __init__(self):
        super().__init__()
        self.layer, self.scale = linear(4, 4, generator()), nn.Parameter(torch.full((4,), 2.0))

    def forward(self, x):
        return self.scale * self.layer(x)


def arguments(name, optimizer, dtype=torch.float32):
    rng = np.random.default_rng(0)
    model = MODELS[name]().to(dtype)
    inputs = [torch.randn((n, *SHAPE), generator=generator(i)).to(dtype) for i, n in enumerate(SIZES)]
    labels = [torch.randint(NUM_CLASSES, (n,), generator=generator(i)) for i, n in enumerate(SIZES)]
    plans = [cohort.batches(n, batch_size=8, epochs=optimizer.epochs, rng=rng) for n in SIZES]
    return model, [model.state_dict()] * len(SIZES), inputs, labels, plans


def train(name, optimizer, on_batch=lambda batch: None, dtype=torch.float32, **options):
    model, states, inputs, labels, plans = arguments(name, optimizer, dtype)
    table = torch.cat(labels)

    def loss(out_ABC, batch):
        on_batch(batch)
        return losses.masked_mean(losses.cross_entropy(out_ABC, table[batch.rows_AB]), batch.mask_AB)

    return train_cohort(model, states, inputs, plans, loss, optimizer, **options)


def assert_same_bits(a, b):
    np.testing.assert_array_equal(a.losses, b.losses)
    for one, two in zip(a.states, b.states, strict=True):
        assert all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (MlpExpert().build(16, 4, generator()), (16,), "stacked"),
        (MlpGate().build(16, 4, generator()), (16,), "stacked"),
        (MODELS["mlp"](), SHAPE, "stacked"),
        (MODELS["cnn"](), SHAPE, "side_by_side"),
        (MODELS["resnet"](), SHAPE, "side_by_side"),
        (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), (4,), "side_by_side"),
        (nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4)), (4,), "side_by_side"),
        (Twice(), (4,), "side_by_side"),
        (MODELS["padded"](), SHAPE, "side_by_side"),
        (Scaled(), (4,), "stacked"),
    ],
    ids=["expert", "gate", "mlp", "cnn", "resnet", "buffers", "frozen", "tied", "image", "features"],
)
def test_the_model_chooses_the_strategy(module, shape, expected):
    assert strategy(module, shape) == expected


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", list(MODELS))
def test_neither_workers_nor_memory_change_a_bit(name, precision, monkeypatch):
    optimizer = Optimizer(lr=0.05, clip_norm=1.0, precision=precision)
    model, _, inputs, _, plans = arguments(name, optimizer)
    each_bytes = client_bytes(model, inputs[0].shape[1:], plans, optimizer)
    monkeypatch.setattr(strategies, "BLOCK_BYTES", 2 * each_bytes)
    alone = train(name, optimizer)
    assert np.isnan(alone.losses).tolist() == [n == 0 for n in SIZES]
    for workers, memory_bytes in ((2, None), (3, None), (3, 1), (3, 2 * each_bytes)):
        assert_same_bits(train(name, optimizer, workers=workers, memory_bytes=memory_bytes), alone)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize(("num_clients", "at_once"), [(0, 1), (1, 1), (2, 2), (9, 3)])
def test_no_more_is_computed_at_the_same_time_than_the_bound_allows(name, num_clients, at_once, monkeypatch):
    optimizer = Optimizer(epochs=2)
    model, _, inputs, _, plans = arguments(name, optimizer)
    each_bytes = client_bytes(model, inputs[0].shape[1:], plans, optimizer)
    monkeypatch.setattr(strategies, "BLOCK_BYTES", each_bytes)
    threads, in_block = set(), []

    def on_batch(batch):
        threads.add(threading.get_ident())
        in_block.append(len(batch.clients_A))

    train(name, optimizer, on_batch, workers=3, memory_bytes=max(1, num_clients * each_bytes))
    assert len(threads) <= at_once
    assert set(in_block) == {1}
    shape = inputs[0].shape[1:]
    bound = max(1, num_clients * each_bytes)
    assert affordable_workers(model, shape, plans, optimizer, workers=3, memory_bytes=bound) == at_once
    assert affordable_workers(model, shape, plans, optimizer, workers=3, memory_bytes=None) == 3


def test_clients_that_fit_a_block_are_stacked_together():
    seen = []
    train("mlp", Optimizer(), lambda batch: seen.append(len(batch.clients_A)))
    assert max(seen) == len(SIZES) - 1  # one has no samples


def test_memory_of_a_linear_layer_by_hand():
    plans = [[np.arange(8), np.arange(3)]]
    weights, batch = 4 * (6 * 5 + 5), 4 * 8 * 6  # bytes; the layer keeps its input for the backward pass
    for method, copies in (("sgd", 4), ("adam", 5)):
        expected = copies * weights + 2 * (batch + batch)
        assert client_bytes(nn.Linear(6, 5), (6,), plans, Optimizer(method=method)) == expected


def test_memory_counts_activations_of_a_network():
    plans = [[np.arange(32)]]
    few, many = (client_bytes(MODELS["resnet"](), (1, side, side), plans, Optimizer()) for side in (8, 16))
    activations = 32 * 16 * 16 * 16 * 4  # one tensor of the first stage, 16 channels of 16×16
    assert many - few > 6 * activations


@pytest.mark.parametrize("name", list(MODELS))
def test_a_client_in_a_cohort_trains_as_alone_in_a_loop(name):
    optimizer = Optimizer(lr=0.05, epochs=2)
    model, states, inputs, labels, plans = arguments(name, optimizer, torch.float64)

    def loss(module, client, index, step):
        return nn.functional.cross_entropy(module(inputs[client][index]), labels[client][index])

    expected = cohort.train_modules(model, states, plans, loss, optimizer)
    got = train(name, optimizer, dtype=torch.float64, workers=2)
    np.testing.assert_allclose(got.losses, expected.losses, rtol=1e-10)
    for one, two in zip(got.states, expected.states, strict=True):
        torch.testing.assert_close(one, two, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("name", list(MODELS))
def test_bfloat16_trains_to_about_the_same_loss(name):
    optimizer = Optimizer(lr=0.02, epochs=4)
    full = train(name, optimizer, workers=2)
    rounded = train(name, optimizer.model_copy(update={"precision": "bf16"}), workers=2)
    assert not np.array_equal(full.losses, rounded.losses, equal_nan=True)
    # 8 significant bits, a relative rounding of 2^-8 an operand; over a short training errors stay of that order
    np.testing.assert_allclose(rounded.losses, full.losses, rtol=0.03)
    assert all(tensor.dtype == torch.float32 for state in rounded.states for tensor in state.values())


def test_bfloat16_rounds_operands_of_products_and_nothing_behind_them():
    optimizer = Optimizer(lr=1.0, momentum=0.0, precision="bf16")
    x = torch.tensor([[1.0 + 2**-9]])  # rounds to 1
    seen = []

    def loss(module, client, index, step):
        out = module(x)
        seen.append(out)
        return (out * (1.0 + 2**-9)).sum()

    module = nn.Linear(1, 1, bias=False)
    state = {"weight": torch.tensor([[1.0 + 2**-10]])}
    trained = cohort.train_modules(module, [state], [[np.array([0])]], loss, optimizer)
    assert seen[0].dtype == torch.float32
    assert seen[0].item() == 1.0
    assert trained.losses[0] == 1.0 + 2**-9
    assert trained.states[0]["weight"].item() == pytest.approx(2**-10, abs=1e-9)  # the weight itself isn't rounded


def test_precision_is_part_of_the_key_of_stored_values(tmp_path):
    for optimizer in (Optimizer(), Optimizer(precision="bf16"), Optimizer(precision="bf16")):
        store = ValueStore(tmp_path, {}, {})
        store.compute("extractor", optimizer.model_dump(mode="json"), lambda _: {"x": torch.zeros(1)})
    assert store.loaded == ["extractor"]
    assert len(list(tmp_path.iterdir())) == 2
