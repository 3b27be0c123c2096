"""What radio hops can carry. Deviations are relative."""

from __future__ import annotations

from math import inf, log

import numpy as np
import pandas as pd

from analysis.books import Books, Floats, Law, relative
from channels.link_adaptation import shannon_efficiency
from channels.nr_link import occupied_hz
from channels.units import db_to_linear, dbm_to_watt, thermal_noise_w

TOLERANCE = 1e-9

_ADAPTATIONS = ("shannon", "nr")
"""Laws whose bandwidth and bound are known here."""
_LARGEST_GAIN = {"none": 1.0, "rayleigh": 53 * log(2.0)}
"""Largest power gain a fading law can draw from a uniform number of 53 bits; others: no bound."""
_ANALOG_BPS_PER_HZ = 64.0
"""An analog payload's symbols carry two values each, counted as floats."""
_BLOCK_BITS = 8.0
"""Bits by which whole bytes may differ from what was sent of a payload that has failed somewhere."""


def _sinr(books: Books) -> Floats:
    hops, bound_db = books.radio, _largest_snr_db(books)
    bounded = bound_db != inf
    above_db = hops["sinr_db"].to_numpy(np.float64)[bounded] - bound_db[bounded]
    return np.where(above_db <= 0, 0.0, above_db)


def _largest_snr_db(books: Books) -> Floats:
    """Return the largest SNR of each radio hop's link; infinite where it isn't known."""
    radio, hops = books.scenario["radio"], books.radio
    antennas = [radio["base_station_antenna"], radio["device_antenna"]]
    of_model = books.is_static and radio["channel"]["kind"] == "model"
    of_model &= radio["link_adaptation"]["kind"] in _ADAPTATIONS
    fading = radio["fading"]
    over_time = fading.get("doppler_hz") or fading.get("speed_m_per_s") or fading.get("delay_spread_s")
    fading_gain = inf if over_time else _LARGEST_GAIN.get(fading["kind"], inf)
    if not of_model or fading_gain == inf or any(antenna["kind"] != "isotropic" for antenna in antennas):
        return np.full(len(hops), inf)
    gain_dbi = {"base_station": antennas[0]["gain_dbi"], "device": antennas[1]["gain_dbi"]}
    tx_dbm = {"base_station": radio["base_station_tx_power_dbm"], "device": radio["tx_power_dbm"]}
    figure_db = {"base_station": radio["base_station_noise_figure_db"], "device": radio["noise_figure_db"]}
    src, dst = (hops[end].map(books.devices["kind"]) for end in ("src", "dst"))
    losses_db = books.tables["links"].groupby(["src", "dst"])["path_loss_db"].first()
    loss_db = losses_db.reindex(pd.MultiIndex.from_frame(hops[["src", "dst"]])).to_numpy(np.float64)
    sent_dbm = src.map(tx_dbm) + src.map(gain_dbi) + dst.map(gain_dbi)
    received_w = dbm_to_watt(sent_dbm.to_numpy(np.float64) - loss_db)
    noise_w = thermal_noise_w(_bandwidth_hz(books), dst.map(figure_db).to_numpy(np.float64))
    snr = np.asarray(received_w, np.float64) * fading_gain / noise_w
    return np.asarray(10.0 * np.log10(snr) + 1e-9, np.float64)


def _bandwidth_hz(books: Books) -> Floats:
    """Return the bandwidth that each radio hop's medium occupies: NR leaves guard bands."""
    radio = books.scenario["radio"]
    adaptation = radio["link_adaptation"]
    part = np.where(books.radio["medium"].str.startswith("sidelink"), 1, radio["reuse_factor"])
    bandwidth_hz = np.asarray(radio["bandwidth_hz"] / part, np.float64)
    if adaptation["kind"] == "nr":
        law = {name: adaptation[name] for name in ("numerology", "frequency_range")}
        values_hz, which = np.unique(bandwidth_hz, return_inverse=True)
        return np.array([occupied_hz(value_hz, **law) for value_hz in values_hz.tolist()])[which]
    return bandwidth_hz


def _rate(books: Books) -> Floats:
    hops, adaptation = books.radio, books.scenario["radio"]["link_adaptation"]
    if adaptation["kind"] not in _ADAPTATIONS:
        return np.zeros(0)
    is_analog = _is_analog(books)
    is_stale = adaptation.get("report_delay_s", 0.0) > 0  # the rate is that of an SINR before
    constant = (_has_one_sinr(books) & (not is_stale)) | is_analog
    sinr_db = np.where(constant, hops["sinr_db"], _largest_snr_db(books))
    known = sinr_db != inf
    is_shannon = adaptation["kind"] == "shannon"
    law = {name: adaptation[name] for name in ("gap_db", "max_bps_per_hz")} if is_shannon else {}
    efficiency = np.where(is_analog[known], _ANALOG_BPS_PER_HZ, shannon_efficiency(db_to_linear(sinr_db[known]), **law))
    largest_bps = _bandwidth_hz(books)[known] * efficiency
    turns, spread = books.turns("tx"), books.policy.spread
    on_air_s = turns["airtime_s"] if spread else turns["t_off_s"] - turns["t_start_s"]
    most_bits = on_air_s.to_numpy(np.float64)[known] * largest_bps
    bits = 8.0 * hops["bytes_sent"].to_numpy(np.float64)[known]
    failed = books.transfers.loc[books.transfers["outcome"] != "delivered", "payload_id"]
    short_bits = np.where(hops["payload_id"].isin(failed)[known], _BLOCK_BITS, 0.0)
    rounding_bits = turns["rounding_s"].to_numpy(np.float64)[known] * largest_bps
    deviations = relative(bits, most_bits, rounding_bits + short_bits)
    exact = (constant & (is_shannon | is_analog))[known] & spread
    return np.where((bits <= most_bits) & ~exact, 0.0, deviations)


def _is_analog(books: Books) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell which radio hops carry features of requests as values, not as bits."""
    hops = books.radio
    sent_analog = books.scenario["inference"]["features"]["kind"] == "analog"
    return np.asarray((hops["phase"] == "inference") & (hops["kind"] == "features") & sent_analog, np.bool_)


def _has_one_sinr(books: Books) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell which radio hops had one SINR all the time, known to the sender.

    Those are within a coherence block and free of interference; none where reports have an age.
    """
    radio, hops = books.scenario["radio"], books.radio
    if radio["channel"]["kind"] != "model" or books.num_stations > 1 or books.shares_radios:
        return np.zeros(len(hops), np.bool_)
    static_s = inf if books.is_static else books.scenario["mobility"]["step_s"]
    block_s = radio["fading"].get("coherence_time_s", static_s)
    if block_s == inf:
        return np.ones(len(hops), np.bool_)
    if radio["link_adaptation"].get("report_delay_s"):  # the scheme may be of another block's SINR
        return np.zeros(len(hops), np.bool_)
    begin, end = np.floor(hops["t_start_s"] / block_s), np.floor(hops["t_off_s"] / block_s)
    clear_s = np.minimum(hops["t_start_s"] - begin * block_s, (begin + 1) * block_s - hops["t_off_s"])
    return np.asarray((begin == end) & (clear_s > TOLERANCE * block_s), np.bool_)


LAWS = (
    Law(
        "sinr",
        "No hop starts at an SINR above the SNR of its link's path loss at the largest gain fading can draw (where "
        "nobody moves and antennas are isotropic).",
        TOLERANCE,
        _sinr,
    ),
    Law(
        "rate",
        "A hop carries at most its airtime times its link's rate, by Shannon's formula at its SINR or at the largest "
        "one possible; exactly that while its SINR is one, no errors occur and hops take turns on the whole band. "
        "Analog features go at one symbol/s/Hz, of two values each, whatever the SINR.",
        TOLERANCE,
        _rate,
    ),
)
