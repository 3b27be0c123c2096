"""Sweeps read back as pandas tables; ``query`` is for those that don't fit memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.queries import query
from analysis.sweep_directory import first_line, read_runs
from nmoe_sim.errors import InputError
from nmoe_sim.results.rundir import to_pandas

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SweepResult", "SweepTables", "load_sweep", "query"]


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
            raise InputError(f"not a table: {first_line(error)}", where=str(folder)) from error
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
    runs = read_runs(path)
    result = SweepResult(path, runs, SweepTables(path / "tables", []))
    return SweepResult(path, runs, SweepTables(path / "tables", result.done["run_id"].tolist()))
