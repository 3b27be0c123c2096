"""Family ``shadowing``: thin specs over ``channels.shadowing``."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from channels import shadowing
from nmoe_sim.scenario.quantities import NonNegative
from nmoe_sim.scenario.spec import Spec

FloatArray = NDArray[np.float64]
ShadowStd = Annotated[float, Field(ge=0, le=50)]


class NoShadowing(Spec):
    """No shadowing: every link has its mean loss."""

    kind: ClassVar[str] = "none"

    @property
    def decorrelation_m(self) -> float:
        """Return 0: there is no field to draw from."""
        return 0.0

    def shadowing_db(self, standard_normal: FloatArray, path_loss_std_db: FloatArray) -> FloatArray:
        """Return zeros [L]."""
        return np.zeros(np.shape(path_loss_std_db))


class LogNormal(Spec):
    """Log-normal shadowing, alike for links whose ends are near each other and along a device's path."""

    kind: ClassVar[str] = "log_normal"

    std_db: ShadowStd | None = None
    """Standard deviation; null: the path-loss law's own, which may depend on line of sight."""
    decorrelation_m: NonNegative | None = None
    """Distance over which it decorrelates by e; null: the path-loss law's own; 0: independent from pair to pair."""

    def shadowing_db(self, standard_normal: FloatArray, path_loss_std_db: FloatArray) -> FloatArray:
        """Shadowing in dB [L], as a gain."""
        std_db = path_loss_std_db if self.std_db is None else self.std_db
        return shadowing.log_normal_db(standard_normal, std_db)
