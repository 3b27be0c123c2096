"""The laws of the example plug-ins are what their pages say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from fake_band import FakeBand, send_all

from channels.geometry import LinkGeometry
from channels.units import SPEED_OF_LIGHT_M_PER_S
from nmoe_sim import load_scenario
from nmoe_sim.families import families
from nmoe_sim.rng import RandomStreams

PLUGINS = REPOSITORY / "examples" / "plugins"


def example(family: str) -> Any:
    """The class an example adds to a family."""
    before = families()
    [kind] = set(kinds := families([PLUGINS / f"{family}.py"])[family]) - set(before[family])
    return kinds[kind]


def test_omni_radiates_what_it_is_fed() -> None:
    elevation = np.linspace(-np.pi / 2, np.pi / 2, 100_001)
    for beamwidth_deg in (5.0, 30.0, 90.0, 170.0):
        law = example("antenna")(vertical_beamwidth_deg=beamwidth_deg)
        gain = 10 ** (law.gain_db(np.zeros(1, dtype=int), np.zeros(1), elevation) / 10)
        # the mean over the sphere, whose rings shrink as the cosine
        assert np.trapezoid(gain * np.cos(elevation), elevation) / 2 == pytest.approx(1.0, rel=1e-6)
        half = np.interp(np.deg2rad(beamwidth_deg) / 2, elevation, gain)
        assert half == pytest.approx(gain.max() / 2, rel=1e-6)
    dipole_db = example("antenna")().gain_db(np.zeros(1, dtype=int), np.zeros(1), np.zeros(1))
    assert dipole_db == pytest.approx([10 * np.log10(1.5)])


def test_two_thresholds_must_both_be_passed() -> None:
    rule = example("handover")(own_below_dbm=-80.0, other_above_dbm=-70.0).rule(5, 2)
    powers_dbm = np.array([[-85.0, -65.0], [-75.0, -60.0], [-85.0, -75.0], [-85.0, -65.0], [-85.0, -np.inf]])
    serving = np.array([0, 0, 0, -1, 0])
    assert rule.update(1.0, powers_dbm, serving) == [(0, 1)]
    assert rule.update(1.1, powers_dbm, np.array([1, 0, 0, -1, 0])) == []


def test_two_rays_meet_free_space_at_the_crossover() -> None:
    carrier_hz, height_a_m, height_b_m = 3.5e9, 10.0, 1.5
    crossover_m = 4 * np.pi * height_a_m * height_b_m * carrier_hz / SPEED_OF_LIGHT_M_PER_S
    horizontal_m = np.sqrt(np.array([0.5, 2.0, 4.0]) ** 2 * crossover_m**2 - (height_a_m - height_b_m) ** 2)
    geometry = LinkGeometry.between(horizontal_m, height_a_m, height_b_m)
    law, free = example("path_loss")(), families()["path_loss"]["free_space"]()
    los = np.ones(3, dtype=bool)
    loss_db = law.path_loss_db(geometry, carrier_hz=carrier_hz, los=los)
    excess_db = loss_db - free.path_loss_db(geometry, carrier_hz=carrier_hz, los=los)
    np.testing.assert_allclose(excess_db, [0.0, 20 * np.log10(2), 20 * np.log10(4)], atol=1e-9)


def test_steps_are_taken_at_their_thresholds() -> None:
    law = example("link_adaptation")(snr_db=(0.0, 10.0), bps_per_hz=(1.0, 3.0))
    np.testing.assert_array_equal(law.efficiency_bps_per_hz([0.0, 0.99, 1.0, 9.9, 10.0, 1e6]), [0, 0, 1, 1, 3, 3])
    with pytest.raises(ValueError, match="must rise"):
        example("link_adaptation")(snr_db=(10.0, 0.0), bps_per_hz=(1.0, 3.0))


def test_shadowing_is_clipped() -> None:
    shadowing = example("shadowing")(max_std=2.0).shadowing_db(np.array([-3.0, 0.5, 5.0]), np.array([4.0, 4.0, 8.0]))
    np.testing.assert_array_equal(shadowing, [-8.0, 2.0, 16.0])


def test_quantity_skew_hands_out_every_sample_once() -> None:
    parts = example("partition")(decay=0.5).assign(
        np.zeros(311, dtype=int), num_clients=4, num_classes=1, rng=np.random.default_rng(0)
    )
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(311))
    sizes = np.array([len(part) for part in parts])
    np.testing.assert_allclose(sizes / sizes[0], [1, 0.5, 0.25, 0.125], atol=0.02)


@pytest.mark.parametrize(("num_devices", "num_links"), [(1, 0), (2, 2), (3, 6), (6, 12)])
def test_ring_links_neighbours_both_ways(num_devices: int, num_links: int) -> None:
    assert len(example("topology")(num_devices=num_devices).build(RandomStreams(0)).links) == num_links


def test_crowd_comes_and_goes() -> None:
    process = example("arrivals")(rate_hz=20.0, factor=10.0, crowd_start_s=10.0, crowd_s=10.0)
    times_s = np.concatenate([process.times_s(client, 30.0, RandomStreams(1)) for client in range(20)])
    before, crowd, after = np.histogram(times_s, bins=[0, 10, 20, 30])[0]
    for count, expected in ((before, 4_000), (crowd, 40_000), (after, 4_000)):
        assert abs(count - expected) < 4 * np.sqrt(expected)


def test_the_shortest_goes_first() -> None:
    policy = example("sharing")()
    band = FakeBand([[2.0], [4.0]])  # bit/s
    long, short, later = send_all(policy.media, band, [(0.0, 0, 12.0), (1.0, 1, 8.0), (4.0, 0, 1.0)])
    # 6 s, 2 s and 0.5 s of airtime; at 4 s, 3 s are left of the first
    assert [one.t_end_s for one in (long, short, later)] == pytest.approx([8.5, 3.0, 4.5])
    assert [one.airtime_s for one in (long, short, later)] == pytest.approx([6.0, 2.0, 0.5])


def test_the_largest_features_travel() -> None:
    import torch

    transport = example("feature_transport")(share=0.5)
    h = torch.tensor([[3.0, -4.0, 0.5, 1.0, 0.0]])
    assert transport.received(h).tolist() == [[3.0, -4.0, 0.0, 0.0, 0.0]]
    assert transport.num_bytes(5) == 2 * 2 + 1
    assert transport.num_bytes(16) == 2 * 8 + 2


@pytest.mark.parametrize("family", ["extractor", "expert", "gate"])
def test_declared_parameters_are_the_modules(family: str) -> None:
    import torch

    spec, shape = example(family)(), ((3, 8, 8),) if family == "extractor" else (16, 10)
    state = torch.get_rng_state()
    modules = [spec.build(*shape, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(state, torch.get_rng_state())
    assert spec.num_parameters(*shape) == sum(p.numel() for p in modules[0].parameters())
    first = [next(module.parameters()) for module in modules]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


def test_fedbabu_moves_and_trains_the_body_alone(tmp_path: Any) -> None:
    """Fewer bytes and FLOP than FedCE, by those of the head; the body learns."""
    from nmoe_sim import run

    scenario = load_scenario(PLUGINS / "extractor_training.yaml", plugins=[PLUGINS / "extractor_training.py"]).replace(
        {"inference.duration_s": 0.5}
    )
    babu = run(scenario.replace({"training.extractor.local_update": {"kind": "sgd"}}), tmp_path / "babu")
    plain = run(scenario.replace({"training.extractor": {"kind": "fedce", "rounds": 3}}), tmp_path / "plain")
    up_bytes, jobs = (
        [result.tables[name].query("stage == 'extractor'") for result in (babu, plain)]
        for name in ("rounds", "compute")
    )
    assert set(up_bytes[1]["bytes_up"] - up_bytes[0]["bytes_up"]) == {4 * (16 + 1) * 10}
    flop = [frame[frame["kind"] == "local_train"].groupby("device")["flop"].max() for frame in jobs]
    num_samples = up_bytes[0].groupby("client")["num_samples"].max()
    assert (flop[1] - flop[0]).to_dict() == (2 * 16 * 10 * num_samples).to_dict()
    losses = up_bytes[0].groupby("round")["loss"].mean()
    assert losses.iloc[-1] < losses.iloc[0]


def test_damped_scaffold_estimates_the_gradient_whatever_its_strength() -> None:
    import torch

    gradient, c, own = (torch.tensor(values) for values in ([1.0, -2.0], [0.5, 0.5], [3.0, 1.0]))
    for strength in (0.2, 1.0):
        law = example("local_update")(strength=strength)
        offset = law.offset({"w": c}, {"w": own})["w"]
        torch.testing.assert_close(offset, strength * (c - own))
        start = torch.tensor([7.0, 8.0])
        trained = start - 5 * 0.1 * (gradient + offset)
        new = law.new_variate({"w": c}, {"w": own}, {"w": start}, {"w": trained}, 5, 0.1)
        torch.testing.assert_close(new["w"], gradient, atol=1e-5, rtol=1e-5)


def test_bounded_server_goes_towards_the_mean_as_far_as_it_may() -> None:
    import torch

    current, mean = {"a": torch.zeros(1), "b": torch.zeros(1)}, {"a": torch.tensor([3.0]), "b": torch.tensor([-4.0])}
    moved, _ = example("server_update")(max_norm=2.5).step(current, mean, {})
    assert (moved["a"].item(), moved["b"].item()) == (1.5, -2.0)
    assert example("server_update")(max_norm=6.0).step(current, mean, {})[0] is mean


def test_signs_and_what_they_leave_out_are_the_update() -> None:
    import torch

    law = example("compression")()
    update = {"a": torch.tensor([3.0, -1.0, 0.0, 4.0]), "none": torch.zeros(0)}
    sent, kept = law.compress(update, None, torch.Generator())
    assert sent["a"].tolist() == [2.0, -2.0, 2.0, 2.0]
    assert kept["a"].tolist() == [1.0, 1.0, -2.0, 2.0]
    sent, kept = law.compress({"a": torch.zeros(4), "none": torch.zeros(0)}, kept, torch.Generator())
    assert sent["a"].tolist() == [1.5, 1.5, -1.5, 1.5]
    assert law.payload_bytes({"a": 4, "none": 0}) == 4 + 1
    assert law.payload_bytes({"a": 17}) == 4 + 3


def test_clipping_by_tensor_bounds_the_whole_update() -> None:
    import torch

    update = {"a": torch.full((50,), 9.0), "b": torch.tensor([1e-3])}
    clipped = example("privacy")(clip_norm=2.0).clip(update)
    assert clipped["a"].norm().item() == pytest.approx(2.0 / 2**0.5)
    assert clipped["b"].item() == update["b"].item()
