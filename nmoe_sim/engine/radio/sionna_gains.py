"""Gains by Sionna's system-level models of TR 38.901."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.channel import LargeScale
from channels.laws import UniformDraws
from channels.sites import Sites
from channels.units import db_to_linear, linear_to_db
from nmoe_sim.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BLOCKS_A_DRAW = 32
"""Blocks over which rays live: Doppler correlates gains within, the next have rays of their own."""

_EXACT = {"precision": "double", "device": "cpu"}
_SCENARIOS = {"umi": "UMiScenario", "uma": "UMaScenario", "rma": "RMaScenario"}


class SionnaGains:
    """A ``Propagation`` whose gains Sionna draws, for static nodes; ``Patchy``.

    Large-scale parameters of all pairs of a base station and a device are drawn once. Rays are drawn for
    ``BLOCKS_A_DRAW`` blocks at a time, each time from a seed of its own, so that blocks can be asked for in any order.

    Parameters
    ----------
    sites : Sites
        Nodes, of which at least one is a base station and one isn't.
    environment : {"umi", "uma", "rma"}
    carrier_hz, bandwidth_hz : float
    uniform : UniformDraws
        Source of the seeds.
    los : bool, optional
        Line of sight of all pairs; drawn by default.
    shadowing : bool
    fading : {"none", "wideband", "subbands"}
        1; Σ|a_p|² over paths p; or |Σ a_p·exp(-j2πfτ_p)|² at the centre f of each sub-band.
    num_subbands : int
        Equal parts of the band, for ``subbands``.
    device_speed_m_per_s, coherence_time_s : float
        Doppler; at speed 0 gains are constant.
    missing : {"refuse", "no_path"}
        Gain of pairs of one kind: not to be asked (NaN), or 0.

    Attributes
    ----------
    block_s : float
        ``coherence_time_s``, or infinite where gains are constant.

    Raises
    ------
    InputError
        Sionna is not installed, or a device stands at a base station's antenna.

    Notes
    -----
    Steps 1 to 11 of TR 38.901 V16.1, section 7.5, from Sionna's own parts, in float64 on the CPU. Gains are
    rounded to 1e-6 dB, so that the order in which threads add doesn't show. The global generator
    ``sionna.phy.config.torch_rng`` is put back after each draw; ``config.seed`` is left alone, but for one thing:
    the first import of Sionna in a process seeds PyTorch's default generator at random, so it is then set to 0.

    Left out: what Sionna leaves out of these models, indoor devices, car windows, antenna arrays, polarisation.
    One layout is drawn together: another device changes the draws of all.
    """

    def __init__(
        self,
        sites: Sites,
        *,
        environment: Literal["umi", "uma", "rma"],
        carrier_hz: float,
        bandwidth_hz: float,
        uniform: UniformDraws,
        los: bool | None = None,
        shadowing: bool = True,
        fading: Literal["none", "wideband", "subbands"] = "subbands",
        num_subbands: int = 1,
        device_speed_m_per_s: float = 0.83,
        coherence_time_s: float = 0.01,
        missing: Literal["refuse", "no_path"] = "refuse",
    ) -> None:
        self.block_s: float = coherence_time_s if device_speed_m_per_s and fading != "none" else math.inf
        self._sites = sites
        self._uniform = uniform
        self._fading = fading
        # centres of the sub-bands relative to the carrier
        self._offset_hz = bandwidth_hz * ((np.arange(num_subbands) + 0.5) / num_subbands - 0.5)
        self._other_db = math.nan if missing == "refuse" else -math.inf
        self._stations, self._devices = np.flatnonzero(sites.is_station), np.flatnonzero(~sites.is_station)
        self._position = np.empty(len(sites), np.int64)  # among the stations, or among the devices
        self._position[self._stations] = np.arange(len(self._stations))
        self._position[self._devices] = np.arange(len(self._devices))
        self._xy_m = sites.positions_m(np.zeros(1))[0]

        self._tr38901, self._config = _sionna()
        array = self._tr38901.PanelArray(
            num_rows_per_panel=1,
            num_cols_per_panel=1,
            polarization="single",
            polarization_type="V",
            antenna_pattern="omni",
            carrier_frequency=carrier_hz,
            **_EXACT,
        )
        of_environment = {} if environment == "rma" else {"o2i_model": "low"}  # no device is indoors
        self._scenario = getattr(self._tr38901, _SCENARIOS[environment])(
            carrier_frequency=carrier_hz,
            ut_array=array,
            bs_array=array,
            direction="downlink",
            spec_version="16.1",
            **of_environment,
            **_EXACT,
        )
        self._rays = self._tr38901.RaysGenerator(self._scenario)
        self._coefficients = self._tr38901.ChannelCoefficientsGenerator(
            carrier_hz, array, array, subclustering=True, **_EXACT
        )
        with self._seeded("sionna/layout", 0):
            self._scenario.set_topology(**self._topology(environment, los, device_speed_m_per_s))
            generator = self._tr38901.LSPGenerator(self._scenario)
            generator.topology_updated_callback()
            self._rays.topology_updated_callback()
            self._large = generator()
        self.is_los = np.asarray(self._scenario.los)[0]
        """Line of sight of each base station and device [B, D]."""
        self.mean_gain_db = -np.asarray(self._large.pathloss)[0]
        """Large-scale gain of each base station and device [B, D]."""
        if shadowing:
            self.mean_gain_db = self.mean_gain_db + linear_to_db(np.asarray(self._large.sf)[0])
        self.mean_gain_db = self.mean_gain_db.round(6)
        if not np.all(np.isfinite(self.mean_gain_db)):
            raise InputError("a device stands at a base station's antenna; move it, or give the two other heights")
        self._fading_db = lru_cache(maxsize=16)(self._draw_fading_db)

    def large_scale(self, src: ArrayLike, dst: ArrayLike, t_s: ArrayLike) -> LargeScale:
        """See ``Propagation``; NaN gains where they are not to be asked."""
        src, dst = np.atleast_1d(src), np.atleast_1d(dst)
        is_los, gain_db = self._large_scale(src, dst)
        distance_m = np.hypot(*(self._xy_m[src] - self._xy_m[dst]).T)
        shape = (np.size(t_s), len(src))
        return LargeScale(*(np.broadcast_to(x, shape) for x in (distance_m, is_los, gain_db)))

    def power_gain(self, src: ArrayLike, dst: ArrayLike, blocks: ArrayLike) -> FloatArray:
        """See ``Propagation``: [T, M, K]; NaN where they are not to be asked."""
        src, dst, blocks = np.atleast_1d(src), np.atleast_1d(dst), np.atleast_1d(blocks)
        if math.isinf(self.block_s):
            blocks = np.zeros(len(blocks), np.int64)
        _, gain_db = self._large_scale(src, dst)
        fading_db = np.zeros((len(blocks), len(src), len(self._offset_hz) if self._fading == "subbands" else 1))
        if self._fading != "none":
            station, device = self._ends(src, dst)
            draws, within = np.divmod(blocks, BLOCKS_A_DRAW)
            for draw in np.unique(draws).tolist():
                here = draws == draw
                fading_db[here] = self._fading_db(draw)[within[here]][:, station, device]
        return db_to_linear(gain_db[:, None] + fading_db)

    def why_nan(self, src: int, dst: int, t_s: float) -> str:
        """See ``channels.traced.Patchy``."""
        names = self._sites.names
        return (
            f"'sionna' has gains between base stations and devices, not from {names[src]} to {names[dst]}; "
            "set missing to 'no_path'"
        )

    def _large_scale(self, src: IntArray, dst: IntArray) -> tuple[NDArray[np.bool_], FloatArray]:
        """Return line of sight and mean gains in dB of pairs [M]; -inf from a node to itself."""
        station, device = self._ends(src, dst)
        is_modelled = self._sites.is_station[src] != self._sites.is_station[dst]
        other_db = np.where(src == dst, -math.inf, self._other_db)
        return (
            is_modelled & self.is_los[station, device],
            np.where(is_modelled, self.mean_gain_db[station, device], other_db),
        )

    def _ends(self, src: IntArray, dst: IntArray) -> tuple[IntArray, IntArray]:
        """Return which base station and which device pairs [M] have; any of each where they haven't both."""
        from_station = self._sites.is_station[src]
        station, device = np.where(from_station, src, dst), np.where(from_station, dst, src)
        is_pair = self._sites.is_station[src] != self._sites.is_station[dst]
        return np.where(is_pair, self._position[station], 0), np.where(is_pair, self._position[device], 0)

    def _topology(self, environment: str, los: bool | None, speed_m_per_s: float) -> dict[str, Any]:
        """Return Sionna's description of the nodes, a batch of one."""
        xyz_m = np.column_stack([self._xy_m, self._sites.heights_m])[None]
        heading = 2 * np.pi * self._uniform("sionna/heading", self._sites.ids[self._devices])
        velocity = speed_m_per_s * np.stack([np.cos(heading), np.sin(heading), np.zeros_like(heading)], axis=-1)
        outdoors = np.zeros((1, len(self._devices)), np.bool_)
        _, site = np.unique(xyz_m[0, self._stations].round(3), axis=0, return_inverse=True)
        topology = {
            "ut_loc": xyz_m[:, self._devices],
            "bs_loc": xyz_m[:, self._stations],
            "ut_orientations": np.zeros((1, len(self._devices), 3)),
            "bs_orientations": np.zeros((1, len(self._stations), 3)),
            "ut_velocities": velocity[None],
            "in_state": outdoors,
            "los": "random" if los is None else los,
            "bs_site_ids": site.ravel(),
        }
        return topology | ({"in_car": outdoors} if environment == "rma" else {})

    def _draw_fading_db(self, draw: int) -> FloatArray:
        """Return the fading in the blocks of one draw, [blocks, B, D, K], in dB."""
        scenario = self._scenario
        radian = math.pi / 180.0
        topology = self._tr38901.Topology(
            velocities=scenario.ut_velocities,
            moving_end="rx",
            los_aoa=scenario.los_aoa * radian,
            los_aod=scenario.los_aod * radian,
            los_zoa=scenario.los_zoa * radian,
            los_zod=scenario.los_zod * radian,
            los=scenario.los,
            distance_3d=scenario.distance_3d,
            tx_orientations=scenario.bs_orientations,
            rx_orientations=scenario.ut_orientations,
        )
        num_blocks, rate_hz = (1, 1.0) if math.isinf(self.block_s) else (BLOCKS_A_DRAW, 1.0 / self.block_s)
        with self._seeded("sionna/rays", draw):
            rays = self._rays(self._large)
            spread_s = scenario.get_param("cDS") * 1e-9
            h, delay_s = self._coefficients(num_blocks, rate_hz, self._large.k_factor, rays, topology, spread_s)
        h_bdpt = np.asarray(h)[0, :, :, :, 0, 0]
        if self._fading == "wideband":
            power = np.sum(np.abs(h_bdpt) ** 2, axis=2)[..., None]
        else:
            phase_bdpk = -2j * np.pi * np.asarray(delay_s)[0, ..., None] * self._offset_hz
            power = np.abs(np.einsum("bdpt,bdpk->bdtk", h_bdpt, np.exp(phase_bdpk))) ** 2
        return np.moveaxis(linear_to_db(power).round(6), 2, 0)

    @contextmanager
    def _seeded(self, name: str, counter: int) -> Iterator[None]:
        """Seed Sionna's generator for a while."""
        generator = self._config.torch_rng("cpu")
        before = generator.get_state()
        generator.manual_seed(int(float(self._uniform(name, counter)) * 2.0**52))
        try:
            yield
        finally:
            generator.set_state(before)


def _sionna() -> tuple[ModuleType, Any]:
    """Return Sionna's module of TR 38.901 and its global configuration."""
    is_first = "sionna.phy" not in sys.modules
    try:
        tr38901 = import_module("sionna.phy.channel.tr38901")
    except ImportError as error:
        raise InputError(
            f"sionna can't be used ({error}); pip install 'nmoe-sim[sionna]'", key="radio.channel.kind"
        ) from error
    config = import_module("sionna.phy.config").config
    if is_first:
        config.seed = 0
    return tr38901, config
