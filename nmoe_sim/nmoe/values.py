"""Content-addressed store of trained tensors: a value is kept under the hash of all it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nmoe_sim.results.rundir import write_bytes
from nmoe_sim.version import __version__


class ValueStore:
    """Keeps what a training stage computes as safetensors files.

    Parameters
    ----------
    folder : Path or None
        Where the files are; None keeps nothing.
    base : mapping
        What every value depends on (model, data, seed); JSON values. The versions of torch and of
        this package are added.
    """

    def __init__(self, folder: Path | None, base: Mapping[str, Any]) -> None:
        self._folder = folder
        self._key: dict[str, Any] = {**base, "torch": torch.__version__, "nmoe_sim": __version__}

    def compute(
        self, stage: str, settings: Mapping[str, Any], compute: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return the stored value, or compute and store it.

        A later stage depends on the earlier ones: its key is a hash over all settings so far.

        Parameters
        ----------
        stage : str
        settings : mapping
            What this stage depends on besides the base and earlier stages; JSON values.
        compute : callable
            Computes the tensors.
        """
        self._key = {"before": self._key, "stage": stage, "settings": dict(settings)}
        digest = hashlib.sha256(json.dumps(self._key, sort_keys=True).encode()).hexdigest()
        if self._folder is None:
            return compute()
        from safetensors.torch import load_file, save

        path = self._folder / f"{stage}-{digest[:32]}.safetensors"
        if path.exists():
            return load_file(path)
        values = {name: tensor.detach().cpu().contiguous() for name, tensor in compute().items()}
        write_bytes(path, save(values, metadata={"key": digest}))
        return values
