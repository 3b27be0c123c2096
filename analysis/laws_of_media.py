"""What media and radios must obey, each sharing policy in its own way. Deviations are seconds or relative."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from analysis.books import Books, Floats, Law, relative
from analysis.sweep import most_excess_s

TOLERANCE = 1e-9

_ENDS: tuple[Literal["tx", "rx"], ...] = ("tx", "rx")


def _airtime(books: Books) -> Floats:
    deviations = []
    for end in _ENDS:
        turns = books.turns(end)
        given_s, most_s = turns["airtime_s"], turns["t_off_s"] - turns["t_start_s"]
        if books.policy.fair and not books.may_be_mute:
            most_s = turns["fair_airtime_s"]
        deviation = relative(given_s, most_s, turns["rounding_s"])
        exact = books.policy.fair and not books.shares_radios and not books.may_be_mute
        deviations.append(deviation if exact else np.where((given_s >= 0) & (given_s <= most_s), 0.0, deviation))
    if books.policy.tx == books.policy.rx == "medium":
        deviations.append(relative(books.turns("rx")["airtime_s"], books.turns("tx")["airtime_s"]))
    return np.concatenate(deviations)


def _conserved(books: Books) -> Floats:
    if not books.policy.busy or books.shares_radios or books.may_be_mute:
        return np.zeros(0)
    return np.concatenate([_conserved_at(books.turns(end)) for end in _ENDS])


def _conserved_at(turns: pd.DataFrame) -> Floats:
    lasting = turns[turns["period"] >= 0]
    periods = lasting.groupby(["group", "period"])
    length_s = periods["t_off_s"].max() - periods["t_start_s"].min()
    return relative(periods["airtime_s"].sum(), length_s, periods["rounding_s"].sum())


def _capacity(books: Books) -> Floats:
    deviations = []
    for end in _ENDS:
        turns = books.turns(end)
        lasting = turns[turns["period"] >= 0]
        periods = lasting.groupby(["group", "period"]).indices.values()
        times_s = lasting[["t_start_s", "t_off_s", "airtime_s"]].to_numpy(np.float64)
        deviations += [max(0.0, most_excess_s(*times_s[rows].T)) for rows in periods]
    return np.array(deviations)


def _in_order(books: Books) -> Floats:
    if not books.policy.in_order or books.may_be_mute:  # who is mute lets others pass
        return np.zeros(0)
    turns = books.turns("tx")
    turns = turns[turns["airtime_s"] > 0].sort_values(["t_start_s", "t_off_s"])
    free_s = turns.groupby("group")["t_off_s"].cummax().groupby(turns["group"]).shift()
    possible_s = turns["t_off_s"] - np.fmax(turns["t_start_s"], free_s)
    return (turns["airtime_s"] - possible_s - turns["rounding_s"]).clip(lower=0.0).to_numpy(np.float64)


def _wires(books: Books) -> Floats:
    wired, radio = books.transfers[books.transfers["is_wired"]], books.radio
    only_by_radio = ["airtime_s", "rx_airtime_s", "sinr_db"]
    astray = np.concatenate([wired[only_by_radio].notna().any(axis=1), radio[only_by_radio].isna().any(axis=1)])
    drawn_j = wired["tx_energy_j"] + wired["rx_energy_j"]
    deviations = [np.where(astray, np.inf, 0.0), np.where(drawn_j == 0, 0.0, np.inf)]
    cable = books.scenario["topology"].get("backhaul")
    if cable is not None and len(wired):
        deviations.append(np.where(wired["outcome"] == "delivered", (wired["tail_s"] - cable["delay_s"]).abs(), 0.0))
        is_rest = wired["bytes_sent"] < wired["n_bytes"]  # of its first byte a part may have been sent before
        busy_s = (wired["bytes_sent"] - is_rest).clip(lower=0) * 8.0 / cable["capacity_bps"]
        times_s = np.column_stack([wired["t_start_s"], wired["t_off_s"], busy_s])
        excess_s = [most_excess_s(*times_s[rows].T) for rows in wired.groupby("medium").indices.values()]
        deviations.append(np.maximum(excess_s, 0.0))
    return np.concatenate(deviations)


LAWS = (
    Law(
        "airtime",
        "A radio is on for a hop at most from its first bit to its last; under equal_share for ∫ dt/n, n the hops on "
        "its medium, under fdma ∫ dt/n, n the hops of its radio, unless links may be mute. Where hops take turns both "
        "ends are on for as long.",
        TOLERANCE,
        _airtime,
    ),
    Law(
        "conserved",
        "The airtime given in a busy period is the period's length: a medium's under equal_share, fifo, round_robin "
        "and proportional_fair, a radio's under fdma; unless radios divide their time between media, or links may be "
        "mute.",
        TOLERANCE,
        _conserved,
    ),
    Law(
        "capacity",
        "In no interval is a radio on longer than the interval; nor is all of a medium together, where hops take "
        "turns (receivers under csma_ca).",
        TOLERANCE,
        _capacity,
    ),
    Law(
        "in_order",
        "Under fifo a hop is on air only once all that started before it are through, unless links may be mute.",
        TOLERANCE,
        _in_order,
    ),
    Law(
        "wires",
        "A wire takes no airtime and no energy, carries at most its capacity in any interval and delays by what it "
        "is set to; every other hop has airtimes and an SINR.",
        TOLERANCE,
        _wires,
    ),
)
