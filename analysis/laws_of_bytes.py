"""How many bytes went where. Deviations are bytes; infinite for a wrong rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.books import Books, Floats, Law, relative


def _hops(books: Books) -> Floats:
    hops = books.transfers
    whole = hops["outcome"].isin(["delivered", "lost"])
    missing = (hops["n_bytes"] - hops["bytes_sent"]).to_numpy(np.float64)
    part = np.where(hops["bytes_sent"] < 0, np.inf, np.maximum(-missing, 0.0))
    rate_bps = 8.0 * hops["bytes_sent"] / (hops["t_end_s"] - hops["t_start_s"])
    booked_bps = hops["mean_rate_bps"].astype("float64")
    instant = hops["t_end_s"] == hops["t_start_s"]
    right = np.where(instant, booked_bps.isna(), relative(booked_bps, rate_bps) <= 1e-9)
    return np.concatenate([np.where(whole, np.abs(missing), part), np.where(right, 0.0, np.inf)])


def _requests(books: Books) -> Floats:
    requests = books.tables["requests"].set_index("request_id")
    expected = books.transfers.groupby("request_id")["bytes_sent"].sum().reindex(requests.index, fill_value=0)
    return _differences(requests["n_bytes"].to_numpy(), expected.to_numpy())


def _phases(books: Books) -> Floats:
    moved = books.transfers.groupby("phase")["bytes_sent"].sum()
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


LAWS = (
    Law(
        "bytes_of_hops",
        "All of a payload is sent over a hop, delivered or lost, or a part where it was broken off; the mean rate is "
        "that of what was sent.",
        0.0,
        _hops,
    ),
    Law("bytes_of_requests", "A request's bytes are those its hops have sent.", 0.0, _requests),
    Law("bytes_of_phases", "The bytes sent over all hops add up to the summary, by phase.", 0.0, _phases),
    Law(
        "bytes_of_rounds",
        "What rounds says went to and from a client are the payloads between it and the server.",
        0.0,
        _rounds,
    ),
)
