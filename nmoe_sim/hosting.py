"""From trained gates to hosts: demand, placement problem, and the experts' way to their hosts."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray
from simpy.events import Event

from nmoe_sim.checks import Layout
from nmoe_sim.inference.channel import ChannelScores
from nmoe_sim.inference.routing import Query, ask
from nmoe_sim.inference.view import NetworkMonitor
from nmoe_sim.placement.outcome import Placement
from nmoe_sim.placement.problem import PlacementProblem
from nmoe_sim.rng import RandomStreams
from nmoe_sim.training.learning import Learning

STAGE = "placement"
NUM_CALIBRATION = 200
"""Training samples of each client (of all clients, for the global test set) its demand is measured on."""


def placement_problem(learning: Learning, layout: Layout) -> PlacementProblem:
    """Build the placement problem from the trained gates, the links, the devices and the model.

    Demand is what the scenario's routing policy chooses on calibration data: training samples of the
    client for local requests, of all clients for global ones. Link delays are those at mean SNR
    without contention, as if devices that are away for a time were there. What clients report to the planner is not
    charged to the links.

    Who is gone for good hosts nothing and asks nothing, and its expert went with it; nor does a client ask for what
    it could only reach over such a device.
    """
    scenario, simulation, costs = learning.scenario, learning.simulation, learning.costs
    names = [node.name for node in layout.topology.nodes]
    is_dead = np.array([simulation.why_down(name) == "battery" for name in names])
    demand_hz = _demand_hz(learning) * _is_served(learning)
    delay_s = np.array([[_delay_s(learning, client, name) for name in names] for client in layout.clients])
    resident = costs.extractor_bytes + costs.gate_bytes
    free = [layout.profiles[n].memory_bytes - (resident if n in layout.clients else 0) for n in names]
    arrivals = scenario.inference.arrivals
    own_flop = costs.features_flop + costs.gate_flop
    base = np.zeros(len(names))
    for i, client in enumerate(layout.clients):
        base[names.index(client)] = arrivals.mean_rate_hz(i) * own_flop / simulation.devices[client].flop_per_s
    num_experts = len(layout.clients)
    owners = np.array([names.index(client) for client in layout.clients])
    return PlacementProblem(
        demand_hz=demand_hz,
        link_delay_s=delay_s,
        client_device=owners,
        expert_flop=np.full(num_experts, float(costs.expert_flop)),
        expert_bytes=np.where(is_dead[owners], 0, costs.expert_bytes),
        flop_per_s=np.array([simulation.devices[n].flop_per_s for n in names]),
        free_memory_bytes=np.where(is_dead, 0, free),
        owner=owners,
        base_utilisation=base,
        max_utilisation=scenario.placement.max_utilisation or np.inf,
        device_names=tuple(names),
    )


def _is_served(learning: Learning) -> NDArray[np.bool_]:
    """Return whether each client will ever be able to ask each expert [C, E], as far as batteries go."""
    simulation, clients = learning.simulation, learning.clients
    if not simulation.topology.lacks_nodes:
        return np.ones((len(clients), len(clients)), dtype=np.bool_)
    topology, is_dead = simulation.topology, [simulation.why_down(name) == "battery" for name in clients]
    return np.array(
        [
            [not dead and topology.is_connectable(client, owner) for owner in clients]
            for client, dead in zip(clients, is_dead, strict=True)
        ]
    )


def _delay_s(learning: Learning, client: str, host: str) -> float:
    """Return the time of features to a host and of the output back."""
    simulation, costs = learning.simulation, learning.costs
    features, num_features = learning.scenario.inference.features, learning.model.extractor.num_features
    there_s = simulation.mean_delay_s(client, host, features.num_bytes(num_features), analog=features.is_analog)
    return there_s + simulation.mean_delay_s(host, client, costs.output_bytes)


def _demand_hz(learning: Learning) -> NDArray[np.float64]:
    """Return the rate at which each client would ask each expert [C, E]."""
    import torch

    scenario, clients = learning.scenario, learning.clients
    streams = RandomStreams(scenario.seed, "calibration/")  # not the draws of the requests themselves
    policy = scenario.inference.routing
    local = scenario.inference.samples == "local"
    # every expert at home: where it will be is what the demand is for
    monitor = NetworkMonitor(learning.simulation, tuple(clients), 0.0)
    channel_scores = ChannelScores.of(learning.model.gate, learning.gates, clients)
    demand = np.zeros((len(clients), len(clients)))
    for i in range(len(clients)):
        num_samples = learning.data.num_train[i] if local else sum(learning.data.num_train)
        rows = streams.generator("samples", i).permutation(num_samples)[:NUM_CALIBRATION]
        scores = learning.train_scores(i, torch.from_numpy(rows), local=local).cpu().numpy()
        if channel_scores is not None:
            scores = scores + channel_scores(i, monitor.view())
        for k, row in enumerate(scores):
            query = Query(i * NUM_CALIBRATION + k, i, clients[i], i, row, scenario.model.top_k, streams)
            demand[i, ask(policy, query, monitor.view)] += 1.0
        demand[i] *= scenario.inference.arrivals.mean_rate_hz(i) / len(rows)
    return demand


def move_experts(learning: Learning, layout: Layout, placement: Placement) -> Generator[Event, None, list[str]]:
    """Send every expert from its owner to its host; returns the hosts' names and records them.

    A device that is away for a time is waited for.
    """
    names = [node.name for node in layout.topology.nodes]
    hosts = [names[i] for i in placement.hosts.tolist()]
    clock = learning.clock(STAGE)
    moves = [
        clock.move(owner, host, learning.costs.expert_bytes, "expert")
        for owner, host in zip(layout.clients, hosts, strict=True)
    ]
    yield learning.simulation.env.all_of(moves)
    # an expert whose owner or host has run empty stays where it is
    hosts = [host if move.value else owner for owner, host, move in zip(layout.clients, hosts, moves, strict=True)]
    for expert, (owner, host) in enumerate(zip(layout.clients, hosts, strict=True)):
        learning.simulation.recorder.add(
            "placement", expert=expert, owner=owner, device=host, bytes=learning.costs.expert_bytes
        )
    return hosts


def memory_used(learning: Learning, layout: Layout, hosts: Sequence[str]) -> dict[str, int]:
    """Return the bytes every node holds during inference: extractor and gate at clients, hosted experts."""
    used = dict.fromkeys(layout.profiles, 0)
    for client in layout.clients:
        used[client] += learning.costs.extractor_bytes + learning.costs.gate_bytes
    for host in hosts:
        used[host] += learning.costs.expert_bytes
    return used
