"""A device that may choose its clock trains as slowly as the round's deadline lets it, and its update is in time."""

import pytest

from nmoe_sim import build_scenario, run

SMALL = {
    "name": "paced",
    "seed": 1,
    "data": {"kind": "digits", "max_train": 200, "max_test": 50, "partition": {"kind": "iid"}},
    "topology": {"kind": "cell", "num_devices": 2},
    "radio": {"fading": {"kind": "none"}},
    "model": {"extractor": {"kind": "mlp", "hidden": [16], "num_features": 8}},
    "training": {
        "extractor": {
            "kind": "fedce",
            "rounds": 2,
            "protocol": {"kind": "deadline", "deadline_s": 0.5},
            "optimizer": {"epochs": 20},
        },
        "experts": {"kind": "local", "optimizer": {"epochs": 1}},
        "gate": {"kind": "fedgate", "rounds": 1},
    },
    "inference": {"duration_s": 0.2},
}
RANGE = {"kappa": 1e-27, "min_frequency_hz": 1e4, "max_frequency_hz": 2e9}


def trained(dvfs, tmp_path):
    profile = {"profile": "phone", "dvfs": {**RANGE, **dvfs}}
    result = run(build_scenario({**SMALL, "devices": [profile]}), tmp_path)
    jobs = result.tables["compute"].query("stage == 'extractor' and kind == 'local_train'")
    return jobs, result.tables["rounds"].query("stage == 'extractor'")


@pytest.mark.filterwarnings("ignore::nmoe_sim.runner.ScenarioWarning")
def test_it_takes_the_time_it_has(tmp_path):
    fast, on_time = trained({"kind": "fixed", "frequency_hz": 2e9}, tmp_path / "fast")
    slow, still_on_time = trained({"kind": "deadline"}, tmp_path / "slow")
    assert on_time["participated"].all()
    assert still_on_time["participated"].all()
    assert slow["frequency_hz"].between(1.1e4, 1e9).all()
    assert slow["energy_j"].sum() < fast["energy_j"].sum()
    within = still_on_time["t_end_s"] - still_on_time["t_start_s"]
    assert within.between(0.4, 0.5).all()
