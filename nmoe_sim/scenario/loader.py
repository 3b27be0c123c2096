"""Scenario files, command-line settings and Python mappings to checked scenarios."""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Sequence as Seq
from pathlib import Path
from typing import Any

from nmoe_sim.errors import InputError
from nmoe_sim.scenario.merge import Override, merge, overrides_tree
from nmoe_sim.scenario.messages import show
from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.scenario.source import read
from nmoe_sim.scenario.spec import Families
from nmoe_sim.scenario.tree import Table, from_python, to_python

MAX_EXTENDS = 20
"""Longest chain of files that extend one another."""


def load(path: str | os.PathLike[str], *, families: Families, overrides: Seq[Override] = ()) -> Scenario:
    """Return the scenario of a file.

    Parameters
    ----------
    path : path-like
        YAML 1.2 file. Its ``extends`` names a file, relative to its own folder, that gives
        everything it doesn't say.
    families : Families
        Family name -> kind -> implementation.
    overrides : sequence of Override
        Settings from the command line, on top of the file; the last wins.

    Raises
    ------
    InputError
        When a file can't be read or the first setting is wrong; the message says where.
    """
    source = _read_chain(os.fspath(path), families)
    merged = merge(Scenario, source, overrides_tree(overrides), families)
    return Scenario.from_tree(merged, families)


def build(mapping: Mapping[str, Any], *, families: Families) -> Scenario:
    """Return the scenario of a Python mapping.

    Parameters
    ----------
    mapping : Mapping
        What a file would hold, ``extends`` excepted; values may also be ready-made specs.
    families : Families
        Family name -> kind -> implementation.

    Raises
    ------
    InputError
        When the first setting is wrong; ``key`` says which.
    """
    tree = from_python(mapping)
    if not isinstance(tree, Table):
        raise InputError(f"a scenario must be a mapping, got {show(mapping)}")
    return Scenario.from_tree(tree, families)


def _read_chain(path: str, families: Families) -> Table:
    """Return a file merged over all that it extends."""
    tables = [read(path)]
    seen = [Path(path).resolve()]
    while "extends" in tables[-1].entries:
        node = tables[-1].entries["extends"]
        name = to_python(node)
        if not isinstance(name, str) or not name:
            raise InputError(f"must name one file, got {show(name)}", where=node.where, key="extends")
        path = os.path.join(os.path.dirname(path), name)  # noqa: PTH118, PTH120 - Path would rewrite the user's spelling
        table = read(path, where=node.where, key="extends")
        real = Path(path).resolve()
        if real in seen:
            raise InputError(f"{show(name)} extends this file in turn", where=node.where, key="extends")
        if len(tables) > MAX_EXTENDS:
            raise InputError(f"more than {MAX_EXTENDS} files extend one another", where=node.where, key="extends")
        seen.append(real)
        tables.append(table)
    merged = _without_extends(tables.pop())
    for table in reversed(tables):
        merged = merge(Scenario, merged, _without_extends(table), families)
    return merged


def _without_extends(table: Table) -> Table:
    return Table({k: v for k, v in table.entries.items() if k != "extends"}, table.where, table.key_where)
