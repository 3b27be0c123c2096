"""One thread for each value: the order of floating-point sums must not depend on the machine."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


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
    return ThreadPoolExecutor(max_workers=workers, initializer=torch.set_num_threads, initargs=(1,))
