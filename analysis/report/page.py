"""Puts a report together: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from analysis.report import device_plots, latency_plots, learning_plots, radio_plots
from analysis.report.hops import kind_of
from analysis.report.key_figures import cards_html, groups_html, runs_html
from analysis.report.playback import playback
from analysis.report.plot import Plot
from analysis.report.reading import ReportRun
from analysis.report.runs import Comparison, differing_settings
from analysis.report.worst import worst_html

MOST_DETAILED_RUNS = 6
"""Runs that get figures of their own; all runs are in the comparisons."""


@dataclass
class _Page:
    """Collects panels, and the data their figures need."""

    comparison: Comparison
    plots: list[dict[str, Any]] = field(default_factory=list)
    panels: list[tuple[str, str]] = field(default_factory=list)

    @property
    def detailed(self) -> dict[str, ReportRun]:
        return dict(list(self.comparison.labels.items())[:MOST_DETAILED_RUNS])

    def panel(self, title: str, *parts: str) -> None:
        self.panels.append((title, "".join(parts)))

    def plot(self, *figures: Plot) -> str:
        """Return figures side by side."""
        return f'<div class="grid">{"".join(map(self._figure, figures))}</div>'

    def per_run(self, *makers: Callable[[ReportRun], Plot | str]) -> str:
        """Return what the makers make of each detailed run, a heading above."""
        parts = []
        for label, run in self.detailed.items():
            made = [maker(run) for maker in makers]
            html = "".join(self._figure(part) if isinstance(part, Plot) else f"<div>{part}</div>" for part in made)
            heading = f"<h3>{escape(label)}</h3>" if len(self.comparison.labels) > 1 else ""
            grid = "grid" if any(isinstance(part, Plot) for part in made) else "list"
            parts.append(f'<div class="run">{heading}<div class="{grid}">{html}</div></div>')
        left_out = len(self.comparison.labels) - len(self.detailed)
        note = f"<p>{left_out} more runs are in the comparisons only.</p>" if left_out else ""
        return f"<div>{''.join(parts)}</div>{note}"

    def _figure(self, figure: Plot) -> str:
        self.plots.append({"data": figure.traces, "layout": figure.layout})
        note = f"<figcaption>{figure.note}</figcaption>" if figure.note else ""
        chart = f'<div class="chart" data-plot="{len(self.plots) - 1}"></div>' if figure.traces else ""
        return f"<figure><h4>{figure.title}</h4>{chart}{note}</figure>"


def page(comparison: Comparison) -> str:
    """Return the report of some runs as HTML.

    The page asks for nothing from a network, and its content security policy lets it run only the two
    scripts it came with, known by their hashes: markup in a scenario could do nothing even if it weren't escaped.
    """
    content = _Page(comparison)
    _fill(content)
    title = " · ".join(group.label for group in comparison.groups)
    data = {
        "plots": content.plots,
        "runs": [{"label": label, **playback(run)} for label, run in content.detailed.items()],
    }
    scripts = [_inline_script(_plotly()), _inline_script(_asset("report.js"))]
    return Template(_asset("page.html")).substitute(
        title=escape(title),
        subtitle=_subtitle(comparison),
        style=_asset("report.css"),
        tabs="".join(_tab(i, name) for i, (name, _) in enumerate(content.panels)),
        panels="".join(_panel(i, name, html) for i, (name, html) in enumerate(content.panels)),
        data=json_for_script(data),
        policy=" ".join(f"'{_sha256(script)}'" for script in scripts),
        plotly=scripts[0],
        script=scripts[1],
    )


def _fill(content: _Page) -> None:
    comparison = content.comparison
    several, seeded = len(comparison.groups) > 1, any(len(group.runs) > 1 for group in comparison.groups)
    accuracies = content.plot(*(learning_plots.final_accuracy(comparison, split) for split in ("global", "local")))
    content.panel(
        "Overview",
        "" if several else cards_html(comparison.groups[0]),
        f'<div class="{"" if len(comparison.groups) > 2 else "grid"}"><div><h3>Key figures</h3>',
        groups_html(comparison),
        "<p>± is the half-width of the 95 % confidence interval over seeds (Student-t).</p>" if seeded else "",
        f"<details><summary>Every run</summary>{runs_html(comparison)}</details>" if seeded else "",
        f"</div><div>{accuracies}</div></div>",
        _differences(comparison) if several else "",
    )
    content.panel(
        "Latency",
        content.plot(latency_plots.latency_cdf(comparison), latency_plots.mean_breakdown(comparison)),
        content.per_run(latency_plots.breakdown_by_rank, latency_plots.latency_over_time),
    )
    content.panel(
        "Energy",
        content.per_run(*(partial(device_plots.energy, phase=phase) for phase in ("inference", "training"))),
        content.plot(device_plots.utilisation(comparison)),
    )
    content.panel(
        "Learning",
        content.plot(
            learning_plots.learning(comparison, "round"),
            learning_plots.learning(comparison, "time"),
            learning_plots.learning(comparison, "bytes"),
            learning_plots.learning(comparison, "joules"),
        ),
    )
    content.panel("Experts", content.per_run(device_plots.expert_heat_map, device_plots.partition_heat_map))
    media = {kind_of(str(name)) for run in content.detailed.values() for name in run.tables["links"]["medium"].unique()}
    radio: list[Callable[[ReportRun], Plot | str]] = [radio_plots.sinr_cdf, radio_plots.rate_cdf, radio_plots.outcomes]
    if any(len(run.tables["handovers"]) for run in content.detailed.values()):
        radio.append(radio_plots.handovers)
    content.panel("Radio", content.per_run(*radio))
    content.panel(
        "Map",
        _asset("player.html"),
        content.per_run(*(partial(_sinr_map, medium=name) for name in sorted(media))),
    )
    content.panel("Requests", "<h3>Slowest requests</h3>", content.per_run(worst_html))
    content.panel("Scenario", *(_scenario(label, run) for label, run in comparison.labels.items()))


def _sinr_map(run: ReportRun, medium: str) -> Plot:
    return device_plots.sinr_map(run, medium) if run.is_static else radio_plots.tracks(run, medium)


def json_for_script(content: Any) -> str:
    """Return JSON that can stand in a script element: no character of it can end the element."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _differences(comparison: Comparison) -> str:
    heads = "".join(f'<th scope="col">{escape(group.label)}</th>' for group in comparison.groups)
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(key)}</code></th>{"".join(map(_cell, values))}</tr>'
        for key, values in differing_settings(comparison).items()
    )
    head = f'<tr><th scope="col">setting</th>{heads}</tr>'
    return (
        '<h3>Settings that differ</h3><div class="scroll"><table class="figures">'
        f"<thead>{head}</thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(text: str) -> str:
    return f"<td>{escape(text)}</td>"


def _scenario(label: str, run: ReportRun) -> str:
    manifest = json.dumps(run.manifest, indent=2, sort_keys=True)
    return (
        f'<h3>{escape(label)}</h3><div class="grid">'
        f"<div><h4>scenario.yaml, resolved</h4><pre>{escape(run.scenario_yaml)}</pre></div>"
        f"<div><h4>manifest.json</h4><pre>{escape(manifest)}</pre></div></div>"
    )


def _subtitle(comparison: Comparison) -> str:
    runs = list(comparison.labels.values())
    versions = sorted({str(run.manifest.get("versions", {}).get("nmoe-sim", "?")) for run in runs})
    requests = sum(len(run.tables["requests"]) for run in runs)
    names = ", ".join(escape(str(run.manifest["run_id"])) for run in runs[:3]) + (", …" if len(runs) > 3 else "")
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    return f"{count} ({names}) · {requests:,} requests · nmoe-sim {escape(', '.join(versions))}"


def _tab(position: int, name: str) -> str:
    return (
        f'<button role="tab" id="tab-{position}" aria-controls="panel-{position}" '
        f'aria-selected="{"false" if position else "true"}" data-name="{name.lower()}">{name}</button>'
    )


def _panel(position: int, name: str, html: str) -> str:
    where = f'id="panel-{position}" aria-labelledby="tab-{position}"'
    return f'<section role="tabpanel" {where}><h2>{name}</h2>{html}</section>'


def _inline_script(text: str) -> str:
    """Return a script as it may stand in a script element."""
    if "</script" in text.lower():
        raise ValueError("a script that contains its own end tag can't be inlined")
    return text.replace("\r\n", "\n").strip()


def _sha256(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _plotly() -> str:
    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def _asset(name: str) -> str:
    return (files("analysis.report") / "assets" / name).read_text(encoding="utf-8")
