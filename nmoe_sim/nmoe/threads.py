"""One thread for each value: the order of floating-point sums must not depend on the machine."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
_KEPT_BYTES, _MMAP_BYTES = 1 << 29, 1 << 25  # above 32 MiB glibc takes no threshold


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute each tensor operation of the calling thread on one thread; afterwards as before.

    Results are then the same bits whatever OMP_NUM_THREADS and the number of cores. Usable as a decorator.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> list[Result]:
    """Return what the function makes of each item, in their order, computed by up to ``workers`` threads.

    Each computes as under ``one_thread``. Where one does, it is the calling thread: starting another, and memory that
    is new to it, take longer than a round of small heads.
    """
    keep_freed_memory()
    with one_thread():
        if min(workers, len(items)) <= 1:
            return [function(item) for item in items]
        # a new thread's first matrix product would otherwise still run on as many threads as there are cores
        with ThreadPoolExecutor(min(workers, len(items)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))


@cache
def keep_freed_memory() -> None:
    """Let the process keep up to 512 MiB that it has freed, where the C library is glibc; elsewhere nothing changes.

    A training step frees all its activations, and the next one needs as many. By default glibc returns
    large blocks to the kernel each time, which then clears page after page: a sixth of a ResNet's training.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _MMAP_BYTES)
