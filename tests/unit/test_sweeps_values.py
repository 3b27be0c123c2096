"""The store of trained values: what a value depends on, and that taking it from the store changes no bit."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from conftest import TINY

from nmoe_sim import InputError, build_scenario
from nmoe_sim.checks import check
from nmoe_sim.lifecycle import simulate
from nmoe_sim.nmoe.values import ValueStore
from nmoe_sim.preparation import prepare
from nmoe_sim.results.tables import TABLES
from nmoe_sim.scenario.source import parse
from nmoe_sim.scenario.tree import to_python


def scenario(**changes: object):
    tree = parse(TINY)
    assert tree is not None
    return build_scenario(to_python(tree)).replace({key.replace("__", "."): v for key, v in changes.items()})


def outcome(variant, values_dir: Path | None):
    """Run; returns the tables and which stages were loaded."""
    layout = check(variant)
    learning = prepare(variant, layout, values_dir=values_dir, workers=1)
    simulate(learning, layout)
    assert learning.store.loaded + learning.store.computed == ["extractor", "experts", "gate"]
    return {name: learning.simulation.recorder.arrow(name) for name in TABLES}, learning.store.loaded


CNN = {"kind": "cnn", "channels": [4, 6], "num_features": 8, "groups": 2}


@pytest.mark.parametrize("extractor", [{"kind": "mlp", "hidden": [8]}, CNN], ids=["mlp", "cnn in channels_last"])
def test_the_same_tables_without_store_into_it_and_from_it(tmp_path, extractor):
    variant = scenario(model__extractor=extractor, training__extractor__kind="fedsc")
    without, _ = outcome(variant, None)
    written, loaded = outcome(variant, tmp_path)
    assert loaded == []
    again, loaded = outcome(variant, tmp_path)
    assert loaded == ["extractor", "experts", "gate"]
    for name in TABLES:
        assert without[name].equals(written[name]), name
        assert written[name].equals(again[name]), name
    half = sorted(tmp_path.iterdir())
    assert [path.name.partition("-")[0] for path in half] == ["experts", "extractor", "gate"]
    half[2].unlink()
    rest, loaded = outcome(variant, tmp_path)
    assert loaded == ["extractor", "experts"]
    assert rest["metrics"].equals(without["metrics"])


def test_what_is_shared_and_what_is_not(tmp_path):
    outcome(scenario(), tmp_path)
    for changes, expected in (
        ({"radio__bandwidth_hz": 1e6, "placement__kind": "greedy", "inference__routing__kind": "all"}, 3),
        ({"model__top_k": 1}, 2),
        ({"model__expert__hidden": [5]}, 1),
        ({"data__partition__kind": "shards"}, 0),
        ({"data__max_test": 50}, 0),
        ({"seed": 4}, 0),
    ):
        _, loaded = outcome(scenario(**changes), tmp_path)
        assert len(loaded) == expected, changes


def test_a_head_like_an_expert_is_part_of_stage_1(tmp_path):
    """Its architecture is ``model.expert``, which other trainings of stage 1 don't depend on."""
    for head, expected in (("linear", ["extractor"]), ("expert", [])):
        changes = {"training__extractor__head": head, "training__experts__start": "fresh"}
        outcome(scenario(**changes), tmp_path / head)
        _, loaded = outcome(scenario(model__expert__hidden=[5], **changes), tmp_path / head)
        assert loaded == expected


def test_the_key_holds_everything_given(tmp_path):
    def key(data="d", version="1", stage="s", model=None, settings=None, dtype=torch.float32) -> str:
        torch.set_default_dtype(dtype)
        try:
            store = ValueStore(tmp_path, {"data": data, "v": version}, model or {"s": 1})
        finally:
            torch.set_default_dtype(torch.float32)
        for file in tmp_path.iterdir():
            file.unlink()
        store.compute(stage, settings or {}, lambda _: {"x": torch.zeros(1)})
        [file] = tmp_path.iterdir()
        return file.name

    names = [
        key(),
        key(data="e"),
        key(version="2"),
        key(stage="t"),
        key(model={"s": 2}),
        key(settings={"a": 1}),
        key(dtype=torch.float64),
    ]
    assert all(a != b for a, b in itertools.combinations(names, 2))
    assert key() == names[0]
    assert key(model={"s": 1, "another stage": 5}) == names[0]


def test_a_value_is_the_same_bits_either_way_and_its_file_the_same_bytes(tmp_path):
    values = {
        "weights": torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(1)).to(
            memory_format=torch.channels_last
        ),
        "odd": torch.tensor([float("nan"), -0.0, 1e-45, float("inf")]),
        "double": torch.tensor([0.1], dtype=torch.float64),
        "strided": torch.arange(12.0).reshape(3, 4).T,
    }
    results = [
        ValueStore(folder, {}, {}).compute("s", {}, lambda _: values)
        for folder in (None, tmp_path / "a", tmp_path / "a", tmp_path / "b")
    ]
    for result in results:
        for name, tensor in values.items():
            assert result[name].dtype == tensor.dtype
            assert result[name].is_contiguous()
            assert torch.equal(result[name].view(torch.uint8), tensor.contiguous().view(torch.uint8))
    [a], [b] = (tmp_path / "a").iterdir(), (tmp_path / "b").iterdir()
    assert a.name == b.name
    assert a.read_bytes() == b.read_bytes()


def test_a_damaged_file_is_named_and_what_to_do(tmp_path):
    def compute(checkpoint):
        checkpoint.save(1, {"x": torch.zeros(100)})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ValueStore(tmp_path, {}, {}).compute("s", {}, compute)
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(InputError, match=r"s-.*\.checkpoint: damaged \(.*\); delete it, and it is computed again"):
        ValueStore(tmp_path, {}, {}).compute("s", {}, lambda checkpoint: checkpoint.load()[1])
    file.unlink()
    ValueStore(tmp_path, {}, {}).compute("s", {}, lambda _: {"x": torch.zeros(100)})
    [file] = tmp_path.iterdir()
    file.write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        ValueStore(tmp_path, {}, {}).compute("s", {}, lambda _: {})
