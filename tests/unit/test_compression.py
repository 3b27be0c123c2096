"""Compressed updates: what they weigh, what arrives, what is kept."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nmoe_sim.nmoe.compression import NoCompression, Quantise, TopK


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def update(seed=0, dtype=torch.float32):
    draws = generator(seed)
    return {
        "weight": torch.randn(13, 7, generator=draws, dtype=dtype),
        "empty": torch.empty(0, 4, dtype=dtype),
        "still": torch.zeros(9, dtype=dtype),
        "scalar": torch.randn((), generator=draws, dtype=dtype),
    }


def sizes(state):
    return {name: tensor.numel() for name, tensor in state.items()}


SPECS = [NoCompression(), Quantise(), Quantise(bits=2, bucket_size=5), Quantise(bits=4, bucket_size=None),
         TopK(), TopK(share=1.0), TopK(share=0.3, error_feedback=False)]  # fmt: skip
EACH = pytest.mark.parametrize("spec", SPECS, ids=repr)


@EACH
def test_shapes_types_and_the_input_stay(spec):
    for dtype in (torch.float32, torch.float64):
        sent = update(dtype=dtype)
        before = {name: tensor.clone() for name, tensor in sent.items()}
        received, residual = spec.compress(sent, None, generator())
        assert list(received) == list(sent)
        for name, tensor in before.items():
            assert torch.equal(sent[name], tensor)
            assert received[name].shape == tensor.shape
            assert received[name].dtype == tensor.dtype
        assert torch.equal(received["still"], torch.zeros(9, dtype=dtype))
        assert (residual is not None) == spec.keeps_residual


@EACH
def test_the_same_draws_give_the_same_bits(spec):
    first, second = (spec.compress(update(), None, generator(5))[0] for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@EACH
def test_nothing_weighs_nothing(spec):
    assert spec.payload_bytes({}) == 0
    assert spec.payload_bytes({"empty": 0}) == 0
    assert spec.compress({}, None, generator())[0] == {}
    zeros = {"w": torch.zeros(20)}
    received, residual = spec.compress(zeros, residual=None, draws=generator())
    assert torch.equal(received["w"], zeros["w"])
    assert residual is None or torch.equal(residual["w"], zeros["w"])


@EACH
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_a_diverged_client_is_seen(spec, broken):
    sent = update()
    sent["weight"][3, 4] = broken
    received, _ = spec.compress(sent, None, generator())
    assert not torch.isfinite(received["weight"][3, 4])
    assert all(torch.isfinite(tensor).all() for name, tensor in received.items() if name != "weight")


@pytest.mark.parametrize("spec", [Quantise(), TopK()], ids=repr)
def test_counters_are_refused(spec):
    with pytest.raises(ValueError, match=r"'steps' is torch\.int64 and has no update"):
        spec.compress({"steps": torch.tensor([1])}, None, generator())


def test_without_compression_the_update_passes_through():
    sent = update()
    received, residual = NoCompression().compress(sent, None, generator())
    assert received is sent
    assert residual is None
    assert NoCompression().payload_bytes(sizes(sent)) == sum(len(t.numpy().tobytes()) for t in sent.values()) == 404


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 13, 16])
@pytest.mark.parametrize("bucket_size", [1, 5, 512, None])
def test_quantised_values_fit_in_the_bytes_that_are_charged(bits, bucket_size):
    """Pack what arrived into bits, count the bytes, unpack, decode: the same values."""
    spec, sent = Quantise(bits=bits, bucket_size=bucket_size), update()
    received, _ = spec.compress(sent, None, generator())
    levels = 2 ** (bits - 1) - 1
    wire = b""
    for name, tensor in received.items():
        flat, wanted = tensor.flatten().numpy().astype(np.float64), sent[name].flatten().numpy()
        size = bucket_size or max(len(flat), 1)
        starts = range(0, len(flat), size)
        scales = np.array([np.abs(wanted[start : start + size]).max() for start in starts], dtype=np.float32)
        scale = np.repeat(scales, size)[: len(flat)].astype(np.float64)
        codes = np.rint(np.divide(flat, scale, where=scale > 0, out=np.zeros(len(flat))) * levels).astype(np.int64)
        assert np.abs(codes).max(initial=0) <= levels
        as_bits = (codes[:, None] + levels >> np.arange(bits)) & 1
        packed = np.packbits(as_bits.astype(np.uint8).ravel())
        wire += scales.tobytes() + packed.tobytes()

        unpacked = np.unpackbits(packed)[: len(flat) * bits].reshape(len(flat), bits) @ (1 << np.arange(bits)) - levels
        np.testing.assert_array_equal((unpacked / levels * scale).astype(np.float32), tensor.flatten().numpy())
    assert len(wire) == spec.payload_bytes(sizes(sent))


def test_bytes_of_a_quantised_update_by_hand():
    assert Quantise(bits=8, bucket_size=512).payload_bytes({"w": 1000, "b": 10}) == 2 * 4 + 1000 + 4 + 10
    assert Quantise(bits=4, bucket_size=None).payload_bytes({"w": 1001}) == 4 + 501
    assert Quantise(bits=4, bucket_size=100).payload_bytes({"w": 1001, "empty": 0}) == 11 * 4 + 501


def test_quantised_values_are_neighbouring_levels():
    spec, sent = Quantise(bits=4, bucket_size=10), {"w": torch.randn(1000, generator=generator())}
    received, _ = spec.compress(sent, None, generator())
    values = sent["w"].reshape(-1, 10).double()
    scale = values.abs().amax(dim=1, keepdim=True)
    steps = received["w"].reshape(-1, 10).double() / scale * 7
    assert torch.allclose(steps, steps.round(), atol=1e-5)
    assert ((steps - values / scale * 7).abs() < 1).all()
    largest = values.abs() == scale
    assert torch.equal(received["w"].reshape(-1, 10)[largest], sent["w"].reshape(-1, 10)[largest])


@pytest.mark.parametrize("bits", [1, 17, 0])
def test_bits_are_limited(bits):
    with pytest.raises(ValidationError, match="bits"):
        Quantise(bits=bits)


@pytest.mark.parametrize(("share", "num_values", "positions"), [(0.5, 101, "bitmap"), (0.01, 101, "list")])
def test_sparse_values_fit_in_the_bytes_that_are_charged(share, num_values, positions):
    spec, state = TopK(share=share), update()
    assert sum(sizes(state).values()) == num_values
    received, _ = spec.compress(state, None, generator())
    flat = torch.cat([tensor.flatten() for tensor in received.values()]).numpy()
    nonzero = np.flatnonzero(flat)
    values = flat[nonzero].tobytes()
    forms = {
        "bitmap": np.packbits(flat != 0).tobytes(),
        "list": struct.pack(f"<{len(nonzero)}I", *nonzero.tolist()),
    }
    assert min(forms, key=lambda form: len(forms[form])) == positions
    assert spec.payload_bytes(sizes(state)) == len(values) + len(forms[positions])

    decoded = np.zeros(num_values, dtype=np.float32)
    where = np.unpackbits(np.frombuffer(forms["bitmap"], np.uint8))[:num_values].astype(bool)
    decoded[where] = np.frombuffer(values, np.float32)
    np.testing.assert_array_equal(decoded, flat)


@pytest.mark.parametrize(
    ("share", "size", "count"), [(0.1, 30, 3), (0.1, 31, 4), (1e-6, 5, 1), (1.0, 7, 7), (0.7, 10, 7)]
)
def test_how_many_values_are_sent(share, size, count):
    spec = TopK(share=share)
    received, _ = spec.compress({"w": torch.arange(1.0, size + 1)}, None, generator())
    assert received["w"].count_nonzero() == count
    assert torch.equal(received["w"][size - count :], torch.arange(1.0, size + 1)[size - count :])
    assert spec.payload_bytes({"w": size}) == 4 * count + min(4 * count, -(-size // 8))


def test_the_largest_of_the_whole_update_are_sent_and_of_equals_the_first():
    sent = {"a": torch.tensor([[1.0, -3.0], [2.0, 0.5]]), "b": torch.tensor([2.0, -2.0, 4.0])}
    received, residual = TopK(share=4 / 7).compress(sent, None, generator())
    assert torch.equal(received["a"], torch.tensor([[0.0, -3.0], [2.0, 0.0]]))
    assert torch.equal(received["b"], torch.tensor([2.0, 0.0, 4.0]))
    assert torch.equal(residual["a"], torch.tensor([[1.0, 0.0], [0.0, 0.5]]))
    assert torch.equal(residual["b"], torch.tensor([0.0, -2.0, 0.0]))


def test_error_feedback_loses_nothing():
    """Values on a grid of 2⁻¹⁰ add up without rounding: all sent plus what is kept is all updates, to the bit."""
    spec, residual = TopK(share=0.1), None
    wanted = torch.zeros(100, dtype=torch.float32)
    arrived = torch.zeros(100, dtype=torch.float32)
    for number in range(60):
        delta = torch.randint(-500, 500, (100,), generator=generator(number)).float() / 1024
        received, residual = spec.compress({"w": delta}, residual, generator())
        assert received["w"].count_nonzero() <= 10
        wanted += delta
        arrived += received["w"]
        assert torch.equal(arrived + residual["w"], wanted)
    assert (arrived != 0).all()  # everything had its turn


def test_without_error_feedback_the_rest_is_forgotten():
    spec = TopK(share=0.5, error_feedback=False)
    assert not spec.keeps_residual
    received, residual = spec.compress({"w": torch.tensor([1.0, 2.0])}, None, generator())
    assert received["w"].tolist() == [0.0, 2.0]
    assert residual is None
