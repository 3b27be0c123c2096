"""Collects rows during a run and turns them into Arrow tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nmoe_sim.results.tables import TABLES, Table

if TYPE_CHECKING:
    import pyarrow as pa


class Recorder:
    """Rows of every table, as tuples in the order of the declared columns.

    The engine's hot paths append to ``rows[name]`` directly; the declaration is checked once, when
    the rows become a table.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}

    def add(self, name: str, **values: Any) -> None:
        """Append one row by column name."""
        self.rows[name].append(tuple(values.pop(column) for column in TABLES[name].column_names))
        if values:
            raise KeyError(f"table {name} has no columns {sorted(values)}")

    def arrow(self, name: str) -> pa.Table:
        """Return the rows of one table, checked against its declaration."""
        return to_arrow(TABLES[name], self.rows[name])


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
