"""Torch's randomness from a run's named streams."""

from __future__ import annotations

import torch

from nmoe_sim.rng import RandomStreams


def torch_generator(streams: RandomStreams, name: str, *counters: int) -> torch.Generator:
    """Return a CPU generator of its own, a function of the seed, the name and the counters."""
    return torch.Generator().manual_seed(streams.seed_of(name, *counters))
