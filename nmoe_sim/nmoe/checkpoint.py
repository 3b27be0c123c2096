"""Nested mappings of tensors, flat and back: what a checkpoint file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

SEPARATOR = "|"
Tree = dict[str, Any]
"""Nested dicts with tensors as leaves."""


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """Return the leaves by path; of an empty dict an empty tensor, by a path that ends with the separator."""
    flat: dict[str, Tensor] = {}
    for name, value in tree.items():
        if not isinstance(value, Mapping):
            flat[f"{prefix}{name}"] = value
        elif value:
            flat.update(flatten(value, f"{prefix}{name}{SEPARATOR}"))
        else:
            flat[f"{prefix}{name}{SEPARATOR}"] = torch.empty(0)
    return flat


def unflatten(flat: Mapping[str, Tensor]) -> Tree:
    """Return the tree of ``flatten``."""
    tree: Tree = {}
    for path, tensor in flat.items():
        *folders, name = path.split(SEPARATOR)
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        if name:
            place[name] = tensor
    return tree
