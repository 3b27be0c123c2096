"""The stages over the network: what is shared, what moves, and that time enters no value."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import tiny_scenario
from torch import nn

from nmoe_sim import run
from nmoe_sim.checks import check
from nmoe_sim.errors import RunError
from nmoe_sim.lifecycle import run_alone, train
from nmoe_sim.nmoe.cohort import batches
from nmoe_sim.nmoe.modules import linear
from nmoe_sim.nmoe.randomness import torch_generator
from nmoe_sim.preparation import prepare
from nmoe_sim.rng import RandomStreams
from nmoe_sim.training.federation.history import Work
from nmoe_sim.training.federation.learners import batch_plan


def trained(changes):
    """Train the tiny scenario with changes; return what was learnt."""
    scenario = tiny_scenario(changes)
    learning = prepare(scenario, check(scenario))
    env = learning.simulation.env
    env.run(env.process(train(learning)))
    return learning


def hops(learning, stage):
    frame = learning.simulation.recorder.arrow("transfers").to_pandas()
    return frame[frame["stage"] == stage]


def parts_equal(gates, part):
    """Whether all clients have the same tensors of one part of the gate."""
    names = [name for name in gates[0] if name.startswith(part)]
    assert names
    return all(torch.equal(gates[0][name], gate[name]) for gate in gates[1:] for name in names)


GATE = {"training.gate.rounds": 2, "training.gate.noise_std": 0.3}


def test_shared_synchronises_the_shared_part_only():
    learning = trained({**GATE, "training.gate.synchronise": "shared"})
    assert parts_equal(learning.gates, "shared.")
    assert not parts_equal(learning.gates, "local.")
    moved = hops(learning, "gate")
    models = moved[moved["kind"].isin(["model_up", "model_down"])]
    assert set(models["n_bytes"]) == {4 * (8 + 1) * 3}
    assert (models["kind"] == "model_up").sum() == 2 * 3
    assert (models["kind"] == "model_down").sum() == 3 * 3  # two rounds and the final broadcast


def test_all_synchronises_everything():
    learning = trained({**GATE, "training.gate.synchronise": "all"})
    assert parts_equal(learning.gates, "shared.")
    assert parts_equal(learning.gates, "local.")
    moved = hops(learning, "gate")
    assert set(moved["n_bytes"][moved["kind"] == "model_up"]) == {2 * 4 * (8 + 1) * 3}


def test_none_synchronises_nothing_and_moves_nothing():
    learning = trained({**GATE, "training.gate.synchronise": "none"})
    assert not parts_equal(learning.gates, "shared.")
    assert not parts_equal(learning.gates, "local.")
    assert not hops(learning, "gate")["kind"].isin(["model_up", "model_down"]).any()
    rounds = learning.simulation.recorder.arrow("rounds").to_pandas().query("stage == 'gate'")
    assert rounds[["bytes_down", "bytes_up"]].to_numpy().sum() == 0
    jobs = learning.simulation.recorder.arrow("compute").to_pandas()
    assert not (jobs["kind"] == "aggregate")[jobs["stage"] == "gate"].any()


def test_the_average_is_weighted_by_samples():
    """One round with a single step from equal gates: shared = start − lr Σ p_i g_i."""
    settings = {"training.gate.rounds": 1, "training.gate.noise_std": 0.0, "data.partition": {"kind": "dirichlet"}}
    settings |= {"training.gate.optimizer": {"lr": 0.5, "momentum": 0.0, "batch_size": None}}
    local = trained({**settings, "training.gate.synchronise": "none"})
    shared = trained({**settings, "training.gate.synchronise": "shared"})
    n = np.array(local.data.num_train, dtype=float)
    assert n.min() < n.max()
    for name in (name for name in local.gates[0] if name.startswith("shared.")):
        mean = sum(w * gate[name].double() for w, gate in zip(n / n.sum(), local.gates, strict=True))
        torch.testing.assert_close(shared.gates[0][name].double(), mean, rtol=0, atol=1e-7)


@pytest.fixture(scope="module")
def exchanges():
    return {how: trained({**GATE, "training.gate.exchange": how}) for how in ("experts", "outputs")}


def test_exchange_changes_bytes_not_values(exchanges):
    a, b = exchanges["experts"], exchanges["outputs"]
    for gate_a, gate_b in zip(a.gates, b.gates, strict=True):
        assert all(torch.equal(gate_a[name], gate_b[name]) for name in gate_a)
    assert hops(a, "gate")["n_bytes"].sum() != hops(b, "gate")["n_bytes"].sum()


def test_exchange_of_experts_is_charged(exchanges):
    learning = exchanges["experts"]
    moved = hops(learning, "gate").query("kind == 'expert'")
    expert_bytes = 4 * ((8 + 1) * 4 + (4 + 1) * 10)
    assert sorted(moved["n_bytes"]) == [expert_bytes] * 3 + [2 * expert_bytes] * 3
    assert set(moved["round"].isna()) == {True}


def test_exchange_of_outputs_is_charged(exchanges):
    """Each client's samples go to the two others, over two hops, and their outputs back."""
    learning = exchanges["outputs"]
    moved = hops(learning, "gate")
    samples = sum(learning.data.num_train)
    assert moved["n_bytes"][moved["kind"] == "features"].sum() == 2 * 2 * samples * 4 * 8
    assert moved["n_bytes"][moved["kind"] == "output"].sum() == 2 * 2 * samples * 4 * 10


@pytest.mark.parametrize(("momentum", "schedule"), [(0.0, "constant"), (0.9, "constant"), (0.9, "cosine")])
def test_fedce_of_one_client_is_plain_sgd_bit_for_bit(momentum, schedule):
    settings = {"lr": 0.1, "momentum": momentum, "batch_size": 16, "epochs": 2, "schedule": schedule}
    learning = trained(
        {
            "topology.num_devices": 1,
            "model.top_k": 1,
            "training.extractor": {"kind": "fedce", "rounds": 2, "optimizer": settings},
        }
    )
    scenario, streams = learning.scenario, RandomStreams(learning.scenario.seed)
    extractor = scenario.model.extractor.build((1, 8, 8), torch_generator(streams, "init_extractor"))
    model = nn.Sequential(extractor, linear(8, 10, torch_generator(streams, "init_head")))
    x, y = learning.data.train_x[0], learning.data.train_y[0]
    parameters = list(model.parameters())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for number in range(2):
            lr = 0.1 if schedule == "constant" else 0.1 * ((1 + math.cos(math.pi * number / 2)) / 2)
            velocity = [torch.zeros_like(p) for p in parameters]
            rng = streams.generator("batches/extractor", 0, number)
            for index in batches(len(y), batch_size=16, epochs=2, rng=rng):
                rows = torch.from_numpy(index)
                loss = -model(x[rows]).t().log_softmax(dim=0)[y[rows], torch.arange(len(rows))].mean()
                gradients = torch.autograd.grad(loss, parameters)
                with torch.no_grad():
                    for p, v, g in zip(parameters, velocity, gradients, strict=True):
                        v.mul_(momentum).add_(g)
                        p.sub_(v, alpha=lr)
    finally:
        torch.set_num_threads(threads)
    state = learning.extractor.state_dict()
    assert state
    for name, tensor in extractor.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize("batch_size", [5, None])
def test_steps_of_a_work_are_its_batches(batch_size):
    """SCAFFOLD divides by them."""
    learning = trained({"training.extractor": {"kind": "untrained"}})
    settings = {"kind": "fedce", "rounds": 2, "optimizer": {"epochs": 3, "batch_size": batch_size}}
    stage = tiny_scenario({"training.extractor": settings}).training.extractor
    learner = stage.learner(learning, stage.model(learning))
    for client in range(3):
        plan = batch_plan(learning, "extractor", stage.optimizer, client, 0)
        assert learner.num_steps(Work(client, 0, 0)) == len(plan) >= 3


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The tiny scenario, run."""
    return run(tiny_scenario(), tmp_path_factory.mktemp("finished"))


def test_time_enters_no_value(finished, tmp_path):
    """Half the bandwidth, another power, another deadline: other times, the same weights to the byte."""
    changes = {"radio.bandwidth_hz": 10e6, "radio.tx_power_dbm": 10.0, "inference.deadline_s": 0.01}
    fast, slow = finished, run(tiny_scenario(changes), tmp_path)
    assert slow.summary["training_time_s"] > fast.summary["training_time_s"]
    assert slow.summary["bytes_training"] == fast.summary["bytes_training"]
    values = [{path.name: path.read_bytes() for path in (r.path / "values").iterdir()} for r in (fast, slow)]
    assert len(values[0]) == 3
    assert values[0] == values[1]
    curves = [r.tables["metrics"].drop(columns="t_s") for r in (fast, slow)]
    assert curves[0].equals(curves[1])


@pytest.mark.parametrize(
    ("change", "reused"),
    [
        ({"training.gate.rounds": 3}, "experts extractor"),
        ({"training.experts.optimizer.lr": 0.01}, "extractor"),
        ({"training.extractor": {"kind": "fedsc", "rounds": 1}}, ""),
        ({"training.extractor.rounds": 2}, ""),
        ({"seed": 4}, ""),
        ({"data.max_train": 90}, ""),
        ({"topology.num_devices": 2}, ""),
    ],
    ids=str,
)
def test_values_are_named_by_all_they_depend_on(finished, tmp_path, change, reused):
    run(tiny_scenario(change), tmp_path)
    names = [{path.name for path in (folder / "values").iterdir()} for folder in (finished.path, tmp_path)]
    assert " ".join(sorted(name.partition("-")[0] for name in names[0] & names[1])) == reused


def test_the_order_of_stages_on_the_clock(finished):
    """A stage begins when the one before has ended, training ends before the first request."""
    tables = finished.tables
    ends = [tables["rounds"].query("stage == @stage") for stage in ("extractor", "experts", "gate")]
    for earlier, later in pairwise(ends):
        assert earlier["t_end_s"].max() <= later["t_start_s"].min()
    assert tables["requests"]["t_arrival_s"].min() >= ends[-1]["t_end_s"].max()


def test_a_clock_that_waits_for_what_never_comes_ends_the_run():
    scenario = tiny_scenario()
    learning = prepare(scenario, check(scenario))

    def waits():
        yield learning.simulation.env.timeout(2.0)
        yield learning.simulation.env.event()

    with pytest.raises(RunError, match="the clock has nothing more to do, and the run isn't over"):
        run_alone(learning, waits())


def test_an_error_of_a_process_is_raised_as_it_is():
    scenario = tiny_scenario()
    learning = prepare(scenario, check(scenario))

    def fails():
        yield learning.simulation.env.timeout(2.0)
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        run_alone(learning, fails())
