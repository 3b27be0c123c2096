"""Content-addressed store of trained tensors: a value is kept under the hash of all it depends on."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nmoe_sim.errors import InputError
from nmoe_sim.results.rundir import write_bytes
from nmoe_sim.version import __version__


class ValueStore:
    """Keeps what a training stage computes as safetensors files; several processes may share a folder.

    Two that need the same value at the same time both compute it, and write the same bytes; who runs
    many scenarios orders them so that this doesn't happen.

    Parameters
    ----------
    folder : Path or None
        Where the files are; None keeps nothing.
    base : mapping
        What every value depends on (data and its split, clients, seed); JSON values. Added are the
        versions of torch and of this package, the default dtype and the kind of CPU, since kernels
        sum in an order that depends on its vector units.
    model : mapping
        Parts of the model that a stage depends on, by stage; JSON values. A stage that isn't named
        depends on all of them.

    Attributes
    ----------
    computed, loaded : list of str
        Stages whose values were computed, and those that were in the folder.
    """

    def __init__(self, folder: Path | None, base: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        self.computed: list[str] = []
        self.loaded: list[str] = []
        self._folder = folder
        self._model = model
        self._key: dict[str, Any] = {
            **base,
            "torch": torch.__version__,
            "nmoe_sim": __version__,
            "dtype": str(torch.get_default_dtype()),
            "cpu": " ".join([platform.machine(), torch.backends.cpu.get_cpu_capability(), *_units_of_bf16()]),
        }

    def depend_on(self, what: Mapping[str, Any]) -> None:
        """Let all later stages depend on something else besides: JSON values."""
        self._key = {"before": self._key, "besides": dict(what)}

    def compute(
        self, stage: str, settings: Mapping[str, Any], compute: Callable[[Checkpoint], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return the stored value, or compute and store it: the same bits, contiguous and on the CPU, either way.

        A later stage depends on the earlier ones: its key is a hash over all settings so far. Not in it
        are radio, placement, load, routing and devices; a stage whose values depend on the clock's
        rounds must say so in ``settings``.

        Parameters
        ----------
        stage : str
        settings : mapping
            What this stage depends on besides the base, its parts of the model and earlier stages; JSON values.
        compute : callable
            Computes the tensors; a long computation keeps its steps in the checkpoint it is given.
        """
        model = self._model.get(stage, self._model)
        self._key = {"before": self._key, "stage": stage, "model": model, "settings": dict(settings)}
        digest = hashlib.sha256(json.dumps(self._key, sort_keys=True).encode()).hexdigest()
        from safetensors.torch import save

        path = None if self._folder is None else self._folder / f"{stage}-{digest[:32]}.safetensors"
        if path is not None and path.exists():
            self.loaded.append(stage)
            return _loaded(path)
        checkpoint = Checkpoint(None if path is None else path.with_suffix(".checkpoint"))
        values = _on_cpu(compute(checkpoint))
        self.computed.append(stage)
        if path is not None:
            write_bytes(path, save(values, metadata={"key": digest}))  # one entry: their order isn't fixed
        checkpoint.remove()
        return values


class Checkpoint:
    """Keeps how far a computation has come: the newest step, in one file.

    Parameters
    ----------
    path : Path or None
        The file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def load(self) -> tuple[int, dict[str, Tensor] | None]:
        """Return how many steps are done, and their tensors; 0 and None without a checkpoint."""
        if self._path is None or not self._path.exists():
            return 0, None
        tensors = _loaded(self._path)
        return int(tensors.pop(_STEPS_DONE)), tensors

    def save(self, steps_done: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep a step in place of the one before."""
        from safetensors.torch import save

        if self._path is not None:
            write_bytes(self._path, save({**_on_cpu(tensors), _STEPS_DONE: torch.tensor(steps_done)}))

    def remove(self) -> None:
        """Forget it: the computation is through."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


_STEPS_DONE = "steps_done"


def _loaded(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"damaged ({error}); delete it, and it is computed again", where=str(path)) from error


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as they can be saved: on the CPU, contiguous, none a view of another."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def _units_of_bf16() -> list[str]:
    """Return the processor's units for products in bfloat16; without one they are emulated, and round otherwise."""
    return sorted(name for name, present in torch.cpu.get_capabilities().items() if present and "bf16" in name)
