"""Changing only bandwidth, power, distance or who else transmits moves what a transfer gets the way physics says.

Given payloads go through a real ``Simulation``: gains, interference, sharing, link adaptation, energies.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from conftest import tiny_scenario
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.units import dbm_to_watt, linear_to_db, thermal_noise_w
from nmoe_sim import load_run, run
from nmoe_sim.engine.device_profiles import Custom, Phone
from nmoe_sim.engine.links import Node
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.engine.topology import Topology
from nmoe_sim.results.tables import TABLES
from nmoe_sim.rng import RandomStreams

PURE = {
    "radio.path_loss": {"kind": "free_space"},
    "radio.shadowing": {"kind": "none"},
    "radio.fading": {"kind": "none"},
    "radio.link_adaptation": {"kind": "shannon", "gap_db": 0, "max_bps_per_hz": 1e6},
    "radio.access_delay_s": 0,
    "radio.bandwidth_hz": 1e6,
    "radio.tx_power_dbm": 20,
}
URBAN = {
    "radio.path_loss": {"kind": "tr38901_umi", "los": "never"},
    "radio.shadowing": {"kind": "none"},  # it is another one at another place
    "radio.link_adaptation": {"kind": "shannon"},
    "radio.bandwidth_hz": 1e6,
    "radio.fading": {"kind": "rayleigh", "coherence_time_s": 0.01},
}
NR = {**URBAN, "radio.link_adaptation": {"kind": "nr"}, "radio.bandwidth_hz": 20e6, "radio.fading": {"kind": "none"}}
POLICIES = ["equal_share", "fifo", "round_robin", "proportional_fair", "fdma", "min_max_latency", "max_min", "csma_ca"]
"""All are work-conserving: the last of a set of transfers that start together ends the later, the slower links are."""
ONE_BY_ONE = ["equal_share", "fifo", "fdma", "max_min", "csma_ca"]
"""With these no transfer at all gains by slower links. Turns may: somebody's last slot falls before somebody else's."""
SMALL = settings(max_examples=10)
PROFILE = Custom(
    flop_per_s=1e9, memory_bytes=1, idle_w=0, compute_w=0, rx_w=0.4, tx_circuit_w=0.3, amplifier_efficiency=0.25
)


def star(*distances_m: float) -> Topology:
    """A base station and devices east of it."""
    devices = [Node(f"dev{i}", "device", float(x), 0.0) for i, x in enumerate(distances_m)]
    return Topology([*devices, Node("bs0", "base_station", 0.0, 0.0)], [(node.name, "bs0") for node in devices])


def cells(num: int = 3, side_m: float = 200.0, from_own_m: float = 60.0) -> Topology:
    """Base stations on a circle and a device near each, towards the middle."""
    angle = [2 * math.pi * i / num for i in range(num)]
    radius_m = side_m / (2 * math.sin(math.pi / num)) if num > 1 else 0.0
    places = [(radius_m * math.cos(a), radius_m * math.sin(a)) for a in angle]
    inner = [((radius_m - from_own_m) * math.cos(a), (radius_m - from_own_m) * math.sin(a)) for a in angle]
    devices = [Node(f"dev{i}", "device", *xy) for i, xy in enumerate(inner)]
    stations = [Node(f"bs{i}", "base_station", *xy) for i, xy in enumerate(places)]
    return Topology([*devices, *stations], [(f"dev{i}", f"bs{j}") for i in range(num) for j in range(num)])


def transfers(
    topology: Topology, changes: dict[str, Any], sends: list[tuple[str, str, int]], profile: Custom = PROFILE
) -> list[dict[str, Any]]:
    """Send payloads at time 0; return their rows, in the order of the payloads, hops and attempts."""
    radio = tiny_scenario(changes).radio
    profiles = {node.name: profile for node in topology.nodes}
    simulation = Simulation.build(topology, profiles, radio, RandomStreams(5))
    for src, dst, n_bytes in sends:
        simulation.network.send(src, dst, n_bytes, "features", request_id=0)
    simulation.env.run()
    names = TABLES["transfers"].column_names
    rows = [dict(zip(names, row, strict=True)) for row in simulation.recorder.rows["transfers"]]
    assert {row["payload_id"] for row in rows} == set(range(len(sends)))
    return sorted(rows, key=lambda row: (row["payload_id"], row["hop"], row["attempt"]))


def uplinks(changes: dict[str, Any], sizes: list[tuple[float, int]], scale: float = 1.0) -> list[dict[str, Any]]:
    """One payload from each device, at ``scale`` times its distance."""
    topology = star(*(scale * distance_m for distance_m, _ in sizes))
    return transfers(topology, changes, [(f"dev{i}", "bs0", n_bytes) for i, (_, n_bytes) in enumerate(sizes)])


def last_end_s(rows: list[dict[str, Any]]) -> float:
    return max(row["t_end_s"] for row in rows)


def energy_j(rows: list[dict[str, Any]]) -> float:
    return math.fsum(row["tx_energy_j"] + row["rx_energy_j"] for row in rows)


def assert_not_faster(policy: str, rows: list[dict[str, Any]], than: list[dict[str, Any]]) -> None:
    assert last_end_s(rows) >= last_end_s(than) * (1 - 1e-9)
    if policy in ONE_BY_ONE:
        assert all(a["t_end_s"] >= b["t_end_s"] * (1 - 1e-9) for a, b in zip(rows, than, strict=True))


sizes = st.lists(st.tuples(st.floats(12, 400), st.integers(200, 20_000)), min_size=1, max_size=4)
factors = st.floats(1.05, 8)


def sharing(policy: str, law: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a policy under one of the laws, without anything that differs from block to block."""
    duplex = "half" if policy == "csma_ca" else "full"
    return {**law, "radio.fading": {"kind": "none"}, "radio.sharing": {"kind": policy}, "radio.duplex": duplex}


# --- bandwidth -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_more_bandwidth_is_not_slower_and_takes_no_more_energy(policy: str) -> None:
    """B·log2(1 + S/(N0·B)) rises with B at any S, so airtimes fall at the same powers."""

    @SMALL
    @given(sizes, factors, st.sampled_from([PURE, URBAN]))
    def holds(sizes: list[tuple[float, int]], factor: float, law: dict[str, Any]) -> None:
        settings = sharing(policy, law)
        narrow = uplinks(settings, sizes)
        wide = uplinks({**settings, "radio.bandwidth_hz": 1e6 * factor}, sizes)
        assert_not_faster(policy, narrow, than=wide)
        if policy != "min_max_latency":  # it slows the others down to the last; they send for longer
            assert energy_j(wide) <= energy_j(narrow) * (1 + 1e-9)

    holds()


@given(sizes=sizes, law=st.sampled_from([PURE, URBAN]))
@SMALL
def test_half_the_band_at_the_same_power_density_takes_twice_the_airtime(sizes, law) -> None:
    """SINR and spectral efficiency stay; the joules radiated too, half the watts for twice the time."""
    settings = sharing("equal_share", law)
    full = uplinks({**settings, "radio.tx_power_dbm": 20}, sizes)
    half_dbm = 20 + 10 * math.log10(0.5)
    half = uplinks({**settings, "radio.tx_power_dbm": half_dbm, "radio.bandwidth_hz": 0.5e6}, sizes)
    for one, other in zip(full, half, strict=True):
        assert other["sinr_db"] == pytest.approx(one["sinr_db"], abs=1e-9)
        assert other["airtime_s"] == pytest.approx(2 * one["airtime_s"], rel=1e-9)
        assert other["rx_energy_j"] == pytest.approx(2 * one["rx_energy_j"], rel=1e-9)
        radiated_j = [row["tx_energy_j"] - PROFILE.tx_circuit_w * row["airtime_s"] for row in (one, other)]
        assert radiated_j[1] == pytest.approx(radiated_j[0], rel=1e-6)


@given(distance_m=st.floats(20, 2000))
@SMALL
def test_nr_with_more_bandwidth_at_the_same_power_density_is_not_slower(distance_m) -> None:
    """At the same power NR may be: power spread over more resource blocks can fall below the last scheme."""
    ends_s = []
    for mhz, num_blocks in ((5, 11), (10, 24), (20, 51), (40, 106), (100, 273)):
        dbm = 10 + 10 * math.log10(num_blocks / 11)  # the same for each resource block
        rows = uplinks({**NR, "radio.bandwidth_hz": mhz * 1e6, "radio.tx_power_dbm": dbm}, [(distance_m, 20_000)])
        ends_s.append(math.inf if rows[-1]["outcome"] != "delivered" else rows[-1]["t_end_s"])
    assert ends_s == sorted(ends_s, reverse=True)


# --- distance ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_more_distance_is_not_faster(policy: str) -> None:
    @SMALL
    @given(sizes, factors, st.sampled_from([PURE, URBAN]))
    def holds(sizes: list[tuple[float, int]], factor: float, law: dict[str, Any]) -> None:
        near, far = (uplinks(sharing(policy, law), sizes, scale) for scale in (1.0, factor))
        assert_not_faster(policy, far, than=near)
        assert all(a["sinr_db"] < b["sinr_db"] for a, b in zip(far, near, strict=True))
        if policy != "min_max_latency":
            assert energy_j(far) >= energy_j(near) * (1 - 1e-9)

    holds()


@given(distance_m=st.floats(12, 400), factor=factors, n_bytes=st.integers(200, 5000))
@SMALL
def test_under_fading_too(distance_m: float, factor: float, n_bytes: int) -> None:
    """Fading is drawn for pair and block, so it is the same at any distance, bandwidth and power."""
    near, far = (uplinks(URBAN, [(distance_m, n_bytes)], scale) for scale in (1.0, factor))
    wide = uplinks({**URBAN, "radio.bandwidth_hz": 1e6 * factor}, [(distance_m, n_bytes)])
    strong = uplinks({**URBAN, "radio.tx_power_dbm": 23 + 10 * math.log10(factor)}, [(distance_m, n_bytes)])
    assert last_end_s(far) >= last_end_s(near) >= max(last_end_s(wide), last_end_s(strong))


@given(distance_m=st.floats(15, 500))
@SMALL
def test_nr_over_twice_the_distance_is_not_faster(distance_m) -> None:
    near, far = (uplinks({**NR, "radio.tx_power_dbm": 10}, [(distance_m, 20_000)], scale) for scale in (1.0, 2.0))
    assert far[-1]["outcome"] != "delivered" or last_end_s(far) >= last_end_s(near)


# --- power ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_more_power_raises_sinr_by_as_much_and_is_not_slower(policy: str) -> None:
    @SMALL
    @given(sizes, st.floats(0.1, 30), st.sampled_from([PURE, URBAN]))
    def holds(sizes: list[tuple[float, int]], step_db: float, law: dict[str, Any]) -> None:
        weak, strong = (uplinks({**sharing(policy, law), "radio.tx_power_dbm": 10 + x}, sizes) for x in (0, step_db))
        assert_not_faster(policy, weak, than=strong)
        for one, other in zip(weak, strong, strict=True):
            assert other["sinr_db"] - one["sinr_db"] == pytest.approx(step_db, abs=1e-9)
        if policy != "min_max_latency":
            assert sum(row["airtime_s"] for row in strong) <= sum(row["airtime_s"] for row in weak) * (1 + 1e-9)

    holds()


def joules_to_send(dbm: float, distance_m: float, circuit_w: float, cap: float = 1e6) -> float:
    profile = PROFILE.model_copy(update={"tx_circuit_w": circuit_w})
    law = {"kind": "shannon", "gap_db": 0, "max_bps_per_hz": cap}
    changes = {**PURE, "radio.tx_power_dbm": dbm, "radio.link_adaptation": law}
    [row] = transfers(star(distance_m), changes, [("dev0", "bs0", 1000)], profile)
    return float(row["tx_energy_j"])


@given(distance_m=st.floats(12, 2000))
@SMALL
def test_joules_radiated_for_a_bit_rise_with_power_from_the_shannon_limit(distance_m: float) -> None:
    """P/log2(1 + aP) rises with P, because the logarithm is concave: slow is thrifty, down to N0·ln 2."""
    joules = [joules_to_send(dbm, distance_m, circuit_w=0.0) for dbm in (-50, -20, 0, 10, 20, 30)]
    assert joules == sorted(joules)
    gain = (299_792_458.0 / 3.5e9 / (4 * math.pi * math.hypot(distance_m, 8.5))) ** 2
    limit_j = 8000 * thermal_noise_w(1.0, 5.0) * math.log(2) / gain / PROFILE.amplifier_efficiency
    assert joules[0] >= limit_j * (1 - 1e-9)
    at_limit = gain * dbm_to_watt(-50) / thermal_noise_w(1e6, 5.0) < 1e-3
    assert not at_limit or joules[0] == pytest.approx(limit_j, rel=1e-3)


@given(distance_m=st.floats(12, 5000), dbm=st.lists(st.floats(-40, 50), min_size=3, max_size=3).map(sorted))
@SMALL
def test_with_a_circuit_the_energy_falls_and_then_rises(distance_m: float, dbm: list[float]) -> None:
    """(c + P/η)/log2(1 + aP) has one minimum: below it the circuit runs too long, above it power is wasted."""
    low, middle, high = (joules_to_send(x, distance_m, circuit_w=0.3) for x in dbm)
    assert middle <= max(low, high) * (1 + 1e-9)


def test_both_branches_of_the_energy_are_there() -> None:
    joules = [joules_to_send(dbm, 1000.0, circuit_w=0.3) for dbm in (-20, 10, 40)]
    assert joules[1] < min(joules[0], joules[2])
    capped = [joules_to_send(dbm, 20.0, circuit_w=0.3, cap=2.0) for dbm in (20, 30)]
    watts = [0.3 + dbm_to_watt(dbm) / 0.25 for dbm in (20, 30)]
    assert capped[1] / capped[0] == pytest.approx(watts[1] / watts[0], rel=1e-9)  # at the best scheme: no faster


@given(distance_m=st.floats(15, 1500), dbm=st.floats(0, 25))
@SMALL
def test_nr_with_3_db_more_is_not_slower(distance_m: float, dbm: float) -> None:
    """By less it may be, within a block error target of 10 %: the next scheme's first transmissions fail more often."""
    weak, strong = (uplinks({**NR, "radio.tx_power_dbm": x}, [(distance_m, 20_000)]) for x in (dbm, dbm + 3))
    assert weak[-1]["outcome"] != "delivered" or last_end_s(strong) <= last_end_s(weak) * (1 + 1e-9)


# --- interference --------------------------------------------------------------------------------------


def downlinks(changes: dict[str, Any], active: list[int], *, n_bytes: int = 5000, **shape: Any) -> list[dict[str, Any]]:
    """One payload from each active base station to its device."""
    return transfers(cells(**shape), changes, [(f"bs{i}", f"dev{i}", n_bytes) for i in active])


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "csma_ca"])
@pytest.mark.parametrize("law", [PURE, {**URBAN, "radio.fading": {"kind": "none"}}], ids=["free space", "urban"])
def test_one_more_transmitter_raises_nobodys_sinr(policy: str, law: dict[str, Any]) -> None:
    settings = {**law, "radio.sharing": {"kind": policy}}
    before = {0: math.inf}
    for num in (1, 2, 3, 4):
        rows = downlinks(settings, list(range(num)), num=4)
        heard = {row["payload_id"]: row["sinr_db"] for row in rows}
        assert all(heard[i] < before[i] for i in before)
        before = heard


@given(from_own_m=st.floats(12, 95), rise_db=st.floats(0.1, 20))
@SMALL
def test_power_of_all_moves_sinr_towards_what_interference_leaves(from_own_m: float, rise_db: float) -> None:
    """S/(I + N) with everybody louder: N matters less, and S/I, a matter of distances alone, is never reached."""
    own_m = math.hypot(from_own_m, 8.5)
    other_m = math.hypot(200 - from_own_m, 8.5)
    limit_db = 20 * math.log10(other_m / own_m)
    settings = {**PURE, "radio.base_station_tx_power_dbm": -10}
    sinr_db = [
        downlinks({**settings, "radio.base_station_tx_power_dbm": dbm}, [0, 1], num=2, from_own_m=from_own_m)[0][
            "sinr_db"
        ]
        for dbm in (-10, -10 + rise_db, 85)
    ]
    assert sinr_db[0] < sinr_db[1] < sinr_db[2] < limit_db
    assert sinr_db[2] == pytest.approx(limit_db, abs=1e-4)


def test_reuse_trades_bandwidth_for_interference() -> None:
    """In the corner of three cells 1/3 of the band without interference is worth more than the band with it.

    Reuse 1: S/I = 1/2, log2(1.5)·B. Reuse 3: B/3·log2(1 + 3·S/N). Alone, the whole band is always better.
    """
    radius_m = 200 / math.sqrt(3)
    shape = {"num": 3, "from_own_m": radius_m - 1e-3}
    loud = {**PURE, "radio.base_station_tx_power_dbm": 40}
    crowded = {reuse: downlinks({**loud, "radio.reuse_factor": reuse}, [0, 1, 2], **shape) for reuse in (1, 3)}
    alone = {reuse: downlinks({**loud, "radio.reuse_factor": reuse}, [0], **shape)[0] for reuse in (1, 3)}
    assert crowded[1][0]["sinr_db"] == pytest.approx(10 * math.log10(0.5), abs=1e-2)
    for row in crowded[3]:
        assert row["sinr_db"] == pytest.approx(alone[1]["sinr_db"] + 10 * math.log10(3), abs=1e-3)
    assert last_end_s(crowded[3]) < last_end_s(crowded[1])
    assert alone[1]["t_end_s"] < alone[3]["t_end_s"] == pytest.approx(crowded[3][0]["t_end_s"], rel=1e-3)


def test_interference_ends_with_the_interferer() -> None:
    """The longer of two payloads has the air to itself once the other is through: 3 rates, by hand."""
    topology = cells(num=2, from_own_m=60.0)
    [one, two] = transfers(topology, PURE, [("bs0", "dev0", 2000), ("bs1", "dev1", 5000)])
    power_w, noise_w = dbm_to_watt(33.0), thermal_noise_w(1e6, 9.0)
    own, other = ((299_792_458.0 / 3.5e9 / (4 * math.pi * math.hypot(d, 8.5))) ** 2 for d in (60.0, 140.0))
    shared_bps = 1e6 * math.log2(1 + power_w * own / (noise_w + power_w * other))
    alone_bps = 1e6 * math.log2(1 + power_w * own / noise_w)
    assert one["t_end_s"] == pytest.approx(16_000 / shared_bps, rel=1e-9)
    assert two["t_end_s"] == pytest.approx(one["t_end_s"] + (40_000 - 16_000) / alone_bps, rel=1e-9)
    assert two["sinr_db"] == pytest.approx(linear_to_db(2 ** (shared_bps / 1e6) - 1), abs=1e-9)


# --- limits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["equal_share", "fifo", "fdma", "max_min"])
def test_duplex(policy: str) -> None:
    """Two ways at once: with a band each they don't touch; on one band they share it, for the same energies."""
    sends = [("dev0", "bs0", 4000), ("bs0", "dev0", 4000)]
    equal = {**PURE, "radio.base_station_tx_power_dbm": 20, "radio.noise_figure_db": 5, "radio.sharing.kind": policy}
    alone_s = uplinks(equal, [(50.0, 4000)])[0]["t_end_s"]
    full, half = (transfers(star(50.0), {**equal, "radio.duplex": duplex}, sends) for duplex in ("full", "half"))
    assert [row["t_end_s"] for row in full] == pytest.approx([alone_s, alone_s], rel=1e-9)
    if policy == "fdma":  # twice the power density in each half of the band, so less than twice as long
        assert alone_s < half[0]["t_end_s"] < 2 * alone_s
        return
    expected_s = [alone_s, 2 * alone_s] if policy == "fifo" else [2 * alone_s, 2 * alone_s]
    assert [row["t_end_s"] for row in half] == pytest.approx(expected_s, rel=1e-9)
    assert energy_j(half) == pytest.approx(energy_j(full), rel=1e-9)


def test_both_directions_fade_alike_on_one_band_only() -> None:
    sends = [("dev0", "bs0", 100), ("bs0", "dev0", 100)]
    alike = {"radio.base_station_tx_power_dbm": 20, "radio.noise_figure_db": 5, "radio.sharing.kind": "fifo"}
    changes = {**PURE, **alike, "radio.fading": {"kind": "rayleigh"}}
    half, full = (transfers(star(50.0), {**changes, "radio.duplex": duplex}, sends) for duplex in ("half", "full"))
    assert half[0]["sinr_db"] == pytest.approx(half[1]["sinr_db"], abs=1e-9)
    assert abs(full[0]["sinr_db"] - full[1]["sinr_db"]) > 0.1


def test_a_whole_run_without_fading_in_free_space_is_friis_by_hand(tmp_path) -> None:
    """Every hop of a whole run, from the positions in its table: SINR, airtime, latency, energies."""
    scenario = tiny_scenario({**PURE, "radio.access_delay_s": 2e-3, "topology.radius_m": 500})
    tables = load_run(run(scenario, tmp_path / "run").path).tables
    place = tables["devices"].set_index("device")[["x_m", "y_m"]]
    transfers, phone = tables["transfers"], Phone()
    assert set(transfers["medium"]) == {"uplink", "downlink"}
    assert (transfers["outcome"] == "delivered").all()
    for row in transfers.itertuples():
        up = row.medium == "uplink"
        dbm, figure_db = (20.0, 5.0) if up else (33.0, 9.0)
        ground_m = math.dist(place.loc[row.src], place.loc[row.dst])
        wavelength_m = 299_792_458.0 / 3.5e9
        gain = (wavelength_m / (4 * math.pi)) ** 2 / (ground_m**2 + (10.0 - 1.5) ** 2)
        noise_w = 1.380649e-23 * 290.0 * 1e6 * 10 ** (figure_db / 10)
        snr = 10 ** (dbm / 10 - 3) * gain / noise_w
        airtime_s = 8 * row.n_bytes / (1e6 * math.log2(1 + snr))
        assert row.sinr_db == pytest.approx(10 * math.log10(snr), abs=1e-9)
        assert row.airtime_s == pytest.approx(airtime_s, rel=1e-9)
        assert row.t_start_s - row.t_ready_s == pytest.approx(2e-3, rel=1e-9)
        assert row.t_end_s - row.t_start_s >= airtime_s * (1 - 1e-9)
        if up:
            watts = phone.tx_circuit_w + 10 ** (dbm / 10 - 3) / phone.amplifier_efficiency
            assert row.tx_energy_j == pytest.approx(watts * airtime_s, rel=1e-9)
