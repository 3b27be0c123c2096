"""A file named with ``--plugin`` brings implementations of its own, and they really run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import listing

from nmoe_sim import load_run, load_scenario
from nmoe_sim.checks import check
from nmoe_sim.lifecycle import train
from nmoe_sim.preparation import prepare

PLUGIN = '''\
"""A routing policy, a path loss and a backbone of one's own."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nmoe_sim.nmoe.extractors import ExtractorSpec
from nmoe_sim.scenario.quantities import Count, Positive
from nmoe_sim.scenario.spec import Spec


class ShortestQueue(Spec):
    """Of the better half by gate score, the experts whose hosts have the least work waiting."""

    kind: ClassVar[str] = "shortest_queue"

    half: Positive = 0.5
    """Share of the experts considered."""

    def route(self, query, view):
        """See RoutingPolicy."""
        seen = view()
        best = np.argsort(-query.scores, kind="stable")[: max(query.top_k, round(self.half * len(query.scores)))]
        waits_s = [seen.backlog_s[seen.hosts[e]] for e in best.tolist()]
        return [int(best[i]) for i in np.argsort(waits_s, kind="stable")[: query.top_k]]


class Constant(Spec):
    """The same loss at any distance."""

    kind: ClassVar[str] = "constant"

    loss_db: Positive = 90.0
    """The loss."""
    validity_range: ClassVar[str] = "any distance at all"
    los_decorrelation_m: ClassVar[float] = 0.0

    def path_loss_db(self, geometry, *, carrier_hz, los):
        return np.full(len(geometry), self.loss_db)

    def los_probability(self, geometry):
        return np.ones(len(geometry))

    def shadow_fading_std_db(self, geometry, *, carrier_hz, los):
        return np.zeros(len(geometry))

    def shadow_decorrelation_m(self, los):
        return 50.0

    def in_validity_range(self, geometry, *, carrier_hz):
        return np.ones(len(geometry), dtype=bool)


class Residual(ExtractorSpec):
    """A backbone with a skip connection, which no sequence of layers can express."""

    kind: ClassVar[str] = "residual"

    width: Count = 16
    """Width of the block."""

    def build(self, input_shape, generator):
        import torch
        from torch import nn

        class Block(nn.Module):
            def __init__(self, inputs, width, outputs):
                super().__init__()
                self.into = nn.Linear(inputs, width)
                self.block = nn.Linear(width, width)
                self.out = nn.Linear(width, outputs)

            def forward(self, x):
                x = torch.relu(self.into(x.flatten(1)))
                return self.out(x + torch.relu(self.block(x)))

        module = Block(int(np.prod(input_shape)), self.width, self.num_features)
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -0.2, 0.2, generator=generator)
        return module

    def num_parameters(self, input_shape):
        inputs, width = int(np.prod(input_shape)), self.width
        return (inputs + 1) * width + (width + 1) * width + (width + 1) * self.num_features


FAMILIES = {"routing": [ShortestQueue], "path_loss": [Constant], "extractor": [Residual]}
'''

SETTINGS = [
    "inference.routing={kind: shortest_queue, half: 0.7}",
    "inference.view_period_s=0",
    "inference.arrivals.rate_hz=20",
    "radio.path_loss={kind: constant, loss_db: 85}",
    "model.extractor={kind: residual, width: 12, num_features: 8}",
    "topology.num_devices=4",
    "devices=[{profile: phone, flop_per_s: 1e5}]",
]
OPTIONS = ["--plugin", "mine.py", *(word for setting in SETTINGS for word in ("--set", setting))]


@pytest.fixture
def plugin(tiny) -> Path:
    path = tiny.parent / "mine.py"
    path.write_text(PLUGIN)
    return path


def test_check(cli, tiny, plugin):
    outcome = cli("check", "tiny.yaml", *OPTIONS)
    assert (outcome.status, outcome.err) == (0, "")
    costs = cli("check", "tiny.yaml", "--cost", *OPTIONS)
    parameters = 65 * 12 + 13 * 12 + 13 * 8
    assert f"{4 * parameters:,}" in costs.out


def test_run(cli, tiny, plugin):
    """The path loss is in the links, the backbone in the values, the policy in the requests."""
    from safetensors.torch import load_file

    outcome = cli("run", "tiny.yaml", "--out", "out", "--quiet", *OPTIONS)
    assert (outcome.status, outcome.err) == (0, "")
    tables = load_run("out").tables
    assert tables["links"]["path_loss_db"].to_list() == pytest.approx([85.0] * len(tables["links"]))
    [path] = Path("out/values").glob("extractor-*")
    assert load_file(path)["models|server|0.into.weight"].shape == (12, 64)
    assert set(tables["requests"]["experts"].str.len()) == {2}
    assert tables["requests"]["experts"].map(tuple).nunique() > 2
    top_k = [option.replace("shortest_queue, half: 0.7", "top_k") for option in OPTIONS]
    same_gates = cli("run", "tiny.yaml", "--out", "top", "--quiet", *top_k)
    assert (same_gates.status, same_gates.err) == (0, "")
    waiting_s = [
        (run["compute"]["t_start_s"] - run["compute"]["t_ready_s"])[run["compute"]["kind"] == "expert"].mean()
        for run in (tables, load_run("top").tables)
    ]
    assert waiting_s[0] < waiting_s[1], "short queues are what the policy is for"


def test_place(cli, tiny, plugin):
    outcome = cli("place", "tiny.yaml", "--solver", "home", "--quiet", *OPTIONS)
    assert (outcome.status, outcome.err) == (0, "")


def test_python(tiny, plugin):
    options = [setting.partition("=") for setting in SETTINGS]
    scenario = load_scenario(tiny, plugins=[plugin])
    changed = scenario.replace({key: kind_of(text) for key, _, text in options})
    assert changed.inference.routing.kind == "shortest_queue"
    assert changed.replace({"seed": 9}).radio.path_loss.loss_db == 85.0


def kind_of(text: str) -> object:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(text)


def test_the_resolved_scenario_needs_the_plugin(cli, tiny, plugin):
    assert cli("run", "tiny.yaml", "--out", "out", "--quiet", *OPTIONS).status == 0
    run_id = json.loads(Path("out/manifest.json").read_text())["run_id"]
    without = cli("check", "out/scenario.yaml")
    assert without.status == 2
    assert "unknown kind" in without.err
    assert load_scenario("out/scenario.yaml", plugins=[plugin]).run_id == run_id


BAD_POLICY = """\
from typing import ClassVar

from nmoe_sim.scenario.spec import Spec


class Bad(Spec):
    kind: ClassVar[str] = "bad"

    def route(self, query, view):
        return ANSWER


FAMILIES = {"routing": [Bad]}
"""


@pytest.mark.parametrize("answer", ["[]", "[0, 0]", "[-1]", "[3]", "None", "['dev0']", "[0.5]"])
def test_a_policy_that_answers_nonsense_is_named(cli, tiny, answer):
    """A result must not hold it, and the error must say whose fault it is."""
    Path("bad.py").write_text(BAD_POLICY.replace("ANSWER", answer))
    before = listing(tiny.parent)
    outcome = cli("run", "tiny.yaml", "--out", "out", "--plugin", "bad.py", "--set", "inference.routing={kind: bad}")
    assert outcome.status == 1
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert "bad" in outcome.err
    assert not Path("out/manifest.json").exists()
    assert before.items() <= listing(tiny.parent).items()


def test_a_policy_may_answer_in_numpy(cli, tiny):
    """Policies compute with NumPy, so that its integers and arrays are an answer."""
    Path("np.py").write_text(BAD_POLICY.replace("ANSWER", "__import__('numpy').argsort(-query.scores)[:2]"))
    outcome = cli("run", "tiny.yaml", "--out", "out", "--plugin", "np.py", "--set", "inference.routing={kind: bad}")
    assert (outcome.status, outcome.err[:200]) == (0, "")
    assert set(load_run("out").tables["requests"]["experts"].str.len()) == {2}


PLAIN_MODULES = """
from typing import ClassVar

from torch import nn

from nmoe_sim.nmoe.experts import ExpertSpec
from nmoe_sim.nmoe.extractors import ExtractorSpec
from nmoe_sim.nmoe.gates import GateSpec
from nmoe_sim.nmoe.modules import Gate, seeded


class Net(nn.Module):
    def __init__(self, num_in, num_out):
        super().__init__()
        self.conv = nn.Conv2d(num_in, 4, 3, stride=2, padding=1)
        self.out = nn.Linear(4 * 4 * 4, num_out)

    def forward(self, x):
        return self.out(self.conv(x).relu().flatten(1))


class MyExtractor(ExtractorSpec):
    kind: ClassVar[str] = "mine"

    def build(self, input_shape, generator):
        return seeded(lambda: Net(input_shape[0], self.num_features), generator)


class MyExpert(ExpertSpec):
    kind: ClassVar[str] = "mine"

    def build(self, num_features, num_classes, generator):
        return seeded(lambda: nn.Sequential(nn.Tanh(), nn.Linear(num_features, num_classes)), generator)


class MyGate(GateSpec):
    kind: ClassVar[str] = "mine"

    def build(self, num_features, num_experts, generator):
        return Gate(seeded(lambda: nn.Linear(num_features, num_experts, bias=False), generator))


FAMILIES = {"extractor": [MyExtractor], "expert": [MyExpert], "gate": [MyGate]}
"""
PLAIN_OPTIONS = [
    *("--plugin", "plain.py", "--set", "model.extractor={kind: mine, num_features: 8}"),
    *("--set", "model.expert={kind: mine}", "--set", "model.gate={kind: mine}"),
]


def test_plain_modules_are_counted_and_repeat(cli, tiny):
    """FLOP and bytes of modules that declare nothing are in the tables; two runs are the same bytes."""
    import torch

    Path("plain.py").write_text(PLAIN_MODULES)
    for out in ("one", "two"):
        outcome = cli("run", "tiny.yaml", "--out", out, "--quiet", *PLAIN_OPTIONS)
        assert (outcome.status, outcome.err) == (0, "")
        torch.rand(1)  # the global state moves on
    one, two = (load_run(out).tables for out in ("one", "two"))
    assert all(one[name].equals(two[name]) for name in one)
    features_flop = 2 * (16 * 9 * 4 + 64 * 8)
    compute, transfers = one["compute"], one["transfers"]
    asked = compute[compute["request_id"].notna()].groupby("kind")["flop"].max()
    assert asked["features"] == features_flop
    assert asked["gate"] == 2 * 8 * 3
    assert asked["expert"] == 2 * 8 * 10
    moved = transfers[transfers["stage"].notna()].groupby("kind")["n_bytes"].agg(set)
    extractor = 4 * (10 * 4 + 65 * 8)
    assert moved["model_down"] == {extractor + 4 * 9 * 10, extractor, 4 * 8 * 3}  # with head, without, and the gate
    assert 4 * 9 * 10 in moved["expert"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"local_update": {"kind": "scaffold"}},
        {"local_update": {"kind": "fedprox", "mu": 0.1}},
        {"privacy": {"kind": "dp_fedavg", "noise_multiplier": 1.0}},
    ],
    ids=["plain", "scaffold", "fedprox", "dp_fedavg"],
)
def test_what_a_module_freezes_stays_as_it_was_drawn(tiny, settings):
    """In stage 1 side by side, in stage 2 where all others are stacked."""
    first_layer = "self.conv = nn.Conv2d(num_in, 4, 3, stride=2, padding=1)"
    text = PLAIN_MODULES.replace(first_layer, f"{first_layer}.requires_grad_(False); self.register_buffer('b', FROZEN)")
    text = text.replace("class Net", "import torch\nFROZEN = torch.ones(1)\n\n\nclass Net", 1)
    frozen_layer = "nn.Linear(num_features, num_features).requires_grad_(False)"
    text = text.replace("nn.Tanh()", frozen_layer)
    Path("plain.py").write_text(text)
    scenario = load_scenario("tiny.yaml", plugins=["plain.py"]).replace(
        {
            "model": {"extractor": {"kind": "mine", "num_features": 8}, "expert": {"kind": "mine"}},
            "training.extractor": {"kind": "fedce", "optimizer": {"momentum": 0.0}, **settings},
        }
    )
    learning = prepare(scenario, check(scenario))
    drawn = [
        {name: tensor.clone() for name, tensor in part.state_dict().items()}
        for part in (learning.extractor, learning.expert)
    ]
    env = learning.simulation.env
    env.run(env.process(train(learning)))
    learnt = [learning.extractor.state_dict(), learning.experts[0]]
    for before, after, frozen in zip(
        drawn, learnt, (["b", "conv.weight", "conv.bias"], ["0.weight", "0.bias"]), strict=True
    ):
        assert [name for name in before if torch.equal(before[name], after[name])] == frozen


@pytest.mark.parametrize(
    ("change", "part", "message"),
    [
        (("self.num_features)", "self.num_features + 1)"), "extractor", "shape (2, 8), and it returns shape (2, 9);"),
        (("num_features, num_classes)", "num_features, 4)"), "expert", "shape (2, 10), and it returns shape (2, 4);"),
        (("num_experts, bias", "2, bias"), "gate", "shape (2, 3), and it returns shape (2, 2); change its last layer"),
        (("4 * 4 * 4,", "4 * 4 * 5,"), "extractor", "fails on a batch of shape (2, 1, 8, 8) (plain.py, line 19): Run"),
        (("nn.Tanh()", "nn.Dropout()"), "expert", "draws random numbers (bernoulli_: a dropout?)"),
        (("seeded(lambda: Net(input_shape[0], self.num_features), generator)", "Net(1, self.num_features)"),
         "extractor", "draws 'conv.weight' from torch's global generator, so that no run could be repeated; "),
    ],
)  # fmt: skip
def test_a_module_no_run_could_use_is_refused_in_words(cli, tiny, change, part, message):
    assert change[0] in PLAIN_MODULES
    Path("plain.py").write_text(PLAIN_MODULES.replace(*change))
    outcome = cli("run", "tiny.yaml", "--out", "out", "--quiet", *PLAIN_OPTIONS)
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: --set model.{part}=")
    assert f": model.{part}: " in outcome.err
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("out/manifest.json").exists()


BATCH_NORM = """\
from typing import ClassVar

from nmoe_sim.nmoe.extractors import ExtractorSpec


class Normalised(ExtractorSpec):
    kind: ClassVar[str] = "normalised"

    def build(self, input_shape, generator):
        from torch import nn

        from nmoe_sim.nmoe.modules import linear

        layer = linear(64, self.num_features, generator)
        return nn.Sequential(nn.Flatten(), layer, nn.BatchNorm1d(self.num_features))


FAMILIES = {"extractor": [Normalised]}
"""


def test_a_backbone_with_batch_statistics_is_refused_in_words(cli, tiny):
    Path("norm.py").write_text(BATCH_NORM)
    outcome = cli(
        "run", "tiny.yaml", "--out", "out", "--plugin", "norm.py", "--set", "model.extractor={kind: normalised}"
    )
    assert outcome.status == 2
    assert outcome.err.startswith("error: ")
    assert "normalises over the batch in '2', BatchNorm1d" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("out/manifest.json").exists()
