"""Nested mappings of tensors, flat and back: what a checkpoint file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

SEPARATOR = "|"
Tree = dict[str, Any]
"""Nested dicts with tensors as leaves; an empty dict leaves no trace."""


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """Return the leaves by path."""
    flat: dict[str, Tensor] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}{SEPARATOR}"))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def unflatten(flat: Mapping[str, Tensor]) -> Tree:
    """Return the tree of ``flatten``."""
    tree: Tree = {}
    for path, tensor in flat.items():
        *folders, name = path.split(SEPARATOR)
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = tensor
    return tree
