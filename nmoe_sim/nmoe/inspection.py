"""Whether a module, built in or a user's own, is one that clients can train, average and repeat."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nmoe_sim.nmoe.cohort import stack
from nmoe_sim.nmoe.modules import built_module
from nmoe_sim.nmoe.stacked_forward import stacked_forward
from nmoe_sim.nmoe.threads import one_thread

_BATCH, _SAMPLES = 2, 3
_RTOL, _ATOL = 1e-3, 1e-4
"""How far a sample's outputs may differ alone and in a batch, the second by the largest output: sums are rounded."""
_FORWARD_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a user's ``forward`` may well raise: errors of Python's operators and of torch."""


def build_inspected(
    build: Callable[[], nn.Module], input_shape: Sequence[int], num_outputs: int, *, is_head: bool
) -> nn.Module:
    """Build a part of the model, run a copy of it, and refuse what no run could use.

    It is run on tensors without content, then on random samples, on the CPU.

    Parameters
    ----------
    build : callable
        Builds the module; called twice where it draws from torch's global generator, to see whether that matters.
    input_shape : sequence of int
        Shape of one sample, such as (C, H, W) or (D,).
    num_outputs : int
        Width of what the module must return for one sample.
    is_head : bool
        Whether it is an expert or a gate: those of all clients are trained as one.

    Returns
    -------
    nn.Module
        As it was built.

    Raises
    ------
    ValueError
        With the remedy: it has nothing to train, a parameter twice, weights or outputs from torch's global generator;
        it normalises over the batch, keeps what can't be averaged, fails, returns another shape or type, changes its
        input, or returns for a sample what depends on the others in the batch or on earlier calls. Not found is what
        a layer does that ``forward`` doesn't reach.
    """
    module = _build_repeatably(build)
    _inspect_layers(module, is_head)
    _inspect_outputs(module, input_shape, num_outputs, is_head)
    _inspect_values(module, input_shape, num_outputs, is_head)
    return module


def _build_repeatably(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        before = torch.default_generator.get_state()
        module = built_module(build())
        if torch.equal(before, torch.default_generator.get_state()):
            return module
        state, again = module.state_dict(), build().state_dict()
    for name, tensor in state.items():
        if not torch.equal(tensor, again[name]):
            raise ValueError(
                f"the module draws '{name}' from torch's global generator, so that no run could be repeated; "
                "return seeded(lambda: MyModule(...), generator) of nmoe_sim.nmoe.modules"
            )
    return module


def _inspect_layers(module: nn.Module, is_head: bool) -> None:
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"the module normalises over the batch in '{name}', {type(part).__name__}, and the statistics of "
                "clients with different data can't be averaged; use GroupNorm or LayerNorm"
            )
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            raise ValueError(
                f"the module keeps '{name}' of {tensor.dtype}, which clients can't average; leave it out of the state"
            )
    if not is_head:
        return
    parameters = dict(module.named_parameters(remove_duplicate=False))
    if tied := sorted(set(parameters) - set(dict(module.named_parameters()))):
        raise ValueError(
            f"the module has '{tied[0]}' twice, by another name too, and the experts and gates of all clients are "
            "trained as one, each name by itself; use it once"
        )
    if parameters and not any(parameter.requires_grad for parameter in parameters.values()):
        raise ValueError("all of the module is frozen, so that there is nothing to train; leave some of it trainable")
    if buffers := [name for name, _ in module.named_buffers()]:
        raise ValueError(
            f"the module has the buffer '{buffers[0]}', and the experts and gates of all clients are trained as one, "
            "of parameters alone; make it a parameter or compute it in forward"
        )


def _inspect_outputs(module: nn.Module, input_shape: Sequence[int], num_outputs: int, is_head: bool) -> None:
    on_meta = copy.deepcopy(module).to("meta").train()
    inputs = torch.empty(_BATCH, *input_shape, device="meta")
    draws = _Draws()
    with _in_words(f"the module fails on a batch of shape {tuple(inputs.shape)}"), draws:
        outputs = on_meta(inputs)
    if draws.names:
        raise ValueError(
            f"the module draws random numbers ({draws.names[0]}: a dropout?) from torch's global generator, so that "
            "no run could be repeated; leave that out"
        )
    if not isinstance(outputs, torch.Tensor) or outputs.shape != (_BATCH, num_outputs):
        got = f"shape {tuple(outputs.shape)}" if isinstance(outputs, torch.Tensor) else f"a {type(outputs).__name__}"
        raise ValueError(
            f"of a batch of shape {tuple(inputs.shape)} the module must return a tensor of shape "
            f"{(_BATCH, num_outputs)}, and it returns {got}; change its last layer"
        )
    if outputs.dtype != inputs.dtype:
        raise ValueError(
            f"the module must return {inputs.dtype}, as it is given, and it returns {outputs.dtype}; "
            "end its forward with .to(x.dtype)"
        )
    if is_head:
        with _in_words("all clients' experts or gates are computed as one by torch.func.vmap, and there it fails"):
            stacked_forward(on_meta)(stack([on_meta.state_dict()] * 2), torch.stack([inputs] * 2))


@one_thread()
@torch.no_grad()
def _inspect_values(module: nn.Module, input_shape: Sequence[int], num_outputs: int, is_head: bool) -> None:
    trained = copy.deepcopy(module).to("cpu").train()
    draw = torch.randn if is_head else torch.rand  # pixels are in [0, 1]
    given = draw(_SAMPLES, *input_shape, generator=torch.Generator().manual_seed(1))
    inputs = given.clone()
    with _in_words("the module fails on random samples"):
        together, again = trained(inputs).clone(), trained(inputs).clone()
        alone = [trained(inputs[i : i + 1]).clone() for i in (0, _SAMPLES - 1)]
    if not torch.equal(inputs, given):
        raise ValueError(
            "the module changes its input, which is the data set or a table of features that others read too; "
            "compute new tensors (x = x * 2, not x.mul_(2) or x *= 2)"
        )
    if not torch.allclose(together, again, rtol=0.0, atol=0.0, equal_nan=True):
        raise ValueError(
            "the module returns something else when it is called again on the same samples; let forward depend on its "
            "input and the weights alone"
        )
    if alone[0].shape != (1, num_outputs):
        raise ValueError(
            f"of a batch of one sample the module must return shape {(1, num_outputs)}, and it returns "
            f"{tuple(alone[0].shape)}; keep the first axis (no squeeze without a dim)"
        )
    scale = together.nan_to_num(0.0, 0.0, 0.0).abs().max().item()
    if not torch.allclose(torch.cat(alone), together[:: _SAMPLES - 1], rtol=_RTOL, atol=_ATOL * scale, equal_nan=True):
        raise ValueError(
            "what the module returns for a sample depends on the others in its batch, and no two batches are alike; "
            "let forward treat each sample by itself (a mean over dim 0?)"
        )


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """Turn what a user's ``forward`` raises into one line that says where."""
    try:
        yield
    except _FORWARD_ERRORS as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"{what}{_place_of(error)}: {why}; mend it, and let forward use shapes but no values "
            "(no .item(), no if on a tensor)"
        ) from error


class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes down every operation that draws from a random generator."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def _place_of(error: BaseException) -> str:
    """Say in which line of whose file the innermost code outside of torch failed; empty: none."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours)]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
