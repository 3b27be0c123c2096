"""Traces: what a file may hold, and that its content, not its place, is part of the scenario."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nmoe_sim import InputError, Scenario, build_scenario
from nmoe_sim.inference.arrivals import Trace
from nmoe_sim.rng import RandomStreams

STREAMS = RandomStreams(0)
ROWS = "t_s,client,note\n0.5,dev1,x\n0,0,y\n3.25,1,\n0.25,1,z\n"


def scenario(**settings: object) -> Scenario:
    return build_scenario({"name": "a", "inference": {"arrivals": {"kind": "trace", **settings}}})


def test_times_are_the_files(folder: Path) -> None:
    Path("load.csv").write_text(ROWS)
    frame = pd.DataFrame({"client": [1, 0, 1, 1], "t_s": [0.5, 0.0, 3.25, 0.25]})
    frame.to_parquet("load.parquet")
    for trace in (Trace(file="load.csv"), Trace(file="load.parquet"), Trace(file=str(folder / "load.csv"))):
        assert trace.times_s(0, 10.0, STREAMS).tolist() == [0.0]
        assert trace.times_s(1, 10.0, STREAMS).tolist() == [0.25, 0.5, 3.25]
        assert trace.times_s(1, 3.25, STREAMS).tolist() == [0.25, 0.5]
        assert trace.times_s(2, 10.0, STREAMS).tolist() == []
        assert [trace.mean_rate_hz(i) for i in range(3)] == [1 / 3.25, 3 / 3.25, 0.0]


def test_speed_and_repetition(folder: Path) -> None:
    Path("load.csv").write_text(ROWS)
    trace = Trace(file="load.csv", length_s=4.0, repeat=True, speedup=2.0)
    assert trace.times_s(1, 3.0, STREAMS).tolist() == [0.125, 0.25, 1.625, 2.125, 2.25]
    assert trace.mean_rate_hz(1) == 1.5
    np.testing.assert_allclose(len(trace.times_s(1, 2000.0, STREAMS)) / 2000.0, 1.5, rtol=1e-3)


def test_the_content_is_part_of_the_scenario_and_the_path_is_not(folder: Path) -> None:
    Path("load.csv").write_text(ROWS)
    Path("copy.csv").write_text(ROWS)
    Path("other.csv").write_text(ROWS + "9,0,\n")
    one = scenario(file="load.csv")
    assert scenario(file="copy.csv").run_id == one.run_id
    assert scenario(file="other.csv").run_id != one.run_id
    assert one.replace({"inference.arrivals.file": "other.csv"}).run_id == scenario(file="other.csv").run_id
    again = build_scenario(one.resolved())
    assert again == one
    assert again.replace({"inference.arrivals.file": "copy.csv"}).run_id == one.run_id
    with pytest.raises(InputError, match=r"other\.csv has the sha256 [0-9a-f]{64}, not [0-9a-f]{64}; give the file"):
        again.replace({"inference.arrivals.file": "other.csv"})


def test_a_file_that_changes_after_loading_is_an_error(folder: Path) -> None:
    Path("load.csv").write_text(ROWS)
    trace = Trace(file="load.csv")
    reopened = Trace.model_construct(**trace.model_dump())
    Path("load.csv").write_text(ROWS + "9,0,\n")
    assert trace.times_s(0, 10.0, STREAMS).tolist() == [0.0]  # read once
    with pytest.raises(InputError, match=r"^inference\.arrivals\.file: load\.csv: changed since"):
        reopened.times_s(0, 10.0, STREAMS)


def test_a_client_that_does_not_exist_is_an_error(folder: Path) -> None:
    Path("load.csv").write_text(ROWS)
    trace = Trace(file="load.csv")
    trace.check(2, 10.0)
    with pytest.raises(InputError, match=r"^inference\.arrivals\.file: load\.csv has requests of client 1, and the"):
        trace.check(1, 10.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "load.csv: can't be read: Empty CSV file"),
        ("t_s\n1\n", "load.csv: no column 'client'; it needs the columns t_s, client"),
        ("t_s,client\n", "load.csv: has no rows"),
        ("t_s,client\n1,0\nsoon,0\n", "load.csv: line 3: t_s is 'soon'; give a finite time"),
        ("t_s,client\n1,0\n\n2,0\n", "load.csv: line 3: t_s is ''; give a finite time"),
        ("t_s,client\n1,0\n,0\n", "load.csv: line 3: t_s is ''; give a finite time"),
        ("t_s,client\n1,0\n-1,0\n", "load.csv: line 3: t_s is '-1'"),
        ("t_s,client\ninf,0\n", "load.csv: line 2: t_s is 'inf'"),
        ("t_s,client\n1,-1\n", "load.csv: line 2: client is '-1'; give a number from 0, or a device's name"),
        ("t_s,client\n1,0\n1,bs0\n", "load.csv: line 3: client is 'bs0'"),
        ("t_s,client\n1,\n", "load.csv: line 2: client is ''"),
        ("t_s,client\n1,0\n1,0,3,4\n", "load.csv: can't be read: CSV parse error: Row #3: Expected 2 columns, got 4"),
        ("t_s,client\n0,0\n", "every request is at 0 s"),
    ],
)
def test_a_broken_csv_is_an_error_that_names_the_line(folder: Path, text: str, message: str) -> None:
    Path("load.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        scenario(file="load.csv")
    assert str(caught.value).startswith("inference.arrivals")
    assert message in str(caught.value)


def test_other_broken_files(folder: Path) -> None:
    with pytest.raises(InputError, match=r"arrivals\.file: gone\.csv: no such file or directory; searched from"):
        scenario(file="gone.csv")
    Path("load.txt").write_text(ROWS)
    with pytest.raises(InputError, match=r"load\.txt: it must be a \.csv or a \.parquet file"):
        scenario(file="load.txt")
    Path("load.parquet").write_text(ROWS)
    with pytest.raises(InputError, match=r"load\.parquet: can't be read: "):
        scenario(file="load.parquet")
    pd.DataFrame({"t_s": [0.0, None], "client": [0, 1]}).to_parquet("holes.parquet")
    with pytest.raises(InputError, match=r"holes\.parquet: row 1: t_s is missing; give a finite"):
        scenario(file="holes.parquet")
    pd.DataFrame({"t_s": [0.0, 1.0], "client": [0, None]}).astype({"client": "Int64"}).to_parquet("holes.parquet")
    with pytest.raises(InputError, match=r"holes\.parquet: row 1: client is missing; give a number"):
        scenario(file="holes.parquet")


def test_settings_that_contradict_the_file(folder: Path) -> None:
    Path("load.csv").write_text(ROWS)
    with pytest.raises(InputError, match=r"repeat needs the length of the trace; set inference\.arrivals\.length_s"):
        scenario(file="load.csv", repeat=True)
    with pytest.raises(InputError, match=r"the trace has a request at 3\.25 s, at or after its length_s of 3;"):
        scenario(file="load.csv", length_s=3)
