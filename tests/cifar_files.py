"""Small CIFAR files, as the authors lay them out."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from nmoe_sim.nmoe.datasets.cifar import Cifar

NUM_TRAIN, NUM_TEST = 150, 120
"""Fewer than there are; every class of CIFAR-100 is among them."""


def shrink(monkeypatch: Any, *kinds: type[Cifar]) -> None:
    """Declare the data sets as small as the files written here."""
    for kind in kinds:
        monkeypatch.setattr(kind, "num_train", NUM_TRAIN)
        monkeypatch.setattr(kind, "num_test", NUM_TEST)


def records(kind: type[Cifar], num: int, seed: int) -> np.ndarray:
    """Records of ``num`` images, bytes as in the files: labels, then red, green and blue planes."""
    rows = np.random.default_rng(seed).integers(256, size=(num, kind.num_label_bytes + 3072)).astype(np.uint8)
    fine = np.arange(num) % (100 if kind.num_label_bytes == 2 else 10)
    rows[:, kind.num_label_bytes - 1] = fine
    if kind.num_label_bytes == 2:
        rows[:, 0] = fine % 20
    return rows


def contents(kind: type[Cifar]) -> dict[str, bytes]:
    """Every file of a small copy, by name."""
    each = NUM_TRAIN // len(kind.train_files)
    found = {name: records(kind, each, seed).tobytes() for seed, name in enumerate(kind.train_files)}
    return {**found, kind.test_file: records(kind, NUM_TEST, 99).tobytes()}


def write_folder(kind: type[Cifar], folder: Path) -> Path:
    """Write the files unpacked."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents(kind).items():
        (folder / name).write_bytes(content)
    return folder


def packed(kind: type[Cifar], **replaced: bytes) -> bytes:
    """The archive, among its members some that are no data; ``replaced`` by the name's first part."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        members = {f"{kind.folder}/batches.meta.txt": b"airplane\n", "../outside": b"x"}
        for name, content in contents(kind).items():
            members[f"{kind.folder}/{name}"] = replaced.get(name.partition(".")[0], content)
        for path, content in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()
