"""Family ``faults``: when devices are away; base stations never are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import count, pairwise
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from nmoe_sim.engine.input_files import Columns, FromFile
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.spec import Spec

Outage = tuple[float, float]
"""From when until when a device is away, in s."""
Mean = Annotated[float, Field(ge=1e-3, le=1e12)]


class FaultsSpec(Spec):
    """Base of the family: implement ``outages``.

    A device that is away is switched off: it draws no power, loses its jobs and what it holds, and has no links.
    """

    never: ClassVar[bool] = False
    """Whether no device is ever away."""

    @abstractmethod
    def outages(self, names: Sequence[str], streams: RandomStreams) -> Sequence[Iterator[Outage]]:
        """Return when each device is away.

        Parameters
        ----------
        names : sequence of str [N]
            The devices, in the topology's order.
        streams : RandomStreams
            Source of all draws.

        Returns
        -------
        sequence of iterators [N]
            One a device, of times (down, up) from 0 on, each after the one before; it may be endless.

        Raises
        ------
        InputError
            If these devices can't be away like this.
        """


class NoFaults(FaultsSpec):
    """Devices are there all the time, but for those whose battery runs empty."""

    kind: ClassVar[str] = "none"
    never: ClassVar[bool] = True

    def outages(self, names: Sequence[str], streams: RandomStreams) -> Sequence[Iterator[Outage]]:
        """See the base class."""
        return [iter(()) for _ in names]


class OnOff(FaultsSpec):
    """Churn: each device is up, then away, for exponential times, on its own.

    In the long run it is up for ``mean_up_s / (mean_up_s + mean_down_s)`` of the time, the availability of an
    alternating renewal process. Since exponential times have no memory, one that is up with that probability at time
    0 is so at any time: ``start: stationary``. Left out: devices that go together, and times of the day.
    """

    kind: ClassVar[str] = "on_off"

    mean_up_s: Mean = 600.0
    """Mean time from coming to going."""
    mean_down_s: Mean = 60.0
    """Mean time from going to coming back."""
    start: Literal["stationary", "up"] = "stationary"
    """Who is there at time 0: each device as likely as ever, or all."""

    @property
    def availability(self) -> float:
        """Share of the time that a device is up, in the long run."""
        return self.mean_up_s / (self.mean_up_s + self.mean_down_s)

    def outages(self, names: Sequence[str], streams: RandomStreams) -> Sequence[Iterator[Outage]]:
        """See the base class; times of device n are draws ("churn", n, k), its start ("churn_start", n)."""
        return [self._of(number, streams) for number in range(len(names))]

    def _of(self, number: int, streams: RandomStreams) -> Iterator[Outage]:
        t_s = 0.0
        is_up = self.start == "up" or streams.uniform("churn_start", number).item() < self.availability
        for k in count():
            up_s, down_s = streams.exponential("churn", number, [2 * k, 2 * k + 1]).tolist()
            if is_up or k:
                t_s += self.mean_up_s * up_s
            back_s = t_s + self.mean_down_s * down_s
            yield t_s, back_s
            t_s = back_s


class Trace(FromFile, FaultsSpec):
    """Devices are away when a file says so.

    The file is CSV (with a header) or Parquet, told apart by its ending, with the columns ``device``, ``t_down_s`` and
    ``t_up_s`` (simulated time, at least 0), in any order of rows; other columns are left alone. Outages of a device
    don't overlap. Devices without rows are always there.
    """

    kind: ClassVar[str] = "trace"
    section: ClassVar[str] = "faults"

    @classmethod
    def check_content(cls, file: str, content: bytes) -> None:
        """See the base class."""
        _parse(file, content)

    @cached_property
    def _rows(self) -> dict[str, list[Outage]]:
        return _parse(self.file, self.content())

    def outages(self, names: Sequence[str], streams: RandomStreams) -> Sequence[Iterator[Outage]]:
        """See the base class."""
        if strangers := [name for name in self._rows if name not in names]:
            raise self.input_error(
                f"{self.file} has rows of {strangers[0]!r}, which is no device of this topology "
                f"({names[0]} … {names[-1]}); rename it or leave the rows out"
            )
        return [iter(self._rows.get(name, ())) for name in names]


def _parse(file: str, content: bytes) -> dict[str, list[Outage]]:
    rule = "give a finite time of at least 0, in seconds"
    columns = Columns(
        file, content, {"device": "give the name of a device, such as dev0", "t_down_s": rule, "t_up_s": rule}
    )
    down_s, up_s = columns.numbers("t_down_s", low=0.0), columns.numbers("t_up_s", low=0.0)
    codes, names = columns.texts("device")
    if (wrong := up_s <= down_s).any():
        raise columns.error("t_up_s", int(np.argmax(wrong)), "give a time after t_down_s")
    order = np.lexsort((down_s, codes))
    for before, row in pairwise(order.tolist()):
        if codes[before] == codes[row] and down_s[row] < up_s[before]:
            raise columns.error("t_down_s", row, f"{names[codes[row]]} is away already; join the rows")
    found: dict[str, list[Outage]] = {name: [] for name in names}
    for row in order.tolist():
        found[names[codes[row]]].append((float(down_s[row]), float(up_s[row])))
    return found
