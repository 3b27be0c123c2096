import pytest
import torch
from pydantic import ValidationError

from nmoe_sim.nmoe.experts import MlpExpert
from nmoe_sim.nmoe.extractors import CnnExtractor, MlpExtractor
from nmoe_sim.nmoe.gates import MlpGate

EXTRACTORS = [
    (MlpExtractor(), (1, 8, 8)),
    (MlpExtractor(hidden=(), num_features=5, output="relu"), (3, 4, 6)),
    (CnnExtractor(), (1, 8, 8)),
    (CnnExtractor(channels=(4, 6), groups=2, output="relu"), (3, 9, 7)),
    (CnnExtractor(channels=(4, 6), downsampling="stride", hidden=(5,)), (3, 9, 7)),
    (CnnExtractor(channels=(4, 6), downsampling="stride", bottleneck=False, num_features=36), (3, 9, 7)),
    (CnnExtractor(channels=(4, 6), grid=2, bottleneck=False, num_features=24), (1, 16, 18)),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("spec", "shape"), EXTRACTORS)
def test_extractor_gives_its_features_and_declares_its_parameters(spec, shape):
    module = spec.build(shape, generator())
    h = module(torch.rand(7, *shape))
    assert h.shape == (7, spec.num_features)
    assert count(module) == spec.num_parameters(shape)
    assert not list(module.buffers())
    if spec.output == "layer_norm":
        torch.testing.assert_close(h.mean(dim=1), torch.zeros(7), atol=1e-5, rtol=0)
    else:
        assert (h >= 0).all()


@pytest.mark.parametrize("hidden", [(), (6,), (6, 3)])
def test_heads_declare_their_parameters(hidden):
    expert, gate = MlpExpert(hidden=hidden), MlpGate(hidden=hidden)
    assert expert.build(5, 4, generator())(torch.rand(2, 5)).shape == (2, 4)
    assert count(expert.build(5, 4, generator())) == expert.num_parameters(5, 4)
    module = gate.build(5, 8, generator())
    assert module(torch.rand(2, 5)).shape == (2, 8)
    assert count(module) == gate.num_parameters(5, 8)
    assert count(module.shared) == gate.num_shared_parameters(5, 8)


def test_weights_are_a_function_of_the_generator_alone():
    for build in (lambda g: MlpExtractor().build((1, 8, 8), g), lambda g: MlpGate(hidden=(4,)).build(5, 3, g)):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = build(generator(5)).state_dict()
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        second, other = build(generator(5)).state_dict(), build(generator(6)).state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)


def test_initial_weights_fill_the_fan_in_interval():
    weight = MlpExpert(hidden=(400,)).build(100, 10, generator())[0].weight
    assert weight.abs().max() <= 0.1
    assert weight.var().item() == pytest.approx(0.1**2 / 3, rel=0.03)


@pytest.mark.parametrize("hidden", [(), (6,)])
def test_a_gate_starts_as_its_shared_part_and_adds_the_local_one(hidden):
    gate, h = MlpGate(hidden=hidden, local_scale=0.5).build(5, 4, generator()), torch.rand(3, 5)
    assert torch.equal(gate(h), gate.shared(h))
    torch.nn.init.normal_(gate.local[-1].bias, generator=generator())
    torch.testing.assert_close(gate(h), gate.shared(h) + 0.5 * gate.local(h))
    assert {name.split(".")[0] for name in gate.state_dict()} == {"shared", "local"}


def test_a_cnn_refuses_more_stages_than_the_image_allows():
    spec = CnnExtractor(channels=(4, 4, 4, 4))
    with pytest.raises(ValueError, match="8×8 pixels can be halved only 3 times"):
        spec.check((1, 8, 8))
    spec.check((1, 16, 16))


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"grid": 2}, "grid 2 must divide the last stage's maps, 3×3"),
        ({"bottleneck": False}, "the last stage gives 288 features, not num_features 64; set num_features to 288"),
    ],
)
def test_a_cnn_refuses_what_its_last_maps_do_not_fit(settings, error):
    spec = CnnExtractor(**settings)
    with pytest.raises(ValueError, match=error):
        spec.check((1, 12, 12))


def test_maps_that_are_the_features_have_no_hidden_layers():
    with pytest.raises(ValidationError, match="leave hidden empty, or set bottleneck to true"):
        CnnExtractor(hidden=(8,), bottleneck=False)


def test_groups_must_divide_channels():
    with pytest.raises(ValidationError, match=r"groups 4 must divide each of channels \[8, 6\]"):
        CnnExtractor(channels=(8, 6), groups=4)
