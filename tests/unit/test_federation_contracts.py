"""A selection, compression, server update or protocol that breaks its word is named, with what it did and the rule."""

import numpy as np
import pytest
import torch
from conftest import tiny_scenario

from nmoe_sim.checks import check
from nmoe_sim.errors import RunError
from nmoe_sim.lifecycle import simulate
from nmoe_sim.nmoe.compression import Quantise
from nmoe_sim.nmoe.server_update import Average
from nmoe_sim.preparation import prepare
from nmoe_sim.training.federation.contracts import arrived_work, checked_bytes, checked_choice, checked_pair
from nmoe_sim.training.federation.history import Attempt
from nmoe_sim.training.federation.protocols import Synchronous
from nmoe_sim.training.federation.selection import AllClients

STATE = {"w": torch.zeros(2, 3), "b": torch.zeros(2)}


def test_a_choice_is_put_in_order_as_plain_numbers():
    chosen = checked_choice(np.array([4, 1]), [0, 1, 4], 2, "it")
    assert chosen == [1, 4]
    assert all(type(client) is int for client in chosen)
    assert checked_choice([], [], None, "it") == []


@pytest.mark.parametrize(("chosen", "count", "message"), [
    ([0, 77], None, "^it chose client 77, and those that can begin are 0, 1, 4; return some of candidates.clients"),
    ([2], None, "chose client 2, and"),
    ([4, 1, 4], None, "chose client 4 twice; return some"),
    ([1.0], None, r"chose client 1\.0"),
    ([[1]], None, r"chose client \[1\]"),
    (None, None, "chose None; return some of candidates.clients, each once, as a list"),
    ([0, 1], 1, "chose 2 clients where 1 were asked for"),
])  # fmt: skip
def test_a_choice_that_is_none_is_refused(chosen, count, message):
    with pytest.raises(RunError, match=message):
        checked_choice(chosen, [0, 1, 4], count, "it")


@pytest.mark.parametrize("n_bytes", [-1, 5.5, 5.0, None, "5"])
def test_bytes_are_whole_and_not_negative(n_bytes):
    assert checked_bytes(np.int64(5), "it") == 5
    assert checked_bytes(0, "it") == 0
    with pytest.raises(RunError, match=rf"^it: payload_bytes must return an int of at least 0, not {n_bytes!r};"):
        checked_bytes(n_bytes, "it")


@pytest.mark.parametrize(("returned", "message"), [
    (({}, None), "^it must return the tensors that it was given, and what it returns lacks 'b'"),
    (({**STATE, "x": STATE["b"]}, None), "has 'x'"),
    (({**STATE, "b": torch.zeros(1)}, None), r"makes of 'b', torch\.float32 of shape \(2,\), .* \(1,\)"),
    (({**STATE, "b": torch.zeros(2, dtype=torch.float64)}, None), r"of shape \(2,\), torch\.float64 of shape \(2,\)"),
    (({**STATE, "b": 0.0}, None), "'b' is a float"),
    ((STATE, 3.0), r"as its second a mapping of tensors, which is stored, not 3\.0"),
    ((STATE, {"steps": 3}), "not {'steps': 3}"),
    (STATE, "must return two things, the first a mapping of tensors, not a dict"),
    ((None, STATE), "two things"),
])  # fmt: skip
def test_a_state_keeps_names_shapes_and_types(returned, message):
    with pytest.raises(RunError, match=message):
        checked_pair(returned, STATE, "it")


def test_a_state_comes_back_in_the_order_of_the_one_given():
    state, rest = checked_pair((dict(reversed(STATE.items())), {"m": STATE["w"]}), STATE, "it")
    assert list(state) == ["w", "b"]
    assert list(rest) == ["m"]
    assert checked_pair((STATE, None), STATE, "it")[1] is None


def opens_a_round(_, federation):
    federation.open_round(0, [0, 2])
    yield federation.simulation.env.timeout(1.0)


def waits(_, federation):
    yield federation.simulation.env.timeout(1.0)


@pytest.mark.parametrize(("changes", "message"), [
    ({"work": None}, "^it closes a version with the part of client 2 in round 5, which hasn't trained; give"),
    ({"reason": "transfer_lost"}, "which ended with 'transfer_lost'"),
    ({"version": 3}, "which is in version 3 already"),
])  # fmt: skip
def test_a_version_is_made_of_parts_that_arrived_each_once(changes, message):
    given = {"client": 2, "round": 5, "t_start_s": 0.0, "t_end_s": 1.0, "work": 7}
    assert arrived_work(Attempt(**given), "it") == 7
    with pytest.raises(RunError, match=message):
        arrived_work(Attempt(**{**given, **changes}), "it")


def closes_at_once(_, federation):
    federation.close("average", [(attempt, 1.0) for attempt in federation.open_round(0, [0])])
    yield federation.simulation.env.timeout(1.0)


def hangs(_, federation):
    yield federation.simulation.env.timeout(1.0)
    yield federation.simulation.env.event()


def fails(_, federation):
    yield federation.simulation.env.timeout(1.0)
    raise RuntimeError("of its own")


@pytest.mark.parametrize(("owner", "method", "instead", "message"), [
    (AllClients, "rank", lambda _, candidates: [77],
     r"^training\.extractor: selection 'all' chose client 77, and those that can begin are 0, 1, 2;"),
    (Quantise, "payload_bytes", lambda _, sizes: -5, "^compression 'quantise': payload_bytes must .*, not -5"),
    (Quantise, "compress", lambda _, update, residual, draws: ({}, None),
     r"^training\.extractor: compression 'quantise': compress must return the tensors .* lacks"),
    (Average, "step", lambda _, current, mean, memory: ({n: t[:1] for n, t in mean.items()}, memory),
     r"^training\.extractor: server_update 'average': step must keep shapes and types"),
    (Synchronous, "clock", opens_a_round,
     r"^training\.extractor: protocol 'synchronous' left 2 of 3 parts open, the first that of client 0 in round 0;"),
    (Synchronous, "clock", waits, r"^training\.extractor: protocol 'synchronous' made 0 of \d+ versions of the model"),
    (Synchronous, "clock", closes_at_once, r"^training\.extractor: the protocol closes .* client 0 in round 0, which"),
    (Synchronous, "clock", hangs, "^the clock has nothing more to do, and the run isn't over: .* look at the protocol"),
])  # fmt: skip
def test_a_run_looks(monkeypatch, owner, method, instead, message):
    scenario = tiny_scenario({"training.extractor.compression": {"kind": "quantise"}})
    learning = prepare(scenario, layout := check(scenario), workers=1)
    monkeypatch.setattr(owner, method, instead)
    with pytest.raises(RunError, match=message):
        simulate(learning, layout)


def test_a_plug_ins_own_error_is_left_as_it_is(monkeypatch):
    scenario = tiny_scenario({})
    learning = prepare(scenario, layout := check(scenario), workers=1)
    monkeypatch.setattr(Synchronous, "clock", fails)
    with pytest.raises(RuntimeError, match=r"^of its own$"):
        simulate(learning, layout)
