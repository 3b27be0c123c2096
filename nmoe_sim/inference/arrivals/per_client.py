"""Settings that are one number for all clients, or a list of one number a client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Tag

from nmoe_sim.errors import InputError
from nmoe_sim.inference.arrivals.process import KEY
from nmoe_sim.scenario.quantities import NonNegative, Positive

_MAX = 1e30


def _shape(value: Any) -> str:
    return "list" if isinstance(value, list | tuple) else "number"


def _in_range(values: tuple[float, ...]) -> tuple[float, ...]:
    for client, value in enumerate(values):
        if not 0 <= value <= _MAX:
            raise ValueError(f"client {client} has {value:g}; give each client at least 0 and at most {_MAX:g}")
    return values


def _anyone_asks(rates_hz: tuple[float, ...]) -> tuple[float, ...]:
    if not any(_in_range(rates_hz)):
        raise ValueError("nobody asks anything; give at least one client a rate above 0")
    return rates_hz


Rates = Annotated[
    Annotated[Positive, Tag("number")] | Annotated[tuple[float, ...], AfterValidator(_anyone_asks), Tag("list")],
    Discriminator(_shape),
]
"""A rate above 0 for all clients, or a list of one rate a client, where 0 means a client that doesn't ask."""

Offsets = Annotated[
    Annotated[NonNegative, Tag("number")] | Annotated[tuple[float, ...], AfterValidator(_in_range), Tag("list")],
    Discriminator(_shape),
]
"""A time of at least 0 for all clients, or a list of one a client."""


def value_of(values: float | Sequence[float], client: int, name: str) -> float:
    """Return one client's value of the setting ``inference.arrivals.NAME``.

    Raises
    ------
    InputError
        If the list ends before the client.
    """
    if not isinstance(values, Sequence):
        return values
    if client >= len(values):
        raise InputError(
            f"a list of {len(values)} has none for client {client}; "
            "give one number a client, topology.num_devices of them, or one number for all",
            key=f"{KEY}.{name}",
        )
    return values[client]


def check_length(values: float | Sequence[float], num_clients: int, name: str) -> None:
    """Check that a list of the setting ``inference.arrivals.NAME`` has one value a client.

    Raises
    ------
    InputError
        If it hasn't.
    """
    if isinstance(values, Sequence) and len(values) != num_clients:
        raise InputError(
            f"a list of {len(values)} for {num_clients} clients; "
            "give one number a client, topology.num_devices of them, or one number for all",
            key=f"{KEY}.{name}",
        )
