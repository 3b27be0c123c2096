"""What holds for every way of sharing, on random loads; and what makes rates max-min fair."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fake_band import FakeBand, send_all, shannon
from hypothesis import given, settings
from hypothesis import strategies as st
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
    ProportionalFair,
    RoundRobin,
    max_min_rates,
)

POLICIES = [
    EqualShare(),
    Fdma(),
    Fifo(),
    RoundRobin(slot_s=0.3),
    ProportionalFair(slot_s=0.3, time_constant_s=2.0),
    MinMaxLatency(),
    MaxMin(),
    CsmaCa(),
]
IN_TIME = ("equal_share", "fifo", "round_robin", "proportional_fair", "max_min")
"""Policies in which at most one sender of a medium is on air."""

# --- max-min fair rates ------------------------------------------------------------------------------

NAMES = "abcdef"


@st.composite
def networks(draw):
    capacities = {name: draw(st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0])) for name in NAMES}
    routes = draw(st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), min_size=1, max_size=12))
    caps = draw(st.lists(st.none() | st.floats(0, 5), min_size=len(routes), max_size=len(routes)))
    return capacities, routes, caps


@given(networks())
@settings(max_examples=200)
def test_every_flow_is_at_its_cap_or_largest_on_a_full_resource(network) -> None:
    capacities, routes, caps = network
    rates = max_min_rates(capacities, routes, caps)
    used = {name: sum(r * route.count(name) for r, route in zip(rates, routes, strict=True)) for name in NAMES}
    for name in NAMES:
        assert used[name] <= capacities[name] + 1e-9
    for rate, route, cap in zip(rates, routes, caps, strict=True):
        assert rate >= 0
        assert cap is None or rate <= cap
        assert rate == cap or any(
            used[name] >= capacities[name] - 1e-9
            and rate >= max(r for r, other in zip(rates, routes, strict=True) if name in other) - 1e-9
            for name in route
        )


@given(networks(), st.randoms(use_true_random=False))
def test_rates_do_not_depend_on_the_order_of_flows(network, random) -> None:
    capacities, routes, caps = network
    order = list(range(len(routes)))
    random.shuffle(order)
    shuffled = max_min_rates(capacities, [routes[i] for i in order], [caps[i] for i in order])
    np.testing.assert_allclose(shuffled, max_min_rates(capacities, routes, caps)[order], rtol=1e-12, atol=1e-12)


# --- media -------------------------------------------------------------------------------------------


@st.composite
def loads(draw, num_links: int = 4):
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    count = draw(st.integers(1, 15))
    t_s = np.sort(rng.integers(0, 40, count) / 4)  # some at one instant
    links, bits = rng.integers(0, num_links, count), rng.exponential(5.0, count)
    table = rng.exponential(4.0, (num_links, 60)) * (rng.random((num_links, 60)) > 0.2)
    table[:, -1] = 1.0
    return table.tolist(), list(zip(t_s.tolist(), links.tolist(), bits.tolist(), strict=True))


def band_of(table: list[list[float]], **settings) -> FakeBand:
    interference = 0.3 * np.ones((4, 4))
    given = {"medium": [0, 0, 1, 1], "sender": [0, 0, 2, 3], "receiver": [1, 2, 4, 4], "is_coupled": True}
    return FakeBand(table, 1.3, shannon, interference=interference, **(given | settings))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.kind)
@given(load=loads())
@settings(max_examples=12)
def test_all_that_was_asked_for_is_sent_within_the_media(policy, load) -> None:
    table, jobs = load
    jobs = [(t_s, link, bits * (1e4 if policy.kind == "csma_ca" else 1.0)) for t_s, link, bits in jobs]
    band = band_of(table)
    if policy.kind == "csma_ca":
        band.law = lambda sinr: 1e4 * shannon(sinr)
    sent = send_all(policy.media, band, jobs)
    last_s = max(s.t_end_s for s in sent)
    best = [sum(np.diff(_until(last_s)) * band.law(np.array(row))[: len(_until(last_s)) - 1]) for row in table]
    for (t_s, _, bits), one in zip(jobs, sent, strict=True):
        assert (one.ended.outcome, one.ended.bits_sent) == ("delivered", bits)
        assert one.t_end_s >= t_s
        assert 0 <= one.ended.legs[0].tx_airtime_s <= (one.t_end_s - t_s) * (1 + 1e-9) + 1e-9
    for link in range(4):
        if policy.kind not in ("fdma", "min_max_latency"):  # in time, no link carries more than alone
            assert sum(bits for _, i, bits in jobs if i == link) <= best[link] * (1 + 1e-9) + 1e-9
    first_s = min(t_s for t_s, _, _ in jobs)
    for medium in (0, 1):
        airtime_s = sum(
            one.ended.legs[0].tx_airtime_s for (_, link, _), one in zip(jobs, sent, strict=True) if link // 2 == medium
        )
        if policy.kind in IN_TIME:
            assert airtime_s <= (last_s - first_s) * (1 + 1e-9)


def _until(last_s: float) -> np.ndarray:
    """Return boundaries of blocks from 0 to ``last_s``; the last column of the table lasts."""
    whole = np.minimum(np.arange(60) * 1.3, last_s)
    return np.append(whole, last_s)


@given(load=loads())
@settings(max_examples=30)
def test_fluid_and_virtual_time_are_the_same(load) -> None:
    table, jobs = load
    fast, slow = (
        send_all(make, FakeBand(table, 1.3, outage_timeout_s=2.0), jobs, [(3.1, (1,)), (6.2, (0, 2))])
        for make in (EqualShareMedium, lambda env, band: FluidMedia(env, band, EqualShare()))
    )
    assert [s.ended.outcome for s in fast] == [s.ended.outcome for s in slow]
    for of in (lambda s: s.t_end_s, lambda s: s.airtime_s, lambda s: s.ended.bits_sent):
        np.testing.assert_allclose([of(s) for s in fast], [of(s) for s in slow], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.kind)
@given(load=loads(), cuts=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 3)), max_size=4))
@settings(max_examples=8)
def test_aborts_and_outages_leave_nothing_behind(policy, load, cuts) -> None:
    table, jobs = load
    aborts = sorted((k / 4, (link,)) for k, link in cuts)
    sent = send_all(policy.media, band_of(table, outage_timeout_s=1.7), jobs, aborts)
    for (t_s, _, bits), one in zip(jobs, sent, strict=True):
        assert 0 <= one.ended.bits_sent <= bits
        assert (one.ended.bits_sent == bits) == (one.ended.outcome == "delivered")
        if one.ended.outcome == "link_down":
            assert any(one.t_end_s == cut_s for cut_s, _ in aborts)
        if one.ended.outcome == "outage":
            assert one.t_end_s - t_s >= 1.7 * (1 - 1e-9)


@pytest.mark.parametrize("policy", [EqualShare(), Fdma(), MinMaxLatency(), CsmaCa()], ids=lambda policy: policy.kind)
@given(load=loads(), random=st.randoms(use_true_random=False))
@settings(max_examples=8)
def test_the_order_of_starts_at_one_instant_does_not_matter(policy, load, random) -> None:
    table, jobs = load
    together = [(math.floor(t_s / 5) * 5.0, link, bits) for t_s, link, bits in jobs]
    order = list(range(len(jobs)))
    random.shuffle(order)
    order.sort(key=lambda i: together[i][0])
    plain = send_all(policy.media, band_of(table), together)
    mixed = send_all(policy.media, band_of(table), [together[i] for i in order])
    np.testing.assert_allclose([s.t_end_s for s in mixed], [plain[i].t_end_s for i in order], rtol=1e-6)


@given(load=loads())
@settings(max_examples=10)
def test_round_robin_comes_to_equal_share_in_short_slots(load) -> None:
    table, jobs = load
    slot_s = 0.02
    table = (np.array(table) + 1.0).tolist()
    fine, coarse = (
        [s.t_end_s for s in send_all(RoundRobin(slot_s=x).media, FakeBand(table, 1.3), jobs)] for x in (slot_s, 2.0)
    )
    fluid = [s.t_end_s for s in send_all(EqualShare().media, FakeBand(table, 1.3), jobs)]
    # What a transfer lacks is a slot of each of the others, on rates that differ from block to block.
    error_s = np.max(np.abs(np.subtract(fine, fluid)))
    assert error_s <= 10 * slot_s * len(jobs)
    assert error_s <= np.max(np.abs(np.subtract(coarse, fluid))) + slot_s * len(jobs)


def test_media_without_work_plan_nothing() -> None:
    env, band = Environment(), band_of([[1.0]] * 4)
    media = FluidMedia(env, band, RoundRobin())
    env.run(until=10.0)
    assert media.num_active == 0
    assert band.activities == []
