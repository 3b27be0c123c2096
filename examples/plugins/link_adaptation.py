"""A link adaptation of one's own: a table of SINR thresholds."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from channels.units import linear_to_db
from nmoe_sim.engine.radio.link_adaptation import FloatArray, LinkAdaptation

Steps = Annotated[tuple[float, ...], Field(min_length=1, max_length=64)]


class StepTable(LinkAdaptation):
    """The efficiency of the highest step whose SINR is reached; below the first step nothing is sent."""

    kind: ClassVar[str] = "step_table"

    snr_db: Steps = (-5.0, 5.0, 15.0)
    """SINR from which each step can be used, rising."""
    bps_per_hz: Steps = (0.3, 1.5, 4.0)
    """Spectral efficiency of each step."""

    @model_validator(mode="after")
    def _steps_match(self) -> StepTable:
        if len(self.snr_db) != len(self.bps_per_hz) or any(np.diff(self.snr_db) <= 0):
            raise ValueError("snr_db must rise and have one value for each of bps_per_hz")
        return self

    def efficiency_bps_per_hz(self, sinr: ArrayLike) -> FloatArray:
        """Spectral efficiency at a linear SINR, of the same shape."""
        step = np.searchsorted(self.snr_db, linear_to_db(sinr), side="right")
        return np.asarray([0.0, *self.bps_per_hz])[step]


FAMILIES = {"link_adaptation": [StepTable]}
