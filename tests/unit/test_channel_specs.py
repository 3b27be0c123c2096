"""What a channel of any kind is built from, and what becomes of gains it doesn't know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY

from channels.path_loss import free_space
from channels.sites import Sites
from nmoe_sim import build_scenario
from nmoe_sim.engine.radio.channel import Model, Trace, refuse_nan
from nmoe_sim.errors import InputError, RunError
from nmoe_sim.families import families
from nmoe_sim.rng import RandomStreams

SITES = Sites.static(
    [(0, 0), (30, 40), (0, 100)], [1.5, 1.5, 10.0], names=("dev0", "dev1", "bs0"), is_station=[0, 0, 1]
)
SRC, DST = np.array([0, 2, 1]), np.array([2, 0, 0])


def test_the_model_is_the_laws_of_the_radio() -> None:
    radio = build_scenario(
        {"name": "a", "radio": {"path_loss": {"kind": "free_space"}, "shadowing": {"kind": "none"}}}
    ).radio
    assert isinstance(radio.channel, Model)
    gains = radio.channel.build(SITES, radio, RandomStreams(0).uniform)
    expected_db = -free_space([np.hypot(100, 8.5), np.hypot(100, 8.5), 50.0], radio.carrier_hz)
    np.testing.assert_allclose(gains.large_scale(SRC, DST, np.zeros(1)).mean_gain_db, [expected_db])
    assert gains.block_s == radio.fading.coherence_time_s


def test_the_example_is_blocked_as_often_as_it_says() -> None:
    plugin = REPOSITORY / "examples" / "plugins" / "channel.py"
    spec = families([plugin])["channel"]["passers_by"](probability=0.2, loss_db=30.0)
    radio = build_scenario({"name": "a"}).radio
    gains = spec.build(SITES, radio, RandomStreams(1).uniform)  # type: ignore[attr-defined]
    blocks = np.arange(4000)
    power = gains.power_gain(SRC, DST, blocks)[..., 0]
    free = 10 ** (gains.large_scale(SRC, DST, np.zeros(1)).mean_gain_db / 10)
    is_blocked = power < 0.5 * free
    np.testing.assert_allclose(power, np.where(is_blocked, 1e-3, 1.0) * free)
    assert np.all(np.abs(is_blocked.mean(axis=0) - 0.2) < 3.3 * np.sqrt(0.2 * 0.8 / 4000))
    np.testing.assert_array_equal(is_blocked[:, 0], is_blocked[:, 1])
    assert np.any(is_blocked[:, 0] != is_blocked[:, 2])


def test_a_gain_that_is_not_known_fails_with_the_reason() -> None:
    class Known:
        block_s = 1.0

    class Gappy(Known):
        def why_nan(self, src: int, dst: int, t_s: float) -> str:
            return f"nobody knows {src} to {dst} at {t_s:g} s"

    unknown = np.array([[1.0, 0.0], [1.0, np.nan], [np.nan, 1.0]])
    refuse_nan(Gappy(), SRC, DST, 3.0, unknown[:1])  # type: ignore[arg-type]
    with pytest.raises(RunError, match=r"^radio\.channel: nobody knows 2 to 0 at 3 s$"):
        refuse_nan(Gappy(), SRC, DST, 3.0, unknown)  # type: ignore[arg-type]
    with pytest.raises(RunError, match=r"^radio\.channel: no gain from node 1 to node 0 at 3 s$"):
        refuse_nan(Known(), SRC[2:], DST[2:], 3.0, unknown[2:, 0])  # type: ignore[arg-type]


def test_a_file_of_gains_that_changes_after_loading_is_an_error(folder: Path) -> None:
    rows = "t_s,src,dst,gain_db\n0,dev0,bs0,-90\n"
    Path("gains.csv").write_text(rows)
    radio = build_scenario({"name": "a", "radio": {"channel": {"kind": "trace", "file": "gains.csv"}}}).radio
    reopened = Trace.model_construct(**radio.channel.model_dump())
    Path("gains.csv").write_text(rows.replace("-90", "-91"))
    with pytest.raises(InputError, match=r"^radio\.channel\.file: gains\.csv: changed since the scenario was loaded"):
        reopened.build(SITES, radio, RandomStreams(0).uniform)
