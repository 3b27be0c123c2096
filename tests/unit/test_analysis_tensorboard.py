"""Event files say what the tables say."""

import struct
import sys

import pytest
from conftest import TINY

from analysis.tensorboard import write_events
from nmoe_sim import InputError, load_scenario, run
from nmoe_sim.cli import main


def scalars(folder):
    """Read an event file: records of length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    [path] = folder.glob("events.out.tfevents.*")
    content, found = path.read_bytes(), {}
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
        for value in event.summary.value:
            found[value.tag, event.step] = value.simple_value, event.wall_time
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    (path / "tiny.yaml").write_text(TINY)
    return run(load_scenario(path / "tiny.yaml"), path / "out")


def test_scalars_are_the_tables(finished):
    found = scalars(write_events(finished))
    means = finished.tables["metrics"].query("client.isna()")
    for row in means.itertuples():
        step = 0 if row.stage in ("final", "extractor") and str(row.round) == "<NA>" else int(row.round)
        value, time = found[f"{row.stage}/{row.metric}/{row.split}", step]
        assert value == pytest.approx(row.value, rel=1e-6)
        assert time == pytest.approx(row.t_s)
    rounds = finished.tables["rounds"].groupby(["stage", "round"])
    for (stage, number), rows in rounds:
        assert found[f"{stage}/round/bytes_up", number][0] == pytest.approx(rows["bytes_up"].sum(), rel=1e-6)
        assert found[f"{stage}/round/loss", number][0] == pytest.approx(rows["loss"].mean(), rel=1e-6)


def test_written_again_it_replaces(finished, tmp_path):
    write_events(finished, tmp_path / "events")
    write_events(finished, tmp_path / "events")
    assert len(list((tmp_path / "events").iterdir())) == 1


def test_without_the_package_it_says_what_to_install(finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r"nmoe-sim\[tensorboard\]"):
        write_events(finished)


def test_without_the_package_nothing_is_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert main(["run", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "out"), "--tensorboard"]) == 2
    assert "pip install 'nmoe-sim[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
