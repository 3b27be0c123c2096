"""The shipped scenarios of the radio, cut short, through the command: each shows what it is there for."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY

from analysis import audit
from nmoe_sim import RunResult, load_run, load_scenario
from nmoe_sim.cli import main

SHORT = (
    "data.max_train=300",
    "data.max_test=100",
    "training.extractor.rounds=1",
    "training.experts.optimizer.epochs=1",
    "training.gate.rounds=1",
)
Run = Callable[..., RunResult]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a shipped scenario with settings, once."""
    folder = tmp_path_factory.mktemp("scenarios")
    done: dict[tuple[str, ...], RunResult] = {}

    def run(name: str, *settings: str) -> RunResult:
        if (key := (name, *settings)) not in done:
            out = folder / str(len(done))
            options = [word for setting in (*SHORT, *settings) for word in ("--set", setting)]
            path = str(REPOSITORY / "scenarios" / f"{name}.yaml")
            assert main(["run", path, "--out", str(out), "--quiet", *options]) == 0
            done[key] = load_run(out)
        return done[key]

    return run


def on_air(result: RunResult) -> pd.DataFrame:
    """Return the transfers by radio."""
    transfers = result.tables["transfers"]
    return transfers[transfers["airtime_s"].notna()]


def balanced(result: RunResult) -> None:
    findings = audit(result)
    assert findings["holds"].all(), findings[~findings["holds"]].to_string()


# --- several cells on one band -------------------------------------------------------------------------

CELLS = ("topology.num_devices=9", "inference.duration_s=1", "radio.bandwidth_hz=15e6", "radio.fading={kind: none}")


def test_multi_cell_suffers_from_its_neighbours(run):
    """Reuse 3 saves 10·log10(3) dB of noise and the sectors of other colours; what is beyond the noise is theirs."""
    results = [run("multi_cell", *CELLS, f"radio.reuse_factor={factor}") for factor in (1, 3)]
    balanced(results[0])
    noise_db = 10 * math.log10(3)
    links, training = (
        rise_db([table(result) for result in results])
        for table in (lambda result: result.tables["links"], lambda result: on_air(result).query("stage.notna()"))
    )
    assert links.min() > 0  # all are on air here, so that nobody hears more than before
    assert links.median() > noise_db + 3
    assert training.mean() > noise_db + 1  # who is on air meanwhile differs, as a third of the band takes longer
    assert {medium.partition(":")[0] for medium in on_air(results[0])["medium"]} == {"uplink", "downlink"}
    assert on_air(results[0])["medium"].nunique() > 6


def rise_db(tables: list[pd.DataFrame]) -> pd.Series:
    """Return by how much the mean SINR of each link is higher in the second table."""
    first, second = (table.groupby(["src", "dst"])["sinr_db"].mean() for table in tables)
    assert set(first.index) == set(second.index)
    return second - first


def test_multi_cell_hears_those_who_transmit_and_no_others(run):
    """While one device asks, most sectors are silent; the table ``links`` has all of them on air."""
    result = run("multi_cell", *CELLS, "radio.reuse_factor=1")
    busy = result.tables["links"].groupby(["src", "dst"])["sinr_db"].median()
    asked = on_air(result)[on_air(result)["stage"].isna()].groupby(["src", "dst"])["sinr_db"].median()
    gain_db = asked - busy.reindex(asked.index)
    assert gain_db.median() > 6
    assert set(on_air(result).loc[on_air(result)["retransmissions"] > 0, "outcome"]) <= {"delivered", "lost"}


# --- devices that change over --------------------------------------------------------------------------


def test_handover_moves_devices_and_tries_again_what_it_broke_off(run):
    settings = ("inference.duration_s=8", "radio.bandwidth_hz=5e6", "handover.hysteresis_db=1")
    result = run("handover", *settings)
    balanced(result)
    tables = result.tables
    handovers, transfers = tables["handovers"], tables["transfers"]
    assert len(handovers) > 5
    assert (handovers["from_station"] != handovers["to_station"]).all()
    broken = transfers[transfers["outcome"] == "link_down"]
    assert len(broken) == handovers["num_aborted"].sum() > 0
    assert (broken["bytes_sent"] <= broken["n_bytes"]).all()  # all of it where only HARQ's tail was cut
    assert (broken["bytes_sent"] < broken["n_bytes"]).any()
    again = transfers.set_index(["payload_id", "hop", "attempt"]).index
    retries = zip(broken["payload_id"], broken["hop"], broken["attempt"] + 1, strict=True)
    assert all(retry in again for retry in retries)
    assert set(tables["requests"]["outcome"]) <= {"completed", "failed"}
    assert (tables["requests"]["outcome"] == "completed").mean() > 0.9
    for row in handovers.itertuples():  # a device's own air is quiet until it has changed over
        own = transfers[(transfers["src"] == row.device) | (transfers["dst"] == row.device)]
        began = own["t_start_s"]
        assert not ((began > row.t_s) & (began < row.t_s + row.interruption_s - 1e-9)).any()
    places = tables["positions"].sort_values(["device", "t_s"])
    steps = places.groupby("device")[["x_m", "y_m", "t_s"]].diff().dropna()
    speed = np.hypot(steps["x_m"], steps["y_m"]) / steps["t_s"]
    mobility = load_scenario(REPOSITORY / "scenarios" / "handover.yaml").mobility
    assert speed.max() <= mobility.max_speed_m_per_s + 1e-6
    assert speed.median() >= mobility.min_speed_m_per_s - 1e-6  # less only where a device turned between two rows


# --- without base stations -----------------------------------------------------------------------------


def test_mesh_goes_over_several_hops_that_interfere(run):
    result = run("mesh", "inference.duration_s=2")
    balanced(result)
    transfers = on_air(result)
    hops = transfers.groupby("payload_id")["hop"].max() + 1
    assert hops.max() >= 3
    assert (hops > 1).mean() > 0.3
    first = transfers.sort_values(["payload_id", "hop"]).groupby("payload_id")
    assert (first["src"].shift(-1).dropna() == first["dst"].shift(0)[first["src"].shift(-1).notna()]).all()
    assert set(transfers["medium"]) == {f"sidelink:{device}" for device in transfers["src"].unique()}


def test_mesh_hears_less_in_the_crowd_than_in_turns(run):
    """Fading is reciprocal and independent from block to block, so means are compared, not pairs."""
    crowd, turns = (run("mesh", "inference.duration_s=2", f"radio.sidelinks={how}") for how in MESHES)
    means = [on_air(result).query("stage == 'extractor'")["sinr_db"].mean() for result in (crowd, turns)]
    assert means[0] < means[1] - 2
    spans = [on_air(result).groupby("payload_id")["t_start_s"].min().nunique() for result in (crowd, turns)]
    assert spans[0] > 1


MESHES = ("concurrent", "time_shared")


# --- one channel for all -------------------------------------------------------------------------------


def test_wifi_loses_airtime_to_contention(run):
    efficiency, collisions = {}, {}
    for num in (1, 3, 10):
        result = run("wifi", "inference.duration_s=2", "model.top_k=1", f"topology.num_devices={num}")
        balanced(result)
        uploads = on_air(result).query("kind == 'model_up' and stage == 'extractor'")
        assert len(uploads) == num
        efficiency[num] = uploads["rx_airtime_s"].sum() / union_s(uploads)
        collisions[num] = 1 - uploads["rx_airtime_s"].sum() / uploads["airtime_s"].sum()
        if num == 1:
            assert collisions[1] == pytest.approx(0, abs=1e-12)
    assert collisions[1] < collisions[3] < collisions[10]
    assert collisions[10] > 0.2
    assert efficiency[10] < efficiency[3]
    assert max(efficiency.values()) < 0.9


def union_s(transfers: pd.DataFrame) -> float:
    """Return for how long at least one of the transfers was under way."""
    total_s, end_s = 0.0, -math.inf
    for start, end in transfers.sort_values("t_start_s")[["t_start_s", "t_end_s"]].itertuples(index=False):
        total_s += max(0.0, end - max(start, end_s))
        end_s = max(end_s, end)
    return total_s


# --- arrays --------------------------------------------------------------------------------------------


def test_mmwave_beams_give_the_gain_of_their_arrays(run):
    """Panels face their peers, beams are the codebook's: 8 dBi an element, 10·log10 of elements, less two losses.

    An element loses 12·(θ/65°)² dB at the elevation θ of the other end; a beam at most 0.25 dB an axis, as there are
    4 of them for each element.
    """
    isotropic = [f"radio.{end}_antenna={{kind: isotropic, gain_dbi: 20}}" for end in ("base_station", "device")]
    shipped, plain = (run("mmwave", "inference.duration_s=1", *settings) for settings in ([], isotropic))
    balanced(shipped)
    both = shipped.tables["links"].merge(plain.tables["links"], on=["src", "dst", "t_s"], suffixes=("", "_plain"))
    assert both["path_loss_db"].equals(both["path_loss_db_plain"])
    gain_db = both["sinr_db"] - both["sinr_db_plain"] + 40
    assert len(both) == len(shipped.tables["links"]) > 0
    elevation_deg = np.degrees(np.arctan2(10.0 - 1.5, both["distance_m"]))
    lossless_db = gain_db + 2 * 12 * (elevation_deg / 65) ** 2
    most_db = 2 * 8 + 10 * math.log10(64 * 4)
    assert lossless_db.max() <= most_db + 1e-9
    assert lossless_db.min() >= most_db - 4 * 0.25


# --- analog features -----------------------------------------------------------------------------------


def test_a_gate_that_looks_asks_experts_that_are_heard(run):
    """At low power features drown in noise; who looks at the channel asks nearer experts, and is right more often."""
    training = ("data.max_train=1000", "data.max_test=400", "training.experts.optimizer.epochs=10")
    training += ("training.extractor.rounds=10", "training.gate.rounds=20")
    low = ("radio.tx_power_dbm=0", "radio.base_station_tx_power_dbm=10", "inference.duration_s=10")
    blind = ("model.gate.kind=mlp", "training.gate={kind: fedgate}")
    looking, not_looking = (run("channel_aware", *training, *low, *more) for more in ((), blind))
    balanced(looking)
    assert mean_snr_db(looking) > mean_snr_db(not_looking) + 0.5
    right = [result.tables["requests"]["correct"].mean() for result in (looking, not_looking)]
    assert right[0] > right[1] + 0.01
    features = on_air(looking).query("kind == 'features' and request_id.notna()")
    assert set(features["n_bytes"]) == {8 * 32 // 2}
    np.testing.assert_allclose(features["airtime_s"], 32 / 2 / 20e6)  # whatever the channel


def mean_snr_db(result: RunResult) -> float:
    """Return the mean SNR of the links that requests' features went over; the client's own device counts as 30 dB."""
    requests, features = result.tables["requests"], on_air(result).query("kind == 'features' and request_id.notna()")
    num_own = sum((row.hosts == row.client).sum() for row in requests.itertuples())
    seen_db = features.loc[features["hop"] == 0, "sinr_db"].clip(-10, 30)
    return (seen_db.sum() + 30.0 * num_own) / (len(seen_db) + num_own)


# --- somebody else's channel ---------------------------------------------------------------------------


@pytest.mark.skipif(find_spec("sionna") is None, reason="the extra sionna is not installed")
def test_sionna_draws_losses_like_ours(run):
    """The same street canyon: medians of eight devices, whose losses scatter by some 15 dB, are near each other."""
    theirs = run("sionna_comparison", "inference.duration_s=1")
    ours = run("sionna_comparison", "inference.duration_s=1", "radio.channel={kind: model}")
    balanced(theirs)
    loss_db = [result.tables["links"]["path_loss_db"] for result in (theirs, ours)]
    assert loss_db[0].between(60, 160).all()
    assert loss_db[0].nunique() > 4
    assert abs(loss_db[0].median() - loss_db[1].median()) < 20
    assert not loss_db[0].equals(loss_db[1])


# --- all of them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((REPOSITORY / "scenarios").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_scenario_passes_its_check_without_a_warning(path: Path, cli):
    if path.stem == "sionna_comparison" and find_spec("sionna") is None:
        pytest.skip("the extra sionna is not installed")
    outcome = cli("check", str(path))
    assert (outcome.status, outcome.err) == (0, "")
    assert "ok" in outcome.out
