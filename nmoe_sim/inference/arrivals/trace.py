"""Arrivals from a file."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator, model_validator

from nmoe_sim.errors import InputError
from nmoe_sim.inference.arrivals.process import KEY, Arrivals
from nmoe_sim.inference.arrivals.trace_file import Requests, parse
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import Positive


class Trace(Arrivals):
    """Requests at the times that a file says; nothing is drawn.

    The file is CSV (with a header) or Parquet, told apart by its ending, and has the columns ``t_s``
    (seconds from the start of the requests, at least 0) and ``client`` (number of the client from 0, or its
    device's name ``dev0``, ``dev1``, …), in any order of rows. Other columns are left alone. Clients without
    rows ask nothing; after the last row nothing comes, unless ``repeat`` is set.

    What counts is the content: ``sha256`` is found out when the scenario is loaded and stands in the resolved
    scenario and in its hash, the path doesn't. So a run can be repeated where the file lies elsewhere
    (``--set inference.arrivals.file=…``), and a file that has changed is an error.
    """

    kind: ClassVar[str] = "trace"

    file: Annotated[str, Field(min_length=1, json_schema_extra={"machine_dependent": True})]
    """CSV or Parquet file, relative to the working directory."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Digest that the file's content must have, in hex; null: found out on loading."""
    speedup: Positive = 1.0
    """The trace is played this many times as fast; its rates are multiplied by it."""
    length_s: Positive | None = None
    """Length of the trace, before ``speedup``; null: until its last request."""
    repeat: bool = False
    """Whether the trace starts over at its end; needs ``length_s``."""

    @field_validator("file")
    @classmethod
    def _readable(cls, file: str) -> str:
        parse(file, _content(file))
        return file

    @field_validator("sha256")
    @classmethod
    def _digest(cls, sha256: str | None, info: ValidationInfo) -> str | None:
        if "file" not in info.data:  # its own fault is reported
            return sha256
        file = info.data["file"]
        found = hashlib.sha256(_content(file)).hexdigest()
        if sha256 not in (None, found):
            raise ValueError(
                f"{file} has the sha256 {found}, not {sha256}; give the file this scenario was made with, "
                "or remove inference.arrivals.sha256 to take the file as it is"
            )
        return found

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
        """What the file says.

        Raises
        ------
        InputError
            If the file is gone, or isn't what it was when the scenario was loaded.
        """
        try:
            content = _content(self.file)
            if hashlib.sha256(content).hexdigest() != self.sha256:
                raise ValueError(f"{self.file}: changed since the scenario was loaded")
            return parse(self.file, content)
        except ValueError as error:
            raise InputError(str(error), key=f"{KEY}.file") from error

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


def _content(file: str) -> bytes:
    try:
        return Path(file).expanduser().read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: {(error.strerror or 'unreadable').lower()}; searched from {Path.cwd()}") from error
