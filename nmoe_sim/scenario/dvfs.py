"""Family ``dvfs``: at which clock frequency a device computes.

The dynamic power of CMOS logic is ``P = a·C·V²·f`` (activity, switched capacitance, supply voltage, frequency). Where
voltage is scaled with frequency, ``V ∝ f``, so ``P = κ·f³``, and a job of ``c`` cycles, which takes ``c / f``, draws

    E(f) = κ·c·f² + P_static·c / f

above idle. ``κ`` (``kappa``, in W/Hz³, that is J·s²) is a device's; published work on edge computing takes 1e-28 to
1e-25, a range of 1000, so look at its sensitivity (``scenarios/sweeps/dvfs_kappa.yaml``). The default is that of the
phone profile, 4 W at 2.4 GHz. A device does its profile's ``flop_per_s`` at ``max_frequency_hz``, so that a job of
F FLOP is ``c = F · max_frequency_hz / flop_per_s`` cycles, whatever the frequency; ``compute_w`` isn't used.

Left out: leakage that depends on voltage and temperature (``static_w`` is constant), a lowest voltage, below which
frequency saves no more energy a cycle, work that waits for memory, whose time doesn't scale with the clock, discrete
levels, and the time and energy of a change.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from nmoe_sim.scenario.quantities import NonNegative
from nmoe_sim.scenario.spec import Spec

Frequency = Annotated[float, Field(ge=1e3, le=1e12)]


class NoDvfs(Spec):
    """One frequency that isn't told: ``flop_per_s`` and ``compute_w`` as the profile has them."""

    kind: ClassVar[str] = "none"
    governs: ClassVar[bool] = False


class DvfsSpec(Spec):
    """Base of the family: implement ``choose_hz``."""

    governs: ClassVar[bool] = True
    by_job: ClassVar[bool] = False
    """Whether the frequency depends on the job."""

    kappa: Annotated[float, Field(gt=0, le=1e-15)] = 2.9e-28
    """Dynamic power over the cube of the frequency, in W/Hz³."""
    static_w: NonNegative = 0.0
    """Power drawn on top of idle while computing, at any frequency."""
    min_frequency_hz: Frequency = 0.3e9
    """Lowest frequency."""
    max_frequency_hz: Frequency = 2.4e9
    """Highest frequency, at which the device has its profile's ``flop_per_s``."""

    @model_validator(mode="after")
    def _rising(self) -> DvfsSpec:
        if self.min_frequency_hz > self.max_frequency_hz:
            raise ValueError(
                f"min_frequency_hz of {self.min_frequency_hz:g} is more than max_frequency_hz of "
                f"{self.max_frequency_hz:g}; swap them"
            )
        return self

    @abstractmethod
    def choose_hz(self, cycles: float, time_s: float) -> float:
        """Return the frequency of a job.

        Parameters
        ----------
        cycles : float
            Of the job.
        time_s : float
            From its start to its deadline, not above 0 if that has passed; infinite without one.
        """

    def power_w(self, frequency_hz: float) -> float:
        """Return the power drawn above idle while computing."""
        return self.kappa * frequency_hz**3 + self.static_w

    def energy_j(self, cycles: float, frequency_hz: float) -> float:
        """Return the energy of a job above idle."""
        return self.power_w(frequency_hz) * cycles / frequency_hz

    def possible_hz(self, frequency_hz: float) -> float:
        """Return the frequency nearest to one that the device can take."""
        return min(max(frequency_hz, self.min_frequency_hz), self.max_frequency_hz)


class Fixed(DvfsSpec):
    """One frequency for all jobs."""

    kind: ClassVar[str] = "fixed"

    frequency_hz: Frequency = 1.2e9
    """The frequency."""

    @model_validator(mode="after")
    def _possible(self) -> Fixed:
        if self.frequency_hz != self.possible_hz(self.frequency_hz):
            raise ValueError(
                f"frequency_hz of {self.frequency_hz:g} is outside {self.min_frequency_hz:g} to "
                f"{self.max_frequency_hz:g} Hz; give one inside, or widen min_frequency_hz and max_frequency_hz"
            )
        return self

    def choose_hz(self, cycles: float, time_s: float) -> float:
        """See the base class."""
        return self.frequency_hz


class EnergyOptimal(DvfsSpec):
    """The frequency at which a job draws least energy, however long it takes.

    ``dE/df = 2·κ·c·f - P_static·c/f² = 0`` at ``f* = (P_static / (2·κ))^(1/3)``, the same for all jobs, and E is
    convex in f, so that ``f*`` is clipped to the frequencies that the device can take. Slower saves dynamic energy,
    faster saves static energy; without ``static_w`` it is the lowest. Idle power isn't in E: it is drawn anyway.
    """

    kind: ClassVar[str] = "energy_optimal"

    def choose_hz(self, cycles: float, time_s: float) -> float:
        """See the base class."""
        return self.possible_hz((self.static_w / (2.0 * self.kappa)) ** (1.0 / 3.0))


class Deadline(DvfsSpec):
    """The lowest frequency at which a job ends by its deadline; the highest where it can't, or has none.

    ``f = c / (deadline - start)``, clipped, where the start is when the jobs before it are done. A job's deadline:

    - in training that which its stage gives it;
    - in inference that of the request (``inference.deadline_s``) for combining; for an expert the request's less the
      mean delay of the output's way back, as an aged view of the network has it, and less combining at the highest
      frequency; of several experts on a host each gets an equal part of the time. Features and gate have none: what
      follows them isn't known yet.

    Contention and fading may then make answers late that a higher frequency would have had in time.
    """

    kind: ClassVar[str] = "deadline"
    by_job: ClassVar[bool] = True

    def choose_hz(self, cycles: float, time_s: float) -> float:
        """See the base class."""
        if not 0.0 < time_s < math.inf:
            return self.max_frequency_hz
        return self.possible_hz(cycles / time_s)
