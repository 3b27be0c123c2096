import colorsys

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nmoe_sim.nmoe.augment import Affine, CropJitter
from nmoe_sim.nmoe.augment.colour import LUMA, colour_map
from nmoe_sim.nmoe.threads import one_thread

STILL = Affine(
    max_shift=0.0, min_scale=1.0, max_scale=1.0, max_rotation_deg=0.0, brightness=0.0, contrast=0.0, noise_std=0.0
)


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


PLAIN = CropJitter(min_area=1.0, max_aspect_ratio=1.0, flip_probability=0.0, jitter_probability=0.0)
GREY = {"greyscale_probability": 0.0}


def images(n=64, size=8, channels=1):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


def apply(spec, x, seed=0):
    return spec.apply(x, torch.Generator().manual_seed(seed))


def test_all_ranges_zero_is_the_identity():
    x = images()
    torch.testing.assert_close(apply(STILL, x), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("law", [Affine, CropJitter])
def test_views_are_a_function_of_the_generator(law, channels):
    x, spec = images(channels=channels), law()
    assert apply(spec, x).shape == x.shape
    assert apply(spec, x.double()).dtype == torch.float64
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


def test_an_image_that_is_no_square_turns_as_it_is():
    dot = torch.zeros(200, 1, 33, 65)
    dot[..., 16, 32 + 10] = 1
    rows, columns = torch.meshgrid(torch.arange(33.0), torch.arange(65.0), indexing="ij")
    view = apply(STILL.model_copy(update={"max_rotation_deg": 80.0}), dot)
    mass = view.sum((1, 2, 3))
    x, y = (view[:, 0] * columns).sum((1, 2)) / mass - 32, (view[:, 0] * rows).sum((1, 2)) / mass - 16
    torch.testing.assert_close(torch.hypot(x, y), torch.full((200,), 10.0), atol=0.5, rtol=0)
    assert torch.atan2(y, x).rad2deg().abs().max() > 75


def test_one_range_leaves_the_draws_of_others_alone():
    x, spec = images(), STILL.model_copy(update={"noise_std": 0.1})
    noise = apply(spec, x) - apply(STILL, x)
    with_brightness = spec.model_copy(update={"brightness": 0.2})
    again = apply(with_brightness, x) - apply(STILL.model_copy(update={"brightness": 0.2}), x)
    torch.testing.assert_close(noise, again, atol=1e-5, rtol=0)


def test_scales_must_be_in_order():
    with pytest.raises(ValidationError, match=r"min_scale 1\.2 is above max_scale 1\.1"):
        Affine(min_scale=1.2)


# --- crops and colours -------------------------------------------------------------------------------


def luma(x):
    return torch.einsum("bchw,c->bhw", x, torch.tensor(LUMA))


def change(**settings):
    return PLAIN.model_copy(update={**GREY, **settings})


@pytest.mark.parametrize("channels", [1, 3])
def test_a_whole_crop_without_jitter_is_the_identity(channels):
    x = images(channels=channels)
    torch.testing.assert_close(apply(change(), x), x, atol=1e-6, rtol=0)


def test_a_certain_flip_of_a_crop_mirrors_left_to_right():
    x = images()
    torch.testing.assert_close(apply(change(flip_probability=1.0), x), x.flip(-1), atol=1e-6, rtol=0)


def ramps(n, height=40, width=40):
    """Images whose values are the pixels' places: channel 0 the column's, channel 1 the row's, both in [0, 1]."""
    column = ((torch.arange(width) + 0.5) / width).expand(height, width)
    row = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    return torch.stack([column, row]).expand(n, 2, height, width)


def boxes(view):
    """Width, height, left and top of what was cropped of ramps, as shares of the image, from the middle pixels."""
    middle = view[:, :, 10:30, 10:30]
    wide = (middle[:, 0, 0, -1] - middle[:, 0, 0, 0]) * view.shape[3] / 19
    high = (middle[:, 1, -1, 0] - middle[:, 1, 0, 0]) * view.shape[2] / 19
    return wide, high, view[:, 0, 20, 19:21].mean(1) - wide / 2, view[:, 1, 19:21, 20].mean(1) - high / 2


def test_crops_follow_their_law():
    """Area uniform, the aspect ratio's logarithm uniform and the place uniform, of the boxes that fit in ten tries."""
    spec = change(min_area=0.2, max_area=0.6, max_aspect_ratio=1.5)
    wide, high, left, top = boxes(apply(spec, ramps(4000)))
    area, log_ratio = wide * high, (wide / high).log() / np.log(1.5)
    assert 0.2 - 1e-3 < area.min() < 0.21
    assert 0.59 < area.max() < 0.6 + 1e-3
    assert area.mean().item() == pytest.approx(0.4, abs=0.01)
    assert log_ratio.abs().max() < 1 + 1e-3
    assert log_ratio.mean().item() == pytest.approx(0.0, abs=0.05)
    assert log_ratio.std().item() == pytest.approx(3**-0.5, rel=0.03)
    for start, extent in ((left, wide), (top, high)):
        share = start / (1 - extent)
        assert -1e-3 < share.min() < 0.01
        assert 0.99 < share.max() < 1 + 1e-3
        assert share.mean().item() == pytest.approx(0.5, abs=0.02)


def test_a_crop_of_an_image_that_is_not_square_keeps_its_aspect_in_pixels():
    wide, high, _, _ = boxes(apply(change(min_area=0.3, max_area=0.3), ramps(10, 40, 80)))
    torch.testing.assert_close(80 * wide, 40 * high, rtol=1e-3, atol=0)
    torch.testing.assert_close(wide * high, torch.full((10,), 0.3), rtol=1e-3, atol=0)


def test_where_no_box_fits_the_whole_image_is_taken():
    x = ramps(5, 20, 80)
    torch.testing.assert_close(apply(change(min_area=1.0), x), x, atol=1e-6, rtol=0)


def test_the_crop_interpolates_as_torch_does():
    """Half of an image, from a known place, against torch's own bilinear resizing of the same pixels."""
    x = images(1, 16)
    view = apply(change(min_area=0.25, max_area=0.25), x, seed=3)
    draws = torch.Generator().manual_seed(3)
    torch.rand(2, 10, 1, generator=draws)
    left, top = (8 * torch.rand(9, 1, generator=draws)[:2, 0]).tolist()
    centre = torch.arange(16) / 2 - 0.25
    grid = torch.stack(torch.meshgrid(left + centre, top + centre, indexing="xy"), dim=-1)
    grid = ((grid + 0.5) / 8 - 1)[None]
    reference = torch.nn.functional.grid_sample(x, grid, align_corners=False, padding_mode="border")
    torch.testing.assert_close(view, reference, atol=1e-5, rtol=0)


def test_jitter_of_brightness_and_contrast():
    x = 0.4 + 0.2 * images(2000)
    bright = apply(change(jitter_probability=1.0, brightness=0.4, contrast=0.0), x) / x
    torch.testing.assert_close(bright.amax((1, 2, 3)), bright.amin((1, 2, 3)), rtol=1e-4, atol=0)
    assert 0.6 - 1e-4 < bright.min() < 0.61
    assert 1.39 < bright.max() < 1.4 + 1e-4
    view = apply(change(jitter_probability=1.0, brightness=0.0, contrast=0.4), x)
    torch.testing.assert_close(view.mean((1, 2, 3)), x.mean((1, 2, 3)))
    colours = 0.4 + 0.2 * images(50, channels=3)
    view_c = apply(change(jitter_probability=1.0, brightness=0.0, contrast=0.4, saturation=0.0, hue=0.0), colours)
    torch.testing.assert_close(luma(view_c).mean((1, 2)), luma(colours).mean((1, 2)))
    gain = view.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.6 - 1e-3 < gain.min() < 0.61
    assert 1.39 < gain.max() < 1.4 + 1e-3


def test_jitter_and_greyscale_happen_as_often_as_asked():
    x = 0.4 + 0.2 * images(4000, size=4, channels=3)
    jittered = (apply(change(jitter_probability=0.8), x) - x).abs().amax((1, 2, 3)) > 1e-4
    assert jittered.double().mean().item() == pytest.approx(0.8, abs=0.02)
    view = apply(change(greyscale_probability=0.2), x)
    grey = (view - view.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-5
    assert grey.double().mean().item() == pytest.approx(0.2, abs=0.02)
    torch.testing.assert_close(view[grey][:, 0], luma(x[grey]))


def test_values_stay_in_0_to_1():
    view = apply(CropJitter(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5), images(500, channels=3))
    assert view.min() == 0
    assert view.max() == 1


def test_colour_settings_leave_grey_images_alone():
    x = images()
    grey = CropJitter().model_copy(update={"saturation": 0.0, "hue": 0.0, "greyscale_probability": 0.0})
    assert torch.equal(apply(grey, x), apply(CropJitter(), x))


def test_one_range_leaves_the_other_draws_of_a_crop_alone():
    x = images()
    plain, cropped = change(jitter_probability=1.0, contrast=0.0, brightness=0.1), change(min_area=0.3)
    both = plain.model_copy(update={"min_area": 0.3, "brightness": 0.0})
    torch.testing.assert_close(apply(both, x), apply(cropped, x))


def test_maps_of_colour_scale_and_turn_what_isnt_grey():
    x = 0.3 + 0.4 * images(1, size=20, channels=3)
    one, off = torch.ones(1), torch.zeros(1, dtype=torch.bool)

    def mapped(saturation=one, turn=0 * one, grey=off):
        return (colour_map(saturation=saturation, turn=turn, grey=grey) @ x.flatten(2)).view_as(x)

    torch.testing.assert_close(mapped(), x)
    torch.testing.assert_close(luma(mapped(turn=0.13 * one, saturation=0.7 * one)), luma(x))
    torch.testing.assert_close(mapped(saturation=0.5 * one) - luma(x)[:, None], 0.5 * (x - luma(x)[:, None]))
    torch.testing.assert_close(mapped(turn=one), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(mapped(grey=~off), luma(x)[:, None].expand_as(x))
    # the hue turns by about as much as in HSV, the same way for all colours
    before, after = (
        np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in image.flatten(2)[0].T.tolist()])
        for image in (x, mapped(turn=-0.1 * one))
    )
    turned = (after - before + 0.5) % 1 - 0.5
    assert (turned > 0).all()
    assert np.median(turned) == pytest.approx(0.1, abs=0.03)


def test_areas_must_be_in_order():
    with pytest.raises(ValidationError, match=r"min_area 0\.5 is above max_area 0\.4"):
        CropJitter(min_area=0.5, max_area=0.4)


def test_every_data_set_has_views_that_suit_it():
    """Digits aren't mirrored or cut; crops of clothes are larger than those of photographs."""
    from nmoe_sim.families import families

    laws = {kind: cls.model_fields["augmentation"].default for kind, cls in families()["dataset"].items()}
    assert laws["digits"] == Affine()
    assert laws["fashion_mnist"] == CropJitter(min_area=0.5)
    assert laws["cifar10"] == laws["cifar100"] == CropJitter()
