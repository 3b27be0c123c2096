"""Coverage of the t interval over replications, on a queue whose answer is known.

The whole table, with bootstrap and batch means, is what ``benchmarks/coverage.py`` prints.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from nmoe_sim.rng import RandomStreams


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("nmoe_sim_benchmark_coverage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_lindley_recursion_is_what_its_vectorised_form_computes(benchmark: ModuleType) -> None:
    sojourns = benchmark.sojourn_times(0.8, np.random.default_rng(1), 4, 200)
    rng = np.random.default_rng(1)
    service, gap = rng.standard_exponential((4, 200)), rng.standard_exponential((4, 199)) / 0.8
    waiting = np.zeros(4)
    for n in range(200):
        np.testing.assert_allclose(sojourns[:, n], waiting + service[:, n], atol=1e-12)
        if n < 199:
            waiting = np.maximum(0.0, waiting + service[:, n] - gap[:, n])


def test_sojourn_times_are_exponential_in_steady_state(benchmark: ModuleType) -> None:
    """M/M/1, first come first served: exponential of rate μ − λ; one job of each of many queues is independent."""
    last = benchmark.sojourn_times(0.5, np.random.default_rng(2), 20_000, 120)[:, -1]
    low, high = stats.t.interval(0.999, len(last) - 1, last.mean(), stats.sem(last))
    assert low <= 2.0 <= high
    assert (high - low) / 2 < 0.04 * 2.0
    assert stats.kstest(last, "expon", args=(0, 2.0)).pvalue > 0.001


def test_t_over_30_replications_covers_as_it_says(benchmark: ModuleType) -> None:
    low, high = benchmark.binomial_band(1_000)
    assert stats.binom.cdf(high, 1_000, 0.95) - stats.binom.cdf(low - 1, 1_000, 0.95) == pytest.approx(0.99, abs=0.003)
    covered = benchmark.covered_by_t(0.5, 1_000, RandomStreams(benchmark.SEED))
    assert low <= covered <= high
    documented = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()
    assert re.search(rf"rho 0\.5  t, 30 replications of 1,000 +{covered / 10:.1f} %", documented)
