"""A radio for tests of the engine: gains from a function, a law from SINR to rate that shows what it was given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from channels.channel import LargeScale
from channels.link_adaptation import Transmission
from channels.units import linear_to_db
from nmoe_sim.engine.device_profiles import Custom
from nmoe_sim.engine.links import Node
from nmoe_sim.engine.radio.antennas import Isotropic
from nmoe_sim.engine.radio.channel import Model
from nmoe_sim.engine.radio.fading import NoFading
from nmoe_sim.engine.radio.link_adaptation import Shannon
from nmoe_sim.engine.radio.path_loss import FreeSpace
from nmoe_sim.engine.radio.shadowing import NoShadowing
from nmoe_sim.engine.sharing import EqualShare
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.engine.topology import Topology
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.scenario import RadioSection


class Given:
    """Gains by a function of two nodes and a block, several of them for sub-bands; family ``channel``."""

    kind = "given"

    def __init__(self, gain: Callable[[str, str, int], Any], block_s: float = math.inf, num_subbands: int = 1) -> None:
        self.gain = gain
        self.block_s = block_s
        self.num_subbands = num_subbands

    def check(self, *_: Any) -> None: ...

    def build(self, sites: Any, radio: Any, uniform: Any) -> Given:
        self.names = sites.names
        return self

    def power_gain(self, src: np.ndarray, dst: np.ndarray, blocks: np.ndarray) -> np.ndarray:
        gains = np.zeros((len(blocks), len(src), self.num_subbands))
        for t, block in enumerate(blocks.tolist()):
            for m, (a, b) in enumerate(zip(src.tolist(), dst.tolist(), strict=True)):
                gains[t, m] = self.gain(self.names[a], self.names[b], block)
        return gains

    def large_scale(self, src: np.ndarray, dst: np.ndarray, t_s: np.ndarray) -> LargeScale:
        blocks = np.zeros(len(t_s), int) if math.isinf(self.block_s) else (t_s / self.block_s).astype(int)
        gains = self.power_gain(src, dst, blocks).mean(axis=-1)
        return LargeScale(np.ones(gains.shape), np.ones(gains.shape, bool), linear_to_db(gains))


class Proportional:
    """Rate is bandwidth times the reported SINR, whatever the real one; family ``link_adaptation``."""

    kind = "proportional"
    retransmission_delay_s = 0.0

    def __init__(
        self,
        report_delay_s: float = 0.0,
        block_loss: float = 0.0,
        block_bits: float = math.inf,
        mean_transmissions: float = 1.0,
        retransmission_delay_s: float = 0.0,
    ) -> None:
        self.report_delay_s = report_delay_s
        self.block = block_loss, block_bits, mean_transmissions
        self.retransmission_delay_s = retransmission_delay_s
        self.is_lossless = block_loss == 0.0 and mean_transmissions == 1.0

    def check(self, *_: Any, **__: Any) -> None: ...

    def occupied_hz(self, bandwidth_hz: float) -> float:
        return bandwidth_hz

    def effective_sinr(self, sinr: np.ndarray) -> np.ndarray:
        return sinr.min(axis=-1)

    def transmission(self, sinr: np.ndarray, reported_sinr: np.ndarray, *, bandwidth_hz: float) -> Transmission:
        assert sinr.shape == reported_sinr.shape
        rate_bps = np.asarray(bandwidth_hz * reported_sinr)
        if self.is_lossless:
            return Transmission.lossless(rate_bps)
        loss, bits, sent = (np.full(sinr.shape, x) for x in self.block)
        return Transmission.of_blocks(rate_bps * sent / bits, bits, loss, sent, self.retransmission_delay_s)


def radio(**changes: Any) -> RadioSection:
    """A radio without surprises: 1 W devices, 10 W base stations, no noise figures, no access delay."""
    settings: dict[str, Any] = {
        "tx_power_dbm": 30.0,
        "base_station_tx_power_dbm": 40.0,
        "noise_figure_db": 0.0,
        "base_station_noise_figure_db": 0.0,
        "access_delay_s": 0.0,
        "bandwidth_hz": 1e6,
        "base_station_antenna": Isotropic(),
        "device_antenna": Isotropic(),
        "channel": Model(),
        "path_loss": FreeSpace(),
        "shadowing": NoShadowing(),
        "fading": NoFading(),
        "link_adaptation": Shannon(),
        "sharing": EqualShare(),
    }
    fakes = {"channel": Given(lambda a, b, t: 1e-9), "link_adaptation": Proportional()}
    return RadioSection(**settings).model_copy(update={**fakes, **changes})


def table(gains: Mapping[str, Any], other: float = 0.0) -> Callable[[str, str, int], Any]:
    """Gains of pairs named ``"a>b"``, in all blocks."""
    return lambda a, b, t: gains.get(f"{a}>{b}", other)


PROFILE = Custom(
    flop_per_s=1.0, memory_bytes=1, idle_w=0.0, compute_w=0.0, rx_w=0.5, tx_circuit_w=0.0, amplifier_efficiency=1.0
)


def network(pairs: Iterable[str], wired: Iterable[Any] = (), places: Mapping[str, Any] | None = None) -> Topology:
    """Nodes as pairs ``"a-bs0"`` name them: those called ``bs…`` are base stations. At the origin unless told."""
    split = [tuple(pair.split("-")) for pair in pairs]
    names = sorted({n for pair in split for n in pair} | set(places or {}) | {n for a, b, _ in wired for n in (a, b)})
    names.sort(key=lambda name: name.startswith("bs"))
    nodes = [
        Node(name, "base_station" if name.startswith("bs") else "device", *(places or {}).get(name, (0.0, 0.0)))
        for name in names
    ]
    return Topology(nodes, split, wired)


def simulation(topology: Topology, radio: RadioSection, seed: int = 0, **settings: Any) -> Simulation:
    """A run in which nothing goes on yet."""
    return Simulation.build(
        topology, {node.name: PROFILE for node in topology.nodes}, radio, RandomStreams(seed), **settings
    )
