"""SQL over a sweep or a run, where its tables don't fit memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from analysis.sweep_directory import first_line, read_runs
from nmoe_sim.errors import InputError
from nmoe_sim.results.rundir import MANIFEST, to_pandas

if TYPE_CHECKING:
    import duckdb
    import pandas as pd


def query(path: str | Path, sql: str) -> pd.DataFrame:
    """Run SQL over a sweep or a run directory; needs DuckDB (``pip install 'nmoe-sim[query]'``).

    Every table is a view of its name, and ``runs`` that of ``runs.parquet``. Files are read in parts, only the
    columns and rows that the query needs, so a sweep may be larger than memory; what a query sorts or
    joins beyond that goes to a temporary folder.

    Parameters
    ----------
    path : str or Path
        A sweep directory (views have a column ``run_id`` and hold runs that are done), or that of one run.
    sql : str
        One SELECT in DuckDB's dialect. It runs with the rights of this process: don't take it from others.

    Returns
    -------
    DataFrame
        Integers and booleans are of pandas' nullable types.

    Raises
    ------
    InputError
        If DuckDB isn't installed, the directory holds neither, or the SQL is wrong.

    Examples
    --------
    >>> query("runs/sweep", '''
    ...     SELECT client, quantile_cont(latency_s, 0.95) AS p95_s FROM requests JOIN runs USING (run_id)
    ...     WHERE runs.seed = 3 GROUP BY client
    ... ''')  # doctest: +SKIP
    """
    import tempfile

    try:
        import duckdb
    except ModuleNotFoundError as error:
        raise InputError("queries need DuckDB; pip install 'nmoe-sim[query]'") from error
    path = Path(path)
    with tempfile.TemporaryDirectory() as spill, duckdb.connect(config={"temp_directory": spill}) as connection:
        try:
            if (path / MANIFEST).exists():
                _view_run(connection, path)
            else:
                _view_sweep(connection, path)
            if [statement.type for statement in duckdb.extract_statements(sql)] != [duckdb.StatementType.SELECT]:
                raise InputError("the SQL must be one SELECT", where=str(path))
            return to_pandas(connection.sql(sql).to_arrow_table())
        except duckdb.Error as error:
            raise InputError(first_line(error), where=str(path)) from error


def _view_run(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    for file in sorted((path / "tables").glob("*.parquet")):
        _create_view(connection, file.stem, str(file), "")


def _view_sweep(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    has_status = "status" in read_runs(path)
    _create_view(connection, "runs", str(path / "runs.parquet"), "")
    done = " WHERE run_id IN (SELECT run_id FROM runs" + (" WHERE status = 'done')" if has_status else ")")
    for folder in sorted((path / "tables").glob("*")):
        if any(folder.rglob("*.parquet")):
            _create_view(connection, folder.name, f"{folder}/**/*.parquet", done)


def _create_view(connection: duckdb.DuckDBPyConnection, name: str, pattern: str, where: str) -> None:
    folder, _, rest = pattern.partition("/**/")
    escaped = "".join(f"[{c}]" if c in "[*?" else c for c in folder) + (f"/**/{rest}" if rest else "")
    literal = escaped.replace("'", "''")
    # folders run_id=… give a column; without them the files have it
    hive = f", hive_partitioning={any(Path(folder).glob('run_id=*'))}, hive_types_autocast=false"
    quoted = name.replace('"', '""')
    connection.execute(f"CREATE VIEW \"{quoted}\" AS SELECT * FROM read_parquet('{literal}'{hive}){where}")
