"""The worst requests of a run with the spans their latency went into, as HTML."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd

from analysis.critical_path import Span, critical_path
from analysis.figures.latency import SPAN_GROUPS
from analysis.report.reading import ReportRun


def worst_html(run: ReportRun) -> str:
    """Return the slowest requests as a table with bars, and the first ones that got no answer."""
    rows = run.closely.set_index("request_id", drop=False)
    slow = "".join(_slow_row(run, rows.loc[request]) for request in run.slowest)
    parts = []
    if slow:
        head = (
            "<th>request</th><th>client</th><th>latency</th><th>experts</th><th>answer</th><th>where the time went</th>"
        )
        legend = "".join(f'<span><i class="span-{group}"></i>{group}</span>' for group in SPAN_GROUPS)
        parts.append(
            f'<p class="legend">{legend}</p><div class="scroll"><table class="worst"><thead><tr>{head}</tr></thead>'
            f"<tbody>{slow}</tbody></table></div>"
        )
    missing = int(run.tables["requests"]["latency_s"].isna().sum())
    if missing:
        items = "".join(
            f"<li>request {request} of {escape(str(row['client']))}, arrived at {row['t_arrival_s']:.6f} s: "
            f"{escape(str(row['outcome']))}</li>"
            for request, row in ((request, rows.loc[request]) for request in run.unanswered)
        )
        parts.append(f"<p>{missing:,} requests got no answer; the first:</p><ul>{items}</ul>")
    return "".join(parts) or "<p>There were no requests.</p>"


def _slow_row(run: ReportRun, row: pd.Series[Any]) -> str:
    request = int(row["request_id"])
    path = critical_path(run.tables_of([request]), request)
    experts = ", ".join(
        f"{expert}&thinsp;@&thinsp;{escape(str(host))}"
        for expert, host in zip(row["experts"], row["hosts"], strict=True)
    )
    answer = "–" if pd.isna(row["correct"]) else "right" if row["correct"] else "wrong"
    late = "" if pd.isna(row["deadline_met"]) or row["deadline_met"] else ' <em class="late">late</em>'
    return (
        f"<tr><td>{request}</td><td>{escape(str(row['client']))}</td>"
        f"<td>{1e3 * row['latency_s']:.3f}&nbsp;ms{late}</td><td>{experts}</td><td>{answer}</td>"
        f"<td>{_bar(path)}<details><summary>{len(path)} spans</summary>{_span_table(path)}</details></td></tr>"
    )


def _bar(path: list[Span]) -> str:
    total_s = sum(span.duration_s for span in path)
    parts = [
        (name.split("_")[0], seconds, f"{_place(span)}: {name.removesuffix('_s').replace('_', ' ')}")
        for span in path
        for name, seconds in span.parts_s().items()
        if seconds > 0
    ]
    segments = "".join(
        f'<i class="span-{group}" style="flex-grow:{seconds / total_s:.5f}" '
        f'title="{escape(text)}, {1e3 * seconds:.4f} ms"></i>'
        for group, seconds, text in parts
    )
    return f'<div class="bar">{segments}</div>'


def _span_table(path: list[Span]) -> str:
    begin_s = path[0].t_ready_s
    rows = []
    for span in path:
        times_s = (span.t_ready_s - begin_s, span.t_start_s - span.t_ready_s, span.t_end_s - span.t_start_s)
        cells = [escape(span.kind), escape(_place(span)), *(f"{1e3 * seconds:.4f}" for seconds in times_s)]
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    head = "<th>span</th><th>where</th><th>from (ms)</th><th>waits (ms)</th><th>takes (ms)</th>"
    return f'<table class="spans"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _place(span: Span) -> str:
    return span.src if span.src == span.dst else f"{span.src} → {span.dst}"
