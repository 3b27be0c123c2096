"""Modules no run could use are refused with a reason and a remedy; what is fine is built and left as it is."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_scenario
from torch import nn
from torch.nn import functional

from nmoe_sim.checks import check
from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.experts import MlpExpert
from nmoe_sim.nmoe.extractors import MlpExtractor
from nmoe_sim.nmoe.gates import MlpGate
from nmoe_sim.nmoe.inspection import build_inspected
from nmoe_sim.nmoe.modules import Gate, count_parameters, linear, seeded
from nmoe_sim.nmoe.stacked_forward import stacked_forward


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Part(nn.Module):
    """A linear layer and whatever is done with its output."""

    def __init__(self, then, *layers):
        super().__init__()
        self.linear = linear(6, 4, generator())
        self.layers = nn.ModuleList(layers)
        self.then = then

    def forward(self, x):
        return self.then(self, self.linear(x))


def inspected(then, *layers, is_head=False):
    return build_inspected(lambda: seeded(lambda: Part(then, *layers), generator()), (6,), 4, is_head=is_head)


def counted(self):
    self.calls = getattr(self, "calls", 0) + 1
    return 1 + 0.01 * self.calls


def layer(self, x):
    return self.layers[0](x)


BUFFER = nn.Module()
BUFFER.register_buffer("table", torch.zeros(4))
COUNTER = nn.Module()
COUNTER.register_buffer("steps", torch.zeros((), dtype=torch.int64))


@pytest.mark.parametrize(("then", "layers", "message"), [
    (layer, [nn.BatchNorm1d(4)], r"over the batch in 'layers\.0', BatchNorm1d.*; use GroupNorm or LayerNorm"),
    (layer, [nn.BatchNorm1d(4, track_running_stats=False)], "normalises over the batch"),
    (lambda self, x: x, [COUNTER], r"keeps 'layers\.0\.steps' of torch\.int64"),
    (layer, [nn.Dropout(0.1)], r"draws random numbers \(bernoulli_: a dropout\?\)"),
    (lambda self, x: functional.dropout(x, 0.2, self.training), [], "draws random numbers"),
    (lambda self, x: x + torch.randn_like(x), [], r"draws random numbers \(randn_like"),
    (lambda self, x: x[:, :3], [], r"shape \(2, 6\) .* shape \(2, 4\), and it returns shape \(2, 3\); change its last"),
    (lambda self, x: x.mean(dim=0), [], r"returns shape \(4,\)"),
    (lambda self, x: (x, x), [], "returns a tuple"),
    (layer, [nn.Linear(5, 4)], r"fails on a batch of shape \(2, 6\) \(test_nmoe_inspection\.py, line \d+\): Runtime"),
    (lambda self, x: self.missing(x), [], r"line \d+\): AttributeError: .*'missing'; mend it"),
    (lambda self, x: x * x.max().item(), [], r"let forward use shapes but no values"),
    (lambda self, x: x.half(), [], r"must return torch\.float32, as it is given, and it returns torch\.float16; end"),
    (lambda self, x: (x > 0).long(), [], r"returns torch\.int64"),
    (lambda self, x: x - x.mean(dim=0), [], "for a sample depends on the others in its batch"),
    (lambda self, x: x.cumsum(dim=0), [], "depends on the others"),
    (lambda self, x: x - x[-1], [], "depends on the others"),
    (lambda self, x: 1e6 * x.softmax(dim=0), [], "depends on the others"),
    (lambda self, x: x * counted(self), [], "returns something else when it is called again on the same samples"),
    (lambda self, x: x.squeeze(), [], r"of a batch of one sample .* shape \(1, 4\), and it returns \(4,\); keep"),
    (layer, [nn.LazyLinear(4)], r"'layers\.0\.weight' has no shape before it is first called .*; give the layer"),
])  # fmt: skip
@pytest.mark.parametrize("is_head", [False, True])
def test_what_no_run_could_use_is_refused(then, layers, message, is_head):
    with pytest.raises(ValueError, match=message):
        inspected(then, *layers, is_head=is_head)


class InPlace(nn.Linear):
    def forward(self, x):
        return super().forward(x.mul_(0.5))


def test_inputs_are_left_as_they_are():
    with pytest.raises(ValueError, match="changes its input, which is the data set"):
        build_inspected(lambda: seeded(lambda: InPlace(6, 4), generator()), (6,), 4, is_head=False)


def test_a_module_stays_as_it_was_built_and_what_it_returns_may_be_anything_finite_or_not():
    module = inspected(lambda self, x: (x * 0).detach() + counted(self) * 0)
    assert not hasattr(module, "calls"), "a copy was called"
    inspected(lambda self, x: x.sqrt())  # NaN below 0
    inspected(lambda self, x: 1e9 + x)
    inspected(lambda self, x: x / 0)


def test_heads_are_trained_as_one():
    assert inspected(lambda self, x: x, BUFFER).layers[0].table.shape == (4,)
    with pytest.raises(ValueError, match=r"has the buffer 'layers\.0\.table', .* make it a parameter"):
        inspected(lambda self, x: x, BUFFER, is_head=True)

    def in_place(self, x):
        return torch.zeros(len(x), 4, device=x.device).add_(x)

    inspected(in_place)
    with pytest.raises(
        ValueError, match=r"computed as one by torch\.func\.vmap, and there it fails \(test_nmoe_ins.*: RuntimeErr"
    ):
        inspected(in_place, is_head=True)


@pytest.mark.parametrize("layers", [[nn.GroupNorm(2, 4)], [nn.LayerNorm(4)], [nn.Dropout(0.0)]])
def test_what_is_fine_is_left_as_it_is(layers):
    module = inspected(layer, *layers, is_head=True)
    assert module.training
    assert module(torch.rand(3, 6)).device.type == "cpu"


def test_weights_must_be_the_generators():
    with pytest.raises(ValueError, match=r"draws 'weight' from torch's global generator.*seeded\(lambda"):
        build_inspected(lambda: nn.Linear(6, 4), (6,), 4, is_head=False)
    with pytest.raises(ValueError, match=r"must return an nn\.Module, not None"):
        build_inspected(lambda: None, (6,), 4, is_head=False)

    def drawn_and_replaced():
        module = nn.Linear(6, 4)
        for parameter in module.parameters():
            nn.init.uniform_(parameter, generator=generator(2))
        return module

    before = torch.get_rng_state()
    assert build_inspected(drawn_and_replaced, (6,), 4, is_head=False).weight.min() >= 0
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_modules_are_a_function_of_the_generator_and_draw_as_torch_does():
    def weights(seed):
        return seeded(lambda: nn.Linear(300, 200), generator(seed)).weight

    before = torch.get_rng_state()
    first = weights(1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(77)
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))
    assert first.std().item() == pytest.approx((3 * 300) ** -0.5, rel=0.02)
    source = generator(1)
    assert not torch.equal(*(seeded(lambda: nn.Linear(3, 2), source).weight for _ in range(2)))


def test_a_gate_without_a_local_part_is_its_shared_part():
    gate, h = Gate(linear(6, 4, generator())), torch.rand(3, 6)
    assert torch.equal(gate(h), gate.shared(h))
    stacked = {name: torch.stack([tensor, 2 * tensor]) for name, tensor in gate.state_dict().items()}
    expected = torch.stack([gate(h), 2 * gate(h)])
    torch.testing.assert_close(stacked_forward(gate)(stacked, torch.stack([h, h])), expected)


def test_parameters_are_counted_by_building():
    assert count_parameters(lambda g: linear(6, 4, g)) == 28
    with pytest.raises(ValueError, match=r"must return an nn\.Module, not None"):
        count_parameters(lambda g: None)
    with pytest.raises(ValueError, match="'weight' has no shape"):
        count_parameters(lambda g: nn.LazyLinear(4))


@pytest.mark.parametrize(("part", "spec"), [("extractor", MlpExtractor), ("expert", MlpExpert), ("gate", MlpGate)])
def test_a_part_that_cannot_be_counted_is_refused_where_it_is_set(monkeypatch, part, spec):
    scenario = tiny_scenario({f"model.{part}": {"kind": "mlp"}})
    monkeypatch.setattr(spec, "num_parameters", lambda *_: count_parameters(lambda _: None))
    with pytest.raises(InputError, match=rf"model\.{part}: 'build' must return an nn\.Module, not None"):
        check(scenario)


def test_heads_that_could_not_be_trained_as_they_are_meant_are_refused():
    twice = linear(4, 4, generator())
    with pytest.raises(ValueError, match=r"has '2\.bias' twice.*use it once"):
        build_inspected(lambda: nn.Sequential(twice, nn.ReLU(), twice), (4,), 4, is_head=True)
    with pytest.raises(ValueError, match="nothing to train; leave some of it trainable"):
        build_inspected(lambda: linear(4, 3, generator()).requires_grad_(False), (4,), 3, is_head=True)
    build_inspected(lambda: linear(4, 3, generator()).requires_grad_(False), (4,), 3, is_head=False)
