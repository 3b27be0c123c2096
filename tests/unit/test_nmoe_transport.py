"""What arrives of features, by encoding: error bounds and bytes, against NumPy's own types."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nmoe_sim.nmoe.transport import Analog, Float16, Float32, Int8, add_noise


def features(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("transport", "num_bytes"), [(Float32(), 68), (Float16(), 34), (Int8(), 17 + 8), (Analog(), 8 * 9)]
)
def test_bytes(transport, num_bytes):
    assert transport.num_bytes(17) == num_bytes


def test_whole_floats_arrive_as_they_are():
    h = features(3, 5)
    assert torch.equal(Float32().received(h), h)
    assert torch.equal(Analog().received(h), h)


def test_half_precision_is_numpys():
    h = features(50, 20, scale=30.0)
    received = Float16().received(h)
    np.testing.assert_array_equal(received.numpy(), h.numpy().astype(np.float16).astype(np.float32))
    error = (received - h).abs()
    assert (error <= 2.0**-11 * h.abs()).all()
    assert error.max() > 0


def test_half_precision_is_cut_where_it_ends():
    received = Float16().received(torch.tensor([[1e6, -1e30, 1.0]]))
    assert received.tolist() == [[65504.0, -65504.0, 1.0]]


def test_bytes_are_within_half_a_step_and_keep_both_ends():
    h = features(100, 33, scale=5.0) + 2.0
    received = Int8().received(h)
    low, high = h.amin(dim=1, keepdim=True), h.amax(dim=1, keepdim=True)
    step = (high - low) / 255
    error = (received - h).abs() / step
    assert error.max() <= 0.5 + 1e-4
    assert error.max() > 0.45  # and the step is no smaller
    torch.testing.assert_close(received.amin(dim=1, keepdim=True), low)
    torch.testing.assert_close(received.amax(dim=1, keepdim=True), high)
    levels = ((received - low) / step).round()
    assert levels.min() >= 0
    assert levels.max() <= 255


def test_a_constant_sample_arrives_exactly():
    h = torch.full((1, 6), 0.3)
    assert torch.equal(Int8().received(h), h)


@pytest.mark.parametrize("transport", [Float16(), Int8()])
def test_a_sample_arrives_alike_in_any_company(transport):
    h = features(20, 8)
    assert torch.equal(transport.received(h)[7:8], transport.received(h[7:8]))


def test_noise_is_scaled_by_each_samples_own_power():
    h = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, -1.0]])
    received = add_noise(h, torch.tensor([2.0, 5.0, 0.0]), torch.tensor([[1.0, -2.0], [1.0, 1.0], [9.0, 9.0]]))
    # P_h is 12.5, 0 and 1; σ is 5, 0 and 0
    assert received.tolist() == [[8.0, -6.0], [0.0, 0.0], [1.0, -1.0]]
