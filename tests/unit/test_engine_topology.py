from __future__ import annotations

from itertools import combinations, pairwise

import networkx as nx
import numpy as np
import pytest

from nmoe_sim.engine.device_profiles import BaseStation
from nmoe_sim.engine.links import Node, Wired
from nmoe_sim.engine.routes import NoRouteError
from nmoe_sim.engine.topologies import Cell, Disc, Grid, MultiCell, RandomGeometric, Star, TopologySpec
from nmoe_sim.engine.topologies.multi_cell import hexagonal_sites
from nmoe_sim.engine.topology import Topology
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


# --- routes over cables, attachment, motion


def test_backhaul_costs_no_radio() -> None:
    places = {"a": (0, 0), "b": (0, 10), "c": (0, 20), "d": (0, 30)}
    devices = [Node(name, "device", *xy_m) for name, xy_m in places.items()]
    stations = [Node(f"bs{i}", "base_station", 100.0 * i, 0) for i in range(3)]
    cells = [("a", "bs1"), ("b", "bs1"), ("d", "bs2")]
    cables = [(f"bs{i}", "bs0", Wired(1e9, 1e-3)) for i in (1, 2)]
    topology = Topology([*devices, *stations], [*cells, ("a", "c"), ("b", "c"), ("c", "d")], cables)
    assert hops(topology, "a", "d") == "acd"  # two hops by radio either way: without the cables it is shorter
    assert hops(topology, "bs1", "bs2") == "bs1bs0bs2"
    topology.set_pair("c", "d", False)
    assert hops(topology, "a", "d") == "abs1bs0bs2d"  # two hops by radio, whatever there is of cable
    assert hops(topology, "a", "b") == "acb"  # shorter than over bs1, 100 m away
    topology.set_pair("b", "c", False)
    assert hops(topology, "a", "b") == "abs1b"
    assert [link.medium for link in topology.route("a", "d")] == ["uplink", "wired", "wired", "downlink"]
    assert [link.wired for link in topology.route("bs1", "bs0")] == [Wired(1e9, 1e-3)]


def test_a_cable_is_taken_before_radio() -> None:
    nodes = [Node("a", "device", 0, 0), Node("b", "device", 1, 0), Node("r", "device", 50, 0)]
    topology = Topology(nodes, [("a", "b")], [("a", "r", Wired(1e9)), ("r", "b", Wired(1e9))])
    assert hops(topology, "a", "b") == "arb"


def test_routes_in_parts_that_are_apart() -> None:
    topology = net({"a": (0, 0), "b": (1, 0), "c": (2, 0), "d": (3, 0), "e": (9, 0)}, "ab", "cd")
    for src, dst in ("ac", "ca", "ae", "ea"):
        with pytest.raises(NoRouteError, match=f"no route from {src} to {dst}"):
            topology.route(src, dst)
    assert hops(topology, "a", "b") == "ab"


def test_links_go_down_and_up() -> None:
    topology = net({"a": (0, 0), "b": (1, 0), "c": (2, 0)}, "ab", "bc", "ac")
    link = topology.link("a", "c")
    assert link is not None
    assert topology.is_up(link)
    topology.set_pair("c", "a", False)
    assert not topology.is_up(link)
    assert hops(topology, "a", "c") == "abc"
    topology.set_pair("a", "b", False)
    assert not topology.is_connected("a", "c")
    assert topology.is_connectable("a", "c")
    topology.set_pair("a", "c", True)
    topology.set_pair("a", "c", True)
    assert hops(topology, "a", "b") == "acb"
    assert topology.link("a", "a") is None
    assert len(topology.links) == 6


def two_cells() -> Topology:
    nodes = [Node(name, "device", x, 0) for name, x in (("a", 10), ("b", 20), ("c", 90))]
    nodes += [Node("west", "base_station", 0, 0), Node("east", "base_station", 100, 0)]
    pairs = [(name, station) for name in "ab" for station in ("west", "east")]
    return Topology(nodes, [*pairs, ("c", "east")], [("east", "west", Wired(1e9))])


def test_devices_attach_to_one_base_station() -> None:
    topology = two_cells()
    assert topology.serving("a") is None
    assert topology.serving("c") == topology["east"]  # no choice
    assert [station.name for station in topology.stations_of("a")] == ["west", "east"]
    np.testing.assert_array_equal(topology.attachable, [[True, True], [True, True], [False, True]])
    assert not topology.is_connected("a", "c")
    assert topology.is_connectable("a", "c")
    assert topology.attach("a", "west") == []
    assert topology.attach("b", "west") == []
    assert hops(topology, "a", "b") == "awestb"
    assert hops(topology, "a", "c") == "awesteastc"
    assert [topology.num_attached(station) for station in ("west", "east")] == [2, 1]
    assert [(link.src.name, link.dst.name) for link in topology.attach("a", "east")] == [("a", "west"), ("west", "a")]
    assert hops(topology, "a", "b") == "aeastwestb"
    assert topology.serving("a") == topology["east"]
    assert topology.attach("a", "east") == []
    with pytest.raises(ValueError, match="c can't attach to west; one of east"):
        topology.attach("c", "west")


def test_sidelinks_follow_the_devices() -> None:
    nodes = [Node(name, "device", x, 0) for name, x in (("a", 0), ("b", 10), ("c", 100))]
    still = Topology([*nodes, Node("bs", "base_station", 50, 0)], [("a", "bs"), ("a", "b")], sidelink_range_m=10.0)
    topology = still.movable()
    assert topology.nodes == still.nodes
    assert topology.bounds_m == still.bounds_m == (0.0, 0.0, 100.0, 0.0)
    pairs = ["a>bs", "bs>a", "a>b", "b>a", "a>c", "c>a", "b>c", "c>b"]
    assert [f"{link.src.name}>{link.dst.name}" for link in topology.links] == pairs
    assert hops(topology, "b", "bs") == "babs"
    assert not topology.is_connected("a", "c")
    lost = topology.move(np.array([[0.0, 0.0], [95.0, 0.0], [100.0, 0.0]]))
    assert [f"{link.src.name}>{link.dst.name}" for link in lost] == ["a>b", "b>a"]
    assert hops(topology, "b", "c") == "bc"
    assert topology.move(np.array([[0.0, 0.0], [5.0, 0.0], [10.0, 0.0]])) == []
    assert hops(topology, "a", "c") == "ac"
    np.testing.assert_array_equal(topology.positions_m, [(0, 0), (5, 0), (10, 0), (50, 0)])
    assert topology["c"].x_m == 100.0  # where it started


def test_shorter_is_by_the_distances_of_now() -> None:
    nodes = [Node(name, "device", x, y) for name, x, y in (("a", 0, 0), ("b", 8, 0), ("c", 4, 1), ("d", 4, 5))]
    topology = Topology(nodes, [], sidelink_range_m=7.0).movable()
    assert hops(topology, "a", "b") == "acb"
    topology.move(np.array([(0, 0), (8, 0), (4, -4), (4, 1)], dtype=float))
    assert hops(topology, "a", "b") == "acb"  # still
    topology.set_pair("c", "d", False)  # any change
    topology.move(np.array([(0, 0), (8, 0), (4, 1), (4, 5)], dtype=float))
    assert hops(topology, "a", "b") == "adb"  # as of then, also if asked later


def test_routes_after_any_changes_match_those_of_a_topology_made_anew() -> None:
    rng = np.random.default_rng(1)
    names = list("abcdefgh")
    nodes = [Node(name, "device", *rng.uniform(0, 100, 2)) for name in names]
    topology = Topology(nodes, combinations(names, 2))
    pairs = [(link.src.name, link.dst.name) for link in topology.links[::2]]
    for pair in pairs:
        topology.set_pair(*pair, False)
    for _ in range(150):
        flipped = pairs[rng.integers(len(pairs))]
        link = topology.link(*flipped)
        assert link is not None
        topology.set_pair(*flipped, not topology.is_up(link) and rng.random() < 0.7)
        fresh = Topology(nodes, [(k.src.name, k.dst.name) for k in topology.links[::2] if topology.is_up(k)])
        for src in names:
            for dst in names:
                try:
                    expected = hops(fresh, src, dst)
                except NoRouteError:
                    with pytest.raises(NoRouteError):
                        topology.route(src, dst)
                else:
                    assert hops(topology, src, dst) == expected


def test_without_a_range_sidelinks_stay() -> None:
    topology = net({"a": (0, 0), "b": (1, 0)}, "ab")
    assert topology.movable() is topology
    assert topology.move(np.array([[0.0, 0.0], [1e6, 0.0]])) == []
    assert hops(topology, "a", "b") == "ab"


def test_too_many_links_between_devices_that_move_are_refused() -> None:
    nodes = [Node(f"dev{i}", "device", 1e3 * i, 0) for i in range(1500)]
    with pytest.raises(InputError, match="2,248,500 links of devices that move are more than 2,000,000; lower"):
        Topology(nodes, [], sidelink_range_m=1.0).movable()


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["aa"], "a is linked to itself"),
        (["ab", "ba"], "b and a are linked twice"),
        (["st"], "s and t are base stations, which are linked by cable only"),
    ],
)
def test_senseless_pairs_are_refused(pairs: list[str], message: str) -> None:
    nodes = [Node(name, "device", 0, 0) for name in "ab"] + [Node(name, "base_station", 0, 0) for name in "st"]
    with pytest.raises(ValueError, match=message):
        Topology(nodes, [tuple(pair) for pair in pairs])


@EACH
def test_devices_start_inside_the_bounds_and_links_are_up(spec: TopologySpec) -> None:
    topology = build(spec)
    west_m, south_m, east_m, north_m = topology.bounds_m
    x_m, y_m = positions(topology).T
    assert np.all((west_m <= x_m) & (x_m <= east_m) & (south_m <= y_m) & (y_m <= north_m))
    assert west_m < east_m
    assert south_m < north_m
    assert all(topology.is_up(link) for link in topology.links)
    if not isinstance(spec, Star):
        moving = topology.movable()
        up = {frozenset((link.src.name, link.dst.name)) for link in moving.links if moving.is_up(link)}
        assert up == linked(topology)


# --- several cells


@pytest.mark.parametrize("num_sites", [1, 3, 7, 19])
def test_sites_stand_on_a_hexagonal_grid(num_sites: int) -> None:
    sites_m = hexagonal_sites(num_sites, 200.0)
    assert sites_m.shape == (num_sites, 2)
    np.testing.assert_array_equal(sites_m[0], 0.0)
    distance_m = np.hypot(*(sites_m[:, None] - sites_m).transpose(2, 0, 1))
    np.fill_diagonal(distance_m, np.inf)
    if num_sites > 1:
        np.testing.assert_allclose(distance_m.min(axis=0), 200.0)
    ring_m = np.sort(np.hypot(*sites_m.T))
    expected = [0] + [200] * 6 + [200 * np.sqrt(3)] * 6 + [400] * 6
    np.testing.assert_allclose(ring_m, np.sort(expected)[:num_sites], atol=1e-9)
    angle_deg = np.degrees(np.arctan2(*sites_m[1:7, ::-1].T)) % 360
    np.testing.assert_allclose(angle_deg, [30, 90, 150, 210, 270, 330][: num_sites - 1])


def multi_cell(**settings: object) -> MultiCell:
    return MultiCell(base_station=STATION, **settings)  # type: ignore[arg-type]


def test_sectors_share_a_site_and_look_three_ways() -> None:
    topology = build(multi_cell(num_devices=2, num_sites=3, num_sectors=3, sidelink_range_m=1000.0))
    stations = topology.base_stations
    assert [station.name for station in stations] == [f"bs{i}" for i in range(9)]
    assert [station.azimuth_deg for station in stations] == [30, 150, 270] * 3
    sites_m = hexagonal_sites(3, 200.0)
    np.testing.assert_allclose([(s.x_m, s.y_m) for s in stations], np.repeat(sites_m, 3, axis=0))
    cables = {(k.src.name, k.dst.name) for k in topology.links if k.wired == Wired(1e9, 2e-3)}
    assert cables == {pair for i in range(1, 9) for pair in ((f"bs{i}", "bs0"), ("bs0", f"bs{i}"))}
    assert len(topology.stations_of("dev0")) == 9
    assert topology.serving("dev0") is None
    assert hops(topology, "dev0", "dev1") == "dev0dev1"
    topology.attach("dev0", "bs4")
    assert hops(topology, "dev0", "bs8") == "dev0bs4bs0bs8"
    assert all(station.azimuth_deg is None for station in build(multi_cell()).base_stations)


def test_devices_are_uniform_over_the_hexagons() -> None:
    spec = multi_cell(num_devices=7000, num_sites=7, min_distance_m=1e-6)
    topology = build(spec, seed=1)
    xy_m, sites_m = positions(topology), hexagonal_sites(7, 200.0)
    offset_m = xy_m[:, None] - sites_m
    nearest = np.argmin(np.hypot(*offset_m.transpose(2, 0, 1)), axis=1)
    counts = np.bincount(nearest, minlength=7)
    assert np.all(np.abs(counts - 1000) < 3.3 * np.sqrt(7000 * 6 / 49))
    own_m = offset_m[np.arange(7000), nearest]
    for angle in np.radians([30, 90, 150]):  # no further than the sides
        assert np.all(np.abs(own_m @ [np.cos(angle), np.sin(angle)]) <= 100.0 + 1e-9)
    inscribed = np.mean(np.hypot(*own_m.T) < 100.0)
    expected = np.pi / (2 * np.sqrt(3))
    assert abs(inscribed - expected) < 3.3 * np.sqrt(expected * (1 - expected) / 7000)
    sextant = np.floor(np.degrees(np.arctan2(*own_m.T[::-1])) % 360 / 60)
    assert np.all(np.abs(np.bincount(sextant.astype(int)) - 7000 / 6) < 3.3 * np.sqrt(7000 * 5 / 36))
    # variance of a hexagon's x and y: 5/24 of its squared side, no correlation
    side_m = 200.0 / np.sqrt(3)
    np.testing.assert_allclose(np.cov(own_m.T) / side_m**2, np.eye(2) * 5 / 24, atol=0.01)


def test_nobody_starts_too_close_to_a_site() -> None:
    topology = build(multi_cell(num_devices=400, num_sites=3, min_distance_m=90.0))
    distance_m = np.hypot(*(positions(topology)[:, None] - hexagonal_sites(3, 200.0)).transpose(2, 0, 1))
    assert distance_m.min() >= 90.0
    few = build(multi_cell(num_devices=20, num_sites=3, min_distance_m=90.0))
    np.testing.assert_array_equal(positions(few), positions(topology)[:20])
    west_m, south_m, east_m, north_m = topology.bounds_m
    np.testing.assert_allclose((east_m - west_m, north_m - south_m), (200 * (np.sqrt(3) / 2 + 2 / np.sqrt(3)), 400))
    with pytest.raises(InputError, match="100 m leaves no room in cells of 200 m") as caught:
        build(multi_cell(min_distance_m=100.0))
    assert caught.value.key == "topology.min_distance_m"


def test_too_many_candidates_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"2,850,000 links of 25000 devices to 57 base stations are more than 2,000,000"
    ):
        build(multi_cell(num_devices=25_000, num_sites=19, num_sectors=3))
