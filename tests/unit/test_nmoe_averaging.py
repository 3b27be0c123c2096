import math

import numpy as np
import pytest
import torch

from nmoe_sim.nmoe import cohort
from nmoe_sim.nmoe.optimizer import Optimizer


def test_every_epoch_is_a_permutation_with_a_last_partial_batch():
    plan = cohort.batches(10, batch_size=4, epochs=3, rng=np.random.default_rng(0))
    assert [len(index) for index in plan] == [4, 4, 2] * 3
    epochs = [np.concatenate(plan[i : i + 3]) for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "epochs"), [(10, 4, 3), (10, None, 2), (3, 32, 1), (0, 4, 2), (0, None, 1)]
)
def test_an_epoch_has_as_many_steps_as_batches_cover_it(num_samples, batch_size, epochs):
    plan = cohort.batches(num_samples, batch_size=batch_size, epochs=epochs, rng=np.random.default_rng(0))
    assert len(plan) == epochs * math.ceil(num_samples / (batch_size or max(num_samples, 1)))


def test_the_cosine_schedule_falls_from_one_towards_zero():
    assert Optimizer().lr_scale(7, 10) == 1.0
    cosine = Optimizer(schedule="cosine")
    assert cosine.lr_scale(0, 10) == 1.0
    assert cosine.lr_scale(5, 10) == pytest.approx(0.5)
    assert cosine.lr_scale(9, 10) == pytest.approx((1 + math.cos(0.9 * math.pi)) / 2)


def states(n=3):
    generator = torch.Generator().manual_seed(0)
    return [
        {"shared.w": torch.randn(4, 5, generator=generator), "local.w": torch.randn(2, generator=generator)}
        for _ in range(n)
    ]


def test_the_average_of_one_state_is_that_state_bit_for_bit():
    state = {"w": torch.tensor([-0.0, 1e-45, 0.1, math.pi])}
    for weight in (1.0, 3.0, 1e-12):
        mean = cohort.average([state], [weight])
        assert mean["w"].numpy().tobytes() == state["w"].numpy().tobytes()


def test_the_average_is_weighted_and_may_be_partial():
    a, b, c = states()
    mean = cohort.average([a, b, c], [1, 2, 5], names=["shared.w"])
    assert list(mean) == ["shared.w"]
    torch.testing.assert_close(mean["shared.w"], (a["shared.w"] + 2 * b["shared.w"] + 5 * c["shared.w"]) / 8)
    assert set(cohort.average([a, b, c], [1, 2, 5])) == {"shared.w", "local.w"}


@pytest.mark.parametrize("weights", [[1, 1], [0, 0, 0], [1, -1, 1]])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ValueError, match="need as many weights"):
        cohort.average(states(), weights)


def test_what_has_no_mean_is_refused():
    with pytest.raises(ValueError, match=r"'n' is torch\.int64 and has no weighted mean"):
        cohort.average([{"n": torch.tensor(3)}], [1])
    with pytest.raises(ValueError, match=r"no such tensors: \['sharde'\]"):
        cohort.average(states(), [1, 1, 1], names=["sharde"])


def test_unstack_undoes_stack_and_copies():
    originals = states()
    stacked = cohort.stack(originals)
    assert stacked["shared.w"].shape == (3, 4, 5)
    back = cohort.unstack(stacked)
    stacked["shared.w"].zero_()
    for a, b in zip(originals, back, strict=True):
        assert all(torch.equal(a[k], b[k]) for k in a)
