"""Every row of every family does what its family promises; a family without a contract fails here."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import tiny_scenario
from pydantic import ValidationError

from channels.geometry import LinkGeometry
from nmoe_sim.errors import InputError
from nmoe_sim.families import families
from nmoe_sim.inference.routing import Query
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.build import build_spec
from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.spec import Family, Spec
from nmoe_sim.scenario.tree import from_python

FAMILIES = families()
ROWS = [pytest.param(family, kind, id=f"{family}.{kind}") for family, table in FAMILIES.items() for kind in table]
STREAMS = RandomStreams(11)

REQUIRED: dict[tuple[str, str], dict[str, Any]] = {
    ("device_profile", "custom"): {
        "flop_per_s": 1e9,
        "memory_bytes": 10**9,
        "idle_w": 1.0,
        "compute_w": 2.0,
        "rx_w": 0.5,
        "tx_circuit_w": 0.5,
        "amplifier_efficiency": 0.3,
    },
    ("arrivals", "diurnal"): {"period_s": 1000.0},
    ("arrivals", "trace"): {
        "file": str(Path(__file__).parent / "data" / "requests.csv"),
        "length_s": 10.0,
        "repeat": True,
    },
}
"""What has no default, by row; whatever isn't here must be buildable from nothing."""


def make(family: str, kind: str, **settings: Any) -> Any:
    given = {**REQUIRED.get((family, kind), {}), **settings}
    return build_spec(FAMILIES[family][kind], from_python(given), FAMILIES, family=Family(family))  # type: ignore[arg-type]


def generator(seed: int = 0):
    import torch

    return torch.Generator().manual_seed(seed)


# --- what holds for every row ------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "kind"), ROWS)
def test_row(family, kind):
    cls = FAMILIES[family][kind]
    assert issubclass(cls, Spec)
    assert cls.kind == kind
    assert cls.model_config["frozen"]
    assert cls.model_config["extra"] == "forbid"
    assert inspect.getdoc(cls) != inspect.getdoc(Spec)
    undocumented = [name for name, field in cls.model_fields.items() if not field.description]
    assert undocumented == []
    spec = make(family, kind)
    assert spec == make(family, kind)
    assert hash(spec) == hash(make(family, kind))
    for name in cls.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(spec, name, getattr(spec, name))


@pytest.mark.parametrize(("family", "kind"), ROWS)
def test_an_unknown_key_is_refused(family, kind):
    with pytest.raises(InputError, match="unknown key"):
        make(family, kind, no_such_key=1)


def test_importing_them_all_needs_nothing_heavy():
    code = (
        "import sys, nmoe_sim.families as f; f.families()\n"
        "print([m for m in ('torch', 'sklearn', 'pandas', 'pyarrow', 'scipy.optimize') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_rows_that_need_settings_are_listed_as_such():
    for (family, kind), _ in REQUIRED.items():
        with pytest.raises(InputError, match="missing"):
            build_spec(FAMILIES[family][kind], from_python({}), FAMILIES, family=Family(family))  # type: ignore[arg-type]


# --- contracts, one a family -------------------------------------------------------------------------

DISTANCES_M = np.geomspace(10, 5000, 200)
GEOMETRY = LinkGeometry.between(DISTANCES_M, np.full(200, 10.0), np.full(200, 1.5))


def path_loss(spec: Any) -> None:
    for los in (True, False):
        loss_db = spec.path_loss_db(GEOMETRY, carrier_hz=3.5e9, los=np.full(200, los))
        assert loss_db.shape == (200,)
        assert np.isfinite(loss_db).all()
        assert (np.diff(loss_db) > 0).all()
        assert (loss_db > 0).all()
        std_db = spec.shadow_fading_std_db(GEOMETRY, carrier_hz=3.5e9, los=np.full(200, los))
        assert std_db.shape == (200,)
        assert (std_db >= 0).all()
        assert np.isfinite(std_db).all()
    probability = spec.los_probability(GEOMETRY)
    assert probability.shape == (200,)
    assert ((probability >= 0) & (probability <= 1)).all()
    assert (np.diff(probability) <= 0).all()
    inside = spec.in_validity_range(GEOMETRY, carrier_hz=3.5e9)
    assert inside.shape == (200,)
    assert inside.dtype == bool


def shadowing(spec: Any) -> None:
    std_db = np.full(1000, 6.0)
    draws = np.random.default_rng(0).standard_normal(1000)
    gain_db = spec.shadowing_db(draws, std_db)
    assert gain_db.shape == (1000,)
    assert np.allclose(spec.shadowing_db(-draws, std_db), -gain_db)
    assert np.all(spec.shadowing_db(np.zeros(1000), std_db) == 0)
    assert np.all(np.abs(gain_db) <= 6.0 * np.abs(draws) + 1e-9)


def fading(spec: Any) -> None:
    assert spec.coherence_time_s is None or spec.coherence_time_s > 0
    uniform = (np.arange(100_000) + 0.5) / 100_000
    gain = spec.power_gain(uniform.reshape(100, 1000))
    assert gain.shape == (100, 1000)
    assert (gain >= 0).all()
    assert gain.mean() == pytest.approx(1.0, rel=1e-3)


def link_adaptation(spec: Any) -> None:
    snr = np.concatenate([[0.0], np.logspace(-6, 12, 500)])
    efficiency = np.asarray(spec.efficiency_bps_per_hz(snr))
    assert efficiency.shape == snr.shape
    assert efficiency[0] == 0
    assert (np.diff(efficiency) >= 0).all()
    assert (efficiency <= np.log2(1 + snr) + 1e-12).all()
    assert efficiency[-1] > 1


def sharing(spec: Any) -> None:
    """Bits sent equal bits asked, within capacity; each transfer reports its own airtime once."""
    from simpy import Environment

    env, rates = Environment(), {0: 1e6, 1: 4e6}
    source = SimpleNamespace(block_s=float("inf"), rate_bps=lambda link, block: rates[link])
    medium, done = spec.medium(env, source), {}

    def start(payload: int, link: int, bits: float):
        def finish(payload: int, airtime_s: float) -> None:
            assert payload not in done
            done[payload] = (env.now, airtime_s)

        medium.start(link, bits, finish, payload)

    jobs = {0: (0.0, 0, 1e6), 1: (0.1, 1, 2e6), 2: (0.1, 0, 5e5), 3: (9.0, 1, 4e6)}

    def feed():
        for payload, (t_s, link, bits) in jobs.items():
            yield env.timeout(t_s - env.now)
            start(payload, link, bits)

    env.process(feed())
    env.run()
    assert medium.num_active == 0
    assert done.keys() == jobs.keys()
    for payload, (t_s, link, bits) in jobs.items():
        t_end_s, airtime_s = done[payload]
        assert airtime_s == pytest.approx(bits / rates[link])
        assert t_end_s >= t_s + airtime_s - 1e-9
    assert done[3][0] == pytest.approx(10.0)  # alone: the medium to itself
    busy_s = sum(bits / rates[link] for _, link, bits in list(jobs.values())[:3])
    assert max(done[payload][0] for payload in range(3)) == pytest.approx(busy_s)  # it never idles with work to do


def arrivals(spec: Any) -> None:
    times_s = spec.times_s(2, 5000.0, STREAMS)
    assert (np.diff(times_s) >= 0).all()
    assert times_s[0] >= 0
    assert times_s[-1] < 5000.0
    expected = spec.mean_rate_hz(2) * 5000.0
    assert abs(len(times_s) - expected) < 5 * np.sqrt(expected)
    assert np.array_equal(times_s, spec.times_s(2, 5000.0, RandomStreams(STREAMS.seed)))
    if spec.kind not in ("deterministic", "trace"):  # clients that are told when to ask may ask at once
        assert not np.array_equal(times_s[:10], spec.times_s(1, 5000.0, STREAMS)[:10])
    longer = spec.times_s(2, 9000.0, STREAMS)
    assert np.array_equal(longer[longer < 5000.0], times_s)


def routing(spec: Any) -> None:
    hosts = tuple(f"dev{i}" for i in range(5))
    backlog_s = dict(zip(hosts, (0.4, 0.1, 0.0, 0.3, 0.2), strict=True))
    view = SimpleNamespace(t_s=0.0, hosts=hosts, backlog_s=backlog_s, mean_delay_s=lambda src, dst, n_bytes: 0.01)
    rng = np.random.default_rng(0)
    for request in range(50):
        for top_k in (1, 2, 5):
            scores = rng.normal(size=5).astype(np.float32)
            query = Query(request, 3, "dev3", 3, scores, top_k, STREAMS)
            chosen = spec.route(query, lambda: view)
            assert 1 <= len(chosen) <= 5
            assert len(set(chosen)) == len(chosen)
            assert all(type(expert) is int and 0 <= expert < 5 for expert in chosen)
            assert chosen == spec.route(query, lambda: view)


def topology(spec: Any) -> None:
    for count in (1, 2, 7):
        small = spec.model_copy(update={"num_devices": count})
        built = small.build(STREAMS)
        assert len(built.devices) == count
        names = [node.name for node in built.nodes]
        assert len(set(names)) == len(names)
        assert [node.kind for node in built.nodes[:count]] == ["device"] * count
        ends = {(link.src.name, link.dst.name) for link in built.links}
        assert len(ends) == len(built.links)
        assert ends == {(b, a) for a, b in ends}
        assert all(a != b for a, b in ends)
        assert [link.index for link in built.links] == list(range(len(built.links)))
        for link in built.links:
            metres = np.hypot(link.src.x_m - link.dst.x_m, link.src.y_m - link.dst.y_m)
            assert link.distance_m == pytest.approx(metres)
        assert built.nodes == small.build(RandomStreams(STREAMS.seed)).nodes


def device_profile(spec: Any) -> None:
    assert isinstance(spec, DeviceProfile)
    assert spec.count is None
    assert spec.flop_per_s >= 1e9
    assert spec.memory_bytes >= 10**9
    assert min(spec.idle_w, spec.compute_w, spec.rx_w, spec.tx_circuit_w) >= 0
    assert 0 < spec.amplifier_efficiency <= 1
    settings = {name: getattr(spec, name) for name in DeviceProfile.model_fields if name != "count"}
    build_spec(FAMILIES["device_profile"]["custom"], from_python(settings), FAMILIES, family=Family("device_profile"))


def dataset(spec: Any, folder: Any) -> None:
    if "directory" in type(spec).model_fields:
        spec = spec.model_copy(update={"directory": str(folder)})
    for path in spec.find():
        assert path.is_file()
    data = spec.load(STREAMS)
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        assert x.shape[1:] == spec.input_shape
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        assert len(x) == len(y) > 0
        assert x.min() >= 0
        assert x.max() <= 1
        assert set(y.tolist()) == set(range(data.num_classes))
    assert data.num_classes == spec.num_classes
    assert data.digest == spec.load(RandomStreams(STREAMS.seed)).digest
    fewer = spec.model_copy(update={"max_train": 33, "max_test": 22})
    assert fewer.num_train_kept() == len(fewer.load(STREAMS).train_y) == 33
    assert len(fewer.load(STREAMS).test_y) == 22


def partition(spec: Any) -> None:
    labels = np.random.default_rng(0).integers(0, 10, 900)
    parts = spec.assign(labels, num_clients=7, num_classes=10, rng=np.random.default_rng(1))
    assert len(parts) == 7
    assert all(len(part) for part in parts)
    assert all((np.diff(part) > 0).all() for part in parts)
    together = np.concatenate(parts)
    assert len(set(together.tolist())) == len(together)
    assert set(together.tolist()) <= set(range(900))
    again = spec.assign(labels, num_clients=7, num_classes=10, rng=np.random.default_rng(1))
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))
    with pytest.raises(ValueError, match="training samples"):
        spec.check(11, 10, 10)


def _same_start(build: Callable[[Any], Any]) -> Any:
    """Build twice from one seed, once from another, with the global generator disturbed; return the first."""
    import torch

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second, other = build(generator(0)), build(generator(0)), build(generator(1))
    assert torch.equal(state, torch.get_rng_state()), "the global random state isn't touched"
    one, two, three = (torch.cat([p.flatten() for p in m.parameters()]) for m in (first, second, other))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert one.isfinite().all()
    assert not list(first.buffers()), "statistics can't be averaged"
    return first


def _num_values(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def extractor(spec: Any) -> None:
    import torch

    shape = (1, 12, 12)
    spec.check(shape)
    module = _same_start(partial(spec.build, shape))
    assert _num_values(module) == spec.num_parameters(shape)
    h = module(torch.rand(5, *shape, generator=generator()))
    assert h.shape == (5, spec.num_features)
    assert h.isfinite().all()


def expert(spec: Any) -> None:
    import torch

    module = _same_start(partial(spec.build, 6, 4))
    assert _num_values(module) == spec.num_parameters(6, 4)
    assert module(torch.rand(5, 6, generator=generator())).shape == (5, 4)


def gate(spec: Any) -> None:
    import torch

    module = _same_start(partial(spec.build, 6, 4))
    names = list(module.state_dict())
    assert {name.partition(".")[0] for name in names} == {"shared", "local"}
    assert _num_values(module) == spec.num_parameters(6, 4)
    assert _num_values(module.shared) == spec.num_shared_parameters(6, 4)
    assert module(torch.rand(5, 6, generator=generator())).shape == (5, 4)


def _trained(key: str, spec: Any) -> Any:
    """Prepare the tiny scenario with one stage replaced and run all its training."""
    from nmoe_sim.checks import check
    from nmoe_sim.lifecycle import train
    from nmoe_sim.preparation import prepare

    scenario = tiny_scenario({key: spec})
    learning = prepare(scenario, check(scenario))
    env = learning.simulation.env
    env.run(env.process(train(learning)))
    return learning


def _books(learning: Any, stage: str) -> None:
    """Every client has a row a round, in time, with a finite loss; a stage takes time and moves real bytes."""
    rounds = learning.simulation.recorder.arrow("rounds").to_pandas()
    rounds = rounds[rounds["stage"] == stage]
    assert len(rounds) == 3 * rounds["round"].nunique() > 0
    assert set(rounds["client"]) == set(learning.clients)
    assert np.isfinite(rounds["loss"]).all()
    assert (rounds["t_end_s"] > rounds["t_start_s"]).all()
    assert rounds["num_samples"].tolist() == learning.data.num_train * rounds["round"].nunique()
    hops = learning.simulation.recorder.arrow("transfers").to_pandas()
    for column, end, other in (("bytes_down", "dst", "src"), ("bytes_up", "src", "dst")):
        moved = hops[(hops["stage"] == stage) & hops["round"].notna() & (hops[other] == learning.server)]
        assert rounds.groupby("client")[column].sum().sum() == moved.groupby(end)["n_bytes"].sum().sum()


def extractor_training(spec: Any) -> None:
    learning = _trained("training.extractor", spec.model_copy(update={"rounds": 2}))
    _books(learning, "extractor")
    assert [h.shape for h in learning.train_h] == [(n, 8) for n in learning.data.num_train]
    assert learning.tested_h.isfinite().all()


def expert_training(spec: Any) -> None:
    learning = _trained("training.experts", spec)
    _books(learning, "experts")
    assert learning.tested_outputs.shape == (3, 60, 10)
    assert learning.tested_outputs.isfinite().all()
    assert [o.shape for o in learning.train_outputs] == [(n, 3, 10) for n in learning.data.num_train]


def gate_training(spec: Any) -> None:
    learning = _trained("training.gate", spec.model_copy(update={"rounds": 2}))
    _books(learning, "gate")
    names = learning.gate.state_dict().keys()
    assert [state.keys() for state in learning.gates] == [names] * 3
    assert any(
        not bool((state[name] == learning.gate.state_dict()[name]).all()) for state in learning.gates for name in names
    )


def placement(spec: Any) -> None:
    from nmoe_sim.placement.problem import PlacementProblem

    rng = np.random.default_rng(4)
    delay_s = rng.uniform(0.01, 0.1, (4, 6))
    delay_s[np.arange(4), np.arange(4)] = 0.0
    problem = PlacementProblem(
        demand_hz=rng.uniform(0.5, 2.0, (4, 4)),
        link_delay_s=delay_s,
        client_device=np.arange(4),
        expert_flop=np.full(4, 1e6),
        expert_bytes=np.full(4, 1000),
        flop_per_s=np.array([1e9, 1e9, 1e9, 1e9, 5e9, 2e9]),
        free_memory_bytes=np.array([1500, 1500, 1500, 1500, 2500, 900]),
        owner=np.arange(4),
    )
    answer = spec.solve(problem, np.random.default_rng(5))
    assert problem.violations(answer.hosts) == ()
    assert answer.objective == pytest.approx(problem.evaluate(answer.hosts))
    assert answer.solver == spec.kind
    assert answer.bound is None or answer.bound <= answer.objective
    again = spec.solve(problem, np.random.default_rng(5))
    assert np.array_equal(answer.hosts, again.hosts)
    assert spec.max_utilisation is None or 0 < spec.max_utilisation <= 1


CONTRACTS: dict[str, Callable[..., None]] = {
    "dataset": dataset,
    "partition": partition,
    "topology": topology,
    "device_profile": device_profile,
    "path_loss": path_loss,
    "shadowing": shadowing,
    "fading": fading,
    "link_adaptation": link_adaptation,
    "sharing": sharing,
    "extractor": extractor,
    "expert": expert,
    "gate": gate,
    "extractor_training": extractor_training,
    "expert_training": expert_training,
    "gate_training": gate_training,
    "placement": placement,
    "arrivals": arrivals,
    "routing": routing,
}


def test_every_family_has_a_contract():
    assert CONTRACTS.keys() == FAMILIES.keys()


@pytest.mark.parametrize(("family", "kind"), ROWS)
def test_contract(family, kind, request):
    extra = [request.getfixturevalue("fashion_files")] if family == "dataset" else []
    CONTRACTS[family](make(family, kind), *extra)


@pytest.mark.parametrize("family", CONTRACTS)
def test_the_default_of_a_family_is_one_of_its_rows(family):
    """Every place in a scenario that names this family builds its default."""
    from nmoe_sim.scenario.scenario import Scenario
    from nmoe_sim.scenario.slots import slots

    found = []

    def walk(cls: type[Spec]) -> None:
        for slot in slots(cls).values():
            if slot.section is not None:
                walk(slot.section)
            elif slot.family is not None and slot.family.name == family:
                found.append(slot.family.default)
                assert slot.family.default is None or slot.family.default in FAMILIES[family]

    for cls in (Scenario, *(cls for table in FAMILIES.values() for cls in table.values())):
        walk(cls)
    assert found, "no place in a scenario names this family"
