"""A device: one FIFO compute queue, memory, powers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from simpy import Environment
from simpy.events import Event, Timeout

from nmoe_sim.engine.energy import EnergyLedger
from nmoe_sim.results.recorder import Recorder
from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.dvfs import DvfsSpec


@dataclass(slots=True, eq=False)
class _Job:
    """A job that hasn't ended, on a device that may go down before it has."""

    number: int
    request_id: int | None
    stage: str | None
    round: int | None
    kind: str
    flop: float
    t_ready_s: float
    t_start_s: float
    t_end_s: float
    power_w: float
    frequency_hz: float | None
    done: Event


class Device:
    """A device that runs one job after the other at ``flop_per_s``.

    Service times are known when a job is submitted, so the queue is a single number, the time the
    device becomes free. Where the device can't go down a job is a single event, and is booked at once; else it
    is booked when it ends.

    Parameters
    ----------
    env : simpy.Environment
    name : str
    profile : DeviceProfile
    tx_w : float
        Electrical power while transmitting, amplifier and transmit chain, above idle.
    recorder : Recorder
        Gets one ``compute`` row a job.
    may_fail : bool
        Whether the device may go down.
    """

    __slots__ = (
        "_cycles_per_flop",
        "_governor",
        "_numbers",
        "_open",
        "_rows",
        "busy_s",
        "compute_w",
        "energy",
        "env",
        "flop_per_s",
        "free_at_s",
        "frequency_hz",
        "is_up",
        "may_fail",
        "name",
        "num_outages",
        "on_load",
        "profile",
        "rx_w",
        "tx_w",
    )

    def __init__(
        self,
        env: Environment,
        name: str,
        profile: DeviceProfile,
        *,
        tx_w: float,
        recorder: Recorder,
        may_fail: bool = False,
    ) -> None:
        self.env = env
        self.name = name
        self.profile = profile
        self.flop_per_s = profile.flop_per_s
        self.compute_w = profile.compute_w
        self.frequency_hz: float | None = None
        """Clock frequency of ``flop_per_s`` and ``compute_w``: the only one, or the highest; None: not told."""
        self._governor: DvfsSpec | None = None  # where it depends on the job
        self._cycles_per_flop = 0.0
        if profile.dvfs.governs:
            self._govern(profile.dvfs)
        self.rx_w = profile.rx_w
        self.tx_w = tx_w
        self.energy = EnergyLedger()
        self.free_at_s = 0.0
        self.busy_s = {True: 0.0, False: 0.0}
        """Seconds computed, by whether it was for training."""
        self.may_fail = may_fail
        self.is_up = True
        self.num_outages = 0
        """How often it has gone down."""
        self.on_load: Callable[[], None] | None = None
        """Called when it is given a job or a hop, by whoever wants to know."""
        self._open: deque[_Job] = deque()
        self._rows = recorder.rows["compute"]
        self._numbers = recorder.job_numbers

    @property
    def paces_jobs(self) -> bool:
        """Whether a job's deadline sets its clock frequency."""
        return self._governor is not None

    def _govern(self, dvfs: DvfsSpec) -> None:
        self._governor = dvfs if dvfs.by_job else None
        self.frequency_hz = dvfs.max_frequency_hz if dvfs.by_job else dvfs.choose_hz(1.0, math.inf)
        self._cycles_per_flop = dvfs.max_frequency_hz / self.profile.flop_per_s
        self.flop_per_s = self.frequency_hz / self._cycles_per_flop
        self.compute_w = dvfs.power_w(self.frequency_hz)

    def compute(
        self,
        flop: float,
        kind: str,
        *,
        request_id: int | None = None,
        stage: str | None = None,
        round: int | None = None,
        deadline_s: float = math.inf,
    ) -> Event:
        """Queue a job; the event returned fires when it is done, or when the device goes down before.

        The event's value tells whether it was done. A device that is down takes no job: the value is False at
        once, and there is no row.

        Parameters
        ----------
        flop : float
            Declared cost.
        kind : str
            What it is, such as ``"expert"``.
        request_id, stage, round
            What it is for; ``stage`` is None exactly in inference.
        deadline_s : float
            When it should be done at the latest, where the device may take its time (``dvfs``).
        """
        if not self.is_up:
            return Event(self.env).succeed(False)
        now = self.env.now
        start = self.free_at_s if self.free_at_s > now else now
        flop_per_s, power_w, frequency_hz = self.flop_per_s, self.compute_w, self.frequency_hz
        if self._governor is not None:
            frequency_hz = self._governor.choose_hz(flop * self._cycles_per_flop, deadline_s - start)
            flop_per_s, power_w = frequency_hz / self._cycles_per_flop, self._governor.power_w(frequency_hz)
        delay = start + flop / flop_per_s - now
        end = now + delay  # as SimPy adds it, so that t_end_s is the time the event fires
        if end < start:  # a service time below the clock's resolution
            delay += math.ulp(start)
            end = now + delay
        self.free_at_s = end
        number = next(self._numbers)
        if self.may_fail:
            done = Event(self.env)
            job = _Job(number, request_id, stage, round, kind, flop, now, start, end, power_w, frequency_hz, done)
            self._open.append(job)
            Timeout(self.env, delay).callbacks.append(lambda _: None if done.triggered else self._finish(job))
            if self.on_load is not None:
                self.on_load()
            return done
        service_s = end - start
        energy_j = power_w * service_s
        training = stage is not None
        self.busy_s[training] += service_s
        self.energy.add("compute", training, energy_j)
        times_s = (now, start, end)
        self._rows.append(
            (number, request_id, stage, round, self.name, kind, flop, *times_s, frequency_hz, energy_j, "completed")
        )
        return self.env.timeout(delay, True)

    def _finish(self, job: _Job) -> None:
        self._open.popleft()
        self._book(job, job.t_start_s, job.t_end_s, "completed")
        job.done.succeed(True)

    def _book(self, job: _Job, start_s: float, end_s: float, outcome: str) -> None:
        energy_j, training = job.power_w * (end_s - start_s), job.stage is not None
        self.busy_s[training] += end_s - start_s
        self.energy.add("compute", training, energy_j)
        what = (job.number, job.request_id, job.stage, job.round, self.name, job.kind, job.flop)
        self._rows.append((*what, job.t_ready_s, start_s, end_s, job.frequency_hz, energy_j, outcome))

    def go_down(self) -> None:
        """Break off all jobs: that at the head of the queue draws what it has drawn, those behind it nothing."""
        now = self.env.now
        self.is_up = False
        self.num_outages += 1
        while self._open:
            job = self._open[0]
            if job.t_end_s <= now:  # just in time
                self._finish(job)
                continue
            self._open.popleft()
            self._book(job, min(job.t_start_s, now), now, "aborted")
            job.done.succeed(False)
        self.free_at_s = now

    def come_up(self) -> None:
        """Take jobs again."""
        self.is_up = True

    def computed_j(self) -> float:
        """Return the energy of the job at the head of the queue, which isn't booked yet."""
        return sum(job.power_w * max(0.0, min(self.env.now, job.t_end_s) - job.t_start_s) for job in self._open)

    def backlog_s(self) -> float:
        """Return the seconds of work in the queue."""
        return max(0.0, self.free_at_s - self.env.now)
