"""How many bytes went where. Deviations are bytes; infinite for a wrong rate."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.books import Books, Floats, Law, relative


def _hops(books: Books) -> Floats:
    hops = books.transfers
    rate_bps = 8.0 * hops["bytes_sent"] / (hops["t_end_s"] - hops["t_start_s"])
    booked_bps = hops["mean_rate_bps"].astype("float64")
    instant = hops["t_end_s"] == hops["t_start_s"]
    right = np.where(instant, booked_bps.isna(), relative(booked_bps, rate_bps) <= 1e-9)
    return np.concatenate([_sent(books), np.where(right, 0.0, np.inf)])


def _sent(books: Books) -> Floats:
    """Compare what each attempt sent with what there was to send."""
    moves = books.moves
    smooth_id = moves.groupby("payload_id")["delivered"].transform("all").astype(bool)
    smooth, rough = moves[smooth_id], moves[~smooth_id]
    deviations = [(smooth["n_bytes"] - smooth["bytes_sent"]).abs().to_numpy(np.float64)]
    payloads = books.payloads
    ends = dict(zip(payloads["payload_id"], payloads["dst"].where(payloads["delivered"]), strict=True))
    deviations += [_follow(books, rows, ends[number]) for number, rows in rough.groupby("payload_id")]
    return np.concatenate(deviations)


def _follow(books: Books, moves: pd.DataFrame, end: object) -> Floats:
    """Keep the least and the most that can be missing at the end of a payload's hop and at its own, if known."""
    kind, lossless = books.devices["kind"], books.scenario["radio"]["link_adaptation"]["kind"] == "shannon"
    n_bytes = int(moves["n_bytes"].iloc[0])
    here = to_go = n_bytes, n_bytes
    before, deviations = None, []
    to_last_bit = moves["delivered"] | (moves["outcome"] == "lost") | (moves["tail_s"] > 0)
    columns = (moves[name].tolist() for name in ("dst", "bytes_sent", "delivered"))
    for dst, sent, delivered, is_whole in zip(*columns, to_last_bit.tolist(), strict=True):
        if before not in (None, dst) and {kind.get(before), kind.get(dst)} != {"base_station"}:
            here = min(here[0], to_go[0]), to_go[1]  # a device forwards nothing of what it has
        least, most = here
        deviations.append(max(sent - most, least - sent if is_whole else -sent, 0))
        if delivered:
            here, before = to_go, None
            continue
        if is_whole:
            here = min(1, least), sent
        else:  # of the last byte a part may have been sent; blocks of what was sent may have been given up
            here = max(least - sent - 1, min(1, least)), most - sent if lossless else most
        before = dst
        if dst == end:
            to_go = here
        elif not isinstance(end, str):  # it never got there
            to_go = min(to_go[0], here[0]), to_go[1]
    return np.array(deviations, np.float64)


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
    payloads = payloads.astype({"round": "int64"})
    is_gossip = payloads["kind"] == "model"
    is_down = (payloads["src"] == books.server) & ~is_gossip
    deviations = []
    for column, moved, client in (("bytes_up", ~is_down, "src"), ("bytes_down", is_down | is_gossip, "dst")):
        expected = payloads[moved].rename(columns={client: "client"}).groupby(key)["n_bytes"].sum()
        booked, is_exact = rounds[column], rounds["participated"].astype(bool)
        if books.may_give_up:
            # what was given up may have left no row, or ended on the way; a part that counts has moved everything
            if client == "dst":
                account = key[:2]
                is_exact = (is_exact | (booked == 0)).groupby(account).all()
                booked, expected = (part.groupby(account).sum() for part in (booked, expected))
            is_exact &= ~is_exact.index.get_level_values("stage").isin(_stages_of_gossip(books))
        else:
            is_exact[:] = True
        accounts = booked.index.union(expected.index)
        booked, expected = (part.reindex(accounts, fill_value=0).astype("float64") for part in (booked, expected))
        missing = (booked - expected).where(is_exact.reindex(accounts, fill_value=True), 0.0)
        deviations.append(np.maximum((expected - booked).to_numpy(np.float64), missing.to_numpy(np.float64)))
    return np.concatenate(deviations)


def _stages_of_gossip(books: Books) -> list[str]:
    """Return the stages in which a part may count though what it sent was lost."""
    protocols = {
        name: stage.get("protocol") for name, stage in books.scenario["training"].items() if isinstance(stage, dict)
    }
    seen = books.payloads.loc[books.payloads["kind"] == "model", "stage"].unique().tolist()
    return [*seen, *(name for name, protocol in protocols.items() if protocol and protocol["kind"] == "gossip")]


def _differences(booked: NDArray[np.int64], expected: NDArray[np.int64]) -> Floats:
    return np.abs(booked.astype(np.float64) - expected.astype(np.float64))


LAWS = (
    Law(
        "bytes_of_hops",
        "The first attempt at a hop sends all of a payload that its end has not, or a part where it is broken off; "
        "another what is missing after the one before: what that had not sent, and blocks given up. The mean rate is "
        "that of what was sent.",
        0.0,
        _hops,
    ),
    Law("bytes_of_requests", "A request's bytes are those its hops have sent.", 0.0, _requests),
    Law("bytes_of_phases", "The bytes sent over all hops add up to the summary, by phase.", 0.0, _phases),
    Law(
        "bytes_of_rounds",
        "What rounds says went to and from a client are the payloads between it and the server, or in gossip those "
        "between it and other clients; those given up, late or in vain too.",
        0.0,
        _rounds,
    ),
)
