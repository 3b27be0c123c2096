"""Sharing of media, against schedules worked out by hand and a simulator that steps through time."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fake_band import FakeBand, Job, Sent, send_all, shannon
from simpy import Environment

from nmoe_sim.engine.sharing import (
    CsmaCa,
    EqualShare,
    EqualShareMedium,
    Fdma,
    Fifo,
    FluidMedia,
    MaxMin,
    MinMaxLatency,
    Plan,
    ProportionalFair,
    RoundRobin,
    Sharing,
)
from nmoe_sim.errors import RunError
from nmoe_sim.rng import RandomStreams


def fluid(env: Environment, band: FakeBand) -> FluidMedia:
    return FluidMedia(env, band, EqualShare())


ENGINES = pytest.mark.parametrize("make", [EqualShareMedium, fluid], ids=["virtual time", "fluid"])
"""What holds for equal sharing holds in both."""


def step_through(band: FakeBand, jobs: Sequence[Job]) -> list[tuple[float, float]]:
    """Send by stepping from event to event, each transfer's bits at its rate over n; ends and airtimes."""
    waiting, active = list(range(len(jobs))), dict[int, float]()
    airtime_s, sent = [0.0] * len(jobs), dict[int, tuple[float, float]]()
    now, block = 0.0, 0
    while waiting or active:  # those without a rate take no time
        while waiting and jobs[waiting[0]][0] <= now:
            number = waiting.pop(0)
            active[number] = jobs[number][2]
        rates = {i: band.rate_bps(jobs[i][1], block) for i in active}
        on_air = [i for i in active if rates[i] > 0]
        speed = {i: rates[i] / len(on_air) for i in on_air}
        ends_s = {i: now + active[i] / speed[i] for i in on_air}
        t_s = min([*ends_s.values(), jobs[waiting[0]][0] if waiting else math.inf, (block + 1) * band.block_s])
        for i in on_air:
            active[i] -= speed[i] * (t_s - now)
            airtime_s[i] += (t_s - now) / len(on_air)
        for i in [i for i, end_s in ends_s.items() if end_s <= t_s * (1 + 1e-15)]:
            del active[i]
            sent[i] = t_s, airtime_s[i]
        now = t_s
        block += now >= (block + 1) * band.block_s
    return [sent[i] for i in range(len(jobs))]


def assert_ends(found: Sequence[Sent], expected: Sequence[tuple[float, float]]) -> None:
    """Compare ends and airtimes; all must have been delivered."""
    assert {s.ended.outcome for s in found} == {"delivered"}
    np.testing.assert_allclose([(s.t_end_s, s.airtime_s) for s in found], expected, rtol=1e-9, atol=1e-12)


# --- equal sharing, in both engines ------------------------------------------------------------------


@ENGINES
def test_a_lone_transfer_takes_its_bits_over_its_rate(make) -> None:
    [sent] = send_all(make, FakeBand([[10.0]]), [(3.0, 0, 25.0)])
    assert sent.t_end_s == 5.5
    assert sent.ended.bits_sent == 25.0
    assert sent.ended.legs[0] == (2.5, 2.5, 0.0, 0.0, 0.0, 0.0, math.inf, 10.0)


@ENGINES
def test_two_that_overlap_share_the_time_not_the_rate(make) -> None:
    # Link 0 at 10 bit/s alone until 1 s: 10 of 30 bits. Then 5 bit/s, while link 1 (100 bit/s) gets 50
    # bit/s for its 100 bits until 3 s. The 10 bits left go alone, until 4 s.
    sent = send_all(make, FakeBand([[10.0], [100.0]]), [(0.0, 0, 30.0), (1.0, 1, 100.0)])
    assert_ends(sent, [(4.0, 3.0), (3.0, 1.0)])


@ENGINES
def test_rates_change_at_block_boundaries(make) -> None:
    # 10 bit/s until 2 s, 40 after: 20 + 30 bits, the latter in 0.75 s.
    assert_ends(send_all(make, FakeBand([[10.0, 40.0]], 2.0), [(0.0, 0, 50.0)]), [(2.75, 2.75)])
    # Two share: 5 bit/s each until 2 s, then 20: both have 10 of 50 bits, 40 left in 2 s.
    assert_ends(send_all(make, FakeBand([[10.0, 40.0]], 2.0), [(0.0, 0, 50.0)] * 2), [(4.0, 2.0)] * 2)


@ENGINES
def test_a_transfer_waits_off_air_through_a_block_without_a_rate(make) -> None:
    # 10 bits, none for a second, the other 10.
    assert_ends(send_all(make, FakeBand([[10.0, 0.0, 10.0]], 1.0), [(0.0, 0, 20.0)]), [(3.0, 2.0)])
    # Started in such a block, beside a transfer that has the medium to itself: 10 of 20 bits, then 5 of 10 a second.
    sent = send_all(make, FakeBand([[0.0, 10.0], [10.0, 10.0]], 1.0), [(0.0, 0, 5.0), (0.0, 1, 20.0)])
    assert_ends(sent, [(2.0, 0.5), (2.5, 2.0)])
    # Silent again, with what it had until then.
    sent = send_all(make, FakeBand([[10.0, 0.0, 10.0], [10.0]], 1.0), [(0.0, 0, 10.0), (0.0, 1, 20.0)])
    assert_ends(sent, [(3.0, 1.0), (3.0, 2.0)])


@ENGINES
def test_one_whose_last_bit_is_sent_as_a_block_ends_does_not_wait_for_a_rate(make) -> None:
    # Link 0 sends 2 bits alone and 1 shared, its third bit at 1 s sharp, when another transfer starts and
    # its own rate becomes 0.
    band, jobs = FakeBand([[8.0, 0.0, 8.0], [4.0, 4.0]], 1.0), [(0.5, 0, 3.0), (0.75, 1, 8.0), (1.0, 1, 1.0)]
    sent = send_all(make, band, jobs)
    assert (sent[0].t_end_s, sent[0].airtime_s) == (1.0, 0.375)
    assert_ends(sent, step_through(band, jobs))


@ENGINES
def test_a_link_that_never_has_a_rate_is_an_error(make) -> None:
    with pytest.raises(RunError, match="link 0 can never end"):
        send_all(make, FakeBand([[0.0]]), [(0.0, 0, 1.0)])


@ENGINES
def test_those_that_start_together_and_are_as_long_end_together(make) -> None:
    sent = send_all(make, FakeBand([[10.0]]), [(1.0, 0, 10.0)] * 7)
    assert len({s.t_end_s for s in sent}) == 1
    assert_ends(sent, [(8.0, 1.0)] * 7)


@ENGINES
def test_one_that_arrives_as_another_ends_has_the_medium_to_itself(make) -> None:
    sent = send_all(make, FakeBand([[10.0]]), [(0.0, 0, 10.0), (1.0, 0, 10.0)])
    assert_ends(sent, [(1.0, 1.0), (2.0, 1.0)])


@ENGINES
@pytest.mark.parametrize("block_s", [0.1, 1 / 3, 0.05])
def test_a_start_at_a_boundary_has_the_new_blocks_rate(block_s: float, make) -> None:
    # n · block_s is a float on either side of the boundary; the block that begins there counts.
    for n in range(1, 200):
        table = [[1e-3] * n + [10.0] + [1e-3] * 3]
        [sent] = send_all(make, FakeBand(table, block_s), [(n * block_s, 0, 5.0 * block_s)])
        assert sent.airtime_s == pytest.approx(0.5 * block_s, rel=1e-9)


@ENGINES
def test_airtime_is_exact_where_the_clock_is_coarse(make) -> None:
    # At 1e8 s the clock's steps are 1.5e-8 s.
    sent = send_all(make, FakeBand([[1.0], [1e9]]), [(0.0, 0, 1e8), (1e8 + 1.0, 1, 1.0)])
    assert sent[1].airtime_s == pytest.approx(1e-9, rel=1e-12)


@ENGINES
def test_tiny_and_huge_transfers_side_by_side(make) -> None:
    band = FakeBand([[1e6]])
    jobs = [(0.0, 0, 1e12), *((1000.0 * k, 0, 10.0**-k) for k in range(1, 10)), (5e5, 0, 0.0)]
    sent = send_all(make, band, jobs)
    assert_ends(sent, step_through(band, jobs))
    assert (sent[-1].t_end_s, sent[-1].airtime_s) == (5e5, 0.0)
    assert sent[0].airtime_s == pytest.approx(1e6, rel=1e-12)


@ENGINES
def test_done_may_start_the_next_transfer(make) -> None:
    env = Environment()
    media = make(env, FakeBand([[10.0]]))
    seen: list[tuple[float, int]] = []

    def done(left: int, ended) -> None:
        seen.append((env.now, media.num_active))
        if left:
            media.start((0,), 10.0, done, left - 1)

    media.start((0,), 10.0, done, 3)
    env.run()
    assert seen == [(1.0, 0), (2.0, 0), (3.0, 0), (4.0, 0)]  # out before it is told


@ENGINES
def test_ends_at_one_instant_are_told_in_order_of_start(make) -> None:
    env = Environment()
    media = make(env, FakeBand([[1.0], [2.0], [4.0]]))
    order: list[int] = []
    for number, (link, bits) in enumerate([(2, 4.0), (0, 1.0), (1, 2.0), (0, 1.0)]):
        media.start((link,), bits, lambda payload, ended: order.append(payload), number)
    env.run()
    assert env.now == 4.0
    assert order == [0, 1, 2, 3]


@ENGINES
def test_an_abort_ends_what_uses_the_link_at_once(make) -> None:
    # Both at 5 bit/s until 2 s; then link 1 is alone.
    sent = send_all(make, FakeBand([[10.0], [10.0]]), [(0.0, 0, 100.0), (0.0, 1, 20.0)], [(2.0, (0,))])
    assert (sent[0].t_end_s, sent[0].ended.outcome, sent[0].ended.bits_sent) == (2.0, "link_down", 10.0)
    assert sent[0].airtime_s == 1.0
    assert (sent[1].t_end_s, sent[1].ended.outcome) == (3.0, "delivered")


@ENGINES
def test_an_abort_at_the_last_bit_comes_too_late(make) -> None:
    [sent] = send_all(make, FakeBand([[10.0]]), [(0.0, 0, 10.0)], [(1.0, (0,))])
    assert (sent.t_end_s, sent.ended.outcome) == (1.0, "delivered")


@ENGINES
def test_an_abort_at_the_start_and_of_idle_links(make) -> None:
    env = Environment()
    media = make(env, FakeBand([[10.0], [10.0]]))
    media.abort((0, 1), "link_down")
    ends = []
    media.start((0,), 5.0, lambda payload, ended: ends.append((payload, ended.outcome, ended.bits_sent)), "a")
    media.abort((1,), "link_down")
    assert ends == []
    media.abort((0,), "link_down")
    assert ends == [("a", "link_down", 0.0)]
    env.run()
    assert media.num_active == 0


@ENGINES
def test_a_transfer_without_a_rate_for_too_long_is_an_outage(make) -> None:
    # Link 0 has sent 5 bits when silence begins at 1 s. From then on link 1 is alone with the 15 bits it has left;
    # half a second later link 0 gives up.
    band = FakeBand([[10.0, 0.0], [10.0]], 1.0, outage_timeout_s=0.5)
    sent = send_all(make, band, [(0.0, 0, 100.0), (0.0, 1, 20.0)])
    assert (sent[0].t_end_s, sent[0].ended.outcome) == (1.5, "outage")
    assert sent[0].ended.bits_sent == pytest.approx(5.0, rel=1e-12)
    assert sent[0].airtime_s == pytest.approx(0.5, rel=1e-12)
    assert (sent[1].t_end_s, sent[1].ended.outcome) == (2.5, "delivered")


@ENGINES
def test_silence_is_counted_anew_after_each_block_with_a_rate(make) -> None:
    band = FakeBand([[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]], 1.0, outage_timeout_s=2.5)
    [sent] = send_all(make, band, [(0.0, 0, 1.5)])
    assert (sent.t_end_s, sent.ended.outcome) == (5.5, "delivered")
    band = FakeBand([[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]], 1.0, outage_timeout_s=1.5)
    [sent] = send_all(make, band, [(1.0, 0, 1.5)])
    assert (sent.t_end_s, sent.ended.outcome, sent.ended.bits_sent) == (4.5, "outage", 1.0)


def random_jobs(seed: int, count: int, load: float, size: Callable[[np.ndarray], np.ndarray]) -> list[Job]:
    streams, index = RandomStreams(seed), np.arange(count)
    t_s = np.cumsum(streams.exponential("gap", index)) / load
    links = (4 * streams.uniform("link", index)).astype(int)
    return list(zip(t_s.tolist(), links.tolist(), size(streams.uniform("size", index)).tolist(), strict=True))


@pytest.mark.parametrize(("make", "count"), [(EqualShareMedium, 1000), (fluid, 150)], ids=["virtual time", "fluid"])
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
def test_random_transfers_as_stepping_through_time(block_s: float, load: float, size, make, count: int) -> None:
    blocks = 1 if math.isinf(block_s) else 3000
    table = RandomStreams(5).exponential("rate", np.arange(4)[:, None], np.arange(blocks)) + 0.2
    table[:, :-1][table[:, :-1] < 0.4] = 0.0  # outage, but not for good
    band, jobs = FakeBand(table.tolist(), block_s), random_jobs(11, count, load, size)
    found = send_all(make, band, jobs)
    assert_ends(found, step_through(band, jobs))
    assert max(s.t_end_s for s in found) > jobs[-1][0]


@pytest.mark.parametrize(("make", "count"), [(EqualShareMedium, 600), (fluid, 300)], ids=["virtual time", "fluid"])
def test_equal_times_and_sizes_on_a_lattice_as_stepping_through_time(make, count: int) -> None:
    # Everything is a multiple of 1/4, so arrivals, ends and boundaries coincide all the time.
    draws = RandomStreams(3).uniform("lattice", np.arange(count)[:, None], np.arange(3))
    t_s = np.sort(np.floor(2 * count * draws[:, 0]) / 4)
    jobs = list(
        zip(t_s.tolist(), (2 * draws[:, 1]).astype(int).tolist(), np.ceil(4 * draws[:, 2]).tolist(), strict=True)
    )
    band = FakeBand([[4.0, 2.0, 8.0] * 400, [8.0, 0.0, 4.0] * 400], 1.0)
    assert_ends(send_all(make, band, jobs), step_through(band, jobs))


def test_both_engines_agree_on_aborts_and_outages() -> None:
    table = RandomStreams(8).exponential("rate", np.arange(4)[:, None], np.arange(400))
    table[table < 0.6] = 0.0
    table[:, -1] = 1.0
    jobs = random_jobs(4, 200, 0.9, lambda u: -np.log(u))
    aborts = [(7.0 * k, (k % 4,)) for k in range(1, 30)]
    fast, slow = (
        send_all(make, FakeBand(table.tolist(), 0.9, outage_timeout_s=2.0), jobs, aborts)
        for make in (EqualShareMedium, fluid)
    )
    assert [s.ended.outcome for s in fast] == [s.ended.outcome for s in slow]
    assert {s.ended.outcome for s in fast} == {"delivered", "outage", "link_down"}
    for of in (lambda s: s.t_end_s, lambda s: s.airtime_s, lambda s: s.ended.bits_sent):
        np.testing.assert_allclose([of(s) for s in fast], [of(s) for s in slow], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "engine"),
    [
        ({}, EqualShareMedium),
        ({"is_lossless": False}, FluidMedia),
        ({"is_coupled": True}, FluidMedia),
        ({"medium": [0, 1]}, FluidMedia),
    ],
)
def test_equal_share_takes_virtual_time_where_it_is_exact(change, engine) -> None:
    assert type(EqualShare().media(Environment(), FakeBand([[1.0], [1.0]], **change))) is engine


# --- the other policies ------------------------------------------------------------------------------


def ends(policy: Sharing, band: FakeBand, jobs: Sequence[Job]) -> list[float]:
    sent = send_all(policy.media, band, jobs)
    assert {s.ended.outcome for s in sent} == {"delivered"}
    return [s.t_end_s for s in sent]


def test_fifo_serves_in_order_of_start() -> None:
    jobs = [(0.0, 0, 10.0), (0.1, 1, 5.0), (0.2, 0, 20.0)]
    sent = send_all(Fifo().media, FakeBand([[10.0], [10.0]]), jobs)
    assert_ends(sent, [(1.0, 1.0), (1.5, 0.5), (3.5, 2.0)])


def test_waiting_for_ones_turn_is_no_outage() -> None:
    band = FakeBand([[1.0], [1.0]], outage_timeout_s=0.5)
    assert ends(Fifo(), band, [(0.0, 0, 10.0), (0.0, 1, 1.0)]) == [10.0, 11.0]


ALL = [EqualShare(), Fifo(), RoundRobin(slot_s=0.25), ProportionalFair(slot_s=0.25), Fdma(), MinMaxLatency(), MaxMin(),
       CsmaCa()]  # fmt: skip


@pytest.mark.parametrize("coupled", [False, True], ids=["one medium", "coupled"])
@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.kind)
def test_mute_links_take_no_time_and_no_energy(policy: Sharing, coupled: bool) -> None:
    """As fast as alone beside a link that carries nothing, whichever came first; the mute one ends as an outage."""
    settings = {"law": lambda sinr: 1e4 * shannon(sinr), "outage_timeout_s": 2.0, "is_coupled": coupled}
    [alone] = send_all(policy.media, FakeBand([[3.0]], **settings), [(0.0, 0, 2e4)])
    jobs = [(0.0, 0, 1e4), (0.0, 1, 2e4), (0.0, 0, 3e4)]
    mute, good, other = send_all(policy.media, FakeBand([[0.0], [3.0]], **settings), jobs)
    assert (good.t_end_s, good.ended) == (alone.t_end_s, alone.ended)
    for one in (mute, other):
        assert (one.t_end_s, one.ended.outcome, one.ended.bits_sent) == (2.0, "outage", 0.0)
        assert one.ended.legs[0][:2] == (0.0, 0.0)


def test_mute_links_do_not_interfere_nor_does_their_interference_make_others_mute() -> None:
    # Link 1 is out of range. If it sent, link 0 would have a rate of 10/11, below the least that its law knows.
    coupling = np.array([[0.0, 0.0], [10.0, 0.0]])
    band = FakeBand(
        [[10.0], [0.1]], medium=[0, 1], is_coupled=True, interference=coupling, outage_timeout_s=3.0,
        law=lambda sinr: np.where(sinr < 1.0, 0.0, sinr),
    )  # fmt: skip
    good, mute = send_all(EqualShare().media, band, [(0.0, 0, 20.0), (0.0, 1, 1.0)])
    assert (good.t_end_s, good.ended.legs[0].sinr) == (2.0, 10.0)
    assert (mute.t_end_s, mute.ended.outcome, mute.airtime_s) == (3.0, "outage", 0.0)


def test_a_link_made_mute_by_interference_waits_until_that_ends() -> None:
    coupling = np.array([[0.0, 10.0], [0.0, 0.0]])
    band = FakeBand(
        [[10.0], [5.0]], medium=[0, 1], is_coupled=True, interference=coupling, outage_timeout_s=3.0,
        law=lambda sinr: np.where(sinr < 1.0, 0.0, sinr),
    )  # fmt: skip
    sent = send_all(EqualShare().media, band, [(0.0, 0, 20.0), (0.0, 1, 10.0)])
    assert_ends(sent, [(2.0, 2.0), (4.0, 2.0)])


def test_a_route_with_a_mute_leg_takes_no_time_on_the_others() -> None:
    band = FakeBand([[10.0], [0.0]], medium=[0, 1], is_coupled=True, outage_timeout_s=5.0)
    route, alone = send_all(MaxMin().media, band, [(0.0, (0, 1), 20.0), (0.0, (0,), 20.0)])
    assert (route.t_end_s, route.ended.outcome) == (5.0, "outage")
    assert [leg.tx_airtime_s for leg in route.ended.legs] == [0.0, 0.0]
    assert alone.t_end_s == 2.0


def test_half_duplex_radios_give_no_time_to_mute_links() -> None:
    band = FakeBand(
        [[10.0], [0.0]], medium=[0, 1], is_coupled=True, sender=[0, 1], receiver=[1, 2], half_duplex=True,
        outage_timeout_s=5.0,
    )  # fmt: skip
    sent = send_all(EqualShare().media, band, [(0.0, 0, 10.0), (0.0, 1, 10.0)])
    assert [(s.t_end_s, s.airtime_s) for s in sent] == [(1.0, 1.0), (5.0, 0.0)]


def test_too_weak_for_the_whole_band_may_do_for_a_part() -> None:
    """Alone, link 0 is below its least SINR of 2; on half the band it has twice as much."""
    law = lambda sinr: np.where(sinr < 2.0, 0.0, 10.0)  # noqa: E731
    band = FakeBand([[1.5], [30.0]], law=law, outage_timeout_s=4.0)
    weak, strong = send_all(Fdma().media, band, [(0.0, 0, 10.0), (0.0, 1, 20.0)])
    assert (weak.t_end_s, strong.t_end_s, strong.ended.outcome) == (2.0, 3.0, "delivered")
    assert weak.ended.outcome == "delivered"


def test_proportional_fair_remembers_who_was_mute() -> None:
    # Slots of 1 s. Link 0 has two and is mute in the third, which link 1 gets, and the fourth, to catch up.
    band = FakeBand([[1.0, 1.0, 0.0, 1.0], [1.0]], 1.0, outage_timeout_s=9.0)
    policy = ProportionalFair(slot_s=1.0, time_constant_s=1e3)
    sent = send_all(policy.media, band, [(0.0, 0, 3.0), (2.0, 1, 3.0)])
    assert [s.t_end_s for s in sent] == [5.0, 6.0]


def test_fdma_puts_each_senders_power_into_its_part() -> None:
    # Two senders on half the band each, at twice the SINR: log2(1 + 2·3)/2 each, against log2(4)/2 in time.
    band = FakeBand([[3.0], [3.0]], law=shannon)
    sent = send_all(Fdma().media, band, [(0.0, 0, 10.0), (0.0, 1, 10.0)])
    assert_ends(sent, [(20.0 / math.log2(7.0), 20.0 / math.log2(7.0))] * 2)  # on air all the time
    assert sent[0].ended.legs[0].rx_airtime_s == pytest.approx(10.0 / math.log2(7.0))  # the receiver hears both


def test_a_sender_of_several_splits_its_power() -> None:
    # One sender of both: no concentration, so the rates of time sharing, and half its airtime each.
    band = FakeBand([[3.0], [3.0]], law=shannon, sender=[0, 0], receiver=[1, 2])
    sent = send_all(Fdma().media, band, [(0.0, 0, 10.0), (0.0, 1, 10.0)])
    assert_ends(sent, [(10.0, 5.0)] * 2)
    assert sent[0].ended.legs[0].rx_airtime_s == pytest.approx(10.0)


def test_round_robin_gives_whole_turns() -> None:
    # Turns 0 1 0 1 of 1 s: link 0 needs 1.5 s, link 1 needs 2 s and takes over when 0 is done.
    jobs = [(0.0, 0, 15.0), (0.0, 1, 20.0)]
    assert ends(RoundRobin(slot_s=1.0), FakeBand([[10.0], [10.0]]), jobs) == [2.5, 3.5]
    # A third that starts within the first turn gets the third turn.
    jobs = [(0.0, 0, 15.0), (0.0, 1, 10.0), (0.5, 1, 10.0)]
    assert ends(RoundRobin(slot_s=1.0), FakeBand([[10.0], [10.0]]), jobs) == [3.5, 2.0, 3.0]


def test_a_lone_transfer_needs_no_slots() -> None:
    for policy in (RoundRobin(slot_s=1e-6), ProportionalFair(slot_s=1e-6)):
        band = FakeBand([[1.0]])
        assert ends(policy, band, [(0.0, 0, 1000.0)]) == [1000.0]
        assert len(band.activities) == 1


@pytest.mark.parametrize(
    "policy", [RoundRobin(), ProportionalFair(), Fifo(), Fdma(), MinMaxLatency(), MaxMin(), CsmaCa()]
)
def test_links_without_a_rate_for_good_are_an_error(policy: Sharing) -> None:
    with pytest.raises(RunError, match="can never end"):
        ends(policy, FakeBand([[0.0], [0.0]]), [(0.0, 0, 1.0), (0.0, 1, 1.0)])


def test_proportional_fair_serves_the_largest_rate_over_its_average() -> None:
    # Slots of 1 s, averages over 10 s. Both start at 0, ties go by order: 0 first, 1 next. After that link
    # 0's average is less for having been served earlier, but its rate doubles in slot 2 only.
    decay = math.exp(-0.1)
    band = FakeBand([[1.0, 1.0, 2.0, 1.0, 1.0], [1.0]], 1.0)
    jobs = [(0.0, 0, 3.0), (0.0, 1, 3.0)]
    t0, t1 = (1 - decay) * decay, 1 - decay
    assert 2.0 / t0 > 1.0 / t1  # slot 2 to 0: 3 bits, it ends at 3 s
    assert ends(ProportionalFair(slot_s=1.0, time_constant_s=10.0), band, jobs) == [3.0, 5.0]


def test_min_max_latency_makes_all_end_together() -> None:
    band = FakeBand([[1.0], [30.0], [4.0]], law=shannon)
    found = ends(MinMaxLatency(), band, [(0.0, 0, 4.0), (0.0, 1, 50.0), (0.0, 2, 9.0)])
    assert max(found) == pytest.approx(min(found), rel=1e-9)
    assert max(found) < max(ends(Fdma(), band, [(0.0, 0, 4.0), (0.0, 1, 50.0), (0.0, 2, 9.0)]))


def test_max_min_sends_over_whole_routes() -> None:
    # Media 0 and 1 carry 10 and 4 bit/s. A transfer over both and one on medium 0: 4 and 6 bit/s. The short
    # one ends at 1 s, when 16 of 20 bits of the other are left: 4 bit/s still.
    band = FakeBand([[10.0], [4.0]], medium=[0, 1], is_coupled=True)
    sent = send_all(MaxMin().media, band, [(0.0, (0, 1), 20.0), (0.0, (0,), 6.0)])
    assert [s.t_end_s for s in sent] == [5.0, 1.0]
    assert [leg.tx_airtime_s for leg in sent[0].ended.legs] == pytest.approx([2.0, 5.0])  # 20 bits over 10 and 4 bit/s


def test_an_abort_breaks_a_route_wherever_it_goes_through() -> None:
    band = FakeBand([[10.0], [4.0]], medium=[0, 1], is_coupled=True)
    sent = send_all(MaxMin().media, band, [(0.0, (0, 1), 20.0), (0.0, (0,), 60.0)], [(2.0, (1,))])
    assert [s.ended.outcome for s in sent] == ["link_down", "delivered"]
    assert sent[0].ended.bits_sent == pytest.approx(8.0)
    assert len(sent[0].ended.legs) == 2
    assert sent[1].t_end_s == pytest.approx(2.0 + 48.0 / 10.0)


def test_csma_gives_equal_packets_so_a_slow_station_slows_everybody() -> None:
    policy, bits = CsmaCa(), 8.0 * 1500 * 1000
    fast = ends(policy, FakeBand([[54e6], [54e6]]), [(0.0, 0, bits), (0.0, 1, bits)])
    mixed = ends(policy, FakeBand([[54e6], [6e6]]), [(0.0, 0, bits), (0.0, 1, bits)])
    assert fast[0] == fast[1]
    assert mixed[0] == pytest.approx(mixed[1])  # equal rates
    assert mixed[0] > 3 * fast[0]
    alone = ends(policy, FakeBand([[54e6]]), [(0.0, 0, bits)])[0] / 1000
    # A lone station: DIFS 34, backoff of 7.5 slots of 9, preamble 20, 1536 bytes, SIFS 16, ACK 44 µs.
    assert alone == pytest.approx(34e-6 + 67.5e-6 + 20e-6 + 8 * 1536 / 54e6 + 16e-6 + 44e-6, rel=1e-12)


def test_stations_contend_not_transfers() -> None:
    bits = 8.0 * 1500 * 100
    one = ends(CsmaCa(), FakeBand([[54e6]] * 2, sender=[0, 0]), [(0.0, 0, bits), (0.0, 1, bits)])
    assert one == pytest.approx([2 * t for t in ends(CsmaCa(), FakeBand([[54e6]]), [(0.0, 0, bits)])] * 2)


# --- loss, interference, duty --------------------------------------------------------------------------


def test_loss_and_retransmissions_are_summed_over_what_is_sent() -> None:
    band = FakeBand(
        [[10.0]],
        is_lossless=False,
        block_loss=0.1,
        block_bits=50.0,
        mean_transmissions=1.5,
        retransmission_delay_s=8e-3,
    )
    sent = send_all(EqualShare().media, band, [(0.0, 0, 1000.0)] * 2)
    for one in sent:  # 20 blocks each
        leg = one.ended.legs[0]
        assert math.exp(-leg.loss_exponent) == pytest.approx(0.9**20)
        assert leg.retransmissions == pytest.approx(10.0)
        assert (leg.last_retransmissions, leg.retransmission_delay_s, leg.block_bits) == (0.5, 8e-3, 50.0)


LOSSY = {"is_lossless": False, "block_loss": 0.1, "block_bits": 50.0, "mean_transmissions": 1.5}


def test_a_short_payload_risks_a_whole_block() -> None:
    [sent] = send_all(EqualShare().media, FakeBand([[10.0]], **LOSSY), [(0.0, 0, 5.0)])
    leg = sent.ended.legs[0]
    assert math.exp(-leg.loss_exponent) == pytest.approx(0.9)
    assert (leg.retransmissions, leg.block_bits) == (pytest.approx(0.5), 5.0)
    [nothing] = send_all(EqualShare().media, FakeBand([[10.0]], **LOSSY), [(0.0, 0, 0.0)])
    assert nothing.ended.legs[0].loss_exponent == 0.0


def test_a_part_of_the_band_carries_a_part_of_a_block() -> None:
    """On half the band there are twice as many blocks to a payload, each as likely to be lost."""
    for policy in (Fdma(), MinMaxLatency()):
        sent = send_all(policy.media, FakeBand([[10.0]] * 2, law=shannon, **LOSSY), [(0.0, 0, 1e3), (0.0, 1, 1e3)])
        for one in sent:
            leg = one.ended.legs[0]
            assert leg.loss_exponent == pytest.approx(-40 * math.log(0.9), rel=1e-6)
            assert (leg.retransmissions, leg.block_bits) == (pytest.approx(20.0, rel=1e-6), pytest.approx(25.0, 1e-6))


def test_blocks_that_are_always_lost_are_sent_and_lost() -> None:
    [sent] = send_all(EqualShare().media, FakeBand([[10.0]], **{**LOSSY, "block_loss": 1.0}), [(0.0, 0, 100.0)])
    assert (sent.t_end_s, sent.ended.outcome) == (10.0, "delivered")  # off air; that it is lost is for the network
    assert math.exp(-sent.ended.legs[0].loss_exponent) < 1e-20


def test_media_that_interfere_are_planned_together() -> None:
    # Alone: 10 bit/s each. Together: SINR 10/(1 + 1) = 5. Link 1 has sent 50 bits at 10 s.
    coupling = np.array([[0.0, 1.0], [1.0, 0.0]])
    band = FakeBand([[10.0], [10.0]], medium=[0, 1], is_coupled=True, interference=coupling)
    sent = send_all(EqualShare().media, band, [(0.0, 0, 150.0), (0.0, 1, 50.0)])
    assert [s.t_end_s for s in sent] == pytest.approx([20.0, 10.0])
    assert sent[0].airtime_s == pytest.approx(20.0)
    assert sent[0].ended.legs[0].sinr == 5.0
    assert band.activities == [([0, 1], [1.0, 1.0]), ([0], [1.0])]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (EqualShare(), [0.5, 0.5, 1.0]),
        (Fifo(), [1.0, 0.0, 1.0]),
        (RoundRobin(slot_s=0.1), [1.0, 0.0, 1.0]),
        (Fdma(), [1.0, 1.0, 1.0]),
        (CsmaCa(), [0.5, 0.5, 1.0]),
        (MaxMin(), [0.5, 0.5, 1.0]),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_what_other_media_see_of_a_policy(policy: Sharing, expected: list[float]) -> None:
    band = FakeBand([[1.0]] * 3, medium=[0, 0, 1], is_coupled=True, sender=[0, 1, 2])
    ends(policy, band, [(0.0, 0, 1.0), (0.0, 1, 1.0), (0.0, 2, 1.0)])
    assert band.activities[0] == ([0, 1, 2], expected)


def test_half_duplex_radios_have_half_of_everything() -> None:
    band = FakeBand([[10.0], [10.0]], medium=[0, 1], is_coupled=True, sender=[0, 1], receiver=[1, 2], half_duplex=True)
    sent = send_all(EqualShare().media, band, [(0.0, 0, 10.0), (0.0, 1, 10.0)])
    assert_ends(sent, [(2.0, 1.0)] * 2)
    assert band.activities[0] == ([0, 1], [0.5, 0.5])


def test_starts_at_one_instant_are_planned_for_once() -> None:
    band = FakeBand([[10.0]] * 50)
    sent = send_all(fluid, band, [(1.0, link, 10.0) for link in range(50)])
    assert {s.t_end_s for s in sent} == {51.0}
    assert len(band.activities) == 1


# --- what a policy may do ------------------------------------------------------------------------------


class Stuck(Sharing):
    """Makes plans that are over at once."""

    kind = "stuck"

    def plan(self, load):
        return Plan(load.only(0), valid_s=load.t_s)


class Hasty(Sharing):
    """Asks for rates before they are known."""

    kind = "hasty"

    def activity(self, load):
        return load.rate_bps

    def plan(self, load):
        return Plan(load.only(0))


def test_plans_that_never_last_are_an_error() -> None:
    with pytest.raises(RunError, match="'stuck' made a plan at 0"):
        ends(Stuck(), FakeBand([[1.0]]), [(0.0, 0, 1.0)])


def test_rates_are_not_known_before_activity() -> None:
    with pytest.raises(RuntimeError, match="in plan"):
        ends(Hasty(), FakeBand([[1.0]]), [(0.0, 0, 1.0)])


def test_a_policy_without_a_plan_is_none() -> None:
    class Lazy(Sharing):
        """No plan."""

        kind = "lazy"

    with pytest.raises(TypeError, match="plan"):
        Lazy()


def test_the_package_needs_no_scipy() -> None:
    import subprocess

    code = "import sys, nmoe_sim.engine.sharing; print([m for m in ('scipy', 'torch', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
