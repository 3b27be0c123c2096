"""The clock of inference: features, gate, transfers, experts, return, combination.

One feature transfer goes to each host that has chosen experts; the host runs them one after the other
and returns their outputs in one payload. Values are computed after the clock has run (``answers``):
the clock only needs gate scores, which are computed for the whole test set ahead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from simpy.events import Event, EventPriority

from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.inference.routing import Query, RoutingPolicy, ask
from nmoe_sim.inference.view import NetworkMonitor, NetworkView
from nmoe_sim.inference.workload import Workload

ChannelScores = Callable[[int, NetworkView], NDArray[np.float32]]


@dataclass(frozen=True)
class RequestCosts:
    """Declared costs of one request's parts, for one sample."""

    features_flop: float
    gate_flop: float
    expert_flop: float
    combine_flop: float
    """For each expert combined."""
    features_bytes: int
    output_bytes: int
    """For each expert."""
    features_analog: bool = False
    """Whether features go on air as values, not as bits."""


@dataclass(slots=True)
class Served:
    """What the clock found out about one request."""

    t_arrival_s: float
    experts: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    """Gate scores of these, as routing saw them."""
    arrived: list[int] = field(default_factory=list)
    """Experts whose outputs had arrived when the client combined them."""
    t_done_s: float | None = None
    failed: bool = False
    """Whether an expert's answer was lost for good: features or output given up by the network, or its host down."""
    client_down: bool = False
    """Whether the client was down, or went down before the answer: it has forgotten the request."""


class Service:
    """Serves a workload on a simulation.

    Parameters
    ----------
    simulation : Simulation
    clients : sequence of str
        Device of each client; client i owns expert i.
    hosts : sequence of str
        Host of each expert.
    costs : RequestCosts
    policy : RoutingPolicy
    scores : float32 array [clients, test samples, N]
        Gate scores.
    top_k : int
    deadline_s : float or None
    at_deadline : {"wait", "expire", "combine"}
        With ``expire`` and ``combine`` the client stops waiting early enough that an idle device still
        combines in time.
    view_period_s : float
        Age a policy's view of the network may have.
    channel_scores : callable, optional
        channel_scores(client, view) → float32 [N]: what a gate that looks at the channel adds to the scores.
    """

    def __init__(
        self,
        simulation: Simulation,
        *,
        clients: Sequence[str],
        hosts: Sequence[str],
        costs: RequestCosts,
        policy: RoutingPolicy,
        scores: NDArray[np.float32],
        top_k: int,
        deadline_s: float | None,
        at_deadline: Literal["wait", "expire", "combine"],
        view_period_s: float,
        channel_scores: ChannelScores | None = None,
    ) -> None:
        self._simulation = simulation
        self._env = simulation.env
        self._clients = clients
        self._hosts = tuple(hosts)
        self._costs = costs
        self._policy = policy
        self._scores = scores
        self._channel_scores = channel_scores
        self._top_k = top_k
        self._deadline_s = math.inf if deadline_s is None else deadline_s
        self._patience_s = np.inf if at_deadline == "wait" or deadline_s is None else deadline_s
        self._combine_late = at_deadline == "combine"
        self._monitor = NetworkMonitor(simulation, self._hosts, view_period_s)
        self._num_open = 0
        self._all_closed: Event | None = None  # set once the last request has arrived

    def run(
        self, workload: Workload, arrived: Callable[[], None] = lambda: None
    ) -> Generator[Event, None, list[Served]]:
        """Serve all requests; ends when the last one is done or given up and nothing moves any more.

        ``arrived`` is called at each arrival, to show progress.
        """
        env = self._env
        start_s = env.now
        served: list[Served] = []
        for i, (t_s, client, sample) in enumerate(
            zip(workload.t_s.tolist(), workload.client.tolist(), workload.sample.tolist(), strict=True)
        ):
            yield env.timeout(max(0.0, start_s + t_s - env.now))
            served.append(Served(env.now))
            self._num_open += 1
            env.process(self._request(i, client, sample, served[-1])).callbacks.append(self._close)
            self._simulation.recorder.spill()
            arrived()
        if self._num_open:
            self._all_closed = Event(env)
            yield self._all_closed
        self._monitor.stop()
        return served

    def _close(self, request: Event) -> None:
        self._num_open -= 1
        if self._all_closed is not None and not self._num_open:
            self._all_closed.succeed()

    def _request(self, request_id: int, client: int, sample: int, served: Served) -> Generator[Event, None, None]:
        env, costs = self._env, self._costs
        device = self._simulation.devices[self._clients[client]]
        outages = device.num_outages
        for flop, kind in ((costs.features_flop, "features"), (costs.gate_flop, "gate")):
            if not (yield device.compute(flop, kind, request_id=request_id)):
                served.client_down = True
                return
        until_s = served.t_arrival_s + self._deadline_s
        deadline_s = served.t_arrival_s + self._patience_s
        if env.now >= deadline_s:
            return
        scores, view = self._scores[client, sample], self._monitor.view
        if self._channel_scores is not None:
            seen = view()
            scores, view = scores + self._channel_scores(client, seen), lambda: seen
        query = Query(request_id, client, device.name, client, scores, self._top_k, self._simulation.streams)
        served.experts = ask(self._policy, query, view)
        served.scores = scores[served.experts].tolist()
        by_host: dict[str, list[int]] = {}
        for expert in served.experts:
            by_host.setdefault(self._hosts[expert], []).append(expert)
        ready = Event(env)
        arrived: list[int] = []
        answers = _Answers(ready, arrived, len(served.experts))
        combine_s = costs.combine_flop * len(served.experts) / device.flop_per_s  # of an idle device
        branches = [
            env.process(self._branch(request_id, device.name, host, experts, answers, until_s - combine_s))
            for host, experts in by_host.items()
        ]
        if np.isfinite(deadline_s):
            # the last moment from which an idle device still combines in time
            _give_up_after(ready, max(0.0, deadline_s - combine_s - env.now))
        yield ready
        served.client_down = device.num_outages > outages
        served.failed = bool(ready.value)
        served.arrived = sorted(arrived, key=served.experts.index)
        complete = len(arrived) == len(served.experts)
        if not served.client_down and (complete or (self._combine_late and arrived)):
            combine_flop = costs.combine_flop * len(served.arrived)
            if (yield device.compute(combine_flop, "combine", request_id=request_id, deadline_s=until_s)):
                served.t_done_s = env.now
            else:
                served.client_down = True
        if not complete:
            yield env.all_of(branches)  # what was under way goes on; nobody tells the hosts

    def _branch(
        self,
        request_id: int,
        client: str,
        host: str,
        experts: list[int],
        answers: _Answers,
        until_s: float,
    ) -> Generator[Event, Any, None]:
        """Have one host's experts answer, by ``until_s`` if there is a deadline."""
        network, costs = self._simulation.network, self._costs
        if host != client and not (
            yield network.send(
                client, host, costs.features_bytes, "features", request_id=request_id, analog=costs.features_analog
            )
        ):
            answers.lose(experts)
            return
        device, n_bytes = self._simulation.devices[host], costs.output_bytes * len(experts)
        if device.paces_jobs and until_s < math.inf:
            until_s -= self._monitor.view().mean_delay_s(host, client, n_bytes)
        start_s = max(self._env.now, device.free_at_s)
        for k in range(1, len(experts) + 1):
            by_s = start_s + (until_s - start_s) * k / len(experts) if until_s < math.inf else math.inf
            job = device.compute(costs.expert_flop, "expert", request_id=request_id, deadline_s=by_s)
        if not (yield job):  # a host that goes down loses all its jobs at once
            answers.lose(experts)
            return
        if host != client and not (yield network.send(host, client, n_bytes, "output", request_id=request_id)):
            answers.lose(experts)
            return
        answers.add(experts)


@dataclass(slots=True)
class _Answers:
    """What a request is still waiting for; ``ready`` fires when that is nothing, with whether something was lost."""

    ready: Event
    arrived: list[int]
    num_open: int
    any_lost: bool = False

    def add(self, experts: list[int]) -> None:
        if not self.ready.triggered:
            self.arrived.extend(experts)
            self._close(experts)

    def lose(self, experts: list[int]) -> None:
        if not self.ready.triggered:
            self.any_lost = True
            self._close(experts)

    def _close(self, experts: list[int]) -> None:
        self.num_open -= len(experts)
        if not self.num_open:
            self.ready.succeed(self.any_lost)


_AFTER_ALL_OTHERS = EventPriority(2)
"""Priority of an event behind SimPy's others of the same instant: what arrives just in time is in time."""


def _give_up_after(ready: Event, delay_s: float) -> None:
    """Trigger ``ready`` after a delay, unless it has been by then."""

    def fire(_: Event) -> None:
        if not ready.triggered:
            ready.succeed(False)

    timer = Event(ready.env)
    timer._ok, timer._value = True, None
    timer.callbacks.append(fire)
    ready.env.schedule(timer, priority=_AFTER_ALL_OTHERS, delay=delay_s)
