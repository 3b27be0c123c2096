"""Stage 2: early stopping by hand, label smoothing by torch's own, where experts start, and what is charged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import tiny_scenario
from torch.nn import functional

from nmoe_sim.checks import check
from nmoe_sim.costing import cost_tables
from nmoe_sim.errors import InputError
from nmoe_sim.lifecycle import train
from nmoe_sim.nmoe.cohort import Trained, batches, stack, train_modules, unstack
from nmoe_sim.nmoe.early_stopping import EarlyStopping
from nmoe_sim.nmoe.losses import cross_entropy, masked_mean, smoothed_cross_entropy
from nmoe_sim.nmoe.stacked import train_stacked
from nmoe_sim.nmoe.threads import one_thread
from nmoe_sim.preparation import prepare


def trained(changes):
    """Train the tiny scenario with changes; return what was learnt."""
    scenario = tiny_scenario(changes)
    learning = prepare(scenario, check(scenario))
    env = learning.simulation.env
    env.run(env.process(train(learning)))
    return learning


def table(learning, name, stage="experts"):
    frame = learning.simulation.recorder.arrow(name).to_pandas()
    return frame[frame["stage"] == stage]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_label_smoothing_is_torchs(smoothing):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 7, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(5, (4, 7), generator=generator)
    ours = smoothed_cross_entropy(logits, labels, smoothing)
    theirs = functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="none", label_smoothing=smoothing
    )
    torch.testing.assert_close(ours.flatten(), theirs, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


EARLY = {
    "data.partition": {"kind": "dirichlet", "alpha": 1.0},
    "training.experts": {
        "kind": "local",
        "patience": 2,
        "validation_share": 0.25,
        "label_smoothing": 0.1,
        "optimizer": {"lr": 0.3, "momentum": 0.5, "batch_size": 8, "epochs": 30},
    },
}


@pytest.fixture(scope="module")
def stopped():
    return trained(EARLY)


@one_thread()
def by_hand(learning, client):
    """Train one expert epoch by epoch with torch.optim; return its best weights, epochs, loss, and all losses."""
    streams, n = learning.simulation.streams, learning.data.num_train[client]
    held_back = set(streams.generator("validation", client).permutation(n)[: n // 4].tolist())
    h, y = learning.train_h[client], learning.data.train_y[client]
    rest, held = [i for i in range(n) if i not in held_back], sorted(held_back)
    plan = batches(len(rest), batch_size=8, epochs=30, rng=streams.generator("batches/experts", client, 0))
    steps = len(plan) // 30
    model = learning.scenario.model.expert.build(8, 10, torch.Generator())
    model.load_state_dict(learning.expert.state_dict())
    stepper = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.5)
    best, seen = None, []
    total = 0.0
    for epoch in range(1, 31):
        for index in plan[(epoch - 1) * steps : epoch * steps]:
            rows = [rest[i] for i in index]
            stepper.zero_grad()
            loss = functional.cross_entropy(model(h[rows]), y[rows], label_smoothing=0.1)
            loss.backward()
            stepper.step()
            total += loss.item() * len(rows)
        with torch.no_grad():
            validation = functional.cross_entropy(model(h[held]), y[held]).item()
        seen.append(validation)
        if best is None or validation < best[0]:
            best = validation, epoch, {k: v.clone() for k, v in model.state_dict().items()}
        if epoch - best[1] == 2:
            break
    return best[2], epoch, total / (epoch * len(rest)), best[1]


@pytest.mark.parametrize("client", range(3))
def test_early_stopping_keeps_the_best_epoch(stopped, client):
    state, epochs, loss, _ = by_hand(stopped, client)
    for name, tensor in state.items():
        torch.testing.assert_close(stopped.experts[client][name], tensor, rtol=1e-4, atol=1e-5)
    rounds = table(stopped, "rounds").set_index("client")
    assert rounds.at[stopped.clients[client], "loss"] == pytest.approx(loss, rel=1e-4)
    metrics = table(stopped, "metrics").set_index("client")
    assert metrics.at[stopped.clients[client], "value"] == epochs
    assert (metrics["metric"] == "epochs").all()


def test_the_hand_loop_tells_something(stopped):
    """Clients stop at different epochs, before the last, and the best one isn't the last one they made."""
    ends = [by_hand(stopped, client)[1::2] for client in range(3)]
    epochs = [end[0] for end in ends]
    assert len(set(epochs)) > 1
    assert min(epochs) < 30


def test_early_stopping_is_the_same_side_by_side_and_with_little_memory(stopped):
    """Networks that aren't stacked are watched as well; how many clients are in memory changes nothing."""
    cramped = trained({**EARLY, "training.memory_bytes": 1})
    for one, other in zip(stopped.experts, cramped.experts, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)

    streams, optimizer = stopped.simulation.streams, stopped.scenario.training.experts.optimizer
    x, y = stopped.train_h, stopped.data.train_y
    plans = [
        batches(len(part) - 5, batch_size=8, epochs=30, rng=streams.generator("side_by_side", client))
        for client, part in enumerate(y)
    ]
    start = stopped.expert.state_dict()

    def watch():
        steps = [len(plan) // 30 for plan in plans]
        return EarlyStopping(stopped.expert, 2, steps, [part[-5:] for part in x], [part[-5:] for part in y])

    def of_heads(out, batch):
        return masked_mean(cross_entropy(out, torch.cat(y)[batch.rows_AB]), batch.mask_AB)

    def of_module(module, client, index, step):
        return cross_entropy(module(x[client][index]), y[client][index]).mean()

    early = [watch(), watch()]
    heads, losses = train_stacked(
        stopped.expert, stack([start] * 3), x, plans, of_heads, optimizer, after=early[0].after_stacked
    )
    ended = [
        early[0].outcome(Trained(unstack(heads), losses)),
        early[1].outcome(
            train_modules(stopped.expert, [start] * 3, plans, of_module, optimizer, after=early[1].after_module)
        ),
    ]
    assert early[0].epochs.tolist() == early[1].epochs.tolist()
    assert min(early[0].epochs) < 30
    np.testing.assert_allclose(ended[0].losses, ended[1].losses, rtol=1e-4)
    for one, other in zip(ended[0].states, ended[1].states, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_clock_charges_the_epochs_that_ran(stopped):
    jobs = table(stopped, "compute").query("kind == 'local_train'").set_index("device")["flop"]
    step, forward = 3 * 2 * (8 * 4 + 4 * 10) - 2 * 8 * 4, 2 * (8 * 4 + 4 * 10)  # no gradient of the features
    for client, name in enumerate(stopped.clients):
        n = stopped.data.num_train[client]
        epochs = by_hand(stopped, client)[1]
        assert jobs[name] == epochs * (step * (n - n // 4) + forward * (n // 4))


def test_what_it_will_cost_counts_all_epochs():
    scenario = tiny_scenario(EARLY)
    [devices] = [frame for title, frame in cost_tables(scenario, check(scenario)).items() if title != "model"]
    longer = tiny_scenario({**EARLY, "training.experts.optimizer.epochs": 40})
    [more] = [frame for title, frame in cost_tables(longer, check(longer)).items() if title != "model"]
    step, forward = 3 * 2 * (8 * 4 + 4 * 10) - 2 * 8 * 4, 2 * (8 * 4 + 4 * 10)
    difference = (more["training_flop"] - devices["training_flop"]).tolist()
    assert difference == [10 * (30 * step + 10 * forward)] * 3 + [0.0]


def test_patience_without_end_is_no_early_stopping_but_for_the_best_epoch(stopped):
    """Nobody stops; validation holds samples back all the same."""
    patient = trained({**EARLY, "training.experts.patience": 1000})
    assert set(table(patient, "metrics")["value"]) == {30}


def test_all_samples_train_without_patience():
    learning = trained({**EARLY, "training.experts.patience": None})
    jobs = table(learning, "compute").query("kind == 'local_train'").set_index("device")["flop"]
    step = 3 * 2 * (8 * 4 + 4 * 10) - 2 * 8 * 4
    assert [jobs[name] for name in learning.clients] == [30 * step * n for n in learning.data.num_train]
    assert table(learning, "metrics").empty


# --- where experts start -------------------------------------------------------------------------------

STILL = {"kind": "local", "start": "head", "optimizer": {"lr": 1e-12, "epochs": 1}}
EXPERT_BYTES = 4 * ((8 + 1) * 4 + (4 + 1) * 10)


def test_experts_go_on_from_the_averaged_head():
    learning = trained(
        {"training.extractor": {"kind": "fedce", "rounds": 2, "head": "expert"}, "training.experts": STILL}
    )
    for client in range(3):
        for name, tensor in learning.heads[client].items():
            torch.testing.assert_close(learning.experts[client][name], tensor, rtol=0, atol=1e-9)
    assert not torch.equal(learning.experts[0]["0.weight"], learning.expert.state_dict()["0.weight"])
    moved = table(learning, "transfers")
    assert moved["kind"].tolist() == ["model_down"] * 3
    assert set(moved["n_bytes"]) == {EXPERT_BYTES}
    assert set(table(learning, "rounds")["bytes_down"]) == {EXPERT_BYTES}


def test_personal_heads_are_where_they_are_needed():
    learning = trained({"training.extractor": {"kind": "fedper", "rounds": 2}, "training.experts": STILL})
    heads = [head["0.weight"] for head in learning.heads]
    assert not torch.equal(heads[0], heads[1])
    for client in range(3):
        torch.testing.assert_close(learning.experts[client]["0.weight"], heads[client], rtol=0, atol=1e-9)
    assert table(learning, "transfers").empty


@pytest.mark.parametrize("experts", [STILL, {"kind": "head"}], ids=["start", "head"])
@pytest.mark.parametrize("extractor", [{"kind": "fedce"}, {"kind": "fedsc"}, {"kind": "untrained"}], ids=str)
def test_without_such_heads_it_is_said_what_to_set(extractor, experts):
    scenario = tiny_scenario({"training.extractor": extractor, "training.experts": experts})
    with pytest.raises(InputError, match=r"leaves none; set .* training.extractor.head to expert") as caught:
        check(scenario)
    assert caught.value.key == "training.experts"


# --- who is there --------------------------------------------------------------------------------------


@pytest.mark.parametrize("patience", [None, 2])
def test_a_client_that_is_away_is_not_trained(tmp_path, patience):
    outages = tmp_path / "outages.csv"
    outages.write_text("device,t_down_s,t_up_s\ndev1,0,1000\n")
    faults = {"kind": "trace", "file": str(outages)}
    learning = trained(
        {
            "training.extractor": {"kind": "local_only"},
            "training.experts.patience": patience,
            "training.gate": {"kind": "own"},
            "faults": faults,
        }
    )
    rounds = table(learning, "rounds").set_index("client")
    assert rounds["participated"].to_dict() == {"dev0": True, "dev1": False, "dev2": True}
    assert rounds.at["dev1", "reason"] == "churn"
    assert np.isnan(rounds.at["dev1", "loss"])
    start = learning.expert.state_dict()
    assert [torch.equal(expert["2.0.weight"], start["2.0.weight"]) for expert in learning.experts] == [
        False,
        True,
        False,
    ]
    everybody = trained(
        {
            "training.extractor": {"kind": "local_only"},
            "training.experts.patience": patience,
            "training.gate": {"kind": "own"},
        }
    )
    for client in (0, 2):
        torch.testing.assert_close(learning.experts[client], everybody.experts[client], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "extractor", [{"kind": "fedper"}, {"kind": "fedce", "head": "expert"}], ids=["own", "server's"]
)
def test_who_goes_away_in_training_keeps_its_own_head(tmp_path, extractor):
    changes = {"training.extractor": {"rounds": 2, **extractor}, "training.experts.start": "head"}
    jobs = table(trained(changes), "compute")
    t_down_s = jobs[(jobs["device"] == "dev1") & (jobs["kind"] == "features")]["t_start_s"].item()
    outages = tmp_path / "outages.csv"
    outages.write_text(f"device,t_down_s,t_up_s\ndev1,{t_down_s},1000\n")
    learning = trained({**changes, "faults": {"kind": "trace", "file": str(outages)}})
    assert table(learning, "rounds").set_index("client").at["dev1", "reason"] == "churn"
    drawn = learning.expert.state_dict()
    expected = learning.heads[1] if extractor["kind"] == "fedper" else drawn
    assert not torch.equal(learning.heads[1]["0.weight"], drawn["0.weight"])
    assert all(torch.equal(tensor, expected[name]) for name, tensor in learning.experts[1].items())
