"""Reads the file of a trace of requests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("t_s", "client")
_CLIENT = re.compile(r"(?:dev)?(\d{1,6})")


@dataclass(frozen=True, eq=False)
class Requests:
    """The requests of a trace, by client and time."""

    t_s: NDArray[np.float64]
    """Times [R], increasing for each client."""
    first: NDArray[np.int64]
    """Where each client's requests begin in ``t_s``, and where the last one's end [clients + 1]."""

    @property
    def num_clients(self) -> int:
        """One more than the highest client."""
        return len(self.first) - 1

    @property
    def last_s(self) -> float:
        """Time of the last request of all."""
        return float(self.t_s.max())

    def of_client(self, client: int) -> NDArray[np.float64]:
        """Return one client's times, in order."""
        if client >= self.num_clients:
            return np.empty(0)
        return self.t_s[self.first[client] : self.first[client + 1]]


def parse(file: str, content: bytes) -> Requests:
    """Read a trace.

    Parameters
    ----------
    file : str
        Its name, for the ending and for messages.
    content : bytes

    Raises
    ------
    ValueError
        Naming file and row: neither CSV nor Parquet, a column missing, no rows, a time that isn't a finite number of
        at least 0, a client that is neither a number nor ``devNUMBER``.
    """
    table = _table(file, content)
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise ValueError(f"{file}: no column {missing[0]!r}; a trace has the columns t_s and client")
    if not table.num_rows:
        raise ValueError(f"{file}: has no rows")
    t_s, client = _times_s(file, table["t_s"]), _clients(file, table["client"])
    order = np.lexsort((t_s, client))
    first = np.searchsorted(client[order], np.arange(int(client.max()) + 2))
    return Requests(t_s[order], first)


def _table(file: str, content: bytes) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    try:
        match Path(file).suffix.lower():
            case ".csv":
                # text first: a number that isn't one is told by its line
                text = csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.string()))
                strict = csv.ParseOptions(ignore_empty_lines=False)
                serial = csv.ReadOptions(use_threads=False)  # only then errors tell the row
                table = csv.read_csv(
                    pa.BufferReader(content), read_options=serial, convert_options=text, parse_options=strict
                )
                return table.rename_columns([name.strip() for name in table.column_names])
            case ".parquet" | ".pq":
                return pq.read_table(pa.BufferReader(content))
    except pa.ArrowException as error:
        raise ValueError(f"{file}: can't be read: {str(error).splitlines()[0]}") from error
    raise ValueError(f"{file}: a trace is a .csv or a .parquet file")


def _times_s(file: str, column: pa.ChunkedArray) -> NDArray[np.float64]:
    import pandas as pd
    import pyarrow as pa

    try:
        t_s = column.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:  # some isn't a number; slower, but tells which
        t_s = pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~((t_s >= 0) & (t_s <= 1e30))
    if wrong.any():
        raise ValueError(
            _at(file, column, int(np.argmax(wrong)), "t_s", "give a finite time of at least 0, in seconds")
        )
    return np.asarray(t_s, np.float64)


def _clients(file: str, column: pa.ChunkedArray) -> NDArray[np.int64]:
    import pyarrow as pa

    codes, names = column.cast(pa.string()).to_pandas().factorize(use_na_sentinel=False)
    numbers = np.full(len(names), -1, np.int64)
    for k, name in enumerate(names):
        found = _CLIENT.fullmatch(str(name).strip())
        if found is None:
            row = int(np.argmax(codes == k))
            raise ValueError(_at(file, column, row, "client", "give a number from 0, or a device's name such as dev0"))
        numbers[k] = int(found[1])
    return np.asarray(numbers[codes])


def _at(file: str, column: pa.ChunkedArray, row: int, name: str, remedy: str) -> str:
    # the header of a CSV is its line 1
    place = f"line {row + 2}" if Path(file).suffix.lower() == ".csv" else f"row {row}"
    value = column[row].as_py()
    shown = "missing" if value is None else repr(value)
    return f"{file}: {place}: {name} is {shown[:60]}; {remedy}"
