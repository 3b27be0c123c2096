"""Sweeps read back: as pandas tables, or with SQL where they don't fit memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nmoe_sim.errors import InputError
from nmoe_sim.results.rundir import MANIFEST, to_pandas

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

RUNS = "runs"
"""Name of the table of runs."""


class SweepTables(Mapping[str, "pd.DataFrame"]):
    """The tables of a sweep by name, each read when it is first asked for.

    Rows are those of finished runs, in the order of ``runs``, with a column ``run_id``.
    """

    def __init__(self, folder: Path, run_ids: list[str]) -> None:
        self._folder = folder
        self._run_ids = run_ids
        self._read: dict[str, pd.DataFrame] = {}
        self._names = [path.name for path in sorted(folder.glob("*")) if any(path.rglob("*.parquet"))]

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._names:
            raise KeyError(f"no table {name!r}; there are {', '.join(self._names)}")
        if name not in self._read:
            self._read[name] = self._load(name)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _load(self, name: str) -> pd.DataFrame:
        import pandas as pd
        import pyarrow as pa
        from pyarrow import dataset

        folder = self._folder / name
        hive = dataset.partitioning(pa.schema([("run_id", pa.string())]), flavor="hive")
        partitioning = hive if any(folder.glob("run_id=*")) else None
        try:
            table = dataset.dataset(folder, format="parquet", partitioning=partitioning).to_table()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"not a table: {_first_line(error)}", where=str(folder)) from error
        frame = to_pandas(table)
        if "run_id" not in frame:
            raise InputError("a table of a sweep has a column run_id", where=str(folder))
        rank = pd.Series(range(len(self._run_ids)), index=self._run_ids)
        frame = frame[frame["run_id"].isin(self._run_ids)]
        return frame.sort_values("run_id", key=lambda ids: ids.map(rank), kind="stable", ignore_index=True)


@dataclass(frozen=True)
class SweepResult:
    """A sweep directory, finished or under way."""

    path: Path
    runs: pd.DataFrame
    """One row a run: its varied settings and its summary; where the sweep tells it, ``status`` as well."""
    tables: SweepTables
    """All other tables, with a column ``run_id``; only runs that are done."""

    @property
    def done(self) -> pd.DataFrame:
        """The rows of ``runs`` that are done; the others have no summary."""
        return self.runs if "status" not in self.runs else self.runs[self.runs["status"] == "done"]


def load_sweep(path: str | Path) -> SweepResult:
    """Read a sweep directory.

    Raises
    ------
    InputError
        If it holds no sweep.
    """
    path = Path(path)
    runs = _runs(path)
    result = SweepResult(path, runs, SweepTables(path / "tables", []))
    return SweepResult(path, runs, SweepTables(path / "tables", result.done["run_id"].tolist()))


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
            raise InputError(_first_line(error), where=str(path)) from error


def _runs(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        runs = to_pandas(pq.read_table(pa.BufferReader((path / "runs.parquet").read_bytes())))
    except OSError as error:
        raise InputError("no sweep here: runs.parquet is missing", where=str(path)) from error
    except pa.ArrowException as error:
        raise InputError(f"runs.parquet is damaged: {_first_line(error)}", where=str(path)) from error
    if "run_id" not in runs:
        raise InputError("runs.parquet is not that of a sweep: it has no column run_id", where=str(path))
    return runs


def _view_run(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    for file in sorted((path / "tables").glob("*.parquet")):
        _create_view(connection, file.stem, str(file), "")


def _view_sweep(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    has_status = "status" in _runs(path)
    _create_view(connection, RUNS, str(path / "runs.parquet"), "")
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


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
