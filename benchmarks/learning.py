"""How fast is a round of local training beside the loop that anybody would write?

20 clients of 200 images train a round in batches of 32, SGD with momentum, and the server averages.

* ours: ``strategy.train_cohort``, as the stages call it, on 2 workers: perceptrons stacked, convolutional networks
  side by side on threads, with ``precision: bf16`` where the row says so.
* baseline: a plain loop over clients in PyTorch with 2 threads: copy the model, ``torch.optim.SGD``, index the batch,
  forward, ``backward``, ``step``, all in single precision.
* pair, for comparison: the same plain loop in 2 processes of one thread, half the clients each.

Each is a process of its own, that lives as long as the benchmark and computes when it is its turn. Turns alternate, a
ratio is of two neighbouring turns, and its median counts: the speed of a shared machine varies, and a loop with
2 threads suffers most where another program holds a core. Small models train ten rounds a turn, as stages have many:
a process that has just waited needs 10 ms to get up to speed. Compare ratios, and on an idle machine only.

Run ``python benchmarks/learning.py [--repeats N] [--only WORD]``.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

sys.path[0] = str(Path(__file__).parents[1])  # not this folder: its channels.py would hide the package

from nmoe_sim.nmoe.channel_gate import Draws  # noqa: E402
from nmoe_sim.nmoe.cohort import State, average, batches  # noqa: E402
from nmoe_sim.nmoe.experts import MlpExpert  # noqa: E402
from nmoe_sim.nmoe.extractors import CnnExtractor, ExtractorSpec, MlpExtractor, ResNetExtractor  # noqa: E402
from nmoe_sim.nmoe.gates import MlpGate  # noqa: E402
from nmoe_sim.nmoe.losses import FixedExperts, masked_mean  # noqa: E402
from nmoe_sim.nmoe.modules import linear  # noqa: E402
from nmoe_sim.nmoe.optimizer import Optimizer  # noqa: E402
from nmoe_sim.nmoe.stacked import StackedBatch, StackedLoss, of_labels  # noqa: E402
from nmoe_sim.nmoe.strategy import train_cohort  # noqa: E402
from nmoe_sim.rng import RandomStreams  # noqa: E402

NUM_CLIENTS, NUM_SAMPLES, NUM_CLASSES, NUM_FEATURES, TOP_K = 20, 200, 10, 64, 2
NOISE_STD = 0.5
LENET = CnnExtractor(channels=(6, 16), kernel_size=5, hidden=(120,), num_features=84, output="relu")
SGD = Optimizer(lr=0.05, momentum=0.9, batch_size=32)


def extractor_with_head(spec: ExtractorSpec, shape: tuple[int, int, int]) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    return nn.Sequential(spec.build(shape, generator), linear(spec.num_features, NUM_CLASSES, generator))


def expert() -> nn.Module:
    return MlpExpert().build(NUM_FEATURES, NUM_CLASSES, torch.Generator().manual_seed(1))


def gate() -> nn.Module:
    return MlpGate().build(NUM_FEATURES, NUM_CLIENTS, torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class Case:
    """What is trained, and by what factor it should be faster than the plain loop."""

    title: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    target: float | None
    optimizer: Optimizer = SGD
    is_gate: bool = False
    rounds: int = 1
    """Rounds in a turn."""


FIXUP = ResNetExtractor(normalisation="fixup")
BF16 = SGD.model_copy(update={"precision": "bf16"})
CASES = [
    Case("2: experts on features", expert, (NUM_FEATURES,), 6.0, rounds=10),
    Case("3: gates on features", gate, (NUM_FEATURES,), 6.0, is_gate=True, rounds=10),
    Case("1: MLP", lambda: extractor_with_head(MlpExtractor(), (1, 28, 28)), (1, 28, 28), None, rounds=10),
    Case("1: LeNet-5", lambda: extractor_with_head(LENET, (1, 28, 28)), (1, 28, 28), 1.3),
    Case("1: ResNet-8", lambda: extractor_with_head(ResNetExtractor(), (3, 32, 32)), (3, 32, 32), 1.05),
    Case("1: ResNet-8, bf16", lambda: extractor_with_head(ResNetExtractor(), (3, 32, 32)), (3, 32, 32), 1.8, BF16),
    Case("1: ResNet-8 Fixup, bf16", lambda: extractor_with_head(FIXUP, (3, 32, 32)), (3, 32, 32), 1.8, BF16),
]


@dataclass(frozen=True)
class Problem:
    """A case with data."""

    model: nn.Module
    inputs: list[Tensor]
    labels: list[Tensor]
    outputs: list[Tensor]
    """Logits of every client's expert, of shape (n, N, C)."""
    experts: list[FixedExperts]
    """The same as the stage prepares them, once before its rounds."""
    plans: list[list[NDArray[np.int64]]]


@cache
def problem(number: int) -> Problem:
    case, generator, rng = CASES[number], torch.Generator().manual_seed(2), np.random.default_rng(3)
    clients = range(NUM_CLIENTS)
    inputs = [torch.randn((NUM_SAMPLES, *case.shape), generator=generator) for _ in clients]
    labels = [torch.randint(NUM_CLASSES, (NUM_SAMPLES,), generator=generator) for _ in clients]
    outputs = [torch.randn((NUM_SAMPLES, NUM_CLIENTS, NUM_CLASSES), generator=generator) for _ in clients]
    return Problem(
        case.build(),
        inputs,
        labels,
        outputs,
        [FixedExperts.of(said, y, "probabilities") for said, y in zip(outputs, labels, strict=True)],
        [batches(NUM_SAMPLES, batch_size=case.optimizer.batch_size, epochs=1, rng=rng) for _ in clients],
    )


# --- the contenders --------------------------------------------------------------------------------------


def plain(number: int, clients: Sequence[int], threads: int) -> None:
    torch.set_num_threads(threads)
    case, p = CASES[number], problem(number)
    model = copy.deepcopy(p.model)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)  # as a plain module has it
    trained = []
    for client in clients:
        own = copy.deepcopy(model)
        stepper = torch.optim.SGD(own.parameters(), lr=case.optimizer.lr, momentum=case.optimizer.momentum)
        for index in p.plans[client]:
            rows = torch.from_numpy(index)
            stepper.zero_grad()
            out = own(p.inputs[client][rows])
            if case.is_gate:
                noisy = out + NOISE_STD * torch.randn_like(out)
                chosen = noisy.topk(TOP_K)
                picked = p.outputs[client][rows].gather(1, chosen.indices[..., None].expand(-1, -1, NUM_CLASSES))
                mixed = (chosen.values.softmax(-1)[..., None] * picked.softmax(-1)).sum(1)
                loss = functional.nll_loss(mixed.log(), p.labels[client][rows])
            else:
                loss = functional.cross_entropy(out, p.labels[client][rows])
            torch.autograd.backward(loss)
            stepper.step()
        trained.append(own.state_dict())
    mean(trained)


def mean(states: Sequence[State]) -> State:
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def ours(number: int, workers: int) -> None:
    case, p = CASES[number], problem(number)
    states = [p.model.state_dict()] * NUM_CLIENTS
    trained = train_cohort(p.model, states, p.inputs, p.plans, loss_of(case, p), case.optimizer, workers=workers)
    average(trained.states, [1.0] * NUM_CLIENTS)


def loss_of(case: Case, p: Problem) -> StackedLoss:
    if case.is_gate:
        return mixture_of(p)
    return of_labels(p.labels)


def mixture_of(p: Problem) -> StackedLoss:
    draws = Draws(RandomStreams(1), range(NUM_CLIENTS), [0] * NUM_CLIENTS)
    experts = FixedExperts.cat(p.experts)

    def mix(out_ABN: Tensor, batch: StackedBatch) -> Tensor:
        noisy_ABN = draws.noisy_scores(out_ABN, NOISE_STD, None, batch)
        return masked_mean(experts.loss(noisy_ABN, batch.rows_AB, TOP_K), batch.mask_AB)

    return mix


# --- taking turns ----------------------------------------------------------------------------------------

Turn = tuple[Callable[..., None], tuple[int, *tuple[object, ...]]]
"""What to call, with the number of a case first."""


def serve(connection: Connection) -> None:
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:  # the benchmark is over
            return
        cpu = time.process_time()
        for _ in range(CASES[arguments[0]].rounds):
            function(*arguments)
        connection.send(time.process_time() - cpu)


class Workers:
    """Processes that wait for their turn."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connections = []
        for _ in range(count):
            mine, theirs = context.Pipe()
            context.Process(target=serve, args=(theirs,), daemon=True).start()
            theirs.close()
            self._connections.append(mine)

    def run(self, *turns: Turn) -> tuple[float, float]:
        """Run a turn in each process at the same time; returns wall seconds and CPU seconds of all."""
        started = time.perf_counter()
        for connection, turn in zip(self._connections, turns, strict=True):
            connection.send(turn)
        cpu_s = sum(connection.recv() for connection in self._connections)
        return time.perf_counter() - started, cpu_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", default="", help="a word of the rows to measure")
    options = parser.parse_args()
    loop, us, pair = Workers(1), Workers(1), Workers(2)
    clients = tuple(range(NUM_CLIENTS))
    halves = clients[::2], clients[1::2]
    print(f"{'seconds a round':32}{'wall':^21}{'CPU':^21}{'loop over ours':^15}")
    print(
        f"{'':25}"
        + "".join(f"{head:>7}" for head in (*("loop", "pair", "ours") * 2, "median", "best", "target", "met"))
    )
    for number, case in enumerate(CASES):
        if options.only not in case.title:
            continue

        def turn(number: int = number) -> tuple[tuple[float, float], ...]:
            """One turn each; wall and CPU seconds of loop, pair and ours."""
            return (
                loop.run((plain, (number, clients, 2))),
                pair.run(*((plain, (number, half, 1)) for half in halves)),
                us.run((ours, (number, 2))),
            )

        turn()  # imports, data, first calls
        walls, cpus = np.moveaxis(np.array([turn() for _ in range(options.repeats)]), 2, 0)
        ratio, best = np.median(walls[:, 0] / walls[:, 2]), walls[:, 0].min() / walls[:, 2].min()
        seconds = np.array([*np.median(walls, axis=0), *np.median(cpus, axis=0)]) / case.rounds
        verdict = ("", "") if case.target is None else (f"{case.target:g}", "yes" if ratio >= case.target else "no")
        print(
            f"{case.title:25}" + "".join(f"{s:7.3f}" for s in seconds) + f"{ratio:7.2f}{best:7.2f}"
            f"{verdict[0]:>7}{verdict[1]:>7}",
            flush=True,
        )


if __name__ == "__main__":
    main()
