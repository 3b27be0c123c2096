"""Clients with quadratics, and a stage of them: what tests replay histories with."""

import numpy as np
import torch

from nmoe_sim.nmoe.cohort import Trained
from nmoe_sim.nmoe.compression import NoCompression
from nmoe_sim.nmoe.local_update import Sgd
from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.nmoe.privacy import NoPrivacy
from nmoe_sim.nmoe.server_update import Average
from nmoe_sim.nmoe.values import Checkpoint
from nmoe_sim.rng import RandomStreams
from nmoe_sim.training.federation.protocols import Synchronous
from nmoe_sim.training.federation.replay import Learner, Replay
from nmoe_sim.training.federation.selection import AllClients
from nmoe_sim.training.federation.stage import FederatedStage

CENTRES = np.array([[1.0, -2.0], [3.0, 0.5], [-1.0, 4.0]])
"""Client i minimises ½‖w − c_i‖²."""
WEIGHTS = (0.5, 0.3, 0.2)
STEPS, LR = 3, 0.2


class Quadratic(Learner):
    """Plain gradient steps on each client's quadratic."""

    def train(self, works, states, *, proximal, offsets, known):
        trained = []
        for i, (work, state) in enumerate(zip(works, states, strict=True)):
            w = state["w"].clone()
            for _ in range(STEPS):
                gradient = w - torch.from_numpy(CENTRES[work.client])
                gradient = gradient + proximal.get("w", 0.0) * (w - state["w"])
                if offsets is not None:
                    gradient = gradient + offsets[i]["w"]
                w = w - LR * gradient
            trained.append({"w": w})
        return Trained(trained, np.zeros(len(works)))

    def num_steps(self, work):
        return STEPS


class Stage(FederatedStage):
    kind = "quadratic"

    def clock(self, learning):
        raise AssertionError("the history is given")

    values = clock


def stage(**parts):
    settings = {
        "local_update": Sgd(),
        "server_update": Average(),
        "protocol": Synchronous(),
        "selection": AllClients(),
        "compression": NoCompression(),
        "privacy": NoPrivacy(),
        "optimizer": Optimizer(lr=LR, momentum=0.0),
    }
    return Stage(**{**settings, **parts})


def replayed(history, learner=None, evaluate=lambda *_: {}, own=None, **parts):
    """Replay a history from w = 0, by default with plain steps; ``own`` is what clients begin with beside it."""
    replay = Replay(
        stage(**parts), "extractor", learner or Quadratic(), WEIGHTS, RandomStreams(0), evaluate, lambda: None
    )
    start = [{"w": torch.zeros(2, dtype=torch.float64), **(own or {})}] * len(CENTRES)
    return replay.run(history, start, ["w"], Checkpoint(None))


def local(w, centre, offset=0.0):
    for _ in range(STEPS):
        w = w - LR * (w - centre + offset)
    return w
