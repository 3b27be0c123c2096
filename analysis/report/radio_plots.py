"""Interactive figures of the radio: what became of hops, their SINR and rates, handovers, links on the map."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.figures.style import color
from analysis.report.hops import RATE_BPS, SINR_DB, kind_of
from analysis.report.plot import CATEGORIES, Plot, numbers
from analysis.report.reading import ReportRun

_MEDIA = ("uplink", "downlink", "sidelink", "shared", "wired")
_FAILED = ("lost", "outage", "link_down")


def outcomes(run: ReportRun) -> Plot:
    """Return how many attempts at hops failed, by kind of medium, and how."""
    counts = run.hops.outcomes
    kinds = sorted({kind for kind, _, _ in counts})
    totals = {kind: sum(n for (k, _, _), n in counts.items() if k == kind) for kind in kinds}
    failed = {how: [counts[kind, how, False] + counts[kind, how, True] for kind in kinds] for how in _FAILED}
    again = [sum(n for (k, _, retry), n in counts.items() if k == kind and retry) for kind in kinds]
    total = sum(totals.values())
    note = f"{total:,} attempts at hops in training and inference: " + ", ".join(
        f"{sum(numbers_):,} {how.replace('_', ' ')}" for how, numbers_ in failed.items()
    )
    note += f"; {sum(again):,} were further attempts."
    if not any(map(any, failed.values())):
        return Plot("Hops that failed", [], {}, note)
    bars = [(how.replace("_", " "), amounts) for how, amounts in failed.items()] + [("tried again", again)]
    traces = [
        {
            "type": "bar",
            "name": name,
            "x": kinds,
            "y": numbers([100.0 * n / totals[kind] for kind, n in zip(kinds, amounts, strict=True)]),
            "customdata": amounts,
            "hovertemplate": "%{x}: %{customdata:,} (%{y:.3g} %)",
            "marker": {"color": color(position)},
        }
        for position, (name, amounts) in enumerate(bars)
        if any(amounts)
    ]
    layout = {"barmode": "group", "xaxis": CATEGORIES, "yaxis": {"title": "share of attempts (%)"}}
    return Plot("Hops that failed", traces, layout, note)


def sinr_cdf(run: ReportRun) -> Plot:
    """Return the distribution of SINR at the start of hops."""
    traces = [_cdf(kind, SINR_DB[1:], counts) for kind, counts in sorted(run.hops.sinr.items())]
    layout = {"xaxis": {"title": "SINR when the first bit is sent (dB)"}, "yaxis": _share_axis("hops")}
    return Plot("SINR of hops", traces, layout, "To half a dB; hops in training and inference, retries included.")


def rate_cdf(run: ReportRun) -> Plot:
    """Return the distribution of mean rates of hops that were delivered."""
    traces = [_cdf(kind, RATE_BPS[1:] / 1e6, counts) for kind, counts in sorted(run.hops.rate.items())]
    layout = {"xaxis": {"title": "mean rate (Mbit/s)", "type": "log"}, "yaxis": _share_axis("hops")}
    return Plot("Rate of hops", traces, layout, "From the first bit sent to the last one received, sharing included.")


def handovers(run: ReportRun) -> Plot:
    """Return which device changed to which base station, and when."""
    table = run.tables["handovers"]
    stations = sorted(table["to_station"].unique())
    names = [str(name) for name in run.tables["devices"].query("kind == 'device'")["device"]]
    traces = []
    for position, station in enumerate(stations):
        rows = table[table["to_station"] == station]
        text = [
            f"from {escape(str(old))}, broke off {lost} hops"
            for old, lost in rows[["from_station", "num_aborted"]].itertuples(index=False, name=None)
        ]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"to {escape(str(station))}",
                "x": numbers(rows["t_s"]),
                "y": [escape(str(name)) for name in rows["device"]],
                "text": text,
                "hovertemplate": "%{y} at %{x} s, %{text}",
                "marker": {"color": color(position), "size": 9, "symbol": position % 8},
            }
        )
    note = f"{len(table):,} handovers broke off {int(table['num_aborted'].sum()):,} hops."
    axis = {**CATEGORIES, "categoryorder": "array", "categoryarray": names[::-1]}
    layout = {"xaxis": {"title": "simulated time (s)"}, "yaxis": axis, "height": 160 + 16 * len(names)}
    return Plot("Handovers", traces, layout if traces else {}, note)


def tracks(run: ReportRun, medium: str) -> Plot:
    """Return where devices that move went, in the colour of the SINR of their links there and then."""
    links = run.tables["links"]
    links = links[links["medium"].map(kind_of) == medium]
    end = "dst" if medium == "downlink" else "src"
    where = run.tables["positions"].set_index(["device", "t_s"])[["x_m", "y_m"]]
    seen = links.join(where, on=[end, "t_s"], how="inner")
    sinr_db = seen["sinr_db"].to_numpy(np.float64)
    shown = np.isfinite(sinr_db)
    bar = {"title": {"text": "SINR (dB)", "side": "right"}, "thickness": 12, "outlinewidth": 0}
    devices = run.tables["devices"].query("kind == 'base_station'")
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": numbers(seen["x_m"][shown]),
            "y": numbers(seen["y_m"][shown]),
            "text": [
                f"{escape(str(src))} → {escape(str(dst))}, {t_s:g} s, {sinr:.1f} dB"
                for src, dst, t_s, sinr in seen.loc[shown, ["src", "dst", "t_s", "sinr_db"]].itertuples(index=False)
            ],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"size": 6, "color": numbers(sinr_db[shown]), "colorscale": "Viridis", "colorbar": bar},
        },
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": numbers(devices["x_m"]),
            "y": numbers(devices["y_m"]),
            "text": [escape(str(name)) for name in devices["device"]],
            "textposition": "top center",
            "marker": {"size": 11, "symbol": "square", "color": color(0)},
        },
    ]
    layout = {
        "showlegend": False,
        "xaxis": {"title": "east (m)", "zeroline": False},
        "yaxis": {"title": "north (m)", "scaleanchor": "x", "zeroline": False},
        "height": 420,
    }
    note = "Each link whenever links were sampled, at its device's position then."
    return Plot(f"SINR along the way, {medium}", traces, layout, note)


def _cdf(kind: str, upper: NDArray[np.float64], counts: NDArray[np.int64]) -> dict[str, Any]:
    """Return a curve through the upper ends of bins, from the first to the last that isn't empty."""
    used = np.flatnonzero(counts)
    window = slice(max(0, used[0] - 1), used[-1] + 1)
    position = _MEDIA.index(kind) if kind in _MEDIA else len(_MEDIA)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": escape(kind),
        "x": numbers(upper[window]),
        "y": numbers((np.cumsum(counts) / counts.sum())[window]),
        "line": {"color": color(position), "width": 2},
    }


def _share_axis(what: str) -> dict[str, Any]:
    return {"title": f"share of {what}", "range": [0, 1.02]}
