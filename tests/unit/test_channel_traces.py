"""Gains from a file: between its samples, beyond them, and what a file may hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from channels.sites import Sites
from channels.traced import GainSamples, SampleError, TracedGains
from nmoe_sim.engine.radio.channel import Trace
from nmoe_sim.errors import InputError
from nmoe_sim.rng import RandomStreams

NODES = ("dev0", "dev1", "dev2", "bs0")
SITES = Sites.static([(0, 0), (30, 40), (0, 100), (0, 0)], [1.5, 1.5, 1.5, 10.0], names=NODES, is_station=[0, 0, 0, 1])
ROWS = """t_s,src,dst,gain_db,comment
0.2,dev0,bs0,-90,x
0.0,dev0,bs0,-80,
0.1,dev0,bs0,-85,y
0.0,bs0,dev1,-70,
0.2,bs0,dev1,-100,
0.0,dev1,bs0,-71,
0.2,dev1,bs0,-101,
"""


def traced(rows: list[tuple[float, int, int, float]], **settings: Any) -> TracedGains:
    t_s, src, dst, gain_db = zip(*rows, strict=True)
    return TracedGains(GainSamples.of(src, dst, t_s, gain_db), SITES, **settings)


def one_pair(times_s: list[float], gains_db: list[float], **settings: Any) -> TracedGains:
    return traced([(t, 0, 3, g) for t, g in zip(times_s, gains_db, strict=True)], **settings)


@pytest.mark.parametrize("interpolation", ["linear", "previous"])
@pytest.mark.parametrize("regular", [True, False])
def test_every_lookup_is_that_of_its_pair_alone(interpolation: str, regular: bool) -> None:
    rng = np.random.default_rng(1)
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    series = {}
    for pair in pairs:
        some = np.arange(50, 1000, 50) if regular else rng.integers(1, 1000, size=rng.integers(1, 30))
        times_s = np.unique([0.0, *(some / 1000), 1.0])
        series[pair] = (times_s, rng.uniform(-120, -60, len(times_s)))
    rows = [(t, a, b, g) for (a, b), of_pair in series.items() for t, g in zip(*of_pair, strict=True)]
    gains = traced([rows[i] for i in rng.permutation(len(rows))], interpolation=interpolation)

    src, dst = np.array(pairs * 2).T
    asked_s = np.sort(rng.uniform(0, 1, 50))
    got = gains.gain_db(src, dst, asked_s)
    assert got.shape == (50, 24)
    for m, pair in enumerate(zip(src.tolist(), dst.tolist(), strict=True)):
        times_s, gains_db = series[pair]
        if interpolation == "linear":
            expected = np.interp(asked_s, times_s, gains_db)
        else:
            expected = gains_db[np.searchsorted(times_s, asked_s, side="right") - 1]
        np.testing.assert_allclose(got[:, m], expected, atol=1e-3)  # times are taken to the nanosecond


def test_blocks_begin_at_their_samples_however_times_are_rounded() -> None:
    frame = np.arange(20_001)
    gains = one_pair(np.round(frame / 30, 9).tolist(), (-frame / 1000).tolist(), interpolation="previous")
    assert gains.block_s == pytest.approx(1 / 30, abs=1e-13)
    np.testing.assert_array_equal(np.round(-1000 * gains.gain_db([0], [3], frame * gains.block_s)[:, 0]), frame)
    power = gains.power_gain([0, 3], [3, 0], [0, 10_000, 20_000])
    np.testing.assert_allclose(power[:, :, 0], np.repeat([[1.0], [0.1], [0.01]], 2, axis=1), rtol=1e-9)
    coarse = one_pair([0.0, 0.01, 0.02, 0.5], [0, -1, -2, -3], step_s=0.25, interpolation="previous")
    np.testing.assert_allclose(10 * np.log10(coarse.power_gain([0], [3], [0, 1, 2]).ravel()), [0, -2, -3])


@pytest.mark.parametrize("interpolation", ["linear", "previous"])
def test_after_the_end(interpolation: str) -> None:
    def after(policy: str) -> list[float]:
        gains = one_pair([0.0, 0.1, 0.2], [0, -10, -20], after_end=policy, interpolation=interpolation)
        return gains.gain_db([0], [3], [0.2, 0.3, 0.4, 0.5, 0.6, 30_000.1])[:, 0].tolist()

    np.testing.assert_allclose(after("hold"), [-20] * 6)
    np.testing.assert_allclose(after("repeat"), [-20, 0, -10, -20, 0, -10], atol=1e-6)
    np.testing.assert_allclose(after("refuse"), [-20] + [np.nan] * 5)
    gains = one_pair([0.0, 0.1, 0.2], [0, -10, -20], after_end="repeat", interpolation="linear")
    np.testing.assert_allclose(gains.gain_db([0], [3], [0.25, 0.35])[:, 0], [-20, -5], atol=1e-6)
    assert "the trace: ends at 0.2 s and is asked for 0.3 s; set after_end to 'hold'" in one_pair(
        [0.0, 0.1, 0.2], [0, 0, 0]
    ).why_nan(0, 3, 0.3)


def test_what_is_missing() -> None:
    rows = [(0.0, 0, 3, -80.0), (1.0, 0, 3, -90.0), (0.25, 1, 3, -60.0), (0.75, 1, 3, -70.0)]
    refusing, open_air = traced(rows), traced(rows, missing="no_path")
    src, dst = np.array([0, 1, 2, 0]), np.array([3, 3, 3, 0])
    asked_s = np.array([0.0, 0.5, 1.0])
    np.testing.assert_allclose(
        refusing.gain_db(src, dst, asked_s),
        [[-80, np.nan, np.nan, -np.inf], [-85, -65, np.nan, -np.inf], [-90, np.nan, np.nan, -np.inf]],
    )
    power = open_air.power_gain(src, dst, np.array([0, 1, 2]))[..., 0]
    assert open_air.block_s == 0.25
    np.testing.assert_allclose(power, [[1e-8, 0, 0, 0], [10**-8.25, 1e-6, 0, 0], [10**-8.5, 10**-6.5, 0, 0]])
    assert refusing.why_nan(2, 3, 0.0).startswith("the trace: has no gains from dev2 to bs0; give them, or set missing")
    assert "has gains from dev1 to bs0 from 0.25 to 0.75 s and is asked for 1 s" in refusing.why_nan(1, 3, 1.0)
    assert refusing.has(src, dst).tolist() == [True, True, False, False]


def test_the_other_direction() -> None:
    rows = [(0.0, 0, 3, -80.0), (0.0, 1, 3, -60.0), (0.0, 3, 1, -65.0)]
    asked = ([3, 0, 3, 1], [0, 3, 1, 3], [0.0])
    np.testing.assert_allclose(traced(rows).gain_db(*asked), [[-80, -80, -65, -60]])
    np.testing.assert_allclose(traced(rows, reciprocal=False).gain_db(*asked), [[np.nan, -80, -65, -60]])


def test_one_time_holds_always() -> None:
    gains = one_pair([0.0], [-80.0])
    assert gains.block_s == np.inf
    large = gains.large_scale([0, 3], [3, 0], [0.0, 1e6])
    np.testing.assert_allclose(large.mean_gain_db, np.full((2, 2), -80.0))
    np.testing.assert_allclose(gains.power_gain([0], [3], [0, 0])[..., 0], [[1e-8], [1e-8]])


def test_large_scale_tells_distances_and_not_line_of_sight() -> None:
    large = traced([(0.0, 0, 1, -80.0), (0.0, 2, 3, -90.0)]).large_scale([0, 3], [1, 2], [0.0])
    np.testing.assert_allclose(large.distance_2d_m, [[50.0, 100.0]])
    assert large.is_los.tolist() == [[None, None]]


@pytest.mark.parametrize(
    ("samples", "row", "rule"),
    [
        (([0, 0], [1, 1], [0.0, -1.0], [-80, -80]), 1, "its time is not from 0 to 1e9 s"),
        (([0, 0], [1, 1], [0.0, np.nan], [-80, -80]), 1, "its time is not"),
        (([0, 0], [1, 1], [0.0, 1.0], [-80, -np.inf]), 1, "its gain is not finite"),
        (([0, 2], [1, 2], [0.0, 1.0], [-80, -80]), 1, "from a node to itself"),
        (([0, 1, 0], [1, 0, 1], [0.3, 0.3, 0.3], [-80, -81, -80]), 2, "one before it has the same pair and time"),
        (([0, 0], [1, 1], [0.3, 0.1 + 0.2], [-80, -80]), 1, "the same pair and time"),
    ],
)
def test_a_sample_that_breaks_a_rule(samples: tuple[list[Any], ...], row: int, rule: str) -> None:
    with pytest.raises(SampleError, match=rule) as caught:
        GainSamples.of(*samples)
    assert caught.value.row == row


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        GainSamples.of([], [], [], [])
    with pytest.raises(ValueError, match="one element for each"):
        GainSamples.of([0], [1], [0.0], [-80, -90])


def built(**settings: Any) -> TracedGains:
    gains = Trace(**settings).build(SITES, SimpleNamespace(), RandomStreams(0).uniform)  # type: ignore[arg-type]
    assert isinstance(gains, TracedGains)
    return gains


def test_gains_are_the_files(folder: Path) -> None:
    Path("gains.csv").write_text(ROWS)
    frame = pd.read_csv("gains.csv")
    frame.sample(frac=1, random_state=0).to_parquet("gains.parquet")
    frame.astype({"src": "category", "gain_db": "float32"}).to_parquet("other.parquet")
    for file in ("gains.csv", "gains.parquet", "other.parquet"):
        gains = built(file=file)
        assert gains.block_s == 0.1
        np.testing.assert_allclose(
            gains.gain_db([0, 3, 3, 1], [3, 0, 1, 3], [0.0, 0.05, 0.1, 0.2]),
            [[-80, -80, -70, -71], [-82.5, -82.5, -77.5, -78.5], [-85, -85, -85, -86], [-90, -90, -100, -101]],
        )
    stepped = built(file="gains.csv", interpolation="previous", step_s=0.05, after_end="hold")
    assert stepped.block_s == 0.05
    np.testing.assert_allclose(10 * np.log10(stepped.power_gain([3], [1], [3, 4, 99])).ravel(), [-70, -100, -100])


def test_a_pair_that_only_looks_like_another_is_another(folder: Path) -> None:
    """Neither the order of names in the file nor in the network plays a part."""
    Path("gains.csv").write_text("t_s,src,dst,gain_db\n0,bs0,dev2,-1\n0,dev2,dev0,-2\n0,dev1,bs0,-3\n")
    gains = built(file="gains.csv", missing="no_path")
    np.testing.assert_allclose(gains.gain_db([3, 2, 1, 0, 0], [2, 0, 3, 1, 3], [0.0]), [[-1, -2, -3, -np.inf, -np.inf]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "gains.csv: can't be read: Empty CSV file"),
        ("t_s,src,dst\n0,a,b\n", "gains.csv: no column 'gain_db'; it needs the columns t_s, src, dst, gain_db"),
        ("t_s,src,dst,gain_db\n", "gains.csv: has no rows"),
        ("t_s,src,dst,gain_db\n0,dev0,bs0,-80\nsoon,dev0,bs0,-80\n", "gains.csv: line 3: t_s is 'soon'; give a time"),
        ("t_s,src,dst,gain_db\n-1,dev0,bs0,-80\n", "gains.csv: line 2: t_s is '-1'; give a time of at least 0"),
        ("t_s,src,dst,gain_db\n0,dev0,bs0,nan\n", "gains.csv: line 2: gain_db is 'nan'; give a finite gain"),
        ("t_s,src,dst,gain_db\n0,dev0,bs0,-inf\n", "gains.csv: line 2: gain_db is '-inf'; give a finite gain"),
        ("t_s,src,dst,gain_db\n0,dev0,bs0,95\n", "a path loss of 100 dB is a gain of -100"),
        ("t_s,src,dst,gain_db\n0,,bs0,-80\n", "gains.csv: line 2: src is ''; give the name of a node"),
        ("t_s,src,dst,gain_db\n0,a,b,-80\n0,bs0,bs0,-80\n", "line 3: dst is 'bs0'; it is a path from a node to"),
        ("t_s,src,dst,gain_db\n0,a,b,-80\n0,b,a,-8\n0,a,b,-81\n", "gains.csv: line 4: dst is 'b'; one before it has"),
        ("t_s,src,dst,gain_db\n5,a,b,-80\n6,a,b,-80\n", "gains.csv: the first t_s is 5 and a run starts at 0;"),
    ],
)
def test_a_broken_file_is_an_error_that_names_the_line(folder: Path, text: str, message: str) -> None:
    Path("gains.csv").write_text(text)
    with pytest.raises(ValueError, match="gains") as caught:
        Trace(file="gains.csv")
    assert message in str(caught.value)


def test_a_file_that_does_not_fit_the_network(folder: Path) -> None:
    Path("gains.csv").write_text("t_s,src,dst,gain_db\n0,dev0,bs0,-80\n0,dve1,bs0,-80\n")
    stranger = r"gains\.csv: line 3: src is 'dve1'; no node has that name; did you mean 'dev1'\?"
    with pytest.raises(InputError, match=rf"^radio\.channel\.file: {stranger}"):
        built(file="gains.csv")
    Path("gains.csv").write_text("t_s,src,dst,gain_db\n0,dev0,Basis,-80\n")
    with pytest.raises(InputError, match=r"line 2: dst is 'Basis'; no node has that name; one of dev0, dev1, "):
        built(file="gains.csv")
    Path("gains.csv").write_text(ROWS)
    up, down = np.array([0, 1, 2]), np.array([3, 3, 3])
    Trace(file="gains.csv").check(SITES, up[:2], down[:2])
    with pytest.raises(InputError, match=r"gains\.csv has no gains from dev2 to bs0, bs0 to dev2; give them, or set"):
        Trace(file="gains.csv").check(SITES, np.append(up, down), np.append(down, up))
    Trace(file="gains.csv", missing="no_path").check(SITES, up, down)
    Path("gains.csv").write_text("t_s,src,dst,gain_db\n0,dev0,bs0,-80\n1e-6,dev0,bs0,-81\n")
    with pytest.raises(InputError, match=r"times 1e-06 s apart, .*; set radio\.channel\.step_s"):
        built(file="gains.csv")
    assert built(file="gains.csv", step_s=0.1).block_s == 0.1
