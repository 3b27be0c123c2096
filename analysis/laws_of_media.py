"""What media that share equally must obey: airtime and rates. Deviations are seconds or relative."""

from __future__ import annotations

from math import inf, log

import numpy as np
import pandas as pd

from analysis.books import Books, Floats, Law, relative
from analysis.sweep import most_excess_s
from channels.link_adaptation import shannon_efficiency
from channels.units import dbm_to_watt, thermal_noise_w

TOLERANCE = 1e-9

_LARGEST_GAIN = {"none": 1.0, "rayleigh": 53 * log(2.0)}
"""Largest power gain a fading law can draw from a uniform number of 53 bits; others: no bound."""


def _access(books: Books) -> Floats:
    waited_s = books.transfers["t_start_s"] - books.transfers["t_ready_s"]
    return np.asarray(np.abs(waited_s - books.scenario["radio"]["access_delay_s"]))


def _airtime(books: Books) -> Floats:
    transfers = books.transfers
    return relative(transfers["airtime_s"], transfers["fair_airtime_s"], transfers["rounding_s"])


def _conserved(books: Books) -> Floats:
    lasting = books.transfers[books.transfers["period"] >= 0]
    periods = lasting.groupby(["medium", "period"])
    length_s = periods["t_end_s"].max() - periods["t_start_s"].min()
    return relative(periods["airtime_s"].sum(), length_s, periods["rounding_s"].sum())


def _capacity(books: Books) -> Floats:
    lasting = books.transfers[books.transfers["period"] >= 0]
    columns = ["t_start_s", "t_end_s", "airtime_s"]
    periods = lasting.groupby(["medium", "period"]).indices.values()
    times_s = lasting[columns].to_numpy(np.float64)
    return np.array([max(0.0, most_excess_s(*times_s[rows].T)) for rows in periods])


def _rate(books: Books) -> Floats:
    links = pd.MultiIndex.from_frame(books.transfers[["src", "dst"]])
    rates = _largest_rates(books).reindex(links).reset_index(drop=True)
    bounded = rates["rate_bps"] != inf
    rates, transfers = rates[bounded], books.transfers[bounded]
    largest_bps, constant = rates["rate_bps"].to_numpy(np.float64), rates["constant"].eq(True).to_numpy()
    bits = 8.0 * transfers["n_bytes"].to_numpy(np.float64)
    most_bits = transfers["airtime_s"].to_numpy(np.float64) * largest_bps
    deviations = relative(bits, most_bits, transfers["rounding_s"].to_numpy() * largest_bps)
    return np.where((bits < most_bits) & ~constant, 0.0, deviations)


def _largest_rates(books: Books) -> pd.DataFrame:
    """Return each link's largest rate, ``rate_bps``, infinite where nothing bounds it, and whether it is ``constant``.

    A link sampled in one coherence block only has had one rate. Else Shannon's formula bounds the rate,
    at the largest gain that fading can draw.
    """
    radio, adaptation = books.scenario["radio"], books.scenario["radio"]["link_adaptation"]
    samples = books.tables["links"].groupby(["src", "dst"])
    links = samples[["path_loss_db", "rate_bps"]].first()
    constant = samples.size() == 1
    if adaptation["kind"] != "shannon":
        return links.assign(rate_bps=links["rate_bps"].where(constant, inf), constant=constant)
    kinds = {end: books.devices["kind"].reindex(links.index.get_level_values(end)) for end in ("src", "dst")}
    tx_dbm = kinds["src"].map({"base_station": radio["base_station_tx_power_dbm"], "device": radio["tx_power_dbm"]})
    figure_db = kinds["dst"].map(
        {"base_station": radio["base_station_noise_figure_db"], "device": radio["noise_figure_db"]}
    )
    received_w = dbm_to_watt(tx_dbm.to_numpy() - links["path_loss_db"].to_numpy())
    snr = received_w / thermal_noise_w(radio["bandwidth_hz"], figure_db.to_numpy())
    efficiency = shannon_efficiency(
        snr * _LARGEST_GAIN.get(radio["fading"]["kind"], inf),
        gap_db=adaptation["gap_db"],
        max_bps_per_hz=adaptation["max_bps_per_hz"],
    )
    bound_bps = radio["bandwidth_hz"] * efficiency
    return links.assign(rate_bps=links["rate_bps"].where(constant, bound_bps), constant=constant)


LAWS = (
    Law("access", "A hop's first bit is sent the access delay after the medium got it.", TOLERANCE, _access),
    Law("airtime", "A hop's airtime is ∫ dt/n over its time on air, n the hops on its medium.", TOLERANCE, _airtime),
    Law("conserved", "The airtime given in a busy period of a medium is the period's length.", TOLERANCE, _conserved),
    Law("capacity", "In no interval does a medium give more airtime than the interval has.", TOLERANCE, _capacity),
    Law(
        "rate",
        "A hop carries at most its airtime times the link's largest rate, and exactly that at a constant rate.",
        TOLERANCE,
        _rate,
    ),
)
