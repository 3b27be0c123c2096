"""An auditor of runs: recomputes from the tables what must hold, whoever wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import (
    laws_of_answers,
    laws_of_bytes,
    laws_of_energy,
    laws_of_handovers,
    laws_of_media,
    laws_of_rates,
    laws_of_routes,
    laws_of_time,
)
from analysis.books import Books, Law

if TYPE_CHECKING:
    from nmoe_sim.results.rundir import RunResult

LAWS = (
    *laws_of_time.LAWS,
    *laws_of_media.LAWS,
    *laws_of_rates.LAWS,
    *laws_of_routes.LAWS,
    *laws_of_handovers.LAWS,
    *laws_of_energy.LAWS,
    *laws_of_bytes.LAWS,
    *laws_of_answers.LAWS,
)
"""Every law an audit checks, with what it states."""


def audit(run: RunResult) -> pd.DataFrame:
    """Check the conservation laws of a finished run.

    Nothing of the engine is used: airtimes, energies and paths are recomputed from the times in the
    tables, from the powers in ``devices`` and from the settings in the run's ``scenario.yaml``. What a law says
    depends on the sharing policy; of one that isn't shipped only what is true of any is checked. A law that
    says nothing about a run has ``checked`` 0.

    Parameters
    ----------
    run : RunResult
        As ``run`` or ``load_run`` returns it.

    Returns
    -------
    DataFrame
        One row a law: ``law``, ``checked`` (number of items), ``worst`` (largest deviation: seconds,
        relative, bytes or payloads; infinite for what can't be mended by a number), ``tolerance``, ``holds``.
    """
    from ruamel.yaml import YAML

    return audit_tables(run.tables, YAML(typ="safe", pure=True).load(run.path / "scenario.yaml"))


def audit_tables(
    tables: Mapping[str, pd.DataFrame], scenario: Mapping[str, Any], laws: Sequence[Law] = LAWS
) -> pd.DataFrame:
    """Check the conservation laws on tables; see ``audit``.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        As ``load_run`` gives them.
    scenario : mapping
        The resolved scenario, as ``scenario.yaml`` holds it.
    laws : sequence of Law
        Laws to check.
    """
    books = Books(tables, scenario)
    rows = []
    for law in laws:
        deviations = np.nan_to_num(law.deviations(books), nan=np.inf, posinf=np.inf)
        worst = float(np.max(deviations, initial=0.0))
        rows.append((law.name, deviations.size, worst, law.tolerance, worst <= law.tolerance))
    return pd.DataFrame(rows, columns=["law", "checked", "worst", "tolerance", "holds"])
