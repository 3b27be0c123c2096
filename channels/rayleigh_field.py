"""Diffuse multipath of links over time and frequency: what every fading law is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from channels import doppler
from channels.fading import rayleigh_power_gain
from channels.subbands import correlate_subbands

if TYPE_CHECKING:
    from channels.laws import IntArray, UniformDraws


@dataclass(frozen=True)
class RayleighField:
    """Complex gains of unit mean power and Rayleigh amplitude, independent from link to link.

    Notes
    -----
    Every value is a function of link, block and sub-band, drawn for ``("fading…", link, …)``. Left out: correlation
    between links, scattering that is not isotropic, change of the Doppler shift along a run.
    """

    block_s: float
    """Length of a coherence block; gains are those at its start."""
    doppler_hz: float | None = None
    """Largest Doppler shift; None: blocks are independent of each other (block fading)."""
    num_subbands: int = 1
    """Sub-bands K; 1: the channel is flat."""
    subband_hz: float = 0.0
    """Distance between neighbouring sub-bands."""
    delay_spread_s: float = 0.0
    """Root-mean-square delay spread of the exponential power-delay profile."""

    def power(self, uniform: UniformDraws, link_ids: IntArray, blocks: IntArray) -> NDArray[np.float64]:
        """Power gains |h|² of links [M] in blocks [T], [T, M, K]."""
        if self.doppler_hz is None and self.num_subbands == 1:  # needs no phases
            return rayleigh_power_gain(uniform("fading", link_ids[None, :], blocks[:, None]))[..., None]
        gain = self.gain(uniform, link_ids, blocks)
        return np.asarray(gain.real**2 + gain.imag**2)

    def gain(self, uniform: UniformDraws, link_ids: IntArray, blocks: IntArray) -> NDArray[np.complex128]:
        """Complex gains h of links [M] in blocks [T], [T, M, K]."""
        if self.doppler_hz is None:
            amplitude = np.sqrt(rayleigh_power_gain(self._draw(uniform, "fading", link_ids, blocks)))
            gain = amplitude * doppler.phasor(self._draw(uniform, "fading/phase", link_ids, blocks))
        else:
            gain = doppler.diffuse_gain(
                uniform, link_ids, blocks * self.block_s, doppler_hz=self.doppler_hz, num_fields=self.num_subbands
            )
        if self.num_subbands == 1:
            return np.asarray(gain)
        return correlate_subbands(gain, subband_hz=self.subband_hz, delay_spread_s=self.delay_spread_s)

    def direct(self, uniform: UniformDraws, link_ids: IntArray, blocks: IntArray) -> NDArray[np.complex128]:
        """Phasors of the direct paths of links [M] in blocks [T], [T, M, 1]: alike in all sub-bands."""
        if self.doppler_hz is None:  # its phase makes no difference to gains that are independent in every block
            return np.ones((len(blocks), len(link_ids), 1), dtype=np.complex128)
        times_s = blocks * self.block_s
        return doppler.direct_phasor(uniform, link_ids, times_s, doppler_hz=self.doppler_hz)[..., None]

    def _draw(self, uniform: UniformDraws, name: str, link_ids: IntArray, blocks: IntArray) -> NDArray[np.float64]:
        """One draw a link, block and sub-band; sub-band 0 has that of the flat channel."""
        link, block = link_ids[None, :, None], blocks[:, None, None]
        first = uniform(name, link, block)
        if self.num_subbands == 1:
            return first
        others = uniform(f"{name}/subband", link, block, np.arange(1, self.num_subbands))
        return np.concatenate([first, others], axis=-1)
