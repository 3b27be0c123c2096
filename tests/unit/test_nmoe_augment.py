import pytest
import torch
from pydantic import ValidationError

from nmoe_sim.nmoe.augment import Augmentation
from nmoe_sim.nmoe.threads import one_thread

STILL = Augmentation(
    max_shift=0.0, min_scale=1.0, max_scale=1.0, max_rotation_deg=0.0, brightness=0.0, contrast=0.0, noise_std=0.0
)


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def images(n=64, size=8):
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0))


def apply(spec, x, seed=0):
    return spec.apply(x, torch.Generator().manual_seed(seed))


def test_all_ranges_zero_is_the_identity():
    x = images()
    torch.testing.assert_close(apply(STILL, x), x, atol=1e-5, rtol=0)


def test_views_are_a_function_of_the_generator():
    x, spec = images(), Augmentation()
    assert torch.equal(apply(spec, x), apply(spec, x))
    assert not torch.equal(apply(spec, x, 0), apply(spec, x, 1))


def test_a_certain_flip_mirrors_left_to_right():
    x = images()
    view = apply(STILL.model_copy(update={"flip_probability": 1.0}), x)
    torch.testing.assert_close(view, x.flip(-1), atol=1e-5, rtol=0)


def test_brightness_moves_each_image_by_one_amount_within_the_range():
    x = images(500)
    change = apply(STILL.model_copy(update={"brightness": 0.2}), x) - x
    torch.testing.assert_close(change.amax((1, 2, 3)), change.amin((1, 2, 3)), atol=1e-5, rtol=0)
    assert 0.19 < change.abs().max() <= 0.2 + 1e-5


def test_contrast_keeps_the_mean():
    x = images()
    view = apply(STILL.model_copy(update={"contrast": 0.5}), x)
    torch.testing.assert_close(view.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-5, rtol=0)
    gain = (view.std((1, 2, 3)) / x.std((1, 2, 3)) - 1).abs()
    assert 0.4 < gain.max() <= 0.5 + 1e-4


@pytest.mark.parametrize("magnification", [0.5, 2.0])
def test_magnification_scales_the_area(magnification):
    square = torch.zeros(1, 1, 64, 64)
    square[..., 24:40, 24:40] = 1
    view = apply(STILL.model_copy(update={"min_scale": magnification, "max_scale": magnification}), square)
    assert view.sum().item() == pytest.approx(16 * 16 * magnification**2, rel=0.02)


def test_shift_and_rotation_stay_in_range():
    dot = torch.zeros(200, 1, 33, 33)
    dot[..., 16, 16 + 10] = 1
    rows, columns = torch.meshgrid(torch.arange(33.0), torch.arange(33.0), indexing="ij")

    def centre(view):
        mass = view.sum((1, 2, 3))
        return (view[:, 0] * columns).sum((1, 2)) / mass - 16, (view[:, 0] * rows).sum((1, 2)) / mass - 16

    dx, dy = centre(apply(STILL.model_copy(update={"max_shift": 0.1}), dot))
    for moved in (dx - 10, dy):
        assert 3 < moved.abs().max() <= 3.3 + 0.05
    x, y = centre(apply(STILL.model_copy(update={"max_rotation_deg": 30.0}), dot))
    angle = torch.atan2(y, x).rad2deg().abs()
    assert 28 < angle.max() <= 30 + 1.0
    torch.testing.assert_close(torch.hypot(x, y), torch.full((200,), 10.0), atol=0.5, rtol=0)


def test_one_range_leaves_the_draws_of_others_alone():
    x, spec = images(), STILL.model_copy(update={"noise_std": 0.1})
    noise = apply(spec, x) - apply(STILL, x)
    with_brightness = spec.model_copy(update={"brightness": 0.2})
    again = apply(with_brightness, x) - apply(STILL.model_copy(update={"brightness": 0.2}), x)
    torch.testing.assert_close(noise, again, atol=1e-5, rtol=0)


def test_scales_must_be_in_order():
    with pytest.raises(ValidationError, match=r"min_scale 1\.2 is above max_scale 1\.1"):
        Augmentation(min_scale=1.2)
