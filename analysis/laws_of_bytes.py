"""What must arrive, where, and how many bytes that is. Deviations are counts, but for ``routes``: seconds."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from analysis.books import Books, Floats, Law

TOLERANCE_S = 1e-9


def _requests(books: Books) -> Floats:
    requests = books.tables["requests"].set_index("request_id")
    expected = books.transfers.groupby("request_id")["n_bytes"].sum().reindex(requests.index, fill_value=0)
    return _differences(requests["n_bytes"].to_numpy(), expected.to_numpy())


def _phases(books: Books) -> Floats:
    moved = books.transfers.groupby("phase")["n_bytes"].sum()
    booked = [books.summary[f"bytes_{phase}"] for phase in books.phases_s]
    return _differences(np.array(booked), np.array([moved.get(phase, 0) for phase in books.phases_s]))


def _rounds(books: Books) -> Floats:
    key = ["stage", "round", "client"]
    rounds, payloads = books.tables["rounds"].set_index(key), books.payloads[books.payloads["round"].notna()]
    deviations = []
    for column, server_end, client_end in (("bytes_down", "src", "dst"), ("bytes_up", "dst", "src")):
        moved = payloads[payloads[server_end] == books.server].rename(columns={client_end: "client"})
        expected = moved.astype({"round": "int64"}).groupby(key)["n_bytes"].sum()
        account = rounds.index.union(expected.index)
        booked, expected = (books.reindex(account, fill_value=0) for books in (rounds[column], expected))
        deviations.append(_differences(booked.to_numpy(), expected.to_numpy()))
    return np.concatenate(deviations)


def _differences(booked: NDArray[np.int64], expected: NDArray[np.int64]) -> Floats:
    return np.abs(booked.astype(np.float64) - expected.astype(np.float64))


def _routes(books: Books) -> Floats:
    return books.hops["gap_s"].to_numpy(np.float64)


def _destinations(books: Books) -> Floats:
    payloads, requests, placement = books.payloads, books.tables["requests"], books.tables["placement"]
    wanted = Counter[tuple[object, ...]]()
    for request, client, hosts in requests[["request_id", "client", "hosts"]].itertuples(index=False):
        for host in set(hosts) - {client}:
            wanted[request, "features", client, host] += 1
            wanted[request, "output", host, client] += 1
    leaving = placement[placement["owner"] != placement["device"]]
    wanted.update(leaving[["owner", "device", "bytes"]].itertuples(index=False, name=None))
    asked, moved = payloads[payloads["phase"] == "inference"], payloads[payloads["stage"] == "placement"]
    found = Counter[tuple[object, ...]](asked[["request_id", "kind", "src", "dst"]].itertuples(index=False, name=None))
    found.update(moved[["src", "dst", "n_bytes"]].itertuples(index=False, name=None))
    one_by_one = [abs(wanted[key] - found[key]) for key in wanted.keys() | found.keys()]
    in_round = payloads[payloads["round"].notna()]
    down, up = in_round["src"] == books.server, in_round["dst"] == books.server
    astray = (down == up) | ((in_round["kind"] == "model_down") & ~down) | ((in_round["kind"] == "model_up") & ~up)
    return np.concatenate([one_by_one, astray.to_numpy(np.float64)])


LAWS = (
    Law("bytes_of_requests", "A request's bytes are those of its hops.", 0.0, _requests),
    Law("bytes_of_phases", "The bytes of all hops add up to the summary, by phase.", 0.0, _phases),
    Law(
        "bytes_of_rounds",
        "What rounds says went to and from a client are the payloads between it and the server.",
        0.0,
        _rounds,
    ),
    Law("routes", "A hop begins where and when the hop before it ended, with the same payload.", TOLERANCE_S, _routes),
    Law(
        "destinations",
        "Every payload that must move does, to where it must, and no other: features to each other device that "
        "hosts an expert a request asked, its output back; experts from owner to host; in a round, models "
        "from and to the server.",
        0.0,
        _destinations,
    ),
)
