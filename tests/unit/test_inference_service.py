"""The clock of inference against times worked out by hand on a star of slow devices.

Every device computes 1024 FLOP/s, so that times are powers of two and ties are exact: features 1/8 s, gate
1/16 s, an expert 1/4 s, combining 1/64 s an expert. Links are constant; a hop takes 5 ms of access and its airtime.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import tiny_scenario

from nmoe_sim.checks import check
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.inference.arrivals import Poisson
from nmoe_sim.inference.routing import AllExperts, LocalOnly, RandomExperts, TopK
from nmoe_sim.inference.service import RequestCosts, Service
from nmoe_sim.inference.workload import Workload
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.dvfs import Deadline

COSTS = RequestCosts(
    features_flop=128, gate_flop=64, expert_flop=256, combine_flop=16, features_bytes=3000, output_bytes=400
)
ACCESS_S = 0.005
SCORES = np.array([[3.0, 1.0, 2.0]], dtype=np.float32)
FEATURES_S, GATE_S, EXPERT_S, COMBINE_S = 1 / 8, 1 / 16, 1 / 4, 1 / 64
ASK_S = FEATURES_S + GATE_S
OWN_S = ASK_S + EXPERT_S + COMBINE_S


class Star:
    """Three devices around a base station, and what was recorded."""

    def __init__(self, **radio: Any) -> None:
        slow = {"profile": "custom", "count": 3, "flop_per_s": 1024, "memory_bytes": 10**9, "idle_w": 1, "compute_w": 2}
        slow |= {"rx_w": 0.5, "tx_circuit_w": 0.5, "amplifier_efficiency": 0.5}
        scenario = tiny_scenario(
            {
                "topology": {"kind": "star", "num_devices": 3, "radius_m": 50},
                "devices": [slow],
                "radio.path_loss": {"kind": "free_space"},
                "radio.shadowing": {"kind": "none"},
                "radio.fading": {"kind": "none"},
                "radio.access_delay_s": ACCESS_S,
                "radio.bandwidth_hz": 1e5,
                **{f"radio.{key}": value for key, value in radio.items()},
            }
        )
        layout = check(scenario)
        self.simulation = Simulation.build(layout.topology, layout.profiles, scenario.radio, RandomStreams(1))
        self.clients = layout.clients

    def hop_s(self, src: str, dst: str, n_bytes: int) -> float:
        """Time of one hop that has the medium to itself."""
        [rate] = [
            group.air.rate_bps(i, 0)
            for group in self.simulation.groups
            for i, link in enumerate(group.links)
            if (link.src.name, link.dst.name) == (src, dst)
        ]
        return ACCESS_S + 8 * n_bytes / rate

    def way_s(self, src: str, dst: str, n_bytes: int) -> float:
        """Time of a payload over the base station."""
        return self.hop_s(src, "bs0", n_bytes) + self.hop_s("bs0", dst, n_bytes)

    def serve(self, requests, *, policy=None, hosts=None, top_k=2, scores=SCORES, deadline_s=None, mode="wait"):
        """Serve requests (time, client, sample) and return what became of each."""
        t_s, client, sample = np.array(list(requests), dtype=float).reshape(-1, 3).T
        service = Service(
            self.simulation,
            clients=self.clients,
            hosts=hosts or self.clients,
            costs=COSTS,
            policy=policy or TopK(),
            scores=np.broadcast_to(scores, (3, *scores.shape)),
            top_k=top_k,
            deadline_s=deadline_s,
            at_deadline=mode,
            view_period_s=0.0,
        )
        workload = Workload(t_s, client.astype(np.int64), sample.astype(np.int64))
        env = self.simulation.env
        return env.run(env.process(service.run(workload)))

    def rows(self, table: str):
        return self.simulation.recorder.arrow(table).to_pandas()


@pytest.fixture
def star() -> Star:
    return Star()


def latency_s(served) -> float:
    return served.t_done_s - served.t_arrival_s


def test_own_expert_at_home(star):
    [served] = star.serve([(0.3, 0, 0)], policy=LocalOnly())
    assert served.experts == served.arrived == [0]
    assert served.t_arrival_s == 0.3
    assert latency_s(served) == pytest.approx(OWN_S)
    assert len(star.rows("transfers")) == 0
    assert star.rows("compute")["kind"].tolist() == ["features", "gate", "expert", "combine"]
    assert set(star.rows("compute")["device"]) == {"dev0"}


def test_another_devices_expert(star):
    [served] = star.serve([(0.0, 0, 0)], top_k=1, scores=SCORES[:, ::-1].copy())  # expert 2 is the best
    assert served.experts == [2]
    there_s, back_s = star.way_s("dev0", "dev2", 3000), star.way_s("dev2", "dev0", 400)
    assert latency_s(served) == pytest.approx(ASK_S + there_s + EXPERT_S + back_s + COMBINE_S, rel=1e-12)
    hops = star.rows("transfers")
    assert hops[["src", "dst", "kind", "n_bytes"]].values.tolist() == [
        ["dev0", "bs0", "features", 3000],
        ["bs0", "dev2", "features", 3000],
        ["dev2", "bs0", "output", 400],
        ["bs0", "dev0", "output", 400],
    ]


def test_own_and_another_in_parallel(star):
    [served] = star.serve([(0.0, 0, 0)])  # experts 0 and 2
    assert served.experts == [0, 2]
    assert latency_s(served) == pytest.approx(remote_latency_s(star), rel=1e-12)


def test_one_transfer_to_a_host_of_several(star):
    [served] = star.serve([(0.0, 0, 0)], policy=AllExperts(), hosts=["dev1", "dev1", "bs0"])
    assert served.experts == [0, 1, 2]
    hops = star.rows("transfers")
    features = hops[hops["kind"] == "features"]
    assert sorted(zip(features["src"], features["dst"], strict=True)) == [
        ("bs0", "dev1"),
        ("dev0", "bs0"),
        ("dev0", "bs0"),
    ]
    outputs = hops[(hops["kind"] == "output") & (hops["src"] == "dev1")]
    assert outputs["n_bytes"].tolist() == [800]
    experts = star.rows("compute").query("kind == 'expert'")
    assert experts["device"].value_counts().to_dict() == {"dev1": 2, "bs0": 1}
    both = experts[experts["device"] == "dev1"]
    assert both["t_start_s"].iloc[1] == pytest.approx(both["t_end_s"].iloc[0])


def test_local_only_follows_its_expert_to_its_host(star):
    [served] = star.serve([(0.0, 0, 0)], policy=LocalOnly(), hosts=["bs0", "dev1", "dev2"])
    there_s, back_s = star.hop_s("dev0", "bs0", 3000), star.hop_s("bs0", "dev0", 400)
    expert_s = COSTS.expert_flop / star.simulation.devices["bs0"].flop_per_s
    assert latency_s(served) == pytest.approx(ASK_S + there_s + expert_s + back_s + COMBINE_S, rel=1e-12)


def test_all_uses_every_host(star):
    star.serve([(0.0, 1, 0)], policy=AllExperts())
    assert set(star.rows("compute").query("kind == 'expert'")["device"]) == {"dev0", "dev1", "dev2"}


def test_requests_queue_in_order(star):
    first, second = star.serve([(0.0, 0, 0), (0.0, 0, 0)], policy=LocalOnly())
    # features, features, gate, gate, expert, expert, combine, combine
    assert latency_s(first) == 2 * (ASK_S + EXPERT_S) + COMBINE_S
    assert latency_s(second) == 2 * (ASK_S + EXPERT_S) + 2 * COMBINE_S


def test_random_experts_differ_between_requests_and_not_between_runs(star):
    requests = [(float(i), 0, 0) for i in range(12)]
    chosen = [served.experts for served in star.serve(requests, policy=RandomExperts(), top_k=1)]
    assert len({tuple(experts) for experts in chosen}) == 3
    assert chosen == [served.experts for served in Star().serve(requests, policy=RandomExperts(), top_k=1)]


def test_no_requests(star):
    workload = Workload.draw(Poisson(rate_hz=1e-9), [np.arange(3)] * 3, 1.0, RandomStreams(1))
    assert star.serve(zip(workload.t_s, workload.client, workload.sample, strict=True)) == []


def remote_latency_s(star: Star) -> float:
    """Latency of a request for experts 0 and 2."""
    there_s, back_s = star.way_s("dev0", "dev2", 3000), star.way_s("dev2", "dev0", 400)
    return ASK_S + there_s + EXPERT_S + back_s + 2 * COMBINE_S


@pytest.mark.parametrize("mode", ["wait", "expire", "combine"])
def test_ample_deadline(star, mode):
    [served] = star.serve([(0.0, 0, 0)], deadline_s=10.0, mode=mode)
    assert served.arrived == [0, 2]
    assert latency_s(served) == pytest.approx(remote_latency_s(star), rel=1e-12)


def test_wait_waits(star):
    [served] = star.serve([(0.0, 0, 0)], deadline_s=0.5, mode="wait")
    assert latency_s(served) == pytest.approx(remote_latency_s(star), rel=1e-12)
    assert latency_s(served) > 0.5


def test_expire_gives_up_and_what_is_under_way_goes_on(star):
    [served] = star.serve([(0.0, 0, 0)], deadline_s=0.5, mode="expire")
    assert served.t_done_s is None
    assert served.experts == [0, 2]
    assert served.arrived == [0]
    hops, jobs = star.rows("transfers"), star.rows("compute")
    assert len(hops) == 4
    assert "combine" not in set(jobs["kind"])
    assert hops["t_end_s"].max() > 0.5


def test_combine_uses_what_is_there_just_in_time(star):
    [served] = star.serve([(0.0, 0, 0)], deadline_s=0.5, mode="combine")
    assert served.arrived == [0]
    combine = star.rows("compute").query("kind == 'combine'")
    assert combine["flop"].tolist() == [16]
    assert latency_s(served) == 0.5 - COMBINE_S  # it kept the time to combine two and had one


def test_combine_without_anything_expires(star):
    [served] = star.serve([(0.0, 0, 0)], top_k=1, scores=SCORES[:, ::-1].copy(), deadline_s=0.5, mode="combine")
    assert served.t_done_s is None
    assert served.arrived == []


@pytest.mark.parametrize("mode", ["expire", "combine"])
def test_a_deadline_before_the_gate_asks_nobody(star, mode):
    [served] = star.serve([(0.0, 0, 0)], deadline_s=0.15, mode=mode)
    assert (served.experts, served.arrived, served.t_done_s) == ([], [], None)
    assert len(star.rows("transfers")) == 0
    assert set(star.rows("compute")["kind"]) == {"features", "gate"}


def test_combine_is_in_time_however_many_experts_a_policy_asks(star):
    """The time kept for combining is that of the experts asked, not of ``top_k``."""
    [served] = star.serve(
        [(0.0, 0, 0)], policy=AllExperts(), hosts=["dev0", "dev1", "bs0"], top_k=1, deadline_s=0.5, mode="combine"
    )
    assert served.arrived == [0, 2]
    assert latency_s(served) == 0.5 - 3 * COMBINE_S + 2 * COMBINE_S


def test_expire_never_completes_late(star):
    """An output that arrives in time but is combined too late is late: 'expire' gives such a request up."""
    deadline_s = remote_latency_s(star) - COMBINE_S  # the outputs are there, combining takes twice that
    [served] = star.serve([(0.0, 0, 0)], deadline_s=deadline_s, mode="expire")
    assert served.t_done_s is None or latency_s(served) <= deadline_s


@pytest.mark.parametrize("mode", ["wait", "expire", "combine"])
def test_an_answer_at_the_very_deadline_counts(mode):
    """Equality is in time: the rule is latency ≤ deadline."""
    exact_s = latency_s(Star().serve([(0.0, 0, 0)], policy=LocalOnly())[0])
    [served] = Star().serve([(0.0, 0, 0)], policy=LocalOnly(), deadline_s=exact_s, mode=mode)
    assert served.t_done_s is not None
    assert latency_s(served) == exact_s


# --- answers that are lost ------------------------------------------------------------------------------

NO_RETRY = {"retry": {"max_retries": 0}}


def break_off(star: Star, t_s: float, src: str, dst: str) -> None:
    """Have a link break under what is on it; without a further attempt that is lost."""

    def act(_: Any) -> None:
        link = star.simulation.topology.link(src, dst)
        assert star.simulation.network.abort([link], "link_down") == 1

    star.simulation.env.timeout(t_s).callbacks.append(act)


def test_a_request_whose_features_are_lost_has_failed_and_combines_nothing():
    star = Star(**NO_RETRY)
    break_off(star, ASK_S + 0.006, "dev0", "bs0")
    [served] = star.serve([(0.0, 0, 0)])  # experts 0, at home, and 2
    assert served.failed
    assert (served.experts, served.arrived, served.t_done_s) == ([0, 2], [0], None)
    assert star.rows("transfers")["outcome"].tolist() == ["link_down"]
    jobs = star.rows("compute")
    assert "combine" not in set(jobs["kind"])
    assert (jobs["kind"] == "expert").sum() == 1  # its own; the other was never asked


def test_a_request_whose_output_is_lost_has_failed():
    star = Star(**NO_RETRY)
    back_s = ASK_S + star.way_s("dev0", "dev2", 3000) + EXPERT_S
    break_off(star, back_s + 0.0052, "dev2", "bs0")
    [served] = star.serve([(0.0, 0, 0)])
    assert served.failed
    assert (served.arrived, served.t_done_s) == ([0], None)
    hops = star.rows("transfers")
    assert hops[["kind", "outcome"]].values.tolist() == [
        ["features", "delivered"],
        ["features", "delivered"],
        ["output", "link_down"],
    ]


@pytest.mark.parametrize("mode", ["wait", "expire", "combine"])
def test_what_is_tried_again_in_time_has_not_failed(mode):
    star = Star(retry={"max_retries": 1, "backoff_s": 0.01})
    break_off(star, ASK_S + 0.006, "dev0", "bs0")
    [served] = star.serve([(0.0, 0, 0)], deadline_s=2.0, mode=mode)
    assert not served.failed
    # a pause of 10 ms and access anew; what went in the 1 ms on air needn't go again
    assert latency_s(served) == pytest.approx(remote_latency_s(star) + 0.01 + ACCESS_S, rel=1e-12)
    hops = star.rows("transfers")
    assert hops["bytes_sent"][:2].sum() == 3000
    assert star.rows("transfers")["outcome"].tolist() == ["link_down"] + ["delivered"] * 4


def test_combine_uses_what_is_left_when_the_rest_is_lost():
    """Nothing more will come, so it needn't wait for its deadline."""
    star = Star(**NO_RETRY)
    break_off(star, ASK_S + 0.006, "dev0", "bs0")
    [served] = star.serve([(0.0, 0, 0)], deadline_s=2.0, mode="combine")
    assert served.arrived == [0]
    assert latency_s(served) == pytest.approx(OWN_S, rel=1e-12)


def test_a_loss_after_the_deadline_is_no_failure_but_an_expiry():
    star = Star(**NO_RETRY)
    back_s = ASK_S + star.way_s("dev0", "dev2", 3000) + EXPERT_S
    break_off(star, back_s + 0.0052, "dev2", "bs0")
    [served] = star.serve([(0.0, 0, 0)], deadline_s=0.5, mode="expire")
    assert back_s > 0.5
    assert (served.failed, served.arrived, served.t_done_s) == (False, [0], None)


def test_others_are_served_while_one_fails():
    star = Star(**NO_RETRY)
    break_off(star, ASK_S + 0.006, "dev0", "bs0")
    lost, kept = star.serve([(0.0, 0, 0), (5.0, 0, 0)])
    assert (lost.failed, kept.failed) == (True, False)
    assert latency_s(kept) == pytest.approx(remote_latency_s(star), rel=1e-12)


# --- devices that go down ------------------------------------------------------------------------------


def down(star: Star, device: str, from_s: float, to_s: float = np.inf) -> None:
    """Have a device be away for a time, or for good."""
    availability, env = star.simulation.availability, star.simulation.env
    reason = "battery" if np.isinf(to_s) else "churn"
    star.simulation.devices[device].may_fail = star.simulation.network._watches = True
    env.timeout(from_s).callbacks.append(lambda _: availability.take_down(device, reason))
    if np.isfinite(to_s):
        env.timeout(to_s).callbacks.append(lambda _: availability.bring_up(device))


REMOTE = SCORES[:, ::-1].copy()  # expert 2 is the best


def moment_s(star: Star, what: str) -> float:
    """A time in the course of a request of dev0, at 0.001 s, to dev2."""
    asked_s = 0.001 + ASK_S
    there_s, back_s = star.way_s("dev0", "dev2", 3000), star.way_s("dev2", "dev0", 400)
    return {
        "before": 0.0,
        "features": 0.001 + FEATURES_S / 2,
        "gate": 0.001 + FEATURES_S + GATE_S / 2,
        "there": asked_s + there_s / 4,
        "relayed": asked_s + 3 * there_s / 4,
        "expert": asked_s + there_s + EXPERT_S / 2,
        "back": asked_s + there_s + EXPERT_S + 3 * back_s / 4,
    }[what]


@pytest.mark.parametrize("when", ["before", "features", "gate", "there", "relayed", "expert", "back"])
def test_a_client_that_goes_down_forgets_its_request(star, when):
    """It is back in time to get the answer, unless that is on its way, and takes no notice of it."""
    from_s = moment_s(star, when)
    down(star, "dev0", from_s, from_s + 0.002)
    [served] = star.serve([(0.001, 0, 0)], top_k=1, scores=REMOTE)
    assert served.client_down
    assert served.t_done_s is None
    assert not star.simulation.network._open


def test_a_client_that_goes_down_while_it_combines_has_no_answer(star):
    down(star, "dev0", OWN_S - COMBINE_S / 2, 9.0)
    [served] = star.serve([(0.0, 0, 0)], policy=LocalOnly())
    assert served.client_down
    assert served.t_done_s is None
    assert star.rows("compute")["outcome"].tolist() == ["completed"] * 3 + ["aborted"]


@pytest.mark.parametrize(
    ("when", "is_lost"), [("gate", False), ("there", True), ("relayed", True), ("expert", True), ("back", False)]
)
def test_a_host_that_goes_down_loses_what_it_is_asked(star, when, is_lost):
    """Not if it is back before, or away after the base station has the output."""
    from_s = moment_s(star, when)
    down(star, "dev2", from_s, from_s + 0.002)
    first, second = star.serve([(0.001, 0, 0), (5.0, 0, 0)], top_k=1, scores=REMOTE)
    assert (first.failed, first.t_done_s is None) == (is_lost, is_lost)
    assert not first.client_down
    there_s, back_s = star.way_s("dev0", "dev2", 3000), star.way_s("dev2", "dev0", 400)
    assert latency_s(second) == pytest.approx(ASK_S + there_s + EXPERT_S + back_s + COMBINE_S, rel=1e-9)


def test_what_other_hosts_answer_is_combined(star):
    down(star, "dev2", 0.3)
    [served] = star.serve([(0.0, 0, 0)], policy=AllExperts(), deadline_s=30.0, mode="combine")
    assert served.failed
    assert served.arrived == [0, 1]
    assert served.t_done_s is not None


def test_a_policy_sees_that_a_host_is_out_of_reach(star):
    """It avoids it, as soon as its view is new enough."""

    class Nearest(TopK):
        def route(self, query, view):
            delays_s = [view().mean_delay_s(query.device, host, 100) for host in view().hosts]
            return [int(np.argmax(np.where(np.isinf(delays_s), -1.0, query.scores)))]

    down(star, "dev2", 1.0, 3.0)
    served = star.serve([(0.0, 0, 0), (2.0, 0, 0), (4.0, 0, 0)], policy=Nearest(), scores=REMOTE)
    assert [one.experts for one in served] == [[2], [0], [2]]
    assert all(one.t_done_s is not None for one in served)


def test_a_paced_host_answers_at_the_deadline():
    """Three experts on dev2, 1/4 s each at full speed: they get equal parts of the time that is left, and no more."""
    paced = Star()
    dvfs = Deadline(kappa=1e-27, min_frequency_hz=1e8, max_frequency_hz=1e9)
    for name, device in paced.simulation.devices.items():
        if name == "dev2":
            device._govern(dvfs)
    deadline_s = 3.0
    [served] = paced.serve(
        [(0.0, 0, 0)], policy=AllExperts(), hosts=["dev2", "dev2", "dev2"], deadline_s=deadline_s, mode="wait"
    )
    jobs = paced.rows("compute").query("device == 'dev2'")
    assert jobs["frequency_hz"].iloc[1] == pytest.approx(jobs["frequency_hz"].iloc[0])
    assert 1e8 < jobs["frequency_hz"].iloc[0] < 1e9
    assert latency_s(served) == pytest.approx(deadline_s, abs=1e-9)
