"""Energy as exact integrals of piecewise-constant power.

Every power in the model is constant between events, so each integral is power times time, in closed
form: a job adds compute power times its service time; a hop adds transmit (receive) power times the
airtime its medium gave to it; idle power runs all the time. Powers are increments over idle.
"""

from __future__ import annotations

from typing import Literal

Component = Literal["compute", "tx", "rx", "idle"]
Phase = Literal["training", "inference"]

COMPONENTS: tuple[Component, ...] = ("compute", "tx", "rx", "idle")
PHASES: tuple[Phase, ...] = ("training", "inference")


class EnergyLedger:
    """Joules of one device by component and phase."""

    __slots__ = ("joules",)

    def __init__(self) -> None:
        self.joules: dict[tuple[Component, bool], float] = {
            (component, training): 0.0 for component in COMPONENTS for training in (True, False)
        }

    def add(self, component: Component, training: bool, energy_j: float) -> None:
        """Charge ``energy_j`` to a component in the training or the inference phase."""
        self.joules[component, training] += energy_j

    def rows(self) -> list[tuple[Component, Phase, float]]:
        """Return (component, phase, J), in declared order."""
        return [(c, phase, self.joules[c, phase == "training"]) for c in COMPONENTS for phase in PHASES]

    @property
    def total_j(self) -> float:
        """Sum over components and phases."""
        return sum(self.joules.values())
