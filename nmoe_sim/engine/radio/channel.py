"""Family ``channel``: where the gains between nodes come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from channels.channel import Channel, Propagation
from channels.laws import UniformDraws
from channels.sites import Sites
from channels.traced import GainSamples, Patchy, SampleError, TracedGains
from nmoe_sim.engine.input_files import Columns, FromFile
from nmoe_sim.errors import InputError, RunError
from nmoe_sim.scenario.messages import did_you_mean, listed
from nmoe_sim.scenario.quantities import NonNegative
from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    from nmoe_sim.scenario.scenario import RadioSection

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

KEY = "radio.channel"
Step = Annotated[float, Field(ge=1e-5, le=1e6)]


class ChannelSpec(Spec):
    """Base of the family: implement ``build``."""

    def check(self, sites: Sites, src: IntArray, dst: IntArray) -> None:
        """Check that there are gains of links [L], before anything runs; by default there always are.

        Raises
        ------
        InputError
            Naming what is missing.
        """

    @abstractmethod
    def build(self, sites: Sites, radio: RadioSection, uniform: UniformDraws) -> Propagation:
        """Return the gains between nodes, without their antennas.

        Parameters
        ----------
        sites : Sites
            Nodes and where they are.
        radio : RadioSection
            Spectrum and laws.
        uniform : UniformDraws
            Source of all draws.
        """


def refuse_nan(propagation: Propagation, src: IntArray, dst: IntArray, t_s: float, gains: FloatArray) -> None:
    """Fail where the gains of pairs [n] at a time, of shape [n, …], are NaN: the channel doesn't know them.

    Raises
    ------
    RunError
        Naming the first such pair.
    """
    if np.isnan(gains).any():
        i = int(np.argmax(np.isnan(gains).reshape(len(gains), -1).any(axis=1)))
        why = f"no gain from node {src[i]} to node {dst[i]} at {t_s:g} s"
        if isinstance(propagation, Patchy):
            why = propagation.why_nan(int(src[i]), int(dst[i]), t_s)
        raise RunError(f"{KEY}: {why}")


class Model(ChannelSpec):
    """Gains by the laws of ``radio``: ``path_loss``, ``shadowing`` and ``fading``."""

    kind: ClassVar[str] = "model"

    def build(self, sites: Sites, radio: RadioSection, uniform: UniformDraws) -> Propagation:
        """See the base class."""
        return Channel(
            sites,
            carrier_hz=radio.carrier_hz,
            bandwidth_hz=radio.bandwidth_hz / radio.reuse_factor,
            path_loss=radio.path_loss,
            shadowing=radio.shadowing,
            fading=radio.fading,
            uniform=uniform,
            reciprocal=radio.duplex == "half",
        )


class _Trace(NamedTuple):
    """What a file of gains says, its nodes numbered in order of appearance."""

    names: tuple[str, ...]
    samples: GainSamples


class Trace(FromFile, ChannelSpec):
    """Gains as a file says, as ray tracers and measurements give them; no law of ``radio`` is used for them.

    The file is CSV (with a header) or Parquet, told apart by its ending, with the columns ``t_s`` (simulated time, from
    0), ``src`` and ``dst`` (names of nodes, such as ``dev0`` and ``bs0``) and ``gain_db`` (received over transmitted
    power between isotropic antennas, negative as a rule), in any order of rows; other columns are left alone. Times
    are taken to the nanosecond. A file with one time only holds always. Gains are those at the start of each step.
    """

    kind: ClassVar[str] = "trace"
    section: ClassVar[str] = KEY

    step_s: Step | None = None
    """Rates change at its multiples; null: the smallest step between two times of the file."""
    interpolation: Literal["linear", "previous"] = "linear"
    """Between two rows of a pair: linear in dB, or the earlier one."""
    reciprocal: bool = True
    """Whether a pair that the file has in one direction only holds in both."""
    missing: Literal["refuse", "no_path"] = "refuse"
    """A pair asked for, an interferer included, without rows, or before its first or after its own last one:
    an error, or no path between the two."""
    after_end: Literal["refuse", "hold", "repeat"] = "refuse"
    """After the last time of the file: an error, gains as then, or, one step later, from the beginning again."""

    @classmethod
    def check_content(cls, file: str, content: bytes) -> None:
        """See the base class."""
        samples = _parse(file, content).samples
        if samples.start_s > 0:
            raise ValueError(
                f"{file}: the first t_s is {samples.start_s:g} and a run starts at 0; subtract it from all of them"
            )

    @cached_property
    def _trace(self) -> _Trace:
        return _parse(self.file, self.content())

    def check(self, sites: Sites, src: IntArray, dst: IntArray) -> None:
        """See the base class: nodes of the file that the network lacks, links that the file lacks."""
        lacking = ~self._gains(sites).has(src, dst)
        if self.missing == "refuse" and np.any(lacking):
            pairs = [f"{sites.names[a]} to {sites.names[b]}" for a, b in zip(src[lacking], dst[lacking], strict=True)]
            raise InputError(
                f"{self.file} has no gains from {listed(pairs)}; give them, or set {KEY}.missing to 'no_path'",
                key=f"{KEY}.file",
            )

    def build(self, sites: Sites, radio: RadioSection, uniform: UniformDraws) -> Propagation:
        """See the base class; nothing is drawn."""
        gains = self._gains(sites)
        if gains.block_s < 1e-5:
            raise InputError(
                f"{self.file} has times {gains.block_s:g} s apart, and rates change every 1e-05 s at most; "
                f"set {KEY}.step_s",
                key=f"{KEY}.file",
            )
        return gains

    def _gains(self, sites: Sites) -> TracedGains:
        names, samples = self._trace
        number = {name: i for i, name in enumerate(sites.names)}
        for name in names:
            if name not in number:
                raise _unknown(self.file, self.content(), name, sites.names)
        return TracedGains(
            samples.renumbered(np.array([number[name] for name in names])),
            sites,
            step_s=self.step_s,
            interpolation=self.interpolation,
            reciprocal=self.reciprocal,
            missing=self.missing,
            after_end=self.after_end,
            name=self.file,
        )


class Sionna(ChannelSpec):
    """Gains by the system-level models of TR 38.901 in Sionna, to compare with; no law of ``radio`` is used for them.

    Needs ``pip install "nmoe-sim[sionna]"``. All draws are Sionna's, one realisation of the whole layout a seed:
    line of sight, path loss, shadowing, delay and angular spreads, clusters and rays between every base station
    and device, outdoors, with isotropic vertically polarised antennas and the tables of V16.1. Both directions of
    a pair have one gain. Nodes don't move.
    """

    kind: ClassVar[str] = "sionna"

    environment: Literal["umi", "uma", "rma"] = "umi"
    """Street canyon, urban macro or rural macro."""
    los: Literal["probabilistic", "always", "never"] = "probabilistic"
    """Line of sight: drawn for each pair, or forced."""
    shadowing: bool = True
    """Whether there is shadow fading; Sionna correlates it between devices."""
    fading: Literal["none", "wideband", "subbands"] = "subbands"
    """Small scale: none; the sum of the powers of all paths, as over an infinite band; or in each sub-band the power
    of their sum at its centre."""
    num_subbands: Annotated[int, Field(ge=1, le=256)] = 1
    """Equal parts of ``radio.bandwidth_hz`` whose centres are looked at, where ``fading`` is ``subbands``."""
    device_speed_m_per_s: NonNegative = 0.83
    """Speed that Doppler shifts come from, in a direction drawn for each device, which stays where it is: 3 km/h, as
    in the calibrations of TR 38.901; 0: gains are constant."""
    coherence_time_s: Step = 0.01
    """Rates change at its multiples, where the speed is above 0; a tenth of a Doppler period at 3.5 GHz and 3 km/h."""
    missing: Literal["refuse", "no_path"] = "refuse"
    """Pairs that the models aren't made for, between two devices or two base stations: an error, or no path."""

    def check(self, sites: Sites, src: IntArray, dst: IntArray) -> None:
        """See the base class: Sionna itself, nodes that move, links that aren't a base station's."""
        if find_spec("sionna") is None:
            raise InputError(
                "sionna is not installed; pip install 'nmoe-sim[sionna]', or take another kind", key=f"{KEY}.kind"
            )
        if not sites.is_static:
            raise InputError("'sionna' is for nodes that don't move; set mobility to {kind: static}", key=f"{KEY}.kind")
        if not 0 < np.count_nonzero(sites.is_station) < len(sites):
            raise InputError(
                "'sionna' has gains between base stations and devices; take a topology with both", key=f"{KEY}.kind"
            )
        beside = np.flatnonzero(sites.is_station[src] == sites.is_station[dst])
        if self.missing == "refuse" and len(beside):
            a, b = sites.names[src[beside[0]]], sites.names[dst[beside[0]]]
            raise InputError(
                f"'sionna' has gains between base stations and devices, not from {a} to {b}; "
                f"take a topology without such links, or set {KEY}.missing to 'no_path'",
                key=f"{KEY}.kind",
            )

    def build(self, sites: Sites, radio: RadioSection, uniform: UniformDraws) -> Propagation:
        """See the base class."""
        from nmoe_sim.engine.radio.sionna_gains import SionnaGains

        self.check(sites, np.empty(0, np.int64), np.empty(0, np.int64))
        return SionnaGains(
            sites,
            environment=self.environment,
            carrier_hz=radio.carrier_hz,
            bandwidth_hz=radio.bandwidth_hz,
            uniform=uniform,
            los={"probabilistic": None, "always": True, "never": False}[self.los],
            shadowing=self.shadowing,
            fading=self.fading,
            num_subbands=self.num_subbands,
            device_speed_m_per_s=self.device_speed_m_per_s,
            coherence_time_s=self.coherence_time_s,
            missing=self.missing,
        )


def _columns(file: str, content: bytes) -> Columns:
    node = "give the name of a node, such as dev0 or bs0"
    gain = "give a finite gain of at most 60 dB: a path loss of 100 dB is a gain of -100, no path is no row"
    rules = {"t_s": "give a time of at least 0 and at most 1e9, in seconds", "src": node, "dst": node, "gain_db": gain}
    return Columns(file, content, rules)


def _parse(file: str, content: bytes) -> _Trace:
    columns = _columns(file, content)
    (src, src_names), (dst, dst_names) = columns.texts("src"), columns.texts("dst")
    names = tuple(dict.fromkeys([*src_names, *dst_names]))
    number = {name: i for i, name in enumerate(names)}
    try:
        samples = GainSamples.of(
            np.array([number[name] for name in src_names])[src],
            np.array([number[name] for name in dst_names])[dst],
            columns.numbers("t_s", 0.0, 1e9),
            columns.numbers("gain_db", -1e30, 60.0),
        )
    except SampleError as error:
        raise columns.error("dst", error.row, error.rule) from error
    return _Trace(names, samples)


def _unknown(file: str, content: bytes, name: str, nodes: Sequence[str]) -> InputError:
    """Return the error that the network has no node of a name, with the first line that has it."""
    columns = _columns(file, content)
    codes = {column: columns.texts(column) for column in ("src", "dst")}
    column = "src" if name in codes["src"][1] else "dst"
    row = int(np.argmax(codes[column][0] == codes[column][1].index(name)))
    hint = did_you_mean(name, nodes) or f"one of {listed(nodes)}"
    return InputError(str(columns.error(column, row, f"no node has that name; {hint}")), key=f"{KEY}.file")
