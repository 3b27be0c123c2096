"""Physical sense across sections, before anything runs; no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from channels.mobility import Trajectory
from nmoe_sim.engine.device_profiles import Phone
from nmoe_sim.engine.ether import sites_of
from nmoe_sim.engine.mobility import MobilitySpec, trajectory_of
from nmoe_sim.engine.radio.channel import ChannelSpec
from nmoe_sim.engine.spectrum import allocate
from nmoe_sim.engine.topology import Topology
from nmoe_sim.errors import InputError
from nmoe_sim.inference.arrivals import Arrivals
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.scenario import ModelSection, Scenario
from nmoe_sim.training.stage import model_of

MAX_REQUESTS = 20_000_000
"""Expected requests of a run; more don't fit a workstation's memory."""

MAX_TABLE_BYTES = 4_000_000_000
"""Gate scores of all clients for the whole test set; they are kept in memory."""

_BYTES_PER_PARAMETER = 4
_LOOKS = 101
"""Times at which devices that move are looked at."""


@dataclass(frozen=True)
class Layout:
    """Who is where, and who is what: what a checked scenario comes down to."""

    topology: Topology
    profiles: dict[str, DeviceProfile]
    """Profile of every node, by name."""
    clients: tuple[str, ...]
    """Devices that train and ask; client i owns expert i."""
    server: str
    """Device that aggregates."""

    def resident_bytes(self, scenario: Scenario) -> int:
        """Return the bytes of extractor and gate that every client holds."""
        model, shape = model_of(scenario), scenario.data.input_shape
        parameters = _num_parameters(model, "extractor", shape)
        parameters += _num_parameters(model, "gate", model.extractor.num_features, len(self.clients))
        return parameters * _BYTES_PER_PARAMETER


def _num_parameters(model: ModelSection, part: str, *sizes: Any) -> int:
    """Count a part's parameters; a user's own may not be one that can be counted."""
    try:
        return int(getattr(model, part).num_parameters(*sizes))
    except ValueError as error:
        raise InputError(str(error), key=f"model.{part}") from error


@contextmanager
def located(scenario: Scenario) -> Iterator[None]:
    """Give an input error that only knows its key the place where the scenario sets it."""
    try:
        yield
    except InputError as error:
        if error.where is None and error.key is not None:
            raise InputError(error.message, where=scenario.where(error.key), key=error.key) from error
        raise


def check(scenario: Scenario) -> Layout:
    """Check a scenario across its sections and place its nodes.

    Raises
    ------
    InputError
        The first rule that is broken, with the setting, its value and the remedy.
    """
    with located(scenario):
        _check_counts(scenario)
        groups = _device_groups(scenario)
        topology = scenario.topology.build(RandomStreams(scenario.seed))
        clients = tuple(node.name for node in topology.devices)
        profiles = dict(zip(clients, (profile for _, profile in groups), strict=True))
        profiles |= {node.name: scenario.topology.base_station for node in topology.base_stations}
        layout = Layout(topology, profiles, clients, _server(scenario, topology))
        _check_radio(scenario, topology)
        _check_channel(scenario, topology)
        _check_motion(scenario, topology)
        _check_reach(scenario, layout)
        _check_training(scenario, topology)
        _check_memory(scenario, layout, groups)
    return layout


def _check_counts(scenario: Scenario) -> None:
    num_clients, data, model = scenario.topology.num_devices, scenario.data, scenario.model
    if model.top_k > num_clients:
        raise InputError(
            f"{model.top_k} experts asked of {num_clients}; give at most topology.num_devices", key="model.top_k"
        )
    for part, key, arguments in (
        (data.partition, "data.partition", (num_clients, data.num_classes, data.num_train_kept())),
        (model.extractor, "model.extractor", (data.input_shape,)),
    ):
        try:
            part.check(*arguments)
        except ValueError as error:
            raise InputError(str(error), key=key) from error
    num_test = data.max_test or data.num_test
    if num_test is not None and (table_bytes := 4 * num_clients**2 * num_test) > MAX_TABLE_BYTES:
        raise InputError(
            f"the scores of {num_clients} gates for {num_clients} experts on {num_test} test samples take "
            f"{table_bytes / 1e9:.3g} GB, more than {MAX_TABLE_BYTES / 1e9:.3g} GB; lower data.max_test",
            key="topology.num_devices",
        )
    inference = scenario.inference
    if inference.at_deadline != "wait" and inference.deadline_s is None:
        raise InputError(
            f"{inference.at_deadline!r} needs a deadline; set inference.deadline_s", key="inference.at_deadline"
        )
    if isinstance(inference.arrivals, Arrivals):  # a plug-in's need only the protocol
        inference.arrivals.check(num_clients, inference.duration_s)
    expected = sum(inference.arrivals.mean_rate_hz(i) for i in range(num_clients)) * inference.duration_s
    if expected > MAX_REQUESTS:
        raise InputError(
            f"{expected:.3g} requests are expected, more than {MAX_REQUESTS:,}; lower the rate or the duration",
            key="inference.duration_s",
        )


def _device_groups(scenario: Scenario) -> list[tuple[int | None, DeviceProfile]]:
    """Return group number and profile of each device, in order."""
    num_devices, groups = scenario.topology.num_devices, scenario.devices
    if not groups:
        return [(None, Phone())] * num_devices
    open_groups = [i for i, group in enumerate(groups) if group.count is None]
    counted = sum(group.count or 0 for group in groups)
    if len(open_groups) > 1:
        raise InputError("only one group may leave out 'count'; it takes the rest", key=f"devices.{open_groups[1]}")
    rest = num_devices - counted
    if rest < len(open_groups) or (rest and not open_groups):
        raise InputError(
            f"the groups' counts add up to {counted} and topology.num_devices is {num_devices}; make them agree"
            + (", with at least one left for the group without 'count'" if open_groups else ""),
            key="devices",
        )
    return [(i, group) for i, group in enumerate(groups) for _ in range(group.count or rest)]


def _server(scenario: Scenario, topology: Topology) -> str:
    server = scenario.training.server
    if server is None:
        return topology.base_stations[0].name if topology.base_stations else topology.most_central()
    if server not in topology.index:
        names = [node.name for node in topology.nodes]
        shown = ", ".join(names) if len(names) <= 12 else f"{names[0]} … {names[-1]}"
        raise InputError(f"no node is named {server!r}; one of {shown}", key="training.server")
    return server


def _check_radio(scenario: Scenario, topology: Topology) -> None:
    radio, num_stations = scenario.radio, len(topology.base_stations)
    if radio.reuse_factor > max(1, num_stations):
        raise InputError(
            f"{radio.reuse_factor} parts of the band are more than the topology's base stations, {num_stations}; "
            "give at most as many",
            key="radio.reuse_factor",
        )
    if radio.duplex == "half" and num_stations > 1 and any(link.medium == "sidelink" for link in topology.links):
        raise InputError(
            "'half' puts sidelinks on the band of a base station, and with several it isn't said whose; "
            "use 'full' or leave sidelinks out",
            key="radio.duplex",
        )
    if radio.sharing.half_duplex_only and radio.duplex != "half":
        raise InputError(
            f"'{radio.sharing.kind}' has both directions contend for one channel; set radio.duplex to 'half'",
            key="radio.sharing",
        )
    allocations = [a for a in allocate(topology, radio) if a.band is not None]
    media_of: dict[str | None, set[str]] = {}
    for a in allocations:
        media_of.setdefault(a.band, set()).add(a.medium)
    if radio.sharing.listens and any(len(media) > 1 for media in media_of.values()):
        raise InputError(
            f"'{radio.sharing.kind}' has everybody on a band hear each other, and here several media share one; "
            "take one base station, radio.sidelinks 'time_shared', or a radio.reuse_factor that tells stations apart",
            key="radio.sharing",
        )
    both_ways = radio.duplex == "half" or (
        radio.sidelinks == "time_shared" and any(link.medium == "sidelink" for link in topology.links)
    )
    if radio.sharing.divides_band and both_ways:
        raise InputError(
            f"'{radio.sharing.kind}' has radios on air at once, and on a band used in both directions one would "
            "send and receive at once; set radio.duplex to 'full', and leave sidelinks out or make them 'concurrent'",
            key="radio.sharing",
        )
    for bandwidth_hz in sorted({a.bandwidth_hz for a in allocations}):
        try:
            radio.link_adaptation.check(bandwidth_hz, carrier_hz=radio.carrier_hz)
        except ValueError as error:
            part = "" if radio.reuse_factor == 1 else f" (each of radio.reuse_factor {radio.reuse_factor} parts)"
            raise InputError(f"{error}{part}", key="radio.bandwidth_hz") from error
    if radio.strict and (outside := _outside_validity(scenario, topology)):
        raise InputError(f"{outside}; radio.strict refuses that", key="radio.path_loss")


def _check_channel(scenario: Scenario, topology: Topology) -> None:
    channel = scenario.radio.channel
    if isinstance(channel, ChannelSpec):  # a plug-in's need only build
        on_air = [link for link in topology.links if link.wired is None]
        src = np.array([topology.index[link.src.name] for link in on_air], dtype=np.int64)
        dst = np.array([topology.index[link.dst.name] for link in on_air], dtype=np.int64)
        sites, mobility = sites_of(topology, scenario.radio), scenario.mobility
        if not getattr(mobility, "is_static", False):
            sites = sites.moving(sites.positions_m, mobility.step_s)
        channel.check(sites, src, dst)


def _check_motion(scenario: Scenario, topology: Topology) -> None:
    """Find what is wrong with trajectories before anything runs: positions are drawn when they are asked for."""
    if isinstance(scenario.mobility, MobilitySpec) and not scenario.mobility.is_static:
        _trajectory(scenario, topology)


def _check_reach(scenario: Scenario, layout: Layout) -> None:
    def lost_in(topology: Topology) -> list[str]:
        return [name for name in layout.clients if not topology.is_connectable(name, layout.server)]

    lost = lost_in(layout.topology)
    if lost and not getattr(scenario.mobility, "is_static", False):
        lost = lost_in(layout.topology.movable())
    if lost:
        shown = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        raise InputError(
            f"{shown} can't reach the server {layout.server} over any links; "
            "raise the range, move the devices closer or add a base station",
            key="topology",
        )


def _check_training(scenario: Scenario, topology: Topology) -> None:
    for key in ("extractor", "experts", "gate"):
        try:
            getattr(scenario.training, key).check(scenario, topology)
        except ValueError as error:
            raise InputError(str(error), key=f"training.{key}") from error


def _check_memory(scenario: Scenario, layout: Layout, groups: list[tuple[int | None, DeviceProfile]]) -> None:
    model = model_of(scenario)
    expert = _num_parameters(model, "expert", model.extractor.num_features, scenario.data.num_classes)
    held = scenario.training.gate.experts_held(len(layout.clients))
    needed = layout.resident_bytes(scenario) + held * expert * _BYTES_PER_PARAMETER
    experts = "own expert" if held == 1 else f"{held} experts while the gate is trained"
    remedy = "" if held == 1 else ", let training.gate.exchange 'outputs' keep them apart"
    for name, (group, profile) in zip(layout.clients, groups, strict=True):
        if needed > profile.memory_bytes:
            raise InputError(
                f"{profile.memory_bytes:,} bytes don't hold {name}'s extractor, gate and {experts}, {needed:,} bytes; "
                f"give the device more memory{remedy} or make the model smaller",
                key="model" if group is None else f"devices.{group}.memory_bytes",
            )


def concerns(scenario: Scenario, layout: Layout) -> list[str]:
    """Return what a user should know before trusting the results; nothing here stops a run."""
    found = []
    if outside := _outside_validity(scenario, layout.topology):
        found.append(f"{outside}; their losses are extrapolated")
    bands = [a for a in allocate(layout.topology, scenario.radio) if a.band is not None]
    if scenario.radio.sharing.end_to_end and len({a.medium for a in bands}) > len({a.band for a in bands}):
        found.append(
            f"'{scenario.radio.sharing.kind}' takes each hop of a route to interfere for an equal part of the time, "
            "also while another hop holds it up; where media share a band it overstates interference"
        )
    held = scenario.data.partition.classes_held(len(layout.clients), scenario.data.num_classes)
    if held < scenario.data.num_classes:
        found.append(
            f"{len(layout.clients)} clients hold {held} of {scenario.data.num_classes} classes; "
            "no expert learns the others, and their training samples are left out"
        )
    return found


def _outside_validity(scenario: Scenario, topology: Topology) -> str:
    """Say how many radio links the path-loss law wasn't made for; empty: none.

    Devices that move are looked at ``_LOOKS`` times over the length of the request period, from the start.
    """
    from channels.geometry import LinkGeometry

    radio, mobility = scenario.radio, scenario.mobility
    links = [link for link in topology.links if link.wired is None]
    if radio.channel.kind != "model" or not links:
        return ""
    xy_m = topology.positions_m[None]
    moves = isinstance(mobility, MobilitySpec) and not mobility.is_static
    if moves:
        t_s = np.linspace(0.0, min(scenario.inference.duration_s, mobility.known_until_s), _LOOKS)
        devices_m = _trajectory(scenario, topology).positions_m(t_s)
        stations_m = np.broadcast_to(
            topology.positions_m[len(topology.devices) :], (_LOOKS, len(topology.base_stations), 2)
        )
        xy_m = np.concatenate([devices_m, stations_m], axis=1)
    src = np.array([topology.index[link.src.name] for link in links])
    dst = np.array([topology.index[link.dst.name] for link in links])
    distance_m = np.hypot(*np.moveaxis(xy_m[:, src] - xy_m[:, dst], -1, 0))
    heights_m = sites_of(topology, radio).heights_m
    geometry = LinkGeometry.between(
        distance_m.ravel(), np.tile(heights_m[src], len(xy_m)), np.tile(heights_m[dst], len(xy_m))
    )
    inside = radio.path_loss.in_validity_range(geometry, carrier_hz=radio.carrier_hz).reshape(distance_m.shape)
    outside = int(np.count_nonzero(~inside.all(axis=0)))
    if not outside:
        return ""
    way = " somewhere on their way" if moves else ""
    return (
        f"{outside} of {len(links)} links are outside the range of radio.path_loss "
        f"'{radio.path_loss.kind}'{way}, {radio.path_loss.validity_range}"
    )


def _trajectory(scenario: Scenario, topology: Topology) -> Trajectory:
    return trajectory_of(scenario.mobility, topology, RandomStreams(scenario.seed).uniform)
