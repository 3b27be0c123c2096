"""Graphs from JSON in node-link format."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from nmoe_sim.engine.topologies.graph import Draft, Graph, Item, shown


def parse_json(file: str, content: bytes) -> Graph:
    """Return the graph of a node-link JSON file.

    Raises
    ------
    ValueError
        Naming file, place, value, rule and remedy.
    """
    draft = Draft(file)
    try:
        tree = json.loads(content, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        draft.fail(f"line {error.lineno}, column {error.colno}", f"not JSON: {error.msg.lower()}")
    except RecursionError:
        draft.fail("", "is nested too deeply")
    except ValueError as error:  # a text that isn't UTF, a key given twice, a number too long
        draft.fail("", f"can't be read: {error}")
    if not isinstance(tree, dict):
        draft.fail("", 'must be an object {"nodes": […], "links": […]}')
    for key, items in (("nodes", draft.nodes), ("links", draft.edges)):
        if not isinstance(entries := tree.get(key), list):
            draft.fail("", f"{key!r} must be a list" if key in tree else f"no {key!r}; give a list")
        for i, entry in enumerate(entries):
            if not isinstance(entry, dict):
                draft.fail(f"{key}[{i}]", f"is {shown(entry)}; give an object")
            items.append(Item(f"{key}[{i}]", entry))
    for item in draft.nodes:
        item.values.setdefault("name", item.values.get("id"))
    return draft.finish()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} twice in an object; keep one")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"numbers must be finite, got {text}")
