"""A device: one FIFO compute queue, memory, powers."""

from __future__ import annotations

from math import ulp

from simpy import Environment
from simpy.events import Timeout

from nmoe_sim.engine.energy import EnergyLedger
from nmoe_sim.results.recorder import Recorder
from nmoe_sim.scenario.device_profile import DeviceProfile


class Device:
    """A device that runs one job after the other at ``flop_per_s``.

    Service times are known when a job is submitted, so the queue is a single number, the time the
    device becomes free, and a job is a single event.

    Parameters
    ----------
    env : simpy.Environment
    name : str
    profile : DeviceProfile
    tx_w : float
        Electrical power while transmitting, amplifier and transmit chain, above idle.
    recorder : Recorder
        Gets one ``compute`` row a job.
    """

    __slots__ = (
        "_rows",
        "_spilled",
        "busy_s",
        "compute_w",
        "energy",
        "env",
        "flop_per_s",
        "free_at_s",
        "name",
        "profile",
        "rx_w",
        "tx_w",
    )

    def __init__(self, env: Environment, name: str, profile: DeviceProfile, *, tx_w: float, recorder: Recorder) -> None:
        self.env = env
        self.name = name
        self.profile = profile
        self.flop_per_s = profile.flop_per_s
        self.compute_w = profile.compute_w
        self.rx_w = profile.rx_w
        self.tx_w = tx_w
        self.energy = EnergyLedger()
        self.free_at_s = 0.0
        self.busy_s = {True: 0.0, False: 0.0}
        """Seconds computed, by whether it was for training."""
        self._rows = recorder.rows["compute"]
        self._spilled = recorder.spilled

    def compute(
        self,
        flop: float,
        kind: str,
        *,
        request_id: int | None = None,
        stage: str | None = None,
        round: int | None = None,
    ) -> Timeout:
        """Queue a job; the event returned fires when it is done.

        Parameters
        ----------
        flop : float
            Declared cost.
        kind : str
            What it is, such as ``"expert"``.
        request_id, stage, round
            What it is for; ``stage`` is None exactly in inference.
        """
        now = self.env.now
        start = self.free_at_s if self.free_at_s > now else now
        delay = start + flop / self.flop_per_s - now
        end = now + delay  # as SimPy adds it, so that t_end_s is the time the event fires
        if end < start:  # a service time below the clock's resolution
            delay += ulp(start)
            end = now + delay
        service_s = end - start
        energy_j = self.compute_w * service_s
        training = stage is not None
        self.free_at_s = end
        self.busy_s[training] += service_s
        self.energy.add("compute", training, energy_j)
        rows = self._rows
        rows.append(
            (
                self._spilled["compute"] + len(rows),
                request_id,
                stage,
                round,
                self.name,
                kind,
                flop,
                now,
                start,
                end,
                energy_j,
                "completed",
            )
        )
        return self.env.timeout(delay)

    def backlog_s(self) -> float:
        """Return the seconds of work in the queue."""
        return max(0.0, self.free_at_s - self.env.now)
