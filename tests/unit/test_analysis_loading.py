"""Sweeps from disk: what is read, in which order, and what is said when it isn't there."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.loading import load_sweep, query
from nmoe_sim import InputError

pytest.importorskip("duckdb", reason="pip install 'nmoe-sim[query]' enables the tests of queries")

IDS = ["b-s0", "a-s1", "c-s0", "d-s0"]


def requests_of(run_id: str) -> pd.DataFrame:
    k = IDS.index(run_id)
    frame = pd.DataFrame({"request_id": [0, 1], "latency_s": [0.1 * k, None], "prediction": [k, None]})
    return frame.astype({"prediction": "Int64"})


@pytest.fixture(params=["run_id.parquet", "run_id=.../part.parquet", "no status"])
def sweep(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A sweep of four runs, of which one failed and one is under way, in a folder of a difficult name."""
    path = tmp_path / "it's [a] sweep?"
    status = pd.DataFrame({"run_id": IDS, "seed": [0, 1, 0, 0], "status": ["done", "done", "failed", "pending"]})
    for run_id in IDS[:3]:  # the failed one left rows behind
        frame, folder = requests_of(run_id), path / "tables" / "requests"
        if "part" in request.param:
            (folder / f"run_id={run_id}").mkdir(parents=True)
            frame.to_parquet(folder / f"run_id={run_id}" / "part.parquet")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            frame.assign(run_id=run_id).to_parquet(folder / f"{run_id}.parquet")
            (folder / f".{run_id}.parquet.partial").write_bytes(b"half")
    if request.param == "no status":
        status = status.drop(columns="status").iloc[:2]
    status.to_parquet(path / "runs.parquet")
    (path / "tables" / "empty").mkdir()
    return path


def test_tables_hold_the_runs_that_are_done_in_their_order(sweep: Path) -> None:
    result = load_sweep(str(sweep))
    assert result.done["run_id"].tolist() == IDS[:2]
    assert list(result.tables) == ["requests"]
    assert len(result.tables) == 1
    table = result.tables["requests"]
    assert table["run_id"].tolist() == ["b-s0", "b-s0", "a-s1", "a-s1"]
    assert table["request_id"].tolist() == [0, 1, 0, 1]
    assert table["prediction"].dtype == "Int64"
    assert table["prediction"].isna().tolist() == [False, True] * 2
    assert result.tables["requests"] is table
    with pytest.raises(KeyError, match="no table 'request'; there are requests"):
        result.tables["request"]


def test_query_sees_the_same(sweep: Path) -> None:
    table = query(sweep, "SELECT run_id, seed, prediction FROM requests JOIN runs USING (run_id) ORDER BY ALL")
    assert table["run_id"].tolist() == ["a-s1", "a-s1", "b-s0", "b-s0"]
    assert table["seed"].tolist() == [1, 1, 0, 0]
    assert table["prediction"].isna().tolist() == [False, True] * 2
    assert query(sweep, "SELECT count(*) AS n FROM runs")["n"].tolist() == [len(load_sweep(sweep).runs)]


def test_query_says_what_is_wrong(sweep: Path) -> None:
    with pytest.raises(InputError, match=r"sweep\?: Catalog Error: Table with name request does not exist"):
        query(sweep, "SELECT * FROM request")
    with pytest.raises(InputError, match="Parser Error"):
        query(sweep, "SELEKT 1")
    for sql in ("CREATE TABLE t (a INT)", "SELECT 1; SELECT 2", ""):
        with pytest.raises(InputError, match="the SQL must be one SELECT"):
            query(sweep, sql)


def test_a_folder_without_a_sweep(tmp_path: Path) -> None:
    for read in (load_sweep, lambda path: query(path, "SELECT 1")):
        with pytest.raises(InputError, match=f"^{tmp_path}: no sweep here: runs.parquet is missing"):
            read(tmp_path)
    (tmp_path / "runs.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match=r"runs\.parquet is damaged: "):
        load_sweep(tmp_path)
    pd.DataFrame({"seed": [1]}).to_parquet(tmp_path / "runs.parquet")
    with pytest.raises(InputError, match="it has no column run_id"):
        load_sweep(tmp_path)


def test_a_table_that_is_none(tmp_path: Path) -> None:
    pd.DataFrame({"run_id": ["a"]}).to_parquet(tmp_path / "runs.parquet")
    folder = tmp_path / "tables" / "requests"
    folder.mkdir(parents=True)
    pd.DataFrame({"request_id": [1]}).to_parquet(folder / "a.parquet")
    with pytest.raises(InputError, match="requests: a table of a sweep has a column run_id"):
        load_sweep(tmp_path).tables["requests"]
    (folder / "a.parquet").write_bytes(b"damaged")
    with pytest.raises(InputError, match="requests: not a table: "):
        load_sweep(tmp_path).tables["requests"]


def test_query_of_one_run(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    requests_of("a-s1").to_parquet(tmp_path / "tables" / "requests.parquet")
    (tmp_path / "manifest.json").write_text("{}")
    assert query(tmp_path, "SELECT max(prediction) AS p FROM requests")["p"].tolist() == [1]
