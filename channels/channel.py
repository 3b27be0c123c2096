"""The gains of a set of links, composed of a path-loss, a shadowing and a fading law."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.geometry import LinkGeometry
from channels.laws import FadingLaw, PathLossLaw, ShadowingLaw, UniformDraws
from channels.units import db_to_linear


class Channel:
    """Gains of L links with static ends: path loss and shadowing drawn once, fading for each coherence block.

    Parameters
    ----------
    geometry : LinkGeometry
        Where the ends of the L links are.
    carrier_hz : float
        Carrier frequency.
    path_loss, shadowing, fading
        The laws.
    uniform : UniformDraws
        Source of all draws, such as ``RandomStreams(seed).uniform``.
    link_ids : array_like of int [L]
        Identity of each directed link, ≥ 0: fading is drawn for it.
    pair_ids : array_like of int [L]
        Identity of the pair of ends, ≥ 0: line of sight and shadowing are drawn for it. Both
        directions carry the same one, so that the large-scale gain is reciprocal.

    Attributes
    ----------
    is_los : ndarray of bool [L]
        Whether the link has line of sight.
    path_loss_db, shadowing_db : ndarray of float64 [L]
        Path loss, and shadowing as a gain.
    mean_gain_db : ndarray of float64 [L]
        Large-scale gain: minus path loss plus shadowing.
    in_validity_range : ndarray of bool [L]
        Whether the path-loss law was made for the link.

    Raises
    ------
    ValueError
        ``link_ids`` or ``pair_ids`` has not one element a link.

    Notes
    -----
    Every draw is a function of ``("los", pair)``, ``("shadowing", pair)`` or ``("fading", link, block)``:
    no result depends on which links are asked together, in which order, or on other links.
    Left out: antenna patterns, frequency-selective fading, correlation between blocks and links.
    """

    def __init__(
        self,
        geometry: LinkGeometry,
        *,
        carrier_hz: float,
        path_loss: PathLossLaw,
        shadowing: ShadowingLaw,
        fading: FadingLaw,
        uniform: UniformDraws,
        link_ids: ArrayLike,
        pair_ids: ArrayLike,
    ) -> None:
        from scipy.special import ndtri  # slow to import, and needed only where channels are drawn

        self._link_ids = _identities("link_ids", link_ids, len(geometry))
        pairs = _identities("pair_ids", pair_ids, len(geometry))
        self._fading = fading
        self._uniform = uniform

        # "<=" makes the probabilities 0 and 1 certain: a draw is never 0 and may round to 1.
        self.is_los = np.asarray(uniform("los", pairs) <= path_loss.los_probability(geometry))
        self.path_loss_db = path_loss.path_loss_db(geometry, carrier_hz=carrier_hz, los=self.is_los)
        std_db = path_loss.shadow_fading_std_db(geometry, carrier_hz=carrier_hz, los=self.is_los)
        self.shadowing_db = shadowing.shadowing_db(np.asarray(ndtri(uniform("shadowing", pairs))), std_db)
        self.mean_gain_db = self.shadowing_db - self.path_loss_db
        self.in_validity_range = path_loss.in_validity_range(geometry, carrier_hz=carrier_hz)
        self._mean_gain = db_to_linear(self.mean_gain_db)

    def power_gain(self, links: ArrayLike, blocks: ArrayLike) -> NDArray[np.float64]:
        """Gain of links in coherence blocks: large-scale gain times fading, linear.

        Parameters
        ----------
        links : array_like of int [M]
            Positions of links in the geometry.
        blocks : array_like of int [T]
            Numbers of coherence blocks, ≥ 0: the block at time t is floor(t / coherence time).

        Returns
        -------
        ndarray of float64 [T, M]
            Received over transmitted power. Without fading all rows are equal.
        """
        links, blocks = np.atleast_1d(links), np.atleast_1d(blocks)
        mean_gain_m = self._mean_gain[links]
        if self._fading.coherence_time_s is None:
            return np.tile(mean_gain_m, (len(blocks), 1))
        uniform_tm = self._uniform("fading", self._link_ids[links][np.newaxis, :], blocks[:, np.newaxis])
        return np.asarray(self._fading.power_gain(uniform_tm) * mean_gain_m)


def _identities(name: str, values: ArrayLike, num_links: int) -> NDArray[np.int64]:
    identities = np.asarray(values, dtype=np.int64)
    if identities.shape != (num_links,):
        raise ValueError(f"{name} has shape {identities.shape}; expected one identity for each of {num_links} links")
    return identities
