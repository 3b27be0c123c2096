"""A shadowing law of one's own: log-normal without its tails."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from channels.laws import FloatArray
from nmoe_sim.scenario.quantities import NonNegative
from nmoe_sim.scenario.spec import Spec


class ClippedLogNormal(Spec):
    """Log-normal shadowing, clipped at a number of standard deviations either side."""

    kind: ClassVar[str] = "clipped_log_normal"

    max_std: Annotated[float, Field(gt=0, le=10)] = 2.0
    """Standard deviations at which it is clipped."""
    decorrelation_m: NonNegative | None = None
    """Distance over which it decorrelates by e; null: the path-loss law's own; 0: independent from pair to pair."""

    def shadowing_db(self, standard_normal: FloatArray, path_loss_std_db: FloatArray) -> FloatArray:
        """Shadowing in dB [L], as a gain; σ is the path-loss law's."""
        return np.asarray(path_loss_std_db * np.clip(standard_normal, -self.max_std, self.max_std))


FAMILIES = {"shadowing": [ClippedLogNormal]}
