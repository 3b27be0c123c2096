"""From a checked scenario to a live run: data, model, costs, simulation."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.checks import Layout, located
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.errors import InputError
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.dump import resolve_spec
from nmoe_sim.scenario.scenario import ModelSection, Scenario
from nmoe_sim.scenario.sources import foreign_sources
from nmoe_sim.training.learning import ClientData, Learning, ModelCosts, Progress, no_progress
from nmoe_sim.training.stage import model_of

if TYPE_CHECKING:
    import torch
    from torch import nn


MAX_DELAY_S = 1e4
MAX_BLOCKS = 1_000_000
"""A link over which one model takes longer, or more coherence blocks, is no link."""


def torch_device(scenario: Scenario) -> torch.device:
    """Return the device tensors are computed on."""
    import torch

    if scenario.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "no CUDA device is available here; set device to 'cpu' or 'auto'",
            where=scenario.where("device"),
            key="device",
        )
    use_cuda = scenario.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if use_cuda else "cpu")


def prepare(
    scenario: Scenario,
    layout: Layout,
    *,
    values_dir: Path | None = None,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> Learning:
    """Load and split the data, build the model, count its costs, set up the simulation.

    Parameters
    ----------
    scenario : Scenario
    layout : Layout
    values_dir : Path, optional
        Folder of stored values.
    workers : int, optional
        Threads that train clients side by side; as many as there are cores by default.
    progress : Progress
    """
    streams = RandomStreams(scenario.seed)
    with located(scenario):
        data = _load(scenario, layout, streams, torch_device(scenario))
    return _learning(scenario, layout, streams, data, values_dir, workers or os.cpu_count() or 1, progress)


def model_parts(scenario: Scenario) -> dict[str, Any]:
    """Return the settings of the model that each training stage's values depend on, as JSON values."""
    model = resolve_spec(model_of(scenario), portable=True)
    heads_too = scenario.training.extractor.trains_experts
    return {
        "extractor": [model["extractor"], model["expert"]] if heads_too else model["extractor"],
        "experts": model["expert"],
        "gate": {key: value for key, value in model.items() if key not in ("extractor", "expert")},
    }


def prepare_clock(scenario: Scenario, layout: Layout) -> Learning:
    """Set up a run whose clock can go but whose values don't exist: tensors without content.

    Every client gets an equal share of the training data, since how it is split needs the data.
    """
    import torch

    shape, num_clients = scenario.data.input_shape, len(layout.clients)
    share = -(-(scenario.data.num_train_kept() or num_clients) // num_clients)
    images = torch.empty((share, *shape), device="meta")
    labels = torch.empty(share, dtype=torch.int64, device="meta")
    empty = [np.empty(0, np.int64)] * num_clients
    data = ClientData(
        [images] * num_clients, [labels] * num_clients, images, labels, empty, scenario.data.num_classes, "", ""
    )
    learning = _learning(scenario, layout, RandomStreams(scenario.seed), data, None, 1, no_progress)
    features = torch.empty((share, learning.model.extractor.num_features), device="meta")
    learning.train_h = [features] * num_clients
    learning.train_outputs = [torch.empty((share, num_clients, data.num_classes), device="meta")] * num_clients
    return learning


def _load(scenario: Scenario, layout: Layout, streams: RandomStreams, device: torch.device) -> ClientData:
    import torch

    from nmoe_sim.nmoe.data_inspection import inspect_dataset, inspected_parts
    from nmoe_sim.nmoe.feature_skew import seen_by, skewed_test_set
    from nmoe_sim.nmoe.partition import matching_test_split

    dataset = scenario.data.load(streams)
    inspect_dataset(dataset, scenario.data.input_shape, scenario.data.num_classes)
    num_clients, classes = len(layout.clients), dataset.num_classes
    parts = scenario.data.partition.assign(
        dataset.train_y, num_clients=num_clients, num_classes=classes, rng=streams.generator("partition")
    )
    parts = inspected_parts(parts, len(dataset.train_y), num_clients)
    test_parts = matching_test_split(
        parts, dataset.train_y, dataset.test_y, classes, streams.generator("partition_test")
    )
    if scenario.inference.samples == "local" and (empty := [c for c, p in enumerate(test_parts) if not len(p)]):
        raise InputError(
            f"{layout.clients[empty[0]]} has too few training samples to get any local test sample; "
            "ask 'global' samples, or raise data.max_test or data.partition.alpha",
            key="inference.samples",
        )
    skew = scenario.data.feature_skew
    train_x = [
        seen_by(skew, dataset.train_x[part], client=client, num_clients=num_clients, streams=streams, split="train")
        for client, part in enumerate(parts)
    ]
    return ClientData(
        train_x=[torch.from_numpy(x).to(device) for x in train_x],
        train_y=[torch.from_numpy(dataset.train_y[part]).to(device) for part in parts],
        test_x=torch.from_numpy(skewed_test_set(skew, dataset.test_x, test_parts, streams)).to(device),
        test_y=torch.from_numpy(dataset.test_y).to(device),
        test_parts=test_parts,
        num_classes=classes,
        digest=dataset.digest,
        split_digest=_split_digest(parts, scenario.resolved()["data"]["feature_skew"]),
    )


def _split_digest(parts: list[NDArray[np.int64]], skew: dict[str, Any]) -> str:
    sha = hashlib.sha256(json.dumps(skew, sort_keys=True).encode())
    for part in parts:
        sha.update(b"|%d|%b" % (len(part), part.tobytes()))
    return sha.hexdigest()


def _check_links(scenario: Scenario, layout: Layout, simulation: Simulation, n_bytes: int) -> None:
    """Refuse links over which the extractor alone would take more than ``MAX_DELAY_S``, by any budget dead."""
    coherence_time_s = scenario.radio.fading.coherence_time_s
    limit_s = min(MAX_DELAY_S, MAX_BLOCKS * (coherence_time_s or MAX_DELAY_S))
    for client in layout.clients:
        for src, dst in ((client, layout.server), (layout.server, client)):
            delay_s = simulation.mean_delay_s(src, dst, n_bytes)
            if delay_s > limit_s:
                raise InputError(
                    f"the extractor's {n_bytes:,} bytes would take {delay_s:.3g} s from {src} to {dst} at mean SNR, "
                    f"more than {limit_s:.3g} s; bring them closer, or raise power or bandwidth",
                    where=scenario.where("topology"),
                    key="topology",
                )


def _build_part(
    scenario: Scenario,
    model: ModelSection,
    streams: RandomStreams,
    part: str,
    sizes: tuple[Any, ...],
    input_shape: tuple[int, ...],
) -> nn.Module:
    """Build the extractor, expert or gate; refuse one that clients can't train and average, or no run can repeat."""
    from nmoe_sim.nmoe.inspection import build_inspected
    from nmoe_sim.nmoe.randomness import torch_generator
    from nmoe_sim.nmoe.reshaped import WholeNetwork

    spec, key = getattr(model, part), f"model.{part}"
    is_head = part != "extractor" and not isinstance(spec, WholeNetwork)
    num_outputs = spec.num_features if part == "extractor" else sizes[-1]
    try:
        return build_inspected(
            lambda: spec.build(*sizes, torch_generator(streams, f"init_{part}")),
            input_shape,
            num_outputs,
            is_head=is_head,
        )
    except ValueError as error:
        raise InputError(str(error), where=scenario.where(key), key=key) from error


def _learning(
    scenario: Scenario,
    layout: Layout,
    streams: RandomStreams,
    data: ClientData,
    values_dir: Path | None,
    workers: int,
    progress: Progress,
) -> Learning:
    import torch

    from nmoe_sim.nmoe.cost import forward_flop, tensor_bytes
    from nmoe_sim.nmoe.values import ValueStore

    model, num_clients, device = model_of(scenario), len(layout.clients), data.test_x.device
    num_features = model.extractor.num_features
    shape = scenario.data.input_shape

    def build(part: str, *sizes: Any, takes: tuple[int, ...]) -> nn.Module:
        return _build_part(scenario, model, streams, part, sizes, takes)

    extractor = build("extractor", shape, takes=shape)
    expert = build("expert", num_features, data.num_classes, takes=(num_features,))
    gate = build("gate", num_features, num_clients, takes=(num_features,))
    bytes_per_value = torch.empty(0, dtype=torch.get_default_dtype()).element_size()
    costs = ModelCosts(
        features_flop=forward_flop(extractor, shape),
        gate_flop=forward_flop(gate, (num_features,)),
        expert_flop=forward_flop(expert, (num_features,)),
        extractor_bytes=tensor_bytes(extractor.state_dict()),
        expert_bytes=tensor_bytes(expert.state_dict()),
        gate_bytes=tensor_bytes(gate.state_dict()),
        features_bytes=bytes_per_value * num_features,
        output_bytes=bytes_per_value * data.num_classes,
    )
    simulation = Simulation.build(
        layout.topology,
        layout.profiles,
        scenario.radio,
        streams,
        mobility=scenario.mobility,
        handover=scenario.handover,
        faults=scenario.faults,
        analog=scenario.inference.features.is_analog,
    )
    _check_links(scenario, layout, simulation, costs.extractor_bytes)
    base = {
        "data": data.digest,
        "split": data.split_digest,
        "augmentation": scenario.resolved()["data"]["augmentation"],
        "seed": scenario.seed,
        "device": device.type,
        "code": foreign_sources(scenario.data, scenario.model, scenario.training),
    }
    return Learning(
        scenario=scenario,
        model=model,
        simulation=simulation,
        clients=layout.clients,
        server=layout.server,
        data=data,
        costs=costs,
        extractor=extractor.to(device),
        expert=expert.to(device),
        gate=gate.to(device),
        store=ValueStore(values_dir, base, model_parts(scenario)),
        workers=workers,
        progress=progress,
    )
