"""Who shares what: media and bands of links."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from fake_radio import network, radio

from nmoe_sim.engine.device_profiles import BaseStation
from nmoe_sim.engine.links import Node, Wired
from nmoe_sim.engine.spectrum import allocate, colours
from nmoe_sim.engine.topologies import MultiCell
from nmoe_sim.engine.topology import Topology
from nmoe_sim.rng import RandomStreams


def allocations(topology: Topology, **settings: object) -> dict[str, tuple[str, str | None, float]]:
    """Medium, band and bandwidth of each link, by its ends."""
    found = allocate(topology, radio(bandwidth_hz=12e6, **settings))
    return {
        f"{link.src.name}>{link.dst.name}": (a.medium, a.band, a.bandwidth_hz)
        for link, a in zip(topology.links, found, strict=True)
    }


ONE_CELL = network(["a-bs0", "b-bs0", "a-b"])
TWO_CELLS = network(["a-bs0", "a-bs1", "b-bs0", "b-bs1", "a-b"], [("bs0", "bs1", Wired(1e9, 0.001))])


def test_one_cell_has_a_medium_for_each_direction() -> None:
    assert allocations(ONE_CELL) == {
        "a>bs0": ("uplink", "uplink", 12e6),
        "bs0>a": ("downlink", "downlink", 12e6),
        "b>bs0": ("uplink", "uplink", 12e6),
        "bs0>b": ("downlink", "downlink", 12e6),
        "a>b": ("sidelink", "sidelink", 12e6),
        "b>a": ("sidelink", "sidelink", 12e6),
    }


def test_half_duplex_is_one_medium() -> None:
    assert set(allocations(ONE_CELL, duplex="half").values()) == {("shared", "shared", 12e6)}


def test_concurrent_sidelinks_are_a_medium_of_each_transmitter_on_one_band() -> None:
    found = allocations(network(["a-b", "b-c"]), sidelinks="concurrent")
    assert found == {
        "a>b": ("sidelink:a", "sidelink", 12e6),
        "b>a": ("sidelink:b", "sidelink", 12e6),
        "b>c": ("sidelink:b", "sidelink", 12e6),
        "c>b": ("sidelink:c", "sidelink", 12e6),
    }
    half = allocations(ONE_CELL, sidelinks="concurrent", duplex="half")
    assert half["a>b"] == ("sidelink:a", "shared", 12e6)
    assert half["a>bs0"] == half["bs0>b"] == ("shared", "shared", 12e6)


def test_several_cells_have_media_of_their_own_on_one_band() -> None:
    found = allocations(TWO_CELLS)
    assert found["a>bs0"] == found["b>bs0"] == ("uplink:bs0", "uplink/0", 12e6)
    assert found["bs0>a"] == ("downlink:bs0", "downlink/0", 12e6)
    assert found["a>bs1"] == ("uplink:bs1", "uplink/0", 12e6)
    assert found["bs1>b"] == ("downlink:bs1", "downlink/0", 12e6)
    assert found["a>b"] == found["b>a"] == ("sidelink", "sidelink", 12e6)
    assert found["bs0>bs1"] == ("wired:bs0>bs1", None, 0.0)
    assert found["bs1>bs0"] == ("wired:bs1>bs0", None, 0.0)


def test_reuse_divides_the_band_of_cells_and_not_that_of_sidelinks() -> None:
    found = allocations(TWO_CELLS, reuse_factor=2)
    assert found["a>bs0"] == ("uplink:bs0", "uplink/0", 6e6)
    assert found["a>bs1"] == ("uplink:bs1", "uplink/1", 6e6)
    assert found["bs1>b"] == ("downlink:bs1", "downlink/1", 6e6)
    assert found["a>b"] == ("sidelink", "sidelink", 12e6)


def test_cells_in_half_duplex_have_one_medium_each() -> None:
    cells = network(["a-bs0", "a-bs1"])
    found = allocations(cells, duplex="half", reuse_factor=2)
    assert found["a>bs0"] == found["bs0>a"] == ("shared:bs0", "shared/0", 6e6)
    assert found["a>bs1"] == ("shared:bs1", "shared/1", 6e6)


def stations(**settings: int) -> tuple[Node, ...]:
    return MultiCell(num_devices=1, base_station=BaseStation(), **settings).build(RandomStreams(0)).base_stations


def distance_m(a: Node, b: Node) -> float:
    return math.hypot(a.x_m - b.x_m, a.y_m - b.y_m)


@pytest.mark.parametrize("num_sites", [3, 7])
def test_three_parts_of_the_band_keep_neighbours_apart(num_sites: int) -> None:
    """The usual pattern of a hexagonal grid: all six neighbours of a cell use the other two parts, in turn."""
    cells = stations(num_sites=num_sites)
    parts = colours(cells, 3)
    for (a, part_a), (b, part_b) in combinations(zip(cells, parts, strict=True), 2):
        if distance_m(a, b) < 201:
            assert part_a != part_b
    assert np.ptp(np.bincount(parts)) <= (num_sites == 7) * 2


@pytest.mark.parametrize("factor", [3, 4, 7, 9])
def test_on_a_hexagonal_grid_parts_repeat_at_the_root_of_the_factor(factor: int) -> None:
    cells = stations(num_sites=19)
    parts = colours(cells, factor)
    assert len(set(parts)) == factor
    nearest_m = min(
        distance_m(a, b)
        for (a, part_a), (b, part_b) in combinations(zip(cells, parts, strict=True), 2)
        if part_a == part_b
    )
    assert nearest_m == pytest.approx(200.0 * math.sqrt(factor))


def test_sectors_and_sites_divide_a_factor_of_nine() -> None:
    parts = np.reshape(colours(stations(num_sites=19, num_sectors=3), 9), (19, 3))
    sites = parts // 3
    assert (sites == sites[:, :1]).all()
    assert sites[:, 0].tolist() == colours(stations(num_sites=19), 3)


def test_sectors_of_a_site_use_different_parts() -> None:
    cells = stations(num_sites=7, num_sectors=3)
    parts = np.reshape(colours(cells, 3), (7, 3))
    assert [sorted(site) for site in parts.tolist()] == [[0, 1, 2]] * 7


def test_parts_of_the_band_in_the_simplest_cases() -> None:
    cells = stations(num_sites=7)
    assert colours(cells, 1) == [0] * 7
    assert sorted(colours(cells, 7)) == list(range(7))
    assert colours((), 3) == []
    line = [Node(f"bs{i}", "base_station", 10.0 * i, 0.0) for i in range(20)]
    assert colours(line, 2) == [0, 1] * 10
    # of equals the first, whatever rounding does: 0.7 - 0.4 is less than 0.4 - 0.1
    assert colours([Node(f"bs{i}", "base_station", x_m, 0.0) for i, x_m in enumerate((0.7, 0.1, 0.4))], 2) == [0, 1, 0]
