"""Family ``handover``: when a device changes its base station."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nmoe_sim.scenario.spec import Spec

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class HandoverRule(Protocol):
    """Decides on handovers from measurements, one after the other; it keeps what it must remember."""

    def update(self, t_s: float, rsrp_dbm: FloatArray, serving: IntArray) -> list[tuple[int, int]]:
        """Take one measurement and return who hands over, to which base station.

        Parameters
        ----------
        t_s : float
            Time of the measurement, after that of the one before.
        rsrp_dbm : ndarray of float64 [D, B]
            Mean power that device d receives from base station b, without fast fading; -inf: it can't attach there.
        serving : ndarray of int64 [D]
            Base station of each device; -1: none, and it stays so, or the device is off.

        Returns
        -------
        list of (device, base station)
            By device; the caller attaches them.
        """
        ...


class HandoverSpec(Spec):
    """Base of the family: implement ``rule``."""

    period_s: Annotated[float, Field(ge=1e-3, le=3600)] = 0.1
    """Time from one measurement to the next."""
    interruption_s: Annotated[float, Field(ge=0, le=60)] = 0.05
    """Time from leaving the old base station until the device can send and receive again (TR 36.881: about 50 ms)."""

    @abstractmethod
    def rule(self, num_devices: int, num_stations: int) -> HandoverRule | None:
        """Return a rule that has seen no measurement yet; None: devices stay where they are."""


class NoHandover(HandoverSpec):
    """Devices stay with the base station they start with, however far they go."""

    kind: ClassVar[str] = "none"

    def rule(self, num_devices: int, num_stations: int) -> None:
        """See the base class."""


class A3Handover(HandoverSpec):
    """Event A3 of TS 38.331, section 5.5.4.4: a neighbour becomes better than the serving cell.

    A device hands over once another base station's mean received power has exceeded its own's by ``hysteresis_db``,
    the event's offset and hysteresis together, at every measurement of ``time_to_trigger_s``. Evaluations typically
    take 2 to 3 dB and 160 to 480 ms. Measurements go through the filter of layer 3 (section 5.5.3.2). Left out:
    fast fading (powers here are means), offsets of single cells, failures of the handover itself, its signalling.
    """

    kind: ClassVar[str] = "a3"

    hysteresis_db: Annotated[float, Field(ge=0, le=30)] = 3.0
    """By how much a base station must be better; it keeps devices at a border from going back and forth."""
    time_to_trigger_s: Annotated[float, Field(ge=0, le=60)] = 0.16
    """For how long; in effect rounded up to whole measurement periods."""
    filter_coefficient: Annotated[int, Field(ge=0, le=19)] = 4
    """k of the filter of layer 3: of two measurements 200 ms apart the new one counts 1/2^(k/4); 0: no filter."""

    def rule(self, num_devices: int, num_stations: int) -> A3Rule:
        """See the base class."""
        old = 1.0 - 0.5 ** (self.filter_coefficient / 4)
        # the standard wants the filter's time kept where measurements come at another rate than every 200 ms
        weight = 1.0 - old ** (self.period_s / 0.2)
        return A3Rule(num_devices, num_stations, self.hysteresis_db, self.time_to_trigger_s, weight)


class A3Rule:
    """The state machine of ``A3Handover``: since when each base station has been better than the device's own.

    Parameters
    ----------
    num_devices, num_stations : int
    hysteresis_db, time_to_trigger_s : float
    weight : float
        Of a new measurement against the filtered ones before it; 1: no filter.
    """

    def __init__(
        self,
        num_devices: int,
        num_stations: int,
        hysteresis_db: float,
        time_to_trigger_s: float,
        weight: float = 1.0,
    ) -> None:
        self._hysteresis_db = hysteresis_db
        self._time_to_trigger_s = time_to_trigger_s
        self._weight = weight
        self._filtered_dbm: FloatArray | None = None
        self._better_since_s = np.full((num_devices, num_stations), np.inf)

    def update(self, t_s: float, rsrp_dbm: FloatArray, serving: IntArray) -> list[tuple[int, int]]:
        """See ``HandoverRule``. The strongest of several goes first, of equals the first."""
        rsrp_dbm = self._filter(rsrp_dbm)
        device = np.arange(len(serving))
        own_dbm = np.where(serving >= 0, rsrp_dbm[device, serving], np.inf)
        better = rsrp_dbm > own_dbm[:, None] + self._hysteresis_db
        self._better_since_s = np.where(better, np.minimum(self._better_since_s, t_s), np.inf)
        # times are sums of periods: 0.3 - 0.1 must count as 0.2
        ripe = better & (t_s - self._better_since_s >= self._time_to_trigger_s - 1e-9)
        leaving = np.flatnonzero(ripe.any(axis=1))
        target = np.argmax(np.where(ripe[leaving], rsrp_dbm[leaving], -np.inf), axis=1)
        self._better_since_s[leaving] = np.inf
        return list(zip(leaving.tolist(), target.tolist(), strict=True))

    def _filter(self, rsrp_dbm: FloatArray) -> FloatArray:
        before_dbm = rsrp_dbm if self._filtered_dbm is None else self._filtered_dbm
        both = np.isfinite(rsrp_dbm) & np.isfinite(before_dbm)
        step_db = np.subtract(rsrp_dbm, before_dbm, where=both, out=np.zeros(rsrp_dbm.shape))
        self._filtered_dbm = np.where(both, before_dbm + self._weight * step_db, rsrp_dbm)
        return self._filtered_dbm
