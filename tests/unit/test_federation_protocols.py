"""Rounds on the clock, by hand: cables of 1 kB/s, so that a model of 1 kB takes a second; devices of 1 FLOP/s."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from fake_radio import PROFILE, radio

from nmoe_sim.engine.links import Node, Wired
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.engine.topology import Topology
from nmoe_sim.errors import RunError
from nmoe_sim.rng import RandomStreams
from nmoe_sim.training import clock as stage_clock
from nmoe_sim.training.clock import StageClock
from nmoe_sim.training.federation.contracts import check_end
from nmoe_sim.training.federation.federation import Federation, Report, RoundCosts
from nmoe_sim.training.federation.history import Attempt, History
from nmoe_sim.training.federation.protocols import (
    Asynchronous,
    Buffered,
    Deadline,
    Gossip,
    OverSelection,
    Synchronous,
    asynchronous,
)
from nmoe_sim.training.federation.selection import AllClients, PoissonClients, RandomClients, RoundRobin

KB = 1000
CABLE = Wired(8.0 * KB)
MAINS = PROFILE.model_copy(update={"compute_w": 1.0})


def world(
    num_clients: int,
    cables: Sequence[tuple[str, str]] | None = None,
    *,
    battery_j: Mapping[str, float] | None = None,
    outages: Sequence[tuple[str, float, float]] = (),
) -> Simulation:
    """Clients c0, c1, … on cables to a base station, or as told; outages are (device, down, up)."""
    names = [f"c{i}" for i in range(num_clients)]
    nodes = [Node(name, "device", float(i), 0.0) for i, name in enumerate(names)]
    if cables is None:
        nodes.append(Node("bs0", "base_station", 0.0, 1.0))
        cables = [(name, "bs0") for name in names]
    topology = Topology(nodes, [], [(a, b, CABLE) for a, b in cables])
    profiles: dict[str, Any] = {node.name: MAINS for node in nodes}
    for name, charge_j in (battery_j or {}).items():
        profiles[name] = MAINS.model_copy(update={"battery_j": charge_j})
    run = Simulation.build(topology, profiles, radio(), RandomStreams(3))
    for name, down_s, up_s in outages:
        run.devices[name].may_fail = True
        run.network._watches = True
        run.env.timeout(down_s).callbacks.append(lambda _, name=name: run.availability.take_down(name, "churn"))
        run.env.timeout(up_s).callbacks.append(lambda _, name=name: run.availability.bring_up(name))
    return run


def federated(
    protocol: Any,
    train_s: Sequence[float],
    *,
    run: Simulation | None = None,
    rounds: int = 3,
    selection: Any = None,
    server: str = "bs0",
    until_s: float = math.inf,
    **costs: Any,
) -> History:
    """Run a protocol's rounds; a model takes a second each way."""
    run = run or world(len(train_s))
    clock = StageClock(run, "extractor", [f"c{i}" for i in range(len(train_s))], server)
    given = {"down_bytes": KB, "up_bytes": KB, "train_flop": train_s, "mean_flop": 0.0, **costs}
    chosen = selection or AllClients()
    sizes = [10] * len(train_s)
    federation = Federation(clock, RoundCosts(**given), rounds, True, protocol.has_server, chosen, sizes)
    process = run.env.process(protocol.clock(federation))
    run.env.run(process if until_s == math.inf else run.env.any_of([process, run.env.timeout(until_s)]))
    assert process.triggered, "it never ends"
    check_end(federation, protocol.kind)
    clock.history.settle()
    return clock.history


def rows(history: History, what: Callable[[Attempt], Any] = lambda attempt: attempt.reason) -> dict[int, list[Any]]:
    """Something of each client's parts, in order."""
    found: dict[int, list[Any]] = {}
    for attempt in history.attempts:
        found.setdefault(attempt.client, []).append(what(attempt))
    return found


def arrivals(history: History) -> list[list[tuple[int, int]]]:
    """Client and version it started from, of each step's updates."""
    works = history.works
    return [[(works[a.work].client, works[a.work].base) for a in step.arrivals] for step in history.steps]


# --- in rounds ---------------------------------------------------------------------------------------------


def test_a_synchronous_round_waits_for_the_slowest() -> None:
    history = federated(Synchronous(), [1.0, 3.0, 2.0])
    assert history.t_version_s == [5.0, 10.0, 15.0]
    assert arrivals(history) == [[(0, k), (1, k), (2, k)] for k in range(3)]
    assert rows(history, lambda a: (a.t_start_s, a.t_end_s))[0] == [(0.0, 3.0), (5.0, 8.0), (10.0, 13.0)]
    assert {(a.bytes_down, a.bytes_up, a.reason) for a in history.attempts} == {(KB, KB, None)}


def test_aggregation_takes_the_servers_time() -> None:
    history = federated(Synchronous(), [1.0, 1.0], mean_flop=0.25)
    assert history.t_version_s == [3.5, 7.0, 10.5]


def test_reports_come_before_anybody_trains() -> None:
    report = Report(n_bytes=2 * KB, flop=[1.0, 2.0], mean_flop=0.5, kind="matrix")
    history = federated(Synchronous(), [1.0, 1.0], rounds=1, report=report)
    # model 1, matrix 2 (the slower), up 2, two means of both 2, down 2, train 1, up 1
    assert history.t_version_s == [11.0]
    assert history.steps[0].reports == (0, 1)
    assert {(a.bytes_down, a.bytes_up) for a in history.attempts} == {(3 * KB, 3 * KB)}


def test_who_is_late_is_dropped_with_the_reason() -> None:
    history = federated(Deadline(deadline_s=4.5), [1.0, 3.0])
    assert history.t_version_s[0] == 4.5
    # client 1 finds out when its upload is through, at 5; by then the second round has begun, and ended at 7.5
    assert rows(history) == {0: [None, None, None], 1: ["deadline", "busy", "deadline"]}
    assert history.t_version_s == [4.5, 7.5, 12.0]
    assert arrivals(history) == [[(0, 0)], [(0, 1)], [(0, 2)]]
    assert [a.t_end_s for a in history.attempts if a.reason == "deadline"] == [4.5, 12.0]


def test_what_is_late_may_count_in_a_later_round() -> None:
    history = federated(Deadline(deadline_s=4.5, late="keep"), [1.0, 3.0])
    assert rows(history) == {0: [None, None, None], 1: [None, "busy", "unfinished"]}
    assert history.t_version_s == [4.5, 7.5, 12.0]
    assert arrivals(history) == [[(0, 0)], [(1, 0), (0, 1)], [(0, 2)]]
    [late] = [a for a in history.attempts if a.client == 1 and a.reason is None]
    assert (late.version, history.staleness(late), late.t_end_s) == (2, 1, 5.0)


def test_a_patient_deadline_is_synchronous() -> None:
    train_s = [1.0, 3.0, 2.0]
    for late in ("drop", "keep"):
        patient = federated(Deadline(deadline_s=1e6, late=late), train_s)
        assert patient.content() == federated(Synchronous(), train_s).content()


def test_a_deadline_that_nobody_meets_ends() -> None:
    history = federated(Deadline(deadline_s=2.5), [1.0, 5.0], rounds=4)
    assert arrivals(history) == [[]] * 4
    # nothing is begun twice on a device: client 0's upload is through at 3 and 6, client 1's training at 6
    assert rows(history) == {0: ["deadline"] * 4, 1: ["deadline", "busy", "deadline", "busy"]}
    assert history.t_version_s == [2.5, 5.5, 8.5, 11.5]


def test_over_selection_takes_as_many_as_are_needed() -> None:
    selection = RandomClients(share=0.5)
    history = federated(OverSelection(spare=0.5), [1.0, 2.0, 3.0, 4.0], rounds=6, selection=selection)
    assert [len(step.arrivals) for step in history.steps] == [2] * 6
    assert {a.reason for a in history.attempts} == {None, "over_selection", "busy", "not_selected"}


def test_of_updates_that_arrive_together_only_so_many_count() -> None:
    history = federated(OverSelection(spare=1.0), [1.0] * 4, rounds=2, selection=RandomClients(share=0.5))
    assert arrivals(history) == [[(0, 0), (1, 0)], [(0, 1), (1, 1)]]
    assert rows(history)[3] == ["over_selection"] * 2


@pytest.mark.parametrize(
    ("selection", "remedy"),
    [(AllClients(), "lower selection.share"), (PoissonClients(share=0.5), "take selection random")],
)
def test_over_selection_refuses_what_leaves_it_no_choice(selection: Any, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        OverSelection().check(selection)


# --- without rounds ----------------------------------------------------------------------------------------

TRAIN_S = [1.0, 2.0, 4.5]  # so that parts take 3, 4 and 6.5 s


def test_asynchronous_versions_follow_the_schedule() -> None:
    history = federated(Asynchronous(mixing=0.6, staleness_exponent=0.5), TRAIN_S, rounds=6)
    assert history.t_version_s == [3.0, 4.0, 6.0, 6.5, 8.0, 9.0]
    assert arrivals(history) == [[(0, 0)], [(1, 0)], [(0, 1)], [(2, 0)], [(1, 2)], [(0, 3)]]
    staleness = np.array([0, 1, 1, 3, 2, 2])
    scales = [step.arrivals[0].scale for step in history.steps]
    assert scales == pytest.approx(0.6 / np.sqrt(1.0 + staleness))
    assert rows(history) == {0: [None, None, None], 1: [None, None, "unfinished"], 2: [None, "unfinished"]}
    assert rows(history, lambda a: a.round)[0] == [0, 1, 2]


def test_buffered_versions_follow_the_schedule() -> None:
    history = federated(Buffered(buffer=2, server_lr=0.5, staleness_exponent=1.0), TRAIN_S, rounds=4)
    # arrivals: c0 3, c1 4 | c0 6 (from 0), c2 6.5 | c1 8 (from 1), c0 9 (from 1) | c0 12 (from 3), c1 12 (from 2)
    assert history.t_version_s == [4.0, 6.5, 9.0, 12.0]
    assert arrivals(history) == [[(0, 0), (1, 0)], [(0, 0), (2, 0)], [(0, 1), (1, 1)], [(1, 2), (0, 3)]]
    scales = [[arrival.scale for arrival in step.arrivals] for step in history.steps]
    assert scales == [[0.25, 0.25], [0.125, 0.125], [0.125, 0.125], [0.125, 0.25]]


def test_the_server_takes_updates_one_after_the_other() -> None:
    history = federated(Asynchronous(), [1.0, 1.25], rounds=3, mean_flop=0.5)
    # c0 is in at 3, c1 at 3.25 while the server is busy till 3.5; c0 begins again at 3.5, c1 at 4
    assert history.t_version_s == [3.5, 4.0, 7.0]
    assert arrivals(history) == [[(0, 0)], [(1, 0)], [(0, 1)]]


def test_what_arrives_while_the_last_version_is_made_is_unfinished() -> None:
    for protocol in (Asynchronous(), Deadline(deadline_s=3.5, late="keep")):
        history = federated(protocol, [1.0, 2.0], rounds=1, mean_flop=2.0)
        assert rows(history) == {0: [None], 1: ["unfinished"]}


def test_a_selection_that_chooses_nobody_is_named() -> None:
    class Nobody(AllClients):
        kind = "nobody"

        def rank(self, candidates: Any) -> list[int]:
            return []

    with pytest.raises(RunError, match="selection 'nobody' chose nobody"):
        federated(Buffered(), [1.0], selection=Nobody())


def test_only_so_many_are_at_work_in_turns() -> None:
    history = federated(Asynchronous(), [1.0] * 5, rounds=10, selection=RoundRobin(share=0.4))
    begun = sorted((a.t_start_s, a.client) for a in history.attempts)
    assert [client for _, client in begun] == [0, 1, 2, 3, 0, 4, 1, 2, 3, 4]
    assert max(sum(a.t_start_s <= t_s < a.t_end_s for a in history.attempts) for t_s, _ in begun) == 2


# --- without a server --------------------------------------------------------------------------------------

PATH = [("c0", "c1"), ("c1", "c2")]


def test_gossip_mixes_the_models_of_neighbours() -> None:
    history = federated(Gossip(consensus_rounds=1), [1.0, 2.0, 1.0], run=world(3, PATH), rounds=2, server="c1")
    assert history.t_version_s == [3.0, 6.0, 7.0]  # the slowest, a second for the model; then without training
    for step in history.steps:
        assert [(m.sender, m.receiver) for m in step.mixes] == [(1, 0), (0, 1), (2, 1), (1, 2)]
        assert {m.weight for m in step.mixes} == {1 / 3}
    moved = rows(history, lambda a: (a.bytes_down, a.bytes_up))
    assert moved == {0: [(KB, KB)] * 3, 1: [(2 * KB, 2 * KB)] * 3, 2: [(KB, KB)] * 3}
    assert len(history.works) == 6


def test_who_goes_down_mixes_nothing_and_is_mixed_nowhere() -> None:
    run = world(3, PATH, outages=[("c0", 1.5, 2.5)])
    history = federated(Gossip(consensus_rounds=0), [1.0, 2.0, 1.0], run=run, rounds=1, server="c1")
    # it has trained, and is gone when models move
    assert [(m.sender, m.receiver) for m in history.steps[0].mixes] == [(2, 1), (1, 2)]


def test_gossip_refuses_clients_without_links() -> None:
    topology = world(4, PATH).topology
    with pytest.raises(ValueError, match=r"none lead from c0 to c3; take a topology with sidelinks"):
        Gossip().check_topology(topology)
    Gossip().check_topology(world(3, PATH).topology)
    with pytest.raises(ValueError, match="none lead from c0 to c1, c2, c3 and 1 more"):
        Gossip().check_topology(world(5).topology)
    Gossip().check_topology(world(1).topology)


# --- who goes away -----------------------------------------------------------------------------------------

EVERYTHING = [
    Synchronous(),
    Deadline(deadline_s=10.0),
    Deadline(deadline_s=10.0, late="keep"),
    Asynchronous(),
    Buffered(buffer=2),
]


def test_a_client_that_goes_down_is_out_of_the_round() -> None:
    history = federated(Synchronous(), [1.0, 1.0], run=world(2, outages=[("c1", 1.5, 4.0)]))
    assert rows(history) == {0: [None] * 3, 1: ["churn", "churn", None]}
    assert rows(history, lambda a: a.t_end_s)[1] == [1.5, 3.0, 9.0]
    assert history.t_version_s == [3.0, 6.0, 9.0]


def test_nobody_is_there_for_a_while() -> None:
    outages = [("c0", 1.0, 20.0), ("c1", 1.0, 30.0)]
    for protocol in EVERYTHING:
        history = federated(protocol, [1.0, 1.0], run=world(2, outages=outages), rounds=2)
        assert len(history.steps) == 2
        assert min(t_s for t_s, step in zip(history.t_version_s, history.steps, strict=True) if step.arrivals) == (
            26.0 if isinstance(protocol, Buffered) else 23.0
        )


D2D = [("c0", "c1"), ("c0", "c2")]


def test_a_server_that_is_away_is_waited_for() -> None:
    for protocol in EVERYTHING:
        run = world(3, D2D, outages=[("c0", 0.5, 50.0)])
        history = federated(protocol, [1.0] * 3, run=run, rounds=2, server="c0")
        assert len(history.steps) == 2
        assert "server_down" in {a.reason for a in history.attempts}
        assert max(a.t_end_s for a in history.attempts if a.version) > 50.0
        assert len(history.attempts) < 20


def test_a_server_that_is_gone_ends_the_rounds() -> None:
    for protocol in EVERYTHING:
        run = world(3, D2D, battery_j={"c0": 4.0})  # its own training takes a joule
        history = federated(protocol, [1.0] * 3, run=run, rounds=20, server="c0", mean_flop=0.1)
        assert len(history.steps) == (20 if protocol.has_rounds else len(history.steps))
        assert run.why_down("c0") == "battery"
        assert {"server_down", "battery"} & {a.reason for a in history.attempts}
        assert run.env.now < 50.0
        assert len(history.attempts) <= 60


def test_who_is_only_reached_over_a_relay_that_is_gone_is_out_of_reach() -> None:
    relayed = [("c0", "c1"), ("c1", "c2")]
    for protocol in EVERYTHING:
        run = world(3, relayed, battery_j={"c1": 1.5})
        history = federated(protocol, [1.0] * 3, run=run, rounds=12, server="c0")
        assert rows(history)[2][-1] == "out_of_reach"
        assert {a.version for a in history.attempts if a.client == 0} >= {1, 2, 3}


def test_all_batteries_run_empty() -> None:
    for protocol in [*EVERYTHING, Gossip()]:
        run = world(3, PATH, battery_j={"c0": 2.5, "c1": 2.5, "c2": 2.5})
        history = federated(protocol, [1.0] * 3, run=run, rounds=50, server="c1")
        assert {a.reason for a in history.attempts if a.version is None} >= {"battery"}
        assert run.env.now < 100.0
        for attempt in history.attempts:
            assert attempt.work is None or history.works[attempt.work].base <= len(history.steps)
        history.works_from()


def test_a_part_that_always_fails_is_not_repeated_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asynchronous, "MAX_ATTEMPTS", 20)
    run = world(1)
    device = run.devices["c0"]

    def flicker() -> Any:
        device.may_fail = True
        while True:
            yield run.env.timeout(0.5)
            run.availability.take_down("c0", "churn")
            run.availability.bring_up("c0")

    run.env.process(flicker())
    with pytest.raises(RunError, match=r"failed 20 times in a row.*'transfer_lost'"):
        federated(Asynchronous(), [1.0], run=run)


# --- what is insisted on -----------------------------------------------------------------------------------


def insist(run: Simulation, server: str, until_s: float = 200.0) -> tuple[float, bool]:
    """When a broadcast to all is through, and whether all got it."""
    names = [node.name for node in run.topology.devices]
    event = StageClock(run, "gate", names, server).broadcast(KB, "model_down")
    run.env.run(run.env.any_of([event, run.env.timeout(until_s)]))
    assert event.triggered
    return run.env.now, all(value is not False for value in event.value.values())


def test_a_device_that_is_away_is_waited_for() -> None:
    assert insist(world(2, outages=[("c1", 0.5, 30.0)]), "bs0") == (31.0, True)


def test_what_a_dead_device_can_not_deliver_is_given_up() -> None:
    for dead in ("c0", "c1"):
        run = world(3, PATH, battery_j={dead: 0.5})
        run.devices[dead].compute(1.0, "work", stage="gate")
        end_s, all_got_it = insist(run, "c0")
        assert end_s <= 2.0
        assert not all_got_it


def test_what_never_works_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_clock, "MAX_ATTEMPTS", 20)
    run = world(1)
    run.devices["c0"].may_fail = True
    clock = StageClock(run, "gate", ["c0"], "bs0")

    def flicker() -> Any:
        while True:
            yield run.env.timeout(0.5)
            run.availability.take_down("c0", "churn")
            run.availability.bring_up("c0")

    run.env.process(flicker())
    event = clock.job(0, 1.0, "expert")
    with pytest.raises(RunError, match="c0 had to do outside the rounds failed 20 times"):
        run.env.run(event)
