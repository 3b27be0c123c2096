"""What links carry in one coherence block, by the SINRs of their sub-bands and the reports of these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from channels.laws import LinkAdaptationLaw
from channels.link_adaptation import Transmission

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class AirState:
    """Links in one coherence block under the interference of what transmits; a ``sharing.LinkState``."""

    subbands: FloatArray
    """The SINRs of sub-bands [n, K]; infinite on a wire."""
    weights: FloatArray
    """Parts of the block in which schemes are chosen from different reports [R]."""
    reported: Sequence[FloatArray]
    """The SINRs reported, R arrays [n, K]; the same object as ``subbands`` where they are known as they are."""
    fixed_bps: FloatArray
    """Rate of links that don't adapt: wires and analog ones; NaN for others."""
    bandwidth_hz: FloatArray
    """0 for links that don't adapt."""
    adaptation: LinkAdaptationLaw

    @cached_property
    def sinr(self) -> FloatArray:
        """See ``sharing.LinkState``."""
        return self._effective(self.subbands)

    def transmission(self, concentration: FloatArray) -> Transmission:
        """See ``sharing.LinkState``; every sub-band is concentrated."""
        first_hz = float(self.bandwidth_hz[0]) if len(self.bandwidth_hz) else 0.0
        if first_hz and np.all(self.bandwidth_hz == first_hz):
            return self._on_air(slice(None), first_hz, concentration)
        rate_bps, loss, again, bits = np.empty((4, *concentration.shape))
        delay_s = 0.0
        for bandwidth_hz in np.unique(self.bandwidth_hz).tolist():
            some = np.flatnonzero(self.bandwidth_hz == bandwidth_hz)
            if bandwidth_hz:
                part = self._on_air(some, bandwidth_hz, concentration[..., some])
                delay_s = part.retransmission_delay_s
            else:
                sinr = self.sinr[some] * concentration[..., some]
                unheard = np.where(np.isnan(sinr), math.nan, 0.0)
                part = Transmission.lossless(np.where(sinr > 0, self.fixed_bps[some], unheard))
            rate_bps[..., some], loss[..., some] = part.rate_bps, part.loss_per_bit
            again[..., some], bits[..., some] = part.retransmissions_per_bit, part.block_bits
        return Transmission(rate_bps, loss, again, bits, delay_s)

    def _on_air(self, some: slice | IntArray, bandwidth_hz: float, concentration: FloatArray) -> Transmission:
        """Return what some links carry, the mean over their reports."""
        sinr = self._effective(self.subbands[some] * concentration[..., None])
        reports = [
            sinr if each is self.subbands else self._effective(each[some] * concentration[..., None])
            for each in self.reported
        ]
        if len(reports) == 1:
            return self.adaptation.transmission(sinr, reports[0], bandwidth_hz=bandwidth_hz)
        reported = np.stack(reports)
        each = self.adaptation.transmission(np.broadcast_to(sinr, reported.shape), reported, bandwidth_hz=bandwidth_hz)
        return each.mean(self.weights)

    def _effective(self, sinr: FloatArray) -> FloatArray:
        return sinr[..., 0] if sinr.shape[-1] == 1 else self.adaptation.effective_sinr(sinr)
