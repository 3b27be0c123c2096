"""Numbers behind the figures, and that every figure is drawn, the same each time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from conftest import TINY

from analysis import figures
from analysis.figures.latency import SPAN_GROUPS, grouped_breakdown
from analysis.figures.series import (
    Curve,
    bands,
    cdf,
    energy_by_device,
    expert_use,
    link_samples,
    link_sinr,
    mean_over_seeds,
    radio_hops,
    training_curves,
)
from nmoe_sim import load_run
from nmoe_sim.cli import main

Tables = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Tables]:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.yaml").write_text(TINY.replace("rounds: 1", "rounds: 3, evaluate_every: 1"))
    for seed in (1, 2):
        scenario, out = str(folder / "tiny.yaml"), str(folder / str(seed))
        assert main(["run", scenario, "--seed", str(seed), "--out", out, "--quiet"]) == 0
    return [load_run(folder / str(seed)).tables for seed in (1, 2)]


@pytest.fixture
def tables(runs: list[Tables]) -> Tables:
    return runs[0]


def test_cdf_of_few_requests_is_exact() -> None:
    x_s, share = cdf([0.3, 0.1, np.nan, 0.2])
    assert x_s.tolist() == [0.1, 0.2, 0.3]
    assert share.tolist() == [0.25, 0.5, 0.75], "the request without an answer never ends"


def test_cdf_of_many_requests_goes_through_quantiles() -> None:
    latency_s = np.random.default_rng(0).lognormal(size=100_000)
    latency_s[:1000] = np.nan
    x_s, share = cdf(latency_s, num_points=200)
    assert len(x_s) <= 200
    np.testing.assert_allclose(share, [np.mean(latency_s <= x) for x in x_s], rtol=1e-12)
    assert x_s[-1] == np.nanmax(latency_s)
    assert np.sum(share > 0.97) > 20, "the tail is resolved"


def test_cdf_of_nothing_is_empty() -> None:
    assert [len(part) for part in cdf([])] == [0, 0]
    assert [len(part) for part in cdf([np.nan])] == [0, 0]


def test_energy_by_device_adds_up(tables: Tables) -> None:
    joules = energy_by_device(tables)
    assert list(joules.index) == list(tables["devices"]["device"])
    np.testing.assert_allclose(joules.sum(axis=None), tables["energy"]["energy_j"].sum(), rtol=1e-12)
    parts = energy_by_device(tables, "training") + energy_by_device(tables, "inference")
    pd.testing.assert_frame_equal(parts, joules)


def test_expert_use_counts_every_expert_asked(tables: Tables) -> None:
    counts, requests = expert_use(tables), tables["requests"]
    for client, expert in itertools.product(counts.index, counts.columns):
        asked = requests.loc[requests["client"] == client, "experts"]
        assert counts.loc[client, expert] == sum(expert in experts for experts in asked)


def test_link_sinr_is_the_median_between_the_right_places(tables: Tables) -> None:
    row = link_sinr(tables).iloc[0]
    links, devices = tables["links"], tables["devices"].set_index("device")
    samples = links[(links["src"] == row["src"]) & (links["dst"] == row["dst"])]
    assert row["sinr_db"] == np.median(samples["sinr_db"])
    assert (row["src_x_m"], row["dst_y_m"]) == (devices.loc[row["src"], "x_m"], devices.loc[row["dst"], "y_m"])


def test_training_curves_count_what_had_ended(tables: Tables) -> None:
    spent = {against: training_curves(tables, against) for against in ("round", "time", "bytes", "joules")}
    assert [(c.stage, c.metric) for c in spent["time"]] == [("extractor", "accuracy_head"), ("gate", "accuracy_nmoe")]
    assert spent["round"][0].x.tolist() == [0, 1, 2]
    for curve, at, moved, used in zip(*(spent[a] for a in ("round", "time", "bytes", "joules")), strict=True):
        hops = tables["transfers"][tables["transfers"]["stage"].notna()]
        jobs = tables["compute"][tables["compute"]["stage"].notna()]
        for i, t_s in enumerate(at.x):
            done = hops[hops["t_end_s"] <= t_s]
            energy_j = done["tx_energy_j"].sum() + done["rx_energy_j"].sum()
            energy_j += jobs.loc[jobs["t_end_s"] <= t_s, "energy_j"].sum()
            assert moved.x[i] == done["n_bytes"].sum()
            assert used.x[i] == pytest.approx(energy_j, rel=1e-9)
        np.testing.assert_array_equal(curve.y, used.y)


def test_mean_interval_is_students() -> None:
    mean, half_width = mean_over_seeds([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half_width == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert np.isnan(mean_over_seeds([1.0])[1])


def test_bands_hold_the_last_value() -> None:
    first = Curve("gate", "accuracy", np.array([1.0, 3.0]), np.array([0.1, 0.3]))
    second = Curve("gate", "accuracy", np.array([2.0, 4.0]), np.array([0.5, 0.7]))
    [band] = bands([[first], [second]])
    assert band.x.tolist() == [2.0, 3.0, 4.0]
    assert band.mean.tolist() == pytest.approx([0.3, 0.4, 0.5])
    assert band.num_seeds == 2


def test_grouped_breakdown_adds_up_to_latency(tables: Tables) -> None:
    spans = grouped_breakdown(tables)
    assert tuple(spans.columns) == SPAN_GROUPS
    latency_s = tables["requests"].set_index("request_id")["latency_s"].dropna()
    np.testing.assert_allclose(spans.sum(axis=1), latency_s.loc[spans.index], rtol=1e-9)


def test_radio_hops_know_their_direction_and_phase(tables: Tables) -> None:
    hops, transfers = radio_hops(tables), tables["transfers"]
    assert set(hops["direction"]) == {"uplink", "downlink"}
    for direction, end in (("uplink", "dst"), ("downlink", "src")):
        np.testing.assert_array_equal(hops["direction"] == direction, transfers.loc[hops.index, end] == "bs0")
    parts = [radio_hops(tables, phase) for phase in ("training", "inference")]
    assert all(len(part) for part in parts)
    assert transfers.loc[parts[1].index, "request_id"].notna().all()
    pd.testing.assert_frame_equal(pd.concat(parts).sort_index(), hops)


def test_radio_hops_leave_wires_out_and_know_sidelinks(tables: Tables) -> None:
    transfers = tables["transfers"].head(3).assign(src="dev0", dst="dev1", sinr_db=[1.0, np.nan, 2.0])
    hops = radio_hops({**tables, "transfers": transfers})
    assert hops["sinr_db"].tolist() == [1.0, 2.0]
    assert hops["direction"].tolist() == ["sidelink"] * 2


def moving_tables(changes: list[tuple[float, str, str]]) -> Tables:
    """A device whose uplink goes to bs0 until 2 s, to bs1 until 4 s, and to bs0 again."""
    t_s = np.arange(6.0)
    links = pd.DataFrame(
        {
            "src": "dev0",
            "dst": np.where((t_s < 2) | (t_s > 3), "bs0", "bs1"),
            "t_s": t_s,
            "los": pd.array([True, True, False, None, True, True], dtype="boolean"),
            "sinr_db": t_s,
            "rate_bps": 1e6 * t_s,
        }
    )
    devices = pd.DataFrame({"device": ["dev0", "bs0", "bs1"], "kind": ["device", "base_station", "base_station"]})
    handovers = pd.DataFrame(
        [("dev0", *change) for change in changes], columns=["device", "t_s", "from_station", "to_station"]
    )
    return {"links": links[::-1], "devices": devices, "handovers": handovers}


HANDOVERS = [(1.7, "bs0", "bs1"), (3.9, "bs1", "bs0"), (4.2, "bs0", "bs1"), (4.6, "bs1", "bs0")]


def test_link_samples_follow_a_device_from_cell_to_cell() -> None:
    samples = link_samples(moving_tables(HANDOVERS), "dev0", None)
    assert samples["t_s"].tolist() == list(range(6))
    assert samples["peer"].tolist() == ["bs0", "bs0", "bs1", "bs1", "bs0", "bs0"]
    assert samples["piece"].rank(method="dense").tolist() == [1, 1, 2, 2, 3, 4], "it went and came back after 4 s"
    one = link_samples(moving_tables(HANDOVERS), "dev0", "bs0")
    assert one["t_s"].tolist() == [0, 1, 4, 5]
    assert one["piece"].nunique() == 3
    with pytest.raises(ValueError, match="name at least one end"):
        link_samples(moving_tables([]), None, None)


def test_link_over_time_shows_each_piece_and_line_of_sight() -> None:
    top, bottom = figures.link_over_time(moving_tables(HANDOVERS), "dev0", None).axes
    pieces = [line for line in top.lines if len(line.get_xdata()) and line.get_linestyle() == "-"]
    assert [list(line.get_xdata()) for line in pieces] == [[0, 1], [2, 3], [4], [5]]
    assert [line.get_color() for line in pieces] == [figures.PALETTE[i] for i in (0, 1, 0, 0)]
    assert [line.get_xdata()[0] for line in bottom.lines if line.get_linestyle() == "--"] == [1.7, 3.9, 4.2, 4.6]
    spans = sorted(patch.get_x() for patch in top.patches)
    assert spans == [0.0, 4.0], "until the next sample; what isn't known isn't shaded"
    assert [patch.get_width() for patch in top.patches] == [2.0, 1.0]
    [line] = figures.link_over_time(moving_tables([]), "dev0", "bs1", window_s=(3, 9)).axes[1].lines
    assert list(line.get_ydata()) == [3.0]


def test_cdf_of_rates_begins_with_those_that_got_nothing(tables: Tables) -> None:
    rates_bps = [0.0, 4e6, 1e6, np.nan]
    transfers = tables["transfers"].head(4).assign(src="dev0", dst="bs0", sinr_db=0.0, mean_rate_bps=rates_bps)
    [line] = figures.rate_cdf({"a": {**tables, "transfers": transfers}}).axes[0].lines
    assert list(line.get_xdata()) == [1.0, 1.0, 4.0]
    assert list(line.get_ydata()) == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_cdf_of_sinr_has_a_curve_a_run_and_direction(runs: list[Tables]) -> None:
    both = {"a": runs[0], "b": runs[1]}
    lines = figures.sinr_cdf(both).axes[0].lines
    assert [(line.get_color(), line.get_linestyle()) for line in lines] == [
        (color, style) for style in ("-", "--") for color in figures.PALETTE[:2]
    ]
    assert len(figures.sinr_cdf(both, by_direction=False, phase="inference").axes[0].lines) == 2
    up = radio_hops(runs[0]).query("direction == 'uplink'")["sinr_db"]
    assert lines[0].get_xdata()[0] == up.min()
    assert lines[0].get_xdata()[-1] == up.max()


def a_map() -> pd.DataFrame:
    x_m, y_m = (axis.ravel() for axis in np.meshgrid([5.0, 15.0, 25.0], [-5.0, 5.0]))
    return pd.DataFrame({"x_m": x_m, "y_m": y_m, "sinr_db": [-12.0, 0.0, 3.0, np.nan, -np.inf, 21.0]})


NODES = pd.DataFrame(
    {
        "device": ["dev0", "bs0", "bs1"],
        "kind": ["device", "base_station", "base_station"],
        "x_m": [6.0, 10.0, 20.0],
        "y_m": [0.0, 1.0, 2.0],
        "azimuth_deg": [np.nan, 90.0, np.nan],
    }
)


def test_sinr_map_shows_every_place_where_it_is() -> None:
    ax, bar = figures.sinr_map(a_map().sample(frac=1, random_state=0), NODES).axes
    [image] = ax.images
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), [[-12, 0, 3], [np.nan, -12, 21]])
    assert image.get_extent() == [0.0, 30.0, -10.0, 10.0]
    assert image.get_clim() == (-15.0, 25.0)
    assert ax.get_aspect() == 1.0
    assert bar.get_ylabel() == "SINR at full load (dB)"
    assert {tuple(xy) for marks in ax.collections for xy in marks.get_offsets()} == {(6, 0), (10, 1), (20, 2)}
    stroke = ax.lines[-1]
    assert np.ravel(stroke.get_xdata()) == pytest.approx([10, 10])
    assert np.ravel(stroke.get_ydata())[1] > 1


FIGURES: dict[str, Callable[[list[Tables]], Any]] = {
    "latency_cdf": lambda r: figures.latency_cdf({"a": r[0], "b": r[1]}, deadline_s=0.05),
    "latency_breakdown": lambda r: figures.latency_breakdown({"a": r[0], "b": r[1]}),
    "energy": lambda r: figures.energy(r[0], idle=True),
    "utilisation": lambda r: figures.utilisation(r[0]),
    "expert_heat_map": lambda r: figures.expert_heat_map(r[0]),
    "partition": lambda r: figures.partition(r[0]),
    "accuracy_against": lambda r: figures.accuracy_against({"a": r[0]}, "joules"),
    "learning_curves": lambda r: figures.learning_curves({"tiny": r}),
    "link_map": lambda r: figures.link_map(r[0]),
    "sinr_map": lambda r: figures.sinr_map(a_map(), NODES),
    "sinr_cdf": lambda r: figures.sinr_cdf({"a": r[0], "b": r[1]}),
    "rate_cdf": lambda r: figures.rate_cdf({"a": r[0]}, phase="training"),
    "link_over_time": lambda r: figures.link_over_time(r[0], "dev0", "bs0"),
    "pareto": lambda r: figures.pareto(
        pd.concat([t["summary"] for t in r]), "latency_mean_s", "accuracy_global", group="seed", better=("low", "high")
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_the_same_each_time(name: str, runs: list[Tables], tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    written = []
    for attempt in "ab":
        figure = FIGURES[name](runs)
        assert figure.get_figwidth() == figures.SINGLE_COLUMN_IN
        assert any(axes.has_data() for axes in figure.axes), "there is something in it"
        written.append([figures.save(figure, tmp_path / attempt / f"{name}{end}") for end in (".svg", ".pdf")])
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert dict(mpl.rcParams) == before, "matplotlib is left as it was"


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "pareto"])
def test_figures_of_a_run_without_requests_or_measurements(name: str, runs: list[Tables]) -> None:
    hollow = ("requests", "compute", "transfers", "links", "metrics")
    empty = {key: table.iloc[:0] if key in hollow else table for key, table in runs[0].items()}
    figure = FIGURES[name]([empty, empty])
    figure.canvas.draw()


def test_a_figure_is_saved_in_a_known_format(tables: Tables, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"saved as \.pdf, \.svg, \.png"):
        figures.save(figures.utilisation(tables), tmp_path / "figure.jpg")
