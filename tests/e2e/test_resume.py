"""A run that is killed at any moment goes on where it was, and ends in the same bytes."""

import json

import pytest

from nmoe_sim import InputError, build_scenario, run
from nmoe_sim.nmoe.values import Checkpoint

SMALL = {
    "name": "resumed",
    "seed": 3,
    "data": {"kind": "digits", "max_train": 200, "max_test": 50},
    "topology": {"kind": "grid", "num_devices": 4},
    "radio": {"path_loss": {"kind": "free_space"}},
    "model": {"extractor": {"kind": "mlp", "hidden": [16], "num_features": 8}},
    "training": {
        "extractor": {"kind": "fedce", "rounds": 4},
        "experts": {"kind": "local", "optimizer": {"epochs": 1}},
        "gate": {"kind": "fedgate", "rounds": 3},
    },
    "inference": {"duration_s": 0.5},
}
PROTOCOLS = {
    "synchronous": {"local_update": {"kind": "scaffold"}, "optimizer": {"momentum": 0.0}},
    "deadline": {"protocol": {"kind": "deadline", "deadline_s": 0.05, "late": "keep"}},
    "asynchronous": {"protocol": {"kind": "asynchronous"}, "server_update": {"kind": "fedadam", "lr": 0.01}},
    "buffered": {"protocol": {"kind": "buffered"}, "compression": {"kind": "top_k", "share": 0.1}},
    "gossip": {"protocol": {"kind": "gossip"}},
    "fedsc": {"kind": "fedsc", "protocol": {"kind": "buffered"}},
    "dp_fedavg": {"privacy": {"kind": "dp_fedavg"}},
    "quantise": {"compression": {"kind": "quantise", "bits": 4}},
    "fedper": {"kind": "fedper", "selection": {"kind": "random", "share": 0.5}},
    "many_gossip": {"kind": "fedsc", "protocol": {"kind": "gossip"}},
}
LOCAL_GATES = {
    "asynchronous": {"kind": "fedgate", "synchronise": "none", "protocol": {"kind": "asynchronous"}},
    "deadline": {
        "kind": "fedgate",
        "synchronise": "none",
        "protocol": {"kind": "deadline", "deadline_s": 0.005, "late": "keep"},
    },
    "ran_gate": {"kind": "ran_gate", "protocol": {"kind": "buffered"}},
}
"""Nothing of them moves, so that what is under way is nothing, and must not be forgotten."""


class Killed(BaseException):
    """As if the machine went off."""


def scenario(extractor, num_devices=4, gate=None):
    training = {**SMALL["training"], "extractor": {**SMALL["training"]["extractor"], **extractor}}
    training["gate"] = {**training["gate"], **(gate or {})}
    topology = {**SMALL["topology"], "num_devices": num_devices}
    return build_scenario({**SMALL, "topology": topology, "training": training})


def digests(path):
    return json.loads((path / "manifest.json").read_text())["tables"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(name, tmp_path, monkeypatch):
    one = scenario(PROTOCOLS[name], 12 if name == "many_gossip" else 4)
    whole = run(one, tmp_path / "whole")
    saved, save = [], Checkpoint.save

    def save_and_die(self, steps_done, tensors):
        save(self, steps_done, tensors)
        saved.append(steps_done)
        if len(saved) in (2, 3, 6):  # twice in stage 1, once in stage 3
            raise Killed

    monkeypatch.setattr(Checkpoint, "save", save_and_die)
    for _ in range(3):
        with pytest.raises(Killed):
            run(one, tmp_path / "killed", resume=True)
        assert not (tmp_path / "killed" / "manifest.json").exists()
    resumed = run(one, tmp_path / "killed", resume=True)

    assert digests(resumed.path) == digests(whole.path)
    # no step was computed twice
    num_stage_1 = 4
    assert saved == [*range(1, num_stage_1 + 1 + (5 if "gossip" in name else 0)), 1, 2, 3]


@pytest.mark.parametrize("name", LOCAL_GATES)
def test_gates_that_stay_at_home_go_on_after_every_step(name, tmp_path, monkeypatch):
    one = scenario({}, gate=LOCAL_GATES[name])
    whole = run(one, tmp_path / "whole")
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
    assert num_kills == 4 + 3
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
        run(scenario({"rounds": 5}), tmp_path / "out", resume=True)
