"""Arrivals and the order of requests."""

import numpy as np
import pytest

from nmoe_sim.inference.arrivals import Poisson
from nmoe_sim.inference.workload import Workload
from nmoe_sim.rng import RandomStreams

STREAMS = RandomStreams(20261122)
Z_999 = 3.291


@pytest.mark.parametrize("rate_hz", [0.5, 3.0])
def test_poisson_counts_and_gaps(rate_hz):
    """N ~ Poisson(λT): its 99.9 % interval at λT = 9000 is ±3.5 %. Gaps are exponential: mean and deviation 1/λ."""
    times_s = Poisson(rate_hz=rate_hz).times_s(0, 9000 / rate_hz, STREAMS)
    assert abs(len(times_s) - 9000) < Z_999 * np.sqrt(9000)
    gaps_s = np.diff(times_s)
    assert gaps_s.mean() * rate_hz == pytest.approx(1, abs=Z_999 / np.sqrt(len(gaps_s)))
    assert gaps_s.std() * rate_hz == pytest.approx(1, abs=Z_999 * np.sqrt(2 / len(gaps_s)))
    assert abs(np.corrcoef(gaps_s[1:], gaps_s[:-1])[0, 1]) < Z_999 / np.sqrt(len(gaps_s))


def test_a_longer_run_begins_as_the_shorter():
    short, long = (Poisson(rate_hz=2).times_s(3, duration_s, STREAMS) for duration_s in (50.0, 5000.0))
    assert len(short) > 50
    assert np.array_equal(long[: len(short)], short)
    assert long[len(short)] >= 50.0


def test_a_higher_rate_squeezes_the_same_draws():
    slow, fast = (Poisson(rate_hz=rate_hz).times_s(3, 100.0 / rate_hz, STREAMS) for rate_hz in (1.0, 4.0))
    assert np.allclose(slow, 4.0 * fast)


def test_clients_are_independent():
    times_s = [Poisson(rate_hz=50).times_s(client, 100.0, STREAMS) for client in (0, 1)]
    counts = [np.histogram(t, bins=1000, range=(0, 100))[0] for t in times_s]
    assert abs(np.corrcoef(*counts)[0, 1]) < Z_999 / np.sqrt(1000)


def test_almost_no_requests():
    assert Poisson(rate_hz=1e-9).times_s(0, 1.0, STREAMS).shape == (0,)


def draw(num_clients: int = 3, duration_s: float = 40.0, rate_hz: float = 5.0) -> Workload:
    pools = [np.arange(10 * i, 10 * i + 10) for i in range(num_clients)]
    return Workload.draw(Poisson(rate_hz=rate_hz), pools, duration_s, STREAMS)


def test_requests_come_in_order_of_arrival_from_their_clients_pool():
    workload = draw()
    assert (np.diff(workload.t_s) >= 0).all()
    assert len(workload.t_s) == len(workload.client) == len(workload.sample) > 300
    assert np.array_equal(workload.sample // 10, workload.client)
    assert set(workload.client.tolist()) == {0, 1, 2}
    assert set(workload.sample.tolist()) == set(range(30))
    for client in range(3):
        mine = workload.t_s[workload.client == client]
        assert np.array_equal(mine, Poisson(rate_hz=5.0).times_s(client, 40.0, STREAMS))


def test_a_clients_load_depends_neither_on_the_others_nor_on_the_duration():
    workload, larger = draw(), draw(num_clients=5, duration_s=90.0)
    for client in range(3):
        mine, theirs = ([w.t_s[w.client == client], w.sample[w.client == client]] for w in (workload, larger))
        assert np.array_equal(np.array(theirs)[:, : len(mine[0])], np.array(mine))


def test_samples_are_uniform_over_the_pool():
    """χ² with 9 degrees of freedom exceeds 27.88 once in a thousand."""
    counts = np.bincount(draw(num_clients=1, duration_s=2000.0).sample, minlength=10)
    expected = counts.sum() / 10
    assert ((counts - expected) ** 2 / expected).sum() < 27.88
