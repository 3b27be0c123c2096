"""Family ``link_adaptation``: thin specs over ``channels.link_adaptation``."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from channels import link_adaptation
from nmoe_sim.scenario.quantities import Positive
from nmoe_sim.scenario.spec import Spec

FloatArray = NDArray[np.float64]


class Shannon(Spec):
    """Shannon's formula with an SNR gap, capped at the best modulation and coding scheme."""

    kind: ClassVar[str] = "shannon"

    gap_db: Annotated[float, Field(ge=0, le=50)] = 3.0
    """SNR gap to capacity; an engineering assumption, 0 is capacity itself."""
    max_bps_per_hz: Positive | None = 7.4063
    """Cap: 256-QAM at code rate 948/1024, the top of the 256-QAM tables of TS 38.214; null: none."""

    def efficiency_bps_per_hz(self, snr: ArrayLike) -> FloatArray:
        """Spectral efficiency at a linear SNR, of the same shape."""
        return link_adaptation.shannon_efficiency(snr, gap_db=self.gap_db, max_bps_per_hz=self.max_bps_per_hz)
