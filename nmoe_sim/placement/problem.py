"""The placement problem: which device hosts which expert.

Client c asks expert e at rate λ_ce. If e is hosted by device h(e), each ask waits d_{c,h(e)} for the
links and F_e / S_{h(e)} for the computation::

    minimise    J = Σ_{c,e} λ_ce · (d_{c,h(e)} + F_e / S_{h(e)})     expert-seconds per second
    subject to  Σ_{e: h(e)=v} b_e          ≤ M_v                     memory of each device v, bytes
                Σ_{e: h(e)=v} F_e Σ_c λ_ce ≤ max(0, ρ - u_v) · S_v   computation (stability), FLOP/s
                d_{c,h(e)} < ∞  where λ_ce > 0                       reach

Every expert has exactly one host, so J = Σ_e cost[e, h(e)]: a generalised assignment problem, which
is NP-hard (Martello and Toth 1990, *Knapsack Problems*, ch. 7).

Our interpretation: what is minimised is the delay added up over the experts of a request, that is, the
mean over (request, expert) pairs times their rate. It leaves out queueing and contention on the links,
and a real request waits for the slowest of its experts, not for their sum; all three would make the
cost depend on what else is placed where.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmoe_sim.placement.outcome import Placement, PlacementError, Violation, si

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_MAX_EXACT = 2**53
# Rates are sums of rounded products, so a device filled to the brim may look an ulp too full. Bytes are exact.
_ROUND_OFF = 1e-9


@dataclass(frozen=True, eq=False)
class Resource:
    """Something a device has only so much of."""

    constraint: Literal["memory", "compute"]
    """Its name among the constraints."""
    unit: str
    """``B`` or ``FLOP/s``."""
    left: str
    """How a message calls what a device has of it."""
    need: FloatArray
    """What each expert takes, ``[E]``."""
    capacity: FloatArray
    """What each device has, ``[V]``."""
    limit: FloatArray
    """What each device may be asked for: the capacity and an allowance for round-off, ``[V]``."""

    def used(self, hosts: IntArray) -> FloatArray:
        """Sum of the needs on each device, ``[V]``; experts whose host is negative are left out."""
        placed = hosts >= 0
        totals = np.bincount(hosts[placed], weights=self.need[placed], minlength=self.capacity.size)
        return totals.astype(np.float64)


@dataclass(frozen=True, eq=False)
class PlacementProblem:
    """Experts E, devices V and clients C (devices that ask), as NumPy arrays.

    Array-likes are accepted, copied and made read-only.

    Raises
    ------
    ValueError
        If a shape doesn't match, or a value is negative, not a number, out of range or, for bytes and
        indices, not whole.
    """

    demand_hz: FloatArray
    """Rate at which client c asks expert e, shape ``[C, E]``."""
    link_delay_s: FloatArray
    """Uncontended time of the features to device v and the output back, ``[C, V]``; inf: out of reach."""
    client_device: IntArray
    """Device index of each client, ``[C]``; its ``link_delay_s`` to itself is 0."""
    expert_flop: FloatArray
    """FLOP of one ask, ``[E]``."""
    expert_bytes: IntArray
    """Memory an expert takes, ``[E]``."""
    flop_per_s: FloatArray
    """Speed of each device, ``[V]``."""
    free_memory_bytes: IntArray
    """Memory left for experts, ``[V]``, after what every device holds anyway."""
    owner: IntArray
    """Device index of each expert's owner, ``[E]``."""
    base_utilisation: FloatArray | float = 0.0
    """u: share of each device's FLOP/s taken by other work (features, gate), ``[V]`` or one for all."""
    max_utilisation: float = 0.9
    """ρ: share of a device's FLOP/s that all work may take; inf: no stability constraint."""
    expert_names: tuple[str, ...] = ()
    """For messages; empty: ``expert 0``, ``expert 1``, …"""
    device_names: tuple[str, ...] = ()
    """For messages; empty: ``device 0``, ``device 1``, …"""

    def __post_init__(self) -> None:
        if np.ndim(self.demand_hz) != 2 or np.ndim(self.link_delay_s) != 2:
            raise ValueError("demand_hz and link_delay_s must be matrices of shape [C, E] and [C, V]")
        (num_clients, num_experts), num_devices = np.shape(self.demand_hz), np.shape(self.link_delay_s)[1]
        if not (num_clients and num_experts and num_devices):
            raise ValueError(f"needs clients, experts, devices; got {num_clients}, {num_experts}, {num_devices}")
        if not self.max_utilisation > 0:
            raise ValueError(f"max_utilisation must be above 0, got {self.max_utilisation}")
        largest = float(np.finfo(np.float64).max)
        self._store("demand_hz", np.float64, (num_clients, num_experts), largest)
        self._store("link_delay_s", np.float64, (num_clients, num_devices), np.inf)
        self._store("client_device", np.int64, (num_clients,), num_devices - 1)
        self._store("expert_flop", np.float64, (num_experts,), largest)
        self._store("expert_bytes", np.int64, (num_experts,), _MAX_EXACT)
        self._store("flop_per_s", np.float64, (num_devices,), largest)
        self._store("free_memory_bytes", np.int64, (num_devices,), _MAX_EXACT)
        self._store("owner", np.int64, (num_experts,), num_devices - 1)
        base = self.base_utilisation
        object.__setattr__(self, "base_utilisation", np.full(num_devices, base) if np.ndim(base) == 0 else base)
        self._store("base_utilisation", np.float64, (num_devices,), largest)
        if not np.all(self.flop_per_s > 0):
            raise ValueError("flop_per_s: every device needs a speed above 0")
        if np.any(self.link_delay_s[np.arange(num_clients), self.client_device]):
            raise ValueError("link_delay_s: must be 0 between a client and its own device")
        for name, noun, size in (("expert_names", "expert", num_experts), ("device_names", "device", num_devices)):
            names = getattr(self, name) or tuple(f"{noun} {i}" for i in range(size))
            if len(names) != size:
                raise ValueError(f"{name}: {len(names)} names for {size} {noun}s")
            object.__setattr__(self, name, tuple(names))

    def _store(self, name: str, dtype: type[np.generic], shape: tuple[int, ...], high: float) -> None:
        given = np.array(getattr(self, name))
        if given.shape != shape:
            raise ValueError(f"{name}: shape {given.shape}, expected {shape}")
        if not np.all((given >= 0) & (given <= high)):
            raise ValueError(f"{name}: values must be from 0 to {high:g}")
        values = given.astype(dtype)
        if not np.array_equal(values, given):
            raise ValueError(f"{name}: values must be whole numbers")
        values.setflags(write=False)
        object.__setattr__(self, name, values)

    @cached_property
    def reachable(self) -> BoolArray:
        """Whether all clients that ask expert e reach device v, ``[E, V]``."""
        return np.asarray((self.demand_hz.T > 0).astype(np.int64) @ np.isinf(self.link_delay_s).astype(np.int64) == 0)

    @cached_property
    def load_flop_per_s(self) -> FloatArray:
        """FLOP/s that expert e takes from its host, ``[E]``."""
        return np.asarray(self.demand_hz.sum(axis=0) * self.expert_flop)

    @cached_property
    def resources(self) -> tuple[Resource, Resource]:
        """Memory and computation, each with what is needed and what there is."""
        sizes, free = self.expert_bytes.astype(np.float64), self.free_memory_bytes.astype(np.float64)
        capacity = np.maximum(0.0, self.max_utilisation - self.base_utilisation) * self.flop_per_s
        limit = capacity * (1.0 + _ROUND_OFF)
        return (
            Resource("memory", "B", "free", sizes, free, free),
            Resource("compute", "FLOP/s", "for experts", self.load_flop_per_s, capacity, limit),
        )

    @cached_property
    def fits_alone(self) -> BoolArray:
        """Whether device v could host expert e and nothing else, ``[E, V]``."""
        memory, compute = (resource.need[:, None] <= resource.limit for resource in self.resources)
        return self.reachable & memory & compute

    @cached_property
    def cost(self) -> FloatArray:
        """Share of the objective if device v hosts expert e, ``[E, V]``; inf where out of reach."""
        delay_s = np.where(np.isinf(self.link_delay_s), 0.0, self.link_delay_s)
        # not a BLAS product: its bits would depend on the number of threads
        cost = np.einsum("ce,cv->ev", self.demand_hz, delay_s) + self.load_flop_per_s[:, None] / self.flop_per_s
        return np.where(self.reachable, cost, np.inf)

    def evaluate(self, hosts: ArrayLike) -> float:
        """Objective J of a placement, feasible or not; inf if a client can't reach a host it asks.

        Parameters
        ----------
        hosts : array_like of int
            Device index of each expert's host, shape ``[E]``.
        """
        checked = self._checked(hosts)
        return float(self.cost[np.arange(checked.size), checked].sum())

    def violations(self, hosts: ArrayLike) -> tuple[Violation, ...]:
        """Every constraint that a placement breaks, and by how much; empty if it is feasible.

        Bytes are compared exactly, FLOP/s up to a relative round-off of 1e-9.

        Parameters
        ----------
        hosts : array_like of int
            Device index of each expert's host, shape ``[E]``.
        """
        checked = self._checked(hosts)
        found: list[Violation] = []
        for resource in self.resources:
            used = resource.used(checked)
            for v in np.flatnonzero(used > resource.limit):
                excess = float(used[v] - resource.capacity[v])
                message = (
                    f"{self.device_names[v]} needs {si(float(used[v]), resource.unit)} for its experts and has "
                    f"{si(float(resource.capacity[v]), resource.unit)} {resource.left}: "
                    f"{si(excess, resource.unit)} short"
                )
                found.append(Violation(resource.constraint, int(v), excess, message))
        for e in np.flatnonzero(~self.reachable[np.arange(checked.size), checked]):
            found.append(self.out_of_reach(int(e), int(checked[e])))
        return tuple(found)

    def out_of_reach(self, expert: int, device: int) -> Violation:
        """Name the clients that ask ``expert`` and can't reach ``device``, with their demand."""
        cut_off = np.isinf(self.link_delay_s[:, device]) & (self.demand_hz[:, expert] > 0)
        names = [self.device_names[v] for v in self.client_device[cut_off]]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        message = f"{self.expert_names[expert]} on {self.device_names[device]} is out of reach of {shown}"
        return Violation("reach", device, float(self.demand_hz[cut_off, expert].sum()), message)

    def placement(self, hosts: ArrayLike, *, solver: str, bound: float | None = None) -> Placement:
        """Wrap a feasible placement with its figures.

        Parameters
        ----------
        hosts : array_like of int
            Device index of each expert's host, shape ``[E]``.
        solver : str
            Who found it.
        bound : float, optional
            Proven lower bound of the objective.

        Raises
        ------
        PlacementError
            If it breaks a constraint.
        """
        broken = self.violations(hosts)
        if broken:
            raise PlacementError(f"placement {solver!r}: " + "; ".join(map(str, broken)))
        checked, objective, demand_hz = self._checked(hosts), self.evaluate(hosts), float(self.demand_hz.sum())
        return Placement(checked, objective, objective / demand_hz if demand_hz else None, bound, solver)

    def _checked(self, hosts: ArrayLike) -> IntArray:
        given, num_devices = np.array(hosts), self.flop_per_s.size
        if given.shape != self.owner.shape or given.dtype.kind not in "iu":
            raise ValueError(f"hosts: expected one integer per expert, got {given!r}")
        if not np.all((given >= 0) & (given < num_devices)):
            raise ValueError(f"hosts: device indices run from 0 to {num_devices - 1}, got {given!r}")
        checked = given.astype(np.int64)
        checked.setflags(write=False)
        return checked
