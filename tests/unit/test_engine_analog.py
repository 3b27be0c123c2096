"""Analog payloads: two values in a symbol, a symbol a second and hertz, whatever the SNR; on wires, bytes."""

from __future__ import annotations

import math

import pytest
from fake_radio import Given, Proportional, network, radio, simulation, table

from channels.units import thermal_noise_w
from nmoe_sim.engine.links import Wired
from nmoe_sim.engine.radio.link_adaptation import Nr, Shannon
from nmoe_sim.engine.sharing import Fdma, MaxMin

BANDWIDTH_HZ = 1e6
NUM_VALUES = 1000
N_BYTES = 4 * NUM_VALUES
NOISE_W = float(thermal_noise_w(BANDWIDTH_HZ, 0.0))
ALONE_S = NUM_VALUES / 2 / BANDWIDTH_HZ


def gains(values):
    """Gains of pairs in units of the noise on the whole band: a 1 W sender's SINR."""
    return Given(table({pair: gain * NOISE_W for pair, gain in values.items()}))


def run(pairs, values, payloads, *, wired=(), **changes):
    """Send payloads (src, dst, analog) at once; return when each is there, and the rows."""
    live = simulation(network(pairs, wired), radio(channel=gains(values), **changes), analog=True)
    ends_s = {}
    for i, (src, dst, analog) in enumerate(payloads):
        sent = live.network.send(src, dst, N_BYTES, "features", request_id=i, analog=analog)
        sent.callbacks.append(lambda event, i=i: ends_s.__setitem__(i, (live.env.now, event.value)))
    live.env.run()
    return ends_s, live.recorder.arrow("transfers").to_pandas(), live


@pytest.mark.parametrize("gain", [1e-3, 1.0, 1e9])
def test_time_doesnt_depend_on_the_channel_but_the_sinr_is_told(gain):
    ends_s, rows, _ = run(["a-bs0"], {"a>bs0": gain}, [("a", "bs0", True)])
    assert ends_s == {0: (pytest.approx(ALONE_S), True)}
    assert rows["sinr_db"].tolist() == pytest.approx([10 * math.log10(gain)])
    assert rows["airtime_s"].tolist() == pytest.approx([ALONE_S])
    assert rows[["n_bytes", "bytes_sent", "outcome"]].values.tolist() == [[N_BYTES, N_BYTES, "delivered"]]


def test_it_shares_time_with_bits():
    """a's symbols and b's bits take turns on one medium in virtual time."""
    values = {"a>bs0": 1.0, "b>bs0": 8.0}
    ends_s, _, _ = run(["a-bs0", "b-bs0"], values, [("a", "bs0", True), ("b", "bs0", False)])
    bits_s = 8 * N_BYTES / (8.0 * BANDWIDTH_HZ)  # alone: 4 ms, eight times as long
    assert ends_s[0][0] == pytest.approx(2 * ALONE_S)
    assert ends_s[1][0] == pytest.approx(ALONE_S + bits_s)


def test_a_part_of_the_band_carries_that_part_of_the_symbols():
    """Under fdma n transfers have 1/n of the band each: more power there brings no more symbols."""
    values = {"a>bs0": 1.0, "b>bs0": 8.0}
    ends_s, rows, _ = run(["a-bs0", "b-bs0"], values, [("a", "bs0", True), ("b", "bs0", True)], sharing=Fdma())
    assert [t_s for t_s, _ in ends_s.values()] == pytest.approx([2 * ALONE_S] * 2)
    assert rows["airtime_s"].tolist() == pytest.approx([2 * ALONE_S] * 2)


def test_it_is_fluid_or_in_virtual_time_alike():
    values = {"a>bs0": 1.0, "b>bs0": 8.0}
    payloads = [("a", "bs0", True), ("b", "bs0", False), ("b", "bs0", True)]

    def end_to_end(**changes):
        return [t_s for t_s, _ in run(["a-bs0", "b-bs0"], values, payloads, **changes)[0].values()]

    fluid = Proportional(block_loss=1e-12, block_bits=1e12)  # not lossless, so not in virtual time
    assert end_to_end(link_adaptation=fluid) == pytest.approx(end_to_end(), rel=1e-9)


def test_nothing_of_it_is_lost_or_repeated():
    bad = Proportional(block_loss=0.9, block_bits=100.0, mean_transmissions=3.0, retransmission_delay_s=1.0)
    ends_s, rows, _ = run(["a-bs0"], {"a>bs0": 1.0}, [("a", "bs0", True)], link_adaptation=bad)
    assert ends_s == {0: (pytest.approx(ALONE_S), True)}
    assert rows[["retransmissions", "tail_s"]].values.tolist() == [[0.0, 0.0]]


def test_symbols_are_on_what_nr_occupies():
    nr = Nr()
    ends_s, _, _ = run(["a-bs0"], {"a>bs0": 1e3}, [("a", "bs0", True)], link_adaptation=nr, bandwidth_hz=20e6)
    assert ends_s[0][0] == pytest.approx(NUM_VALUES / 2 / nr.occupied_hz(20e6))


def test_hop_by_hop_over_a_wire():
    wire = ("bs0", "bs1", Wired(1e8, 0.25))
    ends_s, rows, live = run(["a-bs0", "b-bs1"], {"a>bs0": 1.0, "bs1>b": 1.0}, [("a", "b", True)], wired=[wire])
    wire_s = 8 * N_BYTES / 1e8 + 0.25
    assert ends_s[0][0] == pytest.approx(2 * ALONE_S + wire_s)
    assert rows["sinr_db"].isna().tolist() == [False, True, False]
    assert live.mean_delay_s("a", "b", N_BYTES, analog=True) == pytest.approx(ends_s[0][0])


def test_end_to_end_all_hops_carry_it_at_once():
    ends_s, _, live = run(["a-bs0", "b-bs0"], {"a>bs0": 1.0, "bs0>b": 1.0}, [("a", "b", True)], sharing=MaxMin())
    assert ends_s[0][0] == pytest.approx(ALONE_S)
    assert live.mean_delay_s("a", "b", N_BYTES, analog=True) == pytest.approx(ALONE_S)


@pytest.mark.parametrize("link_adaptation", [Shannon(), Nr()])
def test_where_nothing_is_heard_it_is_an_outage(link_adaptation):
    changes = {"link_adaptation": link_adaptation, "bandwidth_hz": 20e6, "outage_timeout_s": 0.5}
    ends_s, rows, _ = run(["a-bs0"], {}, [("a", "bs0", True)], **changes)
    assert not ends_s[0][1]
    assert set(rows["outcome"]) == {"outage"}
    assert rows["bytes_sent"].sum() == 0


def test_what_is_on_a_link_that_goes_down_is_broken_off():
    live = simulation(network(["a-bs0"]), radio(channel=gains({"a>bs0": 1.0})), analog=True)
    live.network.send("a", "bs0", N_BYTES, "features", request_id=0, analog=True)
    live.env.run(until=ALONE_S / 4)
    assert live.network.abort(live.topology.links, "link_down") == 1
    live.env.run()
    rows = live.recorder.arrow("transfers").to_pandas()
    assert rows["outcome"].tolist() == ["link_down", "delivered"]
    assert rows["bytes_sent"].tolist() == [N_BYTES // 4, 3 * N_BYTES // 4]


def test_it_interferes_as_bits_do():
    """Two sidelinks on one band hear each other, whatever is sent."""
    values = {"a>c": 1000.0, "b>d": 1000.0, "a>d": 100.0, "b>c": 100.0}
    payloads = [("a", "c", True), ("b", "d", False)]
    _, rows, _ = run(["a-c", "b-d"], values, payloads, sidelinks="concurrent")
    assert rows["sinr_db"].tolist() == pytest.approx([10 * math.log10(1000 / 101)] * 2)
