"""Family ``local_update``: how a client's steps are kept from drifting off to its own optimum.

Plain arithmetic on states; ``cohort.train_modules`` and ``stacked.train_stacked`` take ``proximal`` and ``offset``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.scenario.quantities import NonNegative
from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    from nmoe_sim.nmoe.cohort import State


class LocalUpdateSpec(Spec):
    """Base of the family, and plain local training unless overridden.

    A method with control variates keeps one of the server, c, and one of each client, c_i: tensors of the names and
    shapes of what is trained and synchronised, at first 0. They travel with the model, and a message of
    a method with variates is counted as twice the model, each way, what is frozen of it too.
    """

    has_variates: ClassVar[bool] = False
    """Whether the methods ``offset`` and ``new_variate`` mean anything."""

    @property
    def proximal(self) -> float:
        """Weight μ of a pull towards where the client started; 0: none."""
        return 0.0

    def offset(self, server: State, client: State) -> State:
        """Return what a client adds to every gradient.

        Parameters
        ----------
        server, client : State
            Control variates.
        """
        raise NotImplementedError(f"local_update {self.kind!r} has no control variates")

    def new_variate(
        self, server: State, client: State, received: State, trained: State, num_steps: int, lr: float
    ) -> State:
        """Return a client's control variate after training.

        Parameters
        ----------
        server, client : State
            Control variates that it trained with.
        received, trained : State
            The model before and after; may hold more than the variates do.
        num_steps : int
            Steps it made.
        lr : float
            Learning rate of these steps, schedule included.
        """
        raise NotImplementedError(f"local_update {self.kind!r} has no control variates")

    def check(self, optimizer: Optimizer) -> None:
        """Raise ValueError, with the remedy, where the method can't work with these steps."""


class Sgd(LocalUpdateSpec):
    """Plain local training, as in FedAvg (McMahan et al. 2017), by whatever ``optimizer`` says."""

    kind: ClassVar[str] = "sgd"


class FedProx(LocalUpdateSpec):
    """FedProx: a client minimises f_i(w) + μ/2 ‖w − w_t‖², where w_t is what it received.

    The term is part of the objective, so its gradient μ (w − w_t) counts where ``optimizer.clip_norm`` clips. It is
    over the trainable parameters that are synchronised. Left out: γ-inexactness; how many epochs a client makes is
    the optimiser's.

    Source: Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020, arXiv 1812.06127, Algorithm 2.
    """

    kind: ClassVar[str] = "fedprox"

    mu: NonNegative = 0.01
    """Weight of the proximal term; the paper tries 0.001, 0.01, 0.1 and 1. 0: plain local training."""

    @property
    def proximal(self) -> float:
        """See the base class."""
        return self.mu


class Scaffold(LocalUpdateSpec):
    """SCAFFOLD: control variates estimate the clients' and the common gradient, and steps are corrected by both.

        w ← w − lr (g_i(w) + c − c_i)
        c_i⁺ = c_i − c + (x − y) / (K lr),    option II, with x received, y trained in K steps
        c ← c + (1/N) Σ_{i in S} (c_i⁺ − c_i)

    The offset c − c_i comes after ``optimizer.clip_norm`` and beside ``weight_decay``, which is part of the
    objective. So c_i⁺ is the mean of exactly what the client would have stepped along by itself: clipped gradients
    plus decay. The server's part of the model, x + lr_g mean(y − x), is a ``server_update``.

    Source: Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", ICML 2020,
    arXiv 1910.06378, Algorithm 1.
    """

    kind: ClassVar[str] = "scaffold"

    has_variates: ClassVar[bool] = True

    def offset(self, server: State, client: State) -> State:
        """See the base class: c − c_i."""
        return {name: server[name] - own for name, own in client.items()}

    def new_variate(
        self, server: State, client: State, received: State, trained: State, num_steps: int, lr: float
    ) -> State:
        """See the base class; a client without a step keeps its own."""
        if num_steps == 0:
            return client
        mean_step = {name: (received[name] - trained[name]) / (num_steps * lr) for name in client}
        return {name: own - server[name] + mean_step[name] for name, own in client.items()}

    def check(self, optimizer: Optimizer) -> None:
        """See the base class: (x − y) / (K lr) is a mean gradient for plain gradient steps only."""
        if optimizer.method != "sgd" or optimizer.momentum != 0:
            raise ValueError(
                f"local_update 'scaffold' needs plain gradient steps, not method '{optimizer.method}' with momentum "
                f"{optimizer.momentum:g}; set optimizer.method to sgd and optimizer.momentum to 0"
            )


def new_server_variate(server: State, before: Sequence[State], after: Sequence[State], num_clients: int) -> State:
    """Return c + (1/N) Σ (c_i⁺ − c_i), summed in float64 in the order of the clients.

    Parameters
    ----------
    server : State
        The server's control variate c.
    before, after : sequence of State
        Control variates of those who took part.
    num_clients : int
        N, all clients, whether or not they took part.
    """
    from nmoe_sim.nmoe.cohort import plus

    return plus(server, after, before, [1.0 / num_clients] * len(before))
