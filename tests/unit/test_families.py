"""Every row of every family does what its family promises; a family without a contract fails here."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cifar_files import shrink, write_folder
from conftest import tiny_scenario
from fake_band import FakeBand, send_all
from pydantic import ValidationError

from channels.geometry import LinkGeometry
from channels.sites import Sites
from nmoe_sim.errors import InputError
from nmoe_sim.families import _MEMBERS, _implements, families
from nmoe_sim.inference.routing import Query
from nmoe_sim.nmoe.datasets.cifar import Cifar
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.build import build_spec
from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.spec import Family, Spec
from nmoe_sim.scenario.tree import from_python

FAMILIES = families()
ROWS = [pytest.param(family, kind, id=f"{family}.{kind}") for family, table in FAMILIES.items() for kind in table]
STREAMS = RandomStreams(11)
DATA = Path(__file__).parent / "data"

REQUIRED: dict[tuple[str, str], dict[str, Any]] = {
    ("device_profile", "custom"): {
        "flop_per_s": 1e9,
        "memory_bytes": 10**9,
        "idle_w": 1.0,
        "compute_w": 2.0,
        "rx_w": 0.5,
        "tx_circuit_w": 0.5,
        "amplifier_efficiency": 0.3,
    },
    ("protocol", "deadline"): {"deadline_s": 0.05},
    ("arrivals", "diurnal"): {"period_s": 1000.0},
    ("arrivals", "trace"): {
        "file": str(DATA / "requests.csv"),
        "length_s": 10.0,
        "repeat": True,
    },
    ("topology", "file"): {"file": str(DATA / "topology.json")},
    ("mobility", "trace"): {"file": str(DATA / "positions.csv")},
    ("faults", "trace"): {"file": str(DATA / "outages.csv")},
    ("channel", "trace"): {"file": str(DATA / "gains.csv"), "after_end": "repeat"},
}
"""What has no default, by row; whatever isn't here must be buildable from nothing."""


def make(family: str, kind: str, **settings: Any) -> Any:
    given = {**REQUIRED.get((family, kind), {}), **settings}
    return build_spec(FAMILIES[family][kind], from_python(given), FAMILIES, family=Family(family))  # type: ignore[arg-type]


def generator(seed: int = 0):
    import torch

    return torch.Generator().manual_seed(seed)


# --- what holds for every row ------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "kind"), ROWS)
def test_row(family, kind):
    cls = FAMILIES[family][kind]
    assert issubclass(cls, Spec)
    assert cls.kind == kind
    assert cls.model_config["frozen"]
    assert cls.model_config["extra"] == "forbid"
    assert inspect.getdoc(cls) != inspect.getdoc(Spec)
    undocumented = [name for name, field in cls.model_fields.items() if not field.description]
    assert undocumented == []
    spec = make(family, kind)
    assert spec == make(family, kind)
    assert hash(spec) == hash(make(family, kind))
    for name in cls.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(spec, name, getattr(spec, name))


@pytest.mark.parametrize(
    ("family", "given", "lacking"),
    [
        ("routing", "", "route"),
        ("path_loss", "path_loss_db los_probability shadow_decorrelation_m in_validity_range",
         "validity_range, los_decorrelation_m, shadow_fading_std_db"),
        ("shadowing", "decorrelation_m", "shadowing_db"),
        ("fading", "power_gain", "coherence_time_s"),
        ("link_adaptation", "transmission check report_delay_s", "is_lossless, effective_sinr"),
    ],
)  # fmt: skip
def test_a_plugin_that_lacks_something_is_told_what(family, given, lacking, tmp_path):
    """Methods, and the rest of a family's protocol: else a run would fail half-way."""
    plugin = tmp_path / "mine.py"
    members = "".join(f"    def {name}(self): ...\n" for name in given.split())
    plugin.write_text(
        "from typing import ClassVar\nfrom nmoe_sim.scenario.spec import Spec\n\n\n"
        f"class Mine(Spec):\n    kind: ClassVar[str] = 'mine'\n{members}\n\n"
        f"FAMILIES = {{{family!r}: [Mine]}}\n"
    )
    with pytest.raises(InputError, match=f"Mine in family '{family}' lacks {lacking}$"):
        families([plugin])


@pytest.mark.parametrize(("family", "kind"), ROWS)
def test_what_a_plugin_must_have_the_built_in_ones_have(family, kind):
    assert [member for member in _MEMBERS[family] if not _implements(FAMILIES[family][kind], member)] == []


@pytest.mark.parametrize(("family", "kind"), ROWS)
def test_an_unknown_key_is_refused(family, kind):
    with pytest.raises(InputError, match="unknown key"):
        make(family, kind, no_such_key=1)


def test_importing_them_all_needs_nothing_heavy():
    code = (
        "import sys, nmoe_sim.families as f; f.families()\n"
        "print([m for m in ('torch', 'sklearn', 'pandas', 'pyarrow', 'scipy.optimize') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_rows_that_need_settings_are_listed_as_such():
    for family, kind in REQUIRED:
        with pytest.raises(InputError, match="missing"):
            build_spec(FAMILIES[family][kind], from_python({}), FAMILIES, family=Family(family))  # type: ignore[arg-type]


# --- contracts, one a family -------------------------------------------------------------------------

DISTANCES_M = np.geomspace(10, 5000, 200)
GEOMETRY = LinkGeometry.between(DISTANCES_M, np.full(200, 10.0), np.full(200, 1.5))


def path_loss(spec: Any) -> None:
    for los in (True, False):
        loss_db = spec.path_loss_db(GEOMETRY, carrier_hz=3.5e9, los=np.full(200, los))
        assert loss_db.shape == (200,)
        assert np.isfinite(loss_db).all()
        assert (np.diff(loss_db) > 0).all()
        assert (loss_db > 0).all()
        std_db = spec.shadow_fading_std_db(GEOMETRY, carrier_hz=3.5e9, los=np.full(200, los))
        assert std_db.shape == (200,)
        assert (std_db >= 0).all()
        assert np.isfinite(std_db).all()
    probability = spec.los_probability(GEOMETRY)
    assert probability.shape == (200,)
    assert ((probability >= 0) & (probability <= 1)).all()
    assert (np.diff(probability) <= 0).all()
    inside = spec.in_validity_range(GEOMETRY, carrier_hz=3.5e9)
    assert inside.shape == (200,)
    assert inside.dtype == bool
    assert isinstance(spec.validity_range, str)
    assert len(spec.validity_range) > 10
    assert 0 <= spec.los_decorrelation_m <= 100
    assert all(0 <= spec.shadow_decorrelation_m(los) <= 200 for los in (True, False))


def shadowing(spec: Any) -> None:
    std_db = np.full(1000, 6.0)
    draws = np.random.default_rng(0).standard_normal(1000)
    gain_db = spec.shadowing_db(draws, std_db)
    assert gain_db.shape == (1000,)
    assert np.allclose(spec.shadowing_db(-draws, std_db), -gain_db)
    assert np.all(spec.shadowing_db(np.zeros(1000), std_db) == 0)
    assert np.all(np.abs(gain_db) <= 6.0 * np.abs(draws) + 1e-9)
    assert spec.decorrelation_m is None or spec.decorrelation_m >= 0


def fading(spec: Any) -> None:
    assert spec.coherence_time_s is None or spec.coherence_time_s > 0
    links, blocks = np.arange(400) * 77, np.r_[np.arange(300), 10**9]
    los = np.arange(301)[:, None] % 3 + links % 2 > 0

    def gains(t: Any = slice(None), m: Any = slice(None)) -> Any:
        args = {"los": los[t][:, m], "carrier_hz": 3.5e9, "bandwidth_hz": 20e6}
        return spec.power_gain(STREAMS.uniform, links[m], blocks[t], **args)

    gain = gains()
    assert gain.shape[:2] == (301, 400)
    assert (gain >= 0).all()
    assert gain.mean() == pytest.approx(1.0, abs=0.02)
    backwards, some = slice(None, None, -1), np.array([399, 0, 17])
    assert np.array_equal(gains(backwards, backwards), gain[::-1, ::-1])
    assert np.array_equal(gains(np.array([300, 5]), some), gain[[300, 5]][:, some])


def antenna(spec: Any) -> None:
    azimuth, elevation = (np.random.default_rng(2).uniform(-limit, limit, 300) for limit in (np.pi, np.pi / 2))
    best = spec.beam_towards(azimuth, elevation)
    assert best.shape == (300,)
    assert best.dtype.kind == "i"
    beams = np.unique(best)
    assert beams[0] >= 0
    gain_db = spec.gain_db(beams[:, None], azimuth, elevation)
    assert gain_db.shape == (len(beams), 300)
    assert not np.isnan(gain_db).any()
    assert gain_db.max() < 40
    own_db = spec.gain_db(best, azimuth, elevation)
    assert own_db.shape == (300,)
    np.testing.assert_allclose(own_db, gain_db.max(axis=0), atol=1e-9)
    turns = spec.gain_db(best, azimuth + 2 * np.pi, elevation)
    np.testing.assert_allclose(turns, own_db, atol=1e-6)
    assert spec.beam_towards(np.zeros((2, 1)), np.zeros(3)).shape == (2, 3)


def link_adaptation(spec: Any) -> None:
    spec.check(20e6, carrier_hz=3.5e9)
    assert 0 < spec.occupied_hz(20e6) <= 20e6
    sinr = np.concatenate([[0.0], np.logspace(-6, 12, 500)])
    sends = spec.transmission(sinr, sinr, bandwidth_hz=20e6)
    for values in (sends.rate_bps, sends.block_loss, sends.block_bits, sends.mean_transmissions, sends.loss_per_bit):
        assert values.shape == sinr.shape
    assert sends.rate_bps[0] == 0
    assert (np.diff(sends.rate_bps) >= 0).all()
    assert (sends.rate_bps <= 20e6 * np.log2(1 + sinr) * (1 + 1e-12)).all()
    assert sends.rate_bps[-1] > 20e6
    assert ((sends.block_loss >= 0) & (sends.block_loss <= 1)).all()
    assert (sends.mean_transmissions >= 1).all()
    assert (sends.block_bits > 0).all()
    assert (sends.retransmissions_per_bit >= 0).all()
    assert spec.report_delay_s >= 0
    assert sends.retransmission_delay_s >= 0

    # a report that isn't what is sent over carries no more than physics allows, whichever way it is wrong
    for wrong in (sinr[::-1], np.full(sinr.shape, 1e3), np.zeros(sinr.shape)):
        other = spec.transmission(sinr, wrong, bandwidth_hz=20e6)
        arrives_bps = other.rate_bps * (1 - other.block_loss)
        assert arrives_bps[0] == 0
        assert ((arrives_bps >= 0) & (arrives_bps <= 20e6 * np.log2(1 + sinr) * (1 + 1e-12))).all()
        assert ((other.block_loss >= 0) & (other.block_loss <= 1)).all()
        assert (other.loss_per_bit >= 0).all()
        assert (other.loss_per_bit == 0).all() or not spec.is_lossless
    table = spec.transmission(np.outer([0.5, 1.0], sinr[:7]), np.outer([1.0, 1.0], sinr[:7]), bandwidth_hz=20e6)
    assert table.rate_bps.shape == (2, 7)

    bands = np.random.default_rng(3).exponential(10.0, (50, 6))
    effective = spec.effective_sinr(bands)
    assert effective.shape == (50,)
    assert ((effective >= bands.min(axis=1) * (1 - 1e-9)) & (effective <= bands.max(axis=1) * (1 + 1e-9))).all()
    np.testing.assert_allclose(spec.effective_sinr(np.repeat(bands[:, :1], 4, axis=1)), bands[:, 0], rtol=1e-9)


def sharing(spec: Any) -> None:
    """What is asked for is sent, nothing is sent twice, and nobody idles with work to do."""
    sinr = (1.0, 15.0)  # at 1 Hz and capacity: 1 and 4 bit/s
    jobs = [(0.0, 0, 1.0), (0.1, 1, 2.0), (0.1, 0, 0.5), (9.0, 1, 4.0)]
    rates = [(1.0, 4.0)[link] for _, link, _ in jobs]
    contends = spec.half_duplex_only
    if contends:  # packets of kilobytes need a band to match
        jobs = [(t_s, link, 1e6 * bits) for t_s, link, bits in jobs]
        rates = [1e6 * rate for rate in rates]

    def law(sinr: Any) -> Any:
        return np.log2(1.0 + sinr) * (1e6 if contends else 1.0)

    sent = send_all(spec.media, FakeBand([[x] for x in sinr], law=law), jobs)
    for (t_s, _, bits), rate, one in zip(jobs, rates, sent, strict=True):
        assert one.ended.outcome == "delivered"
        assert one.ended.bits_sent == bits
        [leg] = one.ended.legs
        assert leg.loss_exponent == leg.retransmissions == leg.last_retransmissions == 0
        assert leg.sinr == sinr[rates[0] != rate]
        assert min(leg.tx_airtime_s, leg.rx_airtime_s) > 0
        assert max(leg.tx_airtime_s, leg.rx_airtime_s) <= one.t_end_s - t_s + 1e-9
    alone_s, together_s = sent[3].t_end_s - 9.0, max(one.t_end_s for one in sent[:3])
    busy_s = sum(bits / rate for (_, _, bits), rate in zip(jobs[:3], rates, strict=False))
    if contends:  # overhead of every packet
        assert 1.0 < alone_s < 2.0
        assert together_s > busy_s
    else:
        assert alone_s == pytest.approx(1.0)
        # parts of the band with the power of the whole carry more than turns do
        gains = spec.kind in ("fdma", "min_max_latency")
        assert together_s < busy_s if gains else together_s == pytest.approx(busy_s)
        if not gains:
            airtimes_s = [one.airtime_s for one in sent]
            assert airtimes_s == pytest.approx([bits / rate for (_, _, bits), rate in zip(jobs, rates, strict=True)])
    aborted = send_all(spec.media, FakeBand([[x] for x in sinr], law=law), jobs[:2], aborts=[(0.2, (0,))])
    assert [one.ended.outcome for one in aborted] == ["link_down", "delivered"]
    assert 0 < aborted[0].ended.bits_sent < jobs[0][2]


SITES = Sites.static(
    [(30, 10), (-20, 40), (-20, 60), (0, 0)],
    [1.5, 1.5, 1.5, 10.0],
    names=("dev0", "dev1", "dev2", "bs0"),
    ids=[0, 1, 2, 1 << 23],
    is_station=[False, False, False, True],
)


def channel(spec: Any) -> None:
    if spec.kind == "sionna":
        pytest.importorskip("sionna")
    up, down = (np.array([0, 1, 2]), np.array([3, 3, 3])), (np.array([3, 3, 3]), np.array([0, 1, 2]))
    spec.check(SITES, *up)
    gains = spec.build(SITES, tiny_scenario().radio, STREAMS.uniform)
    assert gains.block_s > 0
    blocks = np.array([0, 1, 2, 40])
    there = gains.power_gain(*up, blocks)
    assert there.shape[:2] == (4, 3)
    assert ((there > 0) & (there < 1)).all()
    again = spec.build(SITES, tiny_scenario().radio, RandomStreams(STREAMS.seed).uniform)
    for t, m in ((3, 2), (0, 0), (1, 2)):
        one = again.power_gain(up[0][[m]], up[1][[m]], blocks[[t]])
        np.testing.assert_allclose(one, there[[t]][:, [m]], rtol=1e-12)

    times_s = np.array([0.0, 0.0 if math.isinf(gains.block_s) else 40 * gains.block_s])
    large, back = gains.large_scale(*up, times_s), gains.large_scale(*down, times_s)
    for values in vars(large).values():
        assert values.shape == (2, 3)
    np.testing.assert_allclose(large.distance_2d_m, [[np.hypot(30, 10), np.hypot(20, 40), np.hypot(20, 60)]] * 2)
    assert large.is_los.dtype == bool
    assert ((large.mean_gain_db < -20) & (large.mean_gain_db > -250)).all()
    np.testing.assert_array_equal(large.mean_gain_db, back.mean_gain_db)
    mean_gain = gains.power_gain(*up, np.arange(400)).mean(axis=(0, 2))
    np.testing.assert_allclose(10 * np.log10(mean_gain), large.mean_gain_db[0], atol=6.0)


def mobility(spec: Any) -> None:
    names, box = ("dev0", "dev1", "dev2"), (-100.0, -50.0, 100.0, 50.0)
    start_m = np.array([[10.0, 0.0], [-100.0, 50.0], [0.0, -49.0]])
    assert spec.step_s > 0
    assert spec.record_every_s > 0
    assert spec.known_until_s > 10
    path = spec.trajectory(start_m, box, STREAMS.uniform, names)
    last_s = min(2000.0, spec.known_until_s)
    times_s = np.random.default_rng(4).permutation(np.linspace(0.0, last_s, 300))
    places_m = path.positions_m(times_s)
    assert places_m.shape == (300, 3, 2)
    assert np.isfinite(places_m).all()
    one = spec.trajectory(start_m, box, RandomStreams(STREAMS.seed).uniform, names)
    for i in (7, 299, 0, 120):
        assert np.array_equal(one.positions_m(times_s[[i]])[0], places_m[i])
    if spec.kind != "trace":  # a file says where, whatever the topology
        assert np.array_equal(path.positions_m(np.zeros(1))[0], start_m)
        assert (np.abs(places_m) <= [100.0, 50.0]).all()
        assert spec.is_static == (np.ptp(places_m, axis=0).max() == 0)
    order = np.argsort(times_s)
    metres, seconds = np.hypot(*np.moveaxis(np.diff(places_m[order], axis=0), -1, 0)), np.diff(times_s[order])
    assert (metres / seconds[:, None]).max() < 50


def handover(spec: Any) -> None:
    assert spec.period_s > 0
    assert spec.interruption_s >= 0
    rule = spec.rule(3, 2)
    if rule is None:
        return
    serving = np.array([0, 1, -1])
    calm = np.array([[-80.0, -90.0], [-90.0, -80.0], [-80.0, -np.inf]])
    t_s = np.arange(200) * spec.period_s
    for now in t_s[:100].tolist():
        assert rule.update(now, calm, serving) == []
    moved = []
    for now in t_s[100:].tolist():  # the first device has gone over to the other side
        decided = rule.update(now, calm - np.array([[40.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), serving)
        for device, station in decided:
            assert serving[device] not in (-1, station)
            serving[device] = station
        moved += decided
    assert moved == [(0, 1)]


def arrivals(spec: Any) -> None:
    times_s = spec.times_s(2, 5000.0, STREAMS)
    assert (np.diff(times_s) >= 0).all()
    assert times_s[0] >= 0
    assert times_s[-1] < 5000.0
    expected = spec.mean_rate_hz(2) * 5000.0
    assert abs(len(times_s) - expected) < 5 * np.sqrt(expected)
    assert np.array_equal(times_s, spec.times_s(2, 5000.0, RandomStreams(STREAMS.seed)))
    if spec.kind not in ("deterministic", "trace"):  # clients that are told when to ask may ask at once
        assert not np.array_equal(times_s[:10], spec.times_s(1, 5000.0, STREAMS)[:10])
    longer = spec.times_s(2, 9000.0, STREAMS)
    assert np.array_equal(longer[longer < 5000.0], times_s)


def routing(spec: Any) -> None:
    hosts = tuple(f"dev{i}" for i in range(5))
    backlog_s = dict(zip(hosts, (0.4, 0.1, 0.0, 0.3, 0.2), strict=True))
    view = SimpleNamespace(t_s=0.0, hosts=hosts, backlog_s=backlog_s, mean_delay_s=lambda src, dst, n_bytes: 0.01)
    rng = np.random.default_rng(0)
    for request in range(50):
        for top_k in (1, 2, 5):
            scores = rng.normal(size=5).astype(np.float32)
            query = Query(request, 3, "dev3", 3, scores, top_k, STREAMS)
            chosen = spec.route(query, lambda: view)
            assert 1 <= len(chosen) <= 5
            assert len(set(chosen)) == len(chosen)
            assert all(type(expert) is int and 0 <= expert < 5 for expert in chosen)
            assert chosen == spec.route(query, lambda: view)
            scores[[0, 4]] = -np.inf  # may not be asked
            chosen = spec.route(Query(request, 3, "dev3", 3, scores, top_k, STREAMS), lambda: view)
            assert chosen
            assert not {0, 4} & set(chosen)


def topology(spec: Any) -> None:
    for count in (3,) if spec.kind == "file" else (1, 2, 7):
        small = spec.model_copy(update={"num_devices": count})
        built = small.build(STREAMS)
        assert len(built.devices) == count
        names = [node.name for node in built.nodes]
        assert names[:count] == small.device_names()
        assert len(set(names)) == len(names)
        num_stations = len(built.base_stations)
        assert [node.kind for node in built.nodes] == ["device"] * count + ["base_station"] * num_stations
        ends = {(link.src.name, link.dst.name) for link in built.links}
        assert len(ends) == len(built.links)
        assert ends == {(b, a) for a, b in ends}
        assert all(a != b for a, b in ends)
        assert [link.index for link in built.links] == list(range(len(built.links)))
        for link in built.links:
            metres = np.hypot(link.src.x_m - link.dst.x_m, link.src.y_m - link.dst.y_m)
            assert link.distance_m == pytest.approx(metres)
            assert link.wired is not None or "device" in (link.src.kind, link.dst.kind)
        west_m, south_m, east_m, north_m = built.bounds_m
        for node in built.devices:
            assert west_m - 1e-9 <= node.x_m <= east_m + 1e-9
            assert south_m - 1e-9 <= node.y_m <= north_m + 1e-9
            stations = built.stations_of(node.name)
            if len(stations) > 1:  # it has to choose
                assert built.serving(node.name) is None
            for station in stations[-1:]:
                built.attach(node.name, station.name)
                assert built.serving(node.name) == station
                assert [built.is_up(built.link(node.name, s.name)) for s in stations] == [
                    s == station for s in stations
                ]
        assert built.nodes == small.build(RandomStreams(STREAMS.seed)).nodes
        if spec.kind == "multi_cell":
            assert all(built.stations_of(node.name) == built.base_stations for node in built.devices)
            cables = [(k.src.name, k.dst.name) for k in built.links[::2] if k.wired is not None]
            assert cables == [(station.name, "bs0") for station in built.base_stations[1:]]
            assert all(built.is_connected(a, b) for a in names for b in names)


def faults(spec: Any) -> None:
    """Times of a device rise, and depend on nobody else's."""
    names = [f"dev{i}" for i in range(6)]

    def outages(names: list[str]) -> list[list[tuple[float, float]]]:
        return [list(islice(times, 100)) for times in spec.outages(names, RandomStreams(STREAMS.seed))]

    found = outages(names)
    assert len(found) == 6
    assert outages(names) == found
    assert outages([*names, "dev6"])[:6] == found
    assert spec.never == (not any(found))
    for times in found:
        flat = [t_s for pair in times for t_s in pair]
        assert flat == sorted(flat)
        assert all(0 <= down_s < up_s < math.inf for down_s, up_s in times)


def dvfs(spec: Any) -> None:
    """A frequency within the device's range, whatever is asked; more power the higher it is."""
    assert hasattr(build_spec(FAMILIES["device_profile"]["phone"], from_python({"dvfs": spec}), FAMILIES,
                              family=Family("device_profile", key="profile")), "dvfs")  # fmt: skip
    if not spec.governs:
        return
    for cycles in (0.0, 1.0, 1e9, 1e15):
        for time_s in (-math.inf, -1.0, 0.0, 1e-9, 1.0, 1e9, math.inf):
            frequency_hz = spec.choose_hz(cycles, time_s)
            assert spec.min_frequency_hz <= frequency_hz <= spec.max_frequency_hz
            assert spec.by_job or frequency_hz == spec.choose_hz(1.0, math.inf)
    powers_w = [spec.power_w(hz) for hz in (spec.min_frequency_hz, spec.max_frequency_hz)]
    assert powers_w == sorted(powers_w)
    assert powers_w[0] >= spec.static_w


def device_profile(spec: Any) -> None:
    assert isinstance(spec, DeviceProfile)
    assert spec.count is None
    assert spec.flop_per_s >= 1e9
    assert spec.memory_bytes >= 10**9
    assert min(spec.idle_w, spec.compute_w, spec.rx_w, spec.tx_circuit_w) >= 0
    assert 0 < spec.amplifier_efficiency <= 1
    settings = {name: getattr(spec, name) for name in DeviceProfile.model_fields if name != "count"}
    build_spec(FAMILIES["device_profile"]["custom"], from_python(settings), FAMILIES, family=Family("device_profile"))


def dataset(spec: Any, folder: Any) -> None:
    if isinstance(spec, Cifar):
        write_folder(type(spec), folder := folder / spec.kind)
    if "directory" in type(spec).model_fields:
        spec = spec.model_copy(update={"directory": str(folder)})
    for path in spec.find():
        assert path.is_file()
    data = spec.load(STREAMS)
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        assert x.shape[1:] == spec.input_shape
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        assert len(x) == len(y) > 0
        assert x.min() >= 0
        assert x.max() <= 1
        assert set(y.tolist()) == set(range(data.num_classes))
    assert data.num_classes == spec.num_classes
    assert data.digest == spec.load(RandomStreams(STREAMS.seed)).digest
    fewer = spec.model_copy(update={"max_train": 33, "max_test": 22})
    assert fewer.num_train_kept() == len(fewer.load(STREAMS).train_y) == 33
    assert len(fewer.load(STREAMS).test_y) == 22


def partition(spec: Any) -> None:
    labels = np.random.default_rng(0).integers(0, 10, 900)
    parts = spec.assign(labels, num_clients=7, num_classes=10, rng=np.random.default_rng(1))
    assert len(parts) == 7
    assert all(len(part) for part in parts)
    assert all((np.diff(part) > 0).all() for part in parts)
    together = np.concatenate(parts)
    assert len(set(together.tolist())) == len(together)
    assert set(together.tolist()) <= set(range(900))
    again = spec.assign(labels, num_clients=7, num_classes=10, rng=np.random.default_rng(1))
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))
    with pytest.raises(ValueError, match="training samples"):
        spec.check(11, 10, 10)


def augmentation(spec: Any) -> None:
    import torch

    for shape in ((1, 8, 8), (3, 12, 10)):
        x = torch.rand(20, *shape, generator=generator())
        draws, other = generator(1), generator(1)
        view = spec.apply(x, draws)
        assert view.shape == x.shape
        assert view.dtype == x.dtype
        assert view.isfinite().all()
        assert not torch.equal(view, x)
        assert torch.equal(view, spec.apply(x, other))
        assert torch.equal(draws.get_state(), other.get_state())
        assert not torch.equal(view, spec.apply(x, draws))
        spec.apply(torch.zeros_like(x), other)
        assert torch.equal(draws.get_state(), other.get_state()), "draws depend on the shape only"


def feature_skew(spec: Any) -> None:
    x = np.random.default_rng(0).random((20, 3, 8, 6), dtype=np.float32)
    before = x.copy()

    def seen(client: int, split: str = "train") -> Any:
        return spec.apply(x, client=client, num_clients=5, streams=RandomStreams(STREAMS.seed), split=split)

    for client in (4, 0, 2):
        y = seen(client)
        assert y.shape == x.shape
        assert y.dtype == np.float32
        assert ((y >= 0) & (y <= 1)).all()
        assert np.array_equal(y, seen(client))
        assert seen(client, "test").shape == x.shape
    assert np.array_equal(x, before), "the data set is left as it is"
    labels = [spec.label(client=client, num_clients=5, streams=STREAMS) for client in range(5)]
    if spec.kind == "none":
        assert np.array_equal(seen(4), x)
        assert labels == [None] * 5
    else:
        assert not np.allclose(seen(4), x, atol=0.05)
        assert not np.array_equal(seen(4), seen(0))
        assert len(set(labels)) == 5
        assert all(0 < len(label) < 30 for label in labels if label is not None)
    nothing = spec.apply(x[:0], client=0, num_clients=1, streams=STREAMS, split="test")
    assert nothing.shape == (0, 3, 8, 6)


def _same_start(build: Callable[[Any], Any]) -> Any:
    """Build twice from one seed, once from another, with the global generator disturbed; return the first."""
    import torch

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second, other = build(generator(0)), build(generator(0)), build(generator(1))
    assert torch.equal(state, torch.get_rng_state()), "the global random state isn't touched"
    one, two, three = (torch.cat([p.flatten() for p in m.parameters()]) for m in (first, second, other))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert one.isfinite().all()
    assert not list(first.buffers()), "statistics can't be averaged"
    return first


def _num_values(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def extractor(spec: Any) -> None:
    import torch

    shape = (1, 12, 12)
    spec.check(shape)
    module = _same_start(partial(spec.build, shape))
    assert _num_values(module) == spec.num_parameters(shape)
    h = module(torch.rand(5, *shape, generator=generator()))
    assert h.shape == (5, spec.num_features)
    assert h.isfinite().all()


def expert(spec: Any) -> None:
    import torch

    module = _same_start(partial(spec.build, 6, 4))
    assert _num_values(module) == spec.num_parameters(6, 4)
    assert module(torch.rand(5, 6, generator=generator())).shape == (5, 4)


def gate(spec: Any) -> None:
    import torch

    module = _same_start(partial(spec.build, 6, 4))
    names = list(module.state_dict())
    assert {name.partition(".")[0] for name in names} == {"shared", "local"}
    assert _num_values(module) == spec.num_parameters(6, 4)
    assert _num_values(module.shared) == spec.num_shared_parameters(6, 4)
    assert module(torch.rand(5, 6, generator=generator())).shape == (5, 4)


def _trained(key: str, spec: Any, changes: Any = ()) -> Any:
    """Prepare the tiny scenario with one stage replaced and run all its training."""
    from nmoe_sim.checks import check
    from nmoe_sim.lifecycle import train
    from nmoe_sim.preparation import prepare

    scenario = tiny_scenario({key: spec, **dict(changes)})
    learning = prepare(scenario, check(scenario))
    env = learning.simulation.env
    env.run(env.process(train(learning)))
    return learning


def _partners(spec: Any) -> dict[str, Any]:
    """The other stages that a training needs."""
    partners = {f"training.{key}": {"kind": kinds[0]} for key, kinds in spec.goes_with.items()}
    if spec.kind == "head":
        partners["training.extractor"] = {"kind": "fedce", "rounds": 1, "head": "expert"}
    if spec.kind == "joint":
        partners |= {"training.extractor": {"kind": "centralised", "rounds": 1}, "training.experts": {"kind": "head"}}
    return partners


def _of_rounds(spec: Any, number: int) -> Any:
    return spec.model_copy(update={"rounds": number}) if "rounds" in type(spec).model_fields else spec


def _books(learning: Any, stage: str, spec: Any) -> None:
    """Every client has a row a round, in time, with a finite loss; a stage takes time and moves real bytes."""
    rounds = learning.simulation.recorder.arrow("rounds").to_pandas()
    rounds = rounds[rounds["stage"] == stage]
    if spec.kind in ("untrained", "local_only", "head", "own", "oracle", "joint"):
        assert rounds.empty
        return
    assert len(rounds) == 3 * rounds["round"].nunique() > 0
    assert set(rounds["client"]) == set(learning.clients)
    assert np.isfinite(rounds["loss"]).all() or spec.kind == "centralised"
    assert (rounds["t_end_s"] > rounds["t_start_s"]).all()
    assert rounds["num_samples"].tolist() == learning.data.num_train * rounds["round"].nunique()
    hops = learning.simulation.recorder.arrow("transfers").to_pandas()
    for column, end, other in (("bytes_down", "dst", "src"), ("bytes_up", "src", "dst")):
        moved = hops[(hops["stage"] == stage) & hops["round"].notna() & (hops[other] == learning.server)]
        assert rounds.groupby("client")[column].sum().sum() == moved.groupby(end)["n_bytes"].sum().sum()


def extractor_training(spec: Any) -> None:
    learning = _trained("training.extractor", _of_rounds(spec, 2), _partners(spec))
    _books(learning, "extractor", spec)
    width = learning.model.extractor.num_features
    assert [h.shape for h in learning.train_h] == [(n, width) for n in learning.data.num_train]
    assert [head.keys() for head in learning.heads] == [learning.expert.state_dict().keys()] * 3 or (
        not spec.trains_experts
    )
    assert learning.tested_h.isfinite().all()


def expert_training(spec: Any) -> None:
    learning = _trained("training.experts", spec, _partners(spec))
    _books(learning, "experts", spec)
    assert learning.tested_outputs.shape == (3, 60, 10)
    assert learning.tested_outputs.isfinite().all()
    assert [o.shape for o in learning.train_outputs] == [(n, 3, 10) for n in learning.data.num_train]


def gate_training(spec: Any) -> None:
    learning = _trained("training.gate", _of_rounds(spec, 2), {"model.gate.kind": "channel_aware", **_partners(spec)})
    _books(learning, "gate", spec)
    assert 1 <= spec.experts_held(3) <= 3
    scores = learning.test_scores()
    assert scores.shape == (3, 60, 3)
    assert (scores.isfinite().sum(dim=-1) >= 1).all()
    if spec.kind in ("own", "oracle"):
        assert (scores.isfinite().sum(dim=-1) == 1).all()
        assert learning.costs.gate_flop == learning.costs.gate_bytes == 0
        return
    assert scores.isfinite().all()
    names = learning.gate.state_dict().keys()
    assert [state.keys() for state in learning.gates] == [names] * 3
    assert any(
        not bool((state[name] == learning.gate.state_dict()[name]).all()) for state in learning.gates for name in names
    )


def _state(seed: int) -> dict[str, Any]:
    import torch

    draws = generator(seed)
    shapes = {"weight": (4, 3), "bias": (4,), "none": (0,)}
    return {name: torch.randn(shape, generator=draws) for name, shape in shapes.items()}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    import torch

    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def local_update(spec: Any) -> None:
    from nmoe_sim.nmoe.optimizer import Optimizer

    assert isinstance(spec.proximal, float)
    assert 0 <= spec.proximal < math.inf
    spec.check(Optimizer(momentum=0.0))
    if spec.has_variates:
        variate, received, trained = _state(0), _state(1), _state(2)
        still = {name: 0 * tensor for name, tensor in variate.items()}
        assert _same(spec.offset(variate, variate), still)
        new = spec.new_variate(variate, still, received, trained, 3, 0.1)
        assert {name: tensor.shape for name, tensor in new.items()} == {n: t.shape for n, t in variate.items()}
        assert _same(spec.new_variate(still, still, received, received, 3, 0.1), still)


def server_update(spec: Any) -> None:
    import torch

    current, mean = _state(0), _state(1)
    moved, memory = spec.step(current, mean, {})
    again = spec.step(_state(0), _state(1), {})
    assert _same(moved, again[0])
    assert _same(memory, again[1])
    for name, tensor in moved.items():
        assert torch.equal((tensor - current[name]).sign(), (mean[name] - current[name]).sign())
    assert _same(spec.step(current, current, {})[0], current)
    moved, memory = spec.step(moved, mean, memory)
    assert all(torch.isfinite(tensor).all() for tensor in (*moved.values(), *memory.values()))


def protocol(spec: Any) -> None:
    """Makes the versions that it was asked for, and tells of every client in every round how it went."""
    from nmoe_sim.training.federation.selection import AllClients, RandomClients

    spec.check(AllClients() if spec.kind != "over_selection" else RandomClients(share=0.4))
    share = {"training.extractor.selection": {"kind": "random", "share": 0.4}}
    stage = {"training.extractor.rounds": 4, "topology": {"kind": "grid", "num_devices": 3}}
    path_loss = {"radio.path_loss": {"kind": "free_space"}}
    learning = _trained("training.extractor.protocol", spec, {**share, **stage, **path_loss})
    rounds = learning.simulation.recorder.arrow("rounds").to_pandas()
    rounds = rounds[rounds["stage"] == "extractor"]
    counts = rounds["participated"]
    versions = set(rounds.loc[counts, "version"])
    assert versions
    assert versions <= set(range(1, 5 if spec.has_server else 5 + spec.consensus_rounds))
    assert rounds.loc[counts, "reason"].isna().all()
    assert rounds.loc[~counts, "reason"].str.len().gt(0).all()
    assert rounds.loc[counts, "loss"].notna().sum() >= len(versions) or not spec.has_server
    assert (rounds["t_end_s"] >= rounds["t_start_s"]).all()
    assert not rounds.duplicated(["round", "client"]).any()
    if spec.has_rounds:
        assert set(rounds["client"]) == set(learning.clients)
        assert (rounds.groupby("round").size() == 3).all()
    assert learning.tested_h.isfinite().all()


def selection(spec: Any) -> None:
    """Chooses among those who can, so many of them, and the same again."""
    from nmoe_sim.checks import check
    from nmoe_sim.preparation import prepare
    from nmoe_sim.training.federation.selection import Candidates

    scenario = tiny_scenario({"topology.num_devices": 7})
    learning = prepare(scenario, check(scenario))
    sizes = learning.data.num_train
    assert 1 <= spec.number(7) <= 7
    assert 0 < spec.sampling_rate(7) <= 1
    for number in range(20):
        for able in (list(range(7)), [1, 4, 6], [5], []):
            candidates = Candidates(able, 7, number, [number] * 7, sizes, learning.clock("extractor"))
            chosen = spec.choose(candidates)
            assert len(set(chosen)) == len(chosen)
            assert set(chosen) <= set(able)
            assert len(chosen) == min(spec.number(7), len(able)) or spec.sampling_rate(7) < 1
            assert chosen == spec.choose(candidates)
            assert len(spec.choose(candidates, 2)) == min(2, len(able))


def compression(spec: Any) -> None:
    sizes = {name: tensor.numel() for name, tensor in _state(0).items()}
    assert spec.payload_bytes({}) == 0
    assert 0 < spec.payload_bytes(sizes) <= 4 * sum(sizes.values()) + 100
    assert isinstance(spec.payload_bytes(sizes), int)
    received, residual = spec.compress(_state(0), None, generator())
    assert {name: tensor.shape for name, tensor in received.items()} == {n: t.shape for n, t in _state(0).items()}
    assert (residual is not None) == spec.keeps_residual
    again = spec.compress(_state(0), None, generator())
    assert _same(received, again[0])
    if residual is not None:
        assert _same({name: received[name] + residual[name] for name in received}, _state(0))
    nothing = {name: 0 * tensor for name, tensor in _state(0).items()}
    assert _same(spec.compress(nothing, None, generator())[0], nothing)


def privacy(spec: Any) -> None:
    assert isinstance(spec.equal_weights, bool)
    small = {name: 1e-3 * tensor for name, tensor in _state(0).items()}
    assert _same(spec.clip(small), small)
    clipped = spec.clip({name: 1e3 * tensor for name, tensor in _state(0).items()})
    assert _same(spec.clip(clipped), clipped)
    noisy = spec.noise(small, 4, generator())
    assert _same(noisy, spec.noise(small, 4, generator()))
    assert {name: tensor.shape for name, tensor in noisy.items()} == {n: t.shape for n, t in small.items()}
    assert 0 <= spec.epsilon(1, 0.5) <= spec.epsilon(1, 1.0) <= spec.epsilon(10, 1.0)


def placement(spec: Any) -> None:
    from nmoe_sim.placement.problem import PlacementProblem

    rng = np.random.default_rng(4)
    delay_s = rng.uniform(0.01, 0.1, (4, 6))
    delay_s[np.arange(4), np.arange(4)] = 0.0
    problem = PlacementProblem(
        demand_hz=rng.uniform(0.5, 2.0, (4, 4)),
        link_delay_s=delay_s,
        client_device=np.arange(4),
        expert_flop=np.full(4, 1e6),
        expert_bytes=np.full(4, 1000),
        flop_per_s=np.array([1e9, 1e9, 1e9, 1e9, 5e9, 2e9]),
        free_memory_bytes=np.array([1500, 1500, 1500, 1500, 2500, 900]),
        owner=np.arange(4),
    )
    answer = spec.solve(problem, np.random.default_rng(5))
    assert problem.violations(answer.hosts) == ()
    assert answer.objective == pytest.approx(problem.evaluate(answer.hosts))
    assert answer.solver == spec.kind
    assert answer.bound is None or answer.bound <= answer.objective
    again = spec.solve(problem, np.random.default_rng(5))
    assert np.array_equal(answer.hosts, again.hosts)
    assert spec.max_utilisation is None or 0 < spec.max_utilisation <= 1


def feature_transport(spec: Any) -> None:
    import torch

    h = 3 * torch.randn(50, 12, generator=generator()).relu()
    sizes = [spec.num_bytes(n) for n in range(1, 40)]
    assert all(isinstance(size, int) and size > 0 for size in sizes)
    assert sizes == sorted(sizes)
    received = spec.received(h)
    assert (received.shape, received.dtype) == (h.shape, h.dtype)
    assert torch.equal(received[7:8], spec.received(h[7:8]))  # a function of the sample
    assert not spec.is_exact or torch.equal(received, h)
    assert (received - h).square().mean() < 0.01 * h.square().mean()
    assert not (spec.is_exact and spec.is_analog)


CONTRACTS: dict[str, Callable[..., None]] = {
    "dataset": dataset,
    "partition": partition,
    "feature_skew": feature_skew,
    "augmentation": augmentation,
    "topology": topology,
    "mobility": mobility,
    "handover": handover,
    "faults": faults,
    "dvfs": dvfs,
    "device_profile": device_profile,
    "channel": channel,
    "path_loss": path_loss,
    "shadowing": shadowing,
    "fading": fading,
    "antenna": antenna,
    "link_adaptation": link_adaptation,
    "sharing": sharing,
    "extractor": extractor,
    "expert": expert,
    "gate": gate,
    "extractor_training": extractor_training,
    "expert_training": expert_training,
    "gate_training": gate_training,
    "local_update": local_update,
    "server_update": server_update,
    "protocol": protocol,
    "selection": selection,
    "compression": compression,
    "privacy": privacy,
    "placement": placement,
    "arrivals": arrivals,
    "feature_transport": feature_transport,
    "routing": routing,
}


def test_every_family_has_a_contract():
    assert CONTRACTS.keys() == FAMILIES.keys()


@pytest.mark.parametrize(("family", "kind"), ROWS)
def test_contract(family, kind, request, monkeypatch):
    extra = [request.getfixturevalue("fashion_files")] if family == "dataset" else []
    if issubclass(FAMILIES[family][kind], Cifar):
        shrink(monkeypatch, FAMILIES[family][kind])
    CONTRACTS[family](make(family, kind), *extra)


@pytest.mark.parametrize("family", CONTRACTS)
def test_the_default_of_a_family_is_one_of_its_rows(family):
    """Every place in a scenario that names this family builds its default."""
    from nmoe_sim.scenario.scenario import Scenario
    from nmoe_sim.scenario.slots import slots

    found = []

    def walk(cls: type[Spec]) -> None:
        for slot in slots(cls).values():
            if slot.section is not None:
                walk(slot.section)
            elif slot.family is not None and slot.family.name == family:
                found.append(slot.family.default)
                assert slot.family.default is None or slot.family.default in FAMILIES[family]

    for cls in (Scenario, *(cls for table in FAMILIES.values() for cls in table.values())):
        walk(cls)
    assert found, "no place in a scenario names this family"
