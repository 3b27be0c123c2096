"""The baselines: what they train, what moves, what it costs, and what doesn't go together."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, tiny_scenario
from torch import nn
from torch.nn import functional

from analysis import audit
from nmoe_sim import run
from nmoe_sim.checks import check
from nmoe_sim.errors import InputError
from nmoe_sim.lifecycle import train
from nmoe_sim.nmoe.cohort import average, batches
from nmoe_sim.nmoe.experts import MlpExpert
from nmoe_sim.nmoe.extractors import CnnExtractor, MlpExtractor
from nmoe_sim.nmoe.reshaped import RawImages, WholeNetwork, dense_expert
from nmoe_sim.nmoe.threads import one_thread
from nmoe_sim.preparation import prepare
from nmoe_sim.sweeps.plan import make_plan
from nmoe_sim.sweeps.spec import load_sweep

HEAD, OWN = {"kind": "head"}, {"kind": "own"}
BASELINES = {
    "untrained": {"training.extractor": {"kind": "untrained", "probes": ["knn"]}},
    "dense": {"training.extractor": {"kind": "dense", "rounds": 2}, "training.experts": HEAD, "training.gate": OWN},
    "fedper": {"training.extractor": {"kind": "fedper", "rounds": 2}, "training.experts": HEAD, "training.gate": OWN},
    "fedrep": {"training.extractor": {"kind": "fedrep", "rounds": 2}, "training.experts": HEAD, "training.gate": OWN},
    "local_only": {"training.extractor": {"kind": "local_only"}, "training.gate": OWN},
    "centralised": {
        "training.extractor": {"kind": "centralised", "rounds": 2},
        "training.experts": HEAD,
        "training.gate": {"kind": "joint"},
    },
    "oracle": {"training.gate": {"kind": "oracle"}},
}
BODY_BYTES = 4 * ((64 + 1) * 8 + (8 + 1) * 8)
EXPERT_BYTES = 4 * ((8 + 1) * 4 + (4 + 1) * 10)
GATE_BYTES = 2 * 4 * (8 + 1) * 3


def trained(changes):
    """Train the tiny scenario with changes; return what was learnt."""
    scenario = tiny_scenario(changes)
    learning = prepare(scenario, check(scenario))
    env = learning.simulation.env
    env.run(env.process(train(learning)))
    return learning


def table(learning, name, stage=None):
    frame = learning.simulation.recorder.arrow(name).to_pandas()
    return frame if stage is None else frame[frame["stage"] == stage]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", BASELINES)
def test_whole_runs_balance_and_repeat(name, tmp_path):
    """All books hold; from stored values everything comes out the same."""
    first = run(tiny_scenario(BASELINES[name]), tmp_path / "out")
    findings = audit(first)
    assert findings["holds"].all(), findings[~findings["holds"]].to_string()
    again = run(tiny_scenario(BASELINES[name]), tmp_path / "out")
    assert len(list((tmp_path / "out" / "values").glob("*.safetensors"))) == 3
    assert first.manifest["tables"] == again.manifest["tables"]


# --- one dense model -----------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [(), (64,), (32, 16), (3, 200)], ids=str)
@pytest.mark.parametrize(
    ("num_experts", "num_features", "num_classes"), [(10, 64, 10), (3, 8, 4), (50, 16, 100), (1, 8, 3)]
)
def test_the_dense_head_is_as_large_as_all_experts(hidden, num_experts, num_features, num_classes):
    expert = MlpExpert(hidden=hidden)
    target = num_experts * expert.num_parameters(num_features, num_classes)
    dense = dense_expert(expert, num_experts, num_features, num_classes)
    assert len(dense.hidden) == max(1, len(hidden))
    size = dense.num_parameters(num_features, num_classes)
    step = (num_features + num_classes + 1) * max(1.0, *(w / (hidden or (1,))[0] for w in hidden or (1,)))
    assert abs(size - target) <= max(step, 0.02 * target)
    # a layer's width up or down doesn't come nearer when there is one hidden layer
    if len(dense.hidden) == 1:
        for other in (dense.hidden[0] - 1, dense.hidden[0] + 1):
            near = MlpExpert(hidden=(max(1, other),)).num_parameters(num_features, num_classes)
            assert abs(near - target) >= abs(size - target)


def test_dense_is_one_model_for_all():
    learning = trained(BASELINES["dense"])
    width = learning.model.expert.hidden[0]
    head_bytes = 4 * (9 * width + (width + 1) * 10)
    assert abs(head_bytes - 3 * EXPERT_BYTES) <= 4 * 19
    assert learning.costs.expert_bytes == head_bytes
    assert all(equal(learning.experts[0], expert) for expert in learning.experts)
    moved = table(learning, "transfers", "extractor")
    in_rounds = moved[moved["round"].notna()]
    assert in_rounds["n_bytes"].tolist() == [BODY_BYTES + head_bytes] * (2 * 2 * 3)
    assert moved[moved["round"].isna()]["n_bytes"].tolist() == [BODY_BYTES] * 3
    assert table(learning, "transfers", "experts")["n_bytes"].tolist() == [head_bytes] * 3
    assert table(learning, "transfers", "gate").empty


def test_dense_is_fedavg_on_the_wide_head():
    """The same model trained as FedCE with an expert of that width ends in the same weights."""
    dense = trained(BASELINES["dense"])
    wide = trained(
        {
            "training.extractor": {"kind": "fedce", "rounds": 2, "head": "expert"},
            "training.experts": HEAD,
            "model.expert.hidden": list(dense.model.expert.hidden),
        }
    )
    assert equal(dense.extractor.state_dict(), wide.extractor.state_dict())
    assert all(equal(one, other) for one, other in zip(dense.experts, wide.experts, strict=True))


# --- personalised models -------------------------------------------------------------------------------


@one_thread()
def local_steps(learning, model, x, y, plan, parameters, lr):
    stepper = torch.optim.SGD(parameters, lr=lr, momentum=0.9)
    for index in plan:
        model.zero_grad()
        functional.cross_entropy(model(x[index]), y[index]).backward()
        stepper.step()


def started(learning):
    """Extractor and expert-like head as stage 1 starts from."""
    from nmoe_sim.nmoe.randomness import torch_generator

    streams, model = learning.simulation.streams, learning.scenario.model
    body = model.extractor.build((1, 8, 8), torch_generator(streams, "init_extractor"))
    return nn.Sequential(body, model.expert.build(8, 10, torch_generator(streams, "init_head")))


def plan_of(learning, stage, client, epochs, counter=0):
    rng = learning.simulation.streams.generator(f"batches/{stage}", client, counter)
    return batches(learning.data.num_train[client], batch_size=32, epochs=epochs, rng=rng)


ONE_ROUND = {"data.partition": {"kind": "dirichlet", "alpha": 1.0}, "training.experts": HEAD, "training.gate": OWN}


def test_fedper_by_hand():
    settings = {"kind": "fedper", "rounds": 1, "optimizer": {"lr": 0.05, "epochs": 2}}
    learning = trained({**ONE_ROUND, "training.extractor": settings})
    bodies = []
    for client in range(3):
        model = started(learning)
        x, y = learning.data.train_x[client], learning.data.train_y[client]
        local_steps(learning, model, x, y, plan_of(learning, "extractor", client, 2), model.parameters(), 0.05)
        bodies.append(model[0].state_dict())
        torch.testing.assert_close(learning.experts[client], dict(model[1].state_dict()), rtol=1e-4, atol=1e-6)
    expected = average(bodies, learning.weights)
    torch.testing.assert_close(dict(learning.extractor.state_dict()), expected, rtol=1e-4, atol=1e-6)
    moved = table(learning, "transfers", "extractor")
    assert set(moved["n_bytes"]) == {BODY_BYTES}
    assert table(learning, "transfers", "experts").empty


def test_fedrep_by_hand():
    """First the head on the body as received, then the body under that head, each from rest."""
    settings = {"kind": "fedrep", "rounds": 1, "head_epochs": 3, "optimizer": {"lr": 0.05, "epochs": 2}}
    learning = trained({**ONE_ROUND, "training.extractor": settings})
    bodies = []
    for client in range(3):
        model = started(learning)
        x, y = learning.data.train_x[client], learning.data.train_y[client]
        plan = plan_of(learning, "extractor/head", client, 3)
        local_steps(learning, model, x, y, plan, list(model[1].parameters()), 0.05)
        assert equal(model[0].state_dict(), started(learning)[0].state_dict())
        head = {name: tensor.clone() for name, tensor in model[1].state_dict().items()}
        plan = plan_of(learning, "extractor", client, 2)
        local_steps(learning, model, x, y, plan, list(model[0].parameters()), 0.05)
        bodies.append(model[0].state_dict())
        torch.testing.assert_close(learning.experts[client], head, rtol=1e-4, atol=1e-6)
    expected = average(bodies, learning.weights)
    torch.testing.assert_close(dict(learning.extractor.state_dict()), expected, rtol=1e-4, atol=1e-6)


def test_fedrep_charges_each_phase():
    """Of the head's phase only the head's gradients; of the body's none of the head's weights."""
    settings = {"kind": "fedrep", "rounds": 1, "head_epochs": 3, "optimizer": {"epochs": 2}}
    learning = trained({**ONE_ROUND, "training.extractor": settings})
    body, head = 2 * (64 * 8 + 8 * 8), 2 * (8 * 4 + 4 * 10)
    head_phase = body + 3 * head - 2 * 8 * 4  # no gradient of the features
    body_phase = 3 * body - 2 * 64 * 8 + 2 * head  # none of the image; of the head, only of its input
    jobs = table(learning, "compute", "extractor").query("kind == 'local_train'").set_index("device")["flop"]
    for name, n in zip(learning.clients, learning.data.num_train, strict=True):
        assert jobs[name] == n * (3 * head_phase + 2 * body_phase)


@pytest.mark.parametrize("kind", ["fedper", "fedrep"])
@pytest.mark.parametrize(
    "more",
    [
        {"local_update": {"kind": "scaffold"}, "optimizer": {"momentum": 0.0}},
        {"local_update": {"kind": "fedprox", "mu": 0.1}, "compression": {"kind": "quantise"}},
        {"protocol": {"kind": "buffered", "buffer": 2}, "selection": {"kind": "random", "share": 0.7}},
    ],
    ids=["scaffold", "fedprox", "buffered"],
)
def test_personal_heads_with_other_parts_of_federated_learning(kind, more):
    learning = trained({**ONE_ROUND, "training.extractor": {"kind": kind, "rounds": 3, **more}})
    assert not equal(learning.experts[0], learning.experts[1])
    assert learning.tested_outputs.isfinite().all()


# --- everybody alone -----------------------------------------------------------------------------------


def test_local_only_is_local_training_of_the_whole_network():
    learning = trained({**BASELINES["local_only"], "training.experts": {"optimizer": {"lr": 0.05, "epochs": 3}}})
    for client in range(3):
        model = learning.model.expert.build(64, 10, torch.Generator())
        model.load_state_dict(learning.expert.state_dict())
        x, y = learning.data.train_x[client].flatten(1), learning.data.train_y[client]
        local_steps(learning, model, x, y, plan_of(learning, "experts", client, 3), model.parameters(), 0.05)
        torch.testing.assert_close(learning.experts[client], dict(model.state_dict()), rtol=1e-4, atol=1e-5)


def test_local_only_costs_what_a_whole_network_costs():
    learning = trained(BASELINES["local_only"])
    costs, body, head = learning.costs, 2 * (64 * 8 + 8 * 8), 2 * (8 * 4 + 4 * 10)
    assert table(learning, "transfers").empty
    assert (costs.features_flop, costs.expert_flop, costs.gate_flop) == (0, body + head, 0)
    assert (costs.extractor_bytes, costs.expert_bytes, costs.gate_bytes) == (0, BODY_BYTES + EXPERT_BYTES, 0)
    jobs = table(learning, "compute", "experts").query("kind == 'local_train'").set_index("device")["flop"]
    step = 3 * (body + head) - 2 * 64 * 8
    assert [jobs[name] for name in learning.clients] == [2 * step * n for n in learning.data.num_train]
    layout = check(learning.scenario)
    assert layout.resident_bytes(learning.scenario) == 0


def test_local_only_takes_convolutions():
    model = {"extractor": {"kind": "cnn", "channels": [4], "num_features": 8, "bottleneck": True}}
    learning = trained({**BASELINES["local_only"], "model": model})
    assert learning.tested_outputs.isfinite().all()
    assert not equal(learning.experts[0], learning.experts[1])
    whole = WholeNetwork(input_shape=(1, 8, 8), extractor=learning.scenario.model.extractor, expert=MlpExpert())
    assert isinstance(whole.extractor, CnnExtractor)
    assert whole.num_parameters(64, 10) == sum(p.numel() for p in whole.build(64, 10, torch.Generator()).parameters())


def test_raw_images_are_the_images():
    x = torch.rand(2, 3, 4, 5)
    raw = RawImages.of((3, 4, 5))
    assert raw.num_features == 60
    assert torch.equal(raw.build((3, 4, 5), torch.Generator())(x), x.flatten(1))
    whole = WholeNetwork(input_shape=(3, 4, 5), extractor=MlpExtractor(num_features=8), expert=MlpExpert())
    module = whole.build(60, 10, torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(x.flatten(1)), module[2](module[1](x)))


# --- in one place --------------------------------------------------------------------------------------


def test_centralised_uploads_the_data_and_sends_the_parts():
    learning = trained(BASELINES["centralised"])
    moved = table(learning, "transfers")
    data = moved[moved["kind"] == "data"].set_index("src")["n_bytes"]
    assert [data[name] for name in learning.clients] == [n * (64 + 1) for n in learning.data.num_train]
    for stage, n_bytes in (("extractor", BODY_BYTES), ("experts", EXPERT_BYTES), ("gate", GATE_BYTES)):
        sent = moved[(moved["stage"] == stage) & (moved["kind"] == "model_down")]
        assert sent["n_bytes"].tolist() == [n_bytes] * 3
        assert set(sent["src"]) == {learning.server}
    assert len(moved) == 3 + 9
    jobs = table(learning, "compute", "extractor")
    assert set(jobs["device"]) == {learning.server}
    body, head, gate = 2 * (64 * 8 + 8 * 8), 2 * (8 * 4 + 4 * 10), 2 * 2 * 8 * 3
    step = 3 * (body + 3 * head + gate) - 2 * 64 * 8
    assert jobs["flop"].tolist() == [step * sum(learning.data.num_train)] * 2
    assert all(equal(learning.gates[0], gate) for gate in learning.gates)
    assert not equal(learning.experts[0], learning.experts[1])


def test_centralised_counts_the_bytes_of_a_value():
    learning = trained({**BASELINES["centralised"], "training.extractor.bytes_per_value": 4})
    data = table(learning, "rounds", "extractor").set_index("client")["bytes_up"]
    assert [data[name] for name in learning.clients] == [n * (4 * 64 + 1) for n in learning.data.num_train]


def test_a_centralised_mixture_of_one_is_plain_training():
    """One client, one expert: its weight is 1, so that the mixture's loss is the cross-entropy."""
    settings = {"kind": "centralised", "rounds": 2, "load_balance": 0.0, "optimizer": {"lr": 0.05, "epochs": 2}}
    changes = {**BASELINES["centralised"], "training.extractor": settings}
    learning = trained({**changes, "topology.num_devices": 1, "model.top_k": 1})
    from nmoe_sim.nmoe.randomness import torch_generator

    streams, spec = learning.simulation.streams, learning.scenario.model
    model = nn.Sequential(
        spec.extractor.build((1, 8, 8), torch_generator(streams, "init_extractor")),
        spec.expert.build(8, 10, torch_generator(streams, "init_joint_expert", 0)),
    )
    x, y = learning.data.train_x[0], learning.data.train_y[0]
    for number in range(2):
        rng = streams.generator("batches/extractor/joint", number)
        plan = batches(len(y), batch_size=32, epochs=2, rng=rng)
        local_steps(learning, model, x, y, plan, model.parameters(), 0.05)
    torch.testing.assert_close(dict(learning.extractor.state_dict()), dict(model[0].state_dict()), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(learning.experts[0], dict(model[1].state_dict()), rtol=1e-4, atol=1e-6)


def test_centralised_learns_from_whoever_is_there(tmp_path):
    outages = tmp_path / "outages.csv"
    outages.write_text("device,t_down_s,t_up_s\ndev1,0,0.5\n")
    learning = trained({**BASELINES["centralised"], "faults": {"kind": "trace", "file": str(outages)}})
    rounds = table(learning, "rounds", "extractor").set_index("client")
    assert rounds["reason"].dropna().to_dict() == {"dev1": "churn"}
    data = table(learning, "transfers", "extractor").query("kind == 'data'")
    assert set(data["src"]) == {"dev0", "dev2"}
    everybody = trained(BASELINES["centralised"])
    assert not equal(learning.extractor.state_dict(), everybody.extractor.state_dict())


class Interrupted(Exception):
    """The process ended here."""


def test_centralised_goes_on_where_it_was_interrupted(tmp_path):
    changes = {**BASELINES["centralised"], "training.extractor.rounds": 4}
    scenario = tiny_scenario(changes)
    rounds = []

    @contextmanager
    def until_round_2(label, total):
        def advance():
            rounds.append(label)
            if len(rounds) == 2:
                raise Interrupted

        yield advance

    def centralised(**options):
        learning = prepare(scenario, check(scenario), values_dir=tmp_path, **options)
        env = learning.simulation.env
        env.run(env.process(train(learning)))
        return learning

    with pytest.raises(Interrupted):
        centralised(progress=until_round_2)
    [kept] = tmp_path.glob("*.checkpoint")
    resumed, whole = centralised(), trained(changes)
    assert not kept.exists()
    assert equal(resumed.extractor.state_dict(), whole.extractor.state_dict())
    for name in ("metrics", "rounds"):
        assert table(resumed, name).equals(table(whole, name))


# --- untrained -----------------------------------------------------------------------------------------


def test_untrained_is_sent_and_that_is_all():
    learning = trained(BASELINES["untrained"])
    drawn = started(learning)[0]
    assert equal(learning.extractor.state_dict(), drawn.state_dict())
    moved = table(learning, "transfers", "extractor")
    assert moved["n_bytes"].tolist() == [BODY_BYTES] * 3
    assert table(learning, "compute", "extractor").empty
    [row] = table(learning, "metrics", "extractor").to_dict("records")
    assert row["metric"] == "accuracy_knn"
    assert 0.1 < row["value"] <= 1
    assert np.isnan(row["round"])


# --- what doesn't go together --------------------------------------------------------------------------


CENTRALISED = {"training.extractor": {"kind": "centralised"}}
DENSE = {"training.extractor": {"kind": "dense"}}


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        (DENSE, "extractor", "'dense' needs training.experts 'head', and it is 'local'"),
        ({**DENSE, "training.experts": HEAD}, "extractor", "and it is 'fedgate'; set training.gate.kind to own"),
        ({"training.extractor": {"kind": "local_only"}}, "extractor", "set training.gate.kind to own"),
        ({**CENTRALISED, "training.experts": HEAD}, "extractor", "set training.gate.kind to joint"),
        ({"training.gate": {"kind": "joint"}}, "gate", "set training.extractor.kind to centralised"),
        ({"training.experts": HEAD}, "experts", "set training.extractor.kind to fedce"),
    ],
    ids=range(6),
)
def test_a_wrong_combination_is_named(changes, key, message):
    with pytest.raises(InputError) as caught:
        check(tiny_scenario(changes))
    assert message in caught.value.message
    assert caught.value.key == f"training.{key}"


def test_the_sweep_of_baselines_plans():
    plan = make_plan(load_sweep(REPOSITORY / "scenarios" / "sweeps" / "baselines.yaml"))
    assert len(plan.runs) == 9 * 3
    assert len({run.stage_keys[0] for run in plan.runs}) == 7 * 3
