"""The command ``coverage``: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Outcome, command, listing

Cli = Callable[..., Outcome]


def test_it_tells_what_the_map_comes_down_to(tiny: Path, cli: Cli) -> None:
    done = cli("coverage", "tiny.yaml", "--resolution", "30")
    assert done.status == 0, done.err
    assert "tiny, seed 3: 100 points at full load" in done.out
    for name in ("received power (dBm)", "SNR (dB)", "SINR (dB)", "rate (Mbit/s)", "median"):
        assert name in done.out
    assert "SINR below 0 dB: " in done.out
    assert "--out FILE.png" in done.out
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny.yaml"]


@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_figures(tiny: Path, cli: Cli, ending: str, begins: bytes) -> None:
    done = cli("coverage", "tiny.yaml", "--resolution", "30", "--out", f"maps/map.{ending}")
    assert done.status == 0, done.err
    assert done.out.endswith(f"coverage: maps/map.{ending}\n")
    first = Path("maps", f"map.{ending}").read_bytes()
    assert first.startswith(begins)
    cli("coverage", "tiny.yaml", "--resolution", "30", "--out", f"maps/map.{ending}")
    assert Path("maps", f"map.{ending}").read_bytes() == first


def test_tables_hold_the_same_values_and_follow_seed_and_settings(tiny: Path, cli: Cli) -> None:
    for out in ("map.csv", "map.parquet"):
        assert cli("coverage", "tiny.yaml", "--resolution", "30", "--out", out).status == 0
    table = pd.read_parquet("map.parquet")
    pd.testing.assert_frame_equal(pd.read_csv("map.csv").astype(table.dtypes), table, check_exact=True)
    assert list(table.columns) == ["x_m", "y_m", "station", "is_los", "received_dbm", "snr_db", "sinr_db", "rate_bps"]
    assert len(table) == 100
    more = ("--set", "radio.base_station_tx_power_dbm=43")
    assert cli("coverage", "tiny.yaml", "--resolution", "30", "--out", "more.csv", *more).status == 0
    assert (pd.read_csv("more.csv")["snr_db"] - table["snr_db"]).to_numpy() == pytest.approx(10.0)
    assert cli("coverage", "tiny.yaml", "--resolution", "30", "--out", "seed.csv", "--seed", "9").status == 0
    assert (pd.read_csv("seed.csv")["snr_db"] != table["snr_db"]).all()


def test_places_out_of_reach_are_told(tiny: Path, cli: Cli) -> None:
    mesh = ("--set", "topology={kind: random_geometric, num_devices: 3, side_m: 100, range_m: 60}")
    done = cli("coverage", "tiny.yaml", *mesh)
    assert done.status == 0, done.err
    assert "out of reach: " in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "map.jpg"], "error: --out map.jpg: must end in .png, .svg, .pdf, .csv, .parquet"),
        (["--out", "folder.png"], "error: --out folder.png: is a directory; name a file"),
        (["--out", "tiny.yaml/map.png"], "error: tiny.yaml: 'tiny.yaml' is not a directory"),
        (["--resolution", "0"], "error: argument --resolution: must be a number of metres above 0, got '0'"),
        (["--resolution", "nan"], "error: argument --resolution: must be a number of metres above 0, got 'nan'"),
        (["--resolution", "1e-4"], "error: --resolution 0.0001: "),
        (
            ["--set", "radio.channel.kind=sionna"],
            "error: --set radio.channel.kind=sionna: radio.channel.kind: 'sionna'",
        ),
        (["--set", "radio.path_loss.kind=nope"], "error: --set radio.path_loss.kind=nope: "),
    ],
)
def test_errors_say_what_to_do_and_leave_nothing(tiny: Path, cli: Cli, arguments: list[str], said: str) -> None:
    Path("folder.png").mkdir()
    before = listing(tiny.parent)
    done = cli("coverage", "tiny.yaml", *arguments)
    assert done.status == 2
    assert done.err.startswith(said)
    assert listing(tiny.parent) == before


def test_it_runs_without_torch(tiny: Path) -> None:
    code = (
        "import sys; from nmoe_sim.cli import main; main(['coverage', 'tiny.yaml', '--resolution', '50']); "
        "print({'torch', 'matplotlib', 'sklearn'} & sys.modules.keys())"
    )
    done = command(code, cwd=tiny.parent, python="-c")
    assert done.status == 0, done.err
    assert done.out.endswith("set()\n")
