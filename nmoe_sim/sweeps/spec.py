"""A sweep file: a base scenario, what is varied, over which seeds, and what is derived from the results."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from nmoe_sim.errors import InputError
from nmoe_sim.families import families
from nmoe_sim.scenario.build import build_spec
from nmoe_sim.scenario.loader import load
from nmoe_sim.scenario.messages import clip, show
from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.scenario.source import read
from nmoe_sim.scenario.spec import Families, Spec
from nmoe_sim.scenario.tree import Node, Sequence, Table, to_python
from nmoe_sim.shipped import resolve, resolve_sweep

MAX_SEEDS = 100_000
"""Most seeds of a sweep."""


def _check_seeds(value: Any) -> Any:
    many = value if isinstance(value, tuple) else (value,)
    low, high = (0, 2**63 - 1) if isinstance(value, tuple) else (1, MAX_SEEDS)
    if many and all(type(one) is int and low <= one <= high for one in many):
        return value
    raise ValueError(f"must be how many, from 1 to {MAX_SEEDS:,}, or a list of whole numbers at least 0")


Values = Annotated[tuple[Any, ...], Field(min_length=1)]


class SweepSpec(Spec):
    """The keys of a sweep file. The runs are the product of ``grid``, ``zip``, ``list`` and ``seeds``."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    """Name of the sweep: letters, digits, '.', '_' and '-'."""
    description: str = ""
    """One line about it."""
    base: str | dict[str, Any]
    """Scenario to vary: a file relative to this one, the name of a shipped one, or a mapping with ``extends``."""
    grid: dict[str, Values] = Field(default_factory=dict)
    """Dotted setting -> its values; all combinations, the last setting varies fastest."""
    zip: dict[str, Values] = Field(default_factory=dict)
    """Dotted setting -> its values; the first of each, then the second of each: equally many."""
    list: Annotated[tuple[dict[str, Any], ...] | None, Field(min_length=1)] = None
    """Variants one by one: mappings of dotted setting -> value; an empty one is the base itself."""
    seeds: Annotated[int | tuple[int, ...], BeforeValidator(_check_seeds)] = 1
    """How many seeds, counted up from the base's, or which."""
    derived: dict[str, str] = Field(default_factory=dict)
    """New column -> arithmetic over columns of ``runs.parquet``."""


@dataclass(frozen=True)
class Sweep:
    """A sweep file, read; ``make_plan`` says what its runs are.

    Parameters
    ----------
    spec : SweepSpec
    source : Table
        The file's located tree.
    base : Scenario
    plugins : tuple of Path
        Absolute paths of plug-in files.
    """

    spec: SweepSpec
    source: Table
    base: Scenario
    plugins: tuple[Path, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of every variant."""
        given = self.spec.seeds
        return tuple(range(self.base.seed, self.base.seed + given)) if isinstance(given, int) else given

    def nodes(self, section: str) -> Table:
        """Return a section's located mapping, empty where it was left out."""
        found = self.source.entries.get(section, Table({}))
        assert isinstance(found, Table)
        return found

    def rows(self) -> tuple[Table, ...]:
        """Return the located mappings of ``list``; one that changes nothing where it was left out."""
        found = self.source.entries.get("list")
        if not isinstance(found, Sequence):
            return (Table({}),)
        return tuple(item for item in found.items if isinstance(item, Table))

    def resolved(self) -> dict[str, Any]:
        """Return the sweep with its base and seeds written out; as a file it plans the same runs."""
        plain = self.spec.model_dump(mode="json", exclude_none=True)
        return {**plain, "base": self.base.resolved(), "seeds": [*self.seeds]}

    def plugin_digests(self) -> dict[str, str]:
        """Return the SHA-256 of each plug-in file by name."""
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.plugins}


def load_sweep(path: str | Path, *, plugins: Iterable[str | Path] = ()) -> Sweep:
    """Read a sweep file and its base; what the variants are is checked by ``make_plan``.

    Parameters
    ----------
    path : str or Path
        YAML 1.2 file, or the name of a shipped sweep.
    plugins : iterable of str or Path
        Python files that add implementations.

    Raises
    ------
    InputError
        With file, line, column, key, value, rule and remedy.
    """
    files = tuple(Path(plugin) for plugin in plugins)
    known = families(files)
    file = resolve_sweep(str(path))
    source = read(str(file))
    spec = build_spec(SweepSpec, source, {})
    scenario = _base(file, source.entries["base"], known)
    sweep = Sweep(spec, source, scenario, tuple(plugin.resolve() for plugin in files))
    _check_settings(sweep)
    return sweep


def _base(file: Path, base: Node, known: Families) -> Scenario:
    if not isinstance(base, Table):
        return load(str(_base_file(file, base)), families=known)
    if "extends" not in base.entries:
        return Scenario.from_tree(base, known)
    below = load(str(_base_file(file, base.entries["extends"])), families=known)
    entries = {key: node for key, node in base.entries.items() if key != "extends"}
    try:
        return below.replace(entries)
    except InputError as error:
        if error.where is not None or error.key is None:
            raise
        raise InputError(error.message, where=base.key_where.get(error.key, base.where), key=error.key) from error


def _base_file(file: Path, base: Node) -> Path:
    name = to_python(base)
    if not isinstance(name, str) or not name:
        raise InputError(f"must name one file, got {show(name)}", where=base.where, key="base")
    beside = file.parent / name
    try:
        if beside.is_file():
            return beside
        if Path(name).suffix or Path(name).name != name:
            raise InputError(f"cannot read {clip(str(beside))!r}: no such file", where=base.where, key="base")
        return resolve(name)
    except (OSError, ValueError):
        raise InputError(f"{show(name)} is not a usable file name", where=base.where, key="base") from None
    except InputError as error:
        raise InputError(error.message, where=base.where, key="base") from error


def _check_settings(sweep: Sweep) -> None:
    zipped = sweep.nodes("zip")
    lengths = {key: len(node.items) for key, node in zipped.entries.items() if isinstance(node, Sequence)}
    for key, length in lengths.items():
        first, expected = next(iter(lengths.items()))
        if length != expected:
            raise InputError(
                f"{length} values and '{first}' has {expected}; give equally many",
                where=zipped.entries[key].where,
                key=f"zip.{key}",
            )
    outer: dict[str, str] = {}
    for section in ("grid", "zip"):
        _claim_keys(section, sweep.nodes(section), outer)
    for i, row in enumerate(sweep.rows()):
        _claim_keys(f"list.{i}", row, dict(outer))


def _claim_keys(section: str, table: Table, taken: dict[str, str]) -> None:
    """Note who sets which setting; two that set the same, or one inside the other, are an error."""
    for key, where in _keys(table):
        if key in ("seed", "extends"):
            raise InputError(f"can't be varied here; {_INSTEAD[key]}", where=where, key=f"{section}.{key}")
        for other, owner in taken.items():
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                raise InputError(
                    f"'{other}' in '{owner}' sets the same; keep one of them", where=where, key=f"{section}.{key}"
                )
        taken[key] = section


_INSTEAD: Mapping[str, str] = {"seed": "use 'seeds'", "extends": "choose another 'base'"}


def _keys(table: Table) -> Iterator[tuple[str, str | None]]:
    for key in table.entries:
        yield key, table.key_where.get(key, table.where)
