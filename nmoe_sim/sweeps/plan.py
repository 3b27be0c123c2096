"""A sweep to its runs: every variant built and checked before anything is computed."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal

from nmoe_sim.checks import Layout, check, concerns, located
from nmoe_sim.errors import InputError
from nmoe_sim.preparation import model_parts
from nmoe_sim.results.tables import SUMMARY
from nmoe_sim.scenario.dump import digest, resolve_spec
from nmoe_sim.scenario.messages import clip, show
from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.scenario.tree import Node, Sequence, Table, to_python
from nmoe_sim.sweeps.derived import Expression, parse_expression
from nmoe_sim.sweeps.spec import Sweep

MAX_RUNS = 100_000
"""Most runs of a sweep."""

STAGES = ("extractor", "experts", "gate")

ColumnType = Literal["bool", "int64", "float64", "string"]

_MAX_SHOWN = 200
_OWN_COLUMNS = ("run_id", "status", "seed", "error", "traceback")


@dataclass(frozen=True)
class Run:
    """One run of a sweep."""

    scenario: Scenario
    run_id: str
    settings: Mapping[str, Any]
    """Varied setting -> value, plain; mappings and lists as JSON text."""
    stage_keys: tuple[str, ...]
    """Hash of what each training stage's values depend on, the stages before it included."""

    @property
    def label(self) -> str:
        """The varied settings and the seed, in one line."""
        pairs = [*self.settings.items(), ("seed", self.scenario.seed)]
        return " ".join(f"{key}={setting_text(value)}" for key, value in pairs)


@dataclass(frozen=True)
class Plan:
    """What a sweep comes down to."""

    sweep: Sweep
    runs: tuple[Run, ...]
    columns: Mapping[str, ColumnType]
    """Column of each varied setting."""
    derived: Mapping[str, Expression]
    concerns: Mapping[str, int]
    """What to know before trusting the results -> number of runs it holds for."""

    @cached_property
    def num_models(self) -> int:
        """Different trained models."""
        return len({run.stage_keys[-1] for run in self.runs})


def make_plan(sweep: Sweep) -> Plan:
    """Build and check every run of a sweep.

    Runs are the product of ``grid``, ``zip``, ``list`` and ``seeds`` in this order, the last varies fastest.

    Raises
    ------
    InputError
        For the first variant that is wrong, with the place in the sweep file, and for two that are the same.
    """
    _check_size(sweep)
    runs: list[Run] = []
    seen: dict[str, Run] = {}
    counted: Counter[str] = Counter()
    varied = _varied(sweep)
    for changes in _variants(sweep):
        variant = _variant(sweep.base, changes)
        for seed in sweep.seeds:
            scenario = variant.replace({"seed": seed})
            layout = _check(scenario, changes)
            counted.update(concerns(scenario, layout))
            run = _run(scenario, layout, varied, changes)
            if run.run_id in seen:
                what = f"two runs are the same scenario and seed: {run.label}, and {seen[run.run_id].label}"
                raise InputError(f"{what}; remove one", where=sweep.source.where)
            seen[run.run_id] = run
            runs.append(run)
    _check_data(runs)
    columns = {key: _column_type([run.settings[key] for run in runs]) for key in varied}
    return Plan(sweep, tuple(runs), columns, _derived(sweep, columns), dict(counted))


def _check_size(sweep: Sweep) -> None:
    sizes = [len(node.items) for node in sweep.nodes("grid").entries.values() if isinstance(node, Sequence)]
    number = prod([*sizes, len(_zipped(sweep)), len(sweep.rows()), len(sweep.seeds)])
    if number > MAX_RUNS:
        raise InputError(f"{number:,} runs; at most {MAX_RUNS:,}", where=sweep.source.where)


def _zipped(sweep: Sweep) -> list[dict[str, Node]]:
    entries = {key: node.items for key, node in sweep.nodes("zip").entries.items() if isinstance(node, Sequence)}
    return [dict(zip(entries, row, strict=True)) for row in zip(*entries.values(), strict=True)] or [{}]


def _variants(sweep: Sweep) -> Iterator[Table]:
    """Yield what each variant changes, located, in the order of the plan."""
    grid = {key: node.items for key, node in sweep.nodes("grid").entries.items() if isinstance(node, Sequence)}
    sections = [sweep.nodes("grid"), sweep.nodes("zip"), *sweep.rows()]
    key_where = {key: where for section in sections for key, where in section.key_where.items()}
    for values in itertools.product(*grid.values()):
        for zipped in _zipped(sweep):
            for row in sweep.rows():
                entries = {**dict(zip(grid, values, strict=True)), **zipped, **row.entries}
                yield Table(entries, sweep.source.where, {**key_where, **row.key_where})


def _varied(sweep: Sweep) -> list[str]:
    keys = [*sweep.nodes("grid").entries, *sweep.nodes("zip").entries]
    return [*dict.fromkeys(itertools.chain(keys, *(row.entries for row in sweep.rows())))]


def _variant(base: Scenario, changes: Table) -> Scenario:
    try:
        return base.replace(changes.entries)
    except InputError as error:
        raise _in_sweep(error, changes) from error


def _check(scenario: Scenario, changes: Table) -> Layout:
    try:
        return check(scenario)
    except InputError as error:
        raise _in_sweep(error, changes) from error


def _in_sweep(error: InputError, changes: Table) -> InputError:
    """Return an error about a variant with its place: where the setting was varied, and by what else."""
    where, message, key = error.where, error.message, error.key or ""
    elsewhere = where is not None and where not in {node.where for node in changes.entries.values()}
    if where is None:
        mine = [
            name for name in changes.entries if f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}.")
        ]
        where = changes.key_where[mine[0]] if mine else changes.where
    if elsewhere or len(changes.entries) > 1:
        shown = ", ".join(f"{name}: {_shown(node)}" for name, node in changes.entries.items())
        message = f"{message} (in the variant {{{clip(shown, _MAX_SHOWN)}}})"
    return InputError(message, where=where, key=error.key)


def _shown(node: Node) -> str:
    value = to_python(node)
    return json.dumps(value) if isinstance(value, dict | tuple) else show(value)


def _run(scenario: Scenario, layout: Layout, varied: list[str], changes: Table) -> Run:
    plain = scenario.resolved()
    settings = {key: _setting(key, plain, changes) for key in varied}
    return Run(scenario, scenario.run_id, settings, _stage_keys(scenario, len(layout.clients)))


def _setting(key: str, plain: dict[str, Any], changes: Table) -> Any:
    """Return a variant's value of a setting: resolved, or None where the variant has no such setting."""
    value: Any = plain
    for step in key.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    if isinstance(value, dict | list):  # as it was written: without all its defaults
        return json.dumps(to_python(changes.entries[key]) if key in changes.entries else value)
    return value


def _stage_keys(scenario: Scenario, num_clients: int) -> tuple[str, ...]:
    """Return what equal values of each stage have in common, told without reading any data."""
    plain, parts = resolve_spec(scenario, portable=True), model_parts(scenario)
    before = digest({"data": plain["data"], "clients": num_clients, "seed": scenario.seed, "device": scenario.device})
    keys = []
    for stage in STAGES:
        before = digest({"before": before, "model": parts[stage], "training": plain["training"][stage]})
        keys.append(before)
    return tuple(keys)


def _check_data(runs: list[Run]) -> None:
    """Make sure that the files of every data set are there."""
    different = {digest(run.scenario.resolved()["data"]): run.scenario for run in runs}
    for scenario in different.values():
        find: Callable[[], object] | None = getattr(scenario.data, "find", None)
        if find is not None:
            with located(scenario):
                find()


def _column_type(values: list[Any]) -> ColumnType:
    given = {type(value) for value in values if value is not None}
    if given == {bool}:
        return "bool"
    if given == {int}:
        return "int64"
    return "float64" if given and given <= {int, float} else "string"


def _derived(sweep: Sweep, columns: Mapping[str, ColumnType]) -> dict[str, Expression]:
    taken = {*_OWN_COLUMNS, *SUMMARY.column_names, *columns}
    numeric = {"seed", *(column.name for column in SUMMARY.columns if column.dtype in ("int64", "float64"))}
    numeric |= {key for key, dtype in columns.items() if dtype in ("int64", "float64")}
    found: dict[str, Expression] = {}
    table = sweep.nodes("derived")
    for name, text in sweep.spec.derived.items():
        where = table.entries[name].where
        if not name.isidentifier() or name in taken:
            rule = "is a column already" if name in taken else "must be letters, digits and '_'"
            raise InputError(f"{rule}; choose another name", where=table.key_where.get(name), key=f"derived.{name}")
        found[name] = parse_expression(text, numeric, where=where, key=f"derived.{name}")
        numeric.add(name)
    return found


def setting_text(value: Any) -> str:
    """Return a setting's value, short."""
    return f"{value:g}" if isinstance(value, float) else "null" if value is None else str(value)
