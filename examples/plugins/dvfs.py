"""A governor of one's own: frequencies as a processor has them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from nmoe_sim.scenario.dvfs import DvfsSpec


class Steps(DvfsSpec):
    """The lowest of a few frequencies at which a job ends by its deadline; the highest where none does, or it has none.

    The kind ``deadline`` takes any frequency in a range; a processor has a table of them, and rounds up.
    """

    kind: ClassVar[str] = "steps"
    by_job: ClassVar[bool] = True

    steps_hz: tuple[Annotated[float, Field(ge=1e3, le=1e12)], ...] = (0.6e9, 1.2e9, 1.8e9, 2.4e9)
    """The frequencies, rising."""

    @model_validator(mode="after")
    def _possible(self) -> Steps:
        if list(self.steps_hz) != sorted({self.possible_hz(step_hz) for step_hz in self.steps_hz}):
            raise ValueError("steps_hz must rise from min_frequency_hz to max_frequency_hz at most; sort and clip them")
        return self

    def choose_hz(self, cycles: float, time_s: float) -> float:
        """Return the frequency of a job of so many cycles that starts so long before its deadline."""
        wanted_hz = cycles / time_s if time_s > 0 else self.steps_hz[-1]
        return next((step_hz for step_hz in self.steps_hz if step_hz >= wanted_hz > 0), self.steps_hz[-1])


FAMILIES = {"dvfs": [Steps]}
