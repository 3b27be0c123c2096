"""A run's tables as an auditor reads them: with what was set, and what both come down to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.policies import Policy, policy_of
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
        if self.may_lack_routes:  # the last thing to happen may be that a payload is given up, without a row
            end_s = max(end_s, training_s + float(self.summary["inference_time_s"]))
        return {"training": training_s, "inference": end_s - training_s}

    def span_s(self, phase: str) -> tuple[float, float]:
        """Return when a phase begins and ends."""
        training_s = self.phases_s["training"]
        return (0.0, training_s) if phase == "training" else (training_s, training_s + self.phases_s["inference"])

    @cached_property
    def devices(self) -> pd.DataFrame:
        """Table ``devices``, by name."""
        return self.tables["devices"].set_index("device")

    def per_row(self, names: pd.Series[Any], column: str) -> Floats:
        """Return a column of ``devices`` for each of a series of device names; NaN for an unknown one."""
        return np.asarray(names.map(self.devices[column]), np.float64)

    @cached_property
    def transfers(self) -> pd.DataFrame:
        """Table ``transfers`` in order of completion, with ``phase``, ``is_wired`` and ``t_off_s``.

        The last bit is sent at ``t_off_s``; a whole route's last bit where a payload took one at once.
        ``first_leg`` is the row of the first hop that was on air together with it: its own but on such routes.
        """
        table = self.tables["transfers"].sort_values("transfer_id", ignore_index=True)
        before = table.shift(1)
        together = table["hop"] == before["hop"] + 1
        for column in ("payload_id", "attempt", "t_ready_s", "t_start_s", "t_end_s"):
            together &= table[column] == before[column]
        first_leg = np.maximum.accumulate(np.where(together, 0, np.arange(len(table))))
        return table.assign(
            phase=_phase(table),
            is_wired=table["medium"].str.startswith("wired"),
            first_leg=first_leg,
            t_off_s=table["t_end_s"] - table["tail_s"].groupby(first_leg).transform("sum"),
        )

    @cached_property
    def radio(self) -> pd.DataFrame:
        """Rows of ``transfers`` that went by radio."""
        return self.transfers[~self.transfers["is_wired"]]

    def turns(self, component: Literal["tx", "rx"]) -> pd.DataFrame:
        """Return what a sweep over each medium, or over each radio on it, finds; see ``Policy``.

        Returns
        -------
        DataFrame
            A row a radio hop: ``t_start_s``, ``t_off_s``, ``airtime_s`` of this end, ``fair_airtime_s`` and ``period``
            as in ``Sweep``, ``group`` that takes turns, and ``rounding_s``, what the clock's resolution makes uncertain
            about an airtime: every event is a float, off by up to one unit in the last place, and 1/n of that
            goes to each hop on air.
        """
        if component not in self._turns:
            self._turns[component] = self._sweep(component)
        return self._turns[component]

    @cached_property
    def _turns(self) -> dict[str, pd.DataFrame]:
        return {}

    def _sweep(self, component: Literal["tx", "rx"]) -> pd.DataFrame:
        given = "airtime_s" if component == "tx" else "rx_airtime_s"
        columns = ["medium", "src" if component == "tx" else "dst", "t_start_s", "t_off_s"]
        table = self.radio[columns].assign(airtime_s=self.radio[given].astype("float64")).reset_index(drop=True)
        by = columns[:1] if getattr(self.policy, component) == "medium" else columns[:2]
        groups = table.groupby(by, sort=False)
        added = {name: np.zeros(len(table)) for name in ("fair_airtime_s", "period", "rounding_s")}
        for rows in groups.indices.values():
            start_s, off_s = (table[name].to_numpy(np.float64)[rows] for name in ("t_start_s", "t_off_s"))
            found = sweep(start_s, off_s)
            rounding_s = np.spacing(off_s) * (found.steps + 1.0)
            for name, values in zip(added, (found.airtime_s, found.period, rounding_s), strict=True):
                added[name][rows] = values
        return table.assign(**added, group=groups.ngroup())

    @cached_property
    def policy(self) -> Policy:
        """What the sharing policy promises."""
        return policy_of(self.scenario)

    @cached_property
    def is_static(self) -> bool:
        """Whether nobody moves."""
        return bool(self.scenario["mobility"]["kind"] == "static")

    @cached_property
    def may_lack_routes(self) -> bool:
        """Whether a payload may find no route for a while, as links come and go; attempts then leave no row."""
        moves = not self.is_static and bool(self.radio["medium"].str.startswith("sidelink").any())
        return moves or self.has_outages

    @cached_property
    def outages(self) -> pd.DataFrame:
        """Table ``outages``; one that lasts ends at infinity."""
        table = self.tables["outages"]
        return table.assign(t_up_s=table["t_up_s"].astype("float64").fillna(np.inf))

    @cached_property
    def may_give_up(self) -> bool:
        """Whether training may give a payload up."""
        return self.has_outages or self.scenario["radio"]["retry"]["max_training_retries"] is not None

    def away_s(self, device: str, from_s: float, to_s: float) -> float:
        """Return how long a device was down between two times."""
        own = self.outages[self.outages["device"] == device]
        overlap_s = own["t_up_s"].clip(upper=to_s) - own["t_down_s"].clip(lower=from_s)
        return float(overlap_s.clip(lower=0.0).sum())

    @cached_property
    def has_outages(self) -> bool:
        """Whether a device was ever down."""
        return len(self.outages) > 0

    @cached_property
    def shares_radios(self) -> bool:
        """Whether a radio may have to divide its time between media, which then give less of theirs."""
        return bool(self.scenario["radio"]["sidelinks"] == "concurrent")

    @cached_property
    def may_be_mute(self) -> bool:
        """Whether a link may have no rate for a while: it then waits off air and leaves its turns to others."""
        radio = self.scenario["radio"]
        of_model, steady = radio["channel"]["kind"] == "model", radio["fading"]["kind"] == "none" and self.is_static
        if of_model and radio["link_adaptation"]["kind"] == "shannon":
            return False  # a rate at any SINR
        is_same = of_model and steady and self.num_stations <= 1 and not self.shares_radios
        return not is_same or bool(((self.radio["bytes_sent"] == 0) & (self.radio["n_bytes"] > 0)).any())

    @cached_property
    def num_stations(self) -> int:
        """Number of base stations."""
        return int((self.devices["kind"] == "base_station").sum())

    @cached_property
    def jobs(self) -> pd.DataFrame:
        """Table ``compute`` in order of submission, with ``phase``."""
        table = self.tables["compute"].sort_values("job_id")
        return table.assign(phase=_phase(table))

    @cached_property
    def clock_ratio(self) -> Floats:
        """Clock frequency of each of ``jobs`` over that of its device; 1 without DVFS."""
        ratio = self.jobs["frequency_hz"].astype("float64") / self.per_row(self.jobs["device"], "frequency_hz")
        return np.asarray(ratio.fillna(1.0), dtype=np.float64)

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
    def moves(self) -> pd.DataFrame:
        """What payloads did, step by step: one row a hop, or a route taken at once, and attempt.

        Columns are those of the first hop in ``transfers``, ``dst`` the end of the last one, ``delivered``; and
        ``num_legs`` and ``num_radio_legs``. Rows are ordered by payload, then by time.
        """
        table = self.transfers.assign(request_id=self.transfers["request_id"].fillna(-1))
        legs = table.groupby("first_leg", sort=True)
        first = legs.first()
        moves = first.assign(
            dst=legs["dst"].last(),
            delivered=first["outcome"] == "delivered",
            num_legs=legs.size(),
            num_radio_legs=legs["is_wired"].size() - legs["is_wired"].sum(),
            stage=first["stage"].fillna(""),
        )
        return moves.sort_values("payload_id", kind="stable", ignore_index=True)

    @cached_property
    def payloads(self) -> pd.DataFrame:
        """One row a payload: its first move, with ``dst`` where it got to and ``delivered`` whether that was its end.

        ``request_id`` is -1 in training; ``t_end_s`` and ``attempt`` are those of its last move.
        """
        last = self.moves.drop_duplicates("payload_id", keep="last").set_index("payload_id")
        first = self.moves.drop_duplicates("payload_id").set_index("payload_id")
        arrived = last["dst"].where(last["delivered"], last["src"])
        changed = {name: last[name] for name in ("delivered", "t_end_s", "attempt")}
        return first.assign(dst=arrived, **changed).reset_index()

    @cached_property
    def server(self) -> str | None:
        """Where models, and experts in rounds, are sent from; None where none moved."""
        is_from = self.payloads["kind"] == "model_down"
        is_from |= (self.payloads["kind"] == "expert") & self.payloads["round"].notna()
        senders = self.payloads.loc[is_from, "src"].unique().tolist()
        return senders[0] if len(senders) == 1 else None


def _phase(table: pd.DataFrame) -> pd.Series[str]:
    return table["stage"].isna().map({True: "inference", False: "training"}).astype(str)
