"""What a change of base station does to hops. Deviations are seconds or counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.books import Books, Floats, Law

TOLERANCE = 1e-9


def _attachment(books: Books) -> Floats:
    """Compare each hop between a device and a base station with where the device was attached."""
    hops = _of_cells(books)
    handovers = books.tables["handovers"].sort_values("t_s", kind="stable")
    deviations = [np.zeros(0)]
    for device, rows in hops.groupby("device", sort=False):
        own = handovers[handovers["device"] == device]
        first = own["from_station"].head(1).tolist() or rows["station"].head(1).tolist()
        stations = np.array([*first, *own["to_station"]], dtype=object)
        times_s = own["t_s"].to_numpy(np.float64)
        deviations.append(np.where(own["from_station"].to_numpy() == stations[:-1], 0.0, np.inf))
        start_s, end_s = rows["t_start_s"].to_numpy(np.float64), rows["t_end_s"].to_numpy(np.float64)
        found = rows["station"].to_numpy()
        until_s = np.append(times_s, np.inf)
        before, after = (np.searchsorted(times_s, start_s, side=side) for side in ("left", "right"))
        # a hop that starts at the instant of a handover was there just before, or just after
        late_s = [np.where(stations[k] == found, np.maximum(end_s - until_s[k], 0.0), np.inf) for k in (before, after)]
        deviations.append(np.minimum(*late_s))
    return np.concatenate(deviations)


def _of_cells(books: Books) -> pd.DataFrame:
    """Return radio hops between a device and a base station where there are several, with who is which."""
    if books.num_stations < 2:
        return books.radio.iloc[:0].assign(device="", station="")
    up = books.radio["dst"].map(books.devices["kind"]) == "base_station"
    down = books.radio["src"].map(books.devices["kind"]) == "base_station"
    hops = books.radio[up | down]
    return hops.assign(device=hops["src"].where(up, hops["dst"]), station=hops["dst"].where(up, hops["src"]))


def _interruption(books: Books) -> Floats:
    hops, deviations = books.transfers, [np.zeros(0)]
    for handover in _handovers(books):
        of_device = (hops["src"] == handover.device) | (hops["dst"] == handover.device)
        start_s = hops.loc[of_device, "t_start_s"]
        early_s = handover.t_s + handover.interruption_s - start_s[start_s > handover.t_s]
        deviations.append(early_s.clip(lower=0.0).to_numpy(np.float64))
    return np.concatenate(deviations)


def _broken_off(books: Books) -> Floats:
    """Count the hops that handovers of an instant broke off."""
    moves = _of_cells(books)
    deviations = []
    for t_s, same in books.tables["handovers"].groupby("t_s"):
        ended = moves[(moves["t_end_s"] == t_s) & moves["outcome"].isin(["link_down", "outage"])]
        on_old = pd.MultiIndex.from_frame(ended[["device", "station"]]).isin(
            pd.MultiIndex.from_frame(same[["device", "from_station"]])
        )
        of_payload = ended[on_old].groupby("payload_id")["outcome"].first()
        least, most, booked = int((of_payload == "link_down").sum()), len(of_payload), int(same["num_aborted"].sum())
        deviations.append(float(max(least - booked, booked - most, 0)))
    return np.array(deviations)


def _handovers(books: Books) -> Any:
    return books.tables["handovers"].itertuples(index=False)


LAWS = (
    Law(
        "attachment",
        "A device exchanges hops only with the base station it is attached to, and none lasts beyond the handover; "
        "each handover leaves the base station that the one before it led to.",
        TOLERANCE,
        _attachment,
    ),
    Law(
        "interruption",
        "After a handover nothing starts from or to the device until the interruption is over.",
        TOLERANCE,
        _interruption,
    ),
    Law("broken_off", "A handover breaks off as many hops as end at its time as link_down.", 0.0, _broken_off),
)
