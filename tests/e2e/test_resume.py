"""A run that is killed at any moment goes on where it was, and ends in the same bytes."""

import json

import pytest

from nmoe_sim import InputError, build_scenario, run
from nmoe_sim.nmoe.values import Checkpoint

SMALL = {
    "name": "resumed",
    "seed": 3,
    "data": {"kind": "digits", "max_train": 200, "max_test": 50},
    "topology": {"kind": "cell", "num_devices": 4},
    # dev0 is slow, so that the others go on while its update is under way
    "devices": [{"profile": "phone", "flop_per_s": 1e7, "count": 1}, {"profile": "phone", "flop_per_s": 1e8}],
    "radio": {"path_loss": {"kind": "free_space"}},
    "model": {"extractor": {"kind": "mlp", "hidden": [16], "num_features": 8}},
    "training": {
        "extractor": {"kind": "fedce", "rounds": 6},
        "experts": {"kind": "local", "optimizer": {"epochs": 1}},
        "gate": {"kind": "fedgate", "rounds": 3},
    },
    "inference": {"duration_s": 0.5},
}
LATE = {"kind": "deadline", "deadline_s": 0.006, "late": "keep"}
PROTOCOLS = {
    "synchronous": {"local_update": {"kind": "scaffold"}, "optimizer": {"momentum": 0.0}},
    "deadline": {"protocol": LATE},
    "scaffold_late": {"protocol": LATE, "local_update": {"kind": "scaffold"}, "optimizer": {"momentum": 0.0}},
    "asynchronous": {"protocol": {"kind": "asynchronous"}, "server_update": {"kind": "fedadam", "lr": 0.01}},
    "buffered": {"protocol": {"kind": "buffered"}, "compression": {"kind": "top_k", "share": 0.1}},
    "gossip": {"protocol": {"kind": "gossip"}},
    "fedsc": {"kind": "fedsc", "protocol": {"kind": "buffered"}},
    "dp_fedavg": {"privacy": {"kind": "dp_fedavg"}},
    "quantise": {"compression": {"kind": "quantise", "bits": 4}},
    "fedper": {"kind": "fedper", "selection": {"kind": "random", "share": 0.5}},
    "fedper_late": {"kind": "fedper", "protocol": LATE},
    "many_gossip": {"kind": "fedsc", "protocol": {"kind": "gossip"}},
}
NUM_GOSSIP = 4
LOCAL_GATES = {
    "asynchronous": {"kind": "fedgate", "synchronise": "none", "protocol": {"kind": "asynchronous"}},
    "deadline": {
        "kind": "fedgate",
        "synchronise": "none",
        "rounds": 6,
        "protocol": {"kind": "deadline", "deadline_s": 0.0002, "late": "keep"},
    },
    "ran_gate": {"kind": "ran_gate", "protocol": {"kind": "buffered"}},
}
"""Nothing of them moves, so that what is under way is nothing, and must not be forgotten."""


class Killed(BaseException):
    """As if the machine went off."""


def scenario(extractor, topology=None, gate=None):
    training = {**SMALL["training"], "extractor": {**SMALL["training"]["extractor"], **extractor}}
    training["gate"] = {**training["gate"], **(gate or {})}
    return build_scenario({**SMALL, "topology": topology or SMALL["topology"], "training": training})


def assert_under_way(result, stage, kills):
    """Somebody's update is on its way at each of these steps: what is under way there must not be forgotten."""
    rounds = result.tables["rounds"]
    taken = rounds[(rounds["stage"] == stage) & rounds["participated"]]
    assert taken["client"].nunique() > 1
    assert taken["staleness"].max() > 0, "nobody is late; tune the deadline or the devices"
    base = taken["version"] - 1 - taken["staleness"]  # the version, from 0, that an update started from
    for kill in kills:
        assert ((base < kill) & (taken["version"] > kill)).any(), f"nothing is under way at step {kill}"


def digests(path):
    return json.loads((path / "manifest.json").read_text())["tables"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(name, tmp_path, monkeypatch):
    gossip = "gossip" in name
    # neighbours only hear each other on a grid
    grid = {"kind": "grid", "num_devices": 12 if name == "many_gossip" else 4}
    one = scenario({**PROTOCOLS[name], "rounds": NUM_GOSSIP}, grid) if gossip else scenario(PROTOCOLS[name])
    # five of mixing come after gossip's last
    num_stage_1 = NUM_GOSSIP + 5 if gossip else SMALL["training"]["extractor"]["rounds"]
    kills = (2, 3, num_stage_1 + 2)  # twice in stage 1, once in stage 3
    whole = run(one, tmp_path / "whole")
    if one.training.extractor.protocol.kind in ("deadline", "asynchronous", "buffered"):
        assert_under_way(whole, "extractor", kills[:2])
    saved, save = [], Checkpoint.save

    def save_and_die(self, steps_done, tensors):
        save(self, steps_done, tensors)
        saved.append(steps_done)
        if len(saved) in kills:
            raise Killed

    monkeypatch.setattr(Checkpoint, "save", save_and_die)
    for _ in range(3):
        with pytest.raises(Killed):
            run(one, tmp_path / "killed", resume=True)
        assert not (tmp_path / "killed" / "manifest.json").exists()
    resumed = run(one, tmp_path / "killed", resume=True)

    assert digests(resumed.path) == digests(whole.path)
    # no step was computed twice
    assert saved == [*range(1, num_stage_1 + 1), 1, 2, 3]


@pytest.mark.parametrize("name", LOCAL_GATES)
def test_gates_that_stay_at_home_go_on_after_every_step(name, tmp_path, monkeypatch):
    one = scenario({"rounds": 2}, gate=LOCAL_GATES[name])
    whole = run(one, tmp_path / "whole")
    assert_under_way(whole, "gate", [2])
    save = Checkpoint.save

    def save_and_die(self, steps_done, tensors):
        save(self, steps_done, tensors)
        raise Killed

    monkeypatch.setattr(Checkpoint, "save", save_and_die)
    num_kills = 0
    while True:
        try:
            resumed = run(one, tmp_path / "killed", resume=True)
            break
        except Killed:
            num_kills += 1
    assert num_kills == 2 + one.training.gate.rounds
    assert digests(resumed.path) == digests(whole.path)


def test_resume_starts_where_nothing_is_and_leaves_a_finished_run_alone(tmp_path):
    one = scenario({})
    first = run(one, tmp_path / "out", resume=True)
    before = (first.path / "manifest.json").stat().st_mtime_ns
    again = run(one, tmp_path / "out", resume=True)
    assert again.summary == first.summary
    assert (first.path / "manifest.json").stat().st_mtime_ns == before


def test_another_scenario_is_not_resumed(tmp_path, monkeypatch):
    def die(self, steps_done, tensors):
        raise Killed

    monkeypatch.setattr(Checkpoint, "save", die)
    with pytest.raises(Killed):
        run(scenario({}), tmp_path / "out")
    with pytest.raises(InputError, match="unfinished run of another scenario"):
        run(scenario({"rounds": 7}), tmp_path / "out", resume=True)
