"""A map of what the radio of a scenario gives at every place, from the scenario alone: nothing runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from channels.units import linear_to_db, watt_to_dbm
from nmoe_sim.checks import Layout, check, located
from nmoe_sim.engine.full_load import FullLoad
from nmoe_sim.engine.links import Node
from nmoe_sim.engine.radio.channel import Model
from nmoe_sim.engine.spectrum import Allocation, allocate
from nmoe_sim.engine.topology import Topology
from nmoe_sim.errors import InputError
from nmoe_sim.results.rundir import write_table, write_text
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.scenario import RadioSection, Scenario

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]

MAX_PAIRS = 20_000_000
"""Pairs of a transmitter and a point of a map; more don't fit a workstation's memory."""

_POINTS_ALONG = 100


def coverage_map(
    scenario: Scenario, *, resolution_m: float | None = None, layout: Layout | None = None
) -> pd.DataFrame:
    """Return what a device would receive at every point of a grid over the topology's area.

    At each point stands a device of the scenario, with its height, antenna and noise figure. Base stations send to it,
    or without any the other devices, from where they start. Who is received best serves it, as for devices that
    attach.

    Parameters
    ----------
    scenario : Scenario
        Its ``radio.channel`` is ``model``.
    resolution_m : float, optional
        Distance of neighbouring points; by default a hundredth of the longer side.
    layout : Layout, optional
        What ``check`` makes of the scenario, where it is at hand.

    Returns
    -------
    DataFrame
        A row a point, by rows of the grid from south to north, each from west to east:

        - ``x_m``, ``y_m``: where it is.
        - ``station``: who serves it. Null where nobody does, farther than ``sidelink_range_m`` from all devices of a
          mesh; what follows is null then too.
        - ``is_los``: whether it has line of sight to who serves it.
        - ``received_dbm``: mean power received from there, antennas included.
        - ``snr_db``, ``sinr_db``: over thermal noise, and over noise and interference at full load.
        - ``rate_bps``: goodput at that SINR, with the medium to itself.

    Raises
    ------
    InputError
        The scenario doesn't hold, its gains aren't those of ``model``, or there are too many points.

    Notes
    -----
    Line of sight and shadowing are the run's own, of the same seed: the path loss at the place of a device is that of
    its rows of the table ``links``. (That needs laws that are correlated over space. Those with a decorrelation
    distance of 0 draw for each pair of nodes, and a point then has a draw of its own.) There is no fast fading: its
    average of the rate is lower.

    At full load everybody who serves some point sends all the time, in the direction of the map: uplinks are silent,
    and so are sidelinks beside base stations. A point hears those of the band but another medium than its own
    transmitter's, so who takes turns with it doesn't interfere. An interferer's antenna counts with the mean gain of
    its beams while it serves the points of its own cell in turn; the point's own beam is on its transmitter.
    """
    import pandas as pd

    radio = scenario.radio
    with located(scenario):
        if not isinstance(radio.channel, Model):
            raise InputError(
                f"'{radio.channel.kind}' knows gains between the nodes of the scenario only, and a map needs them at "
                "every place; set it to 'model'",
                key="radio.channel.kind",
            )
        topology = (layout or check(scenario)).topology
        senders = _senders(topology, radio)
    points_m = _grid(topology, resolution_m, len(senders))
    load = FullLoad(topology, radio, RandomStreams(scenario.seed), senders, points_m)
    signal_w = load.received_w[load.own]
    sinr = signal_w / (load.noise_w + load.interference_w)
    bandwidth_hz = senders[0][1].bandwidth_hz  # all are of one direction, which has one
    frame = pd.DataFrame(
        {
            "x_m": points_m[:, 0],
            "y_m": points_m[:, 1],
            "station": np.array([node.name for node, _ in senders], dtype=object)[load.serving],
            "is_los": pd.array(load.large.is_los[load.own], dtype="boolean"),
            "received_dbm": watt_to_dbm(signal_w),
            "snr_db": linear_to_db(signal_w / load.noise_w),
            "sinr_db": linear_to_db(sinr),
            "rate_bps": radio.link_adaptation.transmission(sinr, sinr, bandwidth_hz=bandwidth_hz).rate_bps,
        }
    )
    frame.loc[~load.is_served, "station":] = None
    return frame


def node_table(scenario: Scenario, *, layout: Layout | None = None) -> pd.DataFrame:
    """Return where nodes start: ``device``, ``kind``, ``x_m``, ``y_m`` as in a run's table ``devices``.

    And ``azimuth_deg``, the boresight of a sector, counterclockwise from east; null: it has none.
    """
    import pandas as pd

    columns = ["device", "kind", "x_m", "y_m", "azimuth_deg"]
    nodes = (layout or check(scenario)).topology.nodes
    rows = [(n.name, n.kind, n.x_m, n.y_m, n.azimuth_deg) for n in nodes]
    return pd.DataFrame(rows, columns=columns).astype({"azimuth_deg": "float64"})


def quantiles(coverage: pd.DataFrame) -> pd.DataFrame:
    """Return what a map comes down to: of each quantity the values that 5, 50 and 95 % of the area fall short of."""
    import pandas as pd

    rows = {
        "received power (dBm)": coverage["received_dbm"],
        "SNR (dB)": coverage["snr_db"],
        "SINR (dB)": coverage["sinr_db"],
        "rate (Mbit/s)": 1e-6 * coverage["rate_bps"],
    }
    values = {name: column.quantile([0.05, 0.5, 0.95]).tolist() for name, column in rows.items()}
    table = pd.DataFrame.from_dict(values, orient="index", columns=["5 %", "median", "95 %"])
    return table.reset_index(names="quantity")


def write_map(coverage: pd.DataFrame, path: Path) -> None:
    """Write a map as CSV or Parquet, told apart by the path's ending, whole."""
    if path.suffix == ".csv":
        write_text(path, coverage.to_csv(index=False))
    else:
        import pyarrow as pa

        write_table(pa.Table.from_pandas(coverage, preserve_index=False), path)


def _senders(topology: Topology, radio: RadioSection) -> list[tuple[Node, Allocation]]:
    """Return who sends to a point, in the topology's order, and in which medium."""
    direction = "downlink" if topology.base_stations else "sidelink"
    medium: dict[str, Allocation] = {}
    for link, allocation in zip(topology.links, allocate(topology, radio), strict=True):
        if link.medium == direction:
            medium.setdefault(link.src.name, allocation)
    if not medium:
        raise InputError(f"it has no {direction}, so there is nothing to map; link devices by radio", key="topology")
    return [(node, medium[node.name]) for node in topology.nodes if node.name in medium]


def _grid(topology: Topology, resolution_m: float | None, num_senders: int) -> FloatArray:
    """Return the points [P, 2], around the middle of the topology's area."""
    west, south, east, north = topology.bounds_m
    sides_m = (east - west, north - south)
    step_m = (max(sides_m) / _POINTS_ALONG or 1.0) if resolution_m is None else resolution_m
    if not 0.0 < step_m < math.inf:
        raise InputError("must be a number of metres above 0", where=f"--resolution {step_m:g}")
    num_x, num_y = (max(1.0, math.ceil(side_m / step_m - 1e-9)) for side_m in sides_m)
    if num_x * num_y * num_senders > MAX_PAIRS:
        raise InputError(
            f"{num_x:,.0f} x {num_y:,.0f} points times {num_senders:,} transmitters are more than {MAX_PAIRS:,}; "
            "take points farther apart",
            where=f"--resolution {step_m:g}",
        )
    x_m = (west + east) / 2 + step_m * (np.arange(num_x) - (num_x - 1) / 2)
    y_m = (south + north) / 2 + step_m * (np.arange(num_y) - (num_y - 1) / 2)
    return np.stack(np.meshgrid(x_m, y_m), axis=-1).reshape(-1, 2)
