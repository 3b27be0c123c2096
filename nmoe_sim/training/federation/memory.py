"""What the values of a federated stage are made of between two steps: all that a checkpoint must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nmoe_sim.nmoe.cohort import State


Value = TypeVar("Value")

SERVER = "server"
"""Holder of the model that all have."""


@dataclass
class Memory:
    """Everything by string keys, so that it can be written to a file and read back."""

    models: dict[str, State]
    """Synchronised part of the model by holder: ``server``, or each client's number without one."""
    personal: dict[str, State]
    """The rest of each client's model."""
    bases: dict[str, State] = field(default_factory=dict)
    """The server's model that updates under way started from, by version."""
    trained: dict[str, State] = field(default_factory=dict)
    """What each update under way brings, by work: the model as the server will see it."""
    own_under_way: dict[str, State] = field(default_factory=dict)
    """What a client's own part has become when an update under way arrives, by work."""
    reports: dict[str, State] = field(default_factory=dict)
    """The report that travels with it; without a server each client's last."""
    known: dict[str, State] = field(default_factory=dict)
    """Last report of each client that each holder has heard of, by holder and client."""
    variates: dict[str, State] = field(default_factory=dict)
    """SCAFFOLD's control variates: ``server`` and each client's."""
    new_variates: dict[str, State] = field(default_factory=dict)
    """Those that updates under way bring, by work."""
    residuals: dict[str, State] = field(default_factory=dict)
    """What compression has kept back, by client."""
    server: State = field(default_factory=dict)
    """Moments of the server's optimiser."""
    losses: State = field(default_factory=dict)
    """Mean training loss of each work, scalars."""
    curves: dict[str, State] = field(default_factory=dict)
    """Learning curves: a scalar by metric and version."""

    def model(self, holder: str) -> State:
        """Return the synchronised part of a holder's model; it may have no tensors."""
        return self.models.get(holder, {})

    def own(self, client: int) -> State:
        """Return the rest of a client's model; it may have no tensors."""
        return self.personal.get(str(client), {})

    def keep_own(self, client: int, state: State, under_way: int | None) -> None:
        """Keep what a client trained of its own part; ``under_way`` is a work that isn't over yet, if it is one."""
        if own := {name: state[name] for name in self.own(client)}:
            if under_way is None:
                self.personal[str(client)] = own
            else:
                self.own_under_way[str(under_way)] = own

    def end_work(self, client: int, work: int) -> None:
        """Let a client have what it trained of its own part, if it hasn't yet."""
        if (own := self.own_under_way.pop(str(work), None)) is not None:
            self.personal[str(client)] = own

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by path."""
        from nmoe_sim.nmoe.checkpoint import flatten

        return flatten({f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], device: torch.device) -> Memory:
        """Return the memory of ``tensors``."""
        from nmoe_sim.nmoe.checkpoint import unflatten

        tree: dict[str, Any] = unflatten({name: tensors[name].to(device) for name in sorted(tensors)})
        return cls(**{f.name: tree.get(f.name, {}) for f in fields(cls)})

    def forget(self, work: int) -> None:
        """Drop what an update brought, once it was taken in."""
        for table in (self.trained, self.reports, self.new_variates):
            table.pop(str(work), None)


@dataclass(frozen=True)
class Outcome:
    """What a stage's values come to."""

    models: dict[str, State]
    """Synchronised part of the model: of ``server``, or of each client by number."""
    personal: dict[str, State]
    """The rest of each client's model, by number."""
    losses: Tensor
    """Mean training loss of each work, float64; NaN for a client without samples."""
    curves: dict[str, dict[int, float]]
    """Learning curves: value by metric and version."""

    @classmethod
    def of(cls, memory: Memory, num_works: int) -> Outcome:
        """Return what is left when all steps are done."""
        import torch

        losses = torch.full((num_works,), torch.nan, dtype=torch.float64)
        for position, loss in memory.losses.items():
            losses[int(position)] = loss.cpu()
        curves = {
            metric: {int(version): value.item() for version, value in points.items()}
            for metric, points in memory.curves.items()
        }
        return cls(memory.models, memory.personal, losses, curves)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything as tensors by path."""
        import torch

        from nmoe_sim.nmoe.checkpoint import flatten

        curves = {
            metric: torch.tensor(sorted(points.items()), dtype=torch.float64).reshape(-1, 2)
            for metric, points in self.curves.items()
        }
        return flatten({"models": self.models, "personal": self.personal, "losses": self.losses, "curves": curves})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], device: torch.device) -> Outcome:
        """Return the outcome of ``tensors``, models on a device."""
        from nmoe_sim.nmoe.checkpoint import unflatten

        def there(states: dict[str, State]) -> dict[str, State]:
            return {holder: {name: t.to(device) for name, t in state.items()} for holder, state in states.items()}

        tree: dict[str, Any] = unflatten({name: tensors[name] for name in sorted(tensors)})
        curves = {
            metric: {int(version): float(value) for version, value in points.tolist()}
            for metric, points in tree.get("curves", {}).items()
        }
        return cls(there(tree.get("models", {})), there(tree.get("personal", {})), tree["losses"], curves)

    def state(self, client: int) -> State:
        """Return the whole model of a client."""
        return whole(self.models, self.personal, client)

    def common(self) -> State:
        """Return the synchronised part; where every client has its own, their mean."""
        return common(self.models)


def whole(models: Mapping[str, State], personal: Mapping[str, State], client: int) -> State:
    """Return the whole model of a client: what is synchronised and what is its own."""
    shared = models.get(str(client), models.get(SERVER, {}))
    return {**shared, **personal.get(str(client), {})}


def common(models: Mapping[str, State]) -> State:
    """Return the model that all have, or the mean of those that clients have."""
    from nmoe_sim.nmoe.cohort import average

    return average(list(by_number(models).values()), [1.0] * len(models))


def consensus_distance(models: Mapping[str, State]) -> float:
    """Return the root mean square distance of the clients' models from their mean, over the mean's norm."""
    mean = common(models)
    own = by_number(models).values()
    squares = [sum((m[n].double() - t.double()).square().sum() for n, t in mean.items()) for m in own]
    norm = sum(t.double().square().sum() for t in mean.values())
    return float((sum(squares) / len(squares) / norm) ** 0.5)


def by_number(by_client: Mapping[str, Value]) -> dict[str, Value]:
    """Return a mapping of clients by number: sums over it don't depend on who came first, or on a checkpoint."""
    return {client: by_client[client] for client in sorted(by_client, key=lambda name: (len(name), name))}
