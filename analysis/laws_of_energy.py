"""What energies must add up to: integrals of power. Deviations are relative."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.books import Books, Floats, Law, relative

TOLERANCE = 1e-9

_ACCOUNT = ["device", "component", "phase"]


def _jobs(books: Books) -> Floats:
    jobs = books.jobs
    return relative(
        jobs["energy_j"], books.per_row(jobs["device"], "compute_w") * (jobs["t_end_s"] - jobs["t_start_s"])
    )


def _hops(books: Books) -> Floats:
    transfers = books.transfers
    ends = (("src", "tx"), ("dst", "rx"))
    return np.concatenate(
        [
            relative(
                transfers[f"{component}_energy_j"],
                books.per_row(transfers[end], f"{component}_w") * transfers["airtime_s"],
            )
            for end, component in ends
        ]
    )


def _accounts(books: Books) -> Floats:
    booked, expected = books.tables["energy"].set_index(_ACCOUNT)["energy_j"], _integrals(books)
    if booked.index.has_duplicates or set(booked.index) != set(expected.index):
        return np.array([np.inf])
    return relative(booked.reindex(expected.index), expected["energy_j"], expected["rounding_j"])


def _integrals(books: Books) -> pd.DataFrame:
    """Return ∫ power dt of every account, and what the clock's resolution makes uncertain about it."""
    on_air = {
        component: books.transfers.groupby([end, "phase"])[["fair_airtime_s", "rounding_s"]].sum()
        for component, end in (("tx", "src"), ("rx", "dst"))
    }
    rows = []
    for device, phase in pd.MultiIndex.from_product([books.devices.index, list(books.phases_s)]):
        seconds = {
            "compute": (books.busy_s(device, phase), 0.0),
            "idle": (books.phases_s[phase], 0.0),
            **{
                c: tuple(used.loc[(device, phase)]) if (device, phase) in used.index else (0.0, 0.0)
                for c, used in on_air.items()
            },
        }
        for component, (time_s, rounding_s) in seconds.items():
            power_w = books.devices[f"{component}_w"].loc[device]
            rows.append((device, component, phase, power_w * time_s, power_w * rounding_s))
    return pd.DataFrame(rows, columns=[*_ACCOUNT, "energy_j", "rounding_j"]).set_index(_ACCOUNT)


def _total(books: Books) -> Floats:
    return relative([books.summary["energy_total_j"]], [books.tables["energy"]["energy_j"].sum()])


def _requests(books: Books) -> Floats:
    requests = books.tables["requests"].set_index("request_id")
    expected_j = np.zeros(len(requests))
    for table, column in ((books.jobs, "energy_j"), (books.transfers, "tx_energy_j"), (books.transfers, "rx_energy_j")):
        by_request = table.groupby("request_id")[column].sum()
        expected_j += by_request.reindex(requests.index, fill_value=0.0).to_numpy(np.float64)
    deviations = relative(requests["energy_j"], expected_j)
    if not len(requests):
        return deviations
    return np.append(deviations, relative([books.summary["energy_per_request_j"]], [expected_j.mean()]))


def _batteries(books: Books) -> Floats:
    devices = books.devices[books.devices["battery_j"].notna()]
    drawn_j = books.tables["energy"].groupby("device")["energy_j"].sum().reindex(devices.index)
    return relative(devices["battery_j"] - devices["battery_j_left"], drawn_j)


LAWS = (
    Law("energy_of_jobs", "A job draws its device's compute power while it is served.", TOLERANCE, _jobs),
    Law(
        "energy_of_hops",
        "A hop draws its sender's transmit power and its receiver's receive power for its airtime.",
        TOLERANCE,
        _hops,
    ),
    Law(
        "energy_accounts",
        "Each row of energy is ∫ power dt over its phase: compute power while some job is served, transmit and "
        "receive power over ∫ dt/n of the device's hops, idle power all the time.",
        TOLERANCE,
        _accounts,
    ),
    Law("batteries", "What a battery lost is what its device drew.", 1e-6, _batteries),
    Law("energy_total", "The rows of energy add up to the summary.", TOLERANCE, _total),
    Law(
        "energy_of_requests",
        "A request's energy is that of its jobs and hops; the summary has the mean.",
        TOLERANCE,
        _requests,
    ),
)
