"""The noise on analog features has the variance that the SNRs on the way give, for each request and host its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from nmoe_sim.inference.received import MOST_NOISE, AnalogNoise
from nmoe_sim.rng import RandomStreams

NODES = ("dev0", "dev1", "bs0")
NUM_REQUESTS, NUM_FEATURES = 3000, 10
CONFIDENT = 3.29  # 99.9 %, two-sided


class Transfers:
    """A recorder that holds some columns of ``transfers``."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def batches(self, name: str, columns: list[str]) -> list[pa.Table]:
        assert name == "transfers"
        return [pa.Table.from_pylist(self.rows).select(columns)] if self.rows else []


def noise_of(hops, *, seed=5, requests=NUM_REQUESTS):
    """The noise of requests from dev0 to dev1, each over the same hops (hop, dst, SNR in dB, bytes sent)."""
    names = ("hop", "dst", "sinr_db", "bytes_sent", "kind")
    rows = [
        {"request_id": i, "payload_id": 7 * i, **dict(zip(names, hop, strict=True))}
        for i in range(requests)
        for hop in hops
    ]
    return AnalogNoise.of(Transfers(rows), NODES, RandomStreams(seed))


def spread(noise, host=1, power=4.0):
    """The mean square of the noise over the power of the features."""
    h = torch.full((1, NUM_FEATURES), power**0.5, dtype=torch.float64)
    requests = np.arange(NUM_REQUESTS)
    received = noise.add(h, np.zeros(NUM_REQUESTS, np.int64), requests, host)
    return ((received - h) ** 2).numpy() / power


def assert_variance(noise_to_signal, expected):
    """A sample variance of n normals has the relative deviation √(2/n)."""
    half_width = CONFIDENT * (2 / noise_to_signal.size) ** 0.5
    assert half_width < 0.04
    assert noise_to_signal.mean() == pytest.approx(expected, rel=half_width)


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 13.0])
def test_one_hop(snr_db):
    assert_variance(spread(noise_of([(0, "dev1", snr_db, 40, "features")])), 10 ** (-snr_db / 10))


def test_hops_amplify_and_forward():
    """γ_i of 2 and 5: 1 + 1/γ = 1.5 · 1.2; a wire adds nothing; nor do outputs on the way back."""
    hops = [(0, "bs0", 10 * np.log10(2), 40, "features"), (1, "bs0", None, 40, "features")]
    hops += [(2, "dev1", 10 * np.log10(5), 40, "features"), (0, "dev0", -20.0, 40, "output")]
    noise = noise_of(hops)
    np.testing.assert_allclose(noise.noise_to_signal, 0.8, rtol=1e-12)
    assert_variance(spread(noise), 0.8)


def test_attempts_count_by_what_they_sent():
    hops = [(0, "dev1", 0.0, 30, "features"), (0, "dev1", -np.inf, 0, "features"), (0, "dev1", 10.0, 10, "features")]
    np.testing.assert_allclose(noise_of(hops, requests=2).noise_to_signal, 0.75 * 1.0 + 0.25 * 0.1)


def test_a_channel_that_isnt_there_leaves_finite_noise():
    noise = noise_of([(0, "dev1", -np.inf, 40, "features")], requests=1)
    assert noise.noise_to_signal == pytest.approx([MOST_NOISE])


def test_no_payloads_no_noise():
    assert len(noise_of([], requests=0).key) == 0


def test_draws_are_by_seed_request_and_host_alone():
    hops = [(0, "dev1", 0.0, 40, "features")]
    noise, again, other = noise_of(hops), noise_of(hops), noise_of(hops, seed=6)
    h, sample = torch.ones(1, NUM_FEATURES), np.zeros(NUM_REQUESTS, np.int64)
    some = np.array([5, 2, 900])
    received = noise.add(h, sample, some, 1)
    assert torch.equal(received, again.add(h, sample, some, 1))
    assert torch.equal(received[1:2], noise.add(h, sample, some[1:2], 1))
    assert not torch.equal(received, other.add(h, sample, some, 1))
    to_both = noise_of([*hops, (1, "bs0", None, 40, "features")], requests=3)  # the last hop's end is the host
    assert to_both.key.tolist() == [2, 5, 8]
    values = (noise.add(h, sample, np.arange(NUM_REQUESTS), 1) - 1).numpy()
    across = np.corrcoef(values[:-1].ravel(), values[1:].ravel())[0, 1]
    assert abs(across) < CONFIDENT / values[1:].size ** 0.5
