"""Rows of the table ``links``: links as they are in some coherence blocks."""

from __future__ import annotations

import math
from collections.abc import Generator
from itertools import count

import numpy as np
from numpy.typing import NDArray
from simpy.events import Event

from channels.units import linear_to_db
from nmoe_sim.engine.sharing.media import block_of
from nmoe_sim.engine.simulation import PlannedTogether, Simulation

MAX_SAMPLES = 200
"""Samples of each link, where nobody moves."""

MAX_ROWS = 200_000
"""Rows that all samples together make up, where nobody moves; with more links there are fewer samples, but one."""

MAX_PAIRS = 4_000_000
"""Pairs of interfering links looked at in all samples of one band; more take minutes."""


def record_links(simulation: Simulation) -> None:
    """Write rows of every radio link at coherence blocks spread evenly over the time so far.

    Where media interfere, every other medium of the band is taken to be on air all the time, its links in turn.
    """
    block_s = simulation.ether.block_s
    last = 0 if math.isinf(block_s) else int(simulation.env.now / block_s)
    up = [_up(simulation, group) for group in simulation.groups]
    num_samples = min(MAX_SAMPLES, MAX_ROWS // max(1, sum(map(len, up))))
    for group, links in zip(simulation.groups, up, strict=True):
        most = MAX_PAIRS // max(1, len(links) ** 2) if group.air.is_coupled else MAX_SAMPLES
        for block in np.unique(np.linspace(0, last, max(1, min(num_samples, most)), dtype=np.int64)).tolist():
            _record(simulation, group, links, block)


def sample_links(simulation: Simulation, period_s: float) -> Generator[Event, None, None]:
    """Write rows of every radio link that is up, every so often; a process that doesn't end."""
    env, block_s = simulation.env, simulation.ether.block_s
    for k in count():
        yield env.timeout(max(0.0, k * period_s - env.now))
        block, _ = block_of(env.now, block_s)
        for group in simulation.groups:
            _record(simulation, group, _up(simulation, group), block)


def _up(simulation: Simulation, group: PlannedTogether) -> NDArray[np.int64]:
    """Return the radio links that are up, or would be were both ends on."""
    is_linked = simulation.topology.is_linked
    return np.flatnonzero([link.wired is None and is_linked(link.src.name, link.dst.name) for link in group.links])


def _record(simulation: Simulation, group: PlannedTogether, links: NDArray[np.int64], block: int) -> None:
    if not len(links):
        return
    ether, air = simulation.ether, group.air
    src, dst = air.sender[links], air.receiver[links]
    _, medium, users = np.unique(air.medium[links], return_inverse=True, return_counts=True)
    state = air.state(links, 1.0 / users[medium], block)
    rate_bps = state.transmission(np.ones(len(links))).rate_bps
    large = ether.propagation.large_scale(src, dst, np.array([ether.time_of(block)]))
    some = [group.links[position] for position in links.tolist()]
    simulation.recorder.rows["links"].extend(
        zip(
            [link.src.name for link in some],
            [link.dst.name for link in some],
            [group.allocations[position].medium for position in links.tolist()],
            [ether.time_of(block)] * len(links),
            large.distance_2d_m[0].tolist(),
            large.is_los[0].tolist(),  # None where the channel doesn't tell
            (-large.mean_gain_db[0]).tolist(),
            linear_to_db(state.sinr).tolist(),
            rate_bps.tolist(),
            strict=True,
        )
    )
