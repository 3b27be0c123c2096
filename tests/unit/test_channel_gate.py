"""The gate that looks at the channel: its scores, its training, and what it sees of a network."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_scenario
from fake_radio import Given, network, radio, simulation, table

from channels.units import thermal_noise_w
from nmoe_sim.checks import check
from nmoe_sim.engine.links import Wired
from nmoe_sim.errors import InputError
from nmoe_sim.inference.channel import ChannelScores
from nmoe_sim.inference.view import NetworkMonitor
from nmoe_sim.nmoe.channel_aware import ChannelAwareGate
from nmoe_sim.nmoe.channel_gate import (
    CHANNEL,
    ChannelHead,
    ChannelLoss,
    Draws,
    channel_scores,
    scores_on_channels,
)
from nmoe_sim.nmoe.cohort import batches, stack, unstack
from nmoe_sim.nmoe.experts import MlpExpert
from nmoe_sim.nmoe.gates import MlpGate
from nmoe_sim.nmoe.losses import FixedExperts, load_balance_loss, masked_mean, mixture_loss
from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.nmoe.stacked import StackedBatch, train_stacked
from nmoe_sim.nmoe.stacked_forward import stacked_forward
from nmoe_sim.rng import RandomStreams

NUM_FEATURES, NUM_EXPERTS, NUM_CLASSES = 6, 4, 3
STREAMS = RandomStreams(7)
GATE = ChannelAwareGate(snr_min_db=-10.0, snr_max_db=30.0, num_knots=4, hidden=(5,))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(clients: list[int], widths: list[int], step: int = 0) -> StackedBatch:
    mask = torch.arange(max(widths)) < torch.tensor(widths)[:, None]
    index = torch.arange(max(widths)).expand(len(clients), -1)
    rows = index + 10 * torch.arange(len(clients))[:, None]
    return StackedBatch(step, torch.tensor(clients), rows, mask)


# --- scores ------------------------------------------------------------------------------------------


def test_hinges_by_hand():
    """Knots at 0, 10, 20 and 30 dB; below -10 dB and above 30 dB nothing changes any more."""
    by_hand = {
        math.inf: [0, 0, 0, 0],
        30.0: [0, 0, 0, 0],
        15.0: [0, 0, 5, 15],
        0.0: [0, 10, 20, 30],
        -10.0: [10, 20, 30, 40],
        -math.inf: [10, 20, 30, 40],
    }
    np.testing.assert_allclose(GATE.hinges(list(by_hand)), np.array(list(by_hand.values())) / 40)


def test_one_knot_is_linear_in_the_clipped_snr():
    gate = ChannelAwareGate(snr_min_db=0.0, snr_max_db=20.0, num_knots=1)
    np.testing.assert_allclose(gate.hinges([-5.0, 0.0, 5.0, 20.0])[:, 0], [1.0, 1.0, 0.75, 0.0])


@pytest.mark.parametrize("mixing", ["sum", "learned", "convex"])
def test_untrained_it_is_the_mlp_gate(mixing):
    h = torch.randn(9, NUM_FEATURES, generator=generator(1))
    spec = GATE.model_copy(update={"mixing": mixing})
    plain = MlpGate(hidden=(5,), mixing=mixing).build(NUM_FEATURES, NUM_EXPERTS, generator())
    gate = spec.build(NUM_FEATURES, NUM_EXPERTS, generator())
    assert torch.equal(gate(h), plain(h))
    assert torch.equal(ChannelHead(gate)(h)[:, :NUM_EXPERTS], plain(h))
    num_values = sum(parameter.numel() for parameter in gate.parameters())
    assert spec.num_parameters(NUM_FEATURES, NUM_EXPERTS) == num_values
    b = channel_scores(GATE, gate.state_dict())
    assert b(np.array([-50.0, 3.0, math.inf])).tolist() == [0.0, 0.0, 0.0]
    assert gate.state_dict().keys() - plain.state_dict().keys() == {CHANNEL}


def test_scores_in_training_are_those_at_a_request():
    gates = [GATE.build(NUM_FEATURES, NUM_EXPERTS, generator(seed)) for seed in (1, 2)]
    for gate, slope in zip(gates, (-3.0, 8.0), strict=True):
        gate.shared.channel.data[:] = slope * torch.arange(1, 5)
    h_ABD = torch.randn(2, 5, NUM_FEATURES, generator=generator(3))
    snr_db = 20 * np.random.default_rng(4).normal(size=(2, 5, NUM_EXPERTS))
    snr_db[0, 0, 0], snr_db[1, 2, 3] = np.inf, -np.inf
    out_ABM = stacked_forward(ChannelHead(gates[0]))(stack([gate.state_dict() for gate in gates]), h_ABD)
    trained = scores_on_channels(GATE, out_ABM, snr_db)
    for i, gate in enumerate(gates):
        at_request = gate(h_ABD[i]).detach().numpy() + channel_scores(GATE, gate.state_dict())(snr_db[i])
        np.testing.assert_allclose(trained[i].detach().numpy(), at_request, rtol=1e-5, atol=1e-6)


def test_a_range_that_is_none_is_refused():
    with pytest.raises(ValueError, match="must be below"):
        ChannelAwareGate(snr_min_db=20.0, snr_max_db=20.0)


# --- draws -------------------------------------------------------------------------------------------


def test_snrs_fill_the_range_and_the_own_expert_is_perfect():
    draws = Draws(STREAMS, [2, 0], [5, 5])
    snr_db = draws.snr_db(GATE, batch([0, 1], [400, 300]), NUM_EXPERTS)
    assert np.isinf(snr_db[0, :, 2]).all()
    assert np.isinf(snr_db[1, :, 0]).all()
    assert np.isinf(snr_db[1, 300:]).all()  # padding
    drawn = np.delete(snr_db[0], 2, axis=1)
    assert drawn.min() > -10
    assert drawn.max() < 30
    assert drawn.mean() == pytest.approx(10.0, abs=3.29 * 40 / 12**0.5 / drawn.size**0.5)
    assert drawn.var() == pytest.approx(40**2 / 12, rel=0.1)


def test_draws_are_whose_they_are_whoever_else_is_there():
    together, alone = Draws(STREAMS, [3, 1, 2], [5, 4, 4]), Draws(STREAMS, [2], [4])
    one, many = batch([0], [3], step=6), batch([0, 2, 1], [5, 3, 2], step=6)
    np.testing.assert_array_equal(alone.snr_db(GATE, one, 4)[0], together.snr_db(GATE, many, 4)[1, :3])
    assert torch.equal(alone.normal("gate_noise", one, 4)[0], together.normal("gate_noise", many, 4)[1, :3])
    later = Draws(STREAMS, [2], [5])
    assert not np.array_equal(alone.snr_db(GATE, one, 4)[0], later.snr_db(GATE, one, 4)[0])


# --- the loss ----------------------------------------------------------------------------------------


def case(num_samples: int = 20, **changes: Any) -> tuple[ChannelLoss, Any]:
    """Two clients with samples, experts drawn at random."""
    modules = [MlpExpert(hidden=(7,)).build(NUM_FEATURES, NUM_CLASSES, generator(seed)) for seed in range(NUM_EXPERTS)]
    for module in modules:
        module[-1].weight.data *= 15.0  # sure of themselves
    h = torch.randn(num_samples, NUM_FEATURES, generator=generator(8))
    outputs = torch.stack([module(h) for module in modules], dim=1).detach()
    labels = torch.randint(NUM_CLASSES, (num_samples,), generator=generator(9))
    settings: dict[str, Any] = {
        "gate": GATE,
        "draws": Draws(STREAMS, [0, 1], [0, 0]),
        "expert": modules[0],
        "experts": stack([module.state_dict() for module in modules]),
        "h_RD": h,
        "fixed": FixedExperts.of(outputs, labels, "probabilities"),
        "top_k": 2,
        "noise_std": 0.0,
        "available_WN": None,
        "regulariser": lambda scores_ABN, mask_AB: torch.zeros(len(scores_ABN)),
        "on_channels": True,
    }
    return ChannelLoss(**{**settings, **changes}), modules


def test_experts_answer_features_with_their_own_noise():
    loss, modules = case()
    some = batch([0, 1], [4, 3])
    snr_db = loss.draws.snr_db(GATE, some, NUM_EXPERTS)
    said = loss.noisy_outputs(snr_db, some)
    standard = loss.draws.normal("gate_channel", some, NUM_EXPERTS, NUM_FEATURES)
    for a, b, n in np.ndindex(2, 3, NUM_EXPERTS):
        h = loss.h_RD[some.rows_AB[a, b]]
        received = h + math.sqrt(float(h.square().mean()) / 10 ** (snr_db[a, b, n] / 10)) * standard[a, b, n]
        torch.testing.assert_close(said[a, b, n], modules[n](received).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(said[0, :, 0], modules[0](loss.h_RD[some.rows_AB[0]]).detach())


def test_on_perfect_channels_it_is_the_mixtures_loss():
    loss, modules = case(on_channels=False, regulariser=None)
    some = batch([0, 1], [4, 3])
    out_ABM = torch.randn(2, 4, NUM_EXPERTS + 4, generator=generator(2))
    h_ABD, labels = loss.h_RD[some.rows_AB], loss.fixed.labels_R[some.rows_AB]
    outputs = torch.stack([module(h_ABD) for module in modules], dim=2).detach()
    plain = mixture_loss(out_ABM[..., :NUM_EXPERTS], outputs, labels, top_k=2, how="probabilities")
    torch.testing.assert_close(loss(out_ABM, some), masked_mean(plain, some.mask_AB))


def trained(loss: ChannelLoss, rounds: int = 60) -> Any:
    """The gates of two clients of ten samples each, after some rounds without averaging."""
    gate = loss.gate.build(NUM_FEATURES, NUM_EXPERTS, generator())
    stacked, h = stack([gate.state_dict()] * 2), [loss.h_RD[:10], loss.h_RD[10:]]
    optimizer = Optimizer(lr=0.5, batch_size=None)
    for number in range(rounds):
        now = Draws(STREAMS, [0, 1], [number, number])
        plans = [batches(10, batch_size=None, epochs=1, rng=np.random.default_rng(number))] * 2
        replaced = ChannelLoss(**{**loss.__dict__, "draws": now})
        stacked, _ = train_stacked(ChannelHead(gate), stacked, h, plans, replaced, optimizer)
    return gate, unstack(stacked)


def test_it_learns_to_avoid_bad_channels():
    """Experts that are all the same and right differ by their channels alone: the score rises with the SNR."""
    loss, modules = case()
    same = [modules[0].state_dict()] * NUM_EXPERTS
    outputs = modules[0](loss.h_RD).detach()[:, None].expand(-1, NUM_EXPERTS, -1)
    fixed = FixedExperts.of(outputs, outputs[:, 0].argmax(dim=1), "probabilities")
    sure = {**loss.__dict__, "experts": stack(same), "fixed": fixed}
    _, states = trained(ChannelLoss(**sure))
    for state in states:
        b = channel_scores(GATE, state)(np.array([-10.0, 0.0, 30.0]))
        assert b[0] < b[1] < b[2] == 0.0


def entropy_of_load(gate: Any, states: Any, h: torch.Tensor) -> float:
    """The entropy of the mean gate probability over experts, in nats."""
    probabilities = []
    for state in states:
        gate.load_state_dict(state)
        with torch.no_grad():
            probabilities.append(gate(h).softmax(dim=-1))
    mean = torch.cat(probabilities).mean(dim=0)
    return float(-(mean * mean.log()).sum())


def balance(coefficient: float) -> Any:
    return lambda scores_ABN, mask_AB: coefficient * load_balance_loss(scores_ABN, 2, mask_AB)


def test_experts_that_may_not_be_asked_have_no_say():
    available = torch.ones(2, NUM_EXPERTS, dtype=torch.bool)
    available[1, [0, 3]] = False
    loss, _ = case(available_WN=available, top_k=NUM_EXPERTS)
    some = batch([0, 1], [4, 3])
    out_ABM = torch.randn(2, 4, NUM_EXPERTS + 4, generator=generator(2))
    other = out_ABM.clone()
    other[1, :, [0, 3]] += 7.0
    torch.testing.assert_close(loss(out_ABM, some), loss(other, some))
    other[0, :, [0, 3]] += 7.0
    assert loss(out_ABM, some)[0] != loss(other, some)[0]


def test_the_regulariser_keeps_the_gate_from_collapsing():
    """One expert is right and the others are at random, all heard well: the load goes there, unless that costs."""
    loss, modules = case(gate=ChannelAwareGate(snr_min_db=60.0, snr_max_db=80.0))
    outputs = torch.stack([module(loss.h_RD) for module in modules], dim=1).detach()
    given = {**loss.__dict__, "fixed": FixedExperts.of(outputs, outputs[:, 2].argmax(dim=1), "probabilities")}
    collapsed, balanced = (
        entropy_of_load(*trained(ChannelLoss(**{**given, "regulariser": balance(coefficient)})), loss.h_RD)
        for coefficient in (0.0, 5.0)
    )
    assert collapsed < 0.7 * math.log(NUM_EXPERTS)
    assert balanced > 0.95 * math.log(NUM_EXPERTS)


# --- the stage ---------------------------------------------------------------------------------------


def test_settings_that_dont_fit_are_refused():
    with pytest.raises(InputError, match="must be less than 1"):
        tiny_scenario({"training.gate": {"kind": "channel_aware", "perfect_share": 1}})
    with pytest.raises(InputError, match="set exchange to 'experts'"):
        tiny_scenario({"training.gate": {"kind": "channel_aware", "exchange": "outputs"}})
    with pytest.raises(InputError, match=r"set model\.gate\.kind"):
        check(tiny_scenario({"training.gate": {"kind": "channel_aware"}}))


def test_fedgate_trains_it_as_the_mlp_gate_and_leaves_the_channel_out():
    from nmoe_sim.lifecycle import train
    from nmoe_sim.preparation import prepare

    gates = []
    for kind in ("mlp", "channel_aware"):
        scenario = tiny_scenario({"model.gate": {"kind": kind}, "training.gate.rounds": 2})
        learning = prepare(scenario, check(scenario))
        learning.simulation.env.run(learning.simulation.env.process(train(learning)))
        gates.append(learning.gates)
    for plain, aware in zip(*gates, strict=True):
        assert aware.pop(CHANNEL).tolist() == [0.0] * 4
        assert plain.keys() == aware.keys()
        assert all(torch.equal(plain[name], aware[name]) for name in plain)


# --- what it sees ------------------------------------------------------------------------------------


def test_a_view_tells_the_worst_hop_of_then():
    noise_w = float(thermal_noise_w(1e6, 0.0))
    gains = {"a>bs0": 100.0, "bs1>b": 0.1, "c>d": 2.0}
    channel = Given(table({pair: gain * noise_w for pair, gain in gains.items()}))
    topology = network(["a-bs0", "b-bs1", "c-d"], [("bs0", "bs1", Wired(1e9, 0.0))])
    run = simulation(topology, radio(channel=channel))
    view = NetworkMonitor(run, ("b",), 0.0).view()
    assert view.snr_db("a", "bs0") == pytest.approx(20.0)
    assert view.snr_db("a", "bs1") == pytest.approx(20.0)  # over the wire
    assert view.snr_db("a", "b") == pytest.approx(0.0)  # 0.1 at 1 W is 1 at 10 W
    assert view.snr_db("a", "a") == math.inf
    assert view.snr_db("a", "d") == -math.inf
    assert view.snr_db("d", "c") == -math.inf  # a link, but nothing is heard


def test_scores_follow_hosts_not_owners():
    view: Any = SimpleNamespace(
        hosts=("b", "a", "c"),
        snr_db=lambda src, dst: {("a", "b"): 0.0, ("a", "a"): math.inf, ("a", "c"): 20.0}[src, dst],
    )
    gate = GATE.build(NUM_FEATURES, 3, generator())
    gate.shared.channel.data[:] = torch.tensor([1.0, 0.0, 0.0, -4.0])
    seen = ChannelScores.of(GATE, [gate.state_dict()], ["a"])
    assert seen is not None
    np.testing.assert_allclose(seen(0, view), [-4 * 30 / 40, 0.0, -4 * 10 / 40])
    assert ChannelScores.of(MlpGate(), [gate.state_dict()], ["a"]) is None
