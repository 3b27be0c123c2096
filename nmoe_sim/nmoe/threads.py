"""One thread for each value: the order of floating-point sums must not depend on the machine."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import torch

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


def single_threaded_pool(workers: int) -> ThreadPoolExecutor:
    """Return a pool whose threads each compute as under ``one_thread``; enter it within ``one_thread``.

    A new thread's first matrix product would otherwise still run on as many threads as there are cores.
    """
    keep_freed_memory()
    return ThreadPoolExecutor(max_workers=workers, initializer=torch.set_num_threads, initargs=(1,))


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
