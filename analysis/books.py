"""A run's tables as an auditor reads them: with what was set, and what both come down to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.sweep import sweep

Floats = NDArray[np.float64]


def relative(actual: ArrayLike, expected: ArrayLike, rounding: ArrayLike = 0.0) -> Floats:
    """Return |actual − expected| / |expected|; infinite where 0 is expected and something else given.

    Parameters
    ----------
    actual, expected : array_like
    rounding : array_like
        Difference that the clock's resolution explains; it isn't counted.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    difference = np.maximum(np.abs(actual - expected) - rounding, 0.0)
    of_zero = np.where(difference == 0, 0.0, np.inf)
    return np.asarray(np.divide(difference, np.abs(expected), out=of_zero, where=expected != 0))


@dataclass(frozen=True)
class Law:
    """A law that books must keep."""

    name: str
    statement: str
    tolerance: float
    deviations: Callable[[Books], Floats]
    """By how much each item checked departs from the law, at least 0; NaN where that can't be told."""


@dataclass(frozen=True)
class Books:
    """Tables and settings of a run.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        As ``load_run`` gives them.
    scenario : mapping
        The resolved scenario, as ``scenario.yaml`` holds it.
    """

    tables: Mapping[str, pd.DataFrame]
    scenario: Mapping[str, Any]

    @cached_property
    def summary(self) -> pd.Series[Any]:
        """The run's row of ``summary``."""
        return self.tables["summary"].iloc[0]

    @cached_property
    def phases_s(self) -> dict[str, float]:
        """Length of each phase: inference lasts at least as long as requests arrive, and until nothing moves."""
        training_s = float(self.summary["training_time_s"])
        ends_s = [self.tables[name]["t_end_s"].max() for name in ("compute", "transfers") if len(self.tables[name])]
        end_s = max(training_s + self.scenario["inference"]["duration_s"], *ends_s)
        return {"training": training_s, "inference": end_s - training_s}

    @cached_property
    def devices(self) -> pd.DataFrame:
        """Table ``devices``, by name."""
        return self.tables["devices"].set_index("device")

    def per_row(self, names: pd.Series[Any], column: str) -> Floats:
        """Return a column of ``devices`` for each of a series of device names; NaN for an unknown one."""
        return np.asarray(names.map(self.devices[column]), np.float64)

    @cached_property
    def transfers(self) -> pd.DataFrame:
        """Table ``transfers`` with what a sweep over each medium finds.

        Columns added: ``fair_airtime_s``, ``period``, ``phase``, and ``rounding_s``, what the clock's
        resolution makes uncertain about an airtime: every event is a float, off by up to one unit in
        the last place, and 1/n of that goes to each hop on air.
        """
        table = self.tables["transfers"].reset_index(drop=True)
        added = {name: np.zeros(len(table)) for name in ("fair_airtime_s", "period", "rounding_s")}
        for _, rows in table.groupby("medium"):
            found = sweep(rows["t_start_s"].to_numpy(), rows["t_end_s"].to_numpy())
            rounding_s = np.spacing(rows["t_end_s"].to_numpy(np.float64)) * (found.steps + 1.0)
            for name, values in zip(added, (found.airtime_s, found.period, rounding_s), strict=True):
                added[name][rows.index] = values
        return table.assign(**added, phase=_phase(table))

    @cached_property
    def jobs(self) -> pd.DataFrame:
        """Table ``compute`` in order of submission, with ``phase``."""
        table = self.tables["compute"].sort_values("job_id")
        return table.assign(phase=_phase(table))

    def busy_s(self, device: str, phase: str) -> float:
        """Return the time a device computes in a phase: the union of its jobs' service times."""
        return self._busy_s.get((device, phase), 0.0)

    @cached_property
    def _busy_s(self) -> dict[tuple[str, str], float]:
        jobs = self.jobs.sort_values("t_start_s")
        keys = [jobs["device"], jobs["phase"]]
        until_s = jobs.groupby(keys)["t_end_s"].cummax().groupby(keys).shift()
        new_s = (jobs["t_end_s"] - np.fmax(jobs["t_start_s"], until_s)).clip(lower=0.0)
        busy_s: dict[Any, float] = new_s.groupby(keys).sum().to_dict()
        return busy_s

    @cached_property
    def hops(self) -> pd.DataFrame:
        """``transfers`` by payload and hop, with ``gap_s``: from the hop before; infinite where they don't chain."""
        table = self.transfers.sort_values(["payload_id", "hop"], ignore_index=True)
        table["request_id"] = table["request_id"].fillna(-1)
        before = table.shift(1)
        first = table["payload_id"] != before["payload_id"]
        chained = (table["src"] == before["dst"]) & (table["hop"] == before["hop"] + 1)
        for column in ("request_id", "kind", "n_bytes"):
            chained &= (table[column] == before[column]).fillna(False).astype(bool)
        gap_s = (table["t_ready_s"] - before["t_end_s"]).abs().where(chained, np.inf)
        return table.assign(gap_s=gap_s.mask(first, 0.0).mask(first & (table["hop"] != 0), np.inf))

    @cached_property
    def payloads(self) -> pd.DataFrame:
        """One row a payload: its first hop, with ``dst`` the end of its last; ``request_id`` is -1 in training."""
        last = self.hops.drop_duplicates("payload_id", keep="last")
        return self.hops.drop_duplicates("payload_id").assign(dst=last["dst"].to_numpy())

    @cached_property
    def server(self) -> str | None:
        """Where models are sent from; None where none moved."""
        senders = self.payloads.loc[self.payloads["kind"] == "model_down", "src"].unique().tolist()
        return senders[0] if len(senders) == 1 else None


def _phase(table: pd.DataFrame) -> pd.Series[str]:
    return table["stage"].isna().map({True: "inference", False: "training"}).astype(str)
