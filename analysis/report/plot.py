"""What every interactive figure is made of: plain Plotly data; the theme is the page's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.figures.style import color

CATEGORIES = {"type": "category", "showgrid": False}
"""An axis of names."""


@dataclass(frozen=True)
class Plot:
    """One interactive figure."""

    title: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    note: str = ""


def numbers(values: Iterable[Any]) -> list[float | None]:
    """Return numbers with six significant digits, and null for what is not finite, as JSON wants it."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in np.asarray(values, dtype=np.float64)]


def stacked(values: dict[str, list[float]], names: list[str], *, horizontal: bool = False) -> list[dict[str, Any]]:
    """Return stacked bars, one trace a part; parts that are nowhere are left out."""
    traces = []
    for position, (part, amounts) in enumerate(values.items()):
        if any(amounts):
            lengths = {"x": numbers(amounts), "y": names} if horizontal else {"x": names, "y": numbers(amounts)}
            shade = color(position)
            shade = "#8a94a0" if shade == "#000000" else shade  # which a dark page would swallow
            trace = {"type": "bar", "name": part, "marker": {"color": shade}, **lengths}
            traces.append({**trace, "orientation": "h"} if horizontal else trace)
    return traces


def log_axis(title: str, shown: Any) -> dict[str, Any]:
    """Return a logarithmic axis, with more labels where little is spanned; linear where it is less than threefold."""
    if len(shown) and np.max(shown) < 3 * np.min(shown):
        return {"title": title}
    wide = len(shown) == 0 or np.max(shown) > 10 * np.min(shown)
    digits = ("1", "2", "5") if wide else ("1", "1.5", "2", "3", "4", "5", "6", "8")
    values = [float(f"{digit}e{exponent}") for exponent in range(-6, 7) for digit in digits]
    return {"title": title, "type": "log", "tickvals": values, "ticktext": [f"{value:,g}" for value in values]}
