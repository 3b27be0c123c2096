"""SINR of all receivers at once against a loop in plain Python, and what must hold of any network."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.interference import interference_w, sinr


@st.composite
def networks(draw) -> dict:
    num_tx, num_rx, num_subbands = draw(st.integers(1, 8)), draw(st.integers(1, 9)), draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (num_tx, num_rx, *([num_subbands] if num_subbands else []))
    return {
        "signal_w": rng.exponential(size=shape[1:]),
        "gains": 10.0 ** rng.uniform(-15, 0, shape),
        "tx_power_w": rng.exponential(size=num_tx),
        "noise_w": 10.0 ** rng.uniform(-15, -5, num_rx),
        "serving": rng.integers(0, num_tx, num_rx),
        "activity": rng.uniform(0, 1, num_tx) * rng.integers(0, 2, num_tx),
        "interferes": rng.random((num_tx, num_rx)) < 0.7,
    }


@given(networks())
def test_a_loop_says_the_same(network: dict) -> None:
    signal, gains = network["signal_w"], network["gains"]
    expected = np.empty(signal.shape)
    for place in np.ndindex(signal.shape):
        r = place[0]
        total = network["noise_w"][r]
        for t in range(len(gains)):
            if t != network["serving"][r] and network["interferes"][t, r]:
                total += network["activity"][t] * network["tx_power_w"][t] * gains[(t, *place)]
        expected[place] = signal[place] / total
    np.testing.assert_allclose(sinr(**network), expected, rtol=1e-12)


@given(networks())
def test_a_receiver_does_not_depend_on_which_others_are_asked(network: dict) -> None:
    together = sinr(**network)
    for r in range(len(together)):
        alone = {
            **network,
            "signal_w": network["signal_w"][[r]],
            "gains": network["gains"][:, [r]],
            "noise_w": network["noise_w"][[r]],
            "serving": network["serving"][[r]],
            "interferes": network["interferes"][:, [r]],
        }
        np.testing.assert_array_equal(sinr(**alone)[0], together[r])


@given(networks(), st.integers(0, 7))
def test_more_interference_never_helps(network: dict, which: int) -> None:
    before, t = sinr(**network), which % len(network["tx_power_w"])
    louder = network["tx_power_w"].copy()
    louder[t] *= 2
    for worse in (
        {"tx_power_w": louder},
        {"activity": np.maximum(network["activity"], 0.9)},
        {"interferes": None},
        {"gains": network["gains"] * 1.5},
        {"noise_w": network["noise_w"] * 2},
    ):
        assert np.all(sinr(**{**network, **worse}) <= before)
    own = network["serving"] == t
    np.testing.assert_array_equal(sinr(**{**network, "tx_power_w": louder})[own], before[own])


@given(networks())
def test_flat_subbands_are_alike(network: dict) -> None:
    gains = network["gains"] if network["gains"].ndim == 2 else network["gains"][..., 0]
    signal = network["signal_w"] if network["signal_w"].ndim == 1 else network["signal_w"][:, 0]
    flat = sinr(**{**network, "gains": gains, "signal_w": signal})
    bands = sinr(**{**network, "gains": np.stack([gains] * 3, axis=-1), "signal_w": np.stack([signal] * 3, axis=-1)})
    np.testing.assert_array_equal(bands, np.stack([flat] * 3, axis=-1))
    noise_w = float(network["noise_w"][0])
    everywhere = {**network, "noise_w": np.full(len(flat), noise_w)}
    np.testing.assert_array_equal(sinr(**{**network, "noise_w": noise_w}), sinr(**everywhere))


def test_interference_far_below_the_signal_keeps_its_digits() -> None:
    # 1 W of signal beside 1e-20 W: a sum of all powers minus the own one would be 0.
    gains = np.array([[1.0, 1e-20], [1e-20, 1.0]])
    np.testing.assert_array_equal(interference_w(gains, np.ones(2), serving=[0, 1]), [1e-20, 1e-20])


def test_links_with_beams_of_their_own() -> None:
    # Three links. 0 and 1 share a sender, and so a medium; the receiver of link 2 is the sender of links 0 and 1.
    gains = np.array(
        [
            [1e-6, 3e-7, np.nan],
            [2e-7, 2e-6, np.nan],
            [4e-9, 5e-9, 1e-7],
        ]
    )
    interferes = np.array([[False, False, False], [False, False, False], [True, True, False]])
    tx_power_w, activity = np.array([2.0, 2.0, 0.1]), np.array([0.5, 0.5, 1.0])
    result = sinr(
        tx_power_w * gains.diagonal(),
        gains,
        tx_power_w,
        noise_w=1e-12,
        serving=np.arange(3),
        activity=activity,
        interferes=interferes,
    )
    np.testing.assert_allclose(result, [2e-6 / (1e-12 + 4e-10), 4e-6 / (1e-12 + 5e-10), 1e-8 / 1e-12], rtol=1e-12)
    assert not interferes[2, 2]


def test_arguments_are_left_alone() -> None:
    interferes = np.ones((2, 2), dtype=bool)
    interference_w(np.ones((2, 2)), np.ones(2), serving=[0, 1], interferes=interferes)
    assert interferes.all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gains": np.ones(3)}, "expected \\[transmitters, receivers\\]"),
        ({"serving": [0, 1]}, "for each of 3 receivers"),
        ({"serving": [0, 1, 2]}, "0 to 1"),
        ({"serving": [0, 1, -1]}, "0 to 1"),
        ({"tx_power_w": np.ones(3)}, "for each of 2 transmitters"),
        ({"interferes": np.ones((3, 2), dtype=bool)}, "expected \\(2, 3\\)"),
        ({"signal_w": np.ones(2)}, "expected \\(3,\\)"),
        ({"noise_w": np.ones((3, 1))}, "one number or \\(3,\\)"),
    ],
)
def test_shapes_that_do_not_match_are_refused(changes: dict, message: str) -> None:
    arguments = {
        "signal_w": np.ones(3),
        "gains": np.ones((2, 3)),
        "tx_power_w": np.ones(2),
        "noise_w": 1.0,
        "serving": [0, 1, 1],
    }
    with pytest.raises(ValueError, match=message):
        sinr(**{**arguments, **changes})
