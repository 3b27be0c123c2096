"""What all hops of a run come down to, read in one pass: the table of hops may be larger than memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_COLUMNS = ["medium", "attempt", "outcome", "sinr_db", "mean_rate_bps", "retransmissions"]

SINR_DB = np.arange(-40.0, 100.5, 0.5)
"""Edges of the histogram of SINRs."""
RATE_BPS = np.geomspace(1.0, 1e12, 481)
"""Edges of the histogram of rates."""


def kind_of(medium: str) -> str:
    """Return what kind of medium it is, whosever: uplink, downlink, sidelink, shared or wired."""
    return medium.partition(":")[0]


@dataclass
class Hops:
    """Counts of hops; an attempt is a row of ``transfers``."""

    outcomes: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    """Attempts by kind of medium, outcome, and whether it was another attempt."""
    sinr: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """Radio hops by kind of medium in each bin of ``SINR_DB``; those beyond the edges are in the outer bins."""
    rate: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """The same of mean rates of what was delivered, in bins of ``RATE_BPS``."""
    num_by_radio: int = 0
    num_retransmissions: float = 0.0

    @property
    def retried_ratio(self) -> float | None:
        """Share of attempts that were not the first; None without hops."""
        total = self.outcomes.total()
        return sum(n for (_, _, again), n in self.outcomes.items() if again) / total if total else None

    @property
    def retransmissions_mean(self) -> float | None:
        """HARQ retransmissions of a radio hop; None without hops."""
        return self.num_retransmissions / self.num_by_radio if self.num_by_radio else None


def read_hops(path: Path) -> Hops:
    """Read a table of transfers."""
    import pyarrow.dataset as ds

    hops = Hops()
    for batch in ds.dataset(path).to_batches(columns=_COLUMNS, batch_readahead=2):
        frame = batch.to_pandas()
        kinds = frame["medium"].map({name: kind_of(name) for name in frame["medium"].unique()})
        counts = frame.groupby([kinds, frame["outcome"], frame["attempt"] > 0]).size()
        hops.outcomes.update({(str(k), str(o), bool(again)): int(n) for (k, o, again), n in counts.items()})
        by_radio = frame["sinr_db"].notna()
        hops.num_by_radio += int(by_radio.sum())
        hops.num_retransmissions += float(frame.loc[by_radio, "retransmissions"].sum())
        went = frame["mean_rate_bps"].notna() & (frame["outcome"] == "delivered")
        for kind in kinds.unique():
            _count(hops.sinr, kind, SINR_DB, frame.loc[by_radio & (kinds == kind), "sinr_db"])
            _count(hops.rate, kind, RATE_BPS, frame.loc[went & (kinds == kind), "mean_rate_bps"])
    return hops


def _count(histograms: dict[str, NDArray[np.int64]], kind: str, edges: NDArray[np.float64], values: object) -> None:
    array = np.clip(np.asarray(values, np.float64), edges[0], edges[-1])
    if len(array):
        histograms[kind] = histograms.get(kind, 0) + np.histogram(array, edges)[0]
