"""Gains between the nodes of a network, composed of a path-loss, a shadowing and a fading law."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.geometry import LinkGeometry
from channels.laws import FadingLaw, PathLossLaw, ShadowingLaw, UniformDraws
from channels.memo import Memo
from channels.shadowing import PairField, Phasors
from channels.sites import Sites
from channels.units import db_to_linear

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LargeScale:
    """What changes over metres, of pairs [M] of nodes at times [T]: arrays [T, M]."""

    distance_2d_m: FloatArray
    is_los: BoolArray
    """Whether there is line of sight."""
    mean_gain_db: FloatArray
    """Minus path loss plus shadowing, without antennas."""


class Propagation(Protocol):
    """Gains between nodes 0 to N-1, without antennas; every value is a function of the pair and the time."""

    block_s: float
    """Length of a coherence block: gains change at its multiples; infinite: never."""

    def large_scale(self, src: IntArray, dst: IntArray, t_s: FloatArray) -> LargeScale:
        """Large-scale state of pairs [M] at times [T]."""
        ...

    def power_gain(self, src: IntArray, dst: IntArray, blocks: IntArray) -> FloatArray:
        """Received over transmitted power, linear, [T, M, K]: pairs [M], blocks [T] and K sub-bands (1: flat)."""
        ...


class Channel:
    """A ``Propagation`` of statistical laws.

    Parameters
    ----------
    sites : Sites
        Nodes and where they are.
    carrier_hz : float
        Carrier frequency.
    bandwidth_hz : float
        Bandwidth that frequency-selective fading divides into sub-bands; else it plays no part.
    path_loss, shadowing, fading
        The laws.
    uniform : UniformDraws
        Source of all draws, such as ``RandomStreams(seed).uniform``.
    reciprocal : bool
        Whether both directions of a pair fade alike, as on one band (TDD); else they fade independently (FDD).
        Large-scale gains are reciprocal always.

    Notes
    -----
    Line of sight and shadowing are fields over the positions of both ends (see ``PairField``), so they
    are alike for devices near each other and along a path; with a decorrelation distance of 0 they are
    drawn for each pair of nodes. Fading is drawn for (link, block). So no result depends on which pairs
    are asked together, in which order, or on other nodes. Within a block positions are those of the last look
    before its start (``Sites.step_s``).

    Left out: correlation of shadowing between line-of-sight states, soft transitions between them,
    building penetration, correlation of fading between links.
    """

    def __init__(
        self,
        sites: Sites,
        *,
        carrier_hz: float,
        bandwidth_hz: float = 20e6,
        path_loss: PathLossLaw,
        shadowing: ShadowingLaw,
        fading: FadingLaw,
        uniform: UniformDraws,
        reciprocal: bool = False,
    ) -> None:
        self._sites = sites
        self._carrier_hz = carrier_hz
        self._bandwidth_hz = bandwidth_hz
        self._path_loss = path_loss
        self._shadowing = shadowing
        self._fading = fading
        self._uniform = uniform
        self._reciprocal = reciprocal
        coherence_s = fading.coherence_time_s
        self.block_s: float = coherence_s if coherence_s is not None else math.inf if sites.is_static else sites.step_s
        self._los_field = self._field("los", path_loss.los_decorrelation_m, smooth=True)
        self._shadowing_fields = [
            self._field(f"shadowing/{'los' if los else 'nlos'}", self._decorrelation_m(los)) for los in (False, True)
        ]
        self._looked_up = Memo(self._look_up)

    def _decorrelation_m(self, los: bool) -> float:
        own_m = self._shadowing.decorrelation_m
        return self._path_loss.shadow_decorrelation_m(los) if own_m is None else own_m

    def _field(self, name: str, decorrelation_m: float, *, smooth: bool = False) -> PairField | None:
        if not decorrelation_m:
            return None
        return PairField(self._uniform, name, decorrelation_m=decorrelation_m, smooth=smooth)

    def large_scale(self, src: ArrayLike, dst: ArrayLike, t_s: ArrayLike) -> LargeScale:
        """See ``Propagation``."""
        src, dst, t_s = (np.atleast_1d(x) for x in (src, dst, t_s))
        look, which = np.unique(self._sites.look(t_s), return_inverse=True)
        num_nodes = len(self._sites)
        keys = (look[:, None] * num_nodes + src) * num_nodes + dst
        distance_m, is_los, gain_db = self._looked_up(keys.ravel()).T.reshape(3, *keys.shape)
        return LargeScale(distance_m[which], is_los[which] != 0.0, gain_db[which])

    def _look_up(self, keys: IntArray) -> FloatArray:
        """Return distance, line of sight and gain [n, 3] of looks and pairs that are written as one number."""
        rest, dst = np.divmod(keys, len(self._sites))
        looks, src = np.divmod(rest, len(self._sites))
        look, which = np.unique(looks, return_inverse=True)
        xy_m = self._sites.positions_m(self._sites.look_s(look))
        a_m, b_m = xy_m[which, src], xy_m[which, dst]
        distance_m = np.hypot(*(a_m - b_m).T)[None]
        large = self._state(distance_m, src, dst, lambda field: field.at(a_m, b_m))
        return np.stack([large.distance_2d_m[0], large.is_los[0], large.mean_gain_db[0]], axis=1)

    def geometry(self, src: ArrayLike, dst: ArrayLike, t_s: float) -> LinkGeometry:
        """Return where the ends of pairs [M] are at one time."""
        src, dst = np.atleast_1d(src), np.atleast_1d(dst)
        xy_m = self._sites.at([t_s])[0]
        distance_m = np.hypot(*(xy_m[src] - xy_m[dst]).T)
        return LinkGeometry.between(distance_m, self._sites.heights_m[src], self._sites.heights_m[dst])

    def power_gain(self, src: ArrayLike, dst: ArrayLike, blocks: ArrayLike) -> FloatArray:
        """See ``Propagation``."""
        src, dst, blocks = (np.atleast_1d(x) for x in (src, dst, blocks))
        starts_s = np.zeros(1) if self._sites.is_static else blocks * self.block_s
        large = self.large_scale(src, dst, starts_s)
        return self._faded(large, self._link_ids(src, dst), blocks)

    def power_gain_matrix(self, src: ArrayLike, dst: ArrayLike, block: int) -> FloatArray:
        """Return the gains from every one of ``src`` [A] to every one of ``dst`` [B] in one block, [A, B, K].

        It is the fast way to many pairs: equal to ``power_gain`` but for rounding.
        """
        start_s = 0.0 if math.isinf(self.block_s) else block * self.block_s
        rows = []
        for a, b, large in self._matrix_rows(np.atleast_1d(src), np.atleast_1d(dst), start_s):
            faded = self._faded(large, self._link_ids(a, b), np.array([block]))[0]
            rows.append(faded.reshape(-1, np.size(dst), faded.shape[-1]))
        return np.concatenate(rows)

    def large_scale_matrix(self, src: ArrayLike, dst: ArrayLike, t_s: float) -> LargeScale:
        """Return the state of every one of ``src`` [A] with every one of ``dst`` [B] at one time: arrays [A, B].

        It is the fast way to many pairs: equal to ``large_scale`` but for rounding.
        """
        src, dst = np.atleast_1d(src), np.atleast_1d(dst)
        shape, rows = (len(src), len(dst)), [vars(large).values() for _, _, large in self._matrix_rows(src, dst, t_s)]
        return LargeScale(*(np.concatenate(parts, axis=1).reshape(shape) for parts in zip(*rows, strict=True)))

    def _matrix_rows(self, src: IntArray, dst: IntArray, t_s: float) -> Iterator[tuple[IntArray, IntArray, LargeScale]]:
        """Go through all pairs of ``src`` and ``dst``, some of ``src`` at a time: pairs [M] and their state [1, M]."""
        xy_m = self._sites.at([t_s])[0]
        fields = [field for field in (self._los_field, *self._shadowing_fields) if field is not None]
        of_src = [field.phasors(xy_m[src]) for field in fields]
        of_dst = of_src if np.array_equal(src, dst) else [field.phasors(xy_m[dst]) for field in fields]
        phasors = {id(field): both for field, *both in zip(fields, of_src, of_dst, strict=True)}
        num_rows = max(1, _CHUNK // max(1, len(dst)))
        for first in range(0, max(1, len(src)), num_rows):
            some = slice(first, first + num_rows)
            a, b = np.repeat(src[some], len(dst)), np.tile(dst, len(src[some]))

            def normal(field: PairField, some: slice = some) -> FloatArray:
                of_src, of_dst = phasors[id(field)]
                return field.matrix(Phasors(*(values[some] for values in of_src)), of_dst)

            distance_m = np.hypot(*np.moveaxis(xy_m[src[some], None] - xy_m[dst], -1, 0)).reshape(1, -1)
            yield a, b, self._state(distance_m, a, b, normal)

    def _state(
        self, distance_m: FloatArray, src: IntArray, dst: IntArray, correlated: Callable[[PairField], FloatArray]
    ) -> LargeScale:
        """Return the state of pairs [M] at times [T], given their distances [T, M] and how to look at a field."""
        shape = distance_m.shape
        heights_m = self._sites.heights_m
        geometry = LinkGeometry.between(
            distance_m.ravel(), np.tile(heights_m[src], shape[0]), np.tile(heights_m[dst], shape[0])
        )

        def normal(field: PairField | None, name: str) -> FloatArray:
            if field is None:
                from scipy.special import ndtri

                return np.tile(np.asarray(ndtri(self._uniform(name, self._pair_ids(src, dst)))), shape[0])
            return correlated(field).ravel()

        los = self._line_of_sight(geometry, normal)
        std_db = self._path_loss.shadow_fading_std_db(geometry, carrier_hz=self._carrier_hz, los=los)
        z = np.zeros(los.shape)
        # links that even a large draw leaves alone need none: a law may bring a deviation that path loss lacks
        shadowed = self._shadowing.shadowing_db(np.full(los.shape, 4.0), std_db) != 0.0
        for state, field in enumerate(self._shadowing_fields):
            if np.any(here := shadowed & (los == bool(state))):
                z = np.where(here, normal(field, "shadowing"), z)
        loss_db = self._path_loss.path_loss_db(geometry, carrier_hz=self._carrier_hz, los=los)
        gain_db = self._shadowing.shadowing_db(z, std_db) - loss_db
        return LargeScale(distance_m, los.reshape(shape), gain_db.reshape(shape))

    def _line_of_sight(self, geometry: LinkGeometry, normal: _Normal) -> BoolArray:
        probability = self._path_loss.los_probability(geometry)
        if np.all((probability == 0.0) | (probability == 1.0)):
            return np.asarray(probability == 1.0)
        from scipy.special import ndtr

        # "<=" makes the probabilities 0 and 1 certain
        return np.asarray((ndtr(normal(self._los_field, "los")) <= probability) & (probability > 0.0))

    def _faded(self, large: LargeScale, link_ids: IntArray, blocks: IntArray) -> FloatArray:
        """Return gains [T, M, K] of links [M] in blocks [T], given their state then, [T, M] or [1, M]."""
        mean_gain = db_to_linear(large.mean_gain_db)[..., None]
        if self._fading.coherence_time_s is None:
            return np.repeat(mean_gain, len(blocks) // len(mean_gain), axis=0)
        fading = self._fading.power_gain(
            self._uniform,
            link_ids,
            blocks,
            los=np.broadcast_to(large.is_los, (len(blocks), len(link_ids))),
            carrier_hz=self._carrier_hz,
            bandwidth_hz=self._bandwidth_hz,
        )
        return np.asarray(fading * mean_gain)

    def _pair_ids(self, src: IntArray, dst: IntArray) -> IntArray:
        a, b = self._sites.ids[src], self._sites.ids[dst]
        return np.asarray((np.minimum(a, b) << 24) | np.maximum(a, b))

    def _link_ids(self, src: IntArray, dst: IntArray) -> IntArray:
        if self._reciprocal:
            return self._pair_ids(src, dst)
        return np.asarray((self._sites.ids[src] << 24) | self._sites.ids[dst])


class _Normal(Protocol):
    def __call__(self, field: PairField | None, name: str) -> FloatArray: ...


_CHUNK = 131_072
"""Pairs worked on at a time in a matrix of gains."""
