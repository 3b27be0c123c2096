"""Reads the file of a trace of requests."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

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
        Naming file and row: not CSV or Parquet, a column missing, no rows, a time that isn't a finite number of
        at least 0, a client that is neither a number nor ``devNUMBER``.
    """
    frame = _frame(file, content)
    if missing := [name for name in _COLUMNS if name not in frame]:
        raise ValueError(f"{file}: no column {missing[0]!r}; a trace has the columns t_s and client")
    if frame.empty:
        raise ValueError(f"{file}: has no rows")
    t_s, client = _times_s(file, frame["t_s"]), _clients(file, frame["client"])
    order = np.lexsort((t_s, client))
    first = np.searchsorted(client[order], np.arange(int(client.max()) + 2))
    return Requests(t_s[order], first)


def _frame(file: str, content: bytes) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    match Path(file).suffix.lower():
        case ".csv":
            try:
                # text first: a number that isn't one is told by its row
                return pd.read_csv(
                    io.BytesIO(content), dtype=str, skip_blank_lines=False, skipinitialspace=True, keep_default_na=False
                )
            except (ValueError, pd.errors.ParserError) as error:
                raise ValueError(f"{file}: not CSV: {str(error).splitlines()[0]}") from error
        case ".parquet" | ".pq":
            try:
                frame: pd.DataFrame = pq.read_table(pa.BufferReader(content)).to_pandas()
                return frame
            except pa.ArrowException as error:
                raise ValueError(f"{file}: not Parquet: {str(error).splitlines()[0]}") from error
    raise ValueError(f"{file}: a trace is a .csv or a .parquet file")


def _times_s(file: str, column: pd.Series[Any]) -> NDArray[np.float64]:
    import pandas as pd

    t_s = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~((t_s >= 0) & (t_s <= 1e30))
    if wrong.any():
        raise ValueError(
            _at(file, column, int(np.argmax(wrong)), "t_s", "give a finite time of at least 0, in seconds")
        )
    return t_s


def _clients(file: str, column: pd.Series[Any]) -> NDArray[np.int64]:
    codes, names = column.factorize(use_na_sentinel=False)
    numbers = np.full(len(names), -1, np.int64)
    for k, name in enumerate(names):
        found = _CLIENT.fullmatch(str(name).strip())
        if found is None:
            row = int(np.argmax(codes == k))
            raise ValueError(_at(file, column, row, "client", "give a number from 0, or a device's name such as dev0"))
        numbers[k] = int(found[1])
    return np.asarray(numbers[codes])


def _at(file: str, column: pd.Series[Any], row: int, name: str, remedy: str) -> str:
    # the header of a CSV is its line 1
    place = f"line {row + 2}" if Path(file).suffix.lower() == ".csv" else f"row {row}"
    value = column.iloc[row]
    shown = repr(value) if isinstance(value, str) else str(value)
    return f"{file}: {place}: {name} is {shown[:60]}; {remedy}"
