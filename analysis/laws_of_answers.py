"""What must arrive where, and what becomes of a request whose payloads don't. Deviations are counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.books import Books, Floats, Law

TOLERANCE_S = 1e-9


def _destinations(books: Books) -> Floats:
    placement, payloads = books.tables["placement"], books.payloads
    wanted = Counter[tuple[object, ...]]()
    leaving = placement[placement["owner"] != placement["device"]]
    wanted.update(leaving[["owner", "device", "bytes"]].itertuples(index=False, name=None))
    moved = payloads[(payloads["stage"] == "placement") & payloads["delivered"]]
    found = Counter[tuple[object, ...]](moved[["src", "dst", "n_bytes"]].itertuples(index=False, name=None))
    one_by_one = [abs(wanted[key] - found[key]) for key in wanted.keys() | found.keys()]
    if books.may_give_up:  # an expert may have got only part of the way, and stayed
        one_by_one = [max(wanted[key] - found[key], 0) for key in wanted]
    in_round = payloads[payloads["round"].notna()]
    gossip = in_round[in_round["kind"] == "model"]
    in_round = in_round[in_round["kind"] != "model"]
    down, up = in_round["src"] == books.server, in_round["dst"] == books.server
    if books.may_give_up:  # nor need a model have got to its end
        up = ~down
    astray = (down == up) | ((in_round["kind"] == "model_down") & ~down) | ((in_round["kind"] == "model_up") & ~up)
    return np.concatenate(
        [np.array(one_by_one, np.float64), astray.to_numpy(np.float64), _gossip(books, gossip), _exchanges(books)]
    )


def _gossip(books: Books, models: pd.DataFrame) -> Floats:
    """Tell which models of gossip got elsewhere than to another client, got there twice, or got none in return."""
    clients, edge = set(books.tables["rounds"]["client"]), ["stage", "round", "src", "dst"]
    models = models[models["delivered"]]
    astray = ~models["src"].isin(clients) | ~models["dst"].isin(clients)
    if not books.may_give_up:  # else some got only part of the way
        sent = set(models[edge].itertuples(index=False, name=None))
        back = [(stage, number, dst, src) in sent for stage, number, src, dst in models[edge].to_numpy().tolist()]
        astray |= models.duplicated(edge) | ~np.array(back, dtype=bool)
    return np.asarray(astray, np.float64)


def _exchanges(books: Books) -> Floats:
    """Count, for each request, what of its features and outputs is missing or too much."""
    deviations: list[float] = []
    for request, arrived, given_up in _by_request(books):
        hosts = set(request.hosts) - {request.client}
        asked = {("features", request.client, host) for host in hosts}
        answered = {("output", host, request.client) for _, _, host in asked & arrived.keys()}
        strange = list((arrived - Counter(asked | answered)).elements())
        if books.may_lack_routes:  # it may be where a payload was given up, with no row to say so
            given_up, strange = [*given_up, *((kind, src) for kind, src, _ in strange)], []
        deviations.append(float(len(strange)))
        for kind, wanted in (("features", asked), ("output", answered)):
            missing = Counter(src for _, src, dst in wanted if (kind, src, dst) not in arrived)
            known = Counter(src for what, src in given_up if what == kind)
            # one that never found a route left no row
            excess = (known - missing).total() + (0 if books.may_lack_routes else (missing - known).total())
            deviations.append(float(excess))
    return np.array(deviations)


def _by_request(books: Books) -> Iterator[tuple[Any, Counter[tuple[str, str, str]], list[tuple[str, str]]]]:
    """Yield every request with its payloads: those that arrived as (kind, src, dst), those given up as (kind, src)."""
    payloads = books.payloads[books.payloads["phase"] == "inference"]
    arrived: dict[int, Counter[tuple[str, str, str]]] = {}
    given_up: dict[int, list[tuple[str, str]]] = {}
    columns = ["request_id", "kind", "src", "dst", "delivered"]
    for request, kind, src, dst, delivered in payloads[columns].itertuples(index=False, name=None):
        if delivered:
            arrived.setdefault(request, Counter())[kind, src, dst] += 1
        else:
            given_up.setdefault(request, []).append((kind, src))
    rows: Iterator[Any] = books.tables["requests"].itertuples(index=False)
    for row in rows:
        yield row, arrived.get(row.request_id, Counter()), given_up.get(row.request_id, [])


def _outcomes(books: Books) -> Floats:
    inference = books.scenario["inference"]
    policy, deadline_s = inference["at_deadline"], inference["deadline_s"]
    payloads = books.payloads[books.payloads["phase"] == "inference"]
    last_s: dict[Any, float] = payloads.groupby("request_id")["t_end_s"].max().to_dict()
    deviations = []
    for request, _, given_up in _by_request(books):
        used, asked = len(request.experts_used), len(request.experts)
        patient = policy == "wait" or deadline_s is None
        could_lose = bool(given_up) or books.may_lack_routes
        end_s = float("inf") if patient else request.t_arrival_s + deadline_s + TOLERANCE_S
        if request.outcome == "completed":
            right = used == asked if policy != "combine" and not given_up else 0 < used <= asked
            right &= policy == "combine" or not given_up
        elif request.outcome == "failed":
            closed_s = last_s.get(request.request_id, request.t_arrival_s)
            right = could_lose and used == 0 and closed_s <= end_s
        elif request.outcome == "client_down":
            outages = books.outages[books.outages["device"] == request.client]
            right = used == 0 and bool((outages["t_up_s"] > request.t_arrival_s).any())
        else:
            right = request.outcome == "expired" and not patient and used == 0
        deviations.append(0.0 if right and pd.notna(request.t_done_s) == (request.outcome == "completed") else 1.0)
    return np.array(deviations)


LAWS = (
    Law(
        "destinations",
        "Every payload that must move does, to where it must, and no other, or is given up: features to each other "
        "device that hosts an expert a request asked, its output back; experts from owner to host; in a round, models "
        "from and to the server, or in gossip between clients, both ways.",
        0.0,
        _destinations,
    ),
    Law(
        "outcomes",
        "A request fails only if a payload of its was given up, or a host went down, before its deadline; it expires "
        "only where deadlines count; its client is down only in an outage of the client; it is completed without an "
        "expert it asked only where what came is combined.",
        0.0,
        _outcomes,
    ),
)
