"""Widths of multi-layer perceptrons, shared by the model specs; no torch."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field

from nmoe_sim.scenario.quantities import Width

Widths = Annotated[tuple[Width, ...], Field(max_length=16)]
"""Widths of hidden layers, first to last; may be empty."""


def num_mlp_parameters(*widths: int) -> int:
    """Parameters of linear layers with bias between consecutive widths: Σ (n_in + 1)·n_out."""
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(widths))
