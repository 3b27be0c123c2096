import numpy as np
import pytest

from channels import Channel, LinkGeometry
from nmoe_sim.engine.radio import FreeSpace, LogNormal, NoFading, NoShadowing, Rayleigh, UrbanMicro
from nmoe_sim.rng import RandomStreams

NUM_LINKS = 60


def make_channel(
    *, seed: int = 3, fading: Rayleigh | NoFading | None = None, order: np.ndarray | None = None
) -> Channel:
    """Links over UMi; links 2k and 2k + 1 are the two directions of pair k."""
    order = np.arange(NUM_LINKS) if order is None else order
    pairs = order // 2
    return Channel(
        LinkGeometry.between(20.0 + 5.0 * pairs, np.where(order % 2, 1.5, 10.0), np.where(order % 2, 10.0, 1.5)),
        carrier_hz=3.5e9,
        path_loss=UrbanMicro(),
        shadowing=LogNormal(),
        fading=fading or Rayleigh(),
        uniform=RandomStreams(seed).uniform,
        link_ids=order,
        pair_ids=pairs,
    )


def test_gains_do_not_depend_on_order_or_chunks() -> None:
    channel = make_channel()
    links, blocks = np.arange(NUM_LINKS), np.array([0, 1, 7, 10**9, 2**40])
    whole = channel.power_gain(links, blocks)
    assert whole.shape == (5, NUM_LINKS)
    assert len(np.unique(whole)) == whole.size

    backwards = make_channel().power_gain(links[::-1], blocks[::-1])
    np.testing.assert_array_equal(backwards[::-1, ::-1], whole)
    for t, block in enumerate(blocks):
        for m in (0, 17, 59):
            assert channel.power_gain([m], [block])[0, 0] == whole[t, m]


def test_a_link_is_the_same_whatever_other_links_there_are() -> None:
    order = np.array([41, 3, 58])
    some, every = make_channel(order=order), make_channel()
    np.testing.assert_array_equal(some.mean_gain_db, every.mean_gain_db[order])
    np.testing.assert_array_equal(some.power_gain([0, 1, 2], [4]), every.power_gain(order, [4]))


def test_large_scale_gain_is_reciprocal_and_fading_is_not() -> None:
    channel = make_channel()
    np.testing.assert_array_equal(channel.mean_gain_db[0::2], channel.mean_gain_db[1::2])
    np.testing.assert_array_equal(channel.is_los[0::2], channel.is_los[1::2])
    gain = channel.power_gain(np.arange(NUM_LINKS), [0])[0]
    assert np.all(gain[0::2] != gain[1::2])


def test_mean_gain_is_shadowing_less_path_loss() -> None:
    channel = make_channel()
    np.testing.assert_array_equal(channel.mean_gain_db, channel.shadowing_db - channel.path_loss_db)
    assert np.all(channel.path_loss_db > 60)
    assert np.ptp(channel.shadowing_db) > 4
    assert 0 < channel.is_los.sum() < NUM_LINKS
    assert channel.in_validity_range.all()


def test_without_fading_the_gain_is_the_mean_gain_in_every_block() -> None:
    channel = make_channel(fading=NoFading())
    gain = channel.power_gain([2, 5], [0, 1, 2])
    np.testing.assert_allclose(10 * np.log10(gain), np.tile(channel.mean_gain_db[[2, 5]], (3, 1)), rtol=1e-13)


def test_fading_multiplies_the_mean_gain_with_the_named_draw() -> None:
    channel, streams = make_channel(seed=8), RandomStreams(8)
    expected = -np.log(streams.uniform("fading", 9, 123)) * 10 ** (channel.mean_gain_db[9] / 10)
    assert channel.power_gain([9], [123])[0, 0] == pytest.approx(float(expected), rel=1e-13)


def test_another_seed_is_another_channel() -> None:
    assert np.all(make_channel(seed=3).mean_gain_db[::2] != make_channel(seed=4).mean_gain_db[::2])


def test_nothing_to_ask_is_an_empty_answer() -> None:
    empty = np.array([], dtype=np.int64)
    assert make_channel().power_gain(empty, [0, 1]).shape == (2, 0)
    assert make_channel().power_gain([0, 1], empty).shape == (0, 2)
    none = Channel(
        LinkGeometry.between(np.array([]), 10.0, 1.5),
        carrier_hz=3.5e9,
        path_loss=UrbanMicro(),
        shadowing=LogNormal(),
        fading=Rayleigh(),
        uniform=RandomStreams(0).uniform,
        link_ids=empty,
        pair_ids=empty,
    )
    assert none.power_gain(empty, [0, 1]).shape == (2, 0)


def test_identities_must_match_the_links() -> None:
    with pytest.raises(ValueError, match=r"pair_ids has shape \(1,\); expected one identity for each of 2 links"):
        Channel(
            LinkGeometry.between([10.0, 20.0], 10.0, 1.5),
            carrier_hz=3.5e9,
            path_loss=FreeSpace(),
            shadowing=NoShadowing(),
            fading=NoFading(),
            uniform=RandomStreams(0).uniform,
            link_ids=[0, 1],
            pair_ids=[0],
        )


def test_geometry_puts_the_higher_end_first() -> None:
    geometry = LinkGeometry.between([3.0, 4.0], [1.5, 10.0], [5.5, 7.0])
    np.testing.assert_array_equal(geometry.height_a_m, [5.5, 10.0])
    np.testing.assert_array_equal(geometry.height_b_m, [1.5, 7.0])
    np.testing.assert_allclose(geometry.distance_3d_m, [5.0, 5.0])
    with pytest.raises(ValueError, match="higher antenna"):
        LinkGeometry(np.array([1.0]), np.array([1.5]), np.array([10.0]))
    with pytest.raises(ValueError, match="one length"):
        LinkGeometry(np.array([1.0, 2.0]), np.array([10.0]), np.array([1.5]))
