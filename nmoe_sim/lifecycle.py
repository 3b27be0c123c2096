"""The whole life of a run, in the order of simulated time: training, placement, inference, the books."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from simpy.events import Event

from nmoe_sim.accounts import record_devices, record_energy, record_requests, record_summary
from nmoe_sim.checks import Layout
from nmoe_sim.engine.link_samples import record_links
from nmoe_sim.hosting import memory_used, move_experts, placement_problem
from nmoe_sim.inference.answers import predictions
from nmoe_sim.inference.channel import ChannelScores
from nmoe_sim.inference.received import AnalogNoise, ExactOutputs, Outputs, ReceivedOutputs
from nmoe_sim.inference.service import RequestCosts, Service
from nmoe_sim.inference.workload import Workload
from nmoe_sim.placement.problem import PlacementProblem
from nmoe_sim.training.learning import Learning

FINAL = "final"
"""Stage of the metrics of the trained model."""


def simulate(learning: Learning, layout: Layout) -> None:
    """Run the clock from start to end; tables end up in the simulation's recorder."""
    run_alone(learning, _life(learning, layout))


def run_alone(learning: Learning, process: Generator[Event, Any, None]) -> None:
    """Run a process to its end, every torch operation on one thread: results must not depend on cores."""
    from nmoe_sim.nmoe.threads import one_thread

    with one_thread():
        learning.simulation.run(process)


def train(learning: Learning) -> Generator[Event, Any, None]:
    """Run the three stages: each first on the clock, then in values."""
    training = learning.scenario.training
    for stage in (training.extractor, training.experts, training.gate):
        history = yield from stage.clock(learning)
        stage.values(learning, history)
    _record_accuracies(learning)


def trained_problem(learning: Learning, layout: Layout) -> PlacementProblem:
    """Train, and return the placement problem that results."""
    run_alone(learning, train(learning))
    return placement_problem(learning, layout)


def _life(learning: Learning, layout: Layout) -> Generator[Event, Any, None]:
    scenario, simulation = learning.scenario, learning.simulation
    _record_layout(learning)
    yield from train(learning)
    problem = placement_problem(learning, layout)
    placement = scenario.placement.solve(problem, simulation.streams.generator("placement"))
    hosts = yield from move_experts(learning, layout, placement)
    training_end_s = simulation.env.now
    inference, scores = scenario.inference, learning.test_scores().cpu().numpy()
    everything = np.arange(len(learning.data.test_y))
    pools = [part if inference.samples == "local" else everything for part in learning.data.test_parts]
    workload = Workload.draw(inference.arrivals, pools, inference.duration_s, simulation.streams)
    service = Service(
        simulation,
        clients=learning.clients,
        hosts=hosts,
        costs=request_costs(learning),
        policy=inference.routing,
        scores=scores,
        top_k=scenario.model.top_k,
        deadline_s=inference.deadline_s,
        at_deadline=inference.at_deadline,
        view_period_s=inference.view_period_s,
        channel_scores=ChannelScores.of(learning.model.gate, learning.gates, learning.clients),
    )
    with learning.progress("inference: requests", len(workload.t_s)) as advance:
        served = yield from service.run(workload, advance)
    yield simulation.env.timeout(max(0.0, training_end_s + inference.duration_s - simulation.env.now))
    yield simulation.env.all_of(simulation.under_way)
    answers = predictions(served, _outputs(learning, workload, hosts), scenario.model.combine)
    labels = learning.data.test_y.cpu().numpy()
    record_requests(simulation, learning.clients, workload, served, answers, labels, hosts, inference.deadline_s)
    simulation.availability.close()
    record_energy(simulation, training_end_s)
    record_devices(simulation, layout.profiles, memory_used(learning, layout, hosts), training_end_s)
    if simulation.is_static:
        record_links(simulation)
    record_summary(simulation, scenario.run_id, scenario.name, len(learning.clients), training_end_s)


def request_costs(learning: Learning) -> RequestCosts:
    """Return the declared costs of one request's parts."""
    from nmoe_sim.nmoe.cost import combine_flop

    costs, model, features = learning.costs, learning.model, learning.scenario.inference.features
    return RequestCosts(
        features_flop=costs.features_flop,
        gate_flop=costs.gate_flop,
        expert_flop=costs.expert_flop,
        combine_flop=combine_flop(1, learning.data.num_classes, model.combine),
        features_bytes=features.num_bytes(model.extractor.num_features),
        output_bytes=costs.output_bytes,
        features_analog=features.is_analog,
    )


def _outputs(learning: Learning, workload: Workload, hosts: Sequence[str]) -> Outputs:
    """Return what experts said to the features that reached them."""
    simulation, transport = learning.simulation, learning.scenario.inference.features
    exact = ExactOutputs(learning.tested_outputs, workload.sample)
    if transport.is_exact:
        return exact
    nodes = [node.name for node in simulation.topology.nodes]
    return ReceivedOutputs.build(
        exact,
        transport,
        learning.tested_h,
        learning.expert,
        learning.experts,
        hosts=np.array([nodes.index(host) for host in hosts]),
        clients=np.array([nodes.index(client) for client in learning.clients])[workload.client],
        noise=AnalogNoise.of(simulation.recorder, nodes, simulation.streams) if transport.is_analog else None,
    )


def _record_layout(learning: Learning) -> None:
    recorder, topology, data = learning.simulation.recorder, learning.simulation.topology, learning.data
    for node, (x_m, y_m) in zip(topology.nodes, learning.simulation.ether.sites.at([0.0])[0].tolist(), strict=True):
        recorder.add("positions", device=node.name, t_s=0.0, x_m=x_m, y_m=y_m)
    test_y = data.test_y.cpu().numpy()
    for i, (client, y, part) in enumerate(zip(learning.clients, data.train_y, data.test_parts, strict=True)):
        num_train = np.bincount(y.cpu().numpy(), minlength=data.num_classes).tolist()
        num_test = np.bincount(test_y[part], minlength=data.num_classes).tolist()
        skew = learning.scenario.data.feature_skew.label(
            client=i, num_clients=len(learning.clients), streams=learning.simulation.streams
        )
        for label in range(data.num_classes):
            counts = {"num_train": num_train[label], "num_test": num_test[label]}
            recorder.add("partition", client=client, label=label, feature_skew=skew, **counts)


def _record_accuracies(learning: Learning) -> None:
    """Write the final accuracies of every client, on the global and on its local test set, and their means."""
    import torch

    from nmoe_sim.nmoe.evaluate import accuracies

    scores, outputs = learning.test_scores().cpu(), learning.tested_outputs.cpu()
    labels, model, now = learning.data.test_y.cpu(), learning.model, learning.simulation.env.now
    sums: dict[tuple[str, str], list[float]] = {}
    for i, client in enumerate(learning.clients):
        for split, rows in (("global", None), ("local", learning.data.test_parts[i])):
            if rows is not None and not len(rows):
                continue  # a client with few training samples may have no local test set
            pick = torch.arange(len(labels)) if rows is None else torch.from_numpy(rows)
            values = accuracies(
                i,
                scores[i][pick],
                outputs[:, pick],
                labels[pick],
                top_k=model.top_k,
                how=model.combine,
                peers=None if learning.peers is None else learning.peers[i],
            )
            for metric, value in values.items():
                learning.record_metric(FINAL, None, now, metric, split, client, value)
                sums.setdefault((metric, split), []).append(value)
    for (metric, split), values_of_clients in sums.items():
        learning.record_metric(FINAL, None, now, metric, split, None, float(np.mean(values_of_clients)))
