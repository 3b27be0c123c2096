"""What is measured, each metric a formula over the named columns of the tables.

``REQUEST_METRICS`` give a value a request, ``RUN_METRICS`` one a run. Sums over a request's jobs and hops count
all of them, also those that went on side by side: how latency divides up along the critical path is
``analysis.latency_breakdown``.
"""

from __future__ import annotations

import pandas as pd

from analysis.request_metrics import REQUEST_METRICS, RequestMetric, Tables
from analysis.run_metrics import RUN_METRICS, RunMetric

__all__ = ["REQUEST_METRICS", "RUN_METRICS", "RequestMetric", "RunMetric", "definitions", "of_run", "per_request"]


def per_request(tables: Tables) -> pd.DataFrame:
    """Return every request metric of a run: one row a request, one column a metric."""
    return pd.DataFrame({metric.name: metric.values(tables) for metric in REQUEST_METRICS})


def of_run(tables: Tables) -> dict[str, float]:
    """Return every run metric by name."""
    return {metric.name: metric.value(tables) for metric in RUN_METRICS}


def definitions() -> pd.DataFrame:
    """Return all metrics: ``metric``, ``of`` (request or run), ``meaning``, ``formula``, ``unit``, ``better``."""
    declared = [("request", metric) for metric in REQUEST_METRICS] + [("run", metric) for metric in RUN_METRICS]
    rows = [(m.name, of, m.meaning, m.formula, m.unit, m.better) for of, m in declared]
    return pd.DataFrame(rows, columns=["metric", "of", "meaning", "formula", "unit", "better"])
