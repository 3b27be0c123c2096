"""The scenario: everything a run depends on, frozen and checked.

A field of a family or of a section has no default here: the loader builds what is left out (a
section's defaults, a family's default kind) before the section that holds it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.document import Document
from nmoe_sim.scenario.dump import MACHINE_DEPENDENT
from nmoe_sim.scenario.quantities import Bytes, Count, NonNegative, Positive, Seed
from nmoe_sim.scenario.spec import Family, Spec


class RetrySection(Spec):
    """What happens to a hop that failed: it is tried again, after a pause that doubles from attempt to attempt."""

    max_retries: Annotated[int, Field(ge=0, le=1000)] = 3
    """Further attempts at a hop in inference, then the payload is given up."""
    max_training_retries: Annotated[int, Field(ge=0, le=1000)] | None = None
    """The same in training; null: until it gets through."""
    backoff_s: Positive = 0.01
    """Pause before the first of them; an engineering assumption."""
    max_backoff_s: Positive = 1.0
    """Longest pause."""


class RadioSection(Spec):
    """Spectrum, powers and the laws that turn positions into bit/s."""

    carrier_hz: Annotated[float, Field(ge=1e8, le=1e12)] = 3.5e9
    """Carrier frequency."""
    bandwidth_hz: Annotated[float, Field(gt=0, le=1e11)] = 20e6
    """Bandwidth of each medium: uplink, downlink and sidelink have one each (see ``duplex``)."""
    duplex: Literal["full", "half"] = "full"
    """``full``: uplink, downlink and sidelink on bands of their own; ``half``: one band shared in time, on which both
    directions of a link fade alike."""
    reuse_factor: Annotated[int, Field(ge=1, le=100)] = 1
    """Into how many parts several base stations divide the band; those that use the same part interfere."""
    sidelinks: Literal["time_shared", "concurrent"] = "time_shared"
    """Sidelinks take turns on one medium, or every transmitter has one and all interfere."""
    tx_power_dbm: Annotated[float, Field(ge=-60, le=90)] = 23.0
    """Radiated power of a device."""
    base_station_tx_power_dbm: Annotated[float, Field(ge=-60, le=90)] = 33.0
    """Radiated power of a base station."""
    noise_figure_db: Annotated[float, Field(ge=0, le=50)] = 9.0
    """Noise figure of a device's receiver."""
    base_station_noise_figure_db: Annotated[float, Field(ge=0, le=50)] = 5.0
    """Noise figure of a base station's receiver."""
    device_height_m: Positive = 1.5
    """Antenna height of devices."""
    base_station_height_m: Positive = 10.0
    """Antenna height of base stations."""
    access_delay_s: Annotated[float, Field(ge=0, le=3600)] = 1e-3
    """Time from handing a payload to a hop's radio to its first bit: scheduling, two slots of 0.5 ms by default."""
    outage_timeout_s: Positive = 1.0
    """A hop that has no rate for this long has failed."""
    retry: RetrySection = RetrySection()
    """Hops that failed."""
    strict: bool = False
    """Refuse links outside the range the path-loss law was made for, instead of a warning."""
    base_station_antenna: Annotated[Any, Family("antenna", default="isotropic")]
    """Antenna of base stations."""
    device_antenna: Annotated[Any, Family("antenna", default="isotropic")]
    """Antenna of devices."""
    channel: Annotated[Any, Family("channel", default="model")]
    """Where gains come from: the laws below, or elsewhere."""
    path_loss: Annotated[Any, Family("path_loss", default="tr38901_umi")]
    """Path-loss law of every link."""
    shadowing: Annotated[Any, Family("shadowing", default="log_normal")]
    """Large-scale fading around the path loss."""
    fading: Annotated[Any, Family("fading", default="rayleigh")]
    """Small-scale fading."""
    link_adaptation: Annotated[Any, Family("link_adaptation", default="shannon")]
    """SINR to bit/s."""
    sharing: Annotated[Any, Family("sharing", default="equal_share")]
    """How the active transfers of a medium share it."""


class ModelSection(Spec):
    """The networked mixture of experts."""

    extractor: Annotated[Any, Family("extractor", default="mlp")]
    """Feature extractor, shared by all clients."""
    expert: Annotated[Any, Family("expert", default="mlp")]
    """One personalised expert a client."""
    gate: Annotated[Any, Family("gate", default="mlp")]
    """Gate; scores = shared part + local part."""
    top_k: Count = 2
    """Experts asked for each sample."""
    combine: Literal["logits", "probabilities"] = "probabilities"
    """What the weighted combination adds up: the experts' logits or their softmax."""


class TrainingSection(Spec):
    """The three stages, in order."""

    server: str | None = None
    """Device that aggregates; null: the base station, or without one the most central device."""
    memory_bytes: Annotated[Bytes | None, Field(json_schema_extra={MACHINE_DEPENDENT: True})] = None
    """Bound on the memory of what is trained at the same time on the machine that simulates, at least what one
    client or block of small models needs; null: none. It changes no value and no simulated time."""
    extractor: Annotated[Any, Family("extractor_training", default="fedce")]
    """Stage 1."""
    experts: Annotated[Any, Family("expert_training", default="local")]
    """Stage 2."""
    gate: Annotated[Any, Family("gate_training", default="fedgate")]
    """Stage 3."""


class InferenceSection(Spec):
    """The request load and how it is served."""

    duration_s: Annotated[float, Field(ge=1e-6, le=1e8)] = 60.0
    """Requests arrive this long; the run ends when the last one is done."""
    deadline_s: Positive | None = None
    """Latency a request should keep; null: none."""
    at_deadline: Literal["wait", "expire", "combine"] = "wait"
    """At the deadline: go on waiting, give the request up, or combine the outputs that have arrived."""
    samples: Literal["global", "local"] = "global"
    """What clients ask: samples of the common test set, or of test data distributed as their own."""
    arrivals: Annotated[Any, Family("arrivals", default="poisson")]
    """Arrival process of each client's requests."""
    features: Annotated[Any, Family("feature_transport", default="fp32")]
    """How features travel to experts elsewhere."""
    routing: Annotated[Any, Family("routing", default="top_k")]
    """Which experts a request asks."""
    view_period_s: NonNegative = 0.1
    """A routing policy sees a snapshot of the network, taken this often; 0: as it is."""


class Scenario(Document):
    """Everything a run depends on. Build one with ``load_scenario`` or ``build_scenario``."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    """Names the run directory: letters, digits, '.', '_' and '-'."""
    description: Annotated[str, Field(json_schema_extra={MACHINE_DEPENDENT: True})] = ""
    """One line for ``nmoe-sim scenarios``."""
    seed: Seed = 0
    """Seed of every random draw."""
    data: Annotated[Any, Family("dataset", default="digits")]
    """Data set and how it is split over the clients."""
    topology: Annotated[Any, Family("topology", default="cell")]
    """Where the devices are and who is linked to whom."""
    radio: RadioSection
    """Spectrum and radio laws."""
    mobility: Annotated[Any, Family("mobility", default="static")]
    """How devices move."""
    handover: Annotated[Any, Family("handover", default="a3")]
    """When a device that moves changes its base station."""
    faults: Annotated[Any, Family("faults", default="none")]
    """When devices are away."""
    devices: tuple[Annotated[DeviceProfile, Family("device_profile", key="profile")], ...] = ()
    """Groups of devices, in order; empty: all are phones."""
    model: ModelSection
    """Extractor, experts, gate."""
    training: TrainingSection
    """The three stages."""
    placement: Annotated[Any, Family("placement", default="home")]
    """Which device hosts which expert."""
    inference: InferenceSection
    """Request load and routing."""
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(json_schema_extra={MACHINE_DEPENDENT: True})] = "auto"
    """Where tensors are computed; it changes no simulated time."""
