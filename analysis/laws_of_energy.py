"""What energies must add up to: integrals of power. Deviations are relative."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.books import Books, Floats, Law, relative

TOLERANCE = 1e-9

_ACCOUNT = ["device", "component", "phase"]


def _jobs(books: Books) -> Floats:
    jobs = books.jobs
    static_w = np.nan_to_num(books.per_row(jobs["device"], "static_w"))
    dynamic_w = books.per_row(jobs["device"], "compute_w") - static_w
    power_w = static_w + dynamic_w * books.clock_ratio**3
    return relative(jobs["energy_j"], power_w * (jobs["t_end_s"] - jobs["t_start_s"]))


def _hops(books: Books) -> Floats:
    hops = books.radio
    ends = (("src", "tx", "airtime_s"), ("dst", "rx", "rx_airtime_s"))
    return np.concatenate(
        [
            relative(
                hops[f"{component}_energy_j"],
                books.per_row(hops[end], f"{component}_w") * hops[on_air].astype("float64"),
            )
            for end, component, on_air in ends
        ]
    )


def _accounts(books: Books) -> Floats:
    booked, expected = books.tables["energy"].set_index(_ACCOUNT)["energy_j"], _integrals(books)
    if booked.index.has_duplicates or set(booked.index) != set(expected.index):
        return np.array([np.inf])
    return relative(booked.reindex(expected.index), expected)


def _integrals(books: Books) -> pd.Series[float]:
    """Return power x time on of every account."""
    on_s = {
        component: books.radio.astype({on_air: "float64"}).groupby([end, "phase"])[on_air].sum()
        for component, end, on_air in (("tx", "src", "airtime_s"), ("rx", "dst", "rx_airtime_s"))
    }
    job_j = books.jobs.groupby(["device", "phase"])["energy_j"].sum()
    rows = []
    for device, phase in pd.MultiIndex.from_product([books.devices.index, list(books.phases_s)]):
        seconds = {
            "compute": books.busy_s(device, phase),
            "idle": books.phases_s[phase] - books.away_s(device, *books.span_s(phase)),
            **{component: float(used.get((device, phase), 0.0)) for component, used in on_s.items()},
        }
        for component, time_s in seconds.items():
            energy_j = books.devices[f"{component}_w"].loc[device] * time_s
            if component == "compute" and (books.clock_ratio != 1).any():  # powers differ from job to job
                energy_j = float(job_j.get((device, phase), 0.0))
            rows.append((device, component, phase, energy_j))
    table = pd.DataFrame(rows, columns=[*_ACCOUNT, "energy_j"])
    return table.set_index(_ACCOUNT)["energy_j"]


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


def _empty(books: Books) -> Floats:
    """Return by how many seconds of full power batteries are overdrawn, or not empty when they are said to be."""
    devices = books.devices[books.devices["battery_j"].notna()]
    is_empty = devices.index.isin(books.outages.loc[books.outages["reason"] == "battery", "device"])
    most_w = devices["idle_w"] + devices["compute_w"] + 2.0 * (devices["tx_w"] + devices["rx_w"])
    rounding_j = 1e-9 * devices["battery_j"]
    left_j = devices["battery_j_left"].to_numpy(np.float64)
    wrong_j = np.where(is_empty, np.abs(left_j), np.maximum(-left_j, 0.0)) - rounding_j
    return np.asarray(np.maximum(wrong_j, 0.0) / most_w, np.float64)


LAWS = (
    Law(
        "energy_of_jobs",
        "A job draws its device's compute power while it is served; all but static power goes "
        "with the cube of the clock.",
        TOLERANCE,
        _jobs,
    ),
    Law(
        "energy_of_hops",
        "A hop by radio draws its sender's transmit power and its receiver's receive power while their radios are on.",
        TOLERANCE,
        _hops,
    ),
    Law(
        "energy_accounts",
        "Each row of energy is ∫ power dt over its phase: compute power while some job is served, transmit and "
        "receive power over the airtimes of the device's hops, idle power all the time that it isn't down.",
        TOLERANCE,
        _accounts,
    ),
    Law("batteries", "What a battery lost is what its device drew.", 1e-6, _batteries),
    Law(
        "empty_batteries",
        "A device goes down when its battery is empty, for good, at most a millisecond of full power late.",
        1e-3,
        _empty,
    ),
    Law("energy_total", "The rows of energy add up to the summary.", TOLERANCE, _total),
    Law(
        "energy_of_requests",
        "A request's energy is that of its jobs and hops; the summary has the mean.",
        TOLERANCE,
        _requests,
    ),
)
