"""Collects rows during a run, spills them to disk when they grow, and hands them back in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmoe_sim.results.tables import TABLES, Table

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SPILL_ROWS = 100_000
"""Rows of a table kept in memory before they go to disk as a row group."""


class Recorder:
    """Rows of every table, as tuples in the order of the declared columns.

    The engine's hot paths append to ``rows[name]`` directly; the declaration is checked once, when
    rows become Arrow batches. After ``spill_to``, ``spill`` moves full tables to disk, so that a run
    may be larger than memory; which rows share a batch depends on the simulation only.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}
        self.spilled: dict[str, int] = dict.fromkeys(TABLES, 0)
        """Rows of each table that are on disk already."""
        self.job_numbers = count()
        """Jobs are numbered as they are submitted, by whichever device."""
        self._folder: Path | None = None
        self._writers: dict[str, pq.ParquetWriter] = {}

    def add(self, name: str, **values: Any) -> None:
        """Append one row by column name."""
        self.rows[name].append(tuple(values.pop(column) for column in TABLES[name].column_names))
        if values:
            raise KeyError(f"table {name} has no columns {sorted(values)}")

    def num_rows(self, name: str) -> int:
        """Return the number of rows of a table so far."""
        return self.spilled[name] + len(self.rows[name])

    def spill_to(self, folder: Path) -> None:
        """Let full tables go to disk, into files of this folder that don't look finished."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def spill(self) -> None:
        """Move tables of ``SPILL_ROWS`` rows or more to disk; call it between events, as often as you like."""
        if self._folder is not None:
            for name, rows in self.rows.items():
                if len(rows) >= SPILL_ROWS:
                    self._write_batch(name)

    def _partial(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f".{name}.parquet.partial"

    def _write_batch(self, name: str) -> None:
        import pyarrow.parquet as pq

        if name not in self._writers:
            self._writers[name] = pq.ParquetWriter(self._partial(name), arrow_schema(TABLES[name]), compression="zstd")
        rows = self.rows[name]
        self._writers[name].write_table(to_arrow(TABLES[name], rows), row_group_size=max(1, len(rows)))
        self.spilled[name] += len(rows)
        rows.clear()

    def batches(self, name: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield a table's rows, in order, a batch at a time; reading ends the spilling of this table.

        Parameters
        ----------
        name : str
        columns : sequence of str, optional
            Columns wanted; all when left out.
        """
        import pyarrow.parquet as pq

        if name in self._writers:
            self.finish(name)
        if self.spilled[name]:
            with pq.ParquetFile(self._partial(name)) as file:
                for i in range(file.num_row_groups):
                    yield file.read_row_group(i, columns=None if columns is None else list(columns))
        if self.rows[name]:
            batch = to_arrow(TABLES[name], self.rows[name])
            yield batch if columns is None else batch.select(list(columns))

    def finish(self, name: str) -> None:
        """Write what is left of a spilled table and close its file."""
        if self.rows[name]:
            self._write_batch(name)
        self._writers.pop(name).close()

    def save(self, name: str, path: Path) -> str:
        """Write a whole table to its file, by rename, and return the sha256 of its bytes."""
        from nmoe_sim.results.rundir import file_sha256, write_table

        if name in self._writers:
            self.finish(name)
        if not self.spilled[name]:
            return write_table(to_arrow(TABLES[name], self.rows[name]), path)
        if self.rows[name]:
            raise ValueError(f"table {name} got rows after it was closed")
        self._partial(name).replace(path)
        return file_sha256(path)

    def arrow(self, name: str) -> pa.Table:
        """Return the rows of one table, checked against its declaration."""
        import pyarrow as pa

        return pa.concat_tables([arrow_schema(TABLES[name]).empty_table(), *self.batches(name)])


def to_arrow(table: Table, rows: Iterable[tuple[Any, ...]]) -> pa.Table:
    """Build an Arrow table of the declared types from row tuples.

    Raises
    ------
    ValueError
        If a value doesn't fit its column's type or a null stands in a column that has none.
    """
    columns = list(zip(*rows, strict=True)) or [()] * len(table.columns)
    return _checked(table, {c.name: values for c, values in zip(table.columns, columns, strict=True)})


def _checked(table: Table, columns: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    schema = arrow_schema(table)
    arrays = []
    for column, field in zip(table.columns, schema, strict=True):
        try:
            array = pa.array(columns[column.name], type=field.type, from_pandas=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise ValueError(f"table {table.name}, column {column.name}: {error}") from error
        if array.null_count and not column.nullable:
            raise ValueError(f"table {table.name}, column {column.name}: a null in a column that has none")
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema)


def arrow_schema(table: Table) -> pa.Schema:
    """Return the Arrow schema of a table; unit and meaning travel as field metadata."""
    import pyarrow as pa

    types = {
        "int64": pa.int64(),
        "float64": pa.float64(),
        "string": pa.string(),
        "bool": pa.bool_(),
        "list<int64>": pa.list_(pa.int64()),
        "list<string>": pa.list_(pa.string()),
    }
    return pa.schema(
        [
            pa.field(c.name, types[c.dtype], nullable=c.nullable, metadata={"unit": c.unit, "meaning": c.meaning})
            for c in table.columns
        ]
    )
