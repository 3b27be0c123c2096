"""Reads the file of a trace of requests."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.engine.input_files import Columns

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
    columns = Columns(
        file,
        content,
        {
            "t_s": "give a finite time of at least 0, in seconds",
            "client": "give a number from 0, or a device's name such as dev0",
        },
    )
    t_s, client = columns.numbers("t_s", low=0.0), _clients(columns)
    order = np.lexsort((t_s, client))
    first = np.searchsorted(client[order], np.arange(int(client.max()) + 2))
    return Requests(t_s[order], first)


def _clients(columns: Columns) -> NDArray[np.int64]:
    codes, names = columns.texts("client")
    numbers = np.empty(len(names), np.int64)
    for k, name in enumerate(names):
        found = _CLIENT.fullmatch(name)
        if found is None:
            raise columns.error("client", int(np.argmax(codes == k)))
        numbers[k] = int(found[1])
    return np.asarray(numbers[codes])
