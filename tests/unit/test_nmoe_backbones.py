"""Residual networks, transformers and the larger CNNs: sizes from the literature, costs by hand, starts, training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import tiny_scenario
from pydantic import ValidationError
from torch import Tensor, nn

from nmoe_sim import run
from nmoe_sim.nmoe import cost
from nmoe_sim.nmoe.cohort import train_modules
from nmoe_sim.nmoe.evaluate import features
from nmoe_sim.nmoe.extractors import CnnExtractor, PooledExtractor, ResNetExtractor, VitExtractor
from nmoe_sim.nmoe.extractors.attention import TransformerBlock
from nmoe_sim.nmoe.extractors.residual import FixupBlock, GroupNormBlock
from nmoe_sim.nmoe.losses import cross_entropy
from nmoe_sim.nmoe.modules import linear
from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.nmoe.threads import one_thread

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]
SMALL: list[PooledExtractor | CnnExtractor] = [
    ResNetExtractor(),
    ResNetExtractor(normalisation="fixup", output="plain"),
    ResNetExtractor(depth=20, groups=4, bottleneck=True, num_features=12),
    VitExtractor(patch_size=2, dim=16, depth=2, heads=2, num_features=16),
    VitExtractor(dim=16, depth=1, heads=4, pooling="class_token", bottleneck=True, num_features=6, output="plain"),
    CnnExtractor(channels=(6, 16), kernel_size=5, hidden=(120,), num_features=84),
]


@pytest.fixture(autouse=True)
def _on_one_thread():
    with one_thread():
        yield


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def resnet(depth: Any, width: int = 1, **settings: Any) -> ResNetExtractor:
    return ResNetExtractor(depth=depth, width=width, num_features=(512 if depth == 18 else 64) * width, **settings)


# --- sizes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("depth", "width", "normalisation"), [
    (8, 1, "group_norm"), (8, 2, "fixup"), (20, 1, "fixup"), (20, 2, "group_norm"), (18, 1, "group_norm"),
    (18, 1, "fixup"),
])  # fmt: skip
def test_a_resnet_declares_its_parameters(shape, depth, width, normalisation):
    plain = resnet(depth, width, normalisation=normalisation)
    narrow = plain.model_copy(update={"bottleneck": True, "num_features": 7})
    for spec in (plain, narrow):
        spec.check(shape)
        assert count(spec.build(shape, generator())) == spec.num_parameters(shape)


@pytest.mark.parametrize(
    ("shape", "patch_size", "dim", "depth", "heads", "mlp_ratio", "pooling"),
    [
        (*setting, pooling)
        for setting in [((1, 8, 8), 2, 8, 1, 2, 1), ((1, 28, 28), 7, 12, 2, 3, 4), ((3, 32, 32), 4, 64, 4, 4, 2)]
        for pooling in ("mean", "class_token")
    ],
)
def test_a_transformer_declares_its_parameters(shape, patch_size, dim, depth, heads, mlp_ratio, pooling):
    settings = {"patch_size": patch_size, "dim": dim, "depth": depth, "heads": heads, "mlp_ratio": mlp_ratio}
    plain = VitExtractor(**settings, pooling=pooling, num_features=dim)
    for spec in (plain, plain.model_copy(update={"bottleneck": True, "num_features": 5})):
        assert count(spec.build(shape, generator())) == spec.num_parameters(shape)


@pytest.mark.parametrize("hidden", [(), (9,), (9, 7)])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_cnn_declares_its_parameters(shape, kernel_size, hidden):
    spec = CnnExtractor(channels=(4, 6), kernel_size=kernel_size, hidden=hidden, groups=2)
    assert count(spec.build(shape, generator())) == spec.num_parameters(shape)


def test_sizes_are_those_of_the_literature():
    """With the classifier that stage 1 adds; group normalisation has as many parameters as batch normalisation."""
    cifar = (3, 32, 32)
    # He et al. 2016, table 6: 0.27 M. ResNet-18 with a 3×3 first layer, as commonly reported: 11.17 M
    assert resnet(20).num_parameters(cifar) + 65 * 10 == 269_722
    assert resnet(18).num_parameters(cifar) + 513 * 10 == 11_173_962
    # 78,042 is often read for ResNet-8: that has 1×1 convolutions with their normalisations on two shortcuts
    assert resnet(8).num_parameters(cifar) + 65 * 10 == 78_042 - (16 * 32 + 2 * 32) - (32 * 64 + 2 * 64)
    # FedSC's model of 18 M: Fixup ResNet-20, 8 times as wide, with its projector 512 → 1024 → 512
    fedsc = resnet(20, 8, normalisation="fixup").num_parameters(cifar) + 513 * 1024 + 1025 * 512
    assert fedsc == pytest.approx(18e6, rel=0.01)
    # McMahan et al. 2017: 1,663,370
    mcmahan = CnnExtractor(channels=(32, 64), kernel_size=5, num_features=512, output="relu")
    assert mcmahan.num_parameters((1, 28, 28)) + 513 * 10 == 1_663_370


def test_flop_of_residual_networks_by_hand():
    def stage(n_in: int, n_out: int, pixels: int, blocks: int, projected: bool) -> int:
        first = 9 * n_in * n_out + 9 * n_out**2 + (n_in * n_out if projected and n_in != n_out else 0)
        return pixels * (first + (blocks - 1) * 18 * n_out**2)

    def flop(spec: ResNetExtractor) -> int:
        return cost.forward_flop(spec.build((3, 32, 32), generator()), (3, 32, 32))

    stem = 1024 * 27 * 16
    twenty = stem + stage(16, 16, 1024, 3, False) + stage(16, 32, 256, 3, False) + stage(32, 64, 64, 3, False)
    assert flop(resnet(20)) == flop(resnet(20, normalisation="fixup")) == 2 * twenty
    narrow = ResNetExtractor(depth=20, bottleneck=True, num_features=5)
    assert flop(narrow) == 2 * (twenty + 64 * 5)
    widths = [(64, 64, 1024), (64, 128, 256), (128, 256, 64), (256, 512, 16)]
    eighteen = flop(resnet(18))
    assert eighteen == 2 * (1024 * 27 * 64 + sum(stage(*width, 2, True) for width in widths))
    assert eighteen / 2 == pytest.approx(0.56e9, rel=0.01)  # multiply-adds, as commonly reported


@pytest.mark.parametrize("pooling", ["mean", "class_token"])
def test_flop_of_a_transformer_by_hand_attention_included(pooling):
    spec = VitExtractor(patch_size=4, dim=24, depth=3, heads=4, mlp_ratio=2, num_features=24, pooling=pooling)
    module, patches, dim = spec.build((3, 32, 32), generator()), 64, 24
    tokens = patches + (pooling == "class_token")
    embedding = patches * 48 * dim
    block = tokens * dim * 3 * dim + 2 * tokens**2 * dim + tokens * dim**2 + 2 * tokens * dim * 2 * dim
    assert cost.forward_flop(module, (3, 32, 32)) == 2 * (embedding + 3 * block)
    # backward: the gradients of both factors of each product; the images need none
    step = cost.training_step_flop(module, lambda m, x: m(x).square().mean(), torch.empty(5, 3, 32, 32))
    assert step == 5 * 2 * (2 * embedding + 3 * 3 * block)


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("build", "message"), [
    (lambda: ResNetExtractor(depth=18), r"gives 512 features, not num_features 64; set num_features to 512, or bott"),
    (lambda: ResNetExtractor(width=2), "gives 128 features, not num_features 64"),
    (lambda: VitExtractor(dim=32, num_features=16), "gives 32 features, not num_features 16"),
    (lambda: VitExtractor(heads=5), "heads 5 must divide dim 64"),
    (lambda: ResNetExtractor(groups=3), "groups 3 must divide the first stage's channels, 16"),
    (lambda: ResNetExtractor(normalisation="fixup", groups=8), "fixup has no groups"),
])  # fmt: skip
def test_settings_that_contradict_are_refused(build, message):
    with pytest.raises(ValidationError, match=message):
        build()


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (resnet(8), (1, 3, 9), "halves the image 2 times and needs 4×4 pixels, not 3×9"),
        (resnet(18), (3, 7, 7), "halves the image 3 times and needs 8×8 pixels, not 7×7"),
        (VitExtractor(), (1, 28, 30), "patch_size 4 must divide the image's height and width, 28×30"),
    ],
)
def test_images_that_do_not_fit_are_refused(spec, shape, message):
    with pytest.raises(ValueError, match=message):
        spec.check(shape)
    with pytest.raises(ValueError, match=message):
        spec.build(shape, generator())


# --- starts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SMALL, ids=repr)
def test_every_backbone_starts_from_its_generator_alone(spec):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, two, other = (spec.build((1, 8, 8), generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.rand(4, 1, 8, 8, generator=generator())
    assert torch.equal(one(x), two(x))
    assert not torch.equal(one(x), other(x))
    assert one(x).shape == (4, spec.num_features)
    assert not list(one.buffers())
    if spec.output == "layer_norm":
        torch.testing.assert_close(one(x).mean(dim=1), torch.zeros(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("spec", SMALL, ids=repr)
def test_a_sample_does_not_see_its_batch(spec):
    module, x = spec.build((1, 8, 8), generator()), torch.rand(5, 1, 8, 8, generator=generator())
    torch.testing.assert_close(module(x), torch.cat([module(one) for one in x.split(1)]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize(("n_in", "n_out"), [(4, 4), (4, 8)])
def test_a_fixup_block_starts_as_its_shortcut(n_in, n_out, projected):
    block = FixupBlock(n_in, n_out, num_branches=9, projected=projected, generator=generator())
    x = torch.randn(3, n_in, 6, 6, generator=generator(1))
    assert torch.equal(block(x), torch.relu(block.shortcut(x)))
    if n_in == n_out:
        assert torch.equal(block(x), torch.relu(x))
    elif not projected:
        assert torch.equal(block(x)[:, :4], torch.relu(x[:, :, ::2, ::2]))
        assert not block(x)[:, 4:].any()


def test_fixup_scales_the_first_convolution_of_each_branch_by_the_root_of_their_number():
    backbone = resnet(20, 4, normalisation="fixup").build((3, 32, 32), generator())[0]
    blocks = [layer for layer in backbone if isinstance(layer, FixupBlock)]
    assert len(blocks) == 9
    for block in blocks[3:]:
        fan_in = block.first.in_channels * 9
        assert block.first.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5 / 3, rel=0.02)
        assert not block.second.weight.any()
    assert backbone[0].weight.std().item() == pytest.approx((2 / 27) ** 0.5, rel=0.05)


def test_a_fixup_block_is_its_equation():
    block = FixupBlock(2, 2, num_branches=1, projected=False, generator=generator())
    nn.init.normal_(block.second.weight, generator=generator(1))
    with torch.no_grad():
        block.biases.copy_(torch.tensor([0.1, -0.2, 0.3, -0.4]))
        block.multiplier.fill_(1.5)
    x = torch.randn(3, 2, 5, 5, generator=generator(2))
    inner = torch.relu(torch.conv2d(x + 0.1, block.first.weight, padding=1) - 0.2) + 0.3
    expected = torch.relu(x + 0.1 + 1.5 * torch.conv2d(inner, block.second.weight, padding=1) - 0.4)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("projected", [False, True])
def test_a_normalised_block_adds_its_branch_to_its_shortcut(projected):
    block = GroupNormBlock(4, 8, groups=2, projected=projected, generator=generator())
    x = torch.randn(3, 4, 6, 6, generator=generator(1))
    middle = nn.functional.group_norm(torch.conv2d(x, block.branch[0].weight, stride=2, padding=1), 2).relu()
    branch = nn.functional.group_norm(torch.conv2d(middle, block.branch[3].weight, padding=1), 2)
    if projected:
        shortcut = nn.functional.group_norm(torch.conv2d(x, block.shortcut[0].weight, stride=2), 2)
    else:
        shortcut = torch.cat([x[:, :, ::2, ::2], torch.zeros(3, 4, 3, 3)], dim=1)
    torch.testing.assert_close(block(x), (shortcut + branch).relu())


# --- attention ---------------------------------------------------------------------------------------


def test_a_transformer_block_is_torchs_own():
    dim, heads = 12, 3
    block = TransformerBlock(dim, heads, 4, generator())
    reference = nn.TransformerEncoderLayer(
        dim, heads, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    names = {
        "attention.1.qkv.weight": "self_attn.in_proj_weight", "attention.1.qkv.bias": "self_attn.in_proj_bias",
        "attention.1.out": "self_attn.out_proj", "attention.0": "norm1", "mlp.0": "norm2", "mlp.1": "linear1",
        "mlp.3": "linear2",
    }  # fmt: skip
    state = {}
    for name, tensor in block.state_dict().items():
        ours = next(prefix for prefix in names if name.startswith(prefix))
        state[names[ours] + name.removeprefix(ours)] = tensor
    reference.load_state_dict(state)
    x = torch.randn(2, 7, dim, generator=generator(1))
    torch.testing.assert_close(block(x), reference(x), atol=1e-5, rtol=1e-5)


def test_a_transformer_sees_where_patches_are_through_its_positions_alone():
    vit = VitExtractor(patch_size=4, dim=8, depth=2, heads=2, num_features=8).build((1, 8, 8), generator())[0]
    x = torch.rand(3, 1, 8, 8, generator=generator(1))
    left_right_swapped = torch.cat([x[..., 4:], x[..., :4]], dim=3)
    before = vit(x)
    assert not torch.allclose(vit(left_right_swapped), before, atol=1e-4)
    with torch.no_grad():
        vit.positions.copy_(vit.positions[[1, 0, 3, 2]])
    torch.testing.assert_close(vit(left_right_swapped), before, atol=1e-5, rtol=1e-5)


# --- training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SMALL, ids=repr)
def test_every_backbone_learns_and_all_of_it_moves(spec):
    """Two clients on one image of each digit, on one thread or two: the same bits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.tensor(digits.images[:10], dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(digits.target[:10])
    model = nn.Sequential(spec.build((1, 8, 8), generator()), linear(spec.num_features, 10, generator(1)))

    def loss(module: nn.Module, client: int, index: Tensor, step: int) -> Tensor:
        return cross_entropy(module(x[index]), y[index]).mean()

    optimizer = Optimizer(method="adam", lr=0.005)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plans = [[torch.arange(10).numpy()] * 6, [torch.arange(0, 10, 2).numpy()] * 2]
    one, two = (train_modules(model, [start] * 2, plans, loss, optimizer, workers=w) for w in (1, 2))
    for a, b in zip(one.states, two.states, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    still = [name for name in start if torch.equal(start[name], one.states[0][name])]
    assert still == [], "no gradient reaches them"
    with torch.no_grad():
        before = loss(model, 0, torch.arange(10), 0)
        model.load_state_dict(one.states[0])
        assert loss(model, 0, torch.arange(10), 0) < 0.95 * before


@pytest.mark.parametrize(
    "settings", [{"kind": "resnet", "num_features": 64}, {"kind": "vit", "dim": 8, "depth": 1, "num_features": 8}]
)
def test_a_scenario_with_a_new_backbone_runs(settings, tmp_path):
    scenario = tiny_scenario({"model.extractor": settings})
    tables = run(scenario, tmp_path / "run").tables
    spec = scenario.model.extractor
    compute, transfers = tables["compute"], tables["transfers"]
    asked = compute[compute["request_id"].notna() & (compute["kind"] == "features")]
    assert set(asked["flop"]) == {cost.forward_flop(spec.build((1, 8, 8), generator()), (1, 8, 8))}
    sent = transfers[transfers["stage"] == "extractor"]
    assert 4 * spec.num_parameters((1, 8, 8)) in set(sent["n_bytes"])


def test_features_are_the_same_bits_on_any_number_of_threads():
    module, x = resnet(8).build((1, 8, 8), generator()), torch.rand(50, 1, 8, 8, generator=generator(1))
    one, three = features(module, x, 16), features(module, x, 16, workers=3)
    assert torch.equal(one, three)
    assert not three.requires_grad
    torch.testing.assert_close(one, module(x))
