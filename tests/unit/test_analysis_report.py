"""Parts of a report: what it chooses, how it labels, compares, escapes and reads."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, tiny_scenario

from analysis.report import write_report
from analysis.report.key_figures import KeyFigure, value_text
from analysis.report.page import json_for_script, page
from analysis.report.playback import EXPERT, FEATURES, playback
from analysis.report.reading import ReportRun, read_run
from analysis.report.runs import compare, differing_settings
from analysis.report.sampling import busiest, evenly, slowest, unanswered
from analysis.report.worst import worst_html
from nmoe_sim import InputError, load_run
from nmoe_sim import run as run_scenario
from nmoe_sim.cli import main

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: two seeds of a scenario with markup in its description, and one with another band."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.yaml").write_text(TINY + f"description: '{EVIL}'\n")
    for name, *extra in (("a", "--seed", "1"), ("b", "--seed", "2"), ("c", "--set", "radio.bandwidth_hz=1e6")):
        assert main(["run", str(folder / "tiny.yaml"), "--out", str(folder / name), "--quiet", *extra]) == 0
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> ReportRun:
    return read_run(folder / "a")


def _plotly(html: str) -> str:
    return html.split('<script type="text/plain" id="plotly">')[1].split("</script>")[0]


def _requests(arrival_s: list[float], done_s: list[float]) -> pd.DataFrame:
    frame = pd.DataFrame({"request_id": range(len(arrival_s)), "t_arrival_s": arrival_s, "t_done_s": done_s})
    return frame.assign(latency_s=frame["t_done_s"] - frame["t_arrival_s"])


def test_samples_are_spread_evenly() -> None:
    requests = _requests(list(range(1000)), list(range(1, 1001)))
    chosen = evenly(requests, 10)
    assert (chosen[0], chosen[-1]) == (0, 999)
    assert set(np.diff(chosen)) <= {111}
    assert evenly(requests.head(3), 10).tolist() == [0, 1, 2]


def test_slowest_come_worst_first_and_unanswered_are_apart() -> None:
    requests = _requests([0.0, 1.0, 2.0, 3.0], [5.0, np.nan, 9.0, 4.0])
    assert slowest(requests, 2).tolist() == [2, 0]
    assert unanswered(requests, 5).tolist() == [1]


def test_the_busiest_requests_surround_the_peak() -> None:
    alone = [(float(t), t + 0.5) for t in range(50)]
    crowd = [(50 + 0.01 * i, 60.0) for i in range(10)]
    later = [(100.0 + t, 100.5 + t) for t in range(50)]
    requests = _requests(*(list(column) for column in zip(*alone, *crowd, *later, strict=True)))
    assert busiest(requests, 10).tolist() == list(range(54, 64))
    assert len(busiest(requests, 1000)) == 110


def test_key_figures_show_an_interval_over_seeds() -> None:
    figure = KeyFigure("latency", "latency_mean_s", 1e3, "ms")
    assert value_text([0.0123456], figure) == ("12.35", "")
    assert value_text([0.010, 0.011, 0.012], figure) == ("11.0", "2.5")
    assert value_text([float("nan")], figure) == ("–", "")
    assert value_text([0.01, 0.01], figure) == ("10.00", "0")


def test_json_cannot_end_its_script_element() -> None:
    content = {"label": "</script><!--", "and": "a & b"}
    text = json_for_script(content)
    assert not set("<>&") & set(text)
    assert json.loads(text) == content


def test_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_for_script([float("nan")])


def test_seeds_of_a_scenario_are_one_group(folder: Path) -> None:
    comparison = compare([read_run(folder / name) for name in "abc"])
    assert [group.label for group in comparison.groups] == ["tiny [a]", "tiny [c]"]
    assert list(comparison.labels) == ["tiny [a], seed 1", "tiny [a], seed 2", "tiny [c]"]
    assert differing_settings(comparison) == {"radio.bandwidth_hz": ["20000000.0", "1000000.0"]}


def test_only_requests_looked_at_are_read_closely(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.report.reading.NUM_SAMPLED", 4)
    monkeypatch.setattr("analysis.report.reading.NUM_SLOWEST", 2)
    few, whole = read_run(folder / "a", num_played=3), load_run(folder / "a").tables
    ids = set(few.sampled) | set(few.slowest) | set(few.played)
    assert len(few.tables["requests"]) == len(whole["requests"]), "every request counts in distributions"
    assert set(few.closely["request_id"]) == ids
    for name in ("compute", "transfers"):
        wanted = whole[name]["request_id"].isna() | whole[name]["request_id"].isin(ids)
        pd.testing.assert_frame_equal(few.tables[name], whole[name][wanted].reset_index(drop=True))
    assert "every n-th request: 4 of a run" in page(compare([few]))


def test_playback_has_every_hop_and_expert(run: ReportRun) -> None:
    content, tables = playback(run), load_run(run.path).tables
    names = [device["name"] for device in content["devices"]]
    assert names == list(tables["devices"]["device"])
    assert [device["experts"] for device in content["devices"]] == [[0], [1], [2], []]
    assert len(content["requests"]) == content["total"] == len(tables["requests"])
    for request in content["requests"]:
        row = tables["requests"].iloc[request["id"]]
        assert names[request["client"]] == row["client"]
        assert request["begin"] == pytest.approx(1e6 * (row["t_arrival_s"] - content["begin_s"]), abs=0.01)
        assert request["correct"] == row["correct"]
        experts = [span for span in request["spans"] if span[0] == EXPERT]
        assert sorted(names[span[1]] for span in experts) == sorted(row["hosts"])
        away = {host for host in row["hosts"] if host != row["client"]}
        arrived = {names[span[2]] for span in request["spans"] if span[0] == FEATURES} - {"bs0"}
        assert arrived == away


def test_worst_requests_show_their_spans(run: ReportRun) -> None:
    html, requests = worst_html(run), load_run(run.path).tables["requests"]
    worst = requests.loc[requests["latency_s"].idxmax()]
    first = html.split("<tbody>")[1].split("</tr>")[0]
    assert f"<td>{worst['request_id']}</td><td>{worst['client']}</td>" in first
    shares = [float(grow) for grow in re.findall(r"flex-grow:([\d.]+)", first)]
    assert sum(shares) == pytest.approx(1.0, abs=1e-3)


def test_the_same_runs_give_the_same_report(folder: Path, tmp_path: Path) -> None:
    first, second = (write_report([folder / "a"], tmp_path / name).read_bytes() for name in "xy")
    assert first == second
    assert len(first) < 6e6


def test_markup_of_a_user_stays_text(folder: Path, tmp_path: Path) -> None:
    html = write_report([folder / "a", folder / "c"], tmp_path / "report.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script>alert(1)" not in html
    assert "<img src=x" not in html
    assert html.replace(_plotly(html), "").count("<script") == 3, "the data, Plotly and our own"


def test_our_part_of_the_page_asks_for_nothing(folder: Path, tmp_path: Path) -> None:
    html = write_report([folder / "b"], tmp_path / "report.html").read_text()
    own = html.split("<script")[0].split("<pre>")[0] + html.split("<script>")[1]
    assert len(_plotly(html)) > 1e6 > len(own) > 1e4
    assert re.findall(r"\b(?:src|href)=|url\(|@import|fetch\(|XMLHttpRequest|https?:", own) == []


def test_a_changed_table_is_an_input_error(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "a", tmp_path / "run")
    table = tmp_path / "run" / "tables" / "requests.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="differs from the manifest's sha256"):
        read_run(tmp_path / "run")


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> ReportRun:
    scenario = tiny_scenario(
        {
            "topology": {"kind": "multi_cell", "num_sites": 3, "num_devices": 4, "inter_site_distance_m": 60},
            "mobility": {"kind": "random_waypoint", "min_speed_m_per_s": 30, "max_speed_m_per_s": 40},
            "handover": {"hysteresis_db": 0, "time_to_trigger_s": 0, "period_s": 0.05},
            "radio.path_loss": {"kind": "log_distance"},
            "radio.bandwidth_hz": 2e4,
            "inference.arrivals.rate_hz": 20,
            "inference.duration_s": 1,
        }
    )
    return read_run(run_scenario(scenario, tmp_path_factory.mktemp("moving") / "run").path)


def test_hops_are_counted_in_one_pass(moving: ReportRun) -> None:
    hops, table = moving.hops, load_run(moving.path).tables["transfers"]
    assert hops.outcomes.total() == len(table)
    failed = sum(n for (_, outcome, _), n in hops.outcomes.items() if outcome != "delivered")
    assert failed == (table["outcome"] != "delivered").sum() > 0
    assert hops.retried_ratio == pytest.approx((table["attempt"] > 0).mean())
    by_radio = table[table["airtime_s"].notna()]
    assert sum(int(counts.sum()) for counts in hops.sinr.values()) == len(by_radio) == hops.num_by_radio
    assert set(hops.rate) == {"uplink", "downlink", "wired"}


def test_playback_of_devices_that_move_and_change_over(moving: ReportRun) -> None:
    content, tables = playback(moving), load_run(moving.path).tables
    names = [device["name"] for device in content["devices"]]
    times_us = [t for t, _ in content["moves"]]
    assert times_us == sorted(times_us)
    assert times_us[0] <= 0.0 <= times_us[-1]
    last = tables["positions"].query("device == 'dev1'").set_index("t_s")["x_m"]
    [t_us, places] = content["moves"][-1]
    assert places[names.index("dev1")][0] == pytest.approx(last[content["begin_s"] + 1e-6 * t_us :].iloc[0], abs=0.01)
    handover = tables["handovers"].query(f"t_s >= {content['begin_s']}").iloc[0]
    now_us = 1e6 * (handover["t_s"] - content["begin_s"])
    pair = sorted(names.index(handover[end]) for end in ("device", "to_station"))
    before, after = (
        [pairs for t, pairs in content["links"] if (t >= now_us - 0.01) == later] for later in (False, True)
    )
    assert pair in after[0]
    assert pair not in before[-1]


def test_a_report_shows_the_radio_of_a_run_that_moves(moving: ReportRun) -> None:
    html = page(compare([moving]))
    for heading in ("Hops that failed", "SINR of hops", "Rate of hops", "Handovers", "SINR along the way, uplink"):
        assert f"<h4>{heading}</h4>" in html
    assert "hops tried again" in html
    assert html.count("SINR along the way") == 2, "uplinks of all cells are one figure"
