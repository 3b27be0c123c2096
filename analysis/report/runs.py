"""Runs side by side: runs of one scenario with different seeds are a group, and get labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from analysis.figures.style import color
from analysis.report.reading import ReportRun


@dataclass(frozen=True)
class Group:
    """Runs of one scenario, which differ in their seeds."""

    label: str
    runs: tuple[ReportRun, ...]


@dataclass(frozen=True)
class Comparison:
    """The runs of a report, in the order they were named."""

    groups: tuple[Group, ...]
    labels: Mapping[str, ReportRun]
    """Each run by its label."""

    def color_of(self, label: str) -> str:
        """Return the colour of a run: its group's where there are several groups, else its own."""
        if len(self.groups) == 1:
            return color(list(self.labels).index(label))
        run = self.labels[label]
        return color(next(i for i, group in enumerate(self.groups) if run in group.runs))


def compare(runs: Sequence[ReportRun]) -> Comparison:
    """Group runs by scenario and give every group and every run a label of its own."""
    by_scenario: dict[str, list[ReportRun]] = {}
    for run in runs:
        by_scenario.setdefault(run.manifest["scenario_hash"], []).append(run)
    names = [str(same[0].manifest["scenario"]) for same in by_scenario.values()]
    twins = Counter(names)
    group_labels = _distinct(
        [
            name if twins[name] == 1 else f"{name} [{same[0].path.name}]"
            for name, same in zip(names, by_scenario.values(), strict=True)
        ]
    )
    groups = tuple(Group(label, tuple(same)) for label, same in zip(group_labels, by_scenario.values(), strict=True))
    of_run = {id(run): group for group in groups for run in group.runs}
    labels = _distinct(
        [
            of_run[id(run)].label
            if len(of_run[id(run)].runs) == 1
            else f"{of_run[id(run)].label}, seed {run.manifest['seed']}"
            for run in runs
        ]
    )
    return Comparison(groups, dict(zip(labels, runs, strict=True)))


def _distinct(labels: Sequence[str]) -> list[str]:
    """Return the labels, numbered where one occurs again."""
    seen: Counter[str] = Counter()
    distinct = []
    for label in labels:
        seen[label] += 1
        distinct.append(label if seen[label] == 1 else f"{label} #{seen[label]}")
    return distinct


def differing_settings(comparison: Comparison) -> dict[str, list[str]]:
    """Return the settings in which the groups' scenarios differ, seed and name left out.

    Returns
    -------
    dict
        Dotted key → its value in each group, an empty text where a scenario doesn't have it.
    """
    flat = [_flatten(_parsed(group.runs[0].scenario_yaml)) for group in comparison.groups]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    rows = {key: [settings.get(key, "") for settings in flat] for key in keys if key not in ("seed", "name")}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}


def _parsed(text: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(StringIO(text))


def _flatten(value: Any, key: str = "") -> dict[str, str]:
    if isinstance(value, Mapping):
        items: list[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return {key: "null" if value is None else str(value)}
    flat: dict[str, str] = {}
    for name, inner in items:
        flat |= _flatten(inner, f"{key}.{name}" if key else str(name))
    return flat
