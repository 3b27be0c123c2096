"""Experts compute on the features that reached them: requests of a whole run, computed again by hand."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_scenario

from nmoe_sim import lifecycle
from nmoe_sim.checks import check
from nmoe_sim.preparation import prepare
from nmoe_sim.rng import RandomStreams

WEAK = {"radio.tx_power_dbm": -20.0, "radio.base_station_tx_power_dbm": -10.0, "radio.retry.max_retries": 0}


@cache
def _learned(kind: str, weak: bool, seed: int) -> Any:
    changes = {"inference.features": {"kind": kind}, "inference.arrivals.rate_hz": 10.0, "seed": seed}
    changes |= {"topology": {"kind": "star", "num_devices": 3, "radius_m": 60}, "inference.deadline_s": None}
    scenario = tiny_scenario({**changes, **(WEAK if weak else {})})
    layout = check(scenario)
    learning = prepare(scenario, layout)
    lifecycle.simulate(learning, layout)
    recorder = learning.simulation.recorder
    return learning, *(recorder.arrow(name).to_pandas() for name in ("requests", "transfers"))


def served(kind: str, *, weak: bool = False, seed: int = 3) -> Any:
    """A run's learning, its requests and its transfers."""
    return _learned(kind, weak, seed)


def expert_says(learning, expert, h_D):
    module = copy.deepcopy(learning.expert)
    module.load_state_dict(learning.experts[expert])
    with torch.no_grad():
        return module(h_D[None])[0].double().numpy()


def softmax(x):
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def predicted(learning, request, received):
    """The mixture's answer, in NumPy; ``received(host)`` is what a host computes on."""
    client, sample = learning.clients.index(request.client), request.sample_index
    scores = learning.test_scores()[client, sample].double().numpy()[list(request.experts_used)]
    host_of = dict(zip(request.experts, request.hosts, strict=True))
    said = [softmax(expert_says(learning, e, received(host_of[e]))) for e in request.experts_used]
    return int((softmax(scores)[:, None] * np.array(said)).sum(axis=0).argmax())


def noisy(learning, transfers, request, host):
    """Two radio hops over the base station, amplified and forwarded; the draws are those of the stream's name."""
    h = learning.tested_h[request.sample_index]
    if host == request.client:
        return h
    nodes = [node.name for node in learning.simulation.topology.nodes]
    mine = transfers[(transfers["request_id"] == request.request_id) & (transfers["kind"] == "features")]
    hops = mine[mine["payload_id"].isin(mine.loc[mine["dst"] == host, "payload_id"])]
    assert hops["hop"].tolist() == [0, 1]
    snr = 10 ** (hops["sinr_db"].to_numpy() / 10)
    total = np.prod(1 + 1 / snr) - 1
    draws = RandomStreams(3).normal("feature_noise", request.request_id, nodes.index(host), np.arange(len(h)))
    return torch.from_numpy(h.numpy() + np.sqrt(total * (h.numpy() ** 2).mean()) * draws).float()


def test_analog_features_reach_experts_with_their_noise():
    learning, requests, transfers = served("analog", weak=True)
    snr_db = transfers.loc[transfers["kind"].eq("features") & transfers["request_id"].notna(), "sinr_db"]
    assert snr_db.min() < 5  # else nothing is tested
    changed = 0
    for request in requests[requests["prediction"].notna()].itertuples():
        by_hand = predicted(learning, request, lambda host, r=request: noisy(learning, transfers, r, host))
        assert request.prediction == by_hand
        changed += by_hand != predicted(learning, request, lambda _, r=request: learning.tested_h[r.sample_index])
    assert changed > 5


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_digital_features_reach_remote_experts_rounded(kind):
    learning, requests, transfers = served(kind)
    transport = learning.scenario.inference.features
    features = transfers[transfers["kind"].eq("features") & transfers["request_id"].notna()]
    assert set(features["n_bytes"]) == {{"fp16": 16, "int8": 16}[kind]}
    outputs = transfers[transfers["kind"].eq("output") & transfers["request_id"].notna()]
    assert set(outputs["n_bytes"] % 40) == {0}  # answers stay floats

    def received(host, request):
        h = learning.tested_h[request.sample_index]
        return h if host == request.client else transport.received(h[None])[0]

    for request in requests.itertuples():
        assert request.prediction == predicted(learning, request, lambda host, r=request: received(host, r))


def test_analog_on_perfect_channels_is_as_floats():
    strong, plain = served("analog")[1], served("fp32")[1]
    assert strong["experts"].map(list).tolist() == plain["experts"].map(list).tolist()
    same = strong["prediction"] == plain["prediction"]
    assert same.mean() > 0.97
    assert served("analog", weak=True)[1]["prediction"].dropna().ne(plain["prediction"]).mean() > 0.05


def test_runs_repeat():
    first = served("analog", weak=True)[1]
    _learned.cache_clear()
    again = served("analog", weak=True)[1]
    assert first["prediction"].equals(again["prediction"])


def test_own_experts_look_at_the_features_themselves():
    """Whoever asks only its own expert has the same answers, however features would travel."""
    answers = []
    for kind in ("fp32", "analog", "int8"):
        changes = {"inference.features": {"kind": kind}, "inference.routing": {"kind": "local_only"}}
        scenario = tiny_scenario({**changes, **WEAK})
        layout = check(scenario)
        learning = prepare(scenario, layout)
        lifecycle.simulate(learning, layout)
        answers.append(learning.simulation.recorder.arrow("requests")["prediction"].to_pylist())
    assert answers[0] == answers[1] == answers[2]
