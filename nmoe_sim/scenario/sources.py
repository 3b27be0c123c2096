"""Code from outside this package that a scenario's parts are written in."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nmoe_sim.scenario.spec import Spec

_PACKAGE = __name__.partition(".")[0]


def foreign_sources(*specs: Spec) -> dict[str, str]:
    """Return the SHA-256 of each module that defines a class of these specs, or of one they hold, and isn't ours.

    What such a module imports isn't looked at.
    """
    found = {}
    for spec in specs:
        for kind in _classes(spec):
            path = getattr(sys.modules.get(kind.__module__), "__file__", None)
            if kind.__module__.partition(".")[0] != _PACKAGE and path is not None:
                found[kind.__module__] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return dict(sorted(found.items()))


def _classes(value: Any) -> Iterator[type[Spec]]:
    if isinstance(value, Spec):
        yield type(value)
        for name in type(value).model_fields:
            yield from _classes(getattr(value, name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _classes(item)
