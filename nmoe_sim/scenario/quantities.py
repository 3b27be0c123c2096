"""Number types of scenario fields; the unit is in the field's name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def _integral(value: Any) -> Any:
    """Let ``8e9`` stand for a whole number of bytes."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return value


Positive = Annotated[float, Field(gt=0, le=1e30)]
NonNegative = Annotated[float, Field(ge=0, le=1e30)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
FlopPerS = Annotated[float, Field(ge=1, le=1e30)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Width = Annotated[int, Field(ge=1, le=65_536)]
Bytes = Annotated[int, BeforeValidator(_integral), Field(ge=1, le=10**15)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
