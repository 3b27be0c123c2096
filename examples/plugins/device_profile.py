"""A device profile of one's own: defaults for every budget and power, each with where it comes from."""

from __future__ import annotations

from typing import ClassVar

from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.quantities import Bytes, Fraction, NonNegative, Positive


class Watch(DeviceProfile):
    """A smart watch; all figures are assumptions of this example."""

    kind: ClassVar[str] = "watch"

    flop_per_s: Positive = 2e9
    """Sustained fp32 operations per second."""
    memory_bytes: Bytes = 200_000_000
    """Memory for models."""
    idle_w: NonNegative = 0.02
    """Display off."""
    compute_w: NonNegative = 0.4
    """On top while computing."""
    rx_w: NonNegative = 0.3
    """On top while receiving."""
    tx_circuit_w: NonNegative = 0.3
    """On top while transmitting, without the amplifier."""
    amplifier_efficiency: Fraction = 0.25
    """Radiated over electrical power of the amplifier."""
    battery_j: Positive | None = 4000.0
    """Usable battery energy."""


FAMILIES = {"device_profile": [Watch]}
