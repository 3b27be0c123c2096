"""A small table of families, so that the tests of the loader know every kind there is."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.dvfs import NoDvfs
from nmoe_sim.scenario.quantities import Bytes, Count, NonNegative, Positive
from nmoe_sim.scenario.spec import Families, Family, Spec


class Iid(Spec):
    kind: ClassVar[str] = "iid"


class Dirichlet(Spec):
    kind: ClassVar[str] = "dirichlet"
    alpha: Positive = 0.5
    """Concentration."""


class Digits(Spec):
    kind: ClassVar[str] = "digits"
    partition: Annotated[Any, Family("partition", default="iid")]
    """How samples are split."""
    folder: Annotated[str | None, Field(json_schema_extra={"machine_dependent": True})] = None
    """Where the files are."""


class Blobs(Spec):
    kind: ClassVar[str] = "blobs"
    partition: Annotated[Any, Family("partition", default="dirichlet")]
    """How samples are split."""
    num_classes: Count
    """Classes."""
    size_bytes: Bytes = 1000
    """Size of a sample."""
    noise: float | Literal["auto"] = "auto"
    """Noise."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Weight of each class."""


class Cell(Spec):
    kind: ClassVar[str] = "cell"
    num_devices: Count = 10
    """Devices."""
    radius_m: Positive = 100.0
    """Radius."""
    area_m: tuple[Positive, Positive] = (1.0, 2.0)
    """Sides."""


class Star(Spec):
    kind: ClassVar[str] = "star"
    num_devices: Count = 5
    """Devices."""
    hub: Literal["server", "device"] = "server"
    """What sits in the middle."""
    full_mesh: bool = False
    """Whether the leaves are linked too."""

    @model_validator(mode="after")
    def _check(self) -> Star:
        if self.hub == "device" and self.num_devices < 3:
            raise ValueError("a star around a device needs at least 3 devices; raise 'num_devices'")
        return self


class Umi(Spec):
    kind: ClassVar[str] = "tr38901_umi"


class LogDistance(Spec):
    kind: ClassVar[str] = "log_distance"
    exponent: Positive = 3.0
    """Exponent."""
    reference_db: float = 40.0
    """Loss at one metre."""


class LogNormal(Spec):
    kind: ClassVar[str] = "log_normal"


class Isotropic(Spec):
    kind: ClassVar[str] = "isotropic"


class Model(Spec):
    kind: ClassVar[str] = "model"


class Static(Spec):
    kind: ClassVar[str] = "static"


class A3(Spec):
    kind: ClassVar[str] = "a3"


class NoFaults(Spec):
    kind: ClassVar[str] = "none"


class Rayleigh(Spec):
    kind: ClassVar[str] = "rayleigh"
    coherence_s: NonNegative = 0.01
    """Length of a block."""


class Shannon(Spec):
    kind: ClassVar[str] = "shannon"


class EqualShare(Spec):
    kind: ClassVar[str] = "equal_share"


class Mlp(Spec):
    kind: ClassVar[str] = "mlp"
    widths: tuple[Count, ...] = (64,)
    """Hidden widths."""


class FedCe(Spec):
    kind: ClassVar[str] = "fedce"
    rounds: Count = 10
    """Rounds."""


class Local(Spec):
    kind: ClassVar[str] = "local"


class FedGate(Spec):
    kind: ClassVar[str] = "fedgate"
    rounds: Count = 10
    """Rounds."""


class Home(Spec):
    kind: ClassVar[str] = "home"


class Poisson(Spec):
    kind: ClassVar[str] = "poisson"
    rate_hz: Positive = 1.0
    """Requests a second, each client."""


class Floats(Spec):
    kind: ClassVar[str] = "fp32"


class TopK(Spec):
    kind: ClassVar[str] = "top_k"


class Phone(DeviceProfile):
    kind: ClassVar[str] = "phone"
    flop_per_s: Positive = 1e10
    memory_bytes: Bytes = 8 * 10**9
    idle_w: NonNegative = 0.5
    compute_w: NonNegative = 4.0
    rx_w: NonNegative = 1.0
    tx_circuit_w: NonNegative = 1.0
    amplifier_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.35


class Server(Phone):
    kind: ClassVar[str] = "server"
    memory_bytes: Bytes = 64 * 10**9
    num_racks: Count = 1
    """Racks."""


def _table(*kinds: type[Spec]) -> dict[str, type[Spec]]:
    return {cls.kind: cls for cls in kinds}


FAMILIES: Families = {
    "dataset": _table(Digits, Blobs),
    "partition": _table(Iid, Dirichlet),
    "topology": _table(Cell, Star),
    "mobility": _table(Static),
    "handover": _table(A3),
    "dvfs": _table(NoDvfs),
    "faults": _table(NoFaults),
    "antenna": _table(Isotropic),
    "channel": _table(Model),
    "path_loss": _table(Umi, LogDistance),
    "shadowing": _table(LogNormal),
    "fading": _table(Rayleigh),
    "link_adaptation": _table(Shannon),
    "sharing": _table(EqualShare),
    "device_profile": _table(Phone, Server),
    "extractor": _table(Mlp),
    "expert": _table(Mlp),
    "gate": _table(Mlp),
    "extractor_training": _table(FedCe),
    "expert_training": _table(Local),
    "gate_training": _table(FedGate),
    "placement": _table(Home),
    "arrivals": _table(Poisson),
    "feature_transport": _table(Floats),
    "routing": _table(TopK),
}
