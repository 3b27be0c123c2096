import pytest
import torch

from nmoe_sim.nmoe import cost, losses, spectral
from nmoe_sim.nmoe.experts import MlpExpert
from nmoe_sim.nmoe.extractors import CnnExtractor, MlpExtractor
from nmoe_sim.nmoe.gates import MlpGate


def generator():
    return torch.Generator().manual_seed(0)


def test_forward_flop_of_perceptrons_is_two_for_each_weight():
    extractor = MlpExtractor(hidden=(20,), num_features=7).build((1, 8, 8), generator())
    assert cost.forward_flop(extractor, (1, 8, 8)) == 2 * (64 * 20 + 20 * 7)
    assert cost.forward_flop(MlpExpert(hidden=(6,)).build(7, 10, generator()), (7,)) == 2 * (7 * 6 + 6 * 10)
    assert cost.forward_flop(MlpGate().build(7, 5, generator()), (7,)) == 2 * 2 * 7 * 5


def test_forward_flop_of_a_cnn():
    module = CnnExtractor(channels=(4, 6), num_features=5).build((3, 8, 8), generator())
    assert cost.forward_flop(module, (3, 8, 8)) == 2 * (9 * 3 * 4 * 64 + 9 * 4 * 6 * 16 + 6 * 4 * 5)
    assert next(module.parameters()).device.type == "cpu"


def test_training_step_is_forward_and_the_needed_part_of_backward():
    module, batch = MlpExpert(hidden=(6,)).build(7, 10, generator()), 32
    flop = cost.training_step_flop(
        module,
        lambda m, x, y: losses.cross_entropy(m(x), y).mean(),
        torch.empty(batch, 7),
        torch.empty(batch, dtype=torch.int64),
    )
    # weights' gradients of both layers, inputs' gradient of the second only
    assert flop == batch * 2 * (2 * 7 * 6 + 3 * 6 * 10)


def test_correlation_is_charged():
    def flop(batch):
        return cost.count_flop(lambda: spectral.correlation(*[torch.empty(batch, 8, device="meta") for _ in range(2)]))

    assert flop(16) == 2 * (2 * 16) * 8 * 8
    assert flop(32) == 2 * flop(16)


@pytest.mark.parametrize(("how", "flop"), [("logits", 3 * 2 + 2 * 20), ("probabilities", 3 * 2 + 2 * 20 + 3 * 20)])
def test_combination_is_declared(how, flop):
    assert cost.combine_flop(2, 10, how) == flop


def test_bytes_are_counted_by_dtype():
    state = {"a": torch.zeros(3, 4), "b": torch.zeros(5, dtype=torch.float16)}
    assert cost.tensor_bytes(state) == 48 + 10
