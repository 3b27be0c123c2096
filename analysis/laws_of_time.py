"""What times must obey: latencies of requests, queues of devices. Deviations are seconds or relative."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.books import Books, Floats, Law, relative
from analysis.critical_path import BrokenPathError, Span, critical_paths

TOLERANCE = 1e-9


def _latency(books: Books) -> Floats:
    paths = critical_paths(books.tables)
    requests: Iterator[Any] = books.tables["requests"].itertuples()
    return np.array([_latency_deviation(books, request, paths[request.request_id]) for request in requests])


def _latency_deviation(books: Books, request: Any, path: list[Span] | BrokenPathError) -> float:
    if request.outcome != "completed":
        return float("inf") if pd.notna(request.t_done_s) or pd.notna(request.latency_s) else 0.0
    if isinstance(path, BrokenPathError) or not path or not _waits_lawfully(books, request, path):
        return float("inf")
    by_times_s = request.t_done_s - request.t_arrival_s
    by_spans_s = sum(span.duration_s for span in path)
    return float(np.max(np.abs(request.latency_s - np.array([by_times_s, by_spans_s]))))


def _waits_lawfully(books: Books, request: Any, path: list[Span]) -> bool:
    """Tell whether a path has no wait in vain, or just the one that the deadline explains.

    The client may stop waiting for want of an output only, right before it combines the others, and only
    so early that combining everything it asked for would end at the deadline.
    """
    waits = [i for i, span in enumerate(path) if span.what == "deadline"]
    if not waits:
        return True
    inference, asked, used = books.scenario["inference"], list(request.experts), list(request.experts_used)
    if inference["at_deadline"] != "combine" or waits != [len(path) - 2] or not used or not set(used) < set(asked):
        return False
    one_s = (path[-1].t_end_s - path[-1].t_start_s) / len(used)
    longest_s = one_s * len(asked)
    spare_s = request.t_arrival_s + inference["deadline_s"] - path[-2].t_end_s
    return bool(spare_s >= -TOLERANCE and (books.may_lack_routes or spare_s <= longest_s + TOLERANCE))


def _order(books: Books) -> Floats:
    both = pd.concat([books.tables[name][["t_ready_s", "t_start_s", "t_end_s"]] for name in ("compute", "transfers")])
    return np.maximum(-np.diff(both.to_numpy(np.float64), axis=1), 0.0).ravel()


def _queue(books: Books) -> Floats:
    jobs = books.jobs
    before = jobs.groupby("device", sort=False)[["t_ready_s", "t_end_s"]].shift()
    overtaken_s = (before["t_ready_s"] - jobs["t_ready_s"]).fillna(0.0).clip(lower=0.0)
    should_start_s = np.fmax(jobs["t_ready_s"], before["t_end_s"])
    return np.asarray(np.maximum((jobs["t_start_s"] - should_start_s).abs(), overtaken_s))


def _overlap(books: Books) -> Floats:
    jobs = books.jobs.sort_values(["t_start_s", "t_end_s"])
    busy_until_s = jobs.groupby("device")["t_end_s"].cummax().groupby(jobs["device"]).shift()
    return (busy_until_s - jobs["t_start_s"]).fillna(0.0).clip(lower=0.0).to_numpy(np.float64)


def _service(books: Books) -> Floats:
    jobs = books.jobs
    expected_s = jobs["flop"].to_numpy(np.float64) / books.per_row(jobs["device"], "flop_per_s") / books.clock_ratio
    served_s = (jobs["t_end_s"] - jobs["t_start_s"]).to_numpy(np.float64)
    deviation = relative(served_s, expected_s, 2 * np.spacing(jobs["t_end_s"].to_numpy()))
    return np.where((jobs["outcome"] == "aborted") & (served_s <= expected_s), 0.0, deviation)


def _away(books: Books) -> Floats:
    """Compare every job and hop with the outages of its devices."""
    ends = ((books.jobs, "device"), (books.transfers, "src"), (books.transfers, "dst"))
    deviations = [np.zeros(0)]
    for device, rows in books.outages.groupby("device", sort=False):
        down_s, up_s = rows["t_down_s"].to_numpy(np.float64), rows["t_up_s"].to_numpy(np.float64)
        order = np.argsort(down_s)
        deviations.append(np.maximum(up_s[order][:-1] - down_s[order][1:], 0.0))
        for table, column in ends:
            own = table[table[column] == device]
            start_s, end_s = own["t_start_s"].to_numpy(np.float64), own["t_end_s"].to_numpy(np.float64)
            overlap_s = np.minimum(end_s[:, None], up_s) - np.maximum(start_s[:, None], down_s)
            deviations.append(np.maximum(overlap_s, 0.0).max(axis=1, initial=0.0))
    return np.concatenate(deviations)


def _utilisation(books: Books) -> Floats:
    busy_s = [books.busy_s(device, "inference") for device in books.devices.index]
    return relative(books.devices["utilisation"], np.array(busy_s) / books.phases_s["inference"])


LAWS = (
    Law(
        "latency",
        "The latency of a completed request is t_done_s - t_arrival_s and the sum of the spans on its critical "
        "path; waiting until the deadline is one. Other requests have neither answer nor latency.",
        TOLERANCE,
        _latency,
    ),
    Law("order", "Nothing starts before it is ready, or ends before it starts.", 0.0, _order),
    Law(
        "queue",
        "A device serves jobs in order of submission and doesn't idle while one waits.",
        TOLERANCE,
        _queue,
    ),
    Law("overlap", "No two jobs of a device overlap.", TOLERANCE, _overlap),
    Law(
        "service",
        "A job is served for its FLOP at the device's rate, which goes with the clock, or for less if the device goes "
        "down meanwhile.",
        TOLERANCE,
        _service,
    ),
    Law("away", "A device that is down runs no job, sends and receives nothing.", TOLERANCE, _away),
    Law("utilisation", "Utilisation is the share of the inference phase a device computes.", TOLERANCE, _utilisation),
)
