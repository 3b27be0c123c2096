"""Arrivals from a file."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from nmoe_sim.engine.input_files import FromFile
from nmoe_sim.errors import InputError
from nmoe_sim.inference.arrivals.process import KEY, Arrivals
from nmoe_sim.inference.arrivals.trace_file import Requests, parse
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import Positive


class Trace(FromFile, Arrivals):
    """Requests at the times that a file says; nothing is drawn.

    The file is CSV (with a header) or Parquet, told apart by its ending, and has the columns ``t_s``
    (seconds from the start of the requests, at least 0) and ``client`` (number of the client from 0, or its
    device's name ``dev0``, ``dev1``, …), in any order of rows. Other columns are left alone. Clients without
    rows ask nothing; after the last row nothing comes, unless ``repeat`` is set.
    """

    kind: ClassVar[str] = "trace"
    section: ClassVar[str] = KEY

    speedup: Positive = 1.0
    """The trace is played this many times as fast; its rates are multiplied by it."""
    length_s: Positive | None = None
    """Length of the trace, before ``speedup``; null: until its last request."""
    repeat: bool = False
    """Whether the trace starts over at its end; needs ``length_s``."""

    @classmethod
    def check_content(cls, file: str, content: bytes) -> None:
        """See the base class."""
        parse(file, content)

    @model_validator(mode="after")
    def _length(self) -> Trace:
        requests, length_s = self.requests, self.length_s
        if self.repeat and length_s is None:
            raise ValueError("repeat needs the length of the trace; set inference.arrivals.length_s")
        if length_s is not None and requests.last_s >= length_s:
            raise ValueError(
                f"the trace has a request at {requests.last_s:g} s, at or after its length_s of {length_s:g}; "
                "raise inference.arrivals.length_s"
            )
        if length_s is None and requests.last_s == 0:
            raise ValueError("every request is at 0 s, which gives no rate; set inference.arrivals.length_s")
        return self

    @cached_property
    def requests(self) -> Requests:
        """What the file says."""
        return parse(self.file, self.content())

    def check(self, num_clients: int, duration_s: float) -> None:
        """See the base class."""
        if self.requests.num_clients > num_clients:
            raise InputError(
                f"{self.file} has requests of client {self.requests.num_clients - 1}, and the clients are "
                f"0 … {num_clients - 1}; raise topology.num_devices or leave the rows out",
                key=f"{KEY}.file",
            )

    def times_s(self, client: int, duration_s: float, streams: RandomStreams) -> NDArray[np.float64]:
        """See the protocol."""
        times_s = self.requests.of_client(client) / self.speedup
        if self.repeat and len(times_s):
            length_s = self._length_s / self.speedup
            starts_s = np.arange(int(np.ceil(duration_s / length_s))) * length_s
            times_s = (starts_s[:, None] + times_s).ravel()
        return times_s[times_s < duration_s]

    @property
    def _length_s(self) -> float:
        return self.requests.last_s if self.length_s is None else self.length_s

    def mean_rate_hz(self, client: int) -> float:
        """See the protocol: the mean over the length of the trace."""
        return len(self.requests.of_client(client)) * self.speedup / self._length_s
