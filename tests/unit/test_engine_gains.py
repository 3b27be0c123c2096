"""What the cache of gains says is what the channel says, and it draws no more than it has to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from channels import Channel, Sites
from nmoe_sim.engine import gains as module
from nmoe_sim.engine.gains import GainCache
from nmoe_sim.engine.radio.fading import NoFading, Rayleigh
from nmoe_sim.engine.radio.path_loss import UrbanMicro
from nmoe_sim.engine.radio.shadowing import LogNormal
from nmoe_sim.rng import RandomStreams

NUM_NODES = 12
XY_M = RandomStreams(2).generator("places").uniform(-100.0, 100.0, (NUM_NODES, 2))


class Drawn:
    """A channel that remembers what it was asked: (pairs, blocks)."""

    def __init__(self, fading) -> None:
        sites = Sites.static(XY_M, np.linspace(1.5, 10.0, NUM_NODES))
        laws = {"path_loss": UrbanMicro(), "shadowing": LogNormal(), "fading": fading}
        self.channel = Channel(sites, carrier_hz=3.5e9, uniform=RandomStreams(5).uniform, **laws)
        self.block_s = self.channel.block_s
        self.asked: list[tuple[list[tuple[int, int]], list[int]]] = []

    def power_gain(self, src, dst, blocks):
        self.asked.append((list(zip(src.tolist(), dst.tolist(), strict=True)), blocks.tolist()))
        return self.channel.power_gain(src, dst, blocks)

    def large_scale(self, src, dst, t_s):
        raise AssertionError("not asked")


def ask(cache: GainCache, pairs: list[tuple[int, int]], block: int) -> np.ndarray:
    src, dst = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return cache.at(src, dst, block)


@pytest.mark.parametrize("chunk", [65_536, 40, 1], ids=lambda chunk: f"chunk {chunk}")
@pytest.mark.parametrize("fading", [NoFading(), Rayleigh(), Rayleigh(delay_spread_s=1e-7, num_subbands=3)], ids=str)
def test_values_are_the_channels_whatever_the_order_of_queries_and_windows(fading, chunk, monkeypatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    rng = np.random.default_rng(1)
    drawn = Drawn(fading)
    cache = GainCache(drawn, NUM_NODES)
    for _ in range(60):
        pairs = [tuple(rng.choice(NUM_NODES, 2, replace=False).tolist()) for _ in range(rng.integers(1, 8))]
        block = int(rng.choice([0, 1, 3, 255, 256, 257, 1000, 1001, 10**9]))
        src, dst = np.array(pairs).T
        expected = drawn.channel.power_gain(src, dst, np.array([block]))[0]
        got = ask(cache, pairs, block)
        assert got.shape == expected.shape
        np.testing.assert_array_equal(got, expected)


def test_gains_that_never_change_are_drawn_once() -> None:
    drawn = Drawn(NoFading())
    assert math.isinf(drawn.block_s)
    cache = GainCache(drawn, NUM_NODES)
    for block in (0, 7, 10**6):
        ask(cache, [(0, 1), (2, 3)], block)
    ask(cache, [(2, 3), (4, 5)], 8)
    drawn_pairs = [pairs for pairs, _ in drawn.asked if pairs]
    assert drawn_pairs == [[(0, 1), (2, 3)], [(4, 5)]]


def test_many_blocks_are_drawn_at_a_time_and_pairs_out_of_use_are_dropped(monkeypatch) -> None:
    monkeypatch.setattr(module, "SHORTEST", 256)
    drawn = Drawn(Rayleigh())
    cache = GainCache(drawn, NUM_NODES)
    for block in range(256):
        ask(cache, [(0, 1), (2, 3)], block)
    assert [pairs for pairs, _ in drawn.asked if pairs] == [[(0, 1), (2, 3)]]
    drawn.asked.clear()
    for block in range(256, 512):  # a new window, in which one of the two isn't asked for
        ask(cache, [(2, 3)], block)
    assert [pairs for pairs, _ in drawn.asked] == [[(0, 1), (2, 3)]]
    drawn.asked.clear()
    ask(cache, [(2, 3)], 512)
    assert drawn.asked == [([(2, 3)], list(range(512, 768)))]
    ask(cache, [(0, 1)], 513)  # it comes back
    assert drawn.asked[1:] == [([(0, 1)], list(range(512, 768)))]


def test_windows_grow_where_every_block_is_needed_and_stay_short_where_few_are() -> None:
    drawn = Drawn(Rayleigh())
    cache = GainCache(drawn, NUM_NODES)
    for block in range(2000):
        ask(cache, [(0, 1)], block)
    lengths = [len(blocks) for pairs, blocks in drawn.asked if pairs]
    assert lengths[:6] == [16, 32, 64, 128, 256, 256]
    assert set(lengths[4:]) == {256}
    drawn.asked.clear()
    for block in range(3000, 9000, 300):
        ask(cache, [(0, 1)], block)
    assert [len(blocks) for _, blocks in drawn.asked][2:] == [16] * 18


def test_a_block_looked_back_to_is_in_the_window() -> None:
    drawn = Drawn(Rayleigh())
    cache = GainCache(drawn, NUM_NODES, lookback=3)
    for block in (10, 11, 1000, 1001):
        for back in (0, 3, 2):
            ask(cache, [(0, 1)], block - back)
    assert [blocks[0] for pairs, blocks in drawn.asked if pairs] == [7, 997]


def test_windows_are_short_where_pairs_are_many(monkeypatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 100)
    drawn = Drawn(Rayleigh())
    cache = GainCache(drawn, NUM_NODES)
    every = [(a, b) for a in range(NUM_NODES) for b in range(NUM_NODES) if a != b]
    for block in range(20):
        for some in (every[:3], every[:20], every):
            ask(cache, some, block)
    assert max(len(pairs) * len(blocks) for pairs, blocks in drawn.asked) <= max(2 * 100, len(every))
