"""Who is chosen: turns, draws, the nearest in free space, the fullest batteries."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from fake_radio import PROFILE, radio

from nmoe_sim.engine.links import Node
from nmoe_sim.engine.radio.channel import Model
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.engine.topology import Topology
from nmoe_sim.rng import RandomStreams
from nmoe_sim.training.clock import StageClock
from nmoe_sim.training.federation.protocols import OverSelection
from nmoe_sim.training.federation.selection import (
    AllClients,
    Candidates,
    ChannelAware,
    EnergyAware,
    PoissonClients,
    RandomClients,
    RoundRobin,
)

DISTANCE_M = [40.0, 10.0, 30.0, 50.0, 20.0]


def clock(*, seed: int = 5, stage: str = "extractor", battery_j: Any = (None,) * 5, **settings: Any) -> StageClock:
    """Five clients at their distances from a base station, in free space."""
    nodes = [Node(f"c{i}", "device", x_m, 0.0) for i, x_m in enumerate(DISTANCE_M)]
    names = [node.name for node in nodes]
    nodes.append(Node("bs0", "base_station", 0.0, 0.0))
    profiles = {
        name: PROFILE.model_copy(update={"battery_j": j, "compute_w": 1.0})
        for name, j in zip(names, battery_j, strict=True)
    }
    topology = Topology(nodes, [(name, "bs0") for name in names])
    section = radio(channel=Model(), **settings)
    run = Simulation.build(topology, {**profiles, "bs0": PROFILE}, section, RandomStreams(seed))
    return StageClock(run, stage, names, "bs0")


def chosen(selection: Any, number: int, *, able: Any = range(5), turns: Any = (0,) * 5, of: StageClock) -> list[int]:
    return selection.choose(Candidates(list(able), 5, number, turns, [10] * 5, of))


def test_all_of_those_who_can() -> None:
    assert chosen(AllClients(), 0, of=clock()) == [0, 1, 2, 3, 4]
    assert chosen(AllClients(), 0, able=[4, 2], of=clock()) == [4, 2]
    with pytest.raises(ValueError, match="kind to random or round_robin"):
        AllClients(share=0.5)


def test_round_robin_gives_everybody_a_turn() -> None:
    selection, of, turns, seen = RoundRobin(share=0.4), clock(), [0] * 5, []
    for number in range(5):
        pair = chosen(selection, number, turns=turns, of=of)
        seen.append(pair)
        for client in pair:
            turns[client] += 1
    assert seen == [[0, 1], [2, 3], [4, 0], [1, 2], [3, 4]]
    assert chosen(selection, 5, able=[0, 2, 4], turns=[2, 2, 2, 2, 0], of=of) == [4, 0]


def test_random_takes_its_share_and_repeats_by_the_seed_alone() -> None:
    selection = RandomClients(share=0.5)
    picks = [chosen(selection, number, of=clock()) for number in range(300)]
    assert all(len(set(pick)) == 3 for pick in picks)
    counts = Counter(client for pick in picks for client in pick)
    # each is in with probability 0.6; five standard deviations
    assert all(abs(counts[client] - 180) < 5 * np.sqrt(300 * 0.6 * 0.4) for client in range(5))
    assert picks[7] == chosen(selection, 7, of=clock(bandwidth_hz=1e3, tx_power_dbm=0.0))
    assert set(picks[7]) == set(chosen(RandomClients(share=0.6), 7, of=clock()))
    assert [chosen(selection, k, of=clock(seed=6)) for k in range(9)] != picks[:9]
    assert [chosen(selection, k, of=clock(stage="gate")) for k in range(9)] != picks[:9]
    # somebody who is away changes nothing about the order of the others
    order = chosen(RandomClients(share=1.0), 7, of=clock())
    assert chosen(RandomClients(share=1.0), 7, able=[0, 1, 3], of=clock()) == [c for c in order if c in (0, 1, 3)]


def test_poisson_draws_each_by_itself() -> None:
    selection, of = PoissonClients(share=0.3), clock()
    taken = np.zeros((2000, 5), dtype=bool)
    for number in range(len(taken)):
        taken[number, chosen(selection, number, of=of)] = True
    sizes = taken.sum(axis=1)
    assert taken.mean(axis=0) == pytest.approx(0.3, abs=5 * np.sqrt(0.3 * 0.7 / 2000))
    assert sizes.var() == pytest.approx(5 * 0.3 * 0.7, rel=0.2)  # binomial: nobody is drawn for another
    assert sizes.min() == 0
    assert selection.sampling_rate(5) == 0.3
    assert RandomClients(share=0.3).sampling_rate(5) == 1.0


def test_channel_aware_takes_the_nearest_in_free_space() -> None:
    order = np.argsort(DISTANCE_M).tolist()
    assert chosen(ChannelAware(share=1.0), 0, of=clock()) == order
    assert chosen(ChannelAware(share=0.4), 8, able=[0, 2, 3], of=clock()) == [2, 0]


def test_energy_aware_takes_the_fullest_batteries_and_who_is_on_mains_first() -> None:
    of = clock(battery_j=(5.0, None, 80.0, 20.0, 20.5))
    assert chosen(EnergyAware(share=1.0), 0, of=of) == [1, 2, 4, 3, 0]
    of.simulation.devices["c2"].compute(100.0, "work", stage="extractor")
    of.simulation.env.run(until=70.0)  # a watt
    assert of.simulation.battery_j_left("c2") == pytest.approx(10.0)
    assert of.simulation.battery_j_left("bs0") == np.inf
    assert chosen(EnergyAware(share=0.6), 1, of=of) == [1, 4, 3]


def test_ties_of_energy_are_drawn() -> None:
    firsts = {chosen(EnergyAware(), number, of=clock())[0] for number in range(40)}
    assert firsts == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(("share", "num_clients", "expected"), [(0.07, 100, 7), (0.28, 25, 7), (0.55, 100, 55)])
def test_a_share_that_is_a_whole_number_of_clients_takes_that_number(share, num_clients, expected) -> None:
    assert RandomClients(share=share).number(num_clients) == expected
    assert RandomClients(share=share + 0.001).number(num_clients) == expected + 1


def test_over_selection_asks_for_no_more_than_it_says() -> None:
    assert OverSelection(spare=0.1).asked(RandomClients(share=0.1), 100) == 11
