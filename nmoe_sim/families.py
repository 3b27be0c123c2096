"""Every extension family's table: what ``kind`` may be, and who implements it.

A new implementation is a spec class in a file of its own plus one row here; or, outside this
package, an entry point of the group ``nmoe_sim.families`` or a file named with ``--plugin``, either of
which provides ``FAMILIES = {"routing": [MyPolicy]}``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from nmoe_sim.engine import device_profiles, faults, handover, mobility, sharing, topologies
from nmoe_sim.engine.radio import antennas, channel, fading, link_adaptation, path_loss, shadowing
from nmoe_sim.errors import InputError
from nmoe_sim.inference import arrivals, routing
from nmoe_sim.nmoe import (
    augment,
    channel_aware,
    compression,
    datasets,
    experts,
    extractors,
    feature_skew,
    gates,
    local_update,
    partition,
    privacy,
    server_update,
    transport,
)
from nmoe_sim.placement import solvers
from nmoe_sim.scenario import dvfs
from nmoe_sim.scenario.loader import build, load
from nmoe_sim.scenario.merge import Override
from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.scenario.spec import Families, Spec
from nmoe_sim.training import baselines, channel_gate, fedce, fedgate, fedsc, peer_gates, ruled_gates, spectral
from nmoe_sim.training import experts as expert_training
from nmoe_sim.training.federation import protocols, selection

_BUILT_IN: Mapping[str, Sequence[type[Spec]]] = {
    "dataset": [
        datasets.Digits,
        datasets.FashionMnist,
        datasets.Cifar10,
        datasets.Cifar100,
        datasets.Cifar100Coarse,
    ],
    "partition": [
        partition.Iid,
        partition.Dirichlet,
        partition.Shards,
        partition.QuantityDirichlet,
        partition.QuantityLogNormal,
        partition.QuantityPowerLaw,
    ],
    "feature_skew": [
        feature_skew.NoFeatureSkew,
        feature_skew.Rotation,
        feature_skew.Noise,
        feature_skew.Combined,
    ],
    "augmentation": [augment.Affine, augment.CropJitter],
    "topology": [
        topologies.Cell,
        topologies.Star,
        topologies.Disc,
        topologies.Grid,
        topologies.RandomGeometric,
        topologies.MultiCell,
        topologies.FileTopology,
    ],
    "mobility": [mobility.Static, mobility.RandomWaypoint, mobility.GaussMarkov, mobility.Trace],
    "handover": [handover.NoHandover, handover.A3Handover],
    "dvfs": [dvfs.NoDvfs, dvfs.Fixed, dvfs.Deadline, dvfs.EnergyOptimal],
    "faults": [faults.NoFaults, faults.OnOff, faults.Trace],
    "device_profile": [
        device_profiles.Phone,
        device_profiles.RaspberryPi4,
        device_profiles.JetsonOrinNano,
        device_profiles.EdgeServer,
        device_profiles.BaseStation,
        device_profiles.Custom,
    ],
    "channel": [channel.Model, channel.Trace, channel.Sionna],
    "path_loss": [
        path_loss.FreeSpace,
        path_loss.LogDistance,
        path_loss.MacroCell,
        path_loss.UrbanMicro,
        path_loss.UrbanMacro,
        path_loss.RuralMacro,
        path_loss.IndoorOffice,
        path_loss.IndoorFactory,
    ],
    "shadowing": [shadowing.NoShadowing, shadowing.LogNormal],
    "fading": [fading.NoFading, fading.Rayleigh, fading.Rician, fading.Nakagami],
    "antenna": [antennas.Isotropic, antennas.Sector, antennas.PlanarArray],
    "link_adaptation": [link_adaptation.Shannon, link_adaptation.Nr],
    "sharing": [
        sharing.EqualShare,
        sharing.Fifo,
        sharing.RoundRobin,
        sharing.ProportionalFair,
        sharing.Fdma,
        sharing.MinMaxLatency,
        sharing.MaxMin,
        sharing.CsmaCa,
    ],
    "extractor": [
        extractors.MlpExtractor,
        extractors.CnnExtractor,
        extractors.ResNetExtractor,
        extractors.VitExtractor,
    ],
    "expert": [experts.MlpExpert],
    "gate": [gates.MlpGate, channel_aware.ChannelAwareGate],
    "extractor_training": [
        fedce.FedCE,
        fedsc.FedSC,
        spectral.Spectral,
        baselines.Untrained,
        baselines.LocalOnly,
        baselines.Dense,
        baselines.FedPer,
        baselines.FedRep,
        baselines.Centralised,
    ],
    "expert_training": [expert_training.LocalTraining, expert_training.Heads],
    "gate_training": [
        fedgate.FedGate,
        peer_gates.RanGate,
        peer_gates.RollGate,
        channel_gate.ChannelAware,
        ruled_gates.OwnGate,
        ruled_gates.OracleGate,
        baselines.JointGate,
    ],
    "local_update": [local_update.Sgd, local_update.FedProx, local_update.Scaffold],
    "server_update": [
        server_update.Average,
        server_update.FedAvgM,
        server_update.FedAdam,
        server_update.FedYogi,
        server_update.FedAdagrad,
    ],
    "protocol": [
        protocols.Synchronous,
        protocols.Deadline,
        protocols.OverSelection,
        protocols.Asynchronous,
        protocols.Buffered,
        protocols.Gossip,
    ],
    "selection": [
        selection.AllClients,
        selection.RandomClients,
        selection.PoissonClients,
        selection.RoundRobin,
        selection.ChannelAware,
        selection.EnergyAware,
    ],
    "compression": [compression.NoCompression, compression.Quantise, compression.TopK],
    "privacy": [privacy.NoPrivacy, privacy.DpFedAvg],
    "placement": [solvers.Home, solvers.RandomPlacement, solvers.Greedy, solvers.MILP],
    "arrivals": [
        arrivals.Poisson,
        arrivals.Deterministic,
        arrivals.Diurnal,
        arrivals.Mmpp,
        arrivals.Trace,
    ],
    "feature_transport": [transport.Float32, transport.Float16, transport.Int8, transport.Analog],
    "routing": [routing.TopK, routing.LocalOnly, routing.RandomExperts, routing.AllExperts],
}


_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "dataset": ("load", "find", "num_train_kept", "partition", "feature_skew"),
    "partition": ("assign", "check", "classes_held"),
    "feature_skew": ("apply", "label"),
    "augmentation": ("apply",),
    "topology": ("build",),
    "device_profile": (),
    "mobility": ("trajectory",),
    "handover": ("rule",),
    "dvfs": ("governs",),
    "faults": ("never", "outages"),
    "channel": ("build",),
    "path_loss": (
        "validity_range",
        "los_decorrelation_m",
        "path_loss_db",
        "los_probability",
        "shadow_fading_std_db",
        "shadow_decorrelation_m",
        "in_validity_range",
    ),
    "antenna": ("beam_towards", "gain_db"),
    "shadowing": ("decorrelation_m", "shadowing_db"),
    "fading": ("coherence_time_s", "power_gain"),
    "link_adaptation": ("is_lossless", "report_delay_s", "effective_sinr", "transmission", "check"),
    "sharing": ("media", "plan"),
    "extractor": ("build", "num_parameters", "check"),
    "expert": ("build", "num_parameters"),
    "gate": ("build", "num_parameters"),
    "extractor_training": ("clock", "values", "check", "reshaped", "trains_experts", "heads_travel"),
    "expert_training": ("clock", "values", "check", "reshaped"),
    "gate_training": ("clock", "values", "check", "reshaped", "experts_held"),
    "local_update": ("proximal", "has_variates", "check"),
    "server_update": ("step",),
    "protocol": ("clock", "check", "check_topology", "has_rounds", "has_server"),
    "selection": ("choose", "number", "share", "sampling_rate", "needs_server"),
    "compression": ("payload_bytes", "compress"),
    "privacy": ("clip", "noise", "epsilon", "equal_weights"),
    "placement": ("solve",),
    "arrivals": ("times_s", "mean_rate_hz"),
    "feature_transport": ("num_bytes", "received", "is_exact", "is_analog"),
    "routing": ("route",),
}
"""What an implementation of each family must have: methods, properties, fields or class variables."""


def families(plugins: Iterable[str | Path] = ()) -> Families:
    """Return the table of all families: built in, installed, and from plug-in files.

    Raises
    ------
    InputError
        If a plug-in can't be read, names an unknown family or takes a kind that exists.
    """
    table: dict[str, dict[str, type[Spec]]] = {}
    for name, specs in _BUILT_IN.items():
        table[name] = {spec.kind: spec for spec in specs}
    for point in entry_points(group="nmoe_sim.families"):
        _add(table, point.load(), f"entry point {point.name}")
    for plugin in plugins:
        _add(table, _read_plugin(Path(plugin)), str(plugin))
    return table


def _add(table: dict[str, dict[str, type[Spec]]], additions: Any, where: str) -> None:
    if not isinstance(additions, Mapping):
        raise InputError('defines no FAMILIES; write FAMILIES = {"routing": [MyPolicy]}', where=where)
    for name, specs in additions.items():
        if name not in table:
            raise InputError(f"unknown family {name!r}; one of {', '.join(sorted(table))}", where=where)
        if not isinstance(specs, Sequence) or isinstance(specs, str):
            raise InputError(f"family {name!r} needs a list of specs, such as [MyPolicy]", where=where)
        for spec in specs:
            if not (isinstance(spec, type) and issubclass(spec, Spec) and spec.kind):
                raise InputError(f"{spec!r} in family {name!r} is not a Spec with a kind", where=where)
            if spec.kind in table[name]:
                raise InputError(f"family {name!r} already has the kind {spec.kind!r}; rename it", where=where)
            if lacking := [member for member in _MEMBERS[name] if not _implements(spec, member)]:
                raise InputError(f"{spec.__name__} in family {name!r} lacks {', '.join(lacking)}", where=where)
            table[name][spec.kind] = spec


def _implements(spec: type[Spec], member: str) -> bool:
    if member in spec.model_fields:
        return True
    return hasattr(spec, member) and not getattr(getattr(spec, member), "__isabstractmethod__", False)


def _read_plugin(path: Path) -> Any:
    if not path.is_file():
        raise InputError("no such plug-in file", where=str(path))
    module_name = f"nmoe_sim_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise InputError("a plug-in is a Python file, .py", where=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # pydantic looks annotations up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's file does wrong, in one line
        del sys.modules[module_name]
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"the plug-in failed: {what}", where=str(path)) from error
    return getattr(module, "FAMILIES", None)


def load_scenario(
    path: str | Path, *, overrides: Iterable[Override] = (), plugins: Iterable[str | Path] = ()
) -> Scenario:
    """Read and check a scenario file.

    Parameters
    ----------
    path : str or Path
    overrides : iterable of Override
        Settings that replace the file's, as ``--set`` gives them.
    plugins : iterable of str or Path
        Python files that add implementations.

    Raises
    ------
    InputError
        With file, line, column, key, value, rule and remedy.
    """
    return load(path, families=families(plugins), overrides=tuple(overrides))


def build_scenario(mapping: Mapping[str, Any], *, plugins: Iterable[str | Path] = ()) -> Scenario:
    """Build a scenario from a mapping of the same keys; values may be specs already built."""
    return build(mapping, families=families(plugins))
