"""Gains from elsewhere: samples over time of pairs of nodes, as ray tracers and measurements give them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.channel import LargeScale
from channels.sites import Sites
from channels.units import db_to_linear

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_NS_PER_S = 1e9
_MAX_T_S = 1e9


class SampleError(ValueError):
    """A sample breaks a rule.

    Parameters
    ----------
    row : int
        Where it stands in the arrays given.
    rule : str
        What is wrong with it, and what to do about it.
    """

    def __init__(self, row: int, rule: str) -> None:
        self.row = row
        self.rule = rule
        super().__init__(f"sample {row}: {rule}")


@dataclass(frozen=True, eq=False)
class GainSamples:
    """Gains of P directed pairs of nodes at R times in all, by pair and time; build it with ``of``."""

    src: IntArray
    """Transmitter of each pair [P]."""
    dst: IntArray
    """Receiver of each pair [P]."""
    first: IntArray
    """Where each pair's samples begin, and where the last one's end [P + 1]."""
    t_ns: IntArray
    """Times in whole nanoseconds [R], increasing for each pair."""
    gain_db: FloatArray
    """Gains [R]."""

    @classmethod
    def of(cls, src: ArrayLike, dst: ArrayLike, t_s: ArrayLike, gain_db: ArrayLike) -> GainSamples:
        """Sort samples, given in any order, one element each.

        Parameters
        ----------
        src, dst : array_like of int [R]
            Numbers of transmitter and receiver, ≥ 0.
        t_s : array_like [R]
            Times, 0 to 10^9 s, taken to the nanosecond.
        gain_db : array_like [R]
            Received over transmitted power.

        Raises
        ------
        SampleError
            A time out of range, a gain that isn't finite, a node that reaches itself, one pair and time twice.
        ValueError
            There are no samples, or not one element each.
        """
        numbers_s, gains_db = np.asarray(t_s, dtype=np.float64), np.asarray(gain_db, dtype=np.float64)
        a, b = np.asarray(src, dtype=np.int64), np.asarray(dst, dtype=np.int64)
        if not a.shape == b.shape == numbers_s.shape == gains_db.shape == (a.size,) or not a.size:
            raise ValueError("src, dst, t_s and gain_db need one element for each of at least one sample")
        _refuse_first(~((numbers_s >= 0) & (numbers_s <= _MAX_T_S)), "its time is not from 0 to 1e9 s")
        _refuse_first(~np.isfinite(gains_db), "its gain is not finite")
        _refuse_first(a == b, "it is a path from a node to itself; leave it out")
        t_ns = np.rint(numbers_s * _NS_PER_S).astype(np.int64)
        order = np.lexsort((t_ns, b, a))
        a, b, t_ns, gains_db = a[order], b[order], t_ns[order], gains_db[order]
        begins = np.append(True, (np.diff(a) != 0) | (np.diff(b) != 0))
        twice = np.flatnonzero(~begins[1:] & (np.diff(t_ns) == 0))
        if len(twice):
            later = int(order[twice[0] + 1])  # lexsort is stable, so the later one given
            raise SampleError(later, "one before it has the same pair and time; keep one of them")
        first = np.append(np.flatnonzero(begins), len(a)).astype(np.int64)
        return cls(a[first[:-1]], b[first[:-1]], first, t_ns, gains_db)

    def renumbered(self, nodes: IntArray) -> GainSamples:
        """Return the same samples with ``nodes[i]`` instead of node i."""
        return GainSamples(nodes[self.src], nodes[self.dst], self.first, self.t_ns, self.gain_db)

    @cached_property
    def times_ns(self) -> IntArray:
        """All times that any pair has a sample at [S], increasing."""
        return np.unique(self.t_ns)

    @property
    def start_s(self) -> float:
        """Time of the first sample of all."""
        return float(self.times_ns[0] / _NS_PER_S)

    @property
    def end_s(self) -> float:
        """Time of the last sample of all."""
        return float(self.times_ns[-1] / _NS_PER_S)

    @property
    def step_s(self) -> float:
        """Smallest step of time; infinite where all samples are of one time.

        Where times are multiples of a step up to rounding, it is that step rather than a rounded difference.
        """
        if len(self.times_ns) == 1:
            return math.inf
        smallest_ns = float(np.diff(self.times_ns).min())
        span_ns = float(self.times_ns[-1] - self.times_ns[0])
        num_steps = round(span_ns / smallest_ns)
        regular_ns = span_ns / num_steps
        return (regular_ns if abs(regular_ns - smallest_ns) <= 1.0 else smallest_ns) / _NS_PER_S


@runtime_checkable
class Patchy(Protocol):
    """What a ``Propagation`` also is that lacks gains of some pairs at some times: they are NaN."""

    def why_nan(self, src: int, dst: int, t_s: float) -> str:
        """Tell why there is no gain of a pair at a time, and what to do about it."""
        ...


class TracedGains:
    """A ``Propagation`` of given gains, ``Patchy``.

    Parameters
    ----------
    samples : GainSamples
        Gains between the nodes of ``sites``, without their antennas.
    sites : Sites
        Nodes; their positions tell distances only.
    step_s : float, optional
        Gains change at multiples of it; by default the samples' own smallest step.
    interpolation : {"linear", "previous"}
        Between two samples: linear in dB, or the earlier one.
    reciprocal : bool
        Whether a pair given in one direction only holds in both.
    missing : {"refuse", "no_path"}
        What a pair without samples is, or one before its first or after its own last sample: not to be
        asked (NaN), or without a path (gain 0).
    after_end : {"refuse", "hold", "repeat"}
        After the last sample of all pairs: not to be asked (NaN), as at that time, or from the beginning again.
    name : str
        What the samples are called in messages.

    Attributes
    ----------
    block_s : float
        Length of a block: ``step_s``; infinite where all samples are of one time, which then holds always.

    Notes
    -----
    Times within a thousandth of the samples' step before a sample count as its time, so that sampling at 1/30 s
    written with nine digits meets its samples. Repetition has a period of the time from first to last sample
    plus one step, over which the last holds. A node has no path to itself.

    The samples hold what is in them: if they fade, ``large_scale`` fades with them. Whether there is line of
    sight isn't known: ``LargeScale.is_los`` is a masked array.
    """

    def __init__(
        self,
        samples: GainSamples,
        sites: Sites,
        *,
        step_s: float | None = None,
        interpolation: Literal["linear", "previous"] = "linear",
        reciprocal: bool = True,
        missing: Literal["refuse", "no_path"] = "refuse",
        after_end: Literal["refuse", "hold", "repeat"] = "refuse",
        name: str = "the trace",
    ) -> None:
        self.block_s: float = samples.step_s if step_s is None else step_s
        self._samples = samples
        self._sites = sites
        self._linear = interpolation == "linear"
        self._reciprocal = reciprocal
        self._lacking_db = math.nan if missing == "refuse" else -math.inf
        self._after_end = after_end
        self._name = name
        pair_keys = samples.src * len(sites) + samples.dst
        self._pair_order = np.argsort(pair_keys)
        self._pair_keys = pair_keys[self._pair_order]
        # A sample's key grows with its pair and then with its time, so that one search finds both.
        pair_of_sample = np.repeat(np.arange(len(pair_keys)), np.diff(samples.first))
        rank = np.searchsorted(samples.times_ns, samples.t_ns)
        self._keys = pair_of_sample * len(samples.times_ns) + rank
        self._is_full = len(self._keys) == len(pair_keys) * len(samples.times_ns)
        self._slack_ns = 0 if math.isinf(samples.step_s) else int(samples.step_s * _NS_PER_S / 1000)

    def large_scale(self, src: ArrayLike, dst: ArrayLike, t_s: ArrayLike) -> LargeScale:
        """See ``Propagation``: distances from the sites, gains from the samples; line of sight is masked."""
        src, dst, t_s = np.atleast_1d(src), np.atleast_1d(dst), np.atleast_1d(t_s).astype(np.float64)
        xy_m = self._sites.positions_m(t_s)
        distance_m = np.hypot(*np.moveaxis(xy_m[:, src] - xy_m[:, dst], -1, 0))
        unknown = np.ma.array(np.zeros(distance_m.shape, np.bool_), mask=True)
        return LargeScale(distance_m, unknown, self.gain_db(src, dst, t_s))

    def power_gain(self, src: ArrayLike, dst: ArrayLike, blocks: ArrayLike) -> FloatArray:
        """See ``Propagation``: gains at the start of each block [T, M, 1]; NaN where they are not to be asked."""
        blocks = np.atleast_1d(blocks)
        t_s = np.zeros(len(blocks)) if math.isinf(self.block_s) else blocks * self.block_s
        return db_to_linear(self.gain_db(src, dst, t_s))[..., None]

    def gain_db(self, src: ArrayLike, dst: ArrayLike, t_s: ArrayLike) -> FloatArray:
        """Gain of pairs [M] at times [T] in dB, [T, M]: NaN where it is not to be asked, -inf without a path."""
        src, dst = np.atleast_1d(src), np.atleast_1d(dst)
        t_ns, is_known = self._in_trace(np.atleast_1d(t_s).astype(np.float64))
        pair = self._pairs(src, dst)
        gain_db = np.where(pair >= 0, self._of_pairs(np.maximum(pair, 0), t_ns), self._lacking_db)
        gain_db[~is_known] = math.nan
        gain_db[:, src == dst] = -math.inf
        return gain_db

    def why_nan(self, src: int, dst: int, t_s: float) -> str:
        """See ``Patchy``."""
        samples, names = self._samples, self._sites.names
        if self._after_end == "refuse" and t_s > samples.end_s:
            return (
                f"{self._name}: ends at {samples.end_s:g} s and is asked for {t_s:g} s; "
                "set after_end to 'hold' or 'repeat', or give a longer one"
            )
        pair = int(self._pairs(np.array([src]), np.array([dst]))[0])
        remedy = "give them, or set missing to 'no_path'"
        if pair < 0:
            return f"{self._name}: has no gains from {names[src]} to {names[dst]}; {remedy}"
        t_ns = samples.t_ns[samples.first[pair] : samples.first[pair + 1]]
        return (
            f"{self._name}: has gains from {names[src]} to {names[dst]} from {t_ns[0] / _NS_PER_S:g} to "
            f"{t_ns[-1] / _NS_PER_S:g} s and is asked for {t_s:g} s; {remedy}"
        )

    def has(self, src: ArrayLike, dst: ArrayLike) -> NDArray[np.bool_]:
        """Whether there are samples of pairs [M], or of their other direction where that counts."""
        return np.asarray(self._pairs(np.atleast_1d(src), np.atleast_1d(dst)) >= 0)

    def _in_trace(self, t_s: FloatArray) -> tuple[IntArray, NDArray[np.bool_]]:
        """Return where in the trace times [T] are, and whether it tells anything of them."""
        times_ns = self._samples.times_ns
        first_ns, last_ns = times_ns[0], times_ns[-1]
        t_ns = np.rint(t_s * _NS_PER_S).astype(np.int64)
        if len(times_ns) == 1:
            return np.full_like(t_ns, first_ns), np.ones(len(t_ns), np.bool_)
        is_known = np.ones(len(t_ns), np.bool_)
        if self._after_end == "refuse":
            is_known = t_ns <= last_ns + self._slack_ns
        elif self._after_end == "repeat":
            period_ns = last_ns - first_ns + round(self._samples.step_s * _NS_PER_S)
            # Just before the start of a repetition counts as its start, as just before any sample does.
            lap, rest = np.divmod(t_ns - first_ns + self._slack_ns, period_ns)
            t_ns = np.where(lap > 0, np.maximum(rest - self._slack_ns, 0) + first_ns, t_ns)
        return np.minimum(t_ns, last_ns), is_known

    def _pairs(self, src: IntArray, dst: IntArray) -> IntArray:
        """Return which pair of the samples each pair [M] is; -1: none."""
        pair = self._given(src * len(self._sites) + dst)
        if self._reciprocal and np.any(pair < 0):
            pair = np.where(pair >= 0, pair, self._given(dst * len(self._sites) + src))
        return pair

    def _given(self, keys: IntArray) -> IntArray:
        at = np.minimum(np.searchsorted(self._pair_keys, keys), len(self._pair_keys) - 1)
        return np.where(self._pair_keys[at] == keys, self._pair_order[at], -1)

    def _of_pairs(self, pair: IntArray, t_ns: IntArray) -> FloatArray:
        """Return the gains of given pairs [M] at times [T] within the trace, [T, M]."""
        samples = self._samples
        rank = np.searchsorted(samples.times_ns, t_ns + self._slack_ns, side="right") - 1
        begin, end = samples.first[pair][:, None], samples.first[pair + 1][:, None] - 1
        if self._is_full:
            at = begin + rank
            has_begun = np.broadcast_to(rank >= 0, at.shape)
        else:
            at = np.searchsorted(self._keys, pair[:, None] * len(samples.times_ns) + rank, side="right") - 1
            has_begun = (at >= begin) & (rank >= 0)
        at = np.clip(at, begin, end)
        is_over = (at == end) & (t_ns > samples.t_ns[at] + self._slack_ns)
        gain_db = samples.gain_db[at]
        if self._linear:
            after = np.minimum(at + 1, end)
            gap_ns = np.maximum(samples.t_ns[after] - samples.t_ns[at], 1)
            weight = np.clip((t_ns - samples.t_ns[at]) / gap_ns, 0.0, 1.0)
            gain_db = gain_db + weight * (samples.gain_db[after] - gain_db)
        return np.where(has_begun & ~is_over, gain_db, self._lacking_db).T


def _refuse_first(wrong: NDArray[np.bool_], rule: str) -> None:
    if np.any(wrong):
        raise SampleError(int(np.argmax(wrong)), rule)
