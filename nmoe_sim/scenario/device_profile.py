"""A device: its budgets and powers."""

from __future__ import annotations

from typing import Annotated, Any

from nmoe_sim.scenario.dvfs import NoDvfs
from nmoe_sim.scenario.quantities import Bytes, Count, FlopPerS, Fraction, NonNegative, Positive
from nmoe_sim.scenario.spec import Family, Spec


class DeviceProfile(Spec):
    """A device's budgets and powers; a profile gives them defaults with sources.

    Powers add up: ``idle_w`` is drawn always, the others on top of it while the device computes,
    receives or transmits.
    """

    count: Count | None = None
    """Devices of this group; one group may leave it out and takes the rest of ``topology.num_devices``."""
    flop_per_s: FlopPerS
    """Sustained floating-point operations per second."""
    memory_bytes: Bytes
    """Memory for models."""
    idle_w: NonNegative
    """Power drawn always."""
    compute_w: NonNegative
    """Power drawn on top while computing."""
    rx_w: NonNegative
    """Power drawn on top while receiving."""
    tx_circuit_w: NonNegative
    """Power of the transmit chain, without the amplifier, while transmitting."""
    amplifier_efficiency: Fraction
    """Radiated power over the amplifier's electrical power."""
    battery_j: Positive | None = None
    """Usable battery energy; null for mains. A device whose battery is empty is down for good."""
    initial_charge: Fraction = 1.0
    """How full the battery is at the start."""
    dvfs: Annotated[Any, Family("dvfs", default="none")] = NoDvfs()
    """At which clock frequency it computes."""

    @property
    def charge_j(self) -> float | None:
        """Energy in the battery at the start; None for mains."""
        return None if self.battery_j is None else self.battery_j * self.initial_charge
