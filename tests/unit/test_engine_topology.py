from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest

from nmoe_sim.engine.device_profiles import BaseStation
from nmoe_sim.engine.topologies import Cell, Disc, Grid, RandomGeometric, Star, TopologySpec
from nmoe_sim.engine.topology import Node, NoRouteError, Topology
from nmoe_sim.errors import InputError
from nmoe_sim.rng import RandomStreams

STATION = BaseStation()


def build(spec: TopologySpec, seed: int = 0) -> Topology:
    return spec.build(RandomStreams(seed))


def positions(topology: Topology) -> np.ndarray:
    return np.array([(node.x_m, node.y_m) for node in topology.devices])


def linked(topology: Topology) -> set[frozenset[str]]:
    return {frozenset((link.src.name, link.dst.name)) for link in topology.links}


def within(topology: Topology, range_m: float) -> set[frozenset[str]]:
    xy_m, names = positions(topology), [node.name for node in topology.devices]
    distance_m = np.hypot(*(xy_m[:, None] - xy_m[None]).T)
    return {frozenset((names[i], names[j])) for i, j in zip(*np.nonzero(distance_m <= range_m), strict=True) if i < j}


SPECS = [
    Cell(num_devices=12, base_station=STATION),
    Cell(num_devices=12, base_station=STATION, sidelink_range_m=80.0),
    Star(num_devices=12, base_station=STATION),
    Disc(num_devices=12),
    Grid(num_devices=12),
    RandomGeometric(num_devices=12),
]
EACH = pytest.mark.parametrize("spec", SPECS, ids=["cell", "cell with sidelinks", "star", "disc", "grid", "geometric"])


@EACH
def test_links_go_both_ways_and_have_the_distance_of_their_ends(spec: TopologySpec) -> None:
    topology = build(spec)
    assert [node.name for node in topology.devices] == spec.device_names()
    assert [link.index for link in topology.links] == list(range(len(topology.links)))
    directed = {(link.src.name, link.dst.name) for link in topology.links}
    assert directed == {(dst, src) for src, dst in directed}
    assert len(directed) == len(topology.links)
    for link in topology.links:
        assert link.distance_m == np.hypot(link.src.x_m - link.dst.x_m, link.src.y_m - link.dst.y_m)


@EACH
def test_the_same_seed_gives_the_same_topology(spec: TopologySpec) -> None:
    one, two = build(spec, 3), build(spec, 3)
    assert one.nodes == two.nodes
    assert one.links == two.links


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[3], SPECS[5]], ids=["cell", "disc", "geometric"])
def test_another_seed_gives_other_positions(spec: TopologySpec) -> None:
    assert not np.any(positions(build(spec, 3)) == positions(build(spec, 4)))


@pytest.mark.parametrize("spec", [*SPECS[:2], *SPECS[3:5]], ids=["cell", "cell with sidelinks", "disc", "grid"])
def test_more_devices_leave_those_there_where_they_are(spec: TopologySpec) -> None:
    if isinstance(spec, Grid):
        spec = spec.model_copy(update={"num_columns": 4})
    more = spec.model_copy(update={"num_devices": 30})
    np.testing.assert_array_equal(positions(build(more))[:12], positions(build(spec)))


def test_a_cells_devices_are_uniform_over_the_ring_and_linked_to_its_station() -> None:
    topology = build(Cell(num_devices=4000, base_station=STATION, radius_m=100.0, min_distance_m=50.0))
    [station] = topology.base_stations
    assert (station.name, station.kind, station.x_m, station.y_m) == ("bs0", "base_station", 0.0, 0.0)
    xy_m = positions(topology)
    distance_m = np.hypot(*xy_m.T)
    assert distance_m.min() >= 50.0
    assert distance_m.max() <= 100.0
    # Uniform over the area: a third of it lies within √5000 m, a quarter in each quadrant (99.9 % intervals).
    assert abs(np.mean(distance_m < np.sqrt(5000.0)) - 1 / 3) < 3.3 * np.sqrt(2 / 9 / 4000)
    for x_sign, y_sign in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        share = np.mean((xy_m[:, 0] * x_sign > 0) & (xy_m[:, 1] * y_sign > 0))
        assert abs(share - 1 / 4) < 3.3 * np.sqrt(3 / 16 / 4000)
    assert linked(topology) == {frozenset((node.name, "bs0")) for node in topology.devices}
    assert {link.medium for link in topology.links} == {"uplink", "downlink"}


def test_a_cell_with_sidelinks_also_links_devices_in_range() -> None:
    topology = build(SPECS[1])
    stars = {frozenset((node.name, "bs0")) for node in topology.devices}
    near = within(topology, 80.0)
    assert near
    assert linked(topology) == stars | near
    assert {link.medium for link in topology.links} == {"uplink", "downlink", "sidelink"}


def test_a_cell_without_room_is_an_input_error() -> None:
    with pytest.raises(InputError, match="leaves no room") as caught:
        build(Cell(num_devices=1, base_station=STATION, radius_m=10.0, min_distance_m=10.0))
    assert caught.value.key == "topology.min_distance_m"


def test_a_star_is_symmetric() -> None:
    topology = build(Star(num_devices=4, base_station=STATION, radius_m=50.0))
    np.testing.assert_allclose(positions(topology), [(50, 0), (0, 50), (-50, 0), (0, -50)], atol=1e-9)
    assert linked(topology) == {frozenset((node.name, "bs0")) for node in topology.devices}


def test_a_disc_links_exactly_those_in_range() -> None:
    topology = build(Disc(num_devices=40, radius_m=100.0, range_m=45.0))
    assert np.hypot(*positions(topology).T).max() <= 100.0
    assert linked(topology) == within(topology, 45.0)
    assert {link.medium for link in topology.links} == {"sidelink"}
    assert topology.base_stations == ()


def test_a_disc_may_fall_apart() -> None:
    topology = build(Disc(num_devices=3, radius_m=100.0, range_m=0.01))
    assert topology.links == []
    assert not topology.is_connected("dev0", "dev1")
    with pytest.raises(NoRouteError, match="no route from dev0 to dev1"):
        topology.route("dev0", "dev1")


def test_a_grid_links_the_four_neighbours() -> None:
    topology = build(Grid(num_devices=7, num_columns=3, spacing_m=10.0))
    np.testing.assert_array_equal(positions(topology), [(0, 0), (10, 0), (20, 0), (0, 10), (10, 10), (20, 10), (0, 20)])
    expected = [(0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5), (3, 6)]
    assert linked(topology) == {frozenset((f"dev{i}", f"dev{j}")) for i, j in expected}
    assert len(positions(build(Grid(num_devices=9)))) == 9
    assert positions(build(Grid(num_devices=9))).max() == 2 * Grid().spacing_m  # as square as it goes


def test_a_random_geometric_graph_is_drawn_until_it_is_connected() -> None:
    spec = RandomGeometric(num_devices=10, side_m=100.0, range_m=40.0)
    drawn_again = 0
    for seed in range(20):
        topology, streams = build(spec, seed), RandomStreams(seed)
        assert nx.is_connected(topology.graph)
        assert linked(topology) == within(topology, 40.0)
        xy_m = positions(topology)
        assert xy_m.min() >= 0.0
        assert xy_m.max() <= 100.0
        drawn_again += not np.array_equal(xy_m[:, 0], 100.0 * streams.uniform("position", np.arange(10), 0, 0))
    assert 0 < drawn_again < 20


def test_a_random_geometric_graph_that_never_connects_is_an_input_error() -> None:
    with pytest.raises(InputError, match="none of 3 draws") as caught:
        build(RandomGeometric(num_devices=5, range_m=0.1, max_draws=3))
    assert caught.value.key == "topology.range_m"


def test_adding_devices_renames_none() -> None:
    assert Disc(num_devices=3).device_names() == ["dev0", "dev1", "dev2"]
    assert Disc(num_devices=101).device_names()[:3] == Disc(num_devices=3).device_names()


def net(places: dict[str, tuple[float, float]], *pairs: str) -> Topology:
    return Topology([Node(name, "device", *xy_m) for name, xy_m in places.items()], [tuple(pair) for pair in pairs])


def hops(topology: Topology, src: str, dst: str) -> str:
    links = topology.route(src, dst)
    assert all(one.dst == two.src for one, two in pairwise(links))
    return "".join([src, *(link.dst.name for link in links)])


def test_a_route_has_the_fewest_hops_then_the_shortest_way() -> None:
    places = {"a": (0, 0), "b": (100, 0), "c": (50, 500), "d": (30, 1), "e": (60, 1), "f": (50, 400)}
    # Around by c is long, but two hops; d and e are three.
    assert hops(net(places, "ac", "cb", "ad", "de", "eb"), "a", "b") == "acb"
    # Of two ways of two hops, the shorter.
    assert hops(net(places, "ac", "cb", "af", "fb"), "a", "b") == "afb"
    assert hops(net(places, "af", "fb", "ac", "cb"), "b", "a") == "bfa"
    # A direct link wins over both.
    assert hops(net(places, "ac", "cb", "ab"), "a", "b") == "ab"
    assert net(places, "ab").route("a", "a") == ()


def test_routes_match_exhaustive_search() -> None:
    topology = build(RandomGeometric(num_devices=9, side_m=100.0, range_m=45.0), seed=2)
    names = [node.name for node in topology.devices]
    length_m = {(link.src.name, link.dst.name): link.distance_m for link in topology.links}
    longest = 0
    for src in names:
        for dst in set(names) - {src}:
            paths = nx.all_simple_paths(topology.graph, src, dst)
            best = min((len(path), sum(length_m[pair] for pair in pairwise(path))) for path in paths)
            route = topology.route(src, dst)
            assert (len(route) + 1, sum(link.distance_m for link in route)) == pytest.approx(best)
            longest = max(longest, len(route))
    assert longest > 2


def test_most_central() -> None:
    places = {name: (float(i), 0.0) for i, name in enumerate("abcde")}
    assert net(places, "ab", "bc", "cd", "de").most_central() == "c"
    assert net(places, "ab", "bc", "cd", "de", "ea").most_central() == "a"  # all alike: the first
