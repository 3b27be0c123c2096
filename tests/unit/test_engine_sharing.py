"""Equal sharing of a medium, against schedules worked out by hand and a simulator that steps through time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from simpy import Environment

from nmoe_sim.engine.sharing import EqualShare, EqualShareMedium
from nmoe_sim.errors import RunError
from nmoe_sim.rng import RandomStreams


@dataclass
class Rates:
    """Rates by link and block; the last column holds for all later blocks."""

    table: Sequence[Sequence[float]]
    block_s: float = math.inf

    def rate_bps(self, link: int, block: int) -> float:
        row = self.table[link]
        return row[min(block, len(row) - 1)]


@dataclass(frozen=True)
class Sent:
    t_end_s: float
    airtime_s: float


Job = tuple[float, int, float]
"""Arrival, link, bits."""


def send_all(rates: Rates, jobs: Sequence[Job]) -> list[Sent]:
    env = Environment()
    medium = EqualShareMedium(env, rates)
    sent: dict[int, Sent] = {}

    def done(number: int, airtime_s: float) -> None:
        assert number not in sent
        sent[number] = Sent(env.now, airtime_s)

    def arrivals():
        for number, (t_s, link, bits) in enumerate(jobs):
            yield env.timeout(t_s - env.now)
            medium.start(link, bits, done, number)

    env.process(arrivals())
    env.run()
    assert medium.num_active == 0
    return [sent[number] for number in range(len(jobs))]


def step_through(rates: Rates, jobs: Sequence[Job]) -> list[Sent]:
    """Send by stepping from event to event, each transfer's bits at its rate over n: no virtual time."""
    waiting, active = list(range(len(jobs))), dict[int, float]()
    airtime_s, sent = [0.0] * len(jobs), dict[int, Sent]()
    now, block = 0.0, 0
    while waiting or active:
        while waiting and jobs[waiting[0]][0] <= now:
            number = waiting.pop(0)
            active[number] = jobs[number][2]
        speed = {i: rates.rate_bps(jobs[i][1], block) / len(active) for i in active}
        ends_s = {i: now + bits / speed[i] for i, bits in active.items() if speed[i] > 0}
        t_s = min([*ends_s.values(), jobs[waiting[0]][0] if waiting else math.inf, (block + 1) * rates.block_s])
        for i in active:
            active[i] -= speed[i] * (t_s - now)
            airtime_s[i] += (t_s - now) / len(active)
        for i in [i for i, end_s in ends_s.items() if end_s <= t_s * (1 + 1e-15)]:
            del active[i]
            sent[i] = Sent(t_s, airtime_s[i])
        now = t_s
        block += now >= (block + 1) * rates.block_s
    return [sent[i] for i in range(len(jobs))]


def assert_same(found: Sequence[Sent], expected: Sequence[Sent]) -> None:
    for of in (lambda s: s.t_end_s, lambda s: s.airtime_s):
        np.testing.assert_allclose([of(s) for s in found], [of(s) for s in expected], rtol=1e-9, atol=1e-12)


def test_a_lone_transfer_takes_its_bits_over_its_rate() -> None:
    assert send_all(Rates([[10.0]]), [(3.0, 0, 25.0)]) == [Sent(5.5, 2.5)]


def test_two_that_overlap_share_the_time_not_the_rate() -> None:
    # Link 0 at 10 bit/s alone until 1 s: 10 of 30 bits. Then 5 bit/s, while link 1 (100 bit/s) gets 50
    # bit/s for its 100 bits until 3 s. The 10 bits left go alone, until 4 s.
    sent = send_all(Rates([[10.0], [100.0]]), [(0.0, 0, 30.0), (1.0, 1, 100.0)])
    assert_same(sent, [Sent(4.0, 3.0), Sent(3.0, 1.0)])


def test_rates_change_at_block_boundaries() -> None:
    # 10 bit/s until 2 s, 40 after: 20 + 30 bits, the latter in 0.75 s.
    assert_same(send_all(Rates([[10.0, 40.0]], 2.0), [(0.0, 0, 50.0)]), [Sent(2.75, 2.75)])
    # Two share: 5 bit/s each until 2 s, then 20: both have 10 of 50 bits, 40 left in 2 s.
    assert_same(send_all(Rates([[10.0, 40.0]], 2.0), [(0.0, 0, 50.0)] * 2), [Sent(4.0, 2.0)] * 2)


def test_a_transfer_waits_on_air_through_a_block_without_a_rate() -> None:
    # 10 bits, none for a second, the other 10. The wait is airtime: the radio holds its share.
    assert_same(send_all(Rates([[10.0, 0.0, 10.0]], 1.0), [(0.0, 0, 20.0)]), [Sent(3.0, 3.0)])
    # Started in such a block, beside a transfer that goes on at half its rate.
    sent = send_all(Rates([[0.0, 10.0], [10.0, 10.0]], 1.0), [(0.0, 0, 5.0), (0.0, 1, 10.0)])
    assert_same(sent, [Sent(2.0, 1.0), Sent(2.0, 1.0)])


def test_one_whose_last_bit_is_sent_as_a_block_ends_does_not_wait_for_a_rate() -> None:
    # Link 0 sends 2 bits alone and 1 shared, its third bit at 1 s sharp, when another transfer starts and
    # its own rate becomes 0.
    rates, jobs = Rates([[8.0, 0.0, 8.0], [4.0, 4.0]], 1.0), [(0.5, 0, 3.0), (0.75, 1, 8.0), (1.0, 1, 1.0)]
    sent = send_all(rates, jobs)
    assert sent[0] == Sent(1.0, 0.375)
    assert_same(sent, step_through(rates, jobs))


def test_a_link_that_never_has_a_rate_is_an_error() -> None:
    with pytest.raises(RunError, match="can never end"):
        send_all(Rates([[0.0]]), [(0.0, 0, 1.0)])


def test_those_that_start_together_and_are_as_long_end_together() -> None:
    sent = send_all(Rates([[10.0]]), [(1.0, 0, 10.0)] * 7)
    assert len({s.t_end_s for s in sent}) == 1
    assert_same(sent, [Sent(8.0, 1.0)] * 7)


def test_one_that_arrives_as_another_ends_has_the_medium_to_itself() -> None:
    assert_same(send_all(Rates([[10.0]]), [(0.0, 0, 10.0), (1.0, 0, 10.0)]), [Sent(1.0, 1.0), Sent(2.0, 1.0)])


@pytest.mark.parametrize("block_s", [0.1, 1 / 3, 0.05])
def test_a_start_at_a_boundary_has_the_new_blocks_rate(block_s: float) -> None:
    # n · block_s is a float on either side of the boundary; the block that begins there counts.
    for n in range(1, 200):
        table = [[1e-3] * n + [10.0] + [1e-3] * 3]
        [sent] = send_all(Rates(table, block_s), [(n * block_s, 0, 5.0 * block_s)])
        assert sent.airtime_s == pytest.approx(0.5 * block_s, rel=1e-9)


def test_virtual_time_starts_anew_after_idleness() -> None:
    # If it went on, 1e-9 s of airtime would drown in the 1e8 s given before.
    jobs = [(0.0, 0, 1e8), (1e8 + 1.0, 1, 1.0)]
    sent = send_all(Rates([[1.0], [1e9]]), jobs)
    assert sent[1].airtime_s == pytest.approx(1e-9, rel=1e-12)


def test_tiny_and_huge_transfers_side_by_side() -> None:
    rates = Rates([[1e6]])
    jobs = [(0.0, 0, 1e12), *((1000.0 * k, 0, 10.0**-k) for k in range(1, 10)), (5e5, 0, 0.0)]
    sent = send_all(rates, jobs)
    assert_same(sent, step_through(rates, jobs))
    assert sent[-1] == Sent(5e5, 0.0)
    assert sent[0].airtime_s == pytest.approx(1e6, rel=1e-12)


def test_done_may_start_the_next_transfer() -> None:
    env = Environment()
    medium = EqualShareMedium(env, Rates([[10.0]]))
    ends_s: list[float] = []

    def done(left: int, airtime_s: float) -> None:
        ends_s.append(env.now)
        if left:
            medium.start(0, 10.0, done, left - 1)

    medium.start(0, 10.0, done, 3)
    env.run()
    assert ends_s == [1.0, 2.0, 3.0, 4.0]


def test_the_spec_builds_the_medium() -> None:
    medium = EqualShare().medium(Environment(), Rates([[1.0]]))
    assert isinstance(medium, EqualShareMedium)


def random_jobs(seed: int, count: int, load: float, size: Callable[[np.ndarray], np.ndarray]) -> list[Job]:
    streams, index = RandomStreams(seed), np.arange(count)
    t_s = np.cumsum(streams.exponential("gap", index)) / load
    links = (4 * streams.uniform("link", index)).astype(int)
    return list(zip(t_s.tolist(), links.tolist(), size(streams.uniform("size", index)).tolist(), strict=True))


@pytest.mark.parametrize(
    ("load", "size"),
    [
        (0.3, lambda u: -np.log(u)),
        (0.8, lambda u: np.ones_like(u)),
        (1.5, lambda u: -np.log(u)),
        (0.5, lambda u: 0.1 / u),
    ],
    ids=["light", "equal sizes", "overloaded", "heavy tail"],
)
@pytest.mark.parametrize("block_s", [math.inf, 0.7, 40.0], ids=["constant", "fast fading", "slow fading"])
def test_random_transfers_as_stepping_through_time(block_s: float, load: float, size) -> None:
    blocks = 1 if math.isinf(block_s) else 3000
    table = RandomStreams(5).exponential("rate", np.arange(4)[:, None], np.arange(blocks)) + 0.2
    table[:, :-1][table[:, :-1] < 0.4] = 0.0  # outage, but not for good
    rates, jobs = Rates(table.tolist(), block_s), random_jobs(11, 1000, load, size)
    found = send_all(rates, jobs)
    assert_same(found, step_through(rates, jobs))
    assert max(s.t_end_s for s in found) > jobs[-1][0]


def test_equal_times_and_sizes_on_a_lattice_as_stepping_through_time() -> None:
    # Everything is a multiple of 1/4, so arrivals, ends and boundaries coincide all the time.
    draws = RandomStreams(3).uniform("lattice", np.arange(600)[:, None], np.arange(3))
    t_s = np.sort(np.floor(1200 * draws[:, 0]) / 4)
    jobs = list(
        zip(t_s.tolist(), (2 * draws[:, 1]).astype(int).tolist(), np.ceil(4 * draws[:, 2]).tolist(), strict=True)
    )
    rates = Rates([[4.0, 2.0, 8.0] * 400, [8.0, 0.0, 4.0] * 400], 1.0)
    assert_same(send_all(rates, jobs), step_through(rates, jobs))
